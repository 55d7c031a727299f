"""One epoch: its batches, in an order that follows from seed and epoch, and the errors after it."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdnnff_calc.config import TrainingConfig
from sdnnff_calc.data.sample_stores import SampleStore, row_widths
from sdnnff_calc.data.samples import LabelledBatch, batch_indices, batches_of_like_rows, collate_samples
from sdnnff_calc.models.checkpoint import Model
from sdnnff_calc.models.heads import evaluate
from sdnnff_calc.training.losses import force_loss

__all__ = ["FitData", "ValidationErrors", "validation_errors"]


@dataclass(frozen=True)
class FitData:
    """What a training learns from.

    Attributes
    ----------
    train, validation : SampleStore
        Stores of samples made with the model's cutoff.
    replay, replay_fraction : SampleStore, float, optional
        Samples of earlier data mixed into each epoch, so many per new sample.
    """

    train: SampleStore
    validation: SampleStore
    replay: SampleStore | None = None
    replay_fraction: float = 0.0

    def order(self, config: TrainingConfig, epoch: int) -> list[list[int]]:
        """Shuffle and batch the samples; replayed ones carry indices beyond the training set."""
        generator = np.random.default_rng([config.seed, epoch, 1])
        n_new = len(self.train)
        order = np.arange(n_new)
        sizes = self.train.sizes
        if self.replay is not None and len(self.replay):
            n_old = min(len(self.replay), max(1, round(self.replay_fraction * n_new)))
            chosen = generator.choice(len(self.replay), size=n_old, replace=False)
            order = np.concatenate([order, n_new + chosen])
            sizes = np.concatenate([sizes, self.replay.sizes])
        order = generator.permutation(order)
        return batches_of_like_rows(sizes, self.widths, config.batch_atoms, order, generator)

    @functools.cached_property
    def widths(self) -> NDArray[np.int64]:
        """Length of the longest neighbour row of each sample, replayed ones last, shape (n_samples,)."""
        stores = [self.train] if self.replay is None else [self.train, self.replay]
        return np.concatenate([row_widths(store) for store in stores])

    def batches(
        self, chosen: list[list[int]], dtype: torch.dtype, device: torch.device | str
    ) -> Iterator[LabelledBatch]:
        """Read the samples of each batch when its turn comes."""
        n_new = len(self.train)
        for indices in chosen:
            samples = [self.train[k] if k < n_new or self.replay is None else self.replay[k - n_new] for k in indices]
            yield collate_samples(samples, dtype, device)


@dataclass(frozen=True)
class ValidationErrors:
    """Errors over a labelled set: forces in eV/Å, energies in eV/atom, stresses in eV/Å³; None without labels.

    The loss is that of the training, without force constants, averaged over batches by their atoms.
    """

    loss: float
    force_rmse: float
    force_mae: float
    energy_mae: float | None
    stress_mae: float | None


def validation_errors(
    model: Model, store: SampleStore, config: TrainingConfig, batch_atoms: int = 2048
) -> ValidationErrors:
    """Measure the errors of a model, of stresses by component, and the loss that it is trained on."""
    square = absolute = loss = 0.0
    count = 0
    energies: list[Tensor] = []
    stresses: list[Tensor] = []
    device = next(model.network.parameters()).device
    for chosen in batch_indices(store.sizes, batch_atoms):
        batch = collate_samples([store[k] for k in chosen], model.dtype, device)
        prediction = evaluate(model.network, batch.env, model.statistics, model.config.head)
        error = (prediction.forces.detach() - batch.forces).double()
        with torch.no_grad():
            loss += float(force_loss(prediction, batch, model.statistics, config)) * error.numel()
        square += float(error.square().sum())
        absolute += float(error.abs().sum())
        count += error.numel()
        if prediction.energies is not None and prediction.stresses is not None:
            n_atoms = torch.tensor(batch.env.n_atoms_each, device=device)
            energies.append((prediction.energies.detach() - batch.energies).abs() / n_atoms)
            stresses.append((prediction.stresses.detach() - batch.stresses).abs().double().flatten())
    rmse = math.sqrt(square / count)
    return ValidationErrors(loss / count, rmse, absolute / count, _mean(energies), _mean(stresses))


def _mean(parts: list[Tensor]) -> float | None:
    """Average what is finite."""
    mean = float(torch.cat(parts).nanmean()) if parts else math.nan
    return mean if math.isfinite(mean) else None
