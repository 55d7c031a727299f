"""The Parsl engine: past one machine, through Slurm, PBS or any other batch system Parsl knows.

Tasks are batches of crystals. Workers on the nodes take them one at a time (:mod:`screen_cli.engines.parsl.block`),
write records, and report back; this process keeps the index. What a lost block or worker had in hand goes out again.

References
----------
Y. Babuji et al., Parsl: Pervasive Parallel Programming in Python, HPDC 2019, doi:10.1145/3307681.3325400.
"""

from __future__ import annotations

import functools
import itertools
import logging
import operator
import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from parsl.concurrent import ParslPoolExecutor
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.high_throughput.errors import (
    CommandClientBadError,
    CommandClientTimeoutError,
    ManagerLost,
    WorkerLost,
)

from screen_cli.config import EngineSettings
from screen_cli.engines import Task, TaskResult, Value
from screen_cli.engines.parsl.block import BatchPlan, BatchReport, run_batch
from screen_cli.engines.parsl.configuration import make_config, read_options, walltime_of
from screen_cli.errors import PluginError, ScreenError

logger = logging.getLogger(__name__)

_POLL = 0.5
_RECENT = 200
_SLOTS_SECONDS = 5.0
_ANSWER_SECONDS = 30.0


class Manager(TypedDict):
    """A node that is connected: its workers, and the tasks that it runs."""

    worker_count: int
    tasks: int


