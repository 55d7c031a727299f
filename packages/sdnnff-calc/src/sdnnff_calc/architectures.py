"""Build a network from its settings."""

from __future__ import annotations

import torch
from torch import nn

from sdnnff_calc.config import GridConfig, ModelConfig
from sdnnff_calc.equivariant_model import EquivariantModel
from sdnnff_calc.grid_model import GridModel

__all__ = ["build_network"]


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
