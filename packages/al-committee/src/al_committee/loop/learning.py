"""The models step of a round: train the committee, find its files again, publish the last one."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from al_committee.committee.calculator import CommitteeCalculator
from al_committee.committee.protocols import Trainer
from al_committee.errors import RunStateError, TrainerError
from al_committee.file_access.atomic_write import write_json
from al_committee.labels.cache import LazyLabels
from al_committee.labels.outcome import labelled_forces
from al_committee.loop.records import ClosingRecord, ModelsRecord, write_record
from al_committee.loop.run_directory import RunDirectory

__all__ = ["check_models", "load_committee", "model_paths", "publish", "split_labels", "train_round"]

logger = logging.getLogger(__name__)


def train_round(run: RunDirectory, trainer: Trainer, number: int, labels: LazyLabels, seed: int) -> ModelsRecord:
    """Train a round's committee.

    Parameters
    ----------
    run : RunDirectory
        The run directory.
    trainer : Trainer
        The learner.
    number : int
        The round.
    labels : LazyLabels
        All so far; a share of them, always the same ones, is for validation.
    seed : int
        Of the training.
    """
    settings = run.config.training
    before = run.rounds.models(number - 1)
    training, validation = split_labels(labels, settings.validation_share, settings.largest_force)
    workdir = run.rounds.round_folder(number) / "train"
    if not settings.keep_partial:
        shutil.rmtree(workdir, ignore_errors=True)
    workdir.mkdir(parents=True, exist_ok=True)
    warm = [run.path / path for path in before.models] if settings.warm_start and before is not None else None
    logger.info("round %d: training %d members on %d labels", number, settings.n_members, len(training))
    start = time.perf_counter()
    paths = trainer.train(
        training,
        validation,
        workdir=workdir,
        seed=seed,
        warm_start=warm,
        n_members=settings.n_members,
    )
    models = check_models(paths, workdir, settings.n_members)
    return ModelsRecord(
        tuple(os.path.relpath(path, run.path) for path in models),
        tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in models),
        len(training),
        len(validation),
        time.perf_counter() - start,
    )


def split_labels(labels: LazyLabels, share: float, largest_force: float = 0.0) -> tuple[LazyLabels, LazyLabels]:
    """Put a share of the labels, always the same ones, aside for validation.

    A label that alone holds an element stays in training: models that never saw the element could not be asked
    about it. Labels are read one at a time and not kept.

    Parameters
    ----------
    labels : LazyLabels
        The first digits of their keys decide.
    share : float
        Of the labels.
    largest_force : float
        Labels with a larger force, eV/Å, are left out; 0 for none.

    Returns
    -------
    training, validation : LazyLabels
    """
    elements: dict[str, frozenset[str]] = {}
    for key, atoms in zip(labels.keys, labels, strict=True):
        if not largest_force or np.abs(labelled_forces(atoms)).max() <= largest_force:
            elements[key] = frozenset(atoms.get_chemical_symbols())
    if labels.keys and not elements:
        raise RunStateError(f"every label has a force above training.largest_force = {largest_force:g} eV/Å.")
    aside = [key for key in elements if int(key[:8], 16) / 2**32 < share]
    if len(aside) == len(elements):
        aside = []
    held = set(aside)
    training = [key for key in elements if key not in held]
    known = {symbol for key in training for symbol in elements[key]}
    validation: list[str] = []
    for key in aside:
        (validation if elements[key] <= known else training).append(key)
        known |= elements[key]
    return LazyLabels(labels.cache, training), LazyLabels(labels.cache, validation)


def check_models(paths: Sequence[Path | str], workdir: Path, n_members: int) -> list[Path]:
    """Hold the trainer to its protocol.

    Raises
    ------
    TrainerError
        Another number of models, a missing file, or one outside the folder given.
    """
    files = [Path(path) for path in paths]
    if len(files) != n_members:
        raise TrainerError(f"the trainer returned {len(files)} models, expected n_members = {n_members}.")
    for path in files:
        if not path.is_file():
            raise TrainerError(f"the trainer returned {path}, which is no file.")
        if workdir.resolve() not in path.resolve().parents:
            raise TrainerError(f"the trainer returned {path}, outside its workdir {workdir}.")
    return files


def model_paths(run: RunDirectory, number: int) -> list[Path]:
    """Model files of a round.

    Raises
    ------
    RunStateError
        When the round is not trained, or a file is gone.
    """
    record = run.rounds.models(number)
    if record is None:
        raise RunStateError(f"round {number} has no models yet.")
    paths = [run.path / path for path in record.models]
    gone = [str(path) for path in paths if not path.exists()]
    if gone:
        raise RunStateError(f"model {gone[0]} is gone. Redo the models step of round {number}.")
    return paths


def load_committee(run: RunDirectory, trainer: Trainer, number: int) -> CommitteeCalculator:
    """Committee of a round."""
    return CommitteeCalculator([trainer.committee(model_paths(run, number))], check_units=False)


def publish(run: RunDirectory, number: int, reason: str) -> ClosingRecord:
    """Copy the last trained round's models, with a card, to ``published`` and close the run.

    Parameters
    ----------
    run : RunDirectory
        The run directory.
    number : int
        Round at which the loop stopped.
    reason : str
        Why it did.
    """
    last = run.rounds.last_trained()
    if last is None:
        raise RunStateError(f"{run.path} has no trained round to publish.")
    aside = run.path / f".published.{os.getpid()}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    names = []
    paths = model_paths(run, last)
    root = os.path.commonpath([path.parent for path in paths])
    for path in paths:
        name = path.relative_to(root)  # member-0/model.pt, where a file name alone would serve for all members
        (aside / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy2(path, aside / name)
        names.append(str(name))
    write_json(aside / "model-card.json", _model_card(run, last, names, reason))
    shutil.rmtree(run.path / "published", ignore_errors=True)
    os.rename(aside, run.path / "published")
    record = ClosingRecord(reason, last, "published", number)
    write_record(run.path / "finished.json", record)
    logger.info("finished: %s", reason)
    return record


def _model_card(run: RunDirectory, last: int, names: Sequence[str], reason: str) -> dict[str, object]:
    """Give what a user of the published models wants to know."""
    models, summary = run.rounds.models(last), run.rounds.summary(last)
    return {
        "models": list(names),
        "sha256": list(models.sha256) if models is not None else [],
        "trainer": run.config.training.trainer,
        "label_settings": run.manifest.get("label_settings"),
        "round": last,
        "n_labels": len(run.rounds.training_keys(last)),
        "test": {
            "force_rmse": summary.force_rmse,
            "scale": summary.scale,
            "area": summary.area,
            "area_scaled": summary.area_scaled,
        },
        "stopped_because": reason,
    }
