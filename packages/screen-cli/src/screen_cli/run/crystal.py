"""One crystal through the stages: find its records by key, compute what is missing, say how it fared."""

from __future__ import annotations

import errno
import functools
import logging
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from screen_cli.calculators.memory import keep_freed_memory, release_freed_memory
from screen_cli.config import override_settings
from screen_cli.crystal.metadata import source_columns
from screen_cli.crystal.structure import Structure
from screen_cli.engines.messages import stage_begins
from screen_cli.errors import ConfigError, PluginError, StoreError, UnknownColumnError
from screen_cli.run.force_field import RegisteredForceField, model_processes
from screen_cli.run.peak_memory import PeakMemory
from screen_cli.run.pipeline import stages_for
from screen_cli.sources.born_files import find_born
from screen_cli.stages.stage import AnyRecord, Inputs, Stage, Stops
from screen_cli.store.interim import Interim
from screen_cli.store.keys import content_key
from screen_cli.store.record import Json, Scalar
from screen_cli.store.records import StoredRecord
from screen_cli.store.run_directory import RunDirectory

logger = logging.getLogger(__name__)

_OF_THE_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO}
_LONGEST_REASON, _LONGEST_TRACE = 2_000, 20_000


@dataclass
class Outcome:
    """How one crystal fared.

    Parameters
    ----------
    state : {"done", "failed", "skipped", "pending"}
    stage, reason : str
        Where it ended and why (empty when done).
    keys : dict of str to str
        Content key of each stage that has a record.
    scalars : dict
        Flat columns.
    stage_times : dict
        ``stage -> (seconds, bytes)``.
    traceback : str
        Of the failure.
    computed : list of str
        Stages that ran now (the others were found).
    unknown_column : str
        Name in an expression of the settings that this crystal has no column for.
    """

    state: str = "done"
    stage: str = ""
    reason: str = ""
    keys: dict[str, str] = field(default_factory=dict)
    scalars: dict[str, Scalar | None] = field(default_factory=dict)
    stage_times: dict[str, tuple[float, int]] = field(default_factory=dict)
    traceback: str = ""
    computed: list[str] = field(default_factory=list)
    unknown_column: str = ""

    def fail(self, stage: str, error: Exception) -> None:
        """End in a stage because of what it raised (while that is handled)."""
        logger.debug("failed in %s", stage, exc_info=True)
        self.keys.pop(stage, None)
        self.state, self.traceback = "failed", traceback.format_exc()[-_LONGEST_TRACE:]
        reason = f"{type(error).__name__}: {error}"
        self.unknown_column = error.column if isinstance(error, UnknownColumnError) else ""
        self.reason = reason if len(reason) <= _LONGEST_REASON else f"{reason[: _LONGEST_REASON - 1]}…"


