"""Contract tests for plugins: subclass one, name your plugin, run pytest.

Example
-------
::

    from screen_cli.testing import CalculatorContract

    class TestMorse(CalculatorContract):
        name = "morse"
        elements = ("Cu",)

Each class asks for what the host relies on, with named tolerances.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NoReturn, cast

import numpy as np

from screen_cli.plugins.manager import load_plugins

if TYPE_CHECKING:
    import pytest
    from ase import Atoms
    from ase.calculators.calculator import BaseCalculator

    from screen_cli.crystal.structure import RejectedStructure, Structure
    from screen_cli.engines import Engine
    from screen_cli.plugins.protocols import ModeConductivity
    from screen_cli.plugins.records import ForceConstantSolverPlugin
    from screen_cli.stages.conductivity import Conductivity
    from screen_cli.stages.force_constants import ForceConstants
    from screen_cli.store.record import Json
    from screen_cli.store.row import Row

FORCE_TOLERANCE = 1e-3
"""eV/Å: rotation, permutation and net force (single precision models reach about 1e-4)."""

FINITE_DIFFERENCE_TOLERANCE = 5e-3
"""eV/Å: forces against finite differences of the energy."""


class CalculatorContract:
    """What a calculator plugin must do.

    Attributes
    ----------
    name : str
        Registered name.
    options : dict
        Keyword options.
    elements : tuple of str
        Elements to test; the crystal is rocksalt for two, fcc for one.
    conservative : bool
        Whether forces are the gradient of an energy.
    unknown_element : str or None
        An element the calculator must refuse.
    """

    name: ClassVar[str] = ""
    options: ClassVar[dict[str, object]] = {}
    elements: ClassVar[tuple[str, ...]] = ("Cu",)
    lattice_constant: ClassVar[float] = 3.6
    conservative: ClassVar[bool] = True
    unknown_element: ClassVar[str | None] = None

    def calculator(self) -> BaseCalculator:
        """Make the calculator from the registered factory."""
        return load_plugins().get("calculators", self.name).load()(**self.options)

    def atoms(self, seed: int = 0) -> Atoms:
        """Displaced 2×2×2 supercell."""
        from ase.build import bulk

        structure = "rocksalt" if len(self.elements) == 2 else "fcc"
        cell: Atoms = bulk("".join(self.elements), structure, a=self.lattice_constant, cubic=True) * (2, 2, 2)
        cell.positions += np.random.default_rng(seed).normal(scale=0.03, size=cell.positions.shape)
        return cell

    def test_record_is_described(self) -> None:
        """The record says what it is and under which licence."""
        record = load_plugins().get("calculators", self.name)
        assert record.summary
        assert record.licence

    def test_forces_have_the_right_shape_and_are_finite(self) -> None:
        """Forces are (n_atoms, 3), finite, in eV/Å, with zero sum."""
        atoms = self.atoms()
        atoms.calc = self.calculator()
        forces = atoms.get_forces()
        assert forces.shape == (len(atoms), 3)
        assert np.isfinite(forces).all()
        assert np.abs(forces.sum(axis=0)).max() < FORCE_TOLERANCE * len(atoms)

    def test_forces_rotate_with_the_crystal(self) -> None:
        """F(Rx) = R F(x)."""
        atoms = self.atoms()
        atoms.calc = self.calculator()
        forces = atoms.get_forces()
        rotated = atoms.copy()
        rotated.rotate(90, "z", rotate_cell=True)
        rotated.calc = self.calculator()
        expected = np.stack([-forces[:, 1], forces[:, 0], forces[:, 2]], axis=1)
        np.testing.assert_allclose(rotated.get_forces(), expected, atol=FORCE_TOLERANCE)

    def test_forces_follow_a_permutation(self) -> None:
        """Renaming atoms renames forces."""
        atoms = self.atoms()
        order = np.random.default_rng(1).permutation(len(atoms))
        calculator = self.calculator()
        atoms.calc = calculator
        forces = atoms.get_forces().copy()
        shuffled = atoms[order]
        shuffled.calc = calculator
        np.testing.assert_allclose(shuffled.get_forces(), forces[order], atol=FORCE_TOLERANCE)

    def test_forces_are_the_gradient_of_the_energy(self) -> None:
        """F = -dE/dx by central difference."""
        import pytest

        if not self.conservative:
            pytest.skip("this model predicts forces directly")
        atoms = self.atoms()
        atoms.calc = self.calculator()
        force = atoms.get_forces()[0, 0]
        energies = []
        for step in (1e-2, -1e-2):
            moved = atoms.copy()
            moved.positions[0, 0] += step
            moved.calc = self.calculator()
            energies.append(moved.get_potential_energy())
        np.testing.assert_allclose(-(energies[0] - energies[1]) / 2e-2, force, atol=FINITE_DIFFERENCE_TOLERANCE)

    def test_unknown_element_is_refused(self) -> None:
        """An element outside the model is an error, not a number."""
        import pytest
        from ase import Atoms

        if self.unknown_element is None:
            pytest.skip("no unknown element named")
        atoms = Atoms([self.unknown_element] * 2, [[0, 0, 0], [0, 0, 2.5]], cell=[8, 8, 8], pbc=True)
        atoms.calc = self.calculator()
        with pytest.raises(Exception, match=r".+"):
            atoms.get_forces()


class StructureSourceContract:
    """What a structure source must do: yield valid crystals with unique ids, the same ones each time."""

    name: ClassVar[str] = ""
    options: ClassVar[dict[str, object]] = {}

    def crystals(self) -> list[Structure | RejectedStructure]:
        """All crystals of the source."""
        return list(load_plugins().get("structure_sources", self.name).load()(**self.options))

    def test_yields_structures(self) -> None:
        """Every item is a Structure or says why it was rejected."""
        from screen_cli.crystal.structure import RejectedStructure, Structure

        crystals = self.crystals()
        assert crystals
        for crystal in crystals:
            assert isinstance(crystal, (Structure, RejectedStructure))
            if isinstance(crystal, RejectedStructure):
                assert crystal.reason

    def test_ids_are_stable(self) -> None:
        """Reading twice gives the same ids, in the same order."""
        first, second = ([getattr(item, "id", "") for item in self.crystals()] for _ in range(2))
        assert first == second

    def test_survives_json(self) -> None:
        """A crystal goes to JSON and back unchanged."""
        import json

        from screen_cli.crystal.identity import crystal_id
        from screen_cli.crystal.structure import Structure

        for crystal in self.crystals():
            if isinstance(crystal, Structure):
                again = Structure.from_dict(json.loads(json.dumps(crystal.to_dict())))
                assert crystal_id(again.atoms) == crystal.id
                np.testing.assert_allclose(again.atoms.positions, crystal.atoms.positions, atol=1e-12)


class ForceConstantSolverContract:
    """What a force-constant solver must do: recover known force constants from exact forces.

    Attributes
    ----------
    tolerance : float
        Relative error of fc2 against finite differences.
    """

    name: ClassVar[str] = ""
    options: ClassVar[dict[str, object]] = {}
    tolerance: ClassVar[float] = 0.02

    def test_recovers_finite_differences(self) -> None:
        """On aluminium with EMT, fc2 agrees with finite differences."""
        fitted = self.fit(load_plugins().get("force_constant_solvers", self.name), self.options)
        exact = self.fit(load_plugins().get("force_constant_solvers", "finite-difference"), {})
        difference = np.linalg.norm(fitted.fc2 - exact.fc2) / np.linalg.norm(exact.fc2)
        assert difference < self.tolerance, f"fc2 differs by {difference:.3g}"

    @staticmethod
    def fit(plugin: ForceConstantSolverPlugin, options: Mapping[str, object]) -> ForceConstants:
        """Force constants of EMT aluminium in 32 atoms through the stages."""
        from ase.build import bulk
        from ase.calculators.emt import EMT

        from screen_cli.config import DisplaceSettings, ForceConstantsSettings, ForcesSettings
        from screen_cli.solvers.registered import make_force_constant_solver
        from screen_cli.stages.displace import displace
        from screen_cli.stages.force_constants import fit_force_constants
        from screen_cli.stages.forces import compute_forces

        displaced = displace(
            bulk("Al", a=4.0), DisplaceSettings(dim=[2, 2, 2]), kind=plugin.displacements, third_order=False
        )
        forces = compute_forces(displaced, EMT(), ForcesSettings())
        settings = ForceConstantsSettings(third_order=False, holdout=0.0)
        solver = make_force_constant_solver(plugin.name, options)
        return fit_force_constants(displaced, forces, settings, solver)


class ConductivitySolverContract:
    """What a conductivity solver must do: declare what it can, and return consistent arrays of the declared shapes.

    Attributes
    ----------
    tolerance : float
        Relative error of the sum of the modes against κ.
    """

    name: ClassVar[str] = ""
    options: ClassVar[dict[str, object]] = {}
    tolerance: ClassVar[float] = 1e-6

    def conductivity(self, **settings: Json) -> Conductivity:
        """Conductivity of aluminium (EMT, 16 atoms) on a coarse mesh, through the stage."""
        from ase.build import bulk

        from screen_cli.single_crystal import compute

        result = compute(
            bulk("Al", a=4.0),
            "emt",
            progress=False,
            relax=False,
            displace={"dim": [2, 2, 1]},
            harmonic={"mesh": [3, 3, 3], "phase_space": False, "band_points": 3},
            conductivity={"solver": self.name, "options": cast("Json", self.options), "mesh": [3, 3, 3], **settings},
        )
        return result.conductivity

    def test_it_declares_what_it_can(self) -> None:
        """The flags are there, and the record agrees with them."""
        from screen_cli.solvers.registered import make_conductivity_solver

        solver = make_conductivity_solver(self.name, self.options)
        assert isinstance(solver.direct_solution, bool)
        assert solver.coherences == load_plugins().get("conductivity_solvers", self.name).coherences

    def test_modes_sum_to_kappa(self) -> None:
        """Populations are the sum of their modes over the mesh, positive, and coherences are there when declared."""
        found = self.conductivity(temperatures=[100.0, 300.0])
        assert found.kappa_p.shape == (2, 6)
        assert (found.kappa_p[:, :3] > 0).all()
        assert (found.kappa_c is not None) == load_plugins().get("conductivity_solvers", self.name).coherences
        if found.mode_kappa_p is not None and found.weights is not None:
            total = found.mode_kappa_p.sum(axis=(1, 2)) / found.weights.sum()
            np.testing.assert_allclose(total, found.kappa_p, rtol=self.tolerance, atol=self.tolerance)

    def test_isotopes_and_boundaries_lower_kappa(self) -> None:
        """Each scattering that is added lowers κ of the populations."""
        free = self.conductivity(isotope=False)
        bounded = self.conductivity(isotope=False, boundary_mfp=0.05)
        assert bounded.kappa_p[0, 0] < free.kappa_p[0, 0]


class PropertyContract:
    """What a property must do: return finite JSON values under the columns it announced.

    Override :meth:`records` with records the property understands.
    """

    name: ClassVar[str] = ""
    options: ClassVar[dict[str, object]] = {}

    def records(self) -> dict[str, object]:
        """Give the records of one crystal by stage."""
        raise NotImplementedError

    def test_returns_what_it_announced(self) -> None:
        """Values are finite and named as in the record's columns."""
        from screen_cli.stages.property import record_of

        plugin = load_plugins().get("properties", self.name)
        stored = record_of(plugin, plugin.load()(self.records(), **self.options)).to_storage()
        stored.check_finite(self.name)
        scalars = {key for key, value in stored.data.items() if isinstance(value, (bool, int, float, str))}
        assert scalars == {name for name, _ in plugin.columns}


