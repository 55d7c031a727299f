r"""Ways to adapt a trained network: everything, the readout only, or low-rank additions to its matrices.

A low-rank adapter replaces a matrix W by W + A·B with thin A and B; A starts at random, B at zero, so the
network starts unchanged. After training they are merged, and the checkpoint is an ordinary one.

References
----------
Hu et al., ICLR 2022, arXiv:2106.09685, Eq. 3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sdnnff_calc.equivariant_model import ChannelMixing, EquivariantModel

__all__ = ["add_adapters", "freeze_all_but_readout", "merge_adapters"]


class LowRankAddition(nn.Module):
    """W ↦ W + A·B, for W of shape (..., n_in, n_out).

    Parameters
    ----------
    weight
        W.
    rank
        Columns of A.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        *batch, n_in, n_out = weight.shape
        rank = min(rank, n_in, n_out)
        self.left = nn.Parameter(torch.randn(*batch, n_in, rank, dtype=weight.dtype) / math.sqrt(n_in))
        self.right = nn.Parameter(torch.zeros(*batch, rank, n_out, dtype=weight.dtype))

    def forward(self, weight: Tensor) -> Tensor:
        """Add the product of the thin matrices."""
        return weight + self.left @ self.right


def add_adapters(network: nn.Module, rank: int) -> None:
    """Freeze a network and put an adapter on each of its matrices."""
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    for module in list(network.modules()):
        if isinstance(module, (nn.Linear, ChannelMixing)):
            parametrize.register_parametrization(module, "weight", LowRankAddition(module.weight, rank))


def merge_adapters(network: nn.Module) -> None:
    """Write every adapter into its matrix and remove it."""
    for module in list(network.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    for parameter in network.parameters():
        parameter.requires_grad_(True)


def freeze_all_but_readout(network: nn.Module) -> None:
    """Leave only the layers after the descriptors trainable."""
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    if isinstance(network, EquivariantModel):
        readout: list[nn.Module] = [network.network, network.skip, network.scalar_norm]
    else:
        readout = [list(network.network)[-1]]  # type: ignore[arg-type]
    for module in readout:
        for parameter in module.parameters():
            parameter.requires_grad_(True)
