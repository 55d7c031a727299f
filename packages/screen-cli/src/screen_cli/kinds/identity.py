"""What makes two crystals of one kind: the action of the space group on the atoms of their supercells.

Symmetry-adapted force constants know a crystal by two things alone: how each operation permutes the atoms of the
supercell, and how it rotates Cartesian vectors. Elements, lattice constant and free coordinates do not enter. Two
crystals whose operations agree in both share the basis of their force constants and, for displacements that agree up to
their length, the least-squares matrix.

The order of the atoms and the origin are conventions, so they are settled here: atoms are ordered by their positions
seen from one of them, and of all atoms that could be that one the choice with the smallest description wins.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_GRID = 1e-3  # of fractional coordinates, when atoms are put in order
_DIGITS = 5  # of Cartesian rotations


@dataclass(frozen=True)
class CanonicalAction:
    """How the space group of a supercell acts, with its atoms in canonical order.

    Parameters
    ----------
    order : ndarray
        int64 (n_atoms,): canonical atom i is atom ``order[i]`` of the supercell.
    permutations : ndarray
        int64 (n_operations, n_atoms), of canonical atoms: operation g takes atom i to ``permutations[g, i]``. Sorted.
    rotations : ndarray
        float64 (n_operations, 3, 3), Cartesian, of columns, in the order of the permutations.
    key : str
        Hash of permutations and rotations: the kind.
    """

    order: NDArray[np.int64]
    permutations: NDArray[np.int64]
    rotations: NDArray[np.float64]
    key: str

    @property
    def translations(self) -> NDArray[np.int64]:
        """Permutations of the operations that only translate: int64 (n_translations, n_atoms)."""
        pure = np.abs(self.rotations - np.eye(3)).max(axis=(1, 2)) < 10.0**-_DIGITS
        translations: NDArray[np.int64] = self.permutations[pure]
        return translations


def canonical_action(
    positions: NDArray[np.float64],
    numbers: NDArray[np.int64],
    permutations: NDArray[np.int64],
    rotations: NDArray[np.float64],
) -> CanonicalAction:
    """Bring the action of a supercell's space group into canonical form.

    Parameters
    ----------
    positions : ndarray
        float64 (n_atoms, 3), fractional in the supercell.
    numbers : ndarray
        int64 (n_atoms,), atomic numbers: between orders that describe the group alike they decide, so that a crystal
        written in another way gets the same displacements. They are no part of the kind.
    permutations, rotations : ndarray
        int64 (n_operations, n_atoms) and float64 (n_operations, 3, 3), Cartesian
        (:func:`screen_cli.crystal.phonopy_cells.symmetry_action`).
    """
    permutations = np.asarray(permutations, dtype=np.int64)
    rotations = np.round(rotations, _DIGITS) + 0.0  # no negative zeros
    origins = _one_of_each_translation_class(permutations, rotations)
    found = [_seen_from(origin, np.asarray(positions), permutations, rotations) for origin in origins]
    return min(found, key=lambda action: (action.key, tuple(np.asarray(numbers)[action.order])))


def _one_of_each_translation_class(
    permutations: NDArray[np.int64], rotations: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Give one atom of each class that pure translations connect."""
    pure = np.abs(rotations - np.eye(3)).max(axis=(1, 2)) < 10.0**-_DIGITS
    return np.unique(permutations[pure].min(axis=0))


def _seen_from(
    origin: int, positions: NDArray[np.float64], permutations: NDArray[np.int64], rotations: NDArray[np.float64]
) -> CanonicalAction:
    """Order atoms by their positions relative to one of them, and operations by what they do."""
    relative = positions - positions[origin]
    cells = np.round((relative - np.floor(relative + 0.5 * _GRID)) / _GRID).astype(np.int64)
    order = np.lexsort(cells.T[::-1])
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    canonical = place[permutations[:, order]]
    sequence = np.lexsort((*rotations.reshape(len(rotations), 9).T, *canonical.T[::-1]))
    canonical, turned = canonical[sequence], rotations[sequence]
    digest = hashlib.sha256(canonical.astype("<i4").tobytes() + np.round(turned * 10**_DIGITS).astype("<i4").tobytes())
    return CanonicalAction(order, canonical, turned, digest.hexdigest())
