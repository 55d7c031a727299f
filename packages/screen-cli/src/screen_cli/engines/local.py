"""The local engine: worker processes of this machine, each with one task at a time.

The engine itself knows which task each worker has, so a death is laid at the door of the task that ran, never of one
that waited. A task is given up after the second death that was its own doing:

- a process that ends itself (an exit, a segmentation fault) counts, since a worker runs nothing but its task;
- a signal from outside (SIGKILL, most often the kernel short of memory) counts only when the task ran alone in this
  engine, because the memory may have been its neighbours'. Until then it is tried again, in the end by itself.
"""

from __future__ import annotations

import itertools
import logging
import os
import pickle
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from multiprocessing.util import Finalize

from screen_cli.config import EngineSettings
from screen_cli.engines import Kind, Task, TaskResult, Value
from screen_cli.engines.crew import Crew, Death, Worker
from screen_cli.engines.main_script import SENTENCE, UNGUARDED, refuse_import_of_script
from screen_cli.engines.messages import Broken, Ended, Message, Ready, Starting
from screen_cli.engines.processes import machine_memory, physical_cores
from screen_cli.errors import ConfigError, PluginError
from screen_cli.settings_file import make_settings, setting, settings_record

logger = logging.getLogger(__name__)

_TICK = 0.5
_START_DEATHS = 3
_START_KILLS = 10
_SHARE_OF_MEMORY = 0.9


@settings_record
class LocalOptions:
    """Options of the engine ``local``: the table ``[engine.options]``."""

    retries: int = setting(1, "Deaths of its own doing that a crystal survives before it is given up.", ge=0)
    threads: int = setting(
        0, "BLAS and torch threads per worker; 0: OMP_NUM_THREADS where that is set, else cores over workers.", ge=0
    )
    memory_gib: float = setting(
        0.0, "Most memory of a worker and all it starts, GiB; 0: nine tenths of the machine's.", ge=0
    )
    keep: bool = setting(False, "Keep the workers for the next batch (compute nodes do).")


