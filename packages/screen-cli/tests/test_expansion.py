"""Thermal expansion: elastic constants, Grüneisen tensors by two routes, and what holds between them."""

from __future__ import annotations

import dataclasses
import itertools
import json
from functools import cache
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.units import GPa

from screen_cli.config import DisplaceSettings, ForceConstantsSettings, ForcesSettings, RelaxSettings
from screen_cli.crystal.phonopy_cells import ase_cell, cartesian_rotations, phonopy_cell
from screen_cli.errors import CalculatorError, ConfigError, PhysicsError
from screen_cli.physics.elasticity.elastic import ElasticTensor, stiffness_from_list
from screen_cli.physics.elasticity.strain import (
    from_mandel,
    invariant_strains,
    rotate_mandel,
    to_mandel,
    unit_strains,
)
from screen_cli.physics.elasticity.thermal_expansion import compute_expansion
from screen_cli.properties.expansion.deformation import strained
from screen_cli.properties.expansion.elastic_constants import compute_elastic_tensor
from screen_cli.properties.expansion.gruneisen import (
    deformed_phonopy,
    fold_fc2,
    gruneisen_from_fc3,
    gruneisen_from_strains,
)
from screen_cli.properties.expansion.quasi_harmonic import scan_volumes
from screen_cli.solvers.force_constants.symfc import SymfcSolver
from screen_cli.stages.displace import Displaced, displace
from screen_cli.stages.force_constants import ForceConstants, fit_force_constants
from screen_cli.stages.forces import compute_forces
from screen_cli.stages.phonon_objects import load_phono3py, load_phonopy
from screen_cli.stages.relax import relax

TILT = np.linalg.qr(np.array([[1.0, 0.3, -0.2], [0.1, 1.0, 0.5], [-0.4, 0.2, 1.0]]))[0]


class Short(LennardJones):
    """Lennard-Jones solid of first and second neighbours (argon's numbers), range below half the supercells here."""

    def __init__(self) -> None:
        super().__init__(sigma=3.4, epsilon=0.0104, rc=5.75, ro=5.6, smooth=True)


@cache
def relaxed(name: str) -> Atoms:
    """Relaxed crystals of the tests."""
    crystals = {
        "Al": bulk("Al", "fcc", a=4.0),
        "Cu": bulk("Cu", "fcc", a=3.6),
        "hcp": bulk("Ar", "hcp", a=3.8, c=6.2),
        "AuCu": Atoms("AuCu", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=[2.8, 2.8, 3.7], pbc=True),
    }
    record = relax(crystals[name], calculator(name), RelaxSettings(fmax=1e-4 if name == "AuCu" else 1e-5))
    return record.atoms


def calculator(name: str) -> Calculator:
    return Short() if name == "hcp" else EMT()


@cache
def records(name: str, dim: tuple[int, int, int]) -> tuple[Displaced, ForceConstants]:
    """Displacements and force constants."""
    settings = DisplaceSettings(dim=list(dim), distance=0.005)
    displaced = displace(relaxed(name), settings, seed_text=name)
    forces = compute_forces(displaced, calculator(name), ForcesSettings())
    solver = SymfcSolver(cutoff=5.8)  # half of the supercells, beyond the third neighbours of aluminium
    return displaced, fit_force_constants(displaced, forces, ForceConstantsSettings(holdout=0), solver)


def phonopy_of(name: str, dim: tuple[int, int, int]) -> Any:
    return load_phonopy(*records(name, dim))


def phono3py_of(name: str, dim: tuple[int, int, int]) -> Any:
    displaced, fitted = records(name, dim)
    return load_phono3py(displaced, force_constants=fitted)


# -- tensors ---------------------------------------------------------------------------------------


def test_mandel_keeps_products_and_turns_with_the_crystal() -> None:
    rng = np.random.default_rng(1)
    tensors = rng.normal(size=(2, 3, 3))
    tensors = tensors + np.swapaxes(tensors, 1, 2)
    vectors = to_mandel(tensors)
    assert vectors[0] @ vectors[1] == pytest.approx(np.sum(tensors[0] * tensors[1]))
    np.testing.assert_allclose(from_mandel(vectors), tensors)
    (matrix,) = rotate_mandel(TILT[None])
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(6), atol=1e-12)
    np.testing.assert_allclose(to_mandel(TILT @ tensors[0] @ TILT.T), matrix @ vectors[0], atol=1e-12)


