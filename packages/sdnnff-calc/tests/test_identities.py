"""Physical identities: symmetry, derivatives, sums over images. Every model must pass."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.calculators.calculator import PropertyNotImplementedError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sdnnff_calc import SDNNFF
from sdnnff_calc.geometry.frames import COLLINEAR
from sdnnff_calc.models.checkpoint import Model
from sdnnff_calc.testing import SMALL_CONFIGS, toy_model

CONSERVATIVE = [name for name in SMALL_CONFIGS if name.startswith("conservative")]


def relative(error: np.ndarray, reference: np.ndarray) -> float:
    return float(np.abs(error).max() / np.abs(reference).max())


def turned(atoms: Atoms, matrix: np.ndarray) -> Atoms:
    other = atoms.copy()
    other.set_cell(atoms.cell.array @ matrix.T)
    other.positions = atoms.positions @ matrix.T
    return other


@pytest.mark.parametrize("improper", [False, True])
def test_forces_turn_with_the_crystal(any_model: Model, salt: Atoms, improper: bool) -> None:
    if improper and any_model.config.kind == "sdnnff":
        pytest.skip("the grid's frames are proper rotations: mirror images are learned, not built in")
    matrix = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix() * (-1.0 if improper else 1.0)
    calculator = SDNNFF(any_model)
    here = calculator.predict([salt])[0]
    there = calculator.predict([turned(salt, matrix)])[0]
    assert np.abs(here["forces"]).max() > 1e-4  # else the test could not fail
    assert relative(there["forces"] - here["forces"] @ matrix.T, here["forces"]) < 1e-5
    if "energy" in here:
        assert there["energy"] == pytest.approx(here["energy"], rel=1e-6)


def test_grid_forces_jump_at_a_tie_of_nearest_neighbours() -> None:
    """The known discontinuity of local frames: neighbours exchange rank under an infinitesimal move."""
    calculator = SDNNFF(toy_model("grid", "float64"))

    def force(shift: float) -> np.ndarray:
        atoms = Atoms("NaCl2", [[0, 0, 0], [2.5 + shift, 0, 0], [0, 2.5, 0]])
        return calculator.predict([atoms])[0]["forces"][0]

    jump = np.abs(force(1e-7) - force(-1e-7)).max()
    smooth = np.abs(force(2e-7) - force(1e-7)).max()
    assert jump > 1e3 * smooth


def test_grid_forces_jump_where_a_neighbour_stops_being_collinear() -> None:
    """The second kind: the second axis changes hands with no two neighbours equally near."""
    calculator = SDNNFF(toy_model("grid", "float64"))

    def force(shift: float) -> np.ndarray:
        angle = np.arccos(COLLINEAR) + shift
        near_axis = 2.7 * np.array([-np.cos(angle), np.sin(angle), 0.0])
        atoms = Atoms("NaCl3", [[0, 0, 0], [2.4, 0, 0], near_axis, [0.3, 0.2, 3.0]])
        return calculator.predict([atoms])[0]["forces"][0]

    jump = np.abs(force(1e-7) - force(-1e-7)).max()
    smooth = np.abs(force(2e-7) - force(1e-7)).max()
    assert jump > 1e3 * smooth


@pytest.mark.parametrize("name", CONSERVATIVE)
def test_force_is_minus_the_energy_gradient(name: str, salt: Atoms) -> None:
    calculator = SDNNFF(toy_model(name, "float64"))
    forces = calculator.predict([salt])[0]["forces"]
    step = 1e-4
    for atom, axis in ((0, 0), (3, 1), (6, 2)):
        energies = []
        for sign in (1, -1):
            moved = salt.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(calculator.predict([moved])[0]["energy"])
        numeric = -(energies[0] - energies[1]) / (2 * step)
        assert numeric == pytest.approx(forces[atom, axis], rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", CONSERVATIVE)
def test_stress_is_the_strain_derivative(name: str, salt: Atoms) -> None:
    calculator = SDNNFF(toy_model(name, "float64"))
    stress = calculator.predict([salt])[0]["stress"]
    step = 1e-5
    for voigt, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += 0.5 * sign * step
            strain[b, a] += 0.5 * sign * step
            strained = salt.copy()
            strained.set_cell(salt.cell.array @ strain, scale_atoms=True)
            energies.append(calculator.predict([strained])[0]["energy"])
        numeric = (energies[0] - energies[1]) / (2 * step) / salt.get_volume()
        assert numeric == pytest.approx(stress[voigt], rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("name", CONSERVATIVE)
def test_conservative_forces_sum_to_zero(name: str, salt: Atoms) -> None:
    forces = SDNNFF(toy_model(name, "float64")).predict([salt])[0]["forces"]
    assert np.abs(forces.sum(axis=0)).max() < 1e-12 * max(1.0, np.abs(forces).max())


def test_order_of_atoms_is_irrelevant(any_model: Model, salt: Atoms) -> None:
    order = np.random.default_rng(0).permutation(len(salt))
    calculator = SDNNFF(any_model)
    here, there = calculator.predict([salt])[0], calculator.predict([salt[order]])[0]
    assert relative(there["forces"] - here["forces"][order], here["forces"]) < 1e-5


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(list(SMALL_CONFIGS)),
    off_diagonal=st.tuples(*[st.integers(-1, 1)] * 3),
    repeat=st.tuples(*[st.integers(1, 2)] * 3),
)
def test_supercells_repeat_their_cell(
    name: str, off_diagonal: tuple[int, int, int], repeat: tuple[int, int, int]
) -> None:
    """The primitive cell is smaller than the cutoff, so this fails unless every image is counted."""
    cell = bulk("NaCl", "rocksalt", a=5.64)
    cell.positions[1] += [0.11, 0.05, -0.07]
    matrix = np.diag(repeat)
    matrix[0, 1], matrix[0, 2], matrix[1, 2] = off_diagonal
    large = make_supercell(cell, matrix)
    calculator = SDNNFF(toy_model(name, "float64"))
    small, big = calculator.predict([cell, large])
    n = len(large) // len(cell)
    for z in (11, 17):
        expected = small["forces"][cell.numbers == z][0]
        assert np.allclose(big["forces"][large.numbers == z], expected, rtol=1e-8, atol=1e-10)
    if "energy" in small:
        assert big["energy"] == pytest.approx(n * small["energy"], rel=1e-9)
        assert np.allclose(big["stress"], small["stress"], rtol=1e-7, atol=1e-12)


def test_images_are_counted_one_by_one() -> None:
    """A cell far smaller than the cutoff against an explicit finite cluster around the same atom."""
    calculator = SDNNFF(toy_model("conservative-1", "float64"))
    cell = Atoms("Cu", cell=np.diag([2.3, 2.4, 2.5]), pbc=True)
    periodic = calculator.predict([cell])[0]["energy"]
    cluster = cell.repeat((7, 7, 7))
    cluster.pbc = False
    centre = 3 * 49 + 3 * 7 + 3
    assert calculator.predict([cluster])[0]["energies"][centre] == pytest.approx(periodic, rel=1e-9)


def test_direct_and_conservative_share_nothing_beyond_the_cutoff(any_model: Model) -> None:
    cutoff = any_model.config.cutoff
    calculator = SDNNFF(any_model)
    near = Atoms("NaCl2", [[0, 0, 0], [2.5, 0, 0], [0, 2.7, 0]])
    far = near + Atoms("Cu", [[0, 0, 3 * cutoff]])
    a, b = calculator.predict([near, far])
    assert np.allclose(a["forces"], b["forces"][:3], atol=1e-7)
    assert np.allclose(b["forces"][3], 0.0, atol=1e-7)


@pytest.mark.parametrize("name", CONSERVATIVE)
def test_energy_is_smooth_where_a_neighbour_leaves(name: str) -> None:
    model = toy_model(name, "float64")
    calculator = SDNNFF(model)

    def energy(gap: float) -> float:
        atoms = Atoms("NaClCu", [[0, 0, 0], [2.5, 0, 0], [0, 0, model.config.cutoff + gap]])
        return calculator.predict([atoms])[0]["energy"]

    assert energy(-1e-3) == pytest.approx(energy(1e-3), abs=1e-7)
    assert abs(energy(-1.0) - energy(1e-3)) > 1e-5


def test_single_precision_follows_double(any_model: Model, salt: Atoms) -> None:
    name = next(n for n, c in SMALL_CONFIGS.items() if c == any_model.config)
    single = SDNNFF(toy_model(name)).predict([salt])[0]["forces"]
    other = toy_model(name)
    other.network.double()
    double = SDNNFF(other).predict([salt])[0]["forces"]
    assert relative(single - double, double) < 1e-4


def test_direct_head_offers_forces_only(salt: Atoms) -> None:
    salt.calc = SDNNFF(toy_model("direct-1"))
    assert salt.get_forces().shape == (8, 3)
    with pytest.raises(PropertyNotImplementedError, match="head"):
        salt.get_potential_energy()
    with pytest.raises(PropertyNotImplementedError):
        salt.get_stress()
