r"""Sums over pairs of modes that conserve energy with a third, by linear tetrahedra, compiled.

For the modes j of one q and all modes j', j'' of its triplets (q, q', q''):

.. math::

    S_{cj} = \sum_{t j' j''} w_t\, |A_{t j' j'' j}|^2 \left[ F^{c}_0\, \delta(\omega_j - \omega' - \omega'')
        + F^{c}_1\, \delta(\omega_j + \omega' - \omega'') + F^{c}_2\, \delta(\omega_j - \omega' + \omega'') \right],

with factors linear in the occupations, :math:`F^{c}_i = a_{ci} + b_{ci} n' + d_{ci} n''`. Linewidths are such sums, and
so is the phase space. The weights are those of phono3py, to rounding; but the frequencies of a tetrahedron are sorted
once for all j, and neither weights nor amplitudes are made where energy is not conserved, which is nearly everywhere.

References
----------
P. E. Blöchl, O. Jepsen, O. K. Andersen, Phys. Rev. B 49, 16223 (1994), doi:10.1103/PhysRevB.49.16223
A. Togo, L. Chaput, I. Tanaka, Phys. Rev. B 91, 094306 (2015), Appendix, doi:10.1103/PhysRevB.91.094306
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, NamedTuple, ParamSpec, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from phonopy.phonon.grid import BZGrid

P = ParamSpec("P")
R = TypeVar("R")


class TripletTetrahedra:
    """Neighbours of grid points, and which of them are corners of a point's tetrahedra.

    Parameters
    ----------
    grid : phonopy.phonon.grid.BZGrid
    symmetrize : bool
        The tetrahedra averaged over the four main diagonals, as phono3py does on request.
    """

    def __init__(self, grid: BZGrid, *, symmetrize: bool = False) -> None:
        from phonopy.phonon.tetrahedron_method import get_tetrahedra_relative_gr_grid_address

        relative = np.asarray(get_tetrahedra_relative_gr_grid_address(grid, symmetrize_tetrahedra=symmetrize))
        offsets, corners = np.unique(relative.reshape(-1, 3), axis=0, return_inverse=True)
        order = np.argsort(np.abs(offsets).sum(axis=1), kind="stable")  # the point itself first
        self.offsets = offsets[order]
        self.corners = np.ascontiguousarray(np.argsort(order)[corners.reshape(-1, 4)])
        self.mesh = np.asarray(grid.D_diag)
        self.addresses = np.asarray(grid.addresses)
        self.points = np.asarray(grid.grg2bzg)

    def neighbours(self, points: NDArray[np.int64], *, mirrored: bool = False) -> NDArray[np.int64]:
        """Grid points next to each, itself first, shape (n_points, n_neighbours); mirrored: on the other side."""
        at = (self.addresses[points][:, None] + (-self.offsets if mirrored else self.offsets)) % self.mesh
        found = self.points[at @ np.array([1, self.mesh[0], self.mesh[0] * self.mesh[1]])]
        found[:, 0] = points  # not another of its images
        return np.asarray(found)


def conserved_sums(
    tetrahedra: TripletTetrahedra,
    own: NDArray[np.float64],
    frequencies: NDArray[np.float64],
    triplets: NDArray[np.int64],
    weights: NDArray[np.float64],
    *,
    factors: NDArray[np.float64],
    occupations: NDArray[np.float64] | None = None,
    amplitudes: NDArray[np.complex64] | None = None,
    eigenvectors: NDArray[np.complex64] | None = None,
    above: float = -np.inf,
) -> NDArray[np.float64]:
    """Sum over triplets of one q.

    Parameters
    ----------
    tetrahedra : TripletTetrahedra
    own : NDArray[np.float64], shape (n_bands,), THz
        Frequencies of q.
    frequencies : NDArray[np.float64], shape (n_grid, n_bands), THz
        Negative ones count as zero.
    triplets : NDArray[np.int64], shape (n_triplets, 3)
        Grid points; the first column is not read.
    weights : NDArray[np.float64], shape (n_triplets,)
    factors : NDArray[np.float64], shape (n_sums, 3, 3)
        a, b and d of each sum and each of its three deltas.
    occupations : NDArray[np.float64], shape (n_sums, n_grid, n_bands), optional
        None: no factor depends on them.
    amplitudes : NDArray[np.complex64], shape (n_triplets, n_bands, n_bands, n_components), optional
        By j', j'' and component of mode j; None: A is one.
    eigenvectors : NDArray[np.complex64], shape (n_components, n_bands), optional
        Of q: A is the product of amplitudes and these.
    above : float, THz
        Modes j', j'' at or below it are left out.

    Returns
    -------
    NDArray[np.float64], shape (n_sums, n_bands)
        1/THz, times the square of A's unit.
    """
    order = np.argsort(own, kind="stable")
    if amplitudes is None or eigenvectors is None:
        parts = np.ones((1, 1, 1, 1), dtype=np.float32)
        real = imaginary = np.ones((len(own), 1), dtype=np.float32)
    else:
        parts = np.ascontiguousarray(amplitudes, dtype=np.complex64).view(np.float32)
        columns = np.ascontiguousarray(eigenvectors.T[order].conj(), dtype=np.complex64)
        real, imaginary = columns.view(np.float32), (columns * np.complex64(1j)).view(np.float32)
    if occupations is None:
        occupations = np.zeros((len(factors), *frequencies.shape))
    modes = _Modes(
        np.ascontiguousarray(own[order]),
        np.require(frequencies, requirements=["C", "W"]),
        tetrahedra.neighbours(triplets[:, 1]),
        tetrahedra.neighbours(triplets[:, 2], mirrored=True),
        tetrahedra.corners,
    )
    terms = _Terms(
        np.asarray(weights, dtype=np.float64) * 4 / len(tetrahedra.corners),
        np.array(factors, dtype=np.float64, order="C"),
        np.require(occupations, requirements=["C", "W"]),
        parts,
        real,
        imaginary,
        above,
    )
    sums = np.zeros((len(factors), len(own)))
    _kernel(modes, terms, sums)
    result = np.empty_like(sums)
    result[:, order] = sums
    return result


@dataclasses.dataclass
class _Compiled(Generic[P, R]):
    """A function compiled at its first call: once per machine where a cache can be written, else once per process."""

    function: Callable[P, R]

    def __post_init__(self) -> None:
        try:
            self.made = self._make(cache=True)
        except RuntimeError:  # no folder for the cache
            self.made = self._make(cache=False)

    def _make(self, *, cache: bool) -> Callable[P, R]:
        made: Callable[P, R] = numba.njit(cache=cache, error_model="numpy")(self.function)
        return made

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return self.made(*args, **kwargs)
        except OSError:  # no room for what was compiled; nothing has run
            self.made = self._make(cache=False)
            return self.made(*args, **kwargs)


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function of arrays by numba."""
    return _Compiled(function)