@pytest.mark.parametrize(
    ("atoms", "number"),
    [
        (bulk("Al", "fcc", a=4.0), 1),
        (bulk("Mg", "hcp", a=3.2, c=5.2), 2),
        (Atoms("Cu", cell=[2.5, 2.6, 2.7], pbc=True), 3),
        (
            Atoms(
                "CuAu",
                positions=[(0, 0, 0), (1.1, 1.3, 1.7)],
                cell=[[3, 0, 0], [0.3, 3.2, 0], [0.2, 0.4, 3.6]],
                pbc=True,
            ),
            6,
        ),
    ],
)
def test_strains_that_keep_the_symmetry(atoms: Atoms, number: int) -> None:
    rotations = cartesian_rotations(phonopy_cell(atoms))
    np.testing.assert_allclose(np.einsum("nij,nkj->nik", rotations, rotations)[0], np.eye(3), atol=1e-12)
    strains = invariant_strains(rotations)
    assert len(strains) == number
    np.testing.assert_allclose(np.einsum("aij,bij->ab", strains, strains), np.eye(number), atol=1e-12)
    turned = np.einsum("nij,ajk,nlk->nail", rotations, strains, rotations)
    np.testing.assert_allclose(turned, np.broadcast_to(strains, turned.shape), atol=1e-8)


# -- elastic constants -----------------------------------------------------------------------------


@cache
def elastic(name: str) -> ElasticTensor:
    return compute_elastic_tensor(relaxed(name), calculator(name))


def test_bulk_modulus_is_the_slope_of_the_pressure() -> None:
    """B = −V dP/dV."""
    pressures = []
    for ratio in (0.999, 1.001):
        atoms = strained(relaxed("Cu"), (ratio ** (1 / 3) - 1) * np.eye(3))
        atoms.calc = EMT()
        pressures.append(-atoms.get_stress()[:3].mean())
    slope = (pressures[0] - pressures[1]) / 0.002 / GPa
    assert elastic("Cu").averages().bulk_modulus_gpa == pytest.approx(slope, rel=2e-3)


def test_cubic_tensor_has_three_constants_and_is_positive() -> None:
    voigt = elastic("Cu").voigt_gpa()
    expected = np.zeros((6, 6))
    expected[:3, :3] = voigt[0, 1]
    expected[range(3), range(3)] = voigt[0, 0]
    expected[range(3, 6), range(3, 6)] = voigt[3, 3]
    np.testing.assert_allclose(voigt, expected, atol=1e-8)
    assert elastic("Cu").smallest_eigenvalue > 0
    assert elastic("Cu").asymmetry < 1e-6
    np.testing.assert_allclose(elastic("Cu").clamped, elastic("Cu").stiffness, atol=1e-6)  # no ion is free


def test_relaxing_ions_softens_the_crystal() -> None:
    """C(clamped) − C(relaxed) is positive semidefinite; hcp ions move under shear in the plane, so not zero."""
    tensor = elastic("hcp")
    values = np.linalg.eigvalsh(tensor.clamped - tensor.stiffness) / GPa
    assert values.min() > -1e-4
    assert values.max() > 0.05
    voigt = tensor.voigt_gpa()
    assert voigt[5, 5] == pytest.approx((voigt[0, 0] - voigt[0, 1]) / 2, rel=1e-3)


def test_elastic_tensor_turns_with_the_crystal() -> None:
    turned = relaxed("AuCu").copy()
    turned.set_cell(turned.cell.array @ TILT.T, scale_atoms=True)
    (matrix,) = rotate_mandel(TILT[None])
    stiffness = compute_elastic_tensor(turned, EMT(), steps=(0.004,)).stiffness
    straight = compute_elastic_tensor(relaxed("AuCu"), EMT(), steps=(0.004,)).stiffness
    np.testing.assert_allclose(stiffness, matrix @ straight @ matrix.T, atol=2e-3 * np.abs(straight).max())


