"""Whole runs: build models, train all members of a committee, adapt an existing model."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from ase.data import chemical_symbols

from sdnnff_calc.config import FinetuneConfig, ModelConfig, RunConfig, TrainingConfig
from sdnnff_calc.data.energy_zero import follow_zero
from sdnnff_calc.data.sample_stores import MemoryStore, SampleStore
from sdnnff_calc.data.samples import batch_indices, collate_samples
from sdnnff_calc.data.statistics import measure_statistics
from sdnnff_calc.data.stores import Stores, load_replay, load_stores, log_report
from sdnnff_calc.data.structures import DataReport
from sdnnff_calc.errors import ConfigError, DataError
from sdnnff_calc.geometry.closest_pairs import merge_closest
from sdnnff_calc.models.architectures import build_network
from sdnnff_calc.models.checkpoint import Model, load_model, save_model
from sdnnff_calc.models.device import choose_device
from sdnnff_calc.models.heads import Statistics
from sdnnff_calc.models.network import Network
from sdnnff_calc.models.trained_labels import TrainedLabels
from sdnnff_calc.training.adaptation import add_adapters, add_elements, freeze_all_but_readout, merge_adapters
from sdnnff_calc.training.epoch import FitData
from sdnnff_calc.training.fit import Fit, Progress, Stage
from sdnnff_calc.training.log import EpochRecord, plot_learning_curve
from sdnnff_calc.training.readout_refit import refit_readout
from sdnnff_calc.training.workdirs import held

__all__ = ["finetune", "new_model", "starting_model", "train_committee", "train_member"]

_log = logging.getLogger(__name__)


def new_model(config: ModelConfig, train: SampleStore, dtype: str, seed: int, with_energy: bool) -> Model:
    """Build a model with fresh weights, calibrated on a training set."""
    found = measure_statistics(train, with_energy and config.head == "conservative")
    network = build_network(config, getattr(torch, dtype), seed)
    _calibrate(network, found.statistics, train)
    return Model(network, config, found.elements, found.statistics, found.labels, repulsive_core=True)


def _used(labels: TrainedLabels, training: TrainingConfig, head: str) -> TrainedLabels:
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
            _say_once(f"{number} structures have {name} that are read and not used ({why}).")
    return TrainedLabels(**used)


def _calibrate(network: Network, statistics: Statistics, train: SampleStore) -> None:
    """Put data statistics into the network's buffers."""
    dtype = next(network.parameters()).dtype
    index = np.arange(0, len(train), max(1, len(train) // 64))
    chosen = (index[b] for b in batch_indices(train.sizes[index], 512))
    batches = (collate_samples([train[int(k)] for k in b], dtype, "cpu").env for b in chosen)
    network.calibrate(statistics.mean_neighbours, batches)


def train_member(
    config: RunConfig,
    stores: Stores,
    workdir: Path,
    seed: int,
    progress: Progress | None = None,
    warm_start: Path | None = None,
) -> Path:
    """Train one model: the direct stage first when asked for, then the model's own head.

    Parameters
    ----------
    config
        Settings of model and training.
    stores
        Data, made with the model's cutoff.
    workdir
        For logs, resume points and ``model.pt``.
    seed
        Of this member.
    progress
        Told about each epoch.
    warm_start
        Checkpoint of the same architecture to start from.

    Returns
    -------
    Path
        ``workdir/model.pt``.
    """
    training = dataclasses.replace(config.training, seed=seed)
    model_config = config.model
    stages: tuple[str, ...] = (model_config.head,)
    if training.direct_epochs > 0:
        if model_config.head != "conservative":
            raise ConfigError("direct_epochs needs an e-sdnnff with head = 'conservative': it is the stage before it.")
        stages = ("direct", *stages)
    records: list[EpochRecord] = []
    origin = ""
    _require_labels(training, model_config.head, stores.train)
    with held(workdir, stages):
        model = new_model(model_config, stores.train, training.dtype, seed, training.energy_weight > 0.0)
        model.trained = _used(model.trained or TrainedLabels(), training, model_config.head)
        _warn_of_unlearned(model, stores.validation)
        if warm_start is not None:
            earlier = load_model(warm_start)
            _require_same(earlier, model_config, warm_start)
            origin = earlier.checksum
            _copy_weights(earlier.network, model.network)
            # the weights mean forces in units of the earlier scale: keep it, or the start is no longer warm
            model.statistics = dataclasses.replace(
                earlier.statistics,
                atomic_energies=model.statistics.atomic_energies or earlier.statistics.atomic_energies,
                closest_pairs=merge_closest(earlier.statistics.closest_pairs, model.statistics.closest_pairs),
            )
        data = FitData(stores.train, stores.validation)
        if len(stages) == 2:
            direct = dataclasses.replace(model_config, head="direct")
            first = new_model(direct, stores.train, training.dtype, seed, False)
            if warm_start is not None:
                _copy_weights(model.network, first.network)
            fit = Fit(first, data, training, Stage("direct", workdir, training.direct_epochs, origin), progress)
            _copy_weights(fit.run().network, model.network)
            records += fit.state.records
        fit = Fit(model, data, training, Stage(model_config.head, workdir, origin=origin), progress)
        trained = fit.run()
        records += fit.state.records
        _refit(trained, stores, training)
        return _finish(trained, records, workdir)


def _finish(model: Model, records: list[EpochRecord], workdir: Path) -> Path:
    """Write the checkpoint and draw the learning curve."""
    path = save_model(model, workdir / "model.pt")
    try:
        plot_learning_curve(records, workdir / "learning-curve.svg")
    except ImportError as error:
        _say_once(f"no learning curve is drawn: {error}")
    return path


@functools.cache
def _say_once(warning: str) -> None:
    """Log a warning, not again for each member and round of a committee."""
    _log.warning(warning)


def _refit(model: Model, stores: Stores, training: TrainingConfig, replay: SampleStore | None = None) -> None:
    """Solve for the readout's last layer, where forces are all that is trained on."""
    others = (training.energy_weight, training.stress_weight, training.force_constant_weight)
    if training.refit_atoms == 0 or max(others) > 0.0:
        return
    earlier = None if replay is None else _subset(replay, training)
    train = _subset(stores.train, training)
    rmse = refit_readout(model, train, stores.validation, earlier=earlier)
    if np.isfinite(rmse):
        model.card["validation_force_rmse_ev_per_angstrom"] = float(rmse)


def _subset(store: SampleStore, training: TrainingConfig) -> MemoryStore:
    """Draw samples until they hold the atoms of the refit; at least one."""
    order = np.random.default_rng(training.seed).permutation(len(store))
    count = int(np.searchsorted(np.cumsum(store.sizes[order]), training.refit_atoms, side="right"))
    return MemoryStore(store[int(k)] for k in order[: max(1, count)])


def _require_labels(training: TrainingConfig, head: str, store: SampleStore) -> None:
    """Refuse weights of energies or stresses that nothing would come of."""
    for name, weight in (("energy", training.energy_weight), ("stress", training.stress_weight)):
        if weight <= 0.0:
            continue
        if head != "conservative":
            raise ConfigError(f"{name}_weight is {weight}, but a direct head gives forces only. Set it to 0.")
        if not any(np.isfinite(getattr(store[index], name)).all() for index in range(len(store))):
            raise DataError(f"{name}_weight is {weight}, but no training structure has a label for it. Set it to 0.")


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


def _require_same(start: Model, wanted: ModelConfig, path: Path) -> None:
    """Refuse to start from weights of another architecture, where they would mean something else."""
    old, new = dataclasses.asdict(start.config), dataclasses.asdict(wanted)
    old["n_frames"] = new.get("n_frames")  # of the training, not of the weights
    if old["head"] == "direct" and start.network.serves_any_head:
        old["head"] = new["head"]  # its features serve either
    differ = [f"{k} = {old.get(k)} there, {new.get(k)} here" for k in {**old, **new} if old.get(k) != new.get(k)]
    if differ:
        raise ConfigError(
            f"{path} cannot be started from: {'; '.join(differ)}. Give the settings of that model, or train anew."
        )


def _warn_of_unlearned(model: Model, validation: SampleStore) -> None:
    """Name elements that occur in the validation set alone: their errors are those of a model that never saw them."""
    found = {int(z) for index in range(len(validation)) for z in np.unique(validation[index].edges.numbers)}
    if strange := sorted(found - set(model.elements)):
        names = ", ".join(chemical_symbols[z] for z in strange)
        _log.warning("%s: in the validation set only. Move a crystal with it to the training data.", names)


def _copy_weights(source: Network, target: Network) -> int:
    """Copy every tensor whose name and shape agree; say how many."""
    old, new = source.state_dict(), target.state_dict()
    shared = {n: t for n, t in old.items() if n in new and new[n].shape == t.shape}
    target.load_state_dict(shared, strict=False)
    return len(shared)


def train_committee(
    config: RunConfig,
    stores: Stores | None = None,
    progress: Progress | None = None,
    warm_start: Sequence[Path] | None = None,
) -> list[Path]:
    """Train the members one after the other, with different initial weights and order.

    Parameters
    ----------
    config
        ``training.n_members`` members with seeds ``seed``, ``seed + 1``, …
    stores
        Data; None reads what the configuration names.
    progress
        Told about each epoch.
    warm_start
        One earlier checkpoint per member.

    Returns
    -------
    list of Path
        One checkpoint per member, all inside ``training.workdir``.
    """
    stores = load_stores(config) if stores is None else stores
    training = config.training
    workdir = Path(training.workdir)
    if warm_start is not None and len(warm_start) != training.n_members:
        raise ConfigError(f"warm_start has {len(warm_start)} models, expected n_members = {training.n_members}.")
    paths = []
    for member in range(training.n_members):
        folder = workdir if training.n_members == 1 else workdir / f"member-{member}"
        start = None if warm_start is None else Path(warm_start[member])
        paths.append(train_member(config, stores, folder, training.seed + member, progress, start))
    return paths


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
        _require_labels(training, model.config.head, stores.train)
        found = measure_statistics(stores.train, with_energy=False)
        pairs = merge_closest(model.statistics.closest_pairs, found.statistics.closest_pairs)
        model.statistics = dataclasses.replace(model.statistics, closest_pairs=pairs)
        new_elements = set(found.elements) - set(model.elements)
        model.elements = tuple(sorted({*model.elements, *found.elements}))
        _record_labels(model, _used(found.labels, training, model.config.head), new_elements)
        _warn_of_unlearned(model, stores.validation)
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
            _refit(trained, stores, training, replay)
        return _finish(trained, fit.state.records, workdir)