_inner = numba.njit(error_model="numpy")


class _Modes(NamedTuple):
    """Frequencies of q, sorted, and of the grid; neighbours of q' and q'' of each triplet; corners among them."""

    own: NDArray[np.float64]
    grid: NDArray[np.float64]
    points1: NDArray[np.int64]
    points2: NDArray[np.int64]
    corners: NDArray[np.int64]


class _Terms(NamedTuple):
    """What stands before the deltas; amplitudes and eigenvectors with real and imaginary parts side by side."""

    weights: NDArray[np.float64]
    factors: NDArray[np.float64]
    occupations: NDArray[np.float64]
    amplitudes: NDArray[np.float32]
    real: NDArray[np.float32]
    imaginary: NDArray[np.float32]
    above: float


class _Tetrahedra(NamedTuple):
    """Sorted frequencies of the corners, and the place of the point itself among them; of all tetrahedra of a point."""

    v0: NDArray[np.float64]
    v1: NDArray[np.float64]
    v2: NDArray[np.float64]
    v3: NDArray[np.float64]
    place: NDArray[np.int64]


@_inner
def _weight(omega: float, corners: tuple[float, float, float, float], place: int) -> float:
    """Density of a tetrahedron at omega that belongs to the corner of that place, of sorted frequencies."""
    v0, v1, v2, v3 = corners
    if omega < v1:
        f10, f20, f30 = (omega - v0) / (v1 - v0), (omega - v0) / (v2 - v0), (omega - v0) / (v3 - v0)
        density = f10 * f20 / (v3 - v0)
        if place == 0:
            return density * (3.0 - f10 - f20 - f30)
        if place == 1:
            return density * f10
        return density * (f20 if place == 2 else f30)
    if omega < v2:
        f20, f21 = (omega - v0) / (v2 - v0), (omega - v1) / (v2 - v1)
        f12, f13 = 1.0 - f21, (v3 - omega) / (v3 - v1)
        f30 = (omega - v0) / (v3 - v0)
        whole = f12 * f20 + f21 * f13
        if place == 0:
            return ((1.0 - f30) * whole + (1.0 - f20) * f20 * f12) / (v3 - v0)
        if place == 1:
            return (f12 * whole + f13 * f13 * f21) / (v3 - v0)
        if place == 2:
            return (f21 * whole + f20 * f20 * f12) / (v3 - v0)
        return (f30 * whole + (1.0 - f13) * f13 * f21) / (v3 - v0)
    f03, f13, f23 = (v3 - omega) / (v3 - v0), (v3 - omega) / (v3 - v1), (v3 - omega) / (v3 - v2)
    density = f13 * f23 / (v3 - v0)
    if place == 3:
        return density * (3.0 - f03 - f13 - f23)
    if place == 2:
        return density * f23
    return density * (f13 if place == 1 else f03)


@_inner
def _sort(f: NDArray[np.float64], corners: NDArray[np.int64], tetrahedra: _Tetrahedra) -> None:
    """Fill in the sorted frequencies of all tetrahedra, from those of the neighbours."""
    v0, v1, v2, v3, place = tetrahedra
    for k in range(len(corners)):
        a, b, c, d = f[corners[k, 0]], f[corners[k, 1]], f[corners[k, 2]], f[corners[k, 3]]
        a, b, c, d = min(a, b), max(a, b), min(c, d), max(c, d)
        v0[k], v3[k] = min(a, c), max(b, d)
        a, b = max(a, c), min(b, d)
        v1[k], v2[k] = min(a, b), max(a, b)
        place[k] = (f[0] > v0[k]) * 1 + (f[0] > v1[k]) * 1 + (f[0] > v2[k]) * 1


