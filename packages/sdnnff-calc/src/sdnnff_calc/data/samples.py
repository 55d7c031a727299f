"""Labelled environments as arrays, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sdnnff_calc.data.structures import crystal_of, energy_label
from sdnnff_calc.geometry.environments import EdgeArrays, Environments, collate_edges

__all__ = ["LabelledBatch", "Sample", "batch_indices", "batches_of_like_rows", "collate_samples", "stress_matrix"]

_WINDOW = 16
"""Batches drawn together, among which structures are sorted."""
_LEAST_WINDOWS = 8
"""Such draws that an epoch must hold: a small data set is batched at random."""


def stress_matrix(stress: ArrayLike) -> NDArray[np.float64]:
    """Give a stress, six components in ASE's order or a matrix, as a matrix, shape (3, 3)."""
    given = np.asarray(stress, dtype=float).ravel()
    return voigt_6_to_full_3x3_stress(given) if given.size == 6 else given.reshape(3, 3)


@dataclass(frozen=True)
class Sample:
    """One labelled structure.

    Attributes
    ----------
    edges : EdgeArrays
        Its environments.
    forces : NDArray[Any], shape (n_atoms, 3), eV/Å
    energy : float, eV
        NaN without a label.
    stress : NDArray[Any], shape (3, 3), eV/Å³
        NaN without a label.
    crystal : str
        What it shows, see :func:`~sdnnff_calc.data.structures.crystal_of`.
    """

    edges: EdgeArrays
    forces: NDArray[np.floating]
    energy: float
    stress: NDArray[np.floating]
    crystal: str = ""

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.edges.numbers)

    @classmethod
    def from_atoms(cls, atoms: Atoms, cutoff: float) -> Sample:
        """Find the neighbours of a structure and take the labels of its calculator."""
        results = atoms.calc.results
        stress = results.get("stress")
        full = np.full((3, 3), np.nan) if stress is None else stress_matrix(stress)
        edges, forces = EdgeArrays.from_atoms(atoms, cutoff), np.asarray(results["forces"])
        return cls(edges, forces, energy_label(results), full, crystal_of(atoms))


@dataclass(frozen=True)
class LabelledBatch:
    """Environments with labels.

    Attributes
    ----------
    env : Environments
        The batch.
    forces : Tensor, shape (n_atoms, 3), eV/Å
    energies : Tensor, float64, shape (n_structures,), eV
        NaN where unknown.
    stresses : Tensor, shape (n_structures, 3, 3), eV/Å³
        NaN where unknown.
    """

    env: Environments
    forces: Tensor
    energies: Tensor
    stresses: Tensor


def collate_samples(samples: Sequence[Sample], dtype: torch.dtype, device: torch.device | str) -> LabelledBatch:
    """Join samples into one batch."""
    env = collate_edges([s.edges for s in samples], dtype, device)
    forces = torch.from_numpy(np.concatenate([s.forces for s in samples])).to(device=device, dtype=dtype)
    energies = torch.tensor([s.energy for s in samples], dtype=torch.float64, device=device)
    stresses = torch.from_numpy(np.array([s.stress for s in samples])).to(device=device, dtype=dtype)
    return LabelledBatch(env, forces, energies, stresses)


def batch_indices(
    sizes: NDArray[np.int64], batch_atoms: int, order: NDArray[np.int64] | None = None
) -> Iterator[list[int]]:
    """Fill batches with whole structures, in the given order, up to a number of atoms."""
    batch: list[int] = []
    held = 0
    for index in range(len(sizes)) if order is None else order:
        if batch and held + sizes[index] > batch_atoms:
            yield batch
            batch, held = [], 0
        batch.append(int(index))
        held += int(sizes[index])
    if batch:
        yield batch


def batches_of_like_rows(
    sizes: NDArray[np.int64],
    widths: NDArray[np.int64],
    batch_atoms: int,
    order: NDArray[np.int64],
    generator: np.random.Generator,
) -> list[list[int]]:
    """Fill batches with structures whose rows are about equally long, so that little of a batch is padding.

    Parameters
    ----------
    sizes : NDArray[np.int64]
        Atoms of each structure, shape (n_structures,).
    widths : NDArray[np.int64]
        Length of its longest row (:func:`~sdnnff_calc.data.sample_stores.row_widths`), shape (n_structures,).
    batch_atoms : int
        Atoms of a batch at most.
    order : NDArray[np.int64], shape (n_structures,)
        A random order of the structures. Sixteen batches at a time are drawn from it and sorted.
    generator : numpy.random.Generator
        Shuffles the batches.

    Returns
    -------
    list of list of int
        Every structure once.
    """
    window = min(_WINDOW, int(sizes.sum()) // (_LEAST_WINDOWS * batch_atoms))
    if window < 2:
        return list(batch_indices(sizes, batch_atoms, order))
    batches: list[list[int]] = []
    for drawn in batch_indices(sizes, window * batch_atoms, order):
        alike = np.array(drawn)[np.argsort(widths[drawn], kind="stable")]
        batches += batch_indices(sizes, batch_atoms, alike)
    return [batches[k] for k in generator.permutation(len(batches))]
