"""The models step of a round: train the committee, find its files again, publish the last one."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms

from al_committee.atomic_file import write_json
from al_committee.committee.calculator import CommitteeCalculator
from al_committee.errors import RunStateError, TrainerError
from al_committee.loop.run_directory import RunDirectory
from al_committee.protocols import Trainer

__all__ = ["check_models", "load_committee", "model_paths", "publish", "split_labels", "train_round"]

logger = logging.getLogger(__name__)


def train_round(
    run: RunDirectory,
    trainer: Trainer,
    number: int,
    keys: Sequence[str],
    labelled: Callable[[Iterable[str]], list[Atoms]],
    seed: int,
) -> dict[str, Any]:
    """Train a round's committee.

    Parameters
    ----------
    run
        The run directory.
    trainer
        The learner.
    number
        The round.
    keys
        Labels so far; a share of them, always the same ones, is for validation.
    labelled
        Gives labelled structures by key.
    seed
        Of the training.

    Returns
    -------
    dict
        The round's record of models.
    """
    settings = run.config.training
    before = (run.record(number - 1, "models") or {}) if number else {}
    training, validation = split_labels(keys, labelled, settings.validation_share)
    workdir = run.round_folder(number) / "train"
    if not settings.keep_partial:
        shutil.rmtree(workdir, ignore_errors=True)
    workdir.mkdir(parents=True, exist_ok=True)
    warm = [run.path / path for path in before["models"]] if settings.warm_start and before else None
    logger.info("round %d: training %d members on %d labels", number, settings.n_members, len(keys))
    start = time.perf_counter()
    paths = trainer.train(
        training,
        validation,
        workdir=workdir,
        seed=seed,
        warm_start=warm,
        n_members=settings.n_members,
    )
    models = check_models(list(paths), workdir, settings.n_members)
    return {
        "models": [os.path.relpath(path, run.path) for path in models],
        "sha256": [hashlib.sha256(path.read_bytes()).hexdigest() for path in models],
        "n_training": len(training),
        "n_validation": len(validation),
        "seconds": time.perf_counter() - start,
    }


def split_labels(
    keys: Sequence[str], labelled: Callable[[Iterable[str]], list[Atoms]], share: float
) -> tuple[list[Atoms], list[Atoms]]:
    """Put a share of the labels, always the same ones, aside for validation.

    A label that alone holds an element stays in training: models that never saw the element could not be asked
    about it.

    Parameters
    ----------
    keys
        Content keys; their first digits decide.
    labelled
        Gives labelled structures by key.
    share
        Of the labels.

    Returns
    -------
    training, validation : list of Atoms
    """
    aside = [key for key in keys if int(key[:8], 16) / 2**32 < share]
    if len(aside) == len(keys):
        aside = []
    held = set(aside)
    training = labelled(key for key in keys if key not in held)
    validation: list[Atoms] = []
    known = {symbol for atoms in training for symbol in atoms.get_chemical_symbols()}
    for atoms in labelled(aside):
        symbols = set(atoms.get_chemical_symbols())
        (validation if symbols <= known else training).append(atoms)
        known |= symbols
    return training, validation


def check_models(paths: Sequence[Any], workdir: Path, n_members: int) -> list[Path]:
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
    record = run.record(number, "models")
    if record is None:
        raise RunStateError(f"round {number} has no models yet.")
    paths = [run.path / path for path in record["models"]]
    gone = [str(path) for path in paths if not path.exists()]
    if gone:
        raise RunStateError(f"model {gone[0]} is gone. Redo the models step of round {number}.")
    return paths


def load_committee(run: RunDirectory, trainer: Trainer, number: int) -> CommitteeCalculator:
    """Committee of a round."""
    return CommitteeCalculator([trainer.committee(model_paths(run, number))], check_units=False)


def publish(run: RunDirectory, number: int, reason: str, n_labels: Callable[[int], int]) -> dict[str, Any]:
    """Copy the last trained round's models, with a card, to ``published`` and close the run.

    Parameters
    ----------
    run
        The run directory.
    number
        Round at which the loop stopped.
    reason
        Why it did.
    n_labels
        Labels available after a round.
    """
    last = max(n for n in run.rounds() if run.record(n, "models") is not None)
    published = run.path / "published"
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
    card = {
        "models": names,
        "sha256": (run.record(last, "models") or {})["sha256"],
        "trainer": run.config.training.trainer,
        "label_settings": run.manifest.get("label_settings"),
        "round": last,
        "n_labels": n_labels(last),
        "test": (run.record(last, "evaluation") or {}).get("test"),
        "stopped_because": reason,
    }
    write_json(aside / "model-card.json", card)
    shutil.rmtree(published, ignore_errors=True)
    os.rename(aside, published)
    record = {"reason": reason, "last_round": last, "published": "published", "stopped_at_round": number}
    write_json(run.path / "finished.json", record)
    run.rebuild_index()
    logger.info("finished: %s", reason)
    return record