@numba.njit(fastmath={"reassoc", "contract"})
def _product(left: NDArray[np.float32], right: NDArray[np.float32]) -> np.float32:
    """Scalar product of two rows, summed in any order."""
    total = np.float32(0.0)
    for i in range(len(left)):
        total += left[i] * right[i]
    return total


@_inner
def _reached(own: NDArray[np.float64], low: float, high: float) -> tuple[int, int]:
    """First and behind the last of sorted frequencies between two bounds."""
    start = 0
    while start < len(own) and own[start] < low:
        start += 1
    end = start
    while end < len(own) and own[end] <= high:
        end += 1
    return start, end


@_inner
def _read(grid: NDArray[np.float64], points: NDArray[np.int64], table: NDArray[np.float64]) -> None:
    """Frequencies of all modes at the neighbours of a point, shape (n_bands, n_neighbours + 2): bounds at the end."""
    n_points = len(points)
    for j in range(len(table)):
        for p in range(n_points):
            table[j, p] = max(grid[points[p], j], 0.0)
        table[j, n_points], table[j, n_points + 1] = table[j, :n_points].min(), table[j, :n_points].max()


@_inner
def _combine(row1: NDArray[np.float64], row2: NDArray[np.float64], delta: int, f: NDArray[np.float64]) -> None:
    """Frequencies that a mode of q has where one of the deltas conserves energy, at all neighbours."""
    for p in range(len(f)):
        if delta == 0:
            f[p] = row1[p] + row2[p]
        elif delta == 1:
            f[p] = row2[p] - row1[p]
        else:
            f[p] = row1[p] - row2[p]


@_inner
def _bounds(row1: NDArray[np.float64], row2: NDArray[np.float64], delta: int) -> tuple[float, float]:
    """Outer bounds of what :func:`_combine` gives."""
    low1, high1, low2, high2 = row1[-2], row1[-1], row2[-2], row2[-1]
    if delta == 0:
        return low1 + low2, high1 + high2
    if delta == 1:
        return low2 - high1, high2 - low1
    return low1 - high2, high1 - low2


@_inner
def _factor(terms: _Terms, s: int, delta: int, n1: float, n2: float) -> float:
    """Give the factor of a sum and a delta; an occupation that does not count may be infinite."""
    a: float = terms.factors[s, delta, 0]
    b: float = terms.factors[s, delta, 1]
    d: float = terms.factors[s, delta, 2]
    return a + (b * n1 if b != 0.0 else 0.0) + (d * n2 if d != 0.0 else 0.0)


@compiled
def _kernel(modes: _Modes, terms: _Terms, sums: NDArray[np.float64]) -> None:
    """Add the sums of :func:`conserved_sums`, of sorted modes."""
    own, corners = modes.own, modes.corners
    n_bands, n_points, n_corners = len(own), modes.points1.shape[1], len(corners)
    first, second = np.empty((n_bands, n_points + 2)), np.empty((n_bands, n_points + 2))
    f, density = np.empty(n_points), np.empty(n_bands)
    v0, v1, v2, v3 = np.empty(n_corners), np.empty(n_corners), np.empty(n_corners), np.empty(n_corners)
    place = np.empty(n_corners, np.int64)
    whole = terms.amplitudes.shape[3] > 1
    for t in range(len(terms.weights)):
        q1, q2 = modes.points1[t, 0], modes.points2[t, 0]
        _read(modes.grid, modes.points1[t], first)
        _read(modes.grid, modes.points2[t], second)
        for j1 in range(n_bands):
            if modes.grid[q1, j1] <= terms.above:
                continue
            for j2 in range(n_bands):
                if modes.grid[q2, j2] <= terms.above:
                    continue
                for delta in range(3):
                    low, high = _bounds(first[j1], second[j2], delta)
                    start, end = _reached(own, low, high)
                    if start == end:
                        continue
                    _combine(first[j1], second[j2], delta, f)
                    start, end = _reached(own, f.min(), f.max())
                    if start == end:
                        continue
                    _sort(f, corners, _Tetrahedra(v0, v1, v2, v3, place))
                    for j in range(start, end):
                        density[j] = 0.0
                        for k in range(n_corners):
                            if v0[k] <= own[j] and own[j] < v3[k]:
                                density[j] += _weight(own[j], (v0[k], v1[k], v2[k], v3[k]), place[k])
                        density[j] *= terms.weights[t]
                        if whole and density[j] != 0.0:
                            row = terms.amplitudes[t, j1, j2]
                            density[j] *= _product(row, terms.real[j]) ** 2 + _product(row, terms.imaginary[j]) ** 2
                    for s in range(len(sums)):
                        factor = _factor(terms, s, delta, terms.occupations[s, q1, j1], terms.occupations[s, q2, j2])
                        for j in range(start, end):
                            sums[s, j] += factor * density[j]