class LocalEngine:
    """Run tasks in worker processes of this machine.

    Workers are spawned, not forked (torch and BLAS do not survive a fork); they and all they start end with the
    driver, even when it is killed. One whose memory grows by more than a gigabyte and doubles is replaced.

    Parameters
    ----------
    settings : EngineSettings
        ``workers`` (0: one per physical core), ``task_time_limit`` (s, for each stage), and in ``options`` the keys
        of :class:`LocalOptions`.
    begun : callable, optional
        Told each task when a worker gets it.

    Raises
    ------
    ConfigError
        An option that is not known, or has no sense.
    """

    def __init__(self, settings: EngineSettings, *, begun: Callable[[Task], object] | None = None) -> None:
        options = make_settings(LocalOptions, settings.options, origin="engine.options")
        self.workers = settings.workers or physical_cores()
        self._time_limit = settings.task_time_limit
        self._options = options
        self._memory = int(options.memory_gib * 2**30) or int(_SHARE_OF_MEMORY * machine_memory())
        self.begun = begun
        self._crew: Crew | None = None
        self._stopped = False

    def run(self, function: Callable[[Task], Value], tasks: Iterable[Task]) -> Generator[TaskResult[Value], None, None]:
        """Yield results as workers finish; a task is drawn when a worker is free for it.

        Raises
        ------
        PluginError
            Workers cannot start: no task could run here.
        ConfigError
            The script that calls this has no guard, so that each worker would call it again.
        """
        refuse_import_of_script()
        content = pickle.dumps(function)
        crew = self._crew or Crew(self._n_threads(), self._time_limit, self._memory)
        if self._options.keep and self._crew is None:
            self._crew = crew
            Finalize(self, crew.close, exitpriority=100)  # before multiprocessing waits for its children
        crew.reload(content)
        desk = _Desk(iter(tasks), self._options.retries, alone_anyway=self.workers == 1)
        finished = False
        try:
            while self._hand_out(crew, desk, content):
                for worker, message in crew.listen(_TICK):
                    yield from self._answer(crew, desk, worker, message)
                for death, last_words in crew.deaths():
                    for message in last_words:
                        yield from self._answer(crew, desk, death.worker, message)
                    yield from desk.bury(death)
            finished = True
        finally:
            if not (finished and self._options.keep):
                self._crew = None
                crew.close(gently=finished)

    def stop(self) -> None:
        """Start no further task."""
        self._stopped = True

    def _n_threads(self) -> int:
        """Threads of each worker."""
        preset = os.environ.get("OMP_NUM_THREADS", "")
        return self._options.threads or (int(preset) if preset.isdigit() else max(1, physical_cores() // self.workers))

    def _hand_out(self, crew: Crew, desk: _Desk, function: bytes) -> bool:
        """Give idle workers tasks and start the workers that are missing; False when all is done."""
        busy = [worker for worker in crew.workers if worker.task is not None]
        if self._stopped:
            return bool(busy)
        if any(worker.alone for worker in busy):
            return True
        desk.draw(self.workers - len(busy), nothing_runs=not busy)
        for worker in [worker for worker in crew.workers if worker.idle][: len(desk.ready)]:
            task = desk.ready.popleft()
            if self.begun is not None:
                self.begun(task)
            crew.hand(worker, task, alone=desk.alone)
            busy.append(worker)
        for _ in range(min(self.workers, len(busy) + len(desk.ready)) - len(crew.workers)):
            crew.hire(function)
        return bool(busy or desk.ready)

    def _answer(self, crew: Crew, desk: _Desk, worker: Worker, message: Message) -> Iterator[TaskResult[Value]]:
        """React to what a worker said."""
        match message:
            case Broken(reason):
                last = reason.strip().splitlines()[-1]
                logger.info("%s", reason)
                raise PluginError(f"worker processes cannot load what they should run: {last}")
            case Ready():
                desk.start_deaths.pop("", None)
            case Starting(""):
                desk.start_deaths.clear()
            case Ended(result, _):
                desk.forget(result.task)
                if worker.leaks and worker in crew.workers:
                    logger.info("worker %d has grown to %d MiB and is replaced", worker.number, worker.memory >> 20)
                    crew.dismiss(worker)
                yield replace(result, stage=worker.stage)  # type: ignore[misc]  # what the function returned


class _Desk:
    """The tasks that wait, and the account of deaths.

    Parameters
    ----------
    tasks : iterator of str
    retries : int
    alone_anyway : bool
        Whether the engine has one worker, so that every task runs alone.
    """

    def __init__(self, tasks: Iterator[Task], retries: int, *, alone_anyway: bool) -> None:
        self.ready: deque[Task] = deque()
        self.alone = alone_anyway
        self.start_deaths: Counter[str] = Counter()
        self._tasks = tasks
        self._retries = retries
        self._alone_anyway = alone_anyway
        self._again: deque[Task] = deque()
        self._suspects: deque[Task] = deque()
        self._deaths: Counter[Task] = Counter()
        self._kills: Counter[Task] = Counter()

    def draw(self, n_free: int, *, nothing_runs: bool) -> None:
        """Fill ``ready`` for the free workers: tasks to be tried again, then new ones, suspects at the very end."""
        if self.ready and self.alone and not self._alone_anyway:
            return  # a suspect waits for its worker
        self.alone = self._alone_anyway
        while self._again and len(self.ready) < n_free:
            self.ready.append(self._again.popleft())
        self.ready.extend(itertools.islice(self._tasks, max(0, n_free - len(self.ready))))
        if self._suspects and nothing_runs and not self.ready:
            self.alone = True
            self.ready.append(self._suspects.popleft())

    def forget(self, task: Task) -> None:
        """Hear that a task came to its end."""
        self._deaths.pop(task, None)
        self._kills.pop(task, None)

    def bury(self, death: Death) -> Iterator[TaskResult[Value]]:
        """Decide what a death means: a result, another try, or the end of the run."""
        worker, task = death.worker, death.worker.task
        if worker.starting or not worker.ready:
            self._count_start_death(death)
            if task is not None:
                self._again.append(task)
            return
        if task is None:
            logger.info("an idle worker is gone: %s", death.text)
            return
        if death.cause != "died":
            kind: Kind = "timeout" if death.cause == "time" else "memory"
            yield TaskResult(task, error=death.text, kind=kind, stage=worker.stage)
            self.forget(task)
        elif death.by_own_hand or worker.alone:
            self._deaths[task] += 1
            if self._deaths[task] > self._retries:
                times = f", {self._deaths[task]} times" if self._deaths[task] > 1 else ""
                yield TaskResult(task, error=f"{death.text}{times}", kind="crash", stage=worker.stage)
                self.forget(task)
            else:
                logger.warning("%s: %s; trying again", task, death.text)
                (self._suspects if self._kills[task] else self._again).append(task)
        else:
            self._kills[task] += 1
            logger.warning("%s: %s; trying again", task, death.text)
            (self._suspects if self._kills[task] > 1 else self._again).append(task)

    def _count_start_death(self, death: Death) -> None:
        """Stop the run when workers die one after another before they can work, or cannot import the script."""
        if death.code == UNGUARDED and not death.worker.ready:
            raise ConfigError(SENTENCE)
        what = death.worker.starting
        self.start_deaths[what] += 1
        limit = _START_DEATHS if death.by_own_hand else _START_KILLS
        if self.start_deaths[what] >= limit:
            where = f"while they made {what}" if what else "at their start"
            raise PluginError(
                f"{self.start_deaths[what]} worker processes in a row ended {where}: {death.text}. What they said is "
                "above; no crystal was given up. To see the error, run in this process: --set engine.name=serial"
            )
