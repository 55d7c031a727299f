"""Whether two cells hold one crystal, and how the one goes over into the other.

Where a crystal is nearly of higher symmetry (a ≈ c, β ≈ 90°) several rotations bring it onto itself within the
tolerance; the one that fits best is the one that its tensors turn with.
"""

from __future__ import annotations

import itertools

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from screen_cli.crystal.masses import species_of

_STRETCH = 0.02  # relative: by how much lattices may differ
_ALIKE = 1e-3  # misfits that differ by less are one: the first, a proper rotation where there is one, is taken


def find_match(
    one: Atoms, other: Atoms, tolerance: float = 0.1
) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
    """Find a rotation and an order of atoms that bring one primitive cell onto another.

    Parameters
    ----------
    one, other : ase.Atoms
        Primitive cells, reduced alike (spglib's standardised ones); any origin.
    tolerance : float
        Distance that an atom may be off, Å.

    Returns
    -------
    (rotation, sources) or None
        Orthogonal, float64 (3, 3): a vector v of ``one`` is ``rotation @ v`` in ``other``; and of each atom of
        ``other`` the atom of ``one`` that it is, int64 (n_atoms,), of all that fit those that fit best. None: they are
        different crystals.
    """
    first, second = species_of(one), species_of(other)
    if sorted(first.tolist()) != sorted(second.tolist()):
        return None
    values, counts = np.unique(second, return_counts=True)
    rarest = values[counts.argmin()]
    anchor = int(np.flatnonzero(first == rarest)[0])
    goals = np.flatnonzero(second == rarest)
    best: tuple[float, NDArray[np.float64], NDArray[np.int64]] | None = None
    for rotation, stretch in _rotations(one.cell.array, other.cell.array):
        turned = one.positions @ rotation.T
        for goal in goals:
            moved = turned - turned[anchor] + other.positions[goal]
            found = _order(moved, first, other, second, tolerance)
            misfit = np.inf if found is None else stretch / _STRETCH + found[1] / tolerance
            if found is not None and (best is None or misfit < best[0] - _ALIKE):
                best = misfit, rotation, found[0]
    return None if best is None else best[1:]


def _rotations(one: NDArray[np.float64], other: NDArray[np.float64]) -> list[tuple[NDArray[np.float64], float]]:
    """Orthogonal matrices that bring one lattice nearly onto another (rows) and the stretch left, proper ones first."""
    lengths = np.linalg.norm(other, axis=1)
    combinations = np.array(list(itertools.product(range(-2, 3), repeat=3)))
    vectors = combinations @ one
    sizes = np.linalg.norm(vectors, axis=1)
    near = [vectors[np.abs(sizes / length - 1) < _STRETCH] for length in lengths]
    metric = other @ other.T
    scale = np.outer(lengths, lengths)
    found = []
    for a in near[0]:
        for b in near[1]:
            if abs(a @ b - metric[0, 1]) > 2 * _STRETCH * scale[0, 1]:
                continue
            for c in near[2]:
                basis = np.array([a, b, c])
                stretch = float(np.abs((basis @ basis.T - metric) / scale).max())
                if stretch < 2 * _STRETCH:
                    left, _, right = np.linalg.svd(other.T @ np.linalg.inv(basis.T))
                    found.append((left @ right, stretch))
    return sorted(found, key=lambda item: -np.linalg.det(item[0]))


def _order(
    moved: NDArray[np.float64],
    species: NDArray[np.int64],
    other: Atoms,
    wanted: NDArray[np.int64],
    tolerance: float,
) -> tuple[NDArray[np.int64], float] | None:
    """Atom at each position of a cell, up to lattice vectors, and how far the furthest is off in the best origin (Å).

    None where one is missing.
    """
    apart = (other.positions[:, None, :] - moved[None]) @ np.linalg.inv(other.cell.array)
    vectors = (apart - np.round(apart)) @ other.cell.array
    distance = np.linalg.norm(vectors, axis=2)
    distance[wanted[:, None] != species[None]] = np.inf
    sources = distance.argmin(axis=1)
    if distance.min(axis=1).max() > 2 * tolerance or len(set(sources.tolist())) < len(sources):
        return None
    left = vectors[np.arange(len(sources)), sources]
    off = float(np.linalg.norm(left - left.mean(axis=0), axis=1).max())
    return (sources.astype(np.int64), off) if off <= tolerance else None
