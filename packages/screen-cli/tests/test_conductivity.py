"""κ: against phono3py itself, published data, identities, and refusals."""

from __future__ import annotations

import lzma
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from hypothesis import given
from hypothesis import strategies as st

from screen_cli.config import ConductivitySettings
from screen_cli.crystal.supercell import choose_mesh
from screen_cli.errors import ConfigError, PhysicsError
from screen_cli.physics.harmonic.lindemann import lindemann_ratios
from screen_cli.physics.mesh_ladder import mesh_error, rungs
from screen_cli.solvers.conductivity import StandardSolver
from screen_cli.stages import conductivity
from screen_cli.stages.conductivity import Conductivity, compute_conductivity
from screen_cli.stages.displace import Displaced, SupercellSet
from screen_cli.stages.force_constants import ForceConstants
from screen_cli.stages.forces import Forces
from screen_cli.stages.phonon_cells import BaseCell


@pytest.fixture(scope="module")
def aluminium() -> tuple[Displaced, ForceConstants]:
    from ase.build import bulk
    from ase.calculators.emt import EMT

    from screen_cli.config import DisplaceSettings, ForceConstantsSettings, ForcesSettings
    from screen_cli.solvers.force_constants.symfc import SymfcSolver
    from screen_cli.stages.displace import displace
    from screen_cli.stages.force_constants import fit_force_constants
    from screen_cli.stages.forces import compute_forces

    displaced = displace(bulk("Al", a=4.0), DisplaceSettings(dim=[2, 2, 2]))
    forces = compute_forces(displaced, EMT(), ForcesSettings(subtract_residual=False))
    return displaced, fit_force_constants(displaced, forces, ForceConstantsSettings(), SymfcSolver())


def run(aluminium: tuple[Displaced, ForceConstants], **settings: Any) -> Conductivity:
    return compute_conductivity(*aluminium, ConductivitySettings(**({"mesh": [7, 7, 7]} | settings)), StandardSolver())


def test_equals_phono3py(aluminium: tuple[Displaced, ForceConstants], capfd: pytest.CaptureFixture[str]) -> None:
    from screen_cli.stages.phonon_objects import load_phono3py

    record = run(aluminium, temperatures=[100.0, 300.0])
    assert capfd.readouterr().out == ""
    phono3py = load_phono3py(aluminium[0], force_constants=aluminium[1])
    phono3py.mesh_numbers = [7, 7, 7]
    phono3py.init_phph_interaction()
    phono3py.run_thermal_conductivity(temperatures=[100.0, 300.0], is_isotope=True)
    np.testing.assert_allclose(record.kappa_p, phono3py.thermal_conductivity.kappa[0], rtol=1e-10)
    assert record.kappa_temperature_k == 300.0
    assert record.kappa_p_w_mk == pytest.approx(record.kappa_p[1, :3].mean())
    assert record.kappa_c_w_mk is None


def test_modes_sum_to_kappa(aluminium: tuple[Displaced, ForceConstants]) -> None:
    found = run(aluminium)
    total = found.mode_kappa_p.sum(axis=(1, 2)) / found.weights.sum()
    np.testing.assert_allclose(total, found.kappa_p, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.kappa_p[:, 3:], 0, atol=1e-6)
    np.testing.assert_allclose(found.kappa_p[:, 0], found.kappa_p[:, 2], rtol=1e-6)


def test_each_scattering_lowers_kappa(aluminium: tuple[Displaced, ForceConstants]) -> None:
    free, bounded = run(aluminium), run(aluminium, boundary_mfp=0.05)
    assert bounded.kappa_p_w_mk < free.kappa_p_w_mk
    assert np.all(bounded.gamma >= free.gamma)
    speed = np.linalg.norm(free.group_velocity, axis=-1)
    expected = speed / (4 * np.pi * 500.0)  # 0.05 μm in Å
    np.testing.assert_allclose(bounded.gamma[0] - free.gamma[0], expected, atol=1e-12)


