"""The closed loop: pool, committee, selection, labels, training; a step is done when its record exists.

Every step reads only records of earlier steps and writes its own record last, atomically; running the loop
again after any interruption does what is missing and nothing twice.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from al_committee.atomic_file import read_json, write_atomically, write_json
from al_committee.committee.calculator import CommitteeCalculator
from al_committee.errors import RunStateError, TooManyFailedLabelsError
from al_committee.interruption import StopWatch
from al_committee.labels.cache import LabelCache
from al_committee.labels.calculator_labeller import Labeller
from al_committee.labels.outcome import LabelRequest
from al_committee.loop.evaluation import compare_with_labels
from al_committee.loop.label_queue import LabelDesk
from al_committee.loop.learning import load_committee, publish, train_round
from al_committee.loop.run_directory import RunDirectory
from al_committee.loop.stopping import attempted_keys, stop_reason
from al_committee.progress import NoProgress, Progress
from al_committee.protocols import Trainer
from al_committee.selection.descriptors import DESCRIPTORS
from al_committee.selection.pool import Pool
from al_committee.selection.scoring import ScoreTable, score_pool
from al_committee.selection.selection import ScoredSupercell, select_supercells
from al_committee.selection.start_set import choose_start_set

__all__ = ["ActiveLearningLoop", "derive_seed"]

logger = logging.getLogger(__name__)


def derive_seed(seed: int, *purpose: object) -> int:
    """Give every random choice its own seed, independent of what ran before it (31 bits)."""
    text = "|".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


class ActiveLearningLoop:
    """Drive one run directory.

    Parameters
    ----------
    run
        The run directory, with its configuration.
    pool
        All crystals, test set included.
    labeller
        Source of labels.
    trainer
        Learner.
    cache
        Store of labels of this labeller.
    stop
        When to stop cleanly.
    write_report
        Called with the run and a round's number once the round is evaluated; returns the files written.
    progress
        Told about long steps.

    Raises
    ------
    ConfigChangedError
        When the pool or the label settings differ from those the run was made with.
    """

    def __init__(
        self,
        run: RunDirectory,
        pool: Pool,
        labeller: Labeller,
        trainer: Trainer,
        cache: LabelCache,
        *,
        stop: StopWatch | None = None,
        write_report: Callable[[RunDirectory, int], Sequence[Path]] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.run, self.pool, self.labeller, self.trainer, self.cache = run, pool, labeller, trainer, cache
        self.config = run.config
        self.stop = stop or StopWatch()
        self.write_report = write_report
        self.progress = progress or NoProgress()
        self.desk = LabelDesk(run, labeller, cache, self.stop, self.progress)
        run.pin("pool_checksum", pool.checksum())
        run.pin("label_settings", dict(labeller.settings))
        self.test_ids = self._choose_test_structures()
        held_out = set(self.test_ids)
        self.pool_ids = [name for name in pool.structure_ids if name not in held_out]
        if not self.pool_ids:
            raise RunStateError(
                f"all {len(pool.structure_ids)} crystals are in the test set; lower pool.test_structures."
            )

    # ---- driving -----------------------------------------------------------------------------------------

    def drive(self) -> dict[str, Any]:
        """Run until the loop is finished.

        Returns
        -------
        dict
            The closing record: reason, last round, where the models are.

        Raises
        ------
        PausedError
            Walltime, a signal, or labels outstanding: run again later.
        TooManyFailedLabelsError
            When the source of labels is broken.
        """
        number = 0
        while True:
            finished = self.run.finished()
            if finished is not None:
                return finished
            reason = self._play_round(number)
            if reason:
                return publish(self.run, number, reason, lambda n: len(self.training_keys(n)))
            number += 1

    def _play_round(self, number: int) -> str:
        """Do what is missing of one round; a reason ends the loop before its labels."""
        if number > self.config.stop.max_rounds:
            return f"max_rounds = {self.config.stop.max_rounds} rounds are done"
        run = self.run
        if number == 0 and self.test_ids and not (run.path / "test" / "labels.json").exists():
            self._label_test_set()
        selection = run.record(number, "selection")
        if selection is None:
            self.stop.pause_if_asked()
            selection = self._select(number)
            run.write_record(number, "selection", selection)
        if number > 0:
            reason = stop_reason(run, number, selection)
            if reason:
                return reason
        if run.record(number, "labels") is None:
            self.stop.pause_if_asked()
            run.write_record(number, "labels", self._label(number, selection))
        if run.record(number, "models") is None:
            self._train(number)
        if run.record(number, "evaluation") is None:
            self.stop.pause_if_asked()
            run.write_record(number, "evaluation", self._evaluate(number))
        if run.record(number, "report") is None:
            self._report(number)
        return ""

    def _rng(self, *purpose: object) -> np.random.Generator:
        """Random generator of one purpose."""
        return np.random.default_rng(derive_seed(self.config.seed, *purpose))

    # ---- test set and start ------------------------------------------------------------------------------

    def _choose_test_structures(self) -> list[str]:
        """Set crystals aside, the same ones at every start."""
        count = self.config.pool.test_structures
        names = self.pool.structure_ids
        chosen = self._rng("test set").permutation(len(names))[:count]
        return sorted(names[int(k)] for k in chosen)

    def _test_requests(self) -> list[LabelRequest]:
        """One supercell of each held-out crystal."""
        return [self._request(name, 0) for name in self.test_ids]

    def _request(self, structure_id: str, index: int) -> LabelRequest:
        """Ask for a supercell of the pool."""
        entry = self.pool.supercell(structure_id, index)
        return LabelRequest(entry.key, entry.atoms, f"{structure_id}/{index}")

    def _label_test_set(self) -> None:
        """Label the fixed test set once."""
        logger.info("labelling the test set: %d held-out crystals", len(self.test_ids))
        record = self.desk.obtain(self._test_requests(), "the test set")
        write_json(self.run.path / "test" / "labels.json", record)

    def test_atoms(self) -> list[Atoms]:
        """Labelled test structures."""
        path = self.run.path / "test" / "labels.json"
        if not path.exists():
            return []
        return self.desk.labelled(read_json(path)["done"])

    # ---- selection ---------------------------------------------------------------------------------------

    def _select(self, number: int) -> dict[str, Any]:
        """Score the pool with the last committee and choose what to label."""
        if number == 0:
            selected = choose_start_set(
                self.pool,
                self.pool_ids,
                self.config.pool,
                descriptor=self.config.selection.descriptor,
                seed=derive_seed(self.config.seed, "start"),
            )
            return {"round": 0, "n_recommended": None, "selected": [_as_dict(s) for s in selected]}
        logger.info("round %d: scoring %d supercells", number, len(self.pool_ids) * self._per_structure)
        with self.progress.step(f"round {number}: scoring the pool", len(self.pool_ids)) as advance:
            table = score_pool(
                self.pool,
                self.pool_ids,
                self.committee(number - 1),
                folder=self.run.round_folder(number) / "scores",
                percentile=self.config.selection.percentile,
                pause=self.stop.pause_if_asked,
                advance=advance,
            )
        return self._select_from(number, table)

    @property
    def _per_structure(self) -> int:
        """Supercells per crystal."""
        return self.config.supercells.n_supercells

    def _select_from(self, number: int, table: ScoreTable) -> dict[str, Any]:
        """Apply rule, strategy and budget to the scores."""
        settings = self.config.selection
        selection = select_supercells(
            table.supercells,
            settings,
            known_keys=self._known_keys(number),
            rng=self._rng("selection", number),
            describe=self._describe,
        )
        selected = list(selection.selected)
        if self.config.stop.max_labels:
            remaining = max(0, self.config.stop.max_labels - len(attempted_keys(self.run, number)))
            selected = selected[:remaining]
        return {
            "round": number,
            "n_scored": len(table.supercells),
            "n_recommended": len(selection.recommended),
            "n_structures": len(self.pool_ids),
            "n_duplicates": len(selection.duplicates),
            "absurd": [_as_dict(s) for s in selection.absurd],
            "unscorable": table.unscorable,
            "n_unseen": len({s.structure_id for s in table.supercells if s.unseen}),
            "largest_score": max((s.score for s in table.supercells), default=0.0),
            "median_score": float(np.median([s.score for s in table.supercells])) if table.supercells else 0.0,
            "histogram": table.histogram,
            "strategy": settings.strategy,
            "recommended": [[s.structure_id, s.index, s.score] for s in selection.recommended[:1000]],
            "selected": [_as_dict(s) for s in selected],
        }

    def _describe(self, supercells: Sequence[ScoredSupercell]) -> NDArray[np.float64]:
        """Descriptor vectors of supercells."""
        describe = DESCRIPTORS.get(self.config.selection.descriptor)
        return np.array([describe(self.pool.supercell(s.structure_id, s.index).atoms) for s in supercells])

    def _known_keys(self, before: int) -> set[str]:
        """Keys that may not be selected again: selected before, failed, or in the test set."""
        tests = {request.key for request in self._test_requests()}
        return set(attempted_keys(self.run, before)) | set(self.run.failed()) | tests

    # ---- labels ------------------------------------------------------------------------------------------

    def _label(self, number: int, selection: dict[str, Any]) -> dict[str, Any]:
        """Label what the round selected, and what earlier rounds left pending."""
        requests = [self._request(item["structure_id"], item["index"]) for item in selection["selected"]]
        for request, item in zip(requests, selection["selected"], strict=True):
            if request.key != item["key"]:
                raise RunStateError(
                    f"supercell {request.name} is no longer the one selected in round {number}: the pool "
                    "changed. Restore the structures this run was made with."
                )
        late = set((self.run.record(number - 1, "labels") or {}).get("pending", [])) if number else set()
        requests += [self._request(*place) for place in self._places(late)]
        logger.info("round %d: %d labels asked for", number, len(requests))
        record = self.desk.obtain(requests, f"round {number}")
        if number == 0 and not record["done"]:
            raise TooManyFailedLabelsError(f"no label of round 0 could be made. {self.desk.common_reasons()}")
        return record

    def _places(self, keys: Iterable[str]) -> list[tuple[str, int]]:
        """Crystal and index of earlier selected keys."""
        wanted = set(keys)
        found = []
        for number in self.run.rounds():
            for item in (self.run.record(number, "selection") or {"selected": []})["selected"]:
                if item["key"] in wanted:
                    wanted.discard(item["key"])
                    found.append((item["structure_id"], item["index"]))
        return found

    def training_keys(self, number: int) -> list[str]:
        """Labels available after a round, in the order they were asked for."""
        keys: dict[str, None] = {}
        for n in range(number + 1):
            keys.update(dict.fromkeys((self.run.record(n, "labels") or {"done": []})["done"]))
        return list(keys)

    # ---- training and evaluation -------------------------------------------------------------------------

    def _train(self, number: int) -> None:
        """Train the round's committee on all labels so far."""
        before = (self.run.record(number - 1, "models") or {}) if number else {}
        self.stop.pause_if_asked(needed_s=1.2 * float(before.get("seconds", 0.0)))
        keys = self.training_keys(number)
        seed = derive_seed(self.config.seed, "train", number)
        with self.progress.step(f"round {number}: training on {len(keys)} labels", None):
            record = train_round(self.run, self.trainer, number, keys, self.desk.labelled, seed)
        self.run.write_record(number, "models", record)

    def committee(self, number: int) -> CommitteeCalculator:
        """Committee of a round."""
        return load_committee(self.run, self.trainer, number)

    def _evaluate(self, number: int) -> dict[str, Any]:
        """Measure error and calibration on the test set, and of the last committee on what it asked for."""
        record: dict[str, Any] = {"round": number, "n_training": len(self.training_keys(number))}
        arrays: dict[str, Any] = {}
        tests = self.test_atoms()
        if tests:
            record["test"], arrays["test_deviation"], arrays["test_error"] = compare_with_labels(
                self.committee(number), tests
            )
        fresh = (self.run.record(number, "labels") or {"done": []})["done"] if number else []
        if fresh:
            record["asked"], arrays["asked_deviation"], arrays["asked_error"] = compare_with_labels(
                self.committee(number - 1), self.desk.labelled(fresh)
            )
        path = self.run.round_folder(number) / "evaluation.npz"
        write_atomically(path, lambda handle: np.savez_compressed(handle, **arrays))
        error = (record.get("test") or {}).get("force_rmse")
        if error is not None:
            logger.info("round %d: test force RMSE %.1f meV/Å", number, 1e3 * error)
        return record

    def _report(self, number: int) -> None:
        """Write the round's report; a report that fails is told and never stops the loop."""
        self.run.rebuild_index()
        files: list[str] = []
        problem = ""
        if self.write_report is not None:
            try:
                files = [os.path.relpath(path, self.run.path) for path in self.write_report(self.run, number)]
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
                logger.warning("the report of round %d failed: %s", number, problem)
        self.run.write_record(number, "report", {"files": files, "problem": problem})

    # ---- what a user takes out ---------------------------------------------------------------------------

    def labelled_atoms(self, number: int) -> list[Atoms]:
        """Labelled structures of all rounds up to one."""
        return self.desk.labelled(self.training_keys(number))

    def selected_atoms(self, number: int) -> list[Atoms]:
        """Structures that a round selected, without labels."""
        selection = self.run.record(number, "selection") or {"selected": []}
        return [self.pool.supercell(i["structure_id"], i["index"]).atoms for i in selection["selected"]]

    def calibrate_committee(self, number: int, labelled: Sequence[Atoms]) -> dict[str, Any]:
        """Calibration record of a round's committee on labelled structures."""
        return compare_with_labels(self.committee(number), labelled)[0]


def _as_dict(supercell: ScoredSupercell) -> dict[str, Any]:
    """JSON-like form of a scored supercell."""
    return {
        "structure_id": supercell.structure_id,
        "index": supercell.index,
        "key": supercell.key,
        "score": supercell.score,
        "n_atoms": supercell.n_atoms,
        "unseen": supercell.unseen,
    }
