"""Fit a network to forces, energies, stresses and force constants; resume exactly after a kill.

The order of structures, the frame copies and the random vectors follow from (seed, epoch) and (seed, step),
so a resume point needs only weights, optimiser state, averages, counters and the log. Restarted from one, a
training on the CPU gives bit for bit the weights of an uninterrupted one, unless ``max_minutes`` ties the learning
rate to the clock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.units import GPa
from torch import Tensor, nn

from sdnnff_calc.checkpoint import Model, write_atomically
from sdnnff_calc.config import TrainingConfig
from sdnnff_calc.data.sample_stores import SampleStore
from sdnnff_calc.data.samples import LabelledBatch, batch_indices, collate_samples
from sdnnff_calc.errors import TrainingError
from sdnnff_calc.models.device import choose_device
from sdnnff_calc.models.heads import evaluate
from sdnnff_calc.training.log import EpochRecord, write_log
from sdnnff_calc.training.losses import (
    ForceConstantTarget,
    force_constant_files,
    force_constant_loss,
    force_loss,
    read_force_constants,
)
from sdnnff_calc.training.optimisation import AveragedWeights, learning_rate, make_optimiser

__all__ = ["Fit", "Progress", "ValidationErrors", "validation_errors"]

_log = logging.getLogger(__name__)

_RESUME_VERSION = 2
"""Raised when a resume point means something else than before: 2, since the validation loss chooses the epoch."""
_VALIDATED_TARGETS = 8
_START_AGAIN = "To start again here, delete resume-*.pt and model.pt in the workdir."

Progress = Callable[[float, str], None]
"""Called with the share done (0 to 1) and one line of state."""


@dataclass
class _State:
    """What a resume point holds beside weights and optimiser."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    square_sum: float = 0.0
    component_sum: int = 0
    best_loss: float = math.inf
    best_rmse: float = math.inf
    best_epoch: int = 0
    records: list[EpochRecord] = field(default_factory=list)


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


