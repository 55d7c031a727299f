"""One crystal through the stages: find its records by key, compute what is missing, say how it fared."""

from __future__ import annotations

import functools
import logging
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from screen_cli.config import RunSettings, override_settings
from screen_cli.engines.messages import stage_begins
from screen_cli.errors import ConfigError, PluginError, StoreError
from screen_cli.run.memory import keep_freed_memory, release_freed_memory
from screen_cli.run.pipeline import HARMONIC_PREFIX, Context, Stage, stages_for
from screen_cli.store.keys import content_key
from screen_cli.store.record import Record
from screen_cli.store.records import StoredRecord
from screen_cli.store.run_directory import RunDirectory

logger = logging.getLogger(__name__)


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
    """

    state: str = "done"
    stage: str = ""
    reason: str = ""
    keys: dict[str, str] = field(default_factory=dict)
    scalars: dict[str, Any] = field(default_factory=dict)
    stage_times: dict[str, tuple[float, int]] = field(default_factory=dict)
    traceback: str = ""
    computed: list[str] = field(default_factory=list)


class _Records(Mapping[str, Record]):
    """The records a stage needs: in memory when just made, else read on demand, else made again."""

    def __init__(self, names: tuple[str, ...], load: Callable[[str], Record]) -> None:
        self._names = names
        self._load = load

    def __getitem__(self, name: str) -> Record:
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
    from screen_cli.crystal.metadata import source_columns
    from screen_cli.crystal.structure import Structure

    description = run.store.read_structure(structure_id)
    structure = Structure.from_dict(description)
    outcome = Outcome(scalars=source_columns(description))
    own = structure.settings
    settings = override_settings(run.settings, own, f"settings of {structure.provider_id}")
    stages = {stage.name: stage for stage in stages_for(settings)}

    memory: dict[str, Record] = {}

    def load(name: str) -> Record:
        if name not in memory:
            record = run.store.read(structure_id, name, outcome.keys[name])
            if record is None:
                compute(stages[name])
            else:
                memory[name] = record
        return memory[name]

    def context_of(stage: Stage) -> Context:
        return Context(structure, settings, _Records(stage.needs, load), outcome.scalars)

    def compute(stage: Stage) -> StoredRecord:
        run.mark_running(structure_id, stage.name)
        stage_begins(stage.name)
        start = time.perf_counter()
        record = stage.run(context_of(stage))
        seconds = time.perf_counter() - start
        outcome.computed.append(stage.name)
        stored = run.store.write(
            structure_id,
            stage.name,
            outcome.keys[stage.name],
            record,
            seconds=seconds,
            drop_arrays=_drops_arrays(stage.name, settings),
        )
        memory[stage.name] = record
        outcome.stage_times[stage.name] = (stored.seconds, stored.n_bytes)
        return stored

    for stage in stages.values():
        try:
            outcome.stage = stage.name
            parents = [outcome.keys[name] for name in stage.needs]
            key = content_key(structure_id, stage.name, stage.version, stage.depends(context_of(stage)), parents)
            outcome.keys[stage.name] = key
            stored = run.store.find(structure_id, stage.name, key)
            if stored is None:
                if not compute_missing:
                    outcome.keys.pop(stage.name)
                    outcome.state = "pending"
                    return outcome
                stored = compute(stage)
        except (StoreError, PluginError, ConfigError):
            raise
        except ImportError as error:
            raise PluginError(f"{stage.name}: {error}") from error
        except Exception as error:  # one bad crystal never stops a run
            logger.debug("%s failed in %s", structure_id, stage.name, exc_info=True)
            outcome.keys.pop(stage.name, None)
            outcome.state, outcome.traceback = "failed", traceback.format_exc()
            outcome.reason = f"{type(error).__name__}: {error}"
            return outcome
        _merge_scalars(outcome.scalars, stage.name, stored.data)
        outcome.stage_times[stage.name] = (stored.seconds, stored.n_bytes)
        if stage.name == "gate" and not stored.data["passed_gate"]:
            outcome.state, outcome.reason = "skipped", stored.data["gate_reason"]
            return outcome
    outcome.stage = ""
    return outcome


def _merge_scalars(flat: dict[str, Any], stage: str, data: Mapping[str, Any]) -> None:
    """Add a stage's scalars; a name already taken, or of the fit before the gate, gets the stage as prefix."""
    for name, value in data.items():
        if isinstance(value, (bool, int, float, str)):
            flat[f"{stage}_{name}" if name in flat or stage.startswith(HARMONIC_PREFIX) else name] = value


def _drops_arrays(stage: str, settings: RunSettings) -> bool:
    """Whether a stage's arrays are left out of the store."""
    return stage.endswith("force_constants") and not settings.force_constants.keep


@functools.lru_cache(maxsize=4)
def _open_run(root: str, manifest_time: int) -> RunDirectory:
    """Open a run directory once per process and manifest."""
    return RunDirectory.open(root)
