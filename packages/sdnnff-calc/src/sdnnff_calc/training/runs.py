"""Whole runs: build models, train all members of a committee."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from sdnnff_calc.config import ModelConfig, RunConfig
from sdnnff_calc.data.loss_labels import require_labels, used_labels, warn_of_unlearned
from sdnnff_calc.data.sample_stores import SampleStore
from sdnnff_calc.data.samples import batch_indices, collate_samples
from sdnnff_calc.data.statistics import measure_statistics
from sdnnff_calc.data.stores import Stores, load_stores
from sdnnff_calc.errors import ConfigError
from sdnnff_calc.geometry.closest_pairs import merge_closest
from sdnnff_calc.models.architectures import build_network
from sdnnff_calc.models.checkpoint import Model, load_model
from sdnnff_calc.models.heads import Statistics
from sdnnff_calc.models.network import Network
from sdnnff_calc.models.trained_labels import TrainedLabels
from sdnnff_calc.training.epoch import FitData
from sdnnff_calc.training.fit import Fit, Progress, Stage
from sdnnff_calc.training.log import EpochRecord
from sdnnff_calc.training.readout_refit import refit_where_possible
from sdnnff_calc.training.workdirs import finish, held

__all__ = ["new_model", "train_committee", "train_member"]


def new_model(config: ModelConfig, train: SampleStore, dtype: str, seed: int, with_energy: bool) -> Model:
    """Build a model with fresh weights, calibrated on a training set."""
    found = measure_statistics(train, with_energy and config.head == "conservative")
    network = build_network(config, getattr(torch, dtype), seed)
    _calibrate(network, found.statistics, train)
    return Model(network, config, found.elements, found.statistics, found.labels, repulsive_core=True)


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
    config : RunConfig
        Settings of model and training.
    stores : Stores
        Data, made with the model's cutoff.
    workdir : Path
        For logs, resume points and ``model.pt``.
    seed : int
        Of this member.
    progress : Progress, optional
        Told about each epoch.
    warm_start : Path, optional
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
    require_labels(training, model_config.head, stores.train)
    with held(workdir, stages):
        model = new_model(model_config, stores.train, training.dtype, seed, training.energy_weight > 0.0)
        model.trained = used_labels(model.trained or TrainedLabels(), training, model_config.head)
        warn_of_unlearned(model, stores.validation)
        if warm_start is not None:
            origin = _start_from(model, warm_start)
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
        refit_where_possible(trained, stores, training)
        return finish(trained, records, workdir)


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


def _copy_weights(source: Network, target: Network) -> int:
    """Copy every tensor whose name and shape agree; say how many."""
    old, new = source.state_dict(), target.state_dict()
    shared = {n: t for n, t in old.items() if n in new and new[n].shape == t.shape}
    target.load_state_dict(shared, strict=False)
    return len(shared)


def _start_from(model: Model, path: Path) -> str:
    """Give a new model the weights of an earlier one; return that one's checksum."""
    earlier = load_model(path)
    _require_same(earlier, model.config, path)
    _copy_weights(earlier.network, model.network)
    # the weights mean forces in units of the earlier scale: keep it, or the start is no longer warm
    model.statistics = dataclasses.replace(
        earlier.statistics,
        atomic_energies=model.statistics.atomic_energies or earlier.statistics.atomic_energies,
        closest_pairs=merge_closest(earlier.statistics.closest_pairs, model.statistics.closest_pairs),
    )
    return earlier.checksum


def train_committee(
    config: RunConfig,
    stores: Stores | None = None,
    progress: Progress | None = None,
    warm_start: Sequence[Path] | None = None,
) -> list[Path]:
    """Train the members one after the other, with different initial weights and order.

    Parameters
    ----------
    config : RunConfig
        ``training.n_members`` members with seeds ``seed``, ``seed + 1``, …
    stores : Stores, optional
        Data; None reads what the configuration names.
    progress : Progress, optional
        Told about each epoch.
    warm_start : sequence of Path, optional
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