class MetricContract:
    """What a metric must do: finite numbers, the same for one crystal against itself, refusal of other grids."""

    name: ClassVar[str] = ""

    @staticmethod
    def conductivity(seed: int = 0, n_qpoints: int = 5) -> ModeConductivity:
        """Make a consistent mode-resolved conductivity of six bands."""
        random = np.random.default_rng(seed)
        modes = random.uniform(0.1, 1.0, (n_qpoints, 6))
        weights = np.arange(1, n_qpoints + 1)
        return {
            "name": f"seed {seed}",
            "temperature": 300.0,
            "kappa": float(modes.sum() / weights.sum()),
            "modes": modes,
            "weights": weights,
            "qpoints": np.linspace(0, 0.5, n_qpoints)[:, None] * np.ones(3),
            "frequencies": np.sort(random.uniform(1, 9, (n_qpoints, 6)), axis=1),
        }

    def test_scores_are_finite(self) -> None:
        """Every score of two different results is a finite number."""
        reference = self.conductivity()
        scores = load_plugins().get("metrics", self.name).load()(self.conductivity(1), reference)
        assert scores
        assert all(np.isfinite(value) for value in scores.values())

    def test_other_grids_are_refused(self) -> None:
        """Results of two grids raise ValueError."""
        function = load_plugins().get("metrics", self.name).load()
        message = ""
        try:
            function(self.conductivity(), self.conductivity(n_qpoints=6))
        except ValueError as error:
            message = str(error)
        assert len(message) > 20, "two grids must be refused with one sentence"


