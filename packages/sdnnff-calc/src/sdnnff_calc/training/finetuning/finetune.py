"""Adapt an existing model to new data, with earlier data replayed beside them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from ase.data import chemical_symbols

from sdnnff_calc.config import FinetuneConfig, RunConfig
from sdnnff_calc.data.energy_zero import follow_zero
from sdnnff_calc.data.loss_labels import require_labels, used_labels, warn_of_unlearned
from sdnnff_calc.data.sample_stores import SampleStore
from sdnnff_calc.data.statistics import measure_statistics
from sdnnff_calc.data.stores import Stores, load_replay, load_stores, log_report
from sdnnff_calc.data.structures import DataReport
from sdnnff_calc.errors import ConfigError
from sdnnff_calc.geometry.closest_pairs import merge_closest
from sdnnff_calc.models.checkpoint import Model, load_model
from sdnnff_calc.models.device import choose_device
from sdnnff_calc.models.trained_labels import TrainedLabels
from sdnnff_calc.training.epoch import FitData
from sdnnff_calc.training.finetuning.adaptation import (
    add_adapters,
    add_elements,
    freeze_all_but_readout,
    merge_adapters,
)
from sdnnff_calc.training.fit import Fit, Progress, Stage
from sdnnff_calc.training.readout_refit import refit_where_possible
from sdnnff_calc.training.workdirs import finish, held

__all__ = ["finetune", "starting_model"]

_log = logging.getLogger(__name__)


def starting_model(config: RunConfig) -> Model:
    """Load the model that fine-tuning adapts.

    Raises
    ------
    ConfigError
        When the table ``finetune`` names no model, or a setting of ``training`` does not go with fine-tuning it.
    """
    training = config.training
    if not config.finetune.model:
        raise ConfigError("[finetune] model names no checkpoint to start from.")
    if training.n_members != 1:
        raise ConfigError(
            f"n_members is {training.n_members}: fine-tuning adapts one model. Set it to 1, and "
            "fine-tune each member in a folder of its own."
        )
    if training.direct_epochs > 0:
        raise ConfigError(f"direct_epochs is {training.direct_epochs}: fine-tuning has no direct stage. Set it to 0.")
    model = load_model(config.finetune.model)
    dtype = str(model.dtype).removeprefix("torch.")
    if training.dtype != dtype:
        raise ConfigError(f"dtype is '{training.dtype}', but the model to fine-tune is '{dtype}'. Set dtype to that.")
    return model


def finetune(
    config: RunConfig,
    stores: Stores | None = None,
    progress: Progress | None = None,
    tell: Callable[[DataReport], None] = log_report,
) -> Path:
    """Adapt an existing model to new data as the table ``finetune`` says.

    With replay data, and where forces alone are trained on, the last layer is refitted at the end. Energies, where they
    are trained on, follow the zero of the new data: atomic energies move by the constants that fit the new labels to
    the model's predictions, and so do the labels of replayed structures, unless both have the `same_zero`.
    Without ``stores`` the data are read once the folder is held, and ``tell`` is given the report on them.

    Returns
    -------
    Path
        ``workdir/model.pt``, an ordinary checkpoint.
    """
    settings: FinetuneConfig = config.finetune
    model = starting_model(config)
    model.card = {"fine_tuned_from": model.checksum}  # what is measured of one model is not of the other
    config = dataclasses.replace(config, model=model.config)
    training = config.training
    workdir = Path(training.workdir)
    with held(workdir, ("finetune",)):
        if stores is None:
            stores = load_stores(config)
            tell(stores.report)
        origin = f"{model.checksum} {settings.method} {settings.rank} {settings.same_zero}"
        replay: SampleStore | None = None
        if settings.replay:
            replay = load_replay(config)
            origin = f"{origin} {replay.digest}"
        require_labels(training, model.config.head, stores.train)
        found = measure_statistics(stores.train, with_energy=False)
        pairs = merge_closest(model.statistics.closest_pairs, found.statistics.closest_pairs)
        model.statistics = dataclasses.replace(model.statistics, closest_pairs=pairs)
        new_elements = set(found.elements) - set(model.elements)
        model.elements = tuple(sorted({*model.elements, *found.elements}))
        _record_labels(model, used_labels(found.labels, training, model.config.head), new_elements)
        warn_of_unlearned(model, stores.validation)
        torch.manual_seed(training.seed)
        for parameter in model.network.parameters():
            parameter.requires_grad_(True)
        if settings.method == "head":
            freeze_all_but_readout(model.network)
        elif settings.method == "adapters":
            add_adapters(model.network, settings.rank)
        if new_elements and settings.method != "full":
            add_elements(model.network, sorted(new_elements))
        if training.energy_weight > 0.0 and model.config.head == "conservative":
            model.network.to(choose_device(training.device))
            replay = follow_zero(model, stores.train, replay, same_zero=settings.same_zero)
        data = FitData(stores.train, stores.validation, replay, settings.replay_fraction)
        fit = Fit(model, data, training, Stage("finetune", workdir, origin=origin), progress)
        trained = fit.run()
        merge_adapters(trained.network)
        if replay is not None:  # without earlier data to hold on to, the refit would forget all but the new ones
            refit_where_possible(trained, stores, training, replay)
        return finish(trained, fit.state.records, workdir)


def _record_labels(model: Model, used: TrainedLabels, new_elements: set[int]) -> None:
    """Add what fine-tuning trains on; what it leaves untrained for new elements is not trained any more."""
    if model.trained is None:
        if used.energies and used.stresses:
            model.trained = used
        return
    earlier = model.trained
    lost = [name for name in ("energies", "stresses") if getattr(earlier, name) != 0 and not getattr(used, name)]
    model.trained = earlier.after(used)
    if not lost or model.config.head != "conservative":
        return
    if new_elements:
        model.trained = dataclasses.replace(model.trained, **dict.fromkeys(lost, 0))
        names = ", ".join(chemical_symbols[z] for z in sorted(new_elements))
        _log.warning("%s of %s are not trained, so the model will not give them.", " and ".join(lost), names)
    else:
        _log.warning("%s, which the model was trained on, are not in this loss and may drift.", " and ".join(lost))