def test_averages_of_an_isotropic_solid() -> None:
    bulk_modulus, shear = 40.0, 25.0
    voigt = np.zeros((6, 6))
    voigt[:3, :3] = bulk_modulus - 2 * shear / 3
    voigt[range(3), range(3)] += 2 * shear
    voigt[range(3, 6), range(3, 6)] = shear
    averages = stiffness_from_list(voigt.tolist()).averages()
    assert averages.bulk_modulus_gpa == pytest.approx(bulk_modulus)
    assert averages.shear_modulus_gpa == pytest.approx(shear)
    assert averages.poisson_ratio == pytest.approx((3 * bulk_modulus - 2 * shear) / (6 * bulk_modulus + 2 * shear))
    assert averages.elastic_anisotropy == pytest.approx(0, abs=1e-9)


# -- Grüneisen tensors -----------------------------------------------------------------------------


def test_third_order_and_strained_crystals_agree_mode_by_mode() -> None:
    """Whole tensors, ions free to move: hexagonal, two atoms, every component, every mode with its own frequency."""
    dim, mesh = (3, 3, 2), [4, 4, 3]
    from_fc3 = gruneisen_from_fc3(phono3py_of("hcp", dim), mesh)
    from_strains = gruneisen_from_strains(
        phonopy_of("hcp", dim), Short(), mesh, unit_strains(), amplitude=0.002, distance=0.005
    )
    single = _single(from_fc3.frequencies) & ~from_fc3.translations
    assert single.sum() > 10
    scale = np.abs(from_fc3.tensors[single]).max()
    np.testing.assert_allclose(from_strains.tensors[single], from_fc3.tensors[single], atol=0.02 * scale)
    clamped = gruneisen_from_fc3(phono3py_of("hcp", dim), mesh, ion_clamped=True)
    assert np.abs(clamped.tensors[single] - from_fc3.tensors[single]).max() > 0.05 * scale  # the ions matter here


def test_routes_agree_in_wurtzite() -> None:
    """Silicon carbide, double precision, forces that end at second neighbours: tensors, mode by mode, within 0.5 %."""
    atoms = relax(bulk("SiC", "wurtzite", a=3.055, c=4.99), bonds_of_sic(), RelaxSettings(fmax=1e-5)).atoms
    solver = SymfcSolver(cutoff=3.5)
    settings = DisplaceSettings(dim=[3, 3, 2], distance=0.005)
    displaced = displace(atoms, settings, seed_text="SiC", count=solver.count_parameters)
    forces = compute_forces(displaced, bonds_of_sic(), ForcesSettings())
    fitted = fit_force_constants(displaced, forces, ForceConstantsSettings(holdout=0), solver)
    phonopy, mesh = load_phonopy(displaced, fitted), [4, 4, 3]
    rotations = cartesian_rotations(phonopy.primitive)
    strains = invariant_strains(rotations)
    from_fc3 = gruneisen_from_fc3(load_phono3py(displaced, force_constants=fitted), mesh)
    from_strains = gruneisen_from_strains(phonopy, bonds_of_sic(), mesh, strains, amplitude=0.001, distance=0.005)
    averages = [
        compute_expansion(modes, np.eye(6), 1.0, rotations, [300.0]).gamma[0] for modes in (from_fc3, from_strains)
    ]
    np.testing.assert_allclose(averages[0], averages[1], rtol=2e-3, atol=1e-9)
    assert averages[0][0, 0] == pytest.approx(0.83, abs=0.02)
    single = _single(from_fc3.frequencies) & ~from_fc3.translations
    assert single.sum() > 50
    known = np.einsum("qskl,nkl->qsn", from_fc3.tensors, strains)[single]
    clamped = gruneisen_from_fc3(load_phono3py(displaced, force_constants=fitted), mesh, ion_clamped=True)
    without = np.einsum("qskl,nkl->qsn", clamped.tensors, strains)[single]
    assert np.abs(without - known).max() > 0.05 * np.abs(known).max()  # the ions' own answer is in it
    np.testing.assert_allclose(
        np.einsum("qskl,nkl->qsn", from_strains.tensors, strains)[single], known, atol=0.005 * np.abs(known).max()
    )


