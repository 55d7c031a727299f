"""The rounds of a run: each record read once and kept, and what follows from all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from al_committee.config import LoopConfig
from al_committee.loop.records import (
    EvaluationRecord,
    LabelsRecord,
    ModelsRecord,
    ReportRecord,
    SelectionRecord,
    read_record,
    write_record,
)

__all__ = ["STEPS", "RoundSummary", "Rounds", "stop_reason"]

STEPS: dict[str, type] = {
    "selection": SelectionRecord,
    "labels": LabelsRecord,
    "models": ModelsRecord,
    "evaluation": EvaluationRecord,
    "report": ReportRecord,
}
"""Steps of a round in order, and what they give; the scores are part of the selection."""

Record = TypeVar("Record")


@dataclass(frozen=True)
class RoundSummary:
    """One row of numbers about a round; None for what is not there yet. Units as in the records."""

    round: int
    recommended: int | None = None
    selected: int | None = None
    labelled: int | None = None
    failed: int | None = None
    pending: int | None = None
    training_labels: int | None = None
    force_rmse: float | None = None
    force_mae: float | None = None
    area: float | None = None
    area_scaled: float | None = None
    scale: float | None = None
    rank_correlation: float | None = None


class Rounds:
    """Records of all rounds.

    Parameters
    ----------
    folder : Path
        Holds a folder per round.

    Notes
    -----
    A step is done when its record exists. Records are read when first asked for and kept: the one driver of a run
    directory is the only one who writes them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[tuple[int, str], object] = {}

    def round_folder(self, number: int) -> Path:
        """Folder of a round."""
        return self.folder / f"{number:03d}"

    def numbers(self) -> list[int]:
        """Numbers of the rounds begun."""
        if not self.folder.exists():
            return []
        return sorted(int(entry.name) for entry in self.folder.iterdir() if entry.name.isdigit())

    def selection(self, number: int) -> SelectionRecord | None:
        """Give what a round chose; None while it has not."""
        return self._read(number, "selection", SelectionRecord)

    def labels(self, number: int) -> LabelsRecord | None:
        """Give what became of a round's labels."""
        return self._read(number, "labels", LabelsRecord)

    def models(self, number: int) -> ModelsRecord | None:
        """Give a round's committee."""
        return self._read(number, "models", ModelsRecord)

    def evaluation(self, number: int) -> EvaluationRecord | None:
        """Give what a round's committee is worth."""
        return self._read(number, "evaluation", EvaluationRecord)

    def report(self, number: int) -> ReportRecord | None:
        """Give a round's report."""
        return self._read(number, "report", ReportRecord)

    def write(self, number: int, record: object) -> None:
        """Mark the step of a record as done."""
        step = next(name for name, kind in STEPS.items() if isinstance(record, kind))
        write_record(self.round_folder(number) / f"{step}.json", record)
        self._known[number, step] = record

    def forget(self) -> None:
        """Read everything again: records were moved aside."""
        self._known.clear()

    def _read(self, number: int, step: str, kind: type[Record]) -> Record | None:
        """Read a record once."""
        if (number, step) not in self._known:
            path = self.round_folder(number) / f"{step}.json"
            if number < 0 or not path.exists():
                return None
            self._known[number, step] = read_record(path, kind)
        return cast("Record", self._known[number, step])

    # ---- what follows from them --------------------------------------------------------------------------

    def selections(self, before: int | None = None) -> Iterator[SelectionRecord]:
        """Yield what the rounds chose, those before one or all."""
        for number in range(before) if before is not None else self.numbers():
            record = self.selection(number)
            if record is not None:
                yield record

    def attempted_keys(self, before: int) -> list[str]:
        """Keys selected in the rounds before one, failed ones included."""
        return [item.key for record in self.selections(before) for item in record.selected]

    def training_keys(self, number: int) -> list[str]:
        """Labels available after a round, in the order they were asked for."""
        records = (self.labels(n) for n in range(number + 1))
        return list(dict.fromkeys(key for record in records if record is not None for key in record.done))

    def hours(self) -> float:
        """Hours that scoring, labels and training took so far."""
        seconds = 0.0
        for number in self.numbers():
            for record in (self.selection(number), self.labels(number), self.models(number)):
                seconds += record.seconds if record is not None else 0.0
        return seconds / 3600

    def last_trained(self) -> int | None:
        """Give the number of the last round with models."""
        return max((n for n in self.numbers() if self.models(n) is not None), default=None)

    def summary(self, number: int) -> RoundSummary:
        """One row of numbers about a round."""
        selection, labels, evaluation = self.selection(number), self.labels(number), self.evaluation(number)
        test = evaluation.test if evaluation is not None else None
        calibration = test.calibration if test is not None else None
        return RoundSummary(
            number,
            recommended=selection.n_recommended if selection is not None else None,
            selected=len(selection.selected) if selection is not None else None,
            labelled=len(labels.done) if labels is not None else None,
            failed=len(labels.failed) if labels is not None else None,
            pending=len(labels.pending) if labels is not None else None,
            training_labels=evaluation.n_training if evaluation is not None else None,
            force_rmse=test.force_rmse if test is not None else None,
            force_mae=test.force_mae if test is not None else None,
            area=calibration.area if calibration is not None else None,
            area_scaled=calibration.area_scaled if calibration is not None else None,
            scale=calibration.scale if calibration is not None else None,
            rank_correlation=calibration.rank_correlation if calibration is not None else None,
        )


def stop_reason(rounds: Rounds, number: int, selection: SelectionRecord, config: LoopConfig) -> str:
    """Say why to stop after looking at a round's selection; empty to go on."""
    stop, recommended = config.stop, selection.n_recommended or 0
    if stop.below_threshold and recommended == 0:
        return f"no structure is recommended: all scores are at most {config.selection.threshold:g} eV/Å"
    if stop.max_labels and len(rounds.attempted_keys(number)) >= stop.max_labels:
        return f"the budget of max_labels = {stop.max_labels} labels is spent"
    if stop.max_hours and rounds.hours() >= stop.max_hours:
        return f"the budget of max_hours = {stop.max_hours:g} hours is spent"
    if not selection.selected:
        return f"{recommended} structures are recommended, but the round's budget admits none of them"
    if stop.constant_rounds > 0 and number > stop.constant_rounds:
        counts = [
            record.n_recommended or 0 for record in list(rounds.selections(number + 1))[number - stop.constant_rounds :]
        ]
        steps = [abs(after - before) for before, after in itertools.pairwise(counts)]
        if max(steps) <= stop.constant_tolerance * selection.n_structures:
            listed = ", ".join(str(count) for count in counts)
            return f"the number recommended is near constant: {listed}"
    return ""
