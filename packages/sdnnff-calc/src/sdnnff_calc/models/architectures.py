"""Build a network from its settings, and say how much memory it takes."""

from __future__ import annotations

import torch
from torch import nn

from sdnnff_calc.config import GridConfig, ModelConfig
from sdnnff_calc.models.equivariant_model import EquivariantModel
from sdnnff_calc.models.grid_model import GridModel

__all__ = ["build_network", "peak_numbers"]


def build_network(config: ModelConfig, dtype: torch.dtype = torch.float32, seed: int | None = None) -> nn.Module:
    """Build the network of a model with fresh weights.

    Parameters
    ----------
    config
        Settings of one of the architectures.
    dtype
        Precision of the weights.
    seed
        Of the initial weights; None leaves torch's generator as it is.
    """
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            return GridModel(config) if isinstance(config, GridConfig) else EquivariantModel(config)
    finally:
        torch.set_default_dtype(previous)


def peak_numbers(config: ModelConfig) -> tuple[int, int]:
    """Estimate how many numbers a pass with forces holds at its peak, for each atom and for each edge.

    Fitted to the memory of two dozen settings of both architectures (64-atom NaCl, with 10 to 90 neighbours), and half
    as much again: an allocator gives back less than it is given.
    """
    if isinstance(config, GridConfig):
        return 2 * config.n_grid**3 * config.n_element_channels, 4 * config.n_grid**2
    functions = (config.l_max + 1) ** 2 * config.n_layers
    return functions * (33 * config.n_channels + 225), 16 * functions
