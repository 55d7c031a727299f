r"""Follow phonon branches through their crossings.

Frequencies sorted at each q turn a crossing of two branches into a repulsion: the drawn lines touch and part again,
with a gap that does not exist. Branches are therefore followed by their eigenvectors. From one point to the next,

.. math:: W_{ji} = \frac{1}{\min(|A_i|, |B_j|)} \sum_{i' \in A_i} \sum_{j' \in B_j}
          |\langle e_{j'}(q') | e_{i'}(q) \rangle|^2

with A and B the degenerate sets that i and j belong to: within such a set eigenvectors are arbitrary, the space they
span is not. The assignment with the largest total is taken (Hungarian algorithm). At a degenerate point the basis of
each set is turned towards the branches that arrive, so two that meet by accident keep their characters beyond.

Where branches change their order, or an assignment is unclear, the interval is halved: a crossing stays one at any
step, an avoided crossing shows itself once the step resolves its gap.

References
----------
phonopy connects bands by the same overlap, greedily and at a fixed step: A. Togo, L. Chaput, T. Tadano and I. Tanaka,
J. Phys.: Condens. Matter 35, 353001 (2023), doi:10.1088/1361-648X/acd831.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Solver = Callable[[float], tuple[NDArray[np.float64], NDArray[np.complex128]]]

_DEGENERATE = 2e-4  # of the largest frequency: what force constants that are symmetric but for noise leave of zero
_RESOLUTION = 5e-4  # of the largest frequency: gaps below the width of a line are not searched
_CLEAR = 0.75  # of an overlap; two branches that share their characters evenly have 0.5
_DEPTH = 8


@dataclass(frozen=True, eq=False)
class BandStructure:
    """Branches along a path through the Brillouin zone.

    Parameters
    ----------
    qpoints : ndarray
        float64 (n_points, 3), fractional.
    distances : ndarray
        float64 (n_points,), along the path, 1/Å without 2π.
    frequencies : ndarray
        float64 (n_points, n_bands), THz, imaginary ones negative; each column follows one branch.
    starts : ndarray
        int64 (n_segments + 1,), first point of each straight segment, and the end.
    connected : ndarray
        bool (n_segments,), True where the next segment goes on from the end of this one.
    labels : tuple of str
        Names of the high-symmetry points in order, in TeX where they need it; at a jump both ends are named.
    """

    qpoints: NDArray[np.float64]
    distances: NDArray[np.float64]
    frequencies: NDArray[np.float64]
    starts: NDArray[np.int64]
    connected: NDArray[np.bool_]
    labels: tuple[str, ...]

    def ticks(self) -> list[tuple[float, str]]:
        """Places (1/Å without 2π) and names of the high-symmetry points; a jump of the path shows both names."""
        names = iter(self.labels)
        ticks = [(float(self.distances[0]), next(names))]
        for segment, end in enumerate(self.starts[1:]):
            label = next(names)
            if not self.connected[segment] and segment < len(self.connected) - 1:
                label = f"{label}|{next(names)}"
            ticks.append((float(self.distances[end - 1]), label))
        return ticks


@dataclass(frozen=True)
class _Point:
    """Branches at one q.

    ``frequencies`` (n_bands,) THz and ``vectors`` (3 n_atoms, n_bands), in the order of the branches.
    """

    frequencies: NDArray[np.float64]
    vectors: NDArray[np.complex128]


def follow_bands(
    frequencies: NDArray[np.float64],
    eigenvectors: NDArray[np.complex128],
    solve: Solver | None = None,
    *,
    start: tuple[NDArray[np.float64], NDArray[np.complex128]] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.complex128]]:
    """Order the modes along one straight piece of a path such that each column is one branch.

    Parameters
    ----------
    frequencies : ndarray
        float64 (n_points, n_bands), THz, ascending at each point.
    eigenvectors : ndarray
        complex128 (n_points, 3 n_atoms, n_bands), columns are modes.
    solve : callable, optional
        Gives frequencies (n_bands,), ascending, and eigenvectors (3 n_atoms, n_bands) at a position between the
        points, in units of their distance (1.5 is halfway from the second to the third). Without it steps are taken
        as they are.
    start : tuple of ndarray, optional
        Frequencies (n_bands,) and eigenvectors (3 n_atoms, n_bands) of the branches at the first point as the piece
        before left them; without it the branches are numbered by frequency.

    Returns
    -------
    order : ndarray
        int64 (n_points, n_bands): ``frequencies[point, order[point]]`` are the branches.
    last : ndarray
        complex128 (3 n_atoms, n_bands): eigenvectors of the branches at the last point, for ``start`` of the next
        piece.
    """
    scale = float(np.abs(frequencies).max()) or 1.0
    order = np.empty(frequencies.shape, dtype=np.int64)
    order[0] = np.arange(frequencies.shape[1])
    here = _Point(frequencies[0], eigenvectors[0])
    if start is not None:
        order[0], here = _step(_Point(*start), here, scale)[:2]
    for number in range(1, len(frequencies)):
        there = _Point(frequencies[number], eigenvectors[number])
        order[number], here = _cross(here, there, solve, (number - 1.0, float(number)), scale, _DEPTH)
    return order, here.vectors


def _cross(
    here: _Point, there: _Point, solve: Solver | None, interval: tuple[float, float], scale: float, depth: int
) -> tuple[NDArray[np.int64], _Point]:
    """Go from one point to a sorted one, halving the interval where it is not clear which branch is which."""
    order, arrived, clear = _step(here, there, scale)
    if solve is None or depth == 0 or (clear and not _exchanges(here, arrived, scale)):
        return order, arrived
    middle = 0.5 * (interval[0] + interval[1])
    _, halfway = _cross(here, _Point(*solve(middle)), solve, (interval[0], middle), scale, depth - 1)
    return _cross(halfway, there, solve, (middle, interval[1]), scale, depth - 1)


def _step(here: _Point, there: _Point, scale: float) -> tuple[NDArray[np.int64], _Point, bool]:
    """Assign the sorted modes ``there`` to the branches ``here``; say whether every assignment is clear."""
    from scipy.optimize import linear_sum_assignment

    tolerance = _DEGENERATE * scale
    from_sets, to_sets = _degenerate_sets(here.frequencies, tolerance), _degenerate_sets(there.frequencies, tolerance)
    single = np.abs(there.vectors.conj().T @ here.vectors) ** 2  # (to, from)
    members_from = (from_sets[:, None] == from_sets[None]).astype(np.float64)
    members_to = (to_sets[:, None] == to_sets[None]).astype(np.float64)
    sizes = np.minimum(members_to.sum(axis=1)[:, None], members_from.sum(axis=0)[None])
    overlap = members_to @ single @ members_from / sizes
    # the set decides; the vectors, turned towards their branches where sets met by accident, break the tie
    modes, branches = linear_sum_assignment(overlap + 0.1 * members_to @ single, maximize=True)
    order = np.empty(len(modes), dtype=np.int64)
    order[branches] = modes
    clear = bool(overlap[order, np.arange(len(order))].min() >= _CLEAR)
    return order, _turn(here, there, order, to_sets), clear


def _turn(here: _Point, there: _Point, order: NDArray[np.int64], to_sets: NDArray[np.int64]) -> _Point:
    """Put modes in the order of the branches, the basis of each degenerate set as near as possible to theirs."""
    vectors, labels = there.vectors[:, order], to_sets[order]
    counts = np.bincount(labels)[labels]
    for size in np.unique(counts):
        among = np.flatnonzero(counts == size)
        members = among[np.argsort(labels[among], kind="stable")].reshape(-1, size)  # a row for each set
        basis, wanted = (modes[:, members].transpose(1, 0, 2) for modes in (vectors, here.vectors))
        left, _, right = np.linalg.svd(basis.conj().transpose(0, 2, 1) @ wanted)
        vectors[:, members] = (basis @ (left @ right)).transpose(1, 0, 2)
    return _Point(there.frequencies[order], vectors)


def _degenerate_sets(frequencies: NDArray[np.float64], tolerance: float) -> NDArray[np.int64]:
    """Label of the degenerate set of each mode, (n_bands,); neighbours within the tolerance belong together."""
    ascending = np.argsort(frequencies, kind="stable")
    labels = np.empty(len(frequencies), dtype=np.int64)
    labels[ascending] = np.concatenate([[0], np.cumsum(np.diff(frequencies[ascending]) > tolerance)])
    return labels


def _exchanges(here: _Point, there: _Point, scale: float) -> bool:
    """Whether two branches change their order by more than the width of a line."""
    limit = _RESOLUTION * scale
    before = here.frequencies[:, None] - here.frequencies[None]
    after = there.frequencies[:, None] - there.frequencies[None]
    return bool(np.any((before > limit) & (after < -limit)))
