"""The closed loop: pool, committee, selection, labels, training; a step is done when its record exists.

Every step reads only records of earlier steps and writes its own record last, atomically; running the loop
again after any interruption does what is missing and nothing twice.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from al_committee.committee.calculator import CommitteeCalculator
from al_committee.committee.protocols import Trainer
from al_committee.errors import RunStateError, TooManyFailedLabelsError
from al_committee.file_access.atomic_write import write_atomically
from al_committee.labels.cache import LabelCache, LazyLabels
from al_committee.labels.calculator_labeller import Labeller
from al_committee.labels.identity import structure_key
from al_committee.labels.outcome import LabelRequest
from al_committee.loop.evaluation import compare_with_labels
from al_committee.loop.interruption import LabelsOutstandingError, StopWatch
from al_committee.loop.label_queue import LabelQueue
from al_committee.loop.learning import load_committee, publish, train_round
from al_committee.loop.pages.live_page import LivePage
from al_committee.loop.progress import NoProgress, Progress
from al_committee.loop.records import (
    ClosingRecord,
    Comparison,
    EvaluationRecord,
    LabelsRecord,
    ReportRecord,
    SelectionRecord,
    TestSetRecord,
)
from al_committee.loop.rounds import stop_reason
from al_committee.loop.run_directory import RunDirectory
from al_committee.selection.descriptors import Descriptor, describe_radially
from al_committee.selection.pool import Pool
from al_committee.selection.rules import (
    Cost,
    ScoredSupercell,
    Strategy,
    cost_labels,
    order_worst_first,
    select_supercells,
)
from al_committee.selection.scoring import ScoreTable, Scoring, rest_of, score_pool
from al_committee.selection.start_set import choose_start_set

__all__ = ["ActiveLearningLoop", "LoopParts", "derive_seed"]

logger = logging.getLogger(__name__)
WriteReport = Callable[[RunDirectory, int], Sequence[Path]]


def derive_seed(seed: int, *purpose: object) -> int:
    """Give every random choice its own seed, independent of what ran before it (31 bits)."""
    text = "|".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


@dataclass(frozen=True)
class LoopParts:
    """What a loop is made of.

    Parameters
    ----------
    pool : Pool
        All crystals, those held out included.
    labeller : Labeller
        Source of labels.
    trainer : Trainer
        Learner.
    cache : LabelCache
        Store of labels of this labeller.
    strategy, cost, descriptor : Strategy, Cost, Descriptor
        How supercells are chosen, what each is worth, and what tells them apart.
    """

    pool: Pool
    labeller: Labeller
    trainer: Trainer
    cache: LabelCache
    strategy: Strategy = order_worst_first
    cost: Cost = cost_labels
    descriptor: Descriptor = describe_radially


class ActiveLearningLoop:
    """Drive one run directory.

    Parameters
    ----------
    run : RunDirectory
        The run directory, with its configuration.
    parts : LoopParts
        The objects that its configuration names.
    stop : StopWatch, optional
        When to stop cleanly.
    write_report : WriteReport, optional
        Called with the run and a round's number once the round is evaluated; returns the files written.
    progress : Progress, optional
        Told about long steps.

    Raises
    ------
    ConfigChangedError
        When the pool or the label settings differ from those the run was made with.
    """

    def __init__(
        self,
        run: RunDirectory,
        parts: LoopParts,
        *,
        stop: StopWatch | None = None,
        write_report: WriteReport | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.run, self.parts, self.rounds = run, parts, run.rounds
        self.pool, self.config = parts.pool, run.config
        self.stop = stop or StopWatch()
        self.write_report = write_report
        self.progress = progress or NoProgress()
        self.page = LivePage(run)
        self.queue = LabelQueue(run, parts.labeller, parts.cache, self.stop, progress, self.page.on_label)
        run.pin("pool_checksum", parts.pool.checksum())
        run.pin("label_settings", dict(parts.labeller.settings))
        self.test_ids = self._choose_test_structures()
        left_out = set(self.test_ids) | parts.pool.index.held_out
        self.pool_ids = [name for name in parts.pool.structure_ids if name not in left_out]
        if not self.pool_ids:
            raise RunStateError(
                f"all {len(parts.pool.index)} crystals are held out; lower pool.test_structures or held_out_share."
            )

    # ---- driving -----------------------------------------------------------------------------------------

    def drive(self) -> ClosingRecord:
        """Run until the loop is finished.

        Raises
        ------
        PausedError
            Walltime, a signal, or labels outstanding: run again later.
        TooManyFailedLabelsError, LabelSourceError
            When the source of labels is broken.
        """
        number = 0
        while True:
            finished = self.run.finished()
            if finished is not None:
                return finished
            reason = self._play_round(number)
            if reason:
                closing = publish(self.run, number, reason)
                self.page.write(f"finished: {reason}")
                return closing
            number += 1

    def _play_round(self, number: int) -> str:
        """Do what is missing of one round; a reason ends the loop before its labels."""
        if number > self.config.stop.max_rounds:
            return f"max_rounds = {self.config.stop.max_rounds} rounds are done"
        rounds = self.rounds
        if number == 0 and self.test_ids and self.run.test_set() is None:
            self._label_test_set_and_start()
        selection = rounds.selection(number)
        if selection is None:
            self.stop.pause_if_asked()
            selection = self._select(number)
        if number > 0:
            reason = stop_reason(rounds, number, selection, self.config)
            if reason:
                return reason
        if rounds.labels(number) is None:
            self.stop.pause_if_asked()
            rounds.write(number, self._label(number, selection))
        if rounds.models(number) is None:
            self._train(number)
        if rounds.evaluation(number) is None:
            self.stop.pause_if_asked()
            rounds.write(number, self._evaluate(number))
        if rounds.report(number) is None:
            self._report(number)
        self.page.write(f"round {number} is done")
        return ""

    def _rng(self, *purpose: object) -> np.random.Generator:
        """Random generator of one purpose."""
        return np.random.default_rng(derive_seed(self.config.seed, *purpose))

    # ---- test set and start ------------------------------------------------------------------------------

    def _choose_test_structures(self) -> list[str]:
        """Set crystals aside, the same ones at every start; of those held out by name, where some are."""
        held_out = self.pool.index.held_out
        names = [name for name in self.pool.index.ids if not held_out or name in held_out]
        chosen = self._rng("test set").permutation(len(names))[: self.config.pool.test_structures]
        return sorted(names[int(k)] for k in chosen)

    def _label_test_set_and_start(self) -> None:
        """Label the test set; where it has to wait for others, ask for the labels of round 0 with it, in one trip.

        Raises
        ------
        LabelsOutstandingError
            Names what of both is waited for.
        """
        try:
            self._label_test_set()
        except LabelsOutstandingError as tests:
            try:
                self._label(0, self.rounds.selection(0) or self._select(0))
            except LabelsOutstandingError as start:
                raise LabelsOutstandingError(*tests.waiting, *start.waiting) from None
            raise

    def _label_test_set(self) -> None:
        """Label one supercell of each kind of the held-out crystals, once."""
        logger.info("labelling the test set: %d held-out crystals", len(self.test_ids))
        self.page.write("labelling the test set")
        kinds = [self.pool.kind(index).name for index in range(self.pool.n_per_crystal)]
        indices = [kinds.index(name) for name in dict.fromkeys(kinds)]
        entries = [self.pool.supercell(name, index) for name in self.test_ids for index in indices]
        requests = [LabelRequest(e.key, e.atoms, f"{e.structure_id}/{e.index}") for e in entries]
        labels = self.queue.obtain(requests, "the test set")
        self.run.write_test_set(TestSetRecord(tuple(request.key for request in requests), labels))

    def test_atoms(self) -> LazyLabels:
        """Labelled test structures."""
        record = self.run.test_set()
        return self.queue.labelled(record.labels.done if record is not None else ())

    # ---- selection ---------------------------------------------------------------------------------------

    def _select(self, number: int) -> SelectionRecord:
        """Choose what to label, keep its structures, and mark the step as done."""
        start, rest = time.perf_counter(), dict[str, Atoms]()
        if number == 0:
            seed = derive_seed(self.config.seed, "start")
            descriptor = self.parts.descriptor
            chosen = choose_start_set(self.pool, self.pool_ids, self.config.pool, descriptor=descriptor, seed=seed)
            record = SelectionRecord(0, tuple(chosen), n_structures=len(self.pool_ids))
        else:
            record = self._select_from(number, self._score(number))
            wanted = [item.structure_id for item in record.selected]
            rest = rest_of(self._scores(number), self.pool_ids, wanted)
        entries = [self.pool.supercell(i.structure_id, i.index, rest.get(i.structure_id)) for i in record.selected]
        for entry, item in zip(entries, record.selected, strict=True):
            if entry.key != item.key:
                raise RunStateError(
                    f"supercell {item.structure_id}/{item.index} is no longer the one scored in round {number}: "
                    "another version of al-committee made it. Redo the selection of the round."
                )
        self.run.write_structures(number, [entry.atoms for entry in entries])
        record = replace(record, seconds=time.perf_counter() - start)
        self.rounds.write(number, record)
        return record

    def _scores(self, number: int) -> Path:
        """Folder of a round's scores."""
        return self.rounds.round_folder(number) / "scores"

    def _score(self, number: int) -> ScoreTable:
        """Score the pool with the last committee."""
        logger.info("round %d: scoring %d supercells", number, len(self.pool_ids) * self.pool.n_per_crystal)
        settings = self.config.selection
        done = 0
        with self.progress.step(f"round {number}: scoring the pool", len(self.pool_ids)) as advance:

            def tell(count: int) -> None:
                nonlocal done
                done += count
                advance(count)
                self.page.on_label(f"round {number}: scoring, crystals", done, len(self.pool_ids), 0.0)

            return score_pool(
                self.pool,
                self.pool_ids,
                self.committee(number - 1),
                folder=self._scores(number),
                how=Scoring(settings.percentile, settings.batch_atoms, self.config.rest),
                pause=self.stop.pause_if_asked,
                advance=tell,
            )

    def _select_from(self, number: int, table: ScoreTable) -> SelectionRecord:
        """Apply rule, strategy and budget to the scores."""
        selection = select_supercells(
            table.supercells,
            self.config.selection,
            known_keys=self._known_keys(number),
            rng=self._rng("selection", number),
            describe=lambda supercells: self._describe(number, supercells),
            strategy=self.parts.strategy,
            cost=self.parts.cost,
        )
        selected = selection.selected
        if self.config.stop.max_labels:
            selected = selected[: max(0, self.config.stop.max_labels - len(self.rounds.attempted_keys(number)))]
        scores = [supercell.score for supercell in table.supercells]
        return SelectionRecord(
            number,
            selected,
            n_recommended=len({s.structure_id for s in selection.recommended}),
            n_structures=len(self.pool_ids),
            n_scored=len(scores),
            n_duplicates=len(selection.duplicates),
            n_unseen=len({s.structure_id for s in table.supercells if s.unseen}),
            n_at_rest=table.n_at_rest,
            largest_score=max(scores, default=0.0),
            median_score=float(np.median(scores)) if scores else 0.0,
            histogram=tuple(table.histogram),
            absurd=selection.absurd,
            unscorable=table.unscorable,
            not_at_rest=table.not_at_rest,
        )

    def _describe(self, number: int, supercells: Sequence[ScoredSupercell]) -> NDArray[np.float64]:
        """Descriptor vectors of supercells, where their crystals rest."""
        rest = rest_of(self._scores(number), self.pool_ids, list(dict.fromkeys(s.structure_id for s in supercells)))
        cells = (self.pool.supercell(s.structure_id, s.index, rest.get(s.structure_id)).atoms for s in supercells)
        return np.array([self.parts.descriptor(atoms) for atoms in cells])

    def _known_keys(self, before: int) -> set[str]:
        """Keys that may not be selected again: selected before, failed, or in the test set."""
        tests = self.run.test_set()
        asked = tests.asked if tests is not None else ()
        return set(self.rounds.attempted_keys(before)) | set(self.run.failed()) | set(asked)

    # ---- labels ------------------------------------------------------------------------------------------

    def _label(self, number: int, selection: SelectionRecord) -> LabelsRecord:
        """Label what the round selected, and what earlier rounds left pending."""
        requests = self._requests(number, {item.key for item in selection.selected})
        before = self.rounds.labels(number - 1)
        late = set(before.pending) if before is not None else set()
        for earlier in range(number):
            if late:
                requests += self._requests(earlier, late)
        logger.info("round %d: %d labels asked for", number, len(requests))
        self.page.write(f"round {number}: {len(requests)} labels asked for")
        record = self.queue.obtain(requests, f"round {number}")
        if number == 0 and not record.done:
            raise TooManyFailedLabelsError(f"no label of round 0 could be made. {self.queue.common_reasons()}")
        return record

    def _requests(self, number: int, keys: Iterable[str]) -> list[LabelRequest]:
        """Give the requests for structures that a round selected, as they were kept then."""
        wanted, selection = set(keys), self.rounds.selection(number)
        requests = []
        for item, atoms in zip(
            selection.selected if selection else (), self.run.selected_structures(number), strict=True
        ):
            if item.key not in wanted:
                continue
            if structure_key(atoms) != item.key:
                raise RunStateError(
                    f"the structure of {item.structure_id}/{item.index} selected in round {number} is not the one of "
                    "its record. Redo the selection of the round."
                )
            requests.append(LabelRequest(item.key, atoms, f"{item.structure_id}/{item.index}"))
        return requests

    # ---- training and evaluation -------------------------------------------------------------------------

    def _train(self, number: int) -> None:
        """Train the round's committee on all labels so far."""
        before = self.rounds.models(number - 1)
        self.stop.pause_if_asked(needed_s=1.2 * (before.seconds if before is not None else 0.0))
        labels = self.labelled_atoms(number)
        seed = derive_seed(self.config.seed, "train", number)
        self.page.write(f"round {number}: training on {len(labels)} labels")
        with self.progress.step(f"round {number}: training on {len(labels)} labels", None):
            self.rounds.write(number, train_round(self.run, self.parts.trainer, number, labels, seed))

    def committee(self, number: int) -> CommitteeCalculator:
        """Committee of a round."""
        return load_committee(self.run, self.parts.trainer, number)

    def _evaluate(self, number: int) -> EvaluationRecord:
        """Measure error and calibration on the test set, and of the last committee on what it asked for."""
        arrays: dict[str, NDArray[np.float64]] = {}
        test = asked = None
        tests, labels = self.test_atoms(), self.rounds.labels(number)
        if tests:
            test, arrays["test_deviation"], arrays["test_error"] = compare_with_labels(self.committee(number), tests)
        if number and labels is not None and labels.done:
            asked, arrays["asked_deviation"], arrays["asked_error"] = compare_with_labels(
                self.committee(number - 1), self.queue.labelled(labels.done)
            )
        path = self.rounds.round_folder(number) / "evaluation.npz"
        named: dict[str, Any] = {**arrays}  # numpy takes them as keywords
        write_atomically(path, lambda handle: np.savez_compressed(handle, **named))
        if test is not None and test.force_rmse is not None:
            logger.info("round %d: test force RMSE %.1f meV/Å", number, 1e3 * test.force_rmse)
        return EvaluationRecord(number, len(self.rounds.training_keys(number)), test, asked)

    def _report(self, number: int) -> None:
        """Write the round's report; a report that fails is told and never stops the loop."""
        files: tuple[str, ...] = ()
        problem = ""
        if self.write_report is not None:
            try:
                files = tuple(os.path.relpath(path, self.run.path) for path in self.write_report(self.run, number))
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
                logger.warning("the report of round %d failed: %s", number, problem)
        self.rounds.write(number, ReportRecord(files, problem))

    # ---- what a user takes out ---------------------------------------------------------------------------

    def labelled_atoms(self, number: int) -> LazyLabels:
        """Labelled structures of all rounds up to one."""
        return self.queue.labelled(self.rounds.training_keys(number))

    def calibrate_committee(self, number: int, labelled: Iterable[Atoms]) -> Comparison:
        """Compare a round's committee with labelled structures."""
        return compare_with_labels(self.committee(number), labelled)[0]
