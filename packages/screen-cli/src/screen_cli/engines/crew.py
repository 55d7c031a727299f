"""The workers of one engine: started, heard, timed, weighed, and ended with all that they started."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from screen_cli.engines import Task
from screen_cli.engines.main_script import WORKER
from screen_cli.engines.messages import Ended, Load, Message, MessageReader, Ready, Run, StageBegins, Starting, send
from screen_cli.engines.processes import Household, resident_by_session
from screen_cli.engines.worker import serve

_START_LIMIT = 600.0  # s; importing torch from a busy network disk takes minutes
_GRACE = 5.0
_WEIGH_EVERY = 2.0
_LEAK = 1 << 30


@dataclass(eq=False)
class Worker:
    """One worker process, as its engine sees it.

    Parameters
    ----------
    number : int
    process : multiprocessing.process.BaseProcess
    connection : multiprocessing.connection.Connection
    reader : MessageReader
    function : bytes
        What it was told to load.
    ready : bool
        Whether it has loaded it.
    task : str or None
        What it works on.
    alone : bool
        Whether that task runs while nothing else does.
    stage : str
        Of that task.
    starting : str
        What it makes for all tasks to come; empty when it makes nothing.
    since : float
        When the stage, or the start, began (time.monotonic).
    first_memory : int
        Resident bytes after its first task; 0 before.
    memory : int
        Resident bytes after its last task.
    """

    number: int
    process: BaseProcess
    connection: Connection
    reader: MessageReader
    function: bytes
    ready: bool = False
    task: Task | None = None
    alone: bool = False
    stage: str = ""
    starting: str = ""
    since: float = field(default_factory=time.monotonic)
    first_memory: int = 0
    memory: int = 0

    @property
    def idle(self) -> bool:
        """Whether it waits for a task."""
        return self.ready and self.task is None

    @property
    def leaks(self) -> bool:
        """Whether its memory has grown by a gigabyte, and doubled, since its first task."""
        return self.memory > self.first_memory + max(_LEAK, self.first_memory)

    def hear(self) -> Iterator[Message]:
        """Iterate over what it said, and keep the account of it."""
        for message in self.reader.read():
            match message:
                case Ready():
                    self.ready = True
                case StageBegins(name):
                    self.stage, self.since = name, time.monotonic()
                case Starting(what):
                    self.starting, self.since = what, time.monotonic()
                case Ended(_, resident):
                    self.task, self.starting, self.memory = None, "", resident
                    self.first_memory = self.first_memory or resident
            yield message


@dataclass(frozen=True)
class Death:
    """How a worker came to its end.

    Parameters
    ----------
    worker : Worker
    cause : {"died", "time", "memory"}
        By itself or from outside, or ended by its engine.
    text : str
        A phrase: what happened.
    by_own_hand : bool
        Whether the process ended itself: an exit, or a signal that only its own code raises.
    code : int or None
        Exit code of a process that ended itself or was ended from outside.
    """

    worker: Worker
    cause: str
    text: str
    by_own_hand: bool
    code: int | None = None


_OWN_SIGNALS = {
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSYS", "SIGTRAP")
    if hasattr(signal, name)
}


class Crew:
    """The worker processes of an engine.

    Parameters
    ----------
    n_threads : int
        Of each worker.
    time_limit : float
        Seconds a stage may take.
    memory : int
        Bytes a worker and all it started may take.
    """

    def __init__(self, n_threads: int, time_limit: float, memory: int) -> None:
        self.workers: list[Worker] = []
        self._household = Household(n_threads)
        self._time_limit = time_limit
        self._memory = memory
        self._context = multiprocessing.get_context("spawn")  # torch and BLAS do not survive a fork
        resource_tracker.ensure_running()  # now, so that it does not count as something a worker started
        self._n_started = 0
        self._weighed = 0.0

    def hire(self, function: bytes) -> None:
        """Start one more worker."""
        self._n_started += 1
        ours, theirs = self._context.Pipe(duplex=True)
        with self._household.environment(self._n_started):
            process = self._context.Process(
                target=serve, args=(theirs, os.getpid(), self._memory), name=f"{WORKER}-{self._n_started}"
            )
            process.start()
        theirs.close()
        assert process.pid is not None  # it was started
        self._household.add(process.pid)
        worker = Worker(self._n_started, process, ours, MessageReader(ours.fileno()), function)
        self.workers.append(worker)
        self._send(worker, Load(function))

    def reload(self, function: bytes) -> None:
        """Give the workers that were kept another function."""
        for worker in self.workers:
            if worker.function != function:
                worker.function, worker.ready, worker.since = function, False, time.monotonic()
                self._send(worker, Load(function))

    def hand(self, worker: Worker, task: Task, *, alone: bool) -> None:
        """Give an idle worker a task."""
        worker.task, worker.alone, worker.stage, worker.starting = task, alone, "", ""
        worker.since = time.monotonic()
        self._send(worker, Run(task))

    def listen(self, seconds: float) -> Iterator[tuple[Worker, Message]]:
        """Wait until a worker says something or dies, at most so long, and iterate over what was said."""
        left = min((self._deadline(worker) - time.monotonic() for worker in self.workers), default=seconds)
        if self.workers:
            wait(
                [item for worker in self.workers for item in (worker.connection, worker.process.sentinel)],
                timeout=max(0.0, min(seconds, left)),
            )
        for worker in list(self.workers):
            for message in worker.hear():
                yield worker, message

    def deaths(self) -> Iterator[tuple[Death, list[Message]]]:
        """Iterate over the workers that died or had to be ended, each with its last words."""
        memory = self._weigh()
        for worker in list(self.workers):
            death = self._examine(worker, memory.get(worker.process.pid or 0, 0))
            if death is not None:
                yield death, self.dismiss(worker)

    def dismiss(self, worker: Worker) -> list[Message]:
        """End a worker and all it started; return what it had still said."""
        self.workers.remove(worker)
        assert worker.process.pid is not None
        self._household.end(worker.process.pid, worker.number)
        worker.process.join(_GRACE)
        said = list(worker.hear())
        worker.connection.close()
        return said

    def close(self, *, gently: bool = False) -> None:
        """End every worker; gently, they may tidy up first."""
        if gently:
            for worker in self.workers:
                worker.connection.close()
            deadline = time.monotonic() + _GRACE
            for worker in self.workers:
                worker.process.join(max(0.0, deadline - time.monotonic()))
        self._household.close()
        for worker in self.workers:
            if worker.process.is_alive():
                worker.process.kill()
            worker.process.join(_GRACE)
            worker.connection.close()
        self.workers.clear()

    def _deadline(self, worker: Worker) -> float:
        """When the patience with a worker ends."""
        if worker.idle:
            return float("inf")
        return worker.since + (self._time_limit if worker.ready else _START_LIMIT)

    def _weigh(self) -> dict[int, int]:
        """Resident bytes by session, i.e. by worker, every few seconds; else nothing."""
        if not self.workers or time.monotonic() < self._weighed + _WEIGH_EVERY:
            return {}
        self._weighed = time.monotonic()
        return resident_by_session()

    def _examine(self, worker: Worker, taken: int) -> Death | None:
        """Say whether and how a worker came to its end."""
        code = worker.process.exitcode  # asks the system: a child of the worker may hold its sentinel open
        if code is not None:
            own = code >= 0 or -code in _OWN_SIGNALS
            return Death(worker, "died", _cause_of_death(code), own, code)
        if time.monotonic() > self._deadline(worker):
            where = f"stage '{worker.stage}'" if worker.stage else "it"
            text = f"{where} ran longer than task_time_limit = {self._time_limit:g} s and was stopped"
            if not worker.ready:
                text = f"it was not ready after {_START_LIMIT:g} s and was stopped"
            return Death(worker, "time", text, by_own_hand=True)
        if taken > self._memory and worker.task is not None:
            limit = f"the limit of {self._memory / 2**30:.1f} GiB (engine.options.memory_gib)"
            text = f"it took {taken / 2**30:.1f} GiB of memory, more than {limit}, and was stopped"
            return Death(worker, "memory", text, by_own_hand=True)
        return None

    @staticmethod
    def _send(worker: Worker, message: Message) -> None:
        """Write to a worker; one that is dead is found by :meth:`deaths`."""
        try:
            send(worker.connection.fileno(), message)
        except OSError:
            return


def _cause_of_death(code: int) -> str:
    """Name an exit code in words."""
    if code >= 0:
        return f"its worker process left with exit code {code} in the middle of it"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = ", often for lack of memory" if name == "SIGKILL" else ""
    return f"its worker process died of {name}{hint}"
