"""Bonds of a crystal: the pairs of atoms in each other's nearest shell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHELL = 1.1
"""How many times the distance of an atom's nearest neighbour its shell reaches.

Second neighbours of a body-centred lattice stand at 1.155, those of rocksalt and zinc blende at 1.41 and more.
"""
_SAME_PLACE = 1e-6


@dataclass(frozen=True, eq=False)
class Bonds:
    """Pairs of atoms, each once per cell of the crystal.

    Parameters
    ----------
    pairs : ndarray
        int64 (n_bonds, 2): numbers of the two atoms in the cell.
    cells : ndarray
        int64 (n_bonds, 3): the second atom stands in this cell, the first in (0, 0, 0).
    distances : ndarray
        float64 (n_bonds,), Å.
    """

    pairs: NDArray[np.int64]
    cells: NDArray[np.int64]
    distances: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.distances)


def nearest_bonds(cell: NDArray[np.float64], scaled: NDArray[np.float64], shell: float = SHELL) -> Bonds:
    """Find the pairs of which one atom at least has the other in its nearest shell.

    So no atom is left without a bond, however large its cage is, and the choice needs no radii.

    Parameters
    ----------
    cell : ndarray
        float64 (3, 3), rows, Å.
    scaled : ndarray
        float64 (n_atoms, 3), positions in units of the cell's vectors.
    shell : float
        Reach of the shell in distances of the nearest neighbour, 1 or more.

    Raises
    ------
    ValueError
        The shell is below 1, or the cell has no volume.
    """
    if shell < 1:
        raise ValueError(f"shell = {shell:g} reaches no neighbour, expected 1 or more")
    reach = 1.2 * float(np.cbrt(abs(np.linalg.det(cell)) / len(scaled)))
    if not reach > 0:
        raise ValueError("the cell has no volume")
    cells, distances = _distances(cell, scaled, reach)
    while (wanted := shell * distances.min(axis=(1, 2)).max()) > reach:
        reach = min(wanted, 2 * reach) * (1 + _SAME_PLACE)
        cells, distances = _distances(cell, scaled, reach)
    nearest = distances.min(axis=(1, 2))
    limits = shell * np.maximum(nearest[:, None], nearest[None, :])
    first, second, where = np.nonzero(distances <= limits[:, :, None] * (1 + _SAME_PLACE))
    kept = [
        (i, j, *cells[x]) > (j, i, *-cells[x])  # each pair once: it is found from both ends
        for i, j, x in zip(first.tolist(), second.tolist(), where.tolist(), strict=True)
    ]
    first, second, where = first[kept], second[kept], where[kept]
    return Bonds(np.stack([first, second], axis=1), cells[where], distances[first, second, where])


def _distances(
    cell: NDArray[np.float64], scaled: NDArray[np.float64], reach: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Cells within reach, (n_cells, 3), and distances, (n_atoms, n_atoms, n_cells), infinite from an atom to itself."""
    spread = np.ptp(scaled, axis=0)
    most = np.ceil(reach * np.linalg.norm(np.linalg.inv(cell), axis=0) + spread).astype(np.int64)
    cells = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), axis=-1).reshape(-1, 3)
    apart = (scaled[None, :, None] + cells - scaled[:, None, None]) @ cell
    distances = np.linalg.norm(apart, axis=-1)
    return cells, np.where(distances < _SAME_PLACE, np.inf, distances)
