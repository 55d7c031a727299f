"""Atomic environments of many structures, flattened into tensors that one model call can read.

Edges are sorted by (centre, element of the neighbour). A *row* is the set of edges of one centre towards one
element; rows are padded to the same length so that sums over neighbours are batched matrix products. Slots
say where each edge goes in the padded array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor

from sdnnff_calc.errors import EmptyInputError
from sdnnff_calc.geometry.neighbours import Edges, find_edges

__all__ = ["EdgeArrays", "Environments", "build_environments", "collate_edges"]


@dataclass(frozen=True)
class EdgeArrays:
    """What a model needs of one structure, as arrays (the unit that the on-disk cache stores).

    Attributes
    ----------
    numbers : NDArray[Any]
        Atomic numbers, int16 or wider, shape (n_atoms,).
    centre, neighbour : NDArray[Any]
        Atom indices, int32 or wider, shape (n_edges,), sorted by centre and neighbour element.
    vector : NDArray[Any]
        D_e, float, shape (n_edges, 3), Å.
    volume : float, Å³
        NaN without a full periodic cell.
    """

    numbers: NDArray[np.integer]
    centre: NDArray[np.integer]
    neighbour: NDArray[np.integer]
    vector: NDArray[np.floating]
    volume: float

    @classmethod
    def from_atoms(cls, atoms: Atoms, cutoff: float, edges: Edges | None = None) -> EdgeArrays:
        """Find the edges of a structure (or take those given)."""
        found = find_edges(atoms, cutoff) if edges is None else edges
        volume = float(abs(atoms.cell.volume)) if atoms.pbc.all() else float("nan")
        return cls(np.asarray(atoms.numbers), found.centre, found.neighbour, found.vector, volume)


@dataclass(frozen=True)
class Environments:
    """A batch of structures as one disconnected graph.

    Attributes
    ----------
    numbers : Tensor, int64, shape (n_atoms,)
    structure : Tensor
        Which structure each atom belongs to, int64, shape (n_atoms,).
    volumes : Tensor
        float, shape (n_structures,), Å³.
    centre, neighbour : Tensor, int64, shape (n_edges,)
        Indices into the atoms of the batch.
    vector : Tensor
        D_e, float, shape (n_edges, 3), Å, from centre to neighbour.
    row_slot : Tensor
        Place of each edge in the (n_rows · row_width) padded array, int64, shape (n_edges,).
    row_number : Tensor
        Neighbour element of each row, int64, shape (n_rows,).
    row_place : Tensor
        Place of each row in the (n_atoms · n_species) padded array, int64, shape (n_rows,).
    centre_slot : Tensor
        Place of each edge in the (n_atoms · centre_width) padded array, int64, shape (n_edges,).
    neighbour_slot : Tensor
        Place of each edge in the (n_atoms · neighbour_width) padded array, one row per neighbour, int64, (n_edges,).
    n_atoms_each : tuple of int
        Python ints, one per structure.
    n_rows, row_width, n_species, centre_width, neighbour_width : int
        Sizes of the padded arrays.
    """

    numbers: Tensor
    structure: Tensor
    volumes: Tensor
    centre: Tensor
    neighbour: Tensor
    vector: Tensor
    row_slot: Tensor
    row_number: Tensor
    row_place: Tensor
    centre_slot: Tensor
    neighbour_slot: Tensor
    n_atoms_each: tuple[int, ...]
    n_rows: int
    row_width: int
    n_species: int
    centre_width: int
    neighbour_width: int

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the batch."""
        return int(self.numbers.shape[0])

    @property
    def n_structures(self) -> int:
        """Number of structures in the batch."""
        return len(self.n_atoms_each)

    def with_vector(self, vector: Tensor) -> Environments:
        """Give the same graph with other edge vectors (for derivatives)."""
        return replace(self, vector=vector)


def _positions_in_runs(sorted_keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Label the runs of equal keys, and the place of each element within its run."""
    n = len(sorted_keys)
    if n == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    starts = np.concatenate([[True], sorted_keys[1:] != sorted_keys[:-1]])
    run = np.cumsum(starts) - 1
    place = np.arange(n) - np.flatnonzero(starts)[run]
    return run.astype(np.int64), place.astype(np.int64)


def _places_among_equals(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count off the elements of each value in the order in which they come."""
    order = np.argsort(keys, kind="stable")
    places = np.empty_like(keys)
    places[order] = _positions_in_runs(keys[order])[1]
    return places


def collate_edges(
    structures: Sequence[EdgeArrays], dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Environments:
    """Join the edges of several structures into one batch.

    Parameters
    ----------
    structures : sequence of EdgeArrays
        At least one.
    dtype : torch.dtype
        Precision of the edge vectors.
    device : torch.device or str
        Where the tensors go.

    Raises
    ------
    EmptyInputError
        For an empty list.
    """
    if len(structures) == 0:
        raise EmptyInputError("got an empty list of structures, expected at least one.")
    sizes = np.array([len(s.numbers) for s in structures])
    n_edges = np.array([len(s.centre) for s in structures])
    offset = np.repeat(np.concatenate([[0], np.cumsum(sizes)[:-1]]), n_edges)
    numbers = np.concatenate([s.numbers for s in structures]).astype(np.int64)
    centre = np.concatenate([s.centre for s in structures]).astype(np.int64) + offset
    neighbour = np.concatenate([s.neighbour for s in structures]).astype(np.int64) + offset
    vector = np.concatenate([s.vector for s in structures])

    row, place_in_row = _positions_in_runs(centre * 128 + numbers[neighbour])
    first = np.flatnonzero(place_in_row == 0)
    row_width = int(place_in_row.max()) + 1 if len(row) else 1
    _, species_rank = _positions_in_runs(centre[first])
    n_species = int(species_rank.max()) + 1 if len(first) else 1
    _, place_in_centre = _positions_in_runs(centre)
    centre_width = int(place_in_centre.max()) + 1 if len(row) else 1
    place_in_neighbour = _places_among_equals(neighbour)
    neighbour_width = int(place_in_neighbour.max(initial=0)) + 1

    def tensor(array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    return Environments(
        numbers=tensor(numbers),
        structure=tensor(np.repeat(np.arange(len(sizes)), sizes)),
        volumes=tensor(np.array([s.volume for s in structures])).to(dtype),
        centre=tensor(centre),
        neighbour=tensor(neighbour),
        vector=tensor(vector).to(dtype),
        row_slot=tensor(row * row_width + place_in_row),
        row_number=tensor(numbers[neighbour[first]]),
        row_place=tensor(centre[first] * n_species + species_rank),
        centre_slot=tensor(centre * centre_width + place_in_centre),
        neighbour_slot=tensor(neighbour * neighbour_width + place_in_neighbour),
        n_atoms_each=tuple(int(n) for n in sizes),
        n_rows=len(first),
        row_width=row_width,
        n_species=n_species,
        centre_width=centre_width,
        neighbour_width=neighbour_width,
    )


def build_environments(
    structures: Sequence[Atoms],
    cutoff: float,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Environments:
    """Find the neighbours of several structures and batch them.

    Parameters
    ----------
    structures : sequence of Atoms
        ASE structures.
    cutoff : float, Å
    dtype, device : torch.dtype, torch.device or str
        Of the tensors.
    """
    return collate_edges([EdgeArrays.from_atoms(a, cutoff) for a in structures], dtype, device)