def bonds_of_sic() -> Calculator:
    """J. Tersoff, Phys. Rev. B 39, 5566 (1989), cut off between first and second neighbours."""
    from ase.calculators.tersoff import Tersoff, TersoffParameters

    silicon = {"A": 1830.8, "B": 471.18, "lambda1": 2.4799, "lambda2": 1.7322, "beta": 1.1e-6, "n": 0.78734}
    carbon = {"A": 1393.6, "B": 346.74, "lambda1": 3.4879, "lambda2": 2.2119, "beta": 1.5724e-7, "n": 0.72751}
    elements = {
        "Si": (silicon, {"c": 1.0039e5, "d": 16.217, "h": -0.59825}),
        "C": (carbon, {"c": 3.8049e4, "d": 4.3484, "h": -0.57058}),
    }
    table = {}
    for i, j, k in itertools.product(elements, repeat=3):
        (own, angles), (other, _) = elements[i], elements[j]
        table[i, j, k] = TersoffParameters(
            m=3,
            gamma=1,
            lambda3=0,
            n=own["n"],
            beta=own["beta"],
            A=(own["A"] * other["A"]) ** 0.5,
            B=(1.0 if i == j else 0.9776) * (own["B"] * other["B"]) ** 0.5,
            lambda1=(own["lambda1"] + other["lambda1"]) / 2,
            lambda2=(own["lambda2"] + other["lambda2"]) / 2,
            R=2.3,
            D=0.1,
            **angles,
        )
    return Tersoff(table)


def test_origin_does_not_matter() -> None:
    """Ions on the face of the cell leave it under one sign of the strain and not under the other."""
    from phonopy import Phonopy

    found = []
    for origin in (0.0, 0.2):
        atoms = relaxed("hcp").copy()
        atoms.set_scaled_positions(atoms.get_scaled_positions() - atoms.get_scaled_positions()[0] + origin)
        cell = Phonopy(phonopy_cell(atoms), supercell_matrix=np.diag([3, 3, 2]), log_level=0)
        phonopy = deformed_phonopy(ase_cell(cell.unitcell), cell, Short(), 0.005)
        found.append(gruneisen_from_strains(phonopy, Short(), [2, 2, 1], unit_strains(), distance=0.005))
    single = _single(found[0].frequencies) & ~found[0].translations
    assert single.any()
    np.testing.assert_allclose(found[0].tensors[single], found[1].tensors[single], atol=1e-3)


def _single(frequencies: np.ndarray) -> np.ndarray:
    """Modes at least 0.02 THz from their neighbours."""
    gaps = np.diff(frequencies, axis=1, prepend=-np.inf, append=np.inf)
    return np.minimum(gaps[:, :-1], gaps[:, 1:]) > 0.02


def test_pair_solid_of_one_neighbour_shell_has_the_grueneisen_parameter_of_its_bond() -> None:
    """For a crystal of bonds V(r), γ of the mean of ω² over all modes follows from its first three derivatives."""
    phonopy = phonopy_of("hcp", (3, 3, 2))
    modes = gruneisen_from_strains(
        phonopy, Short(), [6, 6, 4], invariant_strains(cartesian_rotations(phonopy.primitive)), distance=0.005
    )
    weights = modes.weights / modes.weights.sum()
    squares = modes.frequencies**2
    mean = float(np.einsum("q,qs,qs->", weights, squares, modes.volumetric) / np.einsum("q,qs->", weights, squares))
    atoms = relaxed("hcp")
    traces = [_trace_of_dynamical_matrix(strained(atoms, step * np.eye(3))) for step in (-1e-3, 1e-3)]
    expected = -(np.log(traces[1]) - np.log(traces[0])) / (2 * 2e-3) / 3
    assert mean == pytest.approx(expected, rel=5e-3)


def _trace_of_dynamical_matrix(atoms: Atoms) -> float:
    """Σ over sites of the Laplacian of the energy, by finite differences of the forces in a large supercell."""
    large = atoms.repeat((4, 4, 3))
    large.calc = Short()
    trace, step = 0.0, 1e-3
    for axis in range(3):
        forces = []
        for sign in (1, -1):
            moved = large.copy()
            moved.calc = Short()
            moved.positions[0, axis] += sign * step
            forces.append(moved.get_forces()[0, axis])
        trace -= (forces[0] - forces[1]) / (2 * step)
    return trace


