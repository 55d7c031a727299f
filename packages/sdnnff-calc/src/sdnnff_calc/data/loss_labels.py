"""Which labels of a training set enter the loss, and what to say of those that do not."""

from __future__ import annotations

import dataclasses
import functools
import logging

import numpy as np
from ase.data import chemical_symbols

from sdnnff_calc.config import TrainingConfig
from sdnnff_calc.data.sample_stores import SampleStore
from sdnnff_calc.errors import ConfigError, DataError
from sdnnff_calc.models.checkpoint import Model
from sdnnff_calc.models.trained_labels import TrainedLabels

__all__ = ["require_labels", "say_once", "used_labels", "warn_of_unlearned"]

_log = logging.getLogger(__name__)


def used_labels(labels: TrainedLabels, training: TrainingConfig, head: str) -> TrainedLabels:
    """Tell which labels enter the loss; say of the others that they do not."""
    is_conservative = head == "conservative"
    weights = {
        "forces": training.force_weight,
        "energies": training.energy_weight if is_conservative else 0.0,
        "stresses": training.stress_weight if is_conservative else 0.0,
    }
    used = {name: number if weights[name] > 0.0 else 0 for name, number in dataclasses.asdict(labels).items()}
    for name, number in dataclasses.asdict(labels).items():
        if number and not used[name]:
            setting = {"forces": "force_weight", "energies": "energy_weight", "stresses": "stress_weight"}[name]
            why = f"{setting} = 0" if is_conservative or name == "forces" else "a direct head gives forces only"
            say_once(f"{number} structures have {name} that are read and not used ({why}).")
    return TrainedLabels(**used)


def require_labels(training: TrainingConfig, head: str, store: SampleStore) -> None:
    """Refuse weights of energies or stresses that nothing would come of."""
    for name, weight in (("energy", training.energy_weight), ("stress", training.stress_weight)):
        if weight <= 0.0:
            continue
        if head != "conservative":
            raise ConfigError(f"{name}_weight is {weight}, but a direct head gives forces only. Set it to 0.")
        if not any(np.isfinite(getattr(store[index], name)).all() for index in range(len(store))):
            raise DataError(f"{name}_weight is {weight}, but no training structure has a label for it. Set it to 0.")


def warn_of_unlearned(model: Model, validation: SampleStore) -> None:
    """Name elements that occur in the validation set alone: their errors are those of a model that never saw them."""
    found = {int(z) for index in range(len(validation)) for z in np.unique(validation[index].edges.numbers)}
    if strange := sorted(found - set(model.elements)):
        names = ", ".join(chemical_symbols[z] for z in strange)
        _log.warning("%s: in the validation set only. Move a crystal with it to the training data.", names)


@functools.cache
def say_once(warning: str) -> None:
    """Log a warning, not again for each member and round of a committee."""
    _log.warning(warning)
