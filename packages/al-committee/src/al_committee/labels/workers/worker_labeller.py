"""Label in worker processes, many structures per call; a process that dies costs what it was at, never the run."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from al_committee.errors import LabelSourceError
from al_committee.labels.calculator_labeller import Settings, outcome_of
from al_committee.labels.identity import bare_structure
from al_committee.labels.outcome import LabelOutcome, LabelRequest
from al_committee.labels.workers.teacher import (
    TeacherDiedError,
    TeacherProcess,
    TeacherSettings,
    TeacherTimeoutError,
)

__all__ = ["WorkerLabeller"]

DEATHS = 2
"""A label is blamed for the death of its process when it was alone with it this often."""


class WorkerLabeller:
    """Label in processes of this or another environment.

    Parameters
    ----------
    teacher : TeacherSettings
        How the processes are started, and with what source.
    settings : mapping of str to object, optional
        What determines the labels beyond what the source says about itself; by default its factory and options.
    n_workers : int
        Processes.
    batch : int
        Structures per call. A call that kills its process is repeated structure by structure.
    timeout_s : float
        Limit per label, s; 0 for none.

    Notes
    -----
    A process that fails at its start stops the labelling with the reason. One that dies, exits or hangs while it
    labels is started again; a structure that does so twice alone is given up, the others go on. A signal from outside
    (the kernel, short of memory) counts only when no other process of this source was at work: the memory may have been
    theirs. Until then the structure waits, and is tried by itself at the end.
    """

    def __init__(
        self,
        teacher: TeacherSettings,
        settings: Mapping[str, object] | None = None,
        *,
        n_workers: int = 1,
        batch: int = 1,
        timeout_s: float = 0.0,
    ) -> None:
        self.teacher = teacher
        self.n_workers, self.batch, self.timeout_s = n_workers, batch, timeout_s
        self._given = settings
        self._settings: Settings | None = None
        self._processes = [TeacherProcess(teacher) for _ in range(n_workers)]

    @property
    def settings(self) -> Settings:
        """What determines the labels; asks the first process what it is."""
        if self._settings is None:
            given = {"factory": self.teacher.factory, "options": dict(self.teacher.options)}
            identity = self._processes[0].identity()
            self._settings = {**(given if self._given is None else self._given), "identity": identity}
        return self._settings

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.close()

    def label(
        self, requests: Sequence[LabelRequest], *, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[LabelOutcome]:
        """Yield outcomes as they finish.

        Raises
        ------
        LabelSourceError
            When a process fails at its start.
        """
        work: list[Sequence[LabelRequest]] = [
            requests[low : low + self.batch] for low in range(0, len(requests), self.batch)
        ]
        work.reverse()
        run = _Run(work, stop, alone_anyway=self.n_workers == 1)
        threads = [
            threading.Thread(target=self._work, args=(process, run), daemon=True)
            for process in self._processes[: max(1, min(self.n_workers, len(work)))]
        ]
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads) or not run.answers.empty():
                try:
                    answer = run.answers.get(timeout=0.2)
                except queue.Empty:
                    continue
                if isinstance(answer, LabelSourceError):
                    raise answer
                yield answer
        finally:
            run.ended = True
            while any(thread.is_alive() for thread in threads):
                for process in self._processes:  # nobody listens any more: nothing goes on behind the caller's back
                    process.kill()
                for thread in threads:
                    thread.join(0.1)

    def _work(self, process: TeacherProcess, run: _Run) -> None:
        """Take piece after piece of the work until none is left."""
        while (part := run.take()) is not None:
            try:
                for outcome in self._label_part(process, part, run):
                    run.answers.put(outcome)
            except LabelSourceError as error:
                run.ended = True
                run.answers.put(error)
            finally:
                run.finish()

    def _label_part(self, process: TeacherProcess, part: Sequence[LabelRequest], run: _Run) -> list[LabelOutcome]:
        """Label structures together; those that must be asked for alone go back to the work."""
        start = time.perf_counter()
        try:
            results = process.label([bare_structure(request.atoms) for request in part], self.timeout_s * len(part))
        except TeacherTimeoutError:
            reason = f"took longer than timeout_s = {self.timeout_s:g} s and was stopped"
        except TeacherDiedError as error:
            reason = f"its process died {DEATHS} times while it was alone with this label; {error}"
            if len(part) == 1 and not run.ended and not run.blames(part[0], killed=error.killed):
                return []
        else:
            seconds = (time.perf_counter() - start) / len(part)
            name = self.teacher.factory
            return [outcome_of(request, result, name, seconds) for request, result in zip(part, results, strict=True)]
        if run.ended:
            return []
        if len(part) > 1:
            run.give_back([[request] for request in part])
            return []
        return [LabelOutcome(part[0].key, reason=reason, seconds=time.perf_counter() - start)]


class _Run:
    """Work that several threads share, and the account of deaths.

    Parameters
    ----------
    work : list of (sequence of LabelRequest)
        Pieces, the first one last.
    stop : callable
        Polled before each piece.
    alone_anyway : bool
        Whether there is one process, so that every piece is alone.
    """

    def __init__(
        self, work: list[Sequence[LabelRequest]], stop: Callable[[], bool], *, alone_anyway: bool = False
    ) -> None:
        self.work, self.stop = work, stop
        self.answers: queue.Queue[LabelOutcome | LabelSourceError] = queue.Queue()
        self.ended = False
        self._alone_anyway = self._alone = alone_anyway
        self._deaths: Counter[str] = Counter()
        self._suspects: list[LabelRequest] = []
        self._busy = 0
        self._changed = threading.Condition()

    def take(self) -> Sequence[LabelRequest] | None:
        """Take a piece; wait while others may give theirs back, or one must be alone; None at the end."""
        with self._changed:
            while not self.ended and not self.stop():
                waits_for_suspect = self._alone and self._busy
                if self.work and not waits_for_suspect:
                    self._busy += 1
                    return self.work.pop()
                if not self._busy:
                    if not self._suspects:
                        return None
                    self._busy, self._alone = 1, True
                    return [self._suspects.pop()]
                self._changed.wait(0.2)
            return None

    def blames(self, request: LabelRequest, *, killed: bool) -> bool:
        """Whether the process that was alone with a label died of it once too often; else it is tried again."""
        with self._changed:
            self._deaths[request.key] += self._alone or not killed
            if self._deaths[request.key] >= DEATHS:
                return True
            if killed and not self._alone_anyway:
                self._suspects.append(request)
            else:
                self.work.append([request])
            return False

    def give_back(self, parts: Sequence[Sequence[LabelRequest]]) -> None:
        """Put pieces back that must be tried otherwise."""
        with self._changed:
            self.work.extend(parts)

    def finish(self) -> None:
        """Say that a piece is done."""
        with self._changed:
            self._busy -= 1
            if not self._busy:
                self._alone = self._alone_anyway
            self._changed.notify_all()
