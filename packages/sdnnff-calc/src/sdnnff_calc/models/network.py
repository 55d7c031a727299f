"""What every network offers, so that nothing outside this room asks which architecture it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from sdnnff_calc.config import ModelConfig
from sdnnff_calc.geometry.environments import Environments
from sdnnff_calc.models.element_channels import ElementChannels

__all__ = ["Network", "Shared", "module_of"]


class Shared(Protocol):
    """What the members of a committee compute once, before the first weight.

    With a conservative head it can be differentiated: ``leaves`` are what members differentiate their energies by, and
    ``edge_gradients`` turns these gradients into ∂E/∂D_e, shape (n_models, n_edges, 3).
    """

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        """Tensors that depend on the edge vectors alone."""
        ...

    def edge_gradients(self, env: Environments, gradients: list[tuple[Tensor | None, ...]]) -> Tensor:
        """Give ∂E/∂D_e of every member from its gradients with respect to the leaves."""
        ...


class Network(Protocol):
    """A network of any architecture; a ``torch.nn.Module``, of which the methods in use are listed here too."""

    config: ModelConfig
    elements: ElementChannels
    training: bool
    serves_any_head: bool
    """Whether weights trained with one head are a start for another."""

    def __call__(self, env: Environments, geometry: Shared | None = None) -> Tensor:
        """Give atomic energies (n_atoms,) or forces (n_atoms, 3), in units of the force scale."""
        ...

    def share(self, env: Environments, *, differentiate: bool) -> Shared | None:
        """Evaluate what members of a committee share; None when each does better on its own."""
        ...

    def calibrate(self, mean_neighbours: float, batches: Iterable[Environments]) -> None:
        """Put data statistics into the buffers of fresh weights; ``batches`` are read by those who need them."""
        ...

    def before_step(self, generator: np.random.Generator) -> None:
        """Draw what a training step varies at random, such as the frames of an augmentation."""
        ...

    def descriptors(self, env: Environments) -> Tensor:
        """Give the invariants of every atom, shape (n_atoms, n_features)."""
        ...

    def readout(self) -> list[nn.Module]:
        """Give the layers after the descriptors."""
        ...

    def matrices(self) -> list[nn.Module]:
        """Give the modules whose ``weight`` is a matrix, or a stack of them, that a low-rank addition fits."""
        ...

    def linear_readout(self) -> list[nn.Parameter]:
        """Give the weights in which the energy is linear, each shape (1, n); none without such."""
        ...

    def linear_features(self, env: Environments) -> Tensor:
        """Give what those weights multiply, shape (n_atoms, n_weights)."""
        ...

    # of torch.nn.Module
    def parameters(self) -> Iterator[nn.Parameter]:
        """Give all weights."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Give all weights by name."""
        ...

    def modules(self) -> Iterator[nn.Module]:
        """Give all modules."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Give weights and buffers by name."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool = True) -> object:
        """Take up weights and buffers by name."""
        ...

    def to(self, device: torch.device | str) -> Network:
        """Move to a device."""
        ...

    def train(self, mode: bool = True) -> Network:
        """Enter the mode of training."""
        ...

    def eval(self) -> Network:
        """Enter the mode of evaluation."""
        ...

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients."""
        ...

    def requires_grad_(self, requires_grad: bool = True) -> Network:
        """Let gradients flow into the weights, or not."""
        ...


def module_of(network: Network) -> nn.Module:
    """Give the torch module that every network is, for the functions of torch that ask for one."""
    return cast("nn.Module", network)