@pytest.mark.slow
def test_metal_expands_alike_by_both_routes() -> None:
    """EMT aluminium, interactions within the supercell: γ and α within 2 %."""
    dim, mesh = (3, 3, 3), [6, 6, 6]
    phonopy = phonopy_of("Al", dim)
    rotations = cartesian_rotations(phonopy.primitive)
    compliance = elastic("Al").compliance()
    volume = phonopy.primitive.volume
    routes = [
        gruneisen_from_fc3(phono3py_of("Al", dim), mesh),
        gruneisen_from_strains(phonopy, EMT(), mesh, invariant_strains(rotations)),
    ]
    first, second = (compute_expansion(modes, compliance, volume, rotations, [100.0, 300.0]) for modes in routes)
    np.testing.assert_allclose(first.gamma_mean, second.gamma_mean, rtol=0.02)
    np.testing.assert_allclose(first.beta, second.beta, rtol=0.02)
    assert first.gamma_mean[1] == pytest.approx(1.46, rel=0.02)
    # cubic: isotropic, and α = γ C_V / 3BV
    np.testing.assert_allclose(first.alpha, first.beta[:, None, None] / 3 * np.eye(3), atol=1e-12)
    expected = first.gamma_mean * first.heat_capacity / (elastic("Al").averages().bulk_modulus_gpa * GPa * volume)
    np.testing.assert_allclose(first.beta, expected, rtol=1e-6)
    assert routes[0].translations.sum() == 3
    assert np.abs(routes[0].tensors[routes[0].translations]).max() == 0


def test_expansion_tensor_turns_with_the_crystal() -> None:
    """Tetragonal AuCu, straight and tilted: α' = R α Rᵀ, with two independent values."""
    from phonopy import Phonopy

    tensors = []
    for rotation in (np.eye(3), TILT):
        atoms = relaxed("AuCu").copy()
        atoms.set_cell(atoms.cell.array @ rotation.T, scale_atoms=True)
        cell = phonopy_cell(atoms)
        phonopy = Phonopy(cell, supercell_matrix=np.diag([3, 3, 2]), primitive_matrix="P", log_level=0)
        phonopy = deformed_phonopy(ase_cell(phonopy.unitcell), phonopy, EMT(), 0.01)
        rotations = cartesian_rotations(phonopy.primitive)
        modes = gruneisen_from_strains(phonopy, EMT(), [4, 4, 3], invariant_strains(rotations))
        compliance = compute_elastic_tensor(atoms, EMT(), steps=(0.004,)).compliance()
        found = compute_expansion(modes, compliance, phonopy.primitive.volume, rotations, [300.0])
        tensors.append(found.alpha[0])
    straight, tilted = tensors
    np.testing.assert_allclose(tilted, TILT @ straight @ TILT.T, atol=5e-3 * np.abs(straight).max())
    assert straight[0, 0] == pytest.approx(straight[1, 1], rel=1e-6)
    assert abs(straight[2, 2] / straight[0, 0] - 1) > 0.05
    assert np.abs(straight - np.diag(np.diag(straight))).max() < 1e-12


def test_heat_capacity_is_classical_when_hot_and_frozen_when_cold() -> None:
    from ase.units import kB

    from screen_cli.physics.harmonic.heat_capacity import mode_heat_capacity

    frequencies = np.array([[0.5, 5.0]])
    hot, cold = mode_heat_capacity(frequencies, np.array([1e4, 0.01]))
    np.testing.assert_allclose(hot, kB, rtol=1e-4)
    assert cold.max() < 1e-30


def test_folding_force_constants_keeps_the_modes_the_small_supercell_knows() -> None:
    small, large = phono3py_of("hcp", (3, 3, 2)), phonopy_of("hcp", (3, 3, 2))
    np.testing.assert_allclose(fold_fc2(small), large.force_constants)
    twice = with_fc2_supercell(small, (6, 6, 2))
    rng = np.random.default_rng(0)
    twice.fc2 = rng.normal(size=(2, len(twice.phonon_supercell), 3, 3))
    folded = fold_fc2(twice)
    assert folded.shape == (2, len(small.supercell), 3, 3)
    np.testing.assert_allclose(folded.sum(axis=1), twice.fc2.sum(axis=1))
    np.testing.assert_allclose(folded[:, 0].sum(), _at_images_of(twice, 0).sum())


def test_folding_onto_a_supercell_that_divides_no_edge() -> None:
    """Short forces are the same in either supercell, wherever both hold them."""
    large, small = phonopy_of("hcp", (5, 5, 3)), phono3py_of("hcp", (3, 3, 2))
    both = with_fc2_supercell(small, (5, 5, 3))
    both.fc2 = large.force_constants
    folded = fold_fc2(both)
    np.testing.assert_allclose(folded.sum(axis=1), large.force_constants.sum(axis=1), atol=1e-12)
    direct = phonopy_of("hcp", (3, 3, 2)).force_constants
    np.testing.assert_allclose(folded, direct, atol=2e-3 * np.abs(direct).max())


