"""P3 against a direct sum over every triplet of modes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from screen_cli.physics.harmonic.phase_space import phase_space_mesh
from screen_cli.solvers.phase_space import compute_phase_space

MESH = [4, 4, 4]
SIGMA = 0.4


def two_atom_crystal() -> Any:
    """Rocksalt springs: central and transverse force constants of nearest neighbours, one per species pair."""
    from ase.spacegroup import crystal
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    atoms = crystal(["Na", "Cl"], [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=225, cellpar=[5.6] * 3 + [90] * 3)
    cell = PhonopyAtoms(numbers=atoms.numbers, cell=atoms.cell.array, scaled_positions=atoms.get_scaled_positions())
    phonopy = Phonopy(cell, supercell_matrix=[2, 2, 2], primitive_matrix="F")
    supercell = phonopy.supercell
    n_atoms = len(supercell)
    force_constants = np.zeros((n_atoms, n_atoms, 3, 3))
    for i, j in itertools.permutations(range(n_atoms), 2):
        shift = supercell.scaled_positions[j] - supercell.scaled_positions[i]
        vector = (shift - np.rint(shift)) @ supercell.cell
        distance = np.linalg.norm(vector)
        if distance < 4.1:
            along, across = (2.0, 0.25) if distance < 3 else (0.4, 0.05)
            unit = vector / distance
            force_constants[i, j] = -(across * np.eye(3) + (along - across) * np.outer(unit, unit))
    for i in range(n_atoms):
        force_constants[i, i] = -force_constants[i].sum(axis=0)
    phonopy.force_constants = force_constants
    return phonopy


def direct_sums(phonopy: Any) -> tuple[float, float]:
    """P3(+)/Ω and P3(−)/Ω in ps/rad, by the definition, with a Gaussian of SIGMA for the delta function."""
    n = MESH[0]
    addresses = np.array(list(itertools.product(range(n), repeat=3)))
    phonopy.run_qpoints(addresses / n)
    nu = np.array(phonopy.qpoints.frequencies)
    gamma = np.argsort(np.abs(nu[0]))[:3]
    nu[0, gamma] = 0.0
    index = {tuple(address): row for row, address in enumerate(addresses)}
    n_points, n_bands = nu.shape

    def delta(x: np.ndarray) -> np.ndarray:
        return np.exp(-(x**2) / (2 * SIGMA**2)) / (SIGMA * np.sqrt(2 * np.pi))

    sums = []
    for sign in (1, -1):
        total = 0.0
        for i, j in itertools.product(range(n_points), repeat=2):
            k = index[tuple((addresses[i] + sign * addresses[j]) % n)]
            argument = nu[i][:, None, None] + sign * nu[j][None, :, None] - nu[k][None, None, :]
            # a translation is no scattered mode; as a partner it is one mode in many and phono3py counts it
            alive = (nu[i] > 0)[:, None, None]
            total += float((delta(argument) * alive).sum())
        sums.append(total / (2 * np.pi * n_bands**3 * n_points**2))
    return sums[0], sums[1]


def test_equals_the_direct_sum() -> None:
    phonopy = two_atom_crystal()
    result = compute_phase_space(phonopy, MESH, sigma=SIGMA)
    absorption, emission = direct_sums(phonopy)
    assert result.absorption == pytest.approx(absorption, rel=1e-6)
    assert result.emission == pytest.approx(emission, rel=1e-6)
    assert result.total == pytest.approx(2 / 3 * (absorption + emission / 2), rel=1e-6)
    n_points = np.prod(MESH)
    assert result.weights.sum() == n_points
    assert result.weights @ result.by_mode.sum(axis=1) / n_points == pytest.approx(result.total, rel=1e-12)


def test_tetrahedra_agree_with_narrow_gaussians() -> None:
    phonopy = two_atom_crystal()
    tetrahedra = compute_phase_space(phonopy, [11, 11, 11])
    gaussian = compute_phase_space(phonopy, [11, 11, 11], sigma=0.1)
    assert tetrahedra.total == pytest.approx(gaussian.total, rel=0.05)


def test_scales_inversely_with_frequency() -> None:
    """Four times stiffer bonds double every frequency and halve P3."""
    soft, stiff = two_atom_crystal(), two_atom_crystal()
    stiff.force_constants = 4 * stiff.force_constants
    ratio = compute_phase_space(soft, [5, 5, 5]).total / compute_phase_space(stiff, [5, 5, 5]).total
    assert ratio == pytest.approx(2.0, rel=1e-6)


def test_mesh_choice() -> None:
    cell = np.array([[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]])
    assert phase_space_mesh(cell, 2) == [11, 11, 11]
    assert all(number % 2 and number < 11 for number in phase_space_mesh(cell, 14))


def test_layers_that_no_force_holds_scatter_nothing() -> None:
    """Their frequencies are noise of either sign; the phase space must not change when the crystal is turned."""
    from ase import Atoms

    from screen_cli.testing.physics_strategies import spring_phonopy

    cell = np.array([[2.2, 0, 0], [0.752, 2.067, 0], [1.756, 1.229, 4.664]])
    found = []
    for angle in (0, 35, 90, 180, 251):
        atoms = Atoms("Li", cell=cell, pbc=True)
        atoms.rotate(angle, (0.3, 0.2, 1.0), rotate_cell=True)
        result = compute_phase_space(spring_phonopy(atoms), [3, 3, 3], sigma=0.5)
        found.append(result.total)
        loose = (result.by_mode == 0.0).all(axis=1)
        assert result.weights[loose].sum() == 3  # the points of Γ-A: layers slide and part freely
    np.testing.assert_allclose(found, found[0], rtol=1e-6)
