"""Build a network from its settings, and say how much memory it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch

from sdnnff_calc.config import ModelConfig
from sdnnff_calc.models.equivariant_model import EquivariantModel
from sdnnff_calc.models.grid_model import GridModel
from sdnnff_calc.models.network import Network

__all__ = ["build_network", "peak_numbers"]

_ARCHITECTURES: dict[str, type[EquivariantModel] | type[GridModel]] = {
    "e-sdnnff": EquivariantModel,
    "sdnnff": GridModel,
}
"""Class of the network by ``kind`` of its settings."""


def build_network(config: ModelConfig, dtype: torch.dtype = torch.float32, seed: int | None = None) -> Network:
    """Build the network of a model with fresh weights.

    Parameters
    ----------
    config : EquivariantConfig or GridConfig
        Settings of one of the architectures.
    dtype : torch.dtype
        Precision of the weights.
    seed : int, optional
        Of the initial weights; None leaves torch's generator as it is.
    """
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    make = cast(Callable[[ModelConfig], Network], _ARCHITECTURES[config.kind])
    try:
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            return make(config)
    finally:
        torch.set_default_dtype(previous)


def peak_numbers(config: ModelConfig) -> tuple[int, int]:
    """Estimate how many numbers a pass with forces holds at its peak, for each atom and for each edge.

    Fitted to the memory of two dozen settings of both architectures (64-atom NaCl, with 10 to 90 neighbours), and half
    as much again: an allocator gives back less than it is given.
    """
    estimate = cast(Callable[[ModelConfig], tuple[int, int]], _ARCHITECTURES[config.kind].peak_numbers)
    return estimate(config)
