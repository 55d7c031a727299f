"""Pairs of atoms within a cutoff, for the few atoms of toy crystals."""

from __future__ import annotations

import itertools

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

__all__ = ["list_pairs"]


def list_pairs(
    atoms: Atoms, cutoff: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """List every pair twice, with all images, as ``ase.neighborlist.neighbor_list("ijdD", …)`` does.

    Every image of every atom is looked at: the effort grows with the square of the number of atoms, and for ten atoms
    it is a tenth of that of ASE's cells.

    Parameters
    ----------
    atoms : Atoms
    cutoff : float, Å

    Returns
    -------
    first, second : NDArray[np.int64]
        shape ``(n_pairs,)``; in the order of ``first``.
    distance : NDArray[np.float64]
        shape ``(n_pairs,)``, Å.
    vector : NDArray[np.float64]
        shape ``(n_pairs, 3)``, Å, from the first atom to the second.
    """
    cell = atoms.cell.complete().array
    inverse = np.linalg.inv(cell)
    heights = 1.0 / np.linalg.norm(inverse, axis=0)
    fractions = atoms.positions @ inverse
    apart = fractions[None] - fractions[:, None]
    apart -= np.where(atoms.pbc, np.rint(apart), 0.0)  # the nearest image along each axis is in the middle
    reach = np.where(atoms.pbc, np.floor(cutoff / heights + 0.5), 0.0).astype(int)
    images = np.array(list(itertools.product(*(range(-n, n + 1) for n in reach))), dtype=np.float64)
    vectors = (apart @ cell)[:, :, None] + images @ cell  # first, second, image, xyz
    distances = np.linalg.norm(vectors, axis=-1)
    near = distances < cutoff
    near[np.arange(len(atoms)), np.arange(len(atoms)), len(images) // 2] = False  # an atom and itself
    first, second, _ = np.nonzero(near)
    return first, second, distances[near], vectors[near]
