"""One crystal, described in other axes, turned, shifted, repeated, its atoms in another order: the same physics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from screen_cli.config import HarmonicSettings
from screen_cli.physics.harmonic.sound_velocity import even_directions
from screen_cli.solvers.harmonic_modes import sample_mesh, slopes_along
from screen_cli.solvers.phase_space import compute_phase_space
from screen_cli.testing.physics_strategies import spring_phonopy
from screen_cli.testing.strategies import crystals, descriptions

MESH = [3, 3, 3]
TEMPERATURES = np.array([0.0, 300.0])
Quantity = Callable[[Atoms, NDArray[np.float64], NDArray[np.int64], int], NDArray[np.float64]]


def fields_of(atoms: Atoms):
    phonopy = spring_phonopy(atoms)
    return phonopy, sample_mesh(phonopy, MESH, HarmonicSettings(dos_points=11), TEMPERATURES)


def heat_capacity(atoms, rotation, order, n_atoms):
    return fields_of(atoms)[1].heat_capacity


def displacements(atoms, rotation, order, n_atoms):
    """By atom of the first description: the atoms of the primitive cell are found in the cell that was given."""
    phonopy, fields = fields_of(atoms)
    primitive, supercell = phonopy.primitive, phonopy.supercell
    of_given = [primitive.p2p_map[primitive.s2p_map[atom]] for atom in supercell.u2s_map]
    result = np.full((len(TEMPERATURES), n_atoms), np.nan)
    result[:, order] = fields.displacements[:, of_given]
    return result


def density_of_states(atoms, rotation, order, n_atoms):
    """Moments of the frequencies of the mesh, and the share of each element in them."""
    phonopy = spring_phonopy(atoms)
    phonopy.run_mesh(MESH, with_eigenvectors=True, is_gamma_center=True, is_mesh_symmetry=False)
    frequencies, vectors = np.asarray(phonopy.mesh.frequencies), np.asarray(phonopy.mesh.eigenvectors)
    numbers = np.repeat(phonopy.primitive.numbers, 3)
    squares = np.maximum(frequencies, 0.0) ** 2
    by_element = [
        np.einsum("qs,qas->", squares, np.abs(vectors[:, numbers == number]) ** 2) for number in np.unique(numbers)
    ]
    return np.array([*by_element, (squares**2).sum()]) / len(frequencies)


def sound(atoms, rotation, order, n_atoms):
    return slopes_along(spring_phonopy(atoms), even_directions(9) @ rotation.T)


def phase_space(atoms, rotation, order, n_atoms):
    return np.array([compute_phase_space(spring_phonopy(atoms), MESH, sigma=0.5).total])


@pytest.mark.parametrize(
    "quantity",
    [heat_capacity, displacements, density_of_states, sound, phase_space],
)
def test_physics_belongs_to_the_crystal_not_to_its_description(quantity: Quantity) -> None:
    @settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data(), atoms=crystals(max_atoms=4))
    def check(data: st.DataObject, atoms: Atoms) -> None:
        assume(atoms.cell.volume < 200)
        other = data.draw(descriptions(atoms, largest=2))
        assume(np.linalg.det(other.atoms.cell.array) > 0)
        n_atoms = len(atoms)
        first = quantity(atoms, np.eye(3), np.arange(n_atoms), n_atoms)
        second = quantity(other.atoms, other.rotation, other.order, n_atoms)
        assert np.isfinite(first).all()
        np.testing.assert_allclose(second, first, rtol=2e-4, atol=1e-6 * np.abs(first).max())

    check()