def test_lbte_differs_and_keeps_rta(aluminium: tuple[Displaced, ForceConstants]) -> None:
    direct, relaxation = run(aluminium, method="lbte", mesh=[5, 5, 5]), run(aluminium, mesh=[5, 5, 5])
    np.testing.assert_allclose(direct.kappa_rta, relaxation.kappa_p, rtol=0.02, atol=1e-6)
    assert direct.kappa_p_w_mk > relaxation.kappa_p_w_mk


def test_a_kappa_that_hangs_on_one_mode_is_not_trusted(aluminium: tuple[Displaced, ForceConstants]) -> None:
    class Hanging(StandardSolver):
        def __call__(self, *given: Any, **options: Any) -> Any:
            found = super().__call__(*given, **options)
            found["mode_kappa_p"][row, 3, 0] *= 1e6
            return found

    settings = ConductivitySettings(mesh=[5, 5, 5], temperatures=[100.0, 300.0])
    row = 0
    elsewhere = compute_conductivity(*aluminium, settings, Hanging())
    assert "At 100 K a single mode" in elsewhere.kappa_warnings
    assert elsewhere.kappa_trusted
    row = 1
    here = compute_conductivity(*aluminium, settings, Hanging())
    assert "A single mode carries 100% of κ_P" in here.kappa_warnings
    assert not here.kappa_trusted


def test_mesh_rule() -> None:
    cell = np.diag([4.0, 4.0, 8.0])
    settings = ConductivitySettings(q_spacing=0.2)
    mesh = list(choose_mesh(settings, cell))
    assert mesh == [9, 9, 5]
    assert all(2 * np.pi / length / number <= 0.2 for length, number in zip((4, 4, 8), mesh, strict=True))


def test_warnings_and_refusals(aluminium: tuple[Displaced, ForceConstants], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "even" in run(aluminium, mesh=[4, 4, 4]).kappa_warnings
    assert run(aluminium).kappa_trusted
    monkeypatch.setattr(conductivity, "HIGHEST_KAPPA", 1e-3)
    assert "beyond any crystal" in run(aluminium).kappa_warnings
    assert not run(aluminium).kappa_trusted
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="above 0"):
        run(aluminium, temperatures=[0.0])
    with pytest.raises(ConfigError, match="three positive"):
        run(aluminium, mesh=[7, 7])
    with pytest.raises(ConfigError, match="third_order"):
        compute_conductivity(aluminium[0], replace(aluminium[1], fc3=None), ConductivitySettings(), StandardSolver())

    class Broken(StandardSolver):
        def __call__(self, *_: Any, **__: Any) -> Any:
            return {"temperatures": np.array([300.0]), "kappa_p": np.full((1, 6), np.nan)}

    with pytest.raises(PhysicsError, match="not"):
        compute_conductivity(*aluminium, ConductivitySettings(mesh=[5, 5, 5]), Broken())


@pytest.mark.parametrize("name", ["kappa_p", "kappa_c", "kappa_total"])
@pytest.mark.parametrize("tensor", [[-5.0, -5, -5, 0, 0, 0], [5, 5, 5, 0, 0, 7], [9, 9, -1, 0, 0, 0]])
def test_a_conductivity_that_is_negative_along_some_direction_is_an_error(
    aluminium: tuple[Displaced, ForceConstants], name: str, tensor: list[float]
) -> None:
    class Wrong(StandardSolver):
        def __call__(self, *_: Any, **__: Any) -> Any:
            sound = {key: np.array([[9.0, 9, 9, 0, 0, 0]]) for key in ("kappa_p", "kappa_c", "kappa_total")}
            return {"temperatures": np.array([300.0]), **sound, name: np.array([tensor])}

    with pytest.raises(PhysicsError, match=f"{name} is -.* along some direction"):
        compute_conductivity(*aluminium, ConductivitySettings(mesh=[5, 5, 5]), Wrong())


