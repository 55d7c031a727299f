"""How far atoms move against the distance of their neighbours.

Crystals melt where the root mean square displacement comes to 0.1 to 0.15 of the distance of the nearest neighbour
(Lindemann); solid helium-4, held by pressure, goes to 0.26.

References
----------
F. A. Lindemann, Phys. Z. 11, 609 (1910); C. A. Burns and E. D. Isaacs, Phys. Rev. B 55, 5767 (1997),
doi:10.1103/PhysRevB.55.5767.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from screen_cli.physics.bonds import nearest_bonds

LARGEST_LINDEMANN_RATIO = 0.25
"""Beyond it nothing but helium is a crystal, and phonons of a harmonic one mean nothing."""


def lindemann_ratios(
    squares: NDArray[np.float64], cell: NDArray[np.float64], scaled: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give the largest ratio of displacement to distance of any atom, float64 (n_temps,).

    Parameters
    ----------
    squares : ndarray
        float64 (n_temps, n_atoms), Å²: mean square displacements, summed over x, y, z.
    cell : ndarray
        float64 (3, 3), rows, Å.
    scaled : ndarray
        float64 (n_atoms, 3), positions in units of the cell's vectors.
    """
    bonds = nearest_bonds(cell, scaled)
    nearest = np.full(len(scaled), np.inf)
    for side in (0, 1):
        np.minimum.at(nearest, bonds.pairs[:, side], bonds.distances)
    return np.asarray((np.sqrt(squares) / nearest).max(axis=1))