def _file_digest(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()


class Fit:
    """One stage of training one model.

    Parameters
    ----------
    model
        Fresh or pretrained; trained in place.
    train, validation
        Stores of samples made with the model's cutoff.
    config
        Settings.
    workdir
        For ``resume-STAGE.pt`` and ``log-STAGE.csv``.
    stage
        Name for them.
    progress
        Told about each epoch.
    replay, replay_fraction
        Samples of earlier data mixed into each epoch, per new sample.
    origin
        What the weights start from, where that is not the seed, and what is replayed: part of what a resume point
        belongs to.
    """

    def __init__(
        self,
        model: Model,
        train: SampleStore,
        validation: SampleStore,
        config: TrainingConfig,
        workdir: Path,
        *,
        stage: str,
        epochs: int | None = None,
        progress: Progress | None = None,
        replay: SampleStore | None = None,
        replay_fraction: float = 0.0,
        origin: str = "",
    ) -> None:
        self.model, self.train, self.validation, self.config = model, train, validation, config
        self.workdir, self.stage, self.progress = workdir, stage, progress
        self.epochs = config.epochs if epochs is None else epochs
        self.replay, self.replay_fraction, self.origin = replay, replay_fraction, origin
        self.device = choose_device(config.device)
        self.network = model.network.to(self.device)
        self.trained = [p for p in self.network.parameters() if p.requires_grad]
        if not self.trained:
            raise TrainingError("every weight of the model is frozen: nothing is left to train.")
        self.optimiser = make_optimiser(self.trained, config)
        self.average = AveragedWeights(self.network, config.ema_decay)
        self.best = {n: v.clone() for n, v in self.average.values.items()}
        self.state = _State()
        self.targets: list[ForceConstantTarget] = []
        self._target_digests: list[str] = []
        if config.force_constant_weight > 0.0:
            cutoff = model.config.cutoff
            files = force_constant_files(config.force_constants)
            self.targets = [read_force_constants(p, cutoff, model.dtype, self.device) for p in files]
            self._target_digests = [_file_digest(p) for p in files]
            if not self.targets:
                raise TrainingError("force_constant_weight is set, but force_constants names no file.")
        self._resume_path = workdir / f"resume-{stage}.pt"
        self._session_start = time.monotonic()
        self._step_seconds = 0.0
        self._step_atoms = 0

    def run(self, on_step: Callable[[int], None] | None = None) -> Model:
        """Train to the end, from the last resume point if there is one.

        Parameters
        ----------
        on_step
            Called with the step number after each step.

        Returns
        -------
        Model
            With the averaged weights of the epoch of the smallest validation loss.

        Raises
        ------
        TrainingError
            When the loss becomes NaN, or nothing is left to train.
        """
        self.workdir.mkdir(parents=True, exist_ok=True)
        self._load()
        self._session_start = time.monotonic() - self.state.seconds
        saved = time.monotonic()
        while self.state.epoch < self.epochs and not self._finished():
            for batch in self._epoch_batches():
                self._step(batch)
                self.state.batch += 1
                if on_step is not None:
                    on_step(self.state.step)
                if time.monotonic() - saved > 60.0 * self.config.checkpoint_minutes:
                    self._save()
                    saved = time.monotonic()
                if self._out_of_time():
                    break
            self._close_epoch()
            if time.monotonic() - saved > 20.0 or self.state.epoch == self.epochs or self._finished():
                self._save()
                saved = time.monotonic()
        self.average.values = self.best
        self.average.swap_in(self.network)
        self.network.eval()
        if len(self.validation):
            self.model.card["validation_force_rmse_ev_per_angstrom"] = self.state.best_rmse
        self.model.card["training"] = self._account()
        return self.model

    def _account(self) -> dict[str, Any]:
        """Say for the card how this stage was trained: sizes, the epoch kept, and what is not a default setting."""
        default = dataclasses.asdict(TrainingConfig())
        here = {"workdir", "device", "checkpoint_minutes", "n_members", "epochs"}  # of this machine, or said otherwise
        settings = {k: v for k, v in dataclasses.asdict(self.config).items() if k not in here and v != default[k]}
        if "force_constants" in settings:
            settings["force_constants"] = [Path(name).name for name in settings["force_constants"]]
        return {
            "structures": len(self.train),
            "atomic_environments": int(self.train.sizes.sum()),
            "validation_structures": len(self.validation),
            "epochs": self.state.epoch,
            "epoch_kept": self.state.best_epoch,
            "seed": self.config.seed,
            **settings,
        }

    # ---- one epoch ----------------------------------------------------------------------------------

    def _batches_of_epoch(self) -> list[list[int]]:
        """Shuffle and batch the samples; replayed ones carry indices beyond the training set."""
        generator = np.random.default_rng([self.config.seed, self.state.epoch, 1])
        n_new = len(self.train)
        order = np.arange(n_new)
        sizes = self.train.sizes
        if self.replay is not None and len(self.replay):
            n_old = min(len(self.replay), max(1, round(self.replay_fraction * n_new)))
            chosen = generator.choice(len(self.replay), size=n_old, replace=False)
            order = np.concatenate([order, n_new + chosen])
            sizes = np.concatenate([sizes, self.replay.sizes])
        order = generator.permutation(order)
        return list(batch_indices(sizes, self.config.batch_atoms, order))

    def _epoch_batches(self) -> Any:
        """Yield the batches of this epoch that are still to do."""
        batches = self._batches_of_epoch()
        self._n_batches = len(batches)
        n_new = len(self.train)
        for chosen in batches[self.state.batch :]:
            samples = [self.train[k] if k < n_new or self.replay is None else self.replay[k - n_new] for k in chosen]
            yield collate_samples(samples, self.model.dtype, self.device)

    def _progress_share(self) -> float:
        """Give the share of the training done: by epochs, or by time when that ends first."""
        by_step = (self.state.epoch + self.state.batch / max(self._n_batches, 1)) / max(self.epochs, 1)
        if self.config.max_minutes > 0.0:
            elapsed = time.monotonic() - self._session_start
            return max(by_step, elapsed / (60.0 * self.config.max_minutes))
        return by_step

    def _step(self, batch: LabelledBatch) -> None:
        """Do one optimiser step."""
        config, state = self.config, self.state
        begin = time.monotonic()
        rate = learning_rate(config, state.step, self._progress_share())
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.network.train()
        self.network.before_step(np.random.default_rng([config.seed, state.step, 2]))
        half = config.mixed_precision and self.device.type == "cuda" and self.model.dtype == torch.float32
        autocast = torch.autocast("cuda", dtype=torch.bfloat16) if half else contextlib.nullcontext()
        with autocast:
            prediction = evaluate(self.network, batch.env, self.model.statistics, self.model.config.head, training=True)
            loss = force_loss(prediction, batch, self.model.statistics, config)
            if self.targets:
                target = self.targets[state.step % len(self.targets)]
                loss = loss + self._force_constant_term(target, config.seed * 1_000_003 + state.step)
        if not bool(torch.isfinite(loss)):
            raise TrainingError(
                f"the loss is {float(loss.detach())} at step {state.step}: "
                "lower learning_rate or look for outliers in the data."
            )
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained, config.clip_norm)
        self.optimiser.step()
        state.step += 1
        self.average.update(self.network, state.step)
        error = (prediction.forces.detach() - batch.forces).double()
        state.loss_sum += float(loss.detach())
        state.square_sum += float(error.square().sum())
        state.component_sum += error.numel()
        self._step_seconds += time.monotonic() - begin
        self._step_atoms += batch.env.n_atoms

    def _force_constant_term(self, target: ForceConstantTarget, seed: int) -> Tensor:
        """Weigh the force-constant loss on the random vector of a seed."""
        generator = torch.Generator().manual_seed(seed)
        model = self.model
        term = force_constant_loss(self.network, target, model.statistics, model.config.head, generator)
        return self.config.force_constant_weight * term

    def _validation_loss(self, errors: ValidationErrors) -> float:
        """Add force constants, on one vector of each of the first crystals, to the loss of the other labels."""
        terms = [float(self._force_constant_term(target, 0).detach()) for target in self.targets[:_VALIDATED_TARGETS]]
        return errors.loss + (sum(terms) / len(terms) if terms else 0.0)

    def _close_epoch(self) -> None:
        """Validate with the averaged weights, keep the best ones, write the log."""
        state = self.state
        self.average.swap_in(self.network)
        self.network.eval()
        errors = validation_errors(self.model, self.validation if len(self.validation) else self.train, self.config)
        rmse, loss = errors.force_rmse, self._validation_loss(errors)
        self.average.swap_out(self.network)
        n_done = max(state.batch, 1)
        state.epoch += 1
        state.batch = 0
        state.seconds = time.monotonic() - self._session_start
        if not math.isfinite(loss):
            raise TrainingError(f"the validation loss is {loss} after epoch {state.epoch}: lower learning_rate.")
        if loss < state.best_loss:
            state.best_loss, state.best_rmse, state.best_epoch = loss, rmse, state.epoch
            self.best = {n: v.clone() for n, v in self.average.values.items()}
        record = EpochRecord(
            stage=self.stage,
            epoch=state.epoch,
            step=state.step,
            seconds=round(state.seconds, 2),
            learning_rate=float(self.optimiser.param_groups[0]["lr"]),
            loss=state.loss_sum / n_done,
            train_force_rmse=math.sqrt(state.square_sum / max(state.component_sum, 1)),
            validation_loss=loss,
            validation_force_rmse=rmse,
            validation_force_mae=errors.force_mae,
            validation_energy_mae=errors.energy_mae if self.config.energy_weight > 0.0 else None,
            validation_stress_mae=errors.stress_mae if self.config.stress_weight > 0.0 else None,
        )
        state.records.append(record)
        state.loss_sum = state.square_sum = 0.0
        state.component_sum = 0
        write_log(state.records, self.workdir / f"log-{self.stage}.csv")
        line = (
            f"{self.stage} epoch {record.epoch}/{self.epochs}: force RMSE "
            f"{1000 * record.train_force_rmse:.2f} (train) {1000 * rmse:.2f} (validation) meV/Å, "
        )
        if record.validation_energy_mae is not None:
            line += f"energy {1000 * record.validation_energy_mae:.1f} meV/atom, "
        if record.validation_stress_mae is not None:
            line += f"stress {record.validation_stress_mae / GPa:.2f} GPa, "
        line += f"{self._step_atoms / max(self._step_seconds, 1e-9):.0f} atoms/s"
        _log.info(line)
        if self.progress is not None:
            self.progress(min(1.0, self._progress_share()), line)

    def _out_of_time(self) -> bool:
        limit = 60.0 * self.config.max_minutes
        return limit > 0.0 and time.monotonic() - self._session_start > limit

    def _finished(self) -> bool:
        """Tell whether time or patience is used up."""
        stale = self.state.epoch - self.state.best_epoch
        return self._out_of_time() or (self.config.patience > 0 and stale >= self.config.patience)

    # ---- resume points ------------------------------------------------------------------------------

    def _identity(self) -> str:
        """Say what a resume point belongs to: settings and data that may not change in between."""
        free = {"workdir", "device", "max_minutes", "checkpoint_minutes", "n_members"}
        kept = {k: v for k, v in dataclasses.asdict(self.config).items() if k not in free}
        data = (self.train.digest, self.validation.digest, self.replay_fraction, *self._target_digests)
        return repr((_RESUME_VERSION, self.model.config, sorted(kept.items()), self.epochs, data, self.origin))

    def _save(self) -> None:
        """Write a resume point."""
        self.state.seconds = time.monotonic() - self._session_start
        state = dataclasses.asdict(self.state)
        content = {
            "identity": self._identity(),
            "weights": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.values,
            "best": self.best,
            "state": state,
        }
        write_atomically(self._resume_path, content)

    def _load(self) -> None:
        """Go back to the resume point, if there is one of this very training."""
        self._n_batches = 1
        if not self._resume_path.is_file():
            return
        try:
            content = torch.load(self._resume_path, map_location=self.device, weights_only=True)
        except Exception as error:  # torch raises many kinds for a broken file
            raise TrainingError(f"{self._resume_path} is damaged ({error}). {_START_AGAIN}") from error
        if content["identity"] != self._identity():
            raise TrainingError(
                f"{self.workdir} holds a training with other settings or data. Choose another workdir. {_START_AGAIN}"
            )
        self.network.load_state_dict(content["weights"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.average.values = content["average"]
        self.best = content["best"]
        records = [EpochRecord(**r) for r in content["state"].pop("records")]
        self.state = _State(**content["state"], records=records)
        _log.info("resumed %s at epoch %d, step %d", self.stage, self.state.epoch, self.state.step)
