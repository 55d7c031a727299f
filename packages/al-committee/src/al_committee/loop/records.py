"""What each step of a round gives, as frozen records; JSON is their form on disk, and this is where it is converted."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from al_committee.committee.calibration import Calibration
from al_committee.errors import RunStateError
from al_committee.file_access.atomic_write import read_json, write_json
from al_committee.selection.rules import ScoredSupercell

__all__ = [
    "ClosingRecord",
    "Comparison",
    "EvaluationRecord",
    "FailedLabel",
    "GroupError",
    "LabelsRecord",
    "ModelsRecord",
    "ReportRecord",
    "SelectionRecord",
    "TestSetRecord",
    "read_record",
    "write_record",
]

Record = TypeVar("Record")


@dataclass(frozen=True)
class SelectionRecord:
    """What a round chose to label.

    Parameters
    ----------
    round : int
        Its number.
    selected : tuple of ScoredSupercell
        In order of priority; their structures stand in ``selected.jsonl``.
    n_recommended : int, optional
        Crystals that the rule recommends, the paper's measure of convergence; None in round 0.
    n_structures : int
        Crystals of the pool, test set left out.
    n_scored, n_duplicates, n_unseen, n_at_rest : int
        Supercells scored, and left out as known; crystals with elements the committee does not know, and at rest where
        it is believed.
    largest_score, median_score : float
        Over the supercells, eV/Å.
    histogram : tuple of int
        Atoms per bin of ε (:data:`~al_committee.selection.scoring.HISTOGRAM_EDGES`).
    absurd : tuple of ScoredSupercell
        Set aside above the upper bound.
    unscorable, not_at_rest : dict of str to str, dict of str to int
        Why crystals could not be scored, by crystal; why they were not relaxed, with counts.
    seconds : float
        Time of scoring and selection.
    """

    round: int
    selected: tuple[ScoredSupercell, ...]
    n_recommended: int | None = None
    n_structures: int = 0
    n_scored: int = 0
    n_duplicates: int = 0
    n_unseen: int = 0
    n_at_rest: int = 0
    largest_score: float = 0.0
    median_score: float = 0.0
    histogram: tuple[int, ...] = ()
    absurd: tuple[ScoredSupercell, ...] = ()
    unscorable: dict[str, str] = field(default_factory=dict)
    not_at_rest: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class LabelsRecord:
    """Content keys of a round's labels: done, failed, and still outstanding.

    Parameters
    ----------
    done, failed, pending : tuple of str
        Keys, those done in the order asked for.
    seconds : float
        Time that the labels took.
    """

    done: tuple[str, ...]
    failed: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class TestSetRecord:
    """The fixed test set.

    Parameters
    ----------
    asked : tuple of str
        Keys of all its supercells, labelled or not.
    labels : LabelsRecord
        What became of them.
    """

    __test__ = False  # no test class, whatever pytest makes of the name

    asked: tuple[str, ...]
    labels: LabelsRecord


@dataclass(frozen=True)
class ModelsRecord:
    """A trained committee.

    Parameters
    ----------
    models : tuple of str
        Files, relative to the run directory.
    sha256 : tuple of str
        Of each.
    n_training, n_validation : int
        Labels.
    seconds : float
        Of the training.
    """

    models: tuple[str, ...]
    sha256: tuple[str, ...]
    n_training: int
    n_validation: int
    seconds: float


@dataclass(frozen=True)
class GroupError:
    """Error on part of the structures.

    Parameters
    ----------
    n_structures : int
        How many.
    force_rmse, force_rms : float
        Error of the mean force per component, and the forces' own size, eV/Å.
    """

    n_structures: int
    force_rmse: float
    force_rms: float


@dataclass(frozen=True)
class Comparison:
    """A committee against labels.

    Parameters
    ----------
    n_structures, n_unseen : int
        Compared, and left out for elements the committee does not know.
    force_rmse, force_mae : float, optional
        Of the mean force, per component, eV/Å; None without a structure.
    calibration : Calibration, optional
        What ε says about the error; None where that cannot be had.
    uncalibrated : str
        Why.
    groups : dict of str to GroupError
        Errors by group (prototype), by kind of supercell and by element: ``"group rocksalt"``, ``"kind sheared"``,
        ``"element Na"``.
    """

    n_structures: int
    n_unseen: int = 0
    force_rmse: float | None = None
    force_mae: float | None = None
    calibration: Calibration | None = None
    uncalibrated: str = ""
    groups: dict[str, GroupError] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationRecord:
    """What a round's committee is worth.

    Parameters
    ----------
    round : int
        Its number.
    n_training : int
        Labels so far.
    test : Comparison, optional
        On the fixed test set; None without one.
    asked : Comparison, optional
        The last round's committee on what it asked for.
    """

    round: int
    n_training: int
    test: Comparison | None = None
    asked: Comparison | None = None


@dataclass(frozen=True)
class ReportRecord:
    """Files of a round's report, or why there are none."""

    files: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class ClosingRecord:
    """Why a loop ended.

    Parameters
    ----------
    reason : str
        A sentence.
    last_round : int
        Whose models were published.
    published : str
        Folder of the models, relative to the run directory.
    stopped_at_round : int
        The round that was not begun.
    """

    reason: str
    last_round: int
    published: str
    stopped_at_round: int


@dataclass(frozen=True)
class FailedLabel:
    """A label that could not be made.

    Parameters
    ----------
    key, name : str
        Which.
    reason, traceback : str
        Why.
    structure : str
        What was asked for, as :func:`~al_committee.labels.identity.encode_structure` writes it.
    """

    key: str
    name: str
    reason: str
    traceback: str = ""
    structure: str = ""


def write_record(path: Path, record: object) -> None:
    """Write a record atomically.

    Raises
    ------
    ValueError
        When it holds NaN or infinity.
    """
    write_json(path, TypeAdapter(type(record)).dump_python(record, mode="python"))


def read_record(path: Path, kind: type[Record]) -> Record:
    """Read a record.

    Raises
    ------
    RunStateError
        When the file is damaged or of another kind; the message names it.
    """
    try:
        return TypeAdapter(kind).validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunStateError(
            f"{path} is no {kind.__name__} ({where}: {first['msg']}). It was changed by hand; move it away and resume: "
            "the step that wrote it runs again."
        ) from error
