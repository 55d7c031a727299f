"""Fit a network to forces, energies, stresses and force constants; resume exactly after a kill.

The order of structures, the frame copies and the random vectors follow from (seed, epoch) and (seed, step),
so a resume point needs only weights, optimiser state, averages, counters and the log. Restarted from one, a
training on the CPU gives bit for bit the weights of an uninterrupted one, unless ``max_minutes`` ties the learning
rate to the clock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from ase.units import GPa
from torch import Tensor, nn

from sdnnff_calc.config import TrainingConfig
from sdnnff_calc.data.samples import LabelledBatch
from sdnnff_calc.errors import TrainingError
from sdnnff_calc.models.checkpoint import Model
from sdnnff_calc.models.device import choose_device
from sdnnff_calc.models.heads import evaluate
from sdnnff_calc.models.network import Network, module_of
from sdnnff_calc.training.epoch import FitData, ValidationErrors, validation_errors
from sdnnff_calc.training.log import EpochRecord, write_log
from sdnnff_calc.training.losses import (
    ForceConstantTarget,
    force_constant_files,
    force_constant_loss,
    force_loss,
    read_force_constants,
)
from sdnnff_calc.training.optimisation import average_weights, learning_rate, make_optimiser
from sdnnff_calc.training.resume import RESUME_VERSION, FitState, ResumeFile, file_digest

__all__ = ["Fit", "Progress", "Stage"]

_log = logging.getLogger(__name__)

_VALIDATED_TARGETS = 8

Progress = Callable[[float, str], None]
"""Called with the share done (0 to 1) and one line of state."""


@dataclass(frozen=True)
class Stage:
    """One stage of a training.

    Attributes
    ----------
    name : str
        Of ``resume-NAME.pt`` and ``log-NAME.csv``.
    workdir : Path
        Folder for them.
    epochs : int, optional
        None: as the settings say.
    origin : str
        What the weights start from, where that is not the seed, and what is replayed: part of what a resume point
        belongs to.
    """

    name: str
    workdir: Path
    epochs: int | None = None
    origin: str = ""


class Fit:
    """One stage of training one model.

    Parameters
    ----------
    model : Model
        Fresh or pretrained; trained in place.
    data : FitData
        What it learns from.
    config : TrainingConfig
        Settings.
    stage : Stage
        Name, folder and length.
    progress : Progress, optional
        Told about each epoch.
    """

    def __init__(
        self, model: Model, data: FitData, config: TrainingConfig, stage: Stage, progress: Progress | None = None
    ) -> None:
        self.model, self.data, self.config, self.stage, self.progress = model, data, config, stage, progress
        self.epochs = config.epochs if stage.epochs is None else stage.epochs
        self.device = choose_device(config.device)
        self.network = model.network.to(self.device)
        self.trained = {n: p for n, p in self.network.named_parameters() if p.requires_grad}
        if not self.trained:
            raise TrainingError("every weight of the model is frozen: nothing is left to train.")
        self.optimiser = make_optimiser(list(self.trained.values()), config)
        self.average = average_weights(self.network, config.ema_decay)
        self.best = self._averages(copy=True)
        self.state = FitState()
        self.targets, digests = self._read_targets()
        self._resume = ResumeFile(stage.workdir / f"resume-{stage.name}.pt", self._identity(digests))
        self._session_start = time.monotonic()
        self._n_batches = 1
        self._step_seconds = 0.0
        self._step_atoms = 0

    def _read_targets(self) -> tuple[list[ForceConstantTarget], list[str]]:
        """Read the force constants that are trained on; hash their files."""
        config, model = self.config, self.model
        if config.force_constant_weight <= 0.0:
            return [], []
        files = force_constant_files(config.force_constants)
        if not files:
            raise TrainingError("force_constant_weight is set, but force_constants names no file.")
        targets = [read_force_constants(p, model.config.cutoff, model.dtype, self.device) for p in files]
        return targets, [file_digest(p) for p in files]

    def _identity(self, digests: list[str]) -> str:
        """Say what a resume point belongs to: settings and data that may not change in between."""
        free = {"workdir", "device", "max_minutes", "checkpoint_minutes", "n_members"}
        kept = {k: v for k, v in dataclasses.asdict(self.config).items() if k not in free}
        data = (self.data.train.digest, self.data.validation.digest, self.data.replay_fraction, *digests)
        origin = self.stage.origin
        return repr((RESUME_VERSION, self.model.config, sorted(kept.items()), self.epochs, data, origin))

    def run(self, on_step: Callable[[int], None] | None = None) -> Model:
        """Train to the end, from the last resume point if there is one.

        Parameters
        ----------
        on_step : callable, optional
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
        self.stage.workdir.mkdir(parents=True, exist_ok=True)
        self._load()
        self._session_start = time.monotonic() - self.state.seconds
        saved = time.monotonic()
        while self.state.epoch < self.epochs and not self._finished():
            saved = self._run_epoch(saved, on_step)
            self._close_epoch()
            if time.monotonic() - saved > 20.0 or self.state.epoch == self.epochs or self._finished():
                self._save()
                saved = time.monotonic()
        with torch.no_grad():
            for name, value in self.best.items():
                self.trained[name].copy_(value)
        self.network.eval()
        if len(self.data.validation):
            self.model.card["validation_force_rmse_ev_per_angstrom"] = self.state.best_rmse
        self.model.card["training"] = self._account()
        return self.model

    def _run_epoch(self, saved: float, on_step: Callable[[int], None] | None) -> float:
        """Do the steps of this epoch that are still to do; give the time of the last resume point."""
        order = self.data.order(self.config, self.state.epoch)
        self._n_batches = len(order)
        for batch in self.data.batches(order[self.state.batch :], self.model.dtype, self.device):
            self._step(batch)
            self.state.batch += 1
            if on_step is not None:
                on_step(self.state.step)
            if time.monotonic() - saved > 60.0 * self.config.checkpoint_minutes:
                self._save()
                saved = time.monotonic()
            if self._out_of_time():
                break
        return saved

    def _account(self) -> dict[str, object]:
        """Say for the card how this stage was trained: sizes, the epoch kept, and what is not a default setting."""
        default = dataclasses.asdict(TrainingConfig())
        here = {"workdir", "device", "checkpoint_minutes", "n_members", "epochs"}  # of this machine, or said otherwise
        settings = {k: v for k, v in dataclasses.asdict(self.config).items() if k not in here and v != default[k]}
        if "force_constants" in settings:
            settings["force_constants"] = [Path(name).name for name in settings["force_constants"]]
        return {
            "structures": len(self.data.train),
            "atomic_environments": int(self.data.train.sizes.sum()),
            "validation_structures": len(self.data.validation),
            "epochs": self.state.epoch,
            "epoch_kept": self.state.best_epoch,
            "seed": self.config.seed,
            **settings,
        }

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
        forces, loss = self._loss(batch)
        if not bool(torch.isfinite(loss)):
            raise TrainingError(
                f"the loss is {float(loss.detach())} at step {state.step}: "
                "lower learning_rate or look for outliers in the data."
            )
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained.values(), config.clip_norm)
        self.optimiser.step()
        state.step += 1
        self.average.update_parameters(module_of(self.network))
        error = (forces.detach() - batch.forces).double()
        state.loss_sum += float(loss.detach())
        state.square_sum += float(error.square().sum())
        state.component_sum += error.numel()
        self._step_seconds += time.monotonic() - begin
        self._step_atoms += batch.env.n_atoms

    def _loss(self, batch: LabelledBatch) -> tuple[Tensor, Tensor]:
        """Evaluate a batch: the forces and the loss, to be differentiated."""
        config, state = self.config, self.state
        half = config.mixed_precision and self.device.type == "cuda" and self.model.dtype == torch.float32
        autocast = torch.autocast("cuda", dtype=torch.bfloat16) if half else contextlib.nullcontext()
        with autocast:
            prediction = evaluate(self.network, batch.env, self.model.statistics, self.model.config.head, training=True)
            loss = force_loss(prediction, batch, self.model.statistics, config)
            if self.targets:
                target = self.targets[state.step % len(self.targets)]
                loss = loss + self._force_constant_term(self.model, target, config.seed * 1_000_003 + state.step)
        return prediction.forces, loss

    def _force_constant_term(self, model: Model, target: ForceConstantTarget, seed: int) -> Tensor:
        """Weigh the force-constant loss on the random vector of a seed."""
        generator = torch.Generator().manual_seed(seed)
        term = force_constant_loss(model.network, target, model.statistics, model.config.head, generator)
        return self.config.force_constant_weight * term

    def _validate(self) -> tuple[ValidationErrors, float]:
        """Measure the averaged weights: errors, and the loss, with force constants along one vector each."""
        averaged = dataclasses.replace(self.model, network=cast("Network", self.average.module))
        averaged.network.eval()
        store = self.data.validation if len(self.data.validation) else self.data.train
        errors = validation_errors(averaged, store, self.config)
        terms = [float(self._force_constant_term(averaged, t, 0).detach()) for t in self.targets[:_VALIDATED_TARGETS]]
        return errors, errors.loss + (sum(terms) / len(terms) if terms else 0.0)

    def _close_epoch(self) -> None:
        """Validate with the averaged weights, keep the best ones, write the log."""
        state = self.state
        errors, loss = self._validate()
        n_done = max(state.batch, 1)
        state.epoch += 1
        state.batch = 0
        state.seconds = time.monotonic() - self._session_start
        if not math.isfinite(loss):
            raise TrainingError(f"the validation loss is {loss} after epoch {state.epoch}: lower learning_rate.")
        if loss < state.best_loss:
            state.best_loss, state.best_rmse, state.best_epoch = loss, errors.force_rmse, state.epoch
            self.best = self._averages(copy=True)
        record = EpochRecord(
            stage=self.stage.name,
            epoch=state.epoch,
            step=state.step,
            seconds=round(state.seconds, 2),
            learning_rate=float(cast("float", self.optimiser.param_groups[0]["lr"])),
            loss=state.loss_sum / n_done,
            train_force_rmse=math.sqrt(state.square_sum / max(state.component_sum, 1)),
            validation_loss=loss,
            validation_force_rmse=errors.force_rmse,
            validation_force_mae=errors.force_mae,
            validation_energy_mae=errors.energy_mae if self.config.energy_weight > 0.0 else None,
            validation_stress_mae=errors.stress_mae if self.config.stress_weight > 0.0 else None,
        )
        state.records.append(record)
        state.loss_sum = state.square_sum = 0.0
        state.component_sum = 0
        write_log(state.records, self.stage.workdir / f"log-{self.stage.name}.csv")
        self._tell(record)

    def _tell(self, record: EpochRecord) -> None:
        """Say how an epoch went."""
        line = (
            f"{record.stage} epoch {record.epoch}/{self.epochs}: force RMSE {1000 * record.train_force_rmse:.2f} "
            f"(train) {1000 * record.validation_force_rmse:.2f} (validation) meV/Å, "
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

    def _averages(self, *, copy: bool = False) -> dict[str, Tensor]:
        """Give the averages of the trained weights by name."""
        averages = dict(self.average.module.named_parameters())
        return {name: averages[name].detach().clone() if copy else averages[name].detach() for name in self.trained}

    def _save(self) -> None:
        """Write a resume point."""
        self.state.seconds = time.monotonic() - self._session_start
        self._resume.save(
            self.state,
            weights=self.network.state_dict(),
            optimiser=self.optimiser.state_dict(),
            average=self._averages(),
            best=self.best,
        )

    def _load(self) -> None:
        """Go back to the resume point, if there is one of this very training."""
        found = self._resume.load(self.device)
        if found is None:
            return
        self.state, content = found
        self.network.load_state_dict(content["weights"])
        self.optimiser.load_state_dict(content["optimiser"])
        with torch.no_grad():
            for name, value in self._averages().items():
                value.copy_(content["average"][name])
        self.average.n_averaged.fill_(self.state.step + 1)
        self.best = content["best"]
        _log.info("resumed %s at epoch %d, step %d", self.stage.name, self.state.epoch, self.state.step)