def with_fc2_supercell(phono3py: Any, dim: tuple[int, int, int]) -> Any:
    """The same crystal with a supercell of its own for fc2."""
    from phono3py import Phono3py

    return Phono3py(
        phono3py.unitcell,
        supercell_matrix=phono3py.supercell_matrix,
        primitive_matrix=phono3py.primitive_matrix,
        phonon_supercell_matrix=np.diag(dim),
        log_level=0,
    )


def _at_images_of(phono3py: Any, atom: int) -> np.ndarray:
    """Elements of the large supercell on periodic images of one atom of the small one."""
    difference = phono3py.phonon_supercell.positions - phono3py.supercell.positions[atom]
    fractional = difference @ np.linalg.inv(phono3py.supercell.cell)
    images = np.abs(fractional - np.rint(fractional)).max(axis=1) < 1e-6
    assert images.sum() == 4
    return phono3py.fc2[:, images]


# -- quasi-harmonic --------------------------------------------------------------------------------


def test_volume_scan_meets_the_grueneisen_formula_when_cold() -> None:
    """Al: near the static volume both are the same derivative of the free energy."""
    phonopy = phonopy_of("Al", (2, 2, 2))
    mesh = [6, 6, 6]
    found = scan_volumes(phonopy, EMT(), mesh, np.arange(10.0, 140.0, 10.0), volumes=(0.98, 0.99, 1, 1.01, 1.02, 1.03))
    rotations = cartesian_rotations(phonopy.primitive)
    atoms = strained(relaxed("Al"), ((found.volume[5] / phonopy.primitive.volume) ** (1 / 3) - 1) * np.eye(3))
    at_volume = deformed_phonopy(
        strained(
            ase_cell(phonopy.unitcell),
            (atoms.cell.volume / phonopy.primitive.volume) ** (1 / 3) * np.eye(3) - np.eye(3),
        ),
        phonopy,
        EMT(),
        0.01,
    )
    modes = gruneisen_from_strains(at_volume, EMT(), mesh, invariant_strains(rotations))
    bulk_modulus = found.bulk_modulus[5]
    compliance = stiffness_from_list((np.eye(6) * 3 * bulk_modulus / GPa).tolist()).compliance()
    formula = compute_expansion(modes, compliance, atoms.cell.volume, rotations, [found.temperatures[5]])
    assert found.beta[5] == pytest.approx(formula.beta[0], rel=0.05)
    assert found.gamma[5] == pytest.approx(formula.gamma_mean[0], rel=0.05)


def test_jump_of_the_phonons_and_disagreeing_routes_are_told() -> None:
    """NaCl with SevenNet-0: the third shell leaves the model's range near V/V0 = 1.045."""
    from screen_cli.properties.expansion.quasi_harmonic import _warning
    from screen_cli.report.tables.expansion import disagreement

    ratios = np.array([0.99, 1.0, 1.01, 1.02, 1.035, 1.05])
    assert "near V/V0 = 1.035" in _warning(np.array([2.17, 2.45, 2.75, 3.2, -0.6]), ratios)
    assert _warning(np.array([2.17, 2.3, 2.4, 2.6, 2.9]), ratios) == ""
    row = {"formula": "Si", "gamma_mean": 0.62, "gamma_mean_strain": 1.18}
    assert "too small for the range" in disagreement(row)
    assert disagreement(row | {"gamma_mean": 1.16}) == ""
    assert disagreement({"formula": "Si", "gamma_mean": 0.62}) == ""


# -- bad input -------------------------------------------------------------------------------------


