"""Hypothesis strategies for physics: spectra, stiffness matrices, point groups, and crystals held by springs.

Needs hypothesis. The springs depend on distances and elements alone, so every description of one crystal has the same
physics, and what is computed from it must not change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import spglib
from ase import Atoms
from ase.neighborlist import neighbor_list
from hypothesis import strategies as st
from numpy.typing import NDArray

from screen_cli.testing.strategies import rotations

if TYPE_CHECKING:
    from phonopy import Phonopy


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Frequencies on a mesh.

    Parameters
    ----------
    frequencies : ndarray
        float64 (n_qpoints, n_bands), THz, ascending, positive, with degeneracies.
    weights : ndarray
        int64 (n_qpoints,).
    shares : ndarray
        float64 (n_qpoints, n_bands, n_atoms), |e|² of each atom; the sum over atoms is 1, and over bands 3.
    masses : ndarray
        float64 (n_atoms,), u.
    """

    frequencies: NDArray[np.float64]
    weights: NDArray[np.int64]
    shares: NDArray[np.float64]
    masses: NDArray[np.float64]


@st.composite
def spectra(draw: st.DrawFn, *, max_qpoints: int = 5, max_atoms: int = 3) -> Spectrum:
    """Draw a spectrum of one to three atoms, often degenerate."""
    n_qpoints, n_atoms = draw(st.integers(1, max_qpoints)), draw(st.integers(1, max_atoms))
    frequency = st.one_of(st.floats(0.05, 30.0), st.sampled_from([1.0, 2.5, 10.0]))
    rows = st.lists(frequency, min_size=3 * n_atoms, max_size=3 * n_atoms).map(sorted)
    frequencies = np.array([draw(rows) for _ in range(n_qpoints)])
    weights = np.array([draw(st.integers(1, 48)) for _ in range(n_qpoints)])
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = 3 * n_atoms
    matrices = rng.normal(size=(n_qpoints, size, size)) + 1j * rng.normal(size=(n_qpoints, size, size))
    vectors = np.linalg.qr(matrices)[0].reshape(n_qpoints, n_atoms, 3, size)
    shares = (np.abs(vectors) ** 2).sum(axis=2).transpose(0, 2, 1)
    masses = np.array([draw(st.floats(1.0, 240.0)) for _ in range(n_atoms)])
    return Spectrum(frequencies, weights, shares, masses)


@st.composite
def stiffnesses(draw: st.DrawFn) -> NDArray[np.float64]:
    """Draw a positive stiffness (6, 6) in Mandel's notation, eV/Å³; eigenvalues from 5 to 500 GPa."""
    values = np.array([draw(st.floats(0.03, 3.0)) for _ in range(6)])
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    stiffness: NDArray[np.float64] = (basis * values) @ basis.T
    return stiffness


@st.composite
def point_groups(draw: st.DrawFn) -> NDArray[np.float64]:
    """Draw one of the 32 point groups in any orientation: Cartesian rotations (n_operations, 3, 3)."""
    number = draw(st.integers(1, 530))
    operations = spglib.get_symmetry_from_database(number) or {}
    turns = np.unique(operations["rotations"], axis=0).astype(np.float64)
    metric = np.mean([turn.T @ turn for turn in turns], axis=0)
    axes = np.linalg.cholesky(metric).T  # columns are lattice vectors
    frame = draw(rotations()) @ axes
    return np.array([frame @ turn @ np.linalg.inv(frame) for turn in turns])


def spring_force_constants(cell: Atoms, reach: float) -> NDArray[np.float64]:
    """Force constants (n_atoms, n_atoms, 3, 3) in eV/Å² of springs between all atoms closer than ``reach`` Å.

    A spring is stiff along the pair and weaker across it, by distance and elements.
    """
    first, second, distances, vectors = neighbor_list("ijdD", cell, reach)
    numbers = cell.numbers.astype(np.float64)
    strength = (4.0 + 0.02 * np.sqrt(numbers[first] * numbers[second])) * (1 - distances / reach) ** 2
    units = vectors / distances[:, None]
    along = np.einsum("n,ni,nj->nij", 0.8 * strength, units, units)
    blocks = along + np.einsum("n,ij->nij", 0.2 * strength, np.eye(3))
    matrix = np.zeros((len(cell), len(cell), 3, 3))
    np.add.at(matrix, (first, second), -blocks)
    np.add.at(matrix, (first, first), blocks)
    return matrix


def spring_phonopy(atoms: Atoms, reach: float = 4.5) -> Phonopy:
    """Phonons of a crystal held by springs, in the primitive cell that phonopy finds, in the frame of ``atoms``."""
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms
    from phonopy.structure.cells import guess_primitive_matrix

    cell = PhonopyAtoms(numbers=atoms.numbers, cell=atoms.cell.array, scaled_positions=atoms.get_scaled_positions())
    heights = 1 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    dim = np.ceil(2 * reach / heights).astype(int)
    phonopy = Phonopy(cell, supercell_matrix=np.diag(dim), primitive_matrix=guess_primitive_matrix(cell), log_level=0)
    supercell = Atoms(
        numbers=phonopy.supercell.numbers,
        positions=phonopy.supercell.positions,
        cell=phonopy.supercell.cell,
        pbc=True,
    )
    phonopy.force_constants = spring_force_constants(supercell, reach)
    return phonopy
