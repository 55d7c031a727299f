"""The file of a toy model."""

from __future__ import annotations

from typing import TypedDict

__all__ = ["PairModel"]


class PairModel(TypedDict):
    """A file of :class:`PairTrainer`: coefficients (eV) by pair, and what the model is for pairs it never saw."""

    pairs: dict[str, list[float]]
    powers: list[int]
    cutoff: float
    seed: list[int]
    prior: float
