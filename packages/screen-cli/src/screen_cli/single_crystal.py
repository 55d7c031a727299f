"""One crystal from Python: :func:`compute` and what it gives.

Example
-------
::

    from ase.build import bulk
    from screen_cli import compute

    result = compute(bulk("Al", a=4.05), "emt", temperatures=[100, 200, 300], mesh=[5, 5, 5])
    print(result.kappa_total)          # W/(m K), (3, 3, 3): temperatures, x y z, x y z
    result.plot_bands().savefig("bands.png")
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from screen_cli.config import RunSettings, settings_from_dict
from screen_cli.crystal.born import BornTensors
from screen_cli.crystal.standard_cell import standard_cell
from screen_cli.crystal.structure import Structure
from screen_cli.errors import ConfigError, PhysicsError, RecordError
from screen_cli.report.tables.columns import keyed
from screen_cli.run.driver import resolve
from screen_cli.run.force_field import GivenForceField, RegisteredForceField
from screen_cli.run.in_memory import run_in_memory
from screen_cli.run.pipeline import stages_for
from screen_cli.sources.born_files import read_born
from screen_cli.sources.readers.extxyz import moments_of
from screen_cli.stages.conductivity import Conductivity
from screen_cli.stages.displace import Displaced
from screen_cli.stages.force_constants import ForceConstants
from screen_cli.stages.forces import Forces
from screen_cli.stages.harmonic import Harmonic
from screen_cli.stages.relax import Relaxed
from screen_cli.stages.stage import AnyRecord, ForceField, RecordT
from screen_cli.store.record import Json, Scalar

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

_OF_A_RUN = ("title", "source", "filter", "engine")
_COMPONENTS = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])  # of xx yy zz yz xz xy


@dataclass(frozen=True, eq=False)
class CrystalResult:
    """Everything that was computed for one crystal.

    Tensors are in the Cartesian frame of the atoms that were given, whatever cell the stages worked in.

    Parameters
    ----------
    structure : Structure
        The crystal in its standardised primitive cell.
    settings : RunSettings
    records : mapping of str to record
        Typed records by stage, in order; those of plugins' properties are named ``property_<name>``.
    row : dict
        Columns of the results table of a run, named as in its JSON: ``max_msd_angstrom2``.
    seconds : dict of str to float
        Wall time of each stage.
    reason : str
        Why there is no κ: the gate's sentence for an unstable crystal; empty where nothing held it back.
    """

    structure: Structure
    settings: RunSettings
    records: Mapping[str, AnyRecord]
    row: Mapping[str, Scalar | None]
    seconds: Mapping[str, float]
    reason: str = ""
    born: BornTensors | None = None

    @property
    def relaxed(self) -> Relaxed:
        """The relaxed crystal."""
        return self._record("relax", Relaxed)

    @property
    def displaced(self) -> Displaced:
        """The displaced supercells."""
        return self._record("displace", Displaced)

    @property
    def forces(self) -> Forces:
        """The forces on them."""
        return self._record("forces", Forces)

    @property
    def force_constants(self) -> ForceConstants:
        """The force constants, and how well they explain the forces."""
        return self._record("force_constants", ForceConstants)

    @property
    def harmonic(self) -> Harmonic:
        """Frequencies, heat capacity, displacements, bands, density of states."""
        return self._record("harmonic", Harmonic)

    @property
    def conductivity(self) -> Conductivity:
        """The conductivity, with its modes; tensors in the frame of the standardised cell."""
        return self._record("conductivity", Conductivity)

    def property_record(self, name: str) -> AnyRecord:
        """Typed record of a property, e.g. ``"elastic"``; values and arrays by name where its plugin declares none."""
        return self._found(f"property_{name}")

    @property
    def temperatures(self) -> NDArray[np.float64]:
        """Temperatures of κ, float64 (n_temps,), K."""
        return self.conductivity.temperatures

    @property
    def kappa_total(self) -> NDArray[np.float64]:
        """Lattice thermal conductivity, float64 (n_temps, 3, 3), W/(m K)."""
        return self._tensor(self.conductivity.kappa_total)

    @property
    def kappa_p(self) -> NDArray[np.float64]:
        """The part of the populations, float64 (n_temps, 3, 3), W/(m K)."""
        return self._tensor(self.conductivity.kappa_p)

    @property
    def kappa_c(self) -> NDArray[np.float64] | None:
        """The part of the coherences, float64 (n_temps, 3, 3), W/(m K); None where the solver has none."""
        coherences = self.conductivity.kappa_c
        return None if coherences is None else self._tensor(coherences)

    def plot_bands(self, *, dos: bool = True) -> Figure:
        """Draw the dispersion, beside the density of states unless ``dos=False``."""
        from screen_cli.report.figures.crystal.dispersion import plot_bands

        beside = self.harmonic.density_of_states if dos else None
        return plot_bands(self.harmonic.bands, beside, title=self.structure.formula)

    def plot_kappa(self) -> Figure:
        """Draw κ(T), the mean of the diagonal.

        Raises
        ------
        ConfigError
            There is one temperature only.
        """
        from screen_cli.report.figures.crystal.conductivity_curve import plot_conductivity

        found = self.conductivity
        return plot_conductivity(found.temperatures, found.kappa_p, found.kappa_c, title=self.structure.formula)

    def to_phono3py(self, folder: Path | str) -> list[Path]:
        """Write ``phono3py_params.yaml``, ``fc2.hdf5``, ``fc3.hdf5`` and ``kappa-m….hdf5``; return the files.

        ``phono3py.load("phono3py_params.yaml")`` in that folder opens them.
        """
        from screen_cli.report.phono3py_files import write_phono3py_files

        found = self.records.get("conductivity")
        return write_phono3py_files(
            Path(folder),
            self.displaced,
            self.forces,
            self.force_constants,
            found if isinstance(found, Conductivity) else None,
            born=self.born,
            nac_method=self.settings.nac.method,
        )

    def __repr__(self) -> str:
        """Name the crystal and its main results."""
        lines = [f"{self.structure.formula}, space group {self.row.get('space_group')}"]
        if "conductivity" in self.records:
            found = self.conductivity
            lines.append(f"κ = {found.kappa_total_w_mk:.3g} W/(m K) at {found.kappa_temperature_k:g} K")
        if self.reason:
            lines.append(self.reason)
        return f"<CrystalResult: {'; '.join(lines)}>"

    def _found(self, stage: str) -> AnyRecord:
        """Return a record, or say why there is none."""
        record = self.records.get(stage)
        if record is None and self.reason:
            raise PhysicsError(
                f"{self.structure.formula} has no {stage.replace('_', ' ')}: {self.reason}. Compute it all the same "
                'with gate={"require_stable": False}.'
            )
        if record is None:
            raise ConfigError(
                f"these settings leave out the stage {stage.replace('_', ' ')} (there are {', '.join(self.records)})."
            )
        return record

    def _record(self, stage: str, record_class: type[RecordT]) -> RecordT:
        """Return a record of a class."""
        record = self._found(stage)
        if not isinstance(record, record_class):
            raise RecordError(f"'{stage}' gave a {type(record).__name__}, expected a {record_class.__name__}.")
        return record

    def _tensor(self, components: NDArray[np.float64]) -> NDArray[np.float64]:
        """Symmetric tensors (n, 3, 3) in the frame that was given, from (n, 6) in that of the standardised cell."""
        ours = standard_cell(self.relaxed.atoms, self.settings.read.symprec, to_primitive=False).rotation
        rotation = ours if self.structure.given is None else ours @ self.structure.given.rotation
        tensors = components[:, _COMPONENTS]
        turned: NDArray[np.float64] = np.einsum("ia,nij,jb->nab", rotation, tensors, rotation)
        return turned


def compute(
    atoms: Atoms,
    calculator: BaseCalculator | str | None = None,
    *,
    temperatures: Sequence[float] | None = None,
    mesh: Sequence[int] | None = None,
    born: Path | str | None = None,
    calculator_options: Mapping[str, Json] | None = None,
    progress: bool = True,
    **settings: Mapping[str, Json] | Sequence[str] | bool,
) -> CrystalResult:
    """Compute phonons and lattice thermal conductivity of one crystal, without a run directory.

    The stages, defaults and errors are those of a screening run.

    Parameters
    ----------
    atoms : ase.Atoms
        Any periodic cell of the crystal; not changed. Constraints are ignored.
    calculator : ase.calculators.calculator.BaseCalculator or str, optional
        Any ASE calculator, or a name that ``screen-cli plugins`` lists; default: ``atoms.calc``.
    temperatures : sequence of float, optional
        Of κ and of harmonic properties, K; default 300.
    mesh : sequence of int, optional
        q mesh of κ; default from ``conductivity.q_spacing``.
    born : path, optional
        BORN file with the dielectric tensor and Born charges of the independent atoms of ``atoms``, in their frame.
    calculator_options : mapping, optional
        Keywords of a registered calculator.
    progress : bool
        Show the stages on a terminal or in a notebook.
    **settings : mapping, sequence of str or bool
        Tables of the configuration file, e.g. ``displace={"distance": 0.02}``, ``force_constants={"solver":
        "hiphive"}``, ``gate={"require_stable": False}``. ``relax=False`` keeps the crystal as given,
        ``conductivity=False`` ends with harmonic properties, ``properties=["elastic"]`` adds properties of plugins.

    Returns
    -------
    CrystalResult
        Of a crystal that the gate holds back (imaginary modes) without κ, with the reason.

    Raises
    ------
    ScreenError
        With the sentence that a run would quarantine the crystal with.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from screen_cli import compute
    >>> result = compute(bulk("Al", a=4.05), "emt", conductivity=False, progress=False)
    >>> result.harmonic.stable
    True
    """
    resolved = _settings(settings, temperatures, mesh, calculator, calculator_options)
    name, notes = atoms.get_chemical_formula(), moments_of(atoms)
    for note in notes:
        logger.warning("%s: %s", name, note)
    structure = Structure.from_atoms(
        _without_constraints(atoms), provider="python", provider_id=name, settings=resolved.read, notes=notes
    )
    tensors = None if born is None else read_born(Path(born), structure)
    names = [stage.name for stage in stages_for(resolved)]
    with _shown(structure.formula, names, progress) as starts:
        passage = run_in_memory(
            structure, resolved, _force_field(atoms, calculator, resolved), born=tensors, starts=starts
        )
    kelvin = {"harmonic": float(resolved.harmonic.temperatures[0])}
    row = keyed({"formula": structure.formula, "id": structure.id, **passage.scalars}, kelvin)
    return CrystalResult(structure, resolved, passage.records, row, passage.seconds, passage.reason, tensors)


def _without_constraints(atoms: Atoms) -> Atoms:
    """Copy that every atom of may move."""
    free: Atoms = atoms.copy()
    free.set_constraint()
    return free


def _force_field(atoms: Atoms, calculator: BaseCalculator | str | None, settings: RunSettings) -> ForceField:
    """Give the force field that was named, given, or attached to the atoms."""
    if isinstance(calculator, str):
        return RegisteredForceField(settings.calculator)
    found = atoms.calc if calculator is None else calculator
    if found is None:
        raise ConfigError(
            "compute needs a force field: give any ASE calculator, or the name of one that 'screen-cli plugins' lists, "
            'e.g. compute(atoms, "sdnnff").'
        )
    return GivenForceField(found)


def _settings(
    given: Mapping[str, Mapping[str, Json] | Sequence[str] | bool],
    temperatures: Sequence[float] | None,
    mesh: Sequence[int] | None,
    calculator: BaseCalculator | str | None,
    calculator_options: Mapping[str, Json] | None,
) -> RunSettings:
    """Give the settings of a run from the arguments of :func:`compute`."""
    tables: dict[str, dict[str, Json]] = {}
    for name, value in given.items():
        if name in _OF_A_RUN:
            raise ConfigError(f"compute takes one crystal and no '{name}'; that is a setting of 'screen-cli run'.")
        if isinstance(value, bool):
            tables[name] = {"enabled": value}
        elif isinstance(value, Mapping):
            tables[name] = dict(value)
        else:
            tables[name] = {"names": list(value)}
    if temperatures is not None:
        kelvin = [float(value) for value in temperatures]
        tables["conductivity"] = {"temperatures": kelvin, **tables.get("conductivity", {})}
        tables["harmonic"] = {"temperatures": kelvin, **tables.get("harmonic", {})}
    if mesh is not None:
        tables["conductivity"] = {"mesh": [int(number) for number in mesh], **tables.get("conductivity", {})}
    if isinstance(calculator, str):
        tables["calculator"] = {"name": calculator, "options": dict(calculator_options or {})}
    elif calculator_options:
        raise ConfigError("calculator_options belong to a registered name; a calculator that is made has its own.")
    else:
        tables["calculator"] = {"name": "ase:given.by.the.caller"}
    return resolve(settings_from_dict(tables, "arguments of compute"))


@contextmanager
def _shown(title: str, names: Sequence[str], wanted: bool) -> Iterator[Callable[[str], None]]:
    """Show the stages as a bar on a terminal or in a notebook; give the function that names the next."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    visible = wanted and (console.is_terminal or console.is_jupyter)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not visible) as bar:
        task = bar.add_task(title, total=len(names))

        def starts(stage: str) -> None:
            bar.update(task, description=f"{title}: {stage.replace('_', ' ')}", completed=names.index(stage))

        yield starts
        bar.update(task, description=title, completed=len(names))
