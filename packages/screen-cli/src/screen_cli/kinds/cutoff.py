"""A cutoff of fc3 for kinds whose least-squares solution would be too large: the longest that is not.

It lies between two shells of neighbours, so that crystals of one kind whose shells agree share it whatever their
lattice constants. What it leaves out shows in the even part of the forces on supercells left out of the fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from phonopy.structure.atoms import PhonopyAtoms

_GAP = 0.02  # relative: shells closer than this count as one


def pair_distances(supercell: PhonopyAtoms) -> NDArray[np.float64]:
    """Measure shortest distances between atoms and images of others, float64 (n_atoms, n_atoms), Å, as symfc does."""
    from symfc.utils.cutoff_tools import FCCutoff
    from symfc.utils.utils import SymfcAtoms

    atoms = SymfcAtoms(cell=supercell.cell, scaled_positions=supercell.scaled_positions, numbers=supercell.numbers)
    return np.asarray(FCCutoff(atoms).distances, dtype=np.float64)


def affordable_cutoff(distances: NDArray[np.float64], atoms: Sequence[int], share: float) -> float | None:
    """Find the longest cutoff within which lies at most some share of the triples of atoms.

    Parameters
    ----------
    distances : ndarray
        float64 (n_atoms, n_atoms), Å.
    atoms : sequence of int
        Those that stand for all: one of each class that translations connect.
    share : float
        Of all triples, those whose three distances are below the cutoff.

    Returns
    -------
    float or None
        Å, in the middle between two shells; None where even the first shell is too much.
    """
    shells = np.unique(distances[list(atoms)])
    apart = np.flatnonzero(np.diff(shells) > _GAP * shells[1:])
    radii = 0.5 * (shells[apart] + shells[apart + 1])
    longest_first = (float(radius) for radius in radii[:0:-1])
    return next((radius for radius in longest_first if _share_within(distances, atoms, radius) <= share), None)


def _share_within(distances: NDArray[np.float64], atoms: Sequence[int], radius: float) -> float:
    """Count triples with all three distances below a radius, over all triples."""
    near = (distances < radius).astype(np.float64)
    rows = near[list(atoms)]
    return float(np.einsum("ij,jk,ik->", rows, near, rows, optimize=True)) / (len(rows) * len(near) ** 2)