@pytest.mark.slow
@pytest.mark.reference
def test_sodium_chloride_by_dft() -> None:
    """The DFT set of NaCl through our stages against phono3py's own fit and κ on the same mesh, within 2 %."""
    folder = os.environ.get("SDNNFF_REFERENCE_DATA")
    path = Path(folder or "") / "nacl-dft" / "phono3py_params_NaCl.yaml.xz"
    if not folder or not path.is_file():
        pytest.skip("SDNNFF_REFERENCE_DATA does not name a folder with nacl-dft/phono3py_params_NaCl.yaml.xz")
    import io

    import phono3py

    from screen_cli.config import ForceConstantsSettings
    from screen_cli.solvers.force_constants.symfc import SymfcSolver
    from screen_cli.stages.force_constants import fit_force_constants

    with lzma.open(path, "rt") as file:
        text = file.read()
    reference = phono3py.load(io.StringIO(text), fc_calculator="symfc", log_level=0)
    born = Displaced(
        supercells=SupercellSet.of(reference.supercell, np.array(reference.displacements)),
        supercells_fc2=SupercellSet.of(reference.phonon_supercell, np.array(reference.phonon_displacements)),
        base_cell=BaseCell(
            cell=np.array(reference.unitcell.cell),
            positions=np.array(reference.unitcell.scaled_positions),
            numbers=np.array(reference.unitcell.numbers, dtype=np.int64),
            primitive_matrix=np.array(reference.primitive_matrix),
        ),
        yaml=text,
        kind="random",
        kind_fc2="random",
        paired=False,
        distance=0.03,
        n_params_fc2=0,
        n_params_fc3=0,
        supercell_dim=(2, 2, 2),
        supercell_dim_fc2=(4, 4, 4),
        supercell_base="conventional",
        supercell_length=11.0,
    )
    forces = Forces.of_arrays({"forces": np.array(reference.forces), "forces_fc2": np.array(reference.phonon_forces)})
    fitted = fit_force_constants(born, forces, ForceConstantsSettings(), SymfcSolver())
    settings = ConductivitySettings(mesh=[11, 11, 11], isotope=False)

    class WithBorn(StandardSolver):
        def __call__(self, phonons: Any, *args: Any, **kwargs: Any) -> Any:
            phonons.nac_params = reference.nac_params
            return super().__call__(phonons, *args, **kwargs)

    ours = compute_conductivity(born, fitted, settings, WithBorn()).kappa_p_w_mk
    reference.mesh_numbers = [11, 11, 11]
    reference.init_phph_interaction()
    reference.run_thermal_conductivity(temperatures=[300.0])
    assert ours == pytest.approx(float(reference.thermal_conductivity.kappa[0, 0, :3].mean()), rel=0.02)


# -- mesh ladder -----------------------------------------------------------------------------------


def test_the_ladder_stops_when_it_is_good_enough(aluminium: tuple[Displaced, ForceConstants]) -> None:
    ladder = {"mesh": [9, 9, 9], "ladder": [0.35, 0.55, 0.75]}
    stopped = run(aluminium, **ladder, ladder_tolerance=1e3)
    assert stopped.kappa_mesh == [7, 7, 7]
    assert stopped.kappa_on_final_mesh is False
    direct = run(aluminium)
    np.testing.assert_array_equal(stopped.kappa_total, direct.kappa_total)
    assert [rung.mesh for rung in stopped.kappa_ladder] == [(3, 3, 3), (5, 5, 5), (7, 7, 7)]
    fine = run(aluminium, mesh=[9, 9, 9])
    true_error = abs(stopped.kappa_total_w_mk / fine.kappa_total_w_mk - 1)
    assert stopped.kappa_mesh_error > 0
    assert true_error < 3 * stopped.kappa_mesh_error  # an estimate, not a bound


def test_two_meshes_that_agree_by_chance_are_not_enough():
    """κ of NaCl on 7³ and 11³ (SevenNet-0): 0.1 % apart, 4 % off 19³."""
    meshes, kappas = [[7] * 3, [11] * 3], [np.array([5.600]), np.array([5.606])]
    assert mesh_error(meshes, kappas, [19] * 3) == np.inf
    assert mesh_error([*meshes, [13] * 3], [*kappas, np.array([5.487])], [19] * 3) > 0.03


