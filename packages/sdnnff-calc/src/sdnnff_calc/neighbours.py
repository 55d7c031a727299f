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

from sdnnff_calc.errors import EmptyInputError, NonFiniteError, OverlappingAtomsError

__all__ = ["MIN_DISTANCE", "Edges", "VerletList", "find_edges"]

MIN_DISTANCE = 0.3
"""Å; two atoms closer than this are refused (the H2 bond is 0.74 Å)."""


@dataclass(frozen=True)
class Edges:
    """Directed pairs of one structure.

    Attributes
    ----------
    centre, neighbour
        Atom indices, int64, shape (n_edges,); ``centre`` is non-decreasing.
    shift
        Lattice translations of the neighbour, int64, shape (n_edges, 3), in units of the cell vectors.
    vector
        D_e, float64, shape (n_edges, 3), Å, from centre to neighbour.
    """

    centre: NDArray[np.int64]
    neighbour: NDArray[np.int64]
    shift: NDArray[np.int64]
    vector: NDArray[np.float64]


def _check_geometry(atoms: Atoms) -> None:
    """Refuse an empty or non-finite structure, and a periodic direction without a cell vector."""
    if len(atoms) == 0:
        raise EmptyInputError("the structure has 0 atoms, expected at least 1.")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise NonFiniteError("positions or cell hold NaN or infinity. Check how the structure was made.")
    periodic = np.asarray(atoms.pbc)
    lengths = np.linalg.norm(atoms.cell.array, axis=1)
    for axis in np.flatnonzero(periodic & (lengths < 1e-8)):
        raise OverlappingAtomsError(
            f"direction {axis} is periodic but its cell vector has length 0: every atom would sit on its own "
            "image. Set atoms.pbc to False there, or give a cell."
        )
    if periodic.all() and abs(atoms.cell.volume) < 1e-6:
        raise OverlappingAtomsError("the cell has zero volume: its vectors are coplanar.")


def find_edges(atoms: Atoms, cutoff: float, min_distance: float = MIN_DISTANCE) -> Edges:
    """List every pair closer than the cutoff, all periodic images included.

    Parameters
    ----------
    atoms
        Any structure; periodic directions as in ``atoms.pbc``.
    cutoff
        Å.
    min_distance
        Å; closer pairs raise.

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
    OverlappingAtomsError
        When two atoms (or an atom and an image) are closer than ``min_distance``.
    """
    _check_geometry(atoms)
    cell = np.array(atoms.cell.complete(), dtype=np.float64) if atoms.pbc.any() else np.zeros((3, 3))
    calculator = vesin.NeighborList(cutoff=float(cutoff), full_list=True, sorted=False, n_threads=1)
    i, j, shift, vector = calculator.compute(
        points=np.ascontiguousarray(atoms.positions, dtype=np.float64),
        box=cell,
        periodic=[bool(p) for p in atoms.pbc],
        quantities="ijSD",
    )
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
    cutoff, skin
        Å.
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
