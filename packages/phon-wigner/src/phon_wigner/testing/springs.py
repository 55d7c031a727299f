"""A crystal of springs on any lattice: stable, quick, and the same physics however it is written down.

Every two atoms at a distance d are joined by a central spring and a weaker transverse one, both of which fade with d.
The force constants follow from positions alone, so that turning, shifting, inverting or reordering the crystal, or
stating it in another unit, describes the same solid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.cells import get_supercell

from phon_wigner.phonons.assembly import CrystalParts, build_crystal
from phon_wigner.phonons.harmonic import HarmonicCrystal

REACH = 5.5
"""Distance (Å) beyond which atoms no longer feel one another."""


def spring_force_constants(cell: PhonopyAtoms) -> NDArray[np.float64]:
    """Return the force constants of a periodic cell, shape (n_atoms, n_atoms, 3, 3), eV/Å²."""
    steps = np.array(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij")).reshape(3, -1).T @ np.asarray(cell.cell)
    positions = np.asarray(cell.positions)
    vectors = positions[None, :, None] - positions[:, None, None] + steps  # ijt
    distance = np.linalg.norm(vectors, axis=-1)
    joined = (distance > 1e-6) & (distance < REACH)
    fade = np.where(joined, (1 - (np.minimum(distance, REACH) / REACH) ** 2) ** 3, 0.0)
    unit = vectors / np.where(joined, distance, 1.0)[..., None]
    along = np.einsum("ijta,ijtb,ijt->ijab", unit, unit, 2.0 * fade)
    constants = -along - 0.5 * fade.sum(axis=2)[:, :, None, None] * np.eye(3)
    own = np.arange(len(positions))
    constants[own, own] -= constants.sum(axis=1)
    return np.asarray(constants)


def spring_crystal(
    cell: PhonopyAtoms, supercell: tuple[int, int, int] = (2, 2, 2), primitive: str | None = None
) -> HarmonicCrystal:
    """Return the crystal of springs on a unit cell (Å).

    Parameters
    ----------
    cell : phonopy.structure.atoms.PhonopyAtoms
    supercell : tuple of int
        Multiples of the cell on which the force constants stand.
    primitive : str, optional
        phonopy's primitive axes; None for the cell itself.
    """
    matrix = np.diag(supercell)
    constants = spring_force_constants(get_supercell(cell, matrix))
    return build_crystal(CrystalParts(cell, matrix, primitive, None, constants))
