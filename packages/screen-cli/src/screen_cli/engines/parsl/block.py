"""A batch of crystals on a compute node: one at a time in a child process, never beyond the end of the block.

This is what a queueing engine sends to its workers. A node only reads and writes records; the index belongs to the
driver. A block is what the batch system lends: some nodes for some time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Generic

from screen_cli.config import EngineSettings
from screen_cli.engines import Task, TaskResult, Value
from screen_cli.engines.local import LocalEngine
from screen_cli.engines.processes import end_with_parent

BLOCK_END = "SCREEN_CLI_BLOCK_END"
"""Environment variable of a block: seconds since 1970 at which the batch system ends it."""

_GRACE = 30.0
_GRACE_SHARE = 0.05
_PAUSE = 5.0


@dataclass(frozen=True)
class BatchPlan:
    """What a batch may do.

    Parameters
    ----------
    settings : EngineSettings
        Of the local engine that runs the crystals here: one worker, time limit, threads.
    drain_file : str
        No further crystal is begun once this file exists.
    expected_seconds : float
        What a crystal usually takes; none is begun when the block ends sooner.
    walltime : float or None
        Length of a block, s.
    """

    settings: EngineSettings
    drain_file: str = ""
    expected_seconds: float = 0.0
    walltime: float | None = None


@dataclass(frozen=True)
class BatchReport(Generic[Value]):
    """How a batch fared.

    Parameters
    ----------
    results : list of TaskResult
        Of the crystals that came to their end.
    cut : list of str
        Begun and stopped, because the block ends or SIGTERM came. What is in neither list was not begun.
    seconds : list of float
        What each crystal took for which anything had to be computed.
    """

    results: list[TaskResult[Value]] = field(default_factory=list)
    cut: list[Task] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class _BlockEndsError(BaseException):
    """The block ends now; no Exception, so that no crystal is blamed for it."""


def run_batch(function: Callable[[Task], Value], tasks: Sequence[Task], plan: BatchPlan) -> BatchReport[Value]:
    """Run tasks one after another in a child process, as far as the block's time goes.

    Parameters
    ----------
    function : callable
        As for :meth:`screen_cli.engines.Engine.run`.
    tasks : sequence of str
    plan : BatchPlan

    Returns
    -------
    BatchReport
    """
    _watch_parent()
    begun: dict[Task, float] = {}
    drawn = 0
    report: BatchReport[Value] = BatchReport()

    def allowed() -> Iterator[Task]:
        nonlocal drawn
        for task in tasks:
            if time_left(plan.walltime) < plan.expected_seconds or (plan.drain_file and Path(plan.drain_file).exists()):
                return
            drawn += 1
            yield task

    with contextlib.suppress(_BlockEndsError), _interrupted_at_the_end(plan.walltime):
        for result in _engine(plan.settings, begun).run(function, allowed()):
            report.results.append(result)
            if result.stage:
                report.seconds.append(time.monotonic() - begun[result.task])
    finished = {result.task for result in report.results}
    report.cut.extend(task for task in begun if task not in finished)
    if not drawn:
        time.sleep(_PAUSE)  # else a block near its end would be handed the same batch over and over
    return report


def _engine(settings: EngineSettings, begun: dict[Task, float]) -> LocalEngine:
    """Give the local engine of this process, which notes in ``begun`` what it begins.

    With option ``keep`` its child serves one batch after another.
    """
    if not _kept or _kept[0][0] != settings:
        _kept[:] = [(settings, LocalEngine(settings))]
    _kept[0][1].begun = lambda task: begun.setdefault(task, time.monotonic())
    return _kept[0][1]


def time_left(walltime: float | None = None) -> float:
    """Seconds until crystals must have stopped: the end of the block less a grace period; inf outside a block."""
    end = os.environ.get(BLOCK_END)
    if not end:
        return float("inf")
    return float(end) - time.time() - grace_period(walltime)


def grace_period(walltime: float | None) -> float:
    """Seconds kept at the end of a block for reporting back what was cut short."""
    return _GRACE if walltime is None else min(_GRACE, _GRACE_SHARE * walltime)


@contextlib.contextmanager
def _interrupted_at_the_end(walltime: float | None) -> Iterator[None]:
    """Raise _BlockEndsError on SIGTERM and when the block's time is up."""
    if threading.current_thread() is not threading.main_thread():
        yield  # an executor of threads: it has no block
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise _BlockEndsError

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGALRM)}
    try:
        left = time_left(walltime)
        if left < float("inf"):
            signal.setitimer(signal.ITIMER_REAL, max(left, 0.01))
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


_kept: list[tuple[EngineSettings, LocalEngine]] = []
_watched: list[int] = []


def _watch_parent() -> None:
    """End this worker when its manager is gone (once per process): another node has its crystals by then."""
    if os.getpid() not in _watched and threading.current_thread() is threading.main_thread():
        _watched.append(os.getpid())
        end_with_parent(os.getppid())