def _machine_failure(error: BaseException | None) -> OSError | None:
    """Give the failure of the machine that an exception was raised from, if there was one."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
            return error
        error = error.__cause__ or error.__context__
    return None


def _sentence_of(stage: str, error: OSError) -> str:
    """Sentence for what the machine refused a stage."""
    where = f" {error.filename}" if error.filename else ""
    return (
        f"{stage}: {error.strerror or error}{where}, which is this machine's failure and no crystal's. Mend it and run "
        "again: nothing finished is lost"
    )


class Records(Mapping[str, AnyRecord]):
    """The records a stage may read: in memory when just made, else read on demand, else made again.

    Parameters
    ----------
    names : tuple of str
        Stages that it declared.
    load : callable
        ``load(name)`` gives the record of a stage.
    """

    def __init__(self, names: tuple[str, ...], load: Callable[[str], AnyRecord]) -> None:
        self._names = names
        self._load = load

    def __getitem__(self, name: str) -> AnyRecord:
        if name not in self._names:
            raise KeyError(f"record '{name}' was not declared; this stage needs {list(self._names)}")
        return self._load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def run_structure(root: str, structure_id: str) -> Outcome:
    """Take one crystal through every stage; this is what engines run.

    Parameters
    ----------
    root : str
        The run directory.
    structure_id : str

    Returns
    -------
    Outcome

    Raises
    ------
    StoreError, PluginError, ConfigError
        What is no crystal's fault: no room on the disk, a missing extra, a bad setting. Everything else
        becomes a failed outcome.
    """
    run = _open_run(root, (Path(root) / "manifest.json").stat().st_mtime_ns)
    run.store.sweep(structure_id)
    keep_freed_memory()
    try:
        return take_through(run, structure_id)
    finally:
        run.clear_running()
        release_freed_memory()


def take_through(run: RunDirectory, structure_id: str, *, compute_missing: bool = True) -> Outcome:
    """Take one crystal through the stages of ``run`` (see :func:`run_structure`).

    A source may give a crystal settings of its own (another supercell, another mesh): ``Structure.settings``, nested
    as in the configuration file, replace those of the run.

    With ``compute_missing=False`` nothing is computed: the outcome is what the records on disk say, with
    state ``"pending"`` at the first stage that has none.
    """
    return _Passage(run, structure_id).go(compute_missing=compute_missing)


class _Passage:
    """One crystal on its way through the stages of a run."""

    def __init__(self, run: RunDirectory, structure_id: str) -> None:
        description = run.store.read_structure(structure_id)
        self.structure = Structure.from_dict(description)
        self.outcome = Outcome(scalars={**source_columns(description)})
        self._run, self._id = run, structure_id
        origin = f"settings of {self.structure.provider_id}"
        self._settings = override_settings(run.settings, self.structure.settings, origin)
        self._stages: dict[str, Stage[AnyRecord]] = {stage.name: stage for stage in stages_for(self._settings)}
        self._memory: dict[str, AnyRecord] = {}

    def go(self, *, compute_missing: bool) -> Outcome:
        """Find or make the record of each stage, until the end or until one fails or stops the crystal."""
        outcome, stops = self.outcome, Stops(tuple(self._stages.values()))
        for stage in self._stages.values():
            if stops.passes_by(stage):
                continue
            outcome.stage = stage.name
            try:
                stored = self._find(stage)
                if stored is None and not compute_missing:
                    outcome.keys.pop(stage.name)
                    outcome.state = "pending"
                    return outcome
                stored = stored or self._compute(stage)
            except (StoreError, PluginError, ConfigError):
                raise
            except ImportError as error:
                raise PluginError(f"{stage.name}: {error}") from error
            except Exception as error:  # one bad crystal never stops a run
                if machine := _machine_failure(error):  # every crystal after this one would fail of it
                    raise StoreError(machine.errno, _sentence_of(stage.name, machine)) from error
                outcome.fail(stage.name, error)
                return outcome
            merge_scalars(outcome.scalars, stage, stored.data)
            outcome.stage_times[stage.name] = (stored.seconds, stored.n_bytes)
            stops.look(stage, stored.data)
        outcome.stage, outcome.reason = stops.verdict()
        if outcome.reason:
            outcome.state = "skipped"
        return outcome

    def _find(self, stage: Stage[AnyRecord]) -> StoredRecord | None:
        """Set the key of a stage and look for its record."""
        parents = [self.outcome.keys[name] for name in stage.needs]
        key = content_key(self._id, stage.name, stage.version, stage.depends(self._inputs(stage)), parents)
        self.outcome.keys[stage.name] = key
        return self._run.store.find(self._id, stage.name, key)

    def _compute(self, stage: Stage[AnyRecord]) -> StoredRecord:
        """Run a stage and keep its record."""
        self._run.mark_running(self._id, stage.name)
        stage_begins(stage.name)
        memory, start = PeakMemory(model_processes()), time.perf_counter()
        interim = Interim(self._run.store, self._id, stage.name, self.outcome.keys[stage.name])
        record = stage.run(replace(self._inputs(stage), interim=interim))
        seconds = time.perf_counter() - start
        self.outcome.computed.append(stage.name)
        stored = self._run.store.write(
            self._id,
            stage.name,
            self.outcome.keys[stage.name],
            record.to_storage(),
            seconds=seconds,
            peak_mb=memory.megabytes(model_processes()),
            drop_arrays=not stage.keeps_arrays(self._settings),
        )
        interim.remove()
        self._memory[stage.name] = record
        self.outcome.stage_times[stage.name] = (stored.seconds, stored.n_bytes)
        return stored

    def _load(self, name: str) -> AnyRecord:
        """Return the record of an earlier stage, made again where its arrays were not kept."""
        if name not in self._memory:
            record = self._run.store.read(self._id, name, self.outcome.keys[name])
            if record is None:
                self._compute(self._stages[name])
            else:
                self._memory[name] = self._stages[name].record_class.from_storage(record)
        return self._memory[name]

    def _inputs(self, stage: Stage[AnyRecord]) -> Inputs:
        """Give what a stage may look at."""
        return Inputs(
            structure=self.structure,
            settings=self._settings,
            force_field=RegisteredForceField(self._settings.calculator),
            records=Records(stage.needs, self._load),
            scalars=self.outcome.scalars,
            born=find_born(self._settings.nac.born, self.structure),
        )


def merge_scalars(flat: dict[str, Scalar | None], stage: Stage[AnyRecord], data: Mapping[str, Json]) -> None:
    """Add a stage's scalars to the columns of a crystal; a name already taken gets the stage as prefix."""
    for name, value in data.items():
        if isinstance(value, (bool, int, float, str)):
            flat[f"{stage.name}_{name}" if name in flat or stage.prefixes_columns else name] = value


@functools.lru_cache(maxsize=4)
def _open_run(root: str, manifest_time: int) -> RunDirectory:
    """Open a run directory once per process and manifest."""
    return RunDirectory.open(root)
