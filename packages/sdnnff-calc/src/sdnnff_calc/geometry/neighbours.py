"""Neighbour lists: all pairs within a cutoff, periodic images counted, from vesin.

An edge e runs from its centre i to its neighbour j; its vector is D_e = x_j + S_e·cell − x_i. Edges are
sorted by centre, and within a centre by the neighbour's atomic number, so that everything later reads memory
in order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import vesin
from ase import Atoms
from numpy.typing import NDArray

from sdnnff_calc.errors import DataError, EmptyInputError, NonFiniteError, OverlappingAtomsError

__all__ = ["MIN_DISTANCE", "Edges", "VerletList", "find_edges"]

MIN_DISTANCE = 0.3
"""Å; two atoms closer than this are refused (the H2 bond is 0.74 Å), and so is a lower periodic cell."""

_MAX_EXTENT = 1e4  # Å, of a periodic cell and of the atoms along the other directions
_MAX_COORDINATE = 1e8  # Å; beyond, wrapping into the cell loses the digits that matter
_MAX_SEARCH = 1e8  # pairs of bins that vesin may visit in a partly periodic box, about 0.1 s


@dataclass(frozen=True)
class Edges:
    """Directed pairs of one structure.

    Attributes
    ----------
    centre, neighbour : NDArray[np.int64]
        Atom indices, int64, shape (n_edges,); ``centre`` is non-decreasing.
    shift : NDArray[np.int64]
        Lattice translations of the neighbour, int64, shape (n_edges, 3), in units of the cell vectors.
    vector : NDArray[np.float64]
        D_e, float64, shape (n_edges, 3), Å, from centre to neighbour.
    """

    centre: NDArray[np.int64]
    neighbour: NDArray[np.int64]
    shift: NDArray[np.int64]
    vector: NDArray[np.float64]


def _free_directions(atoms: Atoms) -> NDArray[np.float64]:
    """Give unit vectors perpendicular to every periodic cell vector and to each other, shape (n_free, 3)."""
    vectors = atoms.cell.array[atoms.pbc]
    return np.linalg.svd(vectors)[2][len(vectors) :] if len(vectors) else np.eye(3)


def _periodic_heights(atoms: Atoms) -> NDArray[np.float64]:
    """Distance of each periodic cell vector from the span of the other periodic ones, shape (n_periodic,), Å."""
    vectors = atoms.cell.array[atoms.pbc]
    heights = np.zeros(len(vectors))
    for k, vector in enumerate(vectors):
        others = np.delete(vectors, k, axis=0).T  # (3, n_periodic - 1)
        heights[k] = np.linalg.norm(vector - others @ np.linalg.lstsq(others, vector, rcond=None)[0])
    return heights


@dataclass(frozen=True)
class _Extent:
    """How far a structure reaches: free directions (n_free, 3), periodic heights and extents along the free ones, Å."""

    free: NDArray[np.float64]
    heights: NDArray[np.float64]
    extent: NDArray[np.float64]


def _checked_extent(atoms: Atoms) -> _Extent:
    """Refuse what vesin cannot take: it would stop Python, not return, or return wrong edges."""
    if len(atoms) == 0:
        raise EmptyInputError("the structure has 0 atoms, expected at least 1.")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise NonFiniteError("positions or cell hold NaN or infinity. Check how the structure was made.")
    farthest = np.abs(atoms.positions).max(axis=1)
    if farthest.max() > _MAX_COORDINATE:
        raise DataError(
            f"atom {farthest.argmax()} has a coordinate of {farthest.max():.3g} Å, expected at most "
            f"{_MAX_COORDINATE:.0e} Å. Check the unit of length, or wrap the atoms into the cell."
        )
    for axis in np.flatnonzero(atoms.pbc):
        longest = np.abs(atoms.cell.array[axis]).max()
        if longest > _MAX_EXTENT:
            raise DataError(
                f"cell vector {axis} has a component of {longest:.3g} Å, expected at most {_MAX_EXTENT:.0e} Å. "
                "Check the unit of length, or set atoms.pbc to False there."
            )
    heights = _periodic_heights(atoms)
    if heights.min(initial=np.inf) < MIN_DISTANCE:
        raise OverlappingAtomsError(
            f"direction {np.flatnonzero(atoms.pbc)[heights.argmin()]} is periodic but its cell vector ends "
            f"{heights.min():.3g} Å from the span of the other periodic ones, expected at least {MIN_DISTANCE} Å. "
            "Set atoms.pbc to False there, give a cell, or reduce a skewed one with ase.build.niggli_reduce."
        )
    free = _free_directions(atoms)
    extent = np.ptp(atoms.positions @ free.T, axis=0)
    if extent.max(initial=0.0) > _MAX_EXTENT:
        raise DataError(
            f"the atoms span {extent.max():.3g} Å along a direction that is not periodic, expected at most "
            f"{_MAX_EXTENT:.0e} Å. Check for an atom that has flown off."
        )
    return _Extent(free, heights, extent)


def _search_box(atoms: Atoms, reach: _Extent, cutoff: float) -> tuple[NDArray[np.float64], NDArray[np.bool_], float]:
    """Choose a box (3, 3), its periodic directions (3,) and a cutoff ≥ the one wanted that vesin can search.

    vesin 0.6 sorts atoms into bins about as wide as the cutoff, at most 1e5 of them. Two of its limits are met here.
    In a partly periodic box it visits about one bin per Å along the other directions, from every bin: where that is
    too slow they become periodic too, with images beyond the cutoff. And a wide flat box loses its last bin to the
    limit and divides by zero: a longer cutoff makes fewer bins.
    """
    periodic = np.array(atoms.pbc)
    box = np.array(atoms.cell.complete(), dtype=np.float64) if periodic.any() else np.zeros((3, 3))
    heights = np.zeros(3)
    heights[periodic], heights[~periodic] = reach.heights, reach.extent
    bins = np.maximum(heights / cutoff, 1.0)
    if periodic.any() and not periodic.all():
        visited = np.where(periodic, bins * cutoff / np.maximum(heights, MIN_DISTANCE), heights)
        if (bins * (2.0 * visited + 1.0)).prod() > _MAX_SEARCH:
            heights[~periodic] = reach.extent + 2.0 * cutoff
            box[~periodic] = reach.free * heights[~periodic, None]
            periodic[:] = True
    search = cutoff
    while bins.prod() > 5e4 and bins.min() * np.cbrt(1e5 / bins.prod()) < 3.0:  # margins for vesin's rounding
        search *= 1.2
        bins = np.maximum(heights / search, 1.0)
    return box, periodic, search


def find_edges(atoms: Atoms, cutoff: float, min_distance: float = MIN_DISTANCE) -> Edges:
    """List every pair closer than the cutoff, all periodic images included.

    Parameters
    ----------
    atoms : Atoms
        Any structure; periodic directions as in ``atoms.pbc``.
    cutoff : float, Å
    min_distance : float, Å
        Closer pairs raise.

    Returns
    -------
    Edges
        Sorted by centre, then by the neighbour's atomic number.

    Raises
    ------
    EmptyInputError
        For a structure without atoms.
    NonFiniteError
        For NaN or infinite positions.
    DataError
        For coordinates, cells or gaps so large that the structure must be broken.
    OverlappingAtomsError
        When two atoms (or an atom and an image) are closer than ``min_distance``, or the periodic cell is
        lower than ``MIN_DISTANCE``.
    """
    box, periodic, search = _search_box(atoms, _checked_extent(atoms), float(cutoff))
    calculator = vesin.NeighborList(cutoff=search, full_list=True, sorted=False, n_threads=1)
    i, j, shift, vector = calculator.compute(
        points=np.ascontiguousarray(atoms.positions, dtype=np.float64),
        box=box,
        periodic=[bool(p) for p in periodic],
        quantities="ijSD",
    )
    if search > cutoff:
        inside = np.einsum("ex,ex->e", vector, vector) < cutoff**2
        i, j, shift, vector = i[inside], j[inside], shift[inside], vector[inside]
    i, j = i.astype(np.int64), j.astype(np.int64)
    order = np.argsort(i * 128 + atoms.numbers[j], kind="stable")
    edges = Edges(i[order], j[order], shift[order].astype(np.int64), vector[order])
    _check_overlap(edges, min_distance)
    return edges


def _check_overlap(edges: Edges, min_distance: float) -> None:
    """Refuse pairs that are closer than any bond."""
    if len(edges.centre) == 0:
        return
    squared = np.einsum("ex,ex->e", edges.vector, edges.vector)
    worst = int(squared.argmin())
    if squared[worst] < min_distance**2:
        raise OverlappingAtomsError(
            f"atoms {edges.centre[worst]} and {edges.neighbour[worst]} are {np.sqrt(squared[worst]):.3f} Å "
            f"apart, expected at least {min_distance} Å. Check for duplicated atoms or a wrong cell."
        )


class VerletList:
    """A neighbour list kept over small moves.

    It is built with cutoff + skin and serves until an atom has moved more than skin/2, or the cell, the
    atomic numbers or the periodicity change; each call keeps only the edges within the cutoff.

    Parameters
    ----------
    cutoff, skin : float, Å
    """

    def __init__(self, cutoff: float, skin: float = 0.5) -> None:
        self.cutoff = float(cutoff)
        self.skin = float(skin)
        self.n_builds = 0
        self._reference: Atoms | None = None
        self._edges: Edges | None = None

    def edges(self, atoms: Atoms) -> Edges:
        """Give the edges of a structure within the cutoff, rebuilding only when needed."""
        if self.skin <= 0.0:
            self.n_builds += 1
            return find_edges(atoms, self.cutoff)
        if self._edges is None or not self._still_valid(atoms):
            self._edges = find_edges(atoms, self.cutoff + self.skin)
            self._reference = atoms.copy()
            self._reference.calc = None
            self.n_builds += 1
        kept = self._edges
        vector = atoms.positions[kept.neighbour] - atoms.positions[kept.centre] + kept.shift @ atoms.cell.array
        inside = np.einsum("ex,ex->e", vector, vector) < self.cutoff**2
        edges = Edges(kept.centre[inside], kept.neighbour[inside], kept.shift[inside], vector[inside])
        _check_overlap(edges, MIN_DISTANCE)
        return edges

    def _still_valid(self, atoms: Atoms) -> bool:
        """Tell whether no pair can have come within the cutoff unseen."""
        old = self._reference
        if old is None or len(old) != len(atoms) or not np.array_equal(old.numbers, atoms.numbers):
            return False
        if not np.array_equal(old.pbc, atoms.pbc) or not np.array_equal(old.cell.array, atoms.cell.array):
            return False
        moved = atoms.positions - old.positions
        if not np.isfinite(moved).all():
            return False
        return bool(np.einsum("ix,ix->i", moved, moved).max() < (0.5 * self.skin) ** 2)