class NoStress(EMT):
    """Forces only."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results.pop("stress", None)


def test_calculator_without_stress_is_told_so() -> None:
    with pytest.raises(CalculatorError, match="gives no stress.*stiffness_gpa"):
        compute_elastic_tensor(bulk("Cu"), NoStress())


def test_singular_elastic_tensor_is_refused() -> None:
    soft = np.diag([100.0, 100, 100, 50, 50, 0.0])
    with pytest.raises(PhysicsError, match="mechanically unstable"):
        stiffness_from_list(soft.tolist()).compliance()
    with pytest.raises(ConfigError, match="6 × 6"):
        stiffness_from_list([[1.0, 2.0], [2.0, 1.0]])


def test_imaginary_modes_have_no_grueneisen_parameter() -> None:
    displaced, fitted = records("Al", (2, 2, 2))
    turned = dataclasses.replace(fitted, fc2=-fitted.fc2)
    with pytest.raises(PhysicsError, match="imaginary modes"):
        gruneisen_from_fc3(load_phono3py(displaced, force_constants=turned), [2, 2, 2])
    with pytest.raises(PhysicsError, match="imaginary modes"):
        gruneisen_from_strains(load_phonopy(displaced, turned), EMT(), [2, 2, 2], unit_strains())


def test_settings_out_of_range_are_refused() -> None:
    phonopy = phonopy_of("Al", (2, 2, 2))
    with pytest.raises(ConfigError, match="small positive number"):
        gruneisen_from_strains(phonopy, EMT(), [2, 2, 2], unit_strains(), amplitude=0.0)
    with pytest.raises(ConfigError, match="expected at least 5"):
        scan_volumes(phonopy, EMT(), [2, 2, 2], [100.0, 200.0, 300.0], volumes=(0.99, 1.0, 1.01))
    with pytest.raises(ConfigError, match="positive numbers"):
        compute_elastic_tensor(bulk("Cu"), EMT(), steps=())
    modes = gruneisen_from_fc3(phono3py_of("Al", (2, 2, 2)), [2, 2, 2])
    with pytest.raises(ConfigError, match="above 0 K"):
        compute_expansion(modes, np.eye(6), 16.0, np.eye(3)[None], [0.0])


# -- the run and the command -----------------------------------------------------------------------


def test_command_writes_every_result_and_resumes(tmp_path, capsys) -> None:
    from ase.io import write

    from screen_cli.cli import main
    from screen_cli.store.run_directory import RunDirectory

    write(tmp_path / "Cu.cif", bulk("Cu", "fcc", a=3.6))
    argv = [
        "expansion",
        str(tmp_path / "Cu.cif"),
        "-c",
        "emt",
        "-d",
        str(tmp_path / "run"),
        "-q",
        "--mesh",
        "4",
        "4",
        "4",
    ]
    argv += ["-s", "displace.dim=[2,2,2]", "-s", "harmonic.band_points=3", "-s", "harmonic.mesh=[3,3,3]"]
    assert main(argv) == 0
    assert "γ mean" in capsys.readouterr().out
    (data,) = [json.loads(path.read_text()) for path in (tmp_path / "run" / "expansion").glob("*.json")]
    assert data["elastic"]["bulk_modulus_gpa"] == pytest.approx(elastic("Cu").averages().bulk_modulus_gpa, rel=1e-3)
    assert data["expansion"]["alpha_linear_300k"] == pytest.approx(data["expansion"]["alpha_a_300k"])
    suffixes = sorted(path.suffix for path in (tmp_path / "run" / "expansion").iterdir())
    assert suffixes == sorted([".csv", ".json", *2 * [".pdf", ".png", ".svg"]])
    (row,) = RunDirectory.open(tmp_path / "run").rows()
    assert row["bulk_modulus_gpa"] > 0
    assert row["gamma_mean"] > 0
    records_before = sorted((tmp_path / "run" / "records").rglob("*.json"))
    stamps = [path.stat().st_mtime_ns for path in records_before]
    assert main(argv) == 0
    assert [path.stat().st_mtime_ns for path in records_before] == stamps


def test_unstable_crystal_fails_with_a_reason(tmp_path, capsys) -> None:
    """Body-centred copper in EMT has imaginary modes: one sentence, exit code 1."""
    from ase.io import write

    from screen_cli.cli import main

    write(tmp_path / "bcc.cif", bulk("Al", "bcc", a=3.2))
    argv = ["expansion", str(tmp_path / "bcc.cif"), "-c", "emt", "-d", str(tmp_path / "run"), "-q", "-R", "strain"]
    argv += ["-s", "displace.dim=[2,2,2]", "-s", "harmonic.band_points=3", "-s", "harmonic.mesh=[3,3,3]"]
    assert main(argv) == 1
    assert "imaginary modes" in capsys.readouterr().out
