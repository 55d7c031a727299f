"""The driver: read the crystals, hand them to an engine, keep the index, survive anything."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import logging
import operator
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from screen_cli.config import RunSettings
from screen_cli.engines import Engine, TaskResult
from screen_cli.engines.main_script import refuse_import_of_script
from screen_cli.errors import ConfigError, PluginError, StoreError, nearest_hint
from screen_cli.plugins.manager import PluginRegistry, installed_plugins
from screen_cli.run.crystal import Outcome, run_structure
from screen_cli.run.pipeline import stages_for
from screen_cli.run.progress import FinishedCrystal, Observer, SilentObserver
from screen_cli.run.reading import read_source
from screen_cli.run.rebuild import audit, open_index
from screen_cli.sources.born_files import check_born_files
from screen_cli.store.expression import names_in
from screen_cli.store.index import Index
from screen_cli.store.run_directory import RunDirectory

logger = logging.getLogger(__name__)


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
    FilterError
        An expression is none.
    """
    registry = registry or installed_plugins()
    conductivity = settings.conductivity
    if conductivity.solver == "auto":
        conductivity = dataclasses.replace(conductivity, solver=registry.best_conductivity_solver())
    resolved = dataclasses.replace(settings, conductivity=conductivity)
    registry.get("structure_sources", settings.source.name)
    registry.get("engines", settings.engine.name)
    if not settings.calculator.name.startswith("ase:"):
        registry.get("calculators", settings.calculator.name)
    if resolved.conductivity.enabled:
        registry.get("conductivity_solvers", resolved.conductivity.solver)
    selected = resolved.renormalise.select
    for expression in (
        "" if selected in ("all", "unstable") else selected,
        resolved.filter.expression,
        resolved.gate.expression,
        resolved.gate.audit_target,
        resolved.conductivity.refine_where,
    ):
        if expression:
            names_in(expression)
    for name in resolved.properties.options:
        if name not in resolved.properties.names:
            raise ConfigError(
                f"properties.options speaks of '{name}', which properties.names does not ask for."
                f"{nearest_hint(name, resolved.properties.names)}"
            )
    stages_for(resolved)
    return resolved


@dataclass(frozen=True)
class ExecuteOptions:
    """How a call of :func:`execute` goes about a run.

    Parameters
    ----------
    retry_failed : bool
        Try quarantined structures again.
    reread : bool
        Read the source again, for crystals that were added to it since.
    deep : bool
        Read every record of what is finished, not only its size; what is damaged runs again.
    time_limit : float or None
        Seconds after which no further structure is started (those in flight finish).
    """

    retry_failed: bool = False
    reread: bool = False
    deep: bool = False
    time_limit: float | None = None


def execute(
    run: RunDirectory,
    options: ExecuteOptions = ExecuteOptions(),
    *,
    observer: Observer | None = None,
    stop_requested: threading.Event | None = None,
) -> RunSummary:
    """Bring every crystal of a run to its end, resuming what is there.

    Parameters
    ----------
    run : RunDirectory
    options : ExecuteOptions
    observer : Observer, optional
        Told of progress.
    stop_requested : threading.Event, optional
        Drain as soon as it is set.

    Raises
    ------
    RunLockedError
        Another driver works here.
    StoreError
        No room on the disk; finished work is safe.
    PluginError, ConfigError
        Nothing could run at all: a missing extra, a bad option, a script without a guard for its workers.
    """
    refuse_import_of_script()
    observer = observer or SilentObserver()
    start = time.monotonic()
    with run.locked():
        run.tidy()
        with contextlib.closing(open_index(run)) as index:
            waiting = _prepare(run, index, options, observer)
            deadline = None if options.time_limit is None else start + options.time_limit
            n_processed = 0
            if operator.length_hint(waiting):
                engine = _make_engine(run)
                _drain_when_asked(engine, deadline, stop_requested or threading.Event())
                function = functools.partial(run_structure, str(run.root.absolute()))
                with contextlib.closing(engine.run(function, waiting)) as results:  # closing cancels what waits
                    for result in results:
                        observer.finished(_account(run, index, result))
                        n_processed += 1
            run.tidy()
            counts = dict(index.counts())
            return RunSummary(counts, n_processed, time.monotonic() - start, drained=bool(counts.get("pending")))


def _prepare(run: RunDirectory, index: Index, options: ExecuteOptions, observer: Observer) -> _Tasks:
    """Read the source, settle the states, and list what there is to do."""
    if options.reread:
        index.set_meta("source_read", False)
    read_source(run, index, observer.reading)
    check_born_files(run.settings.nac.born, lambda formula: index.rows(f"formula == '{formula}'"))
    index.set_states(("running",), "pending")
    if options.retry_failed:
        for report in list(run.store.quarantined()):
            run.store.release(report["id"])
        index.set_states(("failed",), "pending")
    pending, damaged = index.ids(("pending",)), audit(run, index, deep=options.deep)
    if not pending:  # without damage, no engine is started at all
        pending = list(damaged)
    total = sum(index.counts().values())
    observer.started(total, total - len(pending))
    return _Tasks(pending, damaged)


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
    return cast("Engine", factory(settings, **folder))


def _drain_when_asked(engine: Engine, deadline: float | None, stop_requested: threading.Event) -> None:
    """Let a thread ask the engine to drain when time is up or a stop was asked for."""

    def watch() -> None:
        stop_requested.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        engine.stop()

    threading.Thread(target=watch, daemon=True, name="drain-watch").start()


def _account(run: RunDirectory, index: Index, result: TaskResult[Outcome]) -> FinishedCrystal:
    """Put one result into the index and, if it failed, the quarantine."""
    if isinstance(result.exception, (StoreError, PluginError, ConfigError)):
        raise result.exception
    outcome = result.value or _gave_up(run, result)
    if outcome.unknown_column and outcome.unknown_column not in index.columns:
        raise ConfigError(f"an expression of the settings cannot be evaluated in {outcome.stage}: {outcome.reason}")
    if outcome.state == "failed":
        if not (run.root / "manifest.json").exists():
            raise StoreError(f"the run directory {run.root} is gone: it was moved or removed while it was worked on.")
        run.store.quarantine(
            result.task,
            {
                "id": result.task,
                "stage": outcome.stage,
                "reason": outcome.reason,
                "traceback": outcome.traceback,
            },
        )
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