class ParslEngine:
    """Run tasks through Parsl.

    Parameters
    ----------
    settings : EngineSettings
        ``workers`` per node, ``task_time_limit``, and the options of
        :class:`screen_cli.engines.parsl.configuration.ParslOptions`.
    workdir : Path, optional
        Folder for logs and submit scripts, seen by the nodes like the run directory.
    """

    def __init__(self, settings: EngineSettings, workdir: Path | None = None) -> None:
        self._settings = settings
        self._options = read_options(settings)
        self._workdir = (workdir or Path("parsl-engine")).absolute()
        self._drain_file = self._workdir / "drain"
        self._stopped = False
        self._again: deque[Task] = deque()
        self._losses: Counter[Task] = Counter()
        self._seconds: deque[float] = deque(maxlen=_RECENT)
        self._walltime: float | None = None
        self._n_slots, self._slots_until = 1, 0.0

    def run(self, function: Callable[[Task], Value], tasks: Iterable[Task]) -> Generator[TaskResult[Value], None, None]:
        """Yield results as batches come back.

        Raises
        ------
        PluginError
            Parsl does not start, blocks fail one after another, or a node cannot load this package.
        """
        self._workdir.mkdir(parents=True, exist_ok=True)
        self._drain_file.unlink(missing_ok=True)
        waiting = iter(tasks)
        config = make_config(self._settings, self._options, self._workdir)
        executor = config.executors[0]
        self._walltime = walltime_of(executor, self._options)
        log = logging.getLogger("parsl")
        before = set(log.handlers)
        kernel = self._kernel(config, executor)
        opened = set(log.handlers) - before
        _limit_questions(executor)
        try:
            pool = ParslPoolExecutor(dfk=kernel)
            in_flight: dict[Any, list[Task]] = {}
            ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
            while True:
                self._check_interchange(executor)
                slots = self._slots(executor)
                while not self._stopped and len(in_flight) < 2 * slots:
                    batch = self._next_batch(waiting, slots)
                    if not batch:
                        break
                    future = pool.submit(run_batch, function, batch, self._plan())
                    in_flight[future] = batch
                    future.add_done_callback(ended.put)
                if not in_flight:
                    return
                try:
                    future = ended.get(timeout=_POLL)
                except queue.Empty:
                    if self._stopped and not self._busy(executor):
                        return
                    continue
                yield from self._collect(future, in_flight.pop(future))
        finally:
            self._drain_file.touch()  # nodes that outlive this line begin no further crystal
            kernel.cleanup()
            for handler in opened:  # Parsl lets go of its log and leaves it open
                handler.close()

    def stop(self) -> None:
        """Start no further task, here and on the nodes."""
        self._stopped = True
        if self._workdir.is_dir():
            self._drain_file.touch()

    def _plan(self) -> BatchPlan:
        """Say what a batch may do, as things stand."""
        expected = float(np.percentile(self._seconds, 95)) if self._seconds else 0.0
        if self._walltime is not None:
            expected = min(expected, self._walltime / 2)  # else nothing would ever begin
        local = EngineSettings(
            name="local",
            workers=1,
            task_time_limit=self._settings.task_time_limit,
            options={"threads": self._options.threads, "retries": 0, "keep": True},
        )
        return BatchPlan(local, str(self._drain_file), expected, self._walltime)

    def _next_batch(self, waiting: Iterator[Task], slots: int) -> list[Task]:
        """Take the next tasks: those to be tried again one by one, the others by the batch."""
        if self._again:
            return [self._again.popleft()]
        left = operator.length_hint(waiting, self._options.batch_size * 2 * slots)
        size = min(self._options.batch_size, max(1, left // (2 * slots)))  # smaller towards the end: no long tail
        return list(itertools.islice(waiting, size))

    def _collect(self, future: Future[BatchReport[Value]], batch: list[Task]) -> Iterator[TaskResult[Value]]:
        """Yield what a batch brought; put the rest back."""
        try:
            report: BatchReport[Value] = future.result()
        except (ManagerLost, WorkerLost) as error:
            logger.warning("%s; %d crystals go out again", error, len(batch))
            # of several one ran and the others waited: only a crystal that went out by itself is counted
            yield from self._put_back(batch, f"its worker or block was lost ({error})", lost=len(batch) == 1)
            return
        except ScreenError:
            raise
        except Exception as error:
            raise PluginError(
                f"Parsl could not run a batch: {type(error).__name__}: {error}. See the logs in {self._workdir}."
            ) from error
        self._seconds.extend(report.seconds)
        for result in report.results:
            if result.kind == "crash":  # perhaps for lack of memory that others on that node had
                yield from self._put_back([result.task], result.error, lost=True)
            else:
                yield result
        seen = {result.task for result in report.results}
        yield from self._put_back(report.cut, "its block ended before it did", lost=True)
        untouched = [task for task in batch if task not in seen and task not in report.cut]
        yield from self._put_back(untouched, "", lost=False)

    def _put_back(self, tasks: list[Task], why: str, *, lost: bool) -> Iterator[TaskResult[Value]]:
        """Queue tasks again; give up on one that was lost too often."""
        for task in tasks:
            self._losses[task] += lost
            if self._losses[task] > self._options.retries:
                yield TaskResult(task, error=f"{why}, {self._losses[task]} times", kind="crash")
            else:
                self._again.append(task)

    def _kernel(self, config: Config, executor: object) -> DataFlowKernel:
        """Start Parsl; where its interchange does not come up, end it, so that nothing waits for it."""
        try:
            return DataFlowKernel(config)
        except (
            Exception
        ) as error:  # Parsl raises a bare Exception, or the broken pipe of an interchange that was killed
            process = getattr(executor, "interchange_proc", None)
            if process is None:
                raise
            process.kill()
            process.wait()
            raise PluginError(
                f"Parsl's interchange, the process between this one and the nodes, did not start ({error}). Is this "
                f"machine overloaded? Its log is under {self._workdir}. Run the same command to try again."
            ) from error

    def _check_interchange(self, executor: Any) -> None:
        """Stop when the process that hands out the batches is gone: none of them would ever come back."""
        process = getattr(executor, "interchange_proc", None)
        if process is None or process.poll() is None:
            return
        error = PluginError(
            f"Parsl's interchange, the process between this one and the nodes, ended (exit code {process.returncode}). "
            f"Its log is under {self._workdir}. Run the same command to go on: nothing finished is lost."
        )
        executor.set_bad_state_and_fail_all(error)  # before anything waits for its answer
        provider, blocks = getattr(executor, "provider", None), getattr(executor, "blocks_to_job_id", {})
        if provider is not None:
            provider.cancel(list(blocks.values()))
        raise error

    def _slots(self, executor: Any) -> int:
        """Tasks that can run at a time: as configured, or as the nodes say once they are there."""
        if time.monotonic() > self._slots_until:
            provider = getattr(executor, "provider", None)
            blocks = getattr(provider, "max_blocks", 1) * getattr(provider, "nodes_per_block", 1)
            configured = blocks * max(getattr(executor, "workers_per_node", 1), self._settings.workers)
            connected = sum(manager["worker_count"] for manager in self._managers(executor))
            self._n_slots = max(1, int(configured), connected)
            self._slots_until = time.monotonic() + _SLOTS_SECONDS
        return self._n_slots

    def _busy(self, executor: Any) -> bool:
        """Whether a node still works on something (an executor that cannot tell may)."""
        return not hasattr(executor, "connected_managers") or any(
            manager["tasks"] for manager in self._managers(executor)
        )

    def _managers(self, executor: Any) -> list[Manager]:
        """Nodes that are connected, with their ``worker_count`` and running ``tasks``."""
        ask = getattr(executor, "connected_managers", None)
        try:
            return [] if ask is None else list(ask())
        except (CommandClientTimeoutError, CommandClientBadError) as error:
            self._check_interchange(executor)
            raise PluginError(
                f"Parsl's interchange does not answer for {_ANSWER_SECONDS:g} s. Its log is under {self._workdir}. "
                "Run the same command to go on: nothing finished is lost."
            ) from error


def _limit_questions(executor: Any) -> None:
    """Let no question to the interchange wait for ever, those of Parsl's own threads included."""
    client = getattr(executor, "command_client", None)
    if client is not None:
        client.run = functools.partial(client.run, timeout_s=_ANSWER_SECONDS)
