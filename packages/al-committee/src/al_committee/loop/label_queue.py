"""The label queue of a run: obtaining labels through the cache, quarantine, and the limit on failures."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence

from al_committee.errors import TooManyFailedLabelsError
from al_committee.labels.cache import LabelCache, LazyLabels
from al_committee.labels.calculator_labeller import Labeller
from al_committee.labels.obtain import label_through_cache
from al_committee.labels.outcome import LabelOutcome, LabelRequest
from al_committee.loop.interruption import LabelsOutstandingError, StopWatch
from al_committee.loop.progress import NoProgress, Progress
from al_committee.loop.records import LabelsRecord
from al_committee.loop.run_directory import RunDirectory

__all__ = ["LabelQueue"]

logger = logging.getLogger(__name__)


class LabelQueue:
    """Everything a run does with labels.

    Parameters
    ----------
    run : RunDirectory
        Holds the quarantine and the limits.
    labeller : Labeller
        Source of labels.
    cache : LabelCache
        Store of labels.
    stop : StopWatch
        When to stop cleanly.
    progress : Progress, optional
        Told about every label.
    on_label : callable
        Called after every label with how many of how many are there and the seconds since the first was asked for.
    """

    def __init__(
        self,
        run: RunDirectory,
        labeller: Labeller,
        cache: LabelCache,
        stop: StopWatch,
        progress: Progress | None = None,
        on_label: Callable[[str, int, int, float], None] = lambda what, done, total, seconds: None,
    ) -> None:
        self.run, self.labeller, self.cache, self.stop = run, labeller, cache, stop
        self.progress = progress or NoProgress()
        self.on_label = on_label

    def obtain(self, requests: Sequence[LabelRequest], what: str) -> LabelsRecord:
        """Label through the cache; quarantine failures; pause while too many are outstanding.

        Raises
        ------
        PausedError
            A signal, the walltime, or too many labels outstanding.
        TooManyFailedLabelsError, LabelSourceError
            When the source of labels is broken.
        """
        by_key = {request.key: request for request in requests}
        failed = {key for key in by_key if key in self.run.failed()}
        asked = [request for key, request in by_key.items() if key not in failed]
        done: set[str] = set()
        seconds, start = 0.0, time.monotonic()

        def quarantine(outcome: LabelOutcome) -> None:
            logger.warning("label of %s failed: %s", by_key[outcome.key].name, outcome.reason)
            self.run.quarantine(by_key[outcome.key], outcome)

        try:
            with self.progress.step(f"{what}: labels", len(asked)) as advance:
                for outcome in label_through_cache(
                    asked, self.labeller, self.cache, on_failure=quarantine, stop=self.stop
                ):
                    (failed if outcome.failed else done).add(outcome.key)
                    seconds += outcome.seconds
                    advance(1)
                    self.on_label(what, len(done) + len(failed), len(by_key), time.monotonic() - start)
                    if outcome.failed:
                        self._check_failures(len(done))
        finally:
            self.labeller.close()
        pending = [key for key in by_key if key not in done and key not in failed]
        if pending:
            self.stop.pause_if_asked()
            if len(by_key) - len(pending) < self.run.config.labels.collect_share * len(by_key) - 1e-9:
                raise LabelsOutstandingError(f"{len(pending)} of {len(by_key)} labels of {what}")
        ordered = tuple(key for key in by_key if key in done)  # the order asked for, not the order of arrival
        return LabelsRecord(ordered, tuple(sorted(failed)), tuple(pending), seconds)

    def _check_failures(self, done_now: int) -> None:
        """Stop the loop when the share of failed labels passes its limit."""
        failed = len(self.run.failed())
        records = (self.run.rounds.labels(n) for n in self.run.rounds.numbers())
        done = done_now + sum(len(record.done) for record in records if record is not None)
        settings = self.run.config.labels
        if failed + done >= settings.min_attempts and failed > settings.max_failed_share * (failed + done):
            raise TooManyFailedLabelsError(
                f"{failed} of {failed + done} labels failed, more than max_failed_share = "
                f"{settings.max_failed_share:g}. {self.common_reasons()} Mend the source of labels, then "
                f"'al-committee redo {self.run.path} --failed' and resume."
            )

    def common_reasons(self) -> str:
        """Give the most frequent reasons of failure in a sentence."""
        reasons = Counter(record.reason.split("\n")[0][:160] for record in self.run.failed().values())
        listed = "; ".join(f"{count}× {reason}" for reason, count in reasons.most_common(3))
        return f"Most frequent: {listed}. All reasons are in {self.run.path / 'failed'}."

    def labelled(self, keys: Sequence[str]) -> LazyLabels:
        """Labels that records say exist, read when they are looked at."""
        return LazyLabels(self.cache, keys)