class EngineContract:
    """What an engine must do: run every task once, deliver exceptions, stop when asked."""

    name: ClassVar[str] = ""
    workers: ClassVar[int] = 2

    def engine(self) -> Engine:
        """Make the engine."""
        from screen_cli.config import EngineSettings

        settings = EngineSettings(name=self.name, workers=self.workers)
        return cast("Engine", load_plugins().get("engines", self.name).load()(settings))

    def test_runs_every_task_once(self) -> None:
        """Twenty tasks give twenty results."""
        tasks = [f"task-{number}" for number in range(20)]
        results = list(self.engine().run(echo_task, tasks))
        assert sorted(result.task for result in results) == sorted(tasks)
        assert all(result.value == {"task": result.task} for result in results)

    def test_store_errors_reach_the_driver(self) -> None:
        """A full disk is told, not swallowed."""
        from screen_cli.errors import StoreError

        (result,) = self.engine().run(fail_task, ["only"])
        assert isinstance(result.exception, StoreError)

    def test_stop_ends_early(self) -> None:
        """After stop(), not every task is started."""
        engine = self.engine()
        results = []
        for result in engine.run(echo_task, (f"task-{number}" for number in range(10_000))):
            results.append(result)
            engine.stop()
        assert 1 <= len(results) < 10_000


class ExporterContract:
    """What an exporter must do: write a file that is not empty, for any mix of columns."""

    name: ClassVar[str] = ""

    def test_writes_rows(self, tmp_path: Path) -> None:
        """Rows with different columns and missing values are written."""
        plugin = load_plugins().get("exporters", self.name)
        path = tmp_path / f"out{plugin.suffix}"
        rows: list[Row] = [{"id": "a", "kappa": 1.5}, {"id": "b", "state": "failed", "kappa": None}]
        plugin.load()(rows, path, run=None)
        assert path.stat().st_size > 0


class CommandContract:
    """What a command must do: explain itself."""

    name: ClassVar[str] = ""

    def test_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        """``--help`` prints something and ends well."""
        main = load_plugins().get("commands", self.name).load()
        code: object = None
        try:
            code = main(["--help"])
        except SystemExit as stop:
            code = stop.code
        assert code in (0, None)
        assert len(capsys.readouterr().out) > 40


def echo_task(task: str) -> dict[str, str]:
    """Return the task's name (runs in a worker)."""
    return {"task": task}


def fail_task(task: str) -> NoReturn:
    """Raise a StoreError (runs in a worker)."""
    from screen_cli.errors import StoreError

    raise StoreError(28, f"no room for {task}")
