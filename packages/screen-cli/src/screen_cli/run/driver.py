"""The driver: read the crystals, hand them to an engine, keep the index, survive anything."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import logging
import operator
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from screen_cli.config import RunSettings
from screen_cli.engines import Engine, TaskResult
from screen_cli.errors import ConfigError, PluginError, StoreError
from screen_cli.plugins.manager import PluginRegistry, installed_plugins
from screen_cli.run.crystal import Outcome, run_structure, take_through
from screen_cli.run.pipeline import stages_for
from screen_cli.run.progress import FinishedCrystal, Observer, SilentObserver
from screen_cli.run.reading import filtered_rows, read_source, rejected_row, structure_row
from screen_cli.store.index import Index
from screen_cli.store.run_directory import RunDirectory

logger = logging.getLogger(__name__)

_COMMIT_EVERY = 1.0


@dataclass(frozen=True)
class RunSummary:
    """What a call of :func:`execute` did.

    Parameters
    ----------
    counts : dict of str to int
        Structures in each state, now.
    n_processed : int
        Structures that went through the engine in this call.
    seconds : float
        Wall time.
    drained : bool
        Stopped early, by request; the rest is pending.
    """

    counts: dict[str, int]
    n_processed: int
    seconds: float
    drained: bool


def resolve(settings: RunSettings, registry: PluginRegistry | None = None) -> RunSettings:
    """Settle what the configuration left open, and check every plugin name before any work.

    Raises
    ------
    UnknownNameError
        A plugin the settings name is not registered.
    ConfigError
        Settings contradict each other.
    """
    registry = registry or installed_plugins()
    conductivity = settings.conductivity
    if conductivity.solver == "auto":
        available = registry.names("conductivity_solvers")
        chosen = "wigner" if "wigner" in available else "standard"
        conductivity = dataclasses.replace(conductivity, solver=chosen)
    resolved = dataclasses.replace(settings, conductivity=conductivity)
    registry.get("structure_sources", settings.source.name)
    registry.get("engines", settings.engine.name)
    if not settings.calculator.name.startswith("ase:"):
        registry.get("calculators", settings.calculator.name)
    if resolved.conductivity.enabled:
        registry.get("conductivity_solvers", resolved.conductivity.solver)
    stages_for(resolved)
    return resolved


def execute(
    run: RunDirectory,
    *,
    observer: Observer | None = None,
    retry_failed: bool = False,
    reread: bool = False,
    time_limit: float | None = None,
    stop_requested: threading.Event | None = None,
) -> RunSummary:
    """Bring every crystal of a run to its end, resuming what is there.

    Parameters
    ----------
    run : RunDirectory
    observer : Observer, optional
        Told of progress.
    retry_failed : bool
        Try quarantined structures again.
    reread : bool
        Read the source again, for crystals that were added to it since.
    time_limit : float, optional
        Seconds after which no further structure is started (those in flight finish).
    stop_requested : threading.Event, optional
        Drain as soon as it is set.

    Raises
    ------
    RunLockedError
        Another driver works here.
    StoreError
        No room on the disk; finished work is safe.
    PluginError, ConfigError
        Nothing could run at all: a missing extra, a bad option.
    """
    observer = observer or SilentObserver()
    stop_requested = stop_requested or threading.Event()
    start = time.monotonic()
    with run.locked():
        run.clear_all_running()
        index = _open_index(run)
        try:
            if reread:
                index.set_meta("source_read", False)
            read_source(run, index, observer.reading)
            index.set_states(("running",), "pending")
            if retry_failed:
                for report in list(run.store.quarantined()):
                    run.store.release(report["id"])
                index.set_states(("failed",), "pending")
            pending, damaged = index.ids(("pending",)), audit(run, index)
            if not pending:  # without damage, no engine is started at all
                pending = list(damaged)
            total = sum(index.counts().values())
            observer.started(total, total - len(pending))
            n_processed = 0
            if pending:
                engine = _make_engine(run)
                function = functools.partial(run_structure, str(run.root.absolute()))
                results = engine.run(function, _Tasks(pending, damaged))
                deadline = None if time_limit is None else start + time_limit
                watch = threading.Thread(
                    target=_drain_when_asked,
                    args=(engine, deadline, stop_requested),
                    daemon=True,
                    name="drain-watch",
                )
                watch.start()
                try:
                    for result in results:
                        observer.finished(_account(run, index, result))
                        n_processed += 1
                finally:
                    results.close()  # cancels what has not started when an error ends the loop
            run.clear_all_running()
            counts = dict(index.counts())
            return RunSummary(counts, n_processed, time.monotonic() - start, drained=bool(counts.get("pending")))
        finally:
            index.close()


def rebuild_index(run: RunDirectory, *, source_read: bool | None = None) -> dict[str, int]:
    """Make the index anew from the records; return the number of structures in each state.

    Parameters
    ----------
    run : RunDirectory
    source_read : bool, optional
        Whether the source need not be read again; default as the present index has it.
    """
    with run.locked():
        if source_read is None:
            source_read = was_source_read(run)
        run.remove_index()
        index = run.index(commit_every=_COMMIT_EVERY)
        try:
            _index_structures_on_disk(run, index)
            index.set_meta("source_read", source_read)
            return dict(index.counts())
        finally:
            index.close()


def was_source_read(run: RunDirectory) -> bool:
    """Whether the present index, if it can be read, knows that the source was read to the end."""
    try:
        with contextlib.closing(run.index(read_only=True)) as index:
            return bool(index.meta("source_read"))
    except (StoreError, sqlite3.Error):
        return False


def audit(run: RunDirectory, index: Index) -> Iterator[str]:
    """Iterate over the finished structures whose records were lost or cut short; each becomes pending again.

    Sizes are compared, one look into each folder; checksums are when a record is read.
    """
    stages = {stage.name for stage in stages_for(run.settings)}
    lost = 0
    for structure_id, keys, n_bytes in index.finished():
        if not keys.keys() & stages or run.store.bytes_of(structure_id, keys) != n_bytes:
            index.update(structure_id, "pending")
            lost += 1
            yield structure_id
    if lost:
        logger.warning("%d finished structures have damaged records and run again", lost)


class _Tasks(Iterator[str]):
    """The pending structures, then those with damaged records: a start does not wait for the look at them all."""

    def __init__(self, pending: list[str], damaged: Iterator[str]) -> None:
        self._pending = iter(pending)
        self._damaged = damaged

    def __next__(self) -> str:
        return next(self._pending, None) or next(self._damaged)

    def __length_hint__(self) -> int:
        return operator.length_hint(self._pending)


def _make_engine(run: RunDirectory) -> Engine:
    """Make the engine the settings name."""
    settings = run.settings.engine
    factory = installed_plugins().get("engines", settings.name).load()
    folder = {"workdir": run.root / "engine"} if "workdir" in inspect.signature(factory).parameters else {}
    engine: Engine = factory(settings, **folder)
    return engine


def _open_index(run: RunDirectory) -> Index:
    """Open the index; one that is missing or broken is made anew from the records."""
    path = run.root / "index.sqlite"
    fresh = not path.exists()
    try:
        index = run.index(commit_every=_COMMIT_EVERY)
    except StoreError as error:
        logger.warning("%s; rebuilding", error)
        run.remove_index()
        index, fresh = run.index(commit_every=_COMMIT_EVERY), True
    if fresh and (run.root / "records").is_dir():
        _index_structures_on_disk(run, index)
    return index


def _index_structures_on_disk(run: RunDirectory, index: Index) -> None:
    """Fill the index from structure files, records and quarantine."""
    failed = {report["id"]: report for report in run.store.quarantined()}
    for structure_id in run.store.structure_ids():
        description = run.store.read_structure(structure_id)
        index.add_structures([structure_row(description)])
        outcome = take_through(run, structure_id, compute_missing=False)
        report = failed.pop(structure_id, None)
        if report and outcome.state != "pending":  # it came to its end later, or elsewhere
            run.store.release(structure_id)
            report = None
        index.update(
            structure_id,
            "failed" if report else outcome.state,
            stage=report["stage"] if report else outcome.stage,
            reason=report["reason"] if report else outcome.reason,
            scalars=outcome.scalars,
            keys=outcome.keys,
            stage_times=outcome.stage_times,
        )
    for report in failed.values():
        if report.get("stage") == "read":
            index.add_structures([rejected_row(report)])
    index.add_structures(filtered_rows(run))


def _drain_when_asked(engine: Engine, deadline: float | None, stop_requested: threading.Event) -> None:
    """Ask the engine to drain when time is up or a stop was asked for (runs in a thread)."""
    remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
    stop_requested.wait(remaining)
    engine.stop()


def _account(run: RunDirectory, index: Index, result: TaskResult[Outcome]) -> FinishedCrystal:
    """Put one result into the index and, if it failed, the quarantine."""
    if isinstance(result.exception, (StoreError, PluginError, ConfigError)):
        raise result.exception
    outcome = result.value or _gave_up(run, result)
    if outcome.state == "failed":
        report = {"stage": outcome.stage, "reason": outcome.reason, "traceback": outcome.traceback}
        run.store.quarantine(result.task, {"id": result.task, **report})
    else:
        run.store.release(result.task)
    index.update(
        result.task,
        outcome.state,
        stage=outcome.stage,
        reason=outcome.reason,
        scalars=outcome.scalars or None,
        keys=None if result.value is None else outcome.keys,
        stage_times=outcome.stage_times or None,
    )
    seconds = sum(cost[0] for cost in outcome.stage_times.values())
    return FinishedCrystal(
        result.task, outcome.state, outcome.stage, outcome.reason, seconds, computed=tuple(outcome.computed)
    )


def _gave_up(run: RunDirectory, result: TaskResult[Outcome]) -> Outcome:
    """Outcome of a crystal whose worker did not come back with one."""
    notes = [note["stage"] for note in run.running() if note["id"] == result.task]
    stage = result.stage or (notes[-1] if notes else "worker")
    return Outcome("failed", stage, result.error, traceback=result.traceback)
