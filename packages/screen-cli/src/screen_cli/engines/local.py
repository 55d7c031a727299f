"""The local engine: a pebble process pool that survives dead workers and enforces a time limit per task."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, CancelledError, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from pebble import ProcessExpired, ProcessPool

from screen_cli.config import EngineSettings
from screen_cli.engines import Task, TaskResult

logger = logging.getLogger(__name__)

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


_BROKEN_POOLS = 3  # further tries of a task that was only in the pool when another may have broken it


class LocalEngine:
    """Run tasks in worker processes of this machine.

    Workers are spawned, not forked (torch and BLAS do not survive a fork); each ends itself when the
    driver is gone, even by SIGKILL.

    Parameters
    ----------
    settings : EngineSettings
        ``workers`` (0: one per physical core), ``task_time_limit``, and in ``options``: ``retries`` (how
        often a task whose worker died is tried again, default 1) and ``threads`` (BLAS and torch threads per
        worker; default OMP_NUM_THREADS when that is set, else cores/workers), ``ahead`` (tasks per worker that wait
        in the pool, default 1) and ``keep`` (the workers stay for the next call of :meth:`run`, default false).
    """

    def __init__(self, settings: EngineSettings) -> None:
        self.workers = settings.workers or physical_cores()
        self._time_limit = settings.task_time_limit
        self._retries = int(settings.options.get("retries", 1))
        self._threads = int(settings.options.get("threads", 0))
        self._in_pool = self.workers * (1 + int(settings.options.get("ahead", 1)))
        self._keep = bool(settings.options.get("keep", False))
        self._pool: Any = None
        self._stopped = False

    def run(
        self, function: Callable[[Task], dict[str, Any]], tasks: Iterable[Task]
    ) -> Generator[TaskResult, None, None]:
        """Yield results as workers finish; few tasks wait in the pool, the others are not even drawn."""
        preset = os.environ.get("OMP_NUM_THREADS")
        n_threads = self._threads or (int(preset) if preset else max(1, physical_cores() // self.workers))
        before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
        os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(n_threads)))  # inherited by spawned workers
        pool = self._pool or _make_pool(self.workers)
        self._pool = pool if self._keep else None
        waiting = iter(tasks)
        in_flight: dict[Any, tuple[Task, int]] = {}

        def submit(task: Task, attempt: int) -> None:
            nonlocal pool
            if not pool.active:  # broken, see _result
                pool.stop()
                pool.join()
                pool = _make_pool(self.workers)
                self._pool = pool if self._keep else None
            in_flight[pool.schedule(function, args=(task,), timeout=self._time_limit)] = (task, attempt)

        finished = False
        try:
            while True:
                while not self._stopped and len(in_flight) < self._in_pool:
                    task = next(waiting, None)
                    if task is None:
                        break
                    submit(task, 0)
                if not in_flight:
                    finished = True
                    return
                done, _ = wait(in_flight, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    task, attempt = in_flight.pop(future)
                    result = _result(task, future, self._time_limit)
                    retries = self._retries + (_BROKEN_POOLS if isinstance(result.exception, BrokenProcessPool) else 0)
                    if result.kind == "crash" and attempt < retries and not self._stopped:
                        logger.warning("%s: %s; trying again", task, result.error)
                        submit(task, attempt + 1)
                    elif result.kind != "cancelled":
                        yield result
                if self._stopped:
                    for future in [item for item in in_flight if not item.running()]:
                        if future.cancel():
                            in_flight.pop(future)
        finally:
            if not finished:
                self._pool = None
                pool.stop()
                pool.join()
            elif not self._keep:
                pool.close()
                pool.join()
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def stop(self) -> None:
        """Start no further task."""
        self._stopped = True


def physical_cores() -> int:
    """Cores this process may use, hyper-threads not counted."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(psutil.cpu_count(logical=False) or allowed, allowed))


def _make_pool(workers: int) -> ProcessPool:
    """Start a pool of spawned workers that die with this process."""
    return ProcessPool(
        max_workers=workers,
        context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(os.getpid(),),
    )


def _result(task: Task, future: Any, time_limit: float) -> TaskResult:
    """Translate a finished future."""
    try:
        return TaskResult(task, future.result())
    except TimeoutError:
        return TaskResult(
            task, error=f"ran longer than task_time_limit = {time_limit:g} s and was stopped", kind="timeout"
        )
    except ProcessExpired as error:
        return TaskResult(
            task,
            error=f"its worker process died (exit code {error.exitcode}; -9 is a kill, often for lack of memory)",
            kind="crash",
        )
    except BrokenProcessPool as error:
        # a worker killed before pebble saw which task it had taken: every task in the pool ends like this
        return TaskResult(
            task,
            error="a worker died and took the pool with it, perhaps on another task",
            kind="crash",
            exception=error,
        )
    except CancelledError:
        return TaskResult(task, error="cancelled", kind="cancelled")
    except Exception as error:  # raised by the task: the driver decides what it means
        return TaskResult(task, error=f"{type(error).__name__}: {error}", kind="error", exception=error)


def end_with_parent(parent: int) -> None:
    """End this process within a second of the death of process ``parent``, its parent, even by SIGKILL."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


def _start_worker(driver: int) -> None:
    """Prepare a worker: ignore Ctrl-C (the driver drains), die with the driver."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(driver)
