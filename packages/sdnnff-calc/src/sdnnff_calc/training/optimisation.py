"""Optimisers, learning-rate schedule and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from sdnnff_calc.config import TrainingConfig
from sdnnff_calc.errors import MissingExtraError
from sdnnff_calc.models.network import Network, module_of

__all__ = ["Muon", "average_weights", "learning_rate", "make_optimiser"]


def make_optimiser(parameters: Sequence[nn.Parameter], config: TrainingConfig) -> torch.optim.AdamW | Muon:
    """Make the optimiser that the settings name.

    Raises
    ------
    MissingExtraError
        When torch is too old for it.
    """
    if config.optimiser == "muon":
        return Muon(parameters, config.learning_rate, config.weight_decay)
    return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)


class Muon:
    """torch's Muon for every matrix of the network, AdamW for the rest.

    Weights with one matrix per degree l, shape (l_max+1, n_in, n_out), are handed over matrix by matrix. Steps are
    scaled to the size that AdamW's would have, so that one learning rate serves both.

    Parameters
    ----------
    parameters : sequence of nn.Parameter
        To be trained.
    learning_rate, weight_decay : float
        Of both.

    Raises
    ------
    MissingExtraError
        When torch is older than 2.9.

    References
    ----------
    Jordan et al., https://kellerjordan.github.io/posts/muon (2024); Liu et al., arXiv:2502.16982 (step size).
    """

    def __init__(self, parameters: Sequence[nn.Parameter], learning_rate: float, weight_decay: float) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise MissingExtraError(f"optimiser = 'muon' needs torch 2.9 or newer, not {torch.__version__}.")
        others = [p for p in parameters if not _is_stack_of_matrices(p)]
        self._slices = [
            (stack, k, nn.Parameter(matrix))
            for stack in parameters
            if _is_stack_of_matrices(stack)
            for k, matrix in enumerate(_matrices(stack.detach()))
        ]
        self._parts: list[torch.optim.Optimizer] = []
        if self._slices:
            matrices = [matrix for _, _, matrix in self._slices]
            self._parts.append(torch.optim.Muon(matrices, learning_rate, weight_decay, adjust_lr_fn="match_rms_adamw"))
        if others:
            self._parts.append(torch.optim.AdamW(others, lr=learning_rate, weight_decay=weight_decay))

    @property
    def param_groups(self) -> list[dict[str, object]]:
        """The groups of both optimisers."""
        return [group for part in self._parts for group in part.param_groups]

    def step(self) -> None:
        """Do one step; the slices share memory with the network's weights."""
        for stack, k, matrix in self._slices:
            matrix.grad = None if stack.grad is None else _matrices(stack.grad)[k]
        for part in self._parts:
            part.step()

    def state_dict(self) -> dict[str, object]:
        """Give the state of both."""
        return {str(k): part.state_dict() for k, part in enumerate(self._parts)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take up the state of both."""
        for k, part in enumerate(self._parts):
            part.load_state_dict(cast("dict[str, Any]", state[str(k)]))


def _matrices(weight: Tensor) -> Tensor:
    """View a weight as matrices, shape (n, n_in, n_out)."""
    return weight.view(-1, *weight.shape[-2:])


def _is_stack_of_matrices(parameter: nn.Parameter) -> bool:
    """Tell a matrix worth orthogonalising, or a stack of them, from vectors and thin matrices."""
    return parameter.ndim >= 2 and min(parameter.shape[-2:]) >= _THINNEST


_THINNEST = 8
"""Rows and columns of a matrix below which there is little to orthogonalise."""


def learning_rate(config: TrainingConfig, step: int, progress: float) -> float:
    """Rise linearly over the warm-up steps, then fall along half a cosine.

    Parameters
    ----------
    config : TrainingConfig
        Peak, warm-up and final share.
    step : int
        Steps done.
    progress : float
        Share of the training done, 0 to 1.

    Returns
    -------
    float
        The rate of the next step.
    """
    warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
    return config.learning_rate * warm * (config.final_rate + (1.0 - config.final_rate) * cosine)


def average_weights(network: Network, decay: float) -> AveragedModel:
    """Make an exponential moving average of the weights of a network.

    Early on the average is shorter, (1 + step)/(10 + step), so that it does not remember the start.

    Parameters
    ----------
    network : Network
        Copied as it is: the average begins there.
    decay : float
        Of the average.

    Returns
    -------
    torch.optim.swa_utils.AveragedModel
        ``update_parameters(network)`` after each step; ``module`` is the averaged network.
    """

    def follow(averaged: Tensor, current: Tensor, step: Tensor | int) -> Tensor:
        return averaged.lerp(current, 1.0 - min(decay, (1.0 + int(step)) / (10.0 + int(step))))

    average = AveragedModel(module_of(network), avg_fn=follow)
    average.n_averaged.fill_(1)  # not 0, at which it would forget the start at once
    return average
