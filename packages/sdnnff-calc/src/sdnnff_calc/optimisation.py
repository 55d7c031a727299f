"""Parts of an optimiser: learning-rate schedule and averaged weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sdnnff_calc.config import TrainingConfig

__all__ = ["AveragedWeights", "learning_rate"]


def learning_rate(config: TrainingConfig, step: int, progress: float) -> float:
    """Rise linearly over the warm-up steps, then fall along half a cosine.

    Parameters
    ----------
    config
        Peak, warm-up and final share.
    step
        Steps done.
    progress
        Share of the training done, 0 to 1.

    Returns
    -------
    float
        The rate of the next step.
    """
    warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
    return config.learning_rate * warm * (config.final_rate + (1.0 - config.final_rate) * cosine)


class AveragedWeights:
    """An exponential moving average of the trained weights.

    Early on the average is shorter, (1 + step)/(10 + step), so that it does not remember the start.

    Parameters
    ----------
    network
        Whose trainable parameters are averaged.
    decay
        Of the average.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {n: p.detach().clone() for n, p in network.named_parameters() if p.requires_grad}
        self._kept: dict[str, Tensor] = {}

    def update(self, network: nn.Module, step: int) -> None:
        """Move the average towards the current weights."""
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        parameters = dict(network.named_parameters())
        with torch.no_grad():
            for name, value in self.values.items():
                value.lerp_(parameters[name], 1.0 - decay)

    def swap_in(self, network: nn.Module) -> None:
        """Put the averages into the network, keeping the trained weights aside."""
        parameters = dict(network.named_parameters())
        self._kept = {n: parameters[n].detach().clone() for n in self.values}
        with torch.no_grad():
            for name, value in self.values.items():
                parameters[name].copy_(value)

    def swap_out(self, network: nn.Module) -> None:
        """Put the trained weights back."""
        parameters = dict(network.named_parameters())
        with torch.no_grad():
            for name, value in self._kept.items():
                parameters[name].copy_(value)
        self._kept = {}