def test_the_ladder_ends_on_the_final_mesh(aluminium: tuple[Displaced, ForceConstants]) -> None:
    ladder: dict[str, Any] = {"ladder": [0.5, 0.75]}
    direct = run(aluminium)
    never = run(aluminium, **ladder, ladder_tolerance=1e-12)
    matters = run(aluminium, **ladder, ladder_tolerance=1e3, refine_where="kappa_total_w_mk > 0")
    for record in (never, matters):
        assert record.kappa_on_final_mesh is True
        np.testing.assert_array_equal(record.kappa_total, direct.kappa_total)
    assert "kappa_mesh_error" not in direct.to_storage().data


def test_rungs_keep_the_parity() -> None:
    assert rungs([19, 19, 15], [0.4, 0.55]) == [[7, 7, 5], [11, 11, 9], [19, 19, 15]]
    assert rungs([8, 8, 8], [0.5]) == [[4, 4, 4], [8, 8, 8]]
    assert rungs([3, 3, 3], [0.5, 0.7]) == [[3, 3, 3]]
    for shares in ([0.5, 0.5], [0.7, 0.5], [1.0], [0.0]):
        with pytest.raises(ConfigError, match="ascending"):
            rungs([9, 9, 9], shares)


@given(limit=st.floats(0.1, 100), slope=st.floats(-1, 1))
def test_the_error_of_a_clean_trend_is_the_distance_to_the_final_mesh(limit: float, slope: float) -> None:
    def kappa(n: int) -> np.ndarray:
        return np.array([limit * (1 + slope / n)])

    meshes = [[5] * 3, [7] * 3, [9] * 3]
    error = mesh_error(meshes, [kappa(mesh[0]) for mesh in meshes], [19] * 3)
    distance = abs(kappa(19) / kappa(9) - 1)[0]
    assert error >= distance - 1e-12
    assert error == pytest.approx(max(distance, abs(kappa(7) / kappa(9) - 1)[0]), abs=1e-9)


def test_a_crystal_whose_atoms_leave_their_places_is_not_trusted(aluminium: tuple[Displaced, ForceConstants]) -> None:
    displaced, force_constants = aluminium
    settings = ConductivitySettings(mesh=[5, 5, 5])
    sound = compute_conductivity(displaced, force_constants, settings, StandardSolver())
    assert sound.lindemann_ratio == pytest.approx(0.06, abs=0.03)  # aluminium melts at 933 K
    assert sound.kappa_trusted
    soft = replace(force_constants, fc2=force_constants.fc2 / 50)
    found = compute_conductivity(displaced, soft, settings, StandardSolver())
    assert found.lindemann_ratio == pytest.approx(np.sqrt(50) * sound.lindemann_ratio, rel=0.02)  # classical by then
    assert not found.kappa_trusted
    assert "crystals melt at 10 to 15 %" in found.kappa_warnings


@given(st.integers(0, 2**31), st.integers(1, 5))
def test_lindemann_ratios_are_of_the_nearest_neighbour(seed: int, n_atoms: int) -> None:
    rng = np.random.default_rng(seed)
    cell, scaled = np.diag(rng.uniform(3, 6, 3)) + rng.uniform(-0.5, 0.5, (3, 3)), rng.random((n_atoms, 3))
    squares = rng.uniform(0.01, 0.2, (2, n_atoms))
    atoms = Atoms(n_atoms * ["X"], scaled_positions=scaled, cell=cell, pbc=True)
    first, distances = neighbor_list("id", atoms, 10.0)
    nearest = np.array([distances[first == k].min() for k in range(n_atoms)])
    expected = (np.sqrt(squares) / nearest).max(axis=1)
    np.testing.assert_allclose(lindemann_ratios(squares, cell, scaled), expected, rtol=1e-9)
