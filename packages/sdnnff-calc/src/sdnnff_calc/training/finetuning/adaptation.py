r"""Ways to adapt a trained network: everything, the readout only, or low-rank additions to its matrices.

A low-rank adapter replaces a matrix W by W + A·B with thin A and B; A starts at random, B at zero, so the
network starts unchanged. After training they are merged, and the checkpoint is an ordinary one.

References
----------
Hu et al., ICLR 2022, arXiv:2106.09685, Eq. 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sdnnff_calc.models.network import Network

__all__ = ["add_adapters", "add_elements", "freeze_all_but_readout", "merge_adapters"]


class LowRankAddition(nn.Module):
    """W ↦ W + A·B, for W of shape (..., n_in, n_out).

    Parameters
    ----------
    weight : Tensor, shape (n_rows, n_columns)
        W.
    rank : int
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


def add_adapters(network: Network, rank: int) -> None:
    """Freeze a network and put an adapter on each of its matrices."""
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    for module in network.matrices():
        weight = cast("nn.Parameter", module.weight)
        parametrize.register_parametrization(module, "weight", LowRankAddition(weight, rank))


class NewRows(nn.Module):
    """A table with some rows of its own.

    Parameters
    ----------
    table : Tensor, shape (n_rows, n_columns)
    rows : sequence of int
        Those that are trained.
    """

    rows: Tensor

    def __init__(self, table: Tensor, rows: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("rows", torch.tensor(rows, device=table.device), persistent=False)
        self.values = nn.Parameter(table.detach()[list(rows)].clone())

    def forward(self, table: Tensor) -> Tensor:
        """Put the rows into the table."""
        return table.index_copy(0, self.rows, self.values)


def add_elements(network: Network, numbers: Sequence[int]) -> None:
    """Train the channels of new elements, random numbers so far, in a network that is frozen otherwise."""
    table = network.elements
    parametrize.register_parametrization(table, "correction", NewRows(table.correction, numbers))


def merge_adapters(network: Network) -> None:
    """Write every addition into its matrix or table and remove it."""
    for module in list(network.modules()):
        for name in ("weight", "correction"):
            if parametrize.is_parametrized(module, name):
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    for parameter in network.parameters():
        parameter.requires_grad_(True)


def freeze_all_but_readout(network: Network) -> None:
    """Leave only the layers after the descriptors trainable."""
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    for module in network.readout():
        for parameter in module.parameters():
            parameter.requires_grad_(True)
