"""The label desk of a run: obtaining labels through the cache, quarantine, and the limit on failures."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from ase import Atoms

from al_committee.errors import RunStateError, TooManyFailedLabelsError
from al_committee.interruption import PausedError, StopWatch
from al_committee.labels.cache import LabelCache
from al_committee.labels.calculator_labeller import Labeller
from al_committee.labels.obtain import label_through_cache
from al_committee.labels.outcome import LabelOutcome, LabelRequest
from al_committee.loop.run_directory import RunDirectory
from al_committee.progress import NoProgress, Progress

__all__ = ["LabelDesk"]

logger = logging.getLogger(__name__)


class LabelDesk:
    """Everything a run does with labels.

    Parameters
    ----------
    run
        Holds the quarantine and the limits.
    labeller
        Source of labels.
    cache
        Store of labels.
    stop
        When to stop cleanly.
    progress
        Told about every label.
    """

    def __init__(
        self,
        run: RunDirectory,
        labeller: Labeller,
        cache: LabelCache,
        stop: StopWatch,
        progress: Progress | None = None,
    ) -> None:
        self.run, self.labeller, self.cache, self.stop = run, labeller, cache, stop
        self.progress = progress or NoProgress()

    def obtain(self, requests: Sequence[LabelRequest], what: str) -> dict[str, Any]:
        """Label through the cache; quarantine failures; pause while too many are outstanding."""
        by_key = {request.key: request for request in requests}
        failed = [key for key in by_key if key in self.run.failed()]
        done: list[str] = []

        def quarantine(outcome: LabelOutcome) -> None:
            logger.warning("label of %s failed: %s", by_key[outcome.key].name, outcome.reason)
            self.run.quarantine(by_key[outcome.key], outcome)

        asked = [request for key, request in by_key.items() if key not in failed]
        with self.progress.step(f"{what}: labels", len(asked)) as advance:
            for outcome in label_through_cache(asked, self.labeller, self.cache, on_failure=quarantine, stop=self.stop):
                (failed if outcome.failed else done).append(outcome.key)
                advance(1)
                if outcome.failed:
                    self._check_failures(len(done))
        done = [key for key in by_key if key in set(done)]  # the order asked for, not the order of arrival
        pending = [key for key in by_key if key not in set(done) | set(failed)]
        if pending:
            self.stop.pause_if_asked()
            if len(done) + len(failed) < self.run.config.labels.collect_share * len(by_key) - 1e-9:
                raise PausedError(
                    f"{len(pending)} of {len(by_key)} labels of {what} are outstanding; run resume when "
                    "more of them are there."
                )
        return {"done": done, "failed": sorted(failed), "pending": pending}

    def _check_failures(self, done_now: int) -> None:
        """Stop the loop when the share of failed labels passes its limit."""
        failed = len(self.run.failed())
        done = done_now + sum(len((self.run.record(n, "labels") or {"done": []})["done"]) for n in self.run.rounds())
        settings = self.run.config.labels
        if failed + done >= settings.min_attempts and failed > settings.max_failed_share * (failed + done):
            raise TooManyFailedLabelsError(
                f"{failed} of {failed + done} labels failed, more than max_failed_share = "
                f"{settings.max_failed_share:g}. {self.common_reasons()} Mend the source of labels, then "
                f"'al-committee redo {self.run.path} --failed' and resume."
            )

    def common_reasons(self) -> str:
        """The most frequent reasons of failure."""
        reasons = Counter(record["reason"].split("\n")[0][:160] for record in self.run.failed().values())
        listed = "; ".join(f"{count}× {reason}" for reason, count in reasons.most_common(3))
        return f"Most frequent: {listed}. All reasons are in {self.run.path / 'failed'}."

    def labelled(self, keys: Iterable[str]) -> list[Atoms]:
        """Read labels that records say exist."""
        found = []
        for key in keys:
            atoms = self.cache.get(key)
            if atoms is None:
                raise RunStateError(
                    f"label {key} is recorded as done but {self.cache.path(key)} is gone or damaged. Bring "
                    "the file back, or redo the labels step of its round: it is computed again."
                )
            found.append(atoms)
        return found
