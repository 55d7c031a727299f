"""The shapes by which al-committee meets force fields and trainers, without importing any of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, Protocol, TypedDict, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["BatchedCommittee", "CommitteeResults", "OffersBatchedCommittee", "Trainer"]


class CommitteeResults(TypedDict):
    """What all models say about some structures.

    Attributes
    ----------
    forces : list of NDArray[np.float64]
        One per structure, shape ``(n_models, n_atoms, 3)``, eV/Å.
    energies : NDArray[np.float64] or None
        Shape ``(n_models, n_structures)``, eV; None for models without energy.
    stresses : NDArray[np.float64] or None
        Shape ``(n_models, n_structures, 6)``, eV/Å³, ASE's Voigt order; None, or not there, without.
    """

    forces: list[NDArray[np.float64]]
    energies: NDArray[np.float64] | None
    stresses: NotRequired[NDArray[np.float64] | None]


@runtime_checkable
class BatchedCommittee(Protocol):
    """Several models evaluated in one pass."""

    def predict_committee(self, structures: Sequence[Atoms]) -> CommitteeResults:
        """Predict all structures with all models.

        Parameters
        ----------
        structures : sequence of object
            ASE ``Atoms``; their calculators are ignored.
        """
        ...


@runtime_checkable
class OffersBatchedCommittee(Protocol):
    """An ASE calculator that can fuse itself and its like into one batched pass."""

    def batched_committee(self, members: Sequence[object]) -> BatchedCommittee | None:
        """Give a batched evaluator of exactly these calculators, in this order; None when they differ."""
        ...


@runtime_checkable
class Trainer(Protocol):
    """Trains committees from labelled structures; sdnnff-calc offers one, any force field can."""

    def train(
        self,
        train_atoms: Sequence[Atoms],
        validation_atoms: Sequence[Atoms],
        *,
        workdir: Path,
        seed: int,
        warm_start: Sequence[Path] | None,
        n_members: int,
    ) -> Sequence[Path]:
        """Train `n_members` models and return their files, all of them inside `workdir`.

        Parameters
        ----------
        train_atoms, validation_atoms : sequence of object
            ASE ``Atoms`` with a single-point calculator: forces (eV/Å), energy (eV) and stress (eV/Å³) where
            the source of labels gives them.
        workdir : Path
            An existing folder for everything the training writes.
        seed : int
            The same seed and data must give the same models, or kills change the course of a loop.
        warm_start : sequence of Path or None
            The previous round's model files, one per member, or None to start from scratch.
        n_members : int
            Size of the committee.
        """
        ...

    def committee(self, model_paths: Sequence[Path]) -> BatchedCommittee:
        """Load models into one evaluator."""
        ...
