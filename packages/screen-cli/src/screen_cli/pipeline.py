"""The pipeline: which stages there are, what each depends on, and how one crystal goes through them.

``source -> relax -> displace -> forces -> force constants -> harmonic -> gate -> conductivity -> properties``

A stage is a pure function of earlier records and its settings. Its key hashes the keys of the records it
reads, its settings, its version, and the identity of the plugin it uses; so changed settings never mix with
old results and unchanged work is never repeated.
"""

from __future__ import annotations

import functools
import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from screen_cli.errors import ConfigError, PluginError, StoreError
from screen_cli.expression import evaluate
from screen_cli.keys import content_key
from screen_cli.plugin_manager import installed_plugins
from screen_cli.record import Record
from screen_cli.run_directory import RunDirectory
from screen_cli.settings import RunSettings

logger = logging.getLogger(__name__)


@dataclass
class Context:
    """What a stage may look at: the crystal, the settings, the records it needs, and shared heavy objects.

    Parameters
    ----------
    structure : screen_cli.structure.Structure
    settings : RunSettings
    records : mapping of str to Record
        Of the stages it names in ``needs``.
    scalars : mapping of str to value
        Columns of all earlier stages.
    """

    structure: Any
    settings: RunSettings
    records: Mapping[str, Record]
    scalars: Mapping[str, Any]

    @property
    def calculator(self) -> Any:
        """The force field, made once per process."""
        return _calculator(self.settings.calculator.name, _frozen(self.settings.calculator.options))

    def born(self) -> str | None:
        """Text of this crystal's BORN file, if there is one."""
        return _born_text(self.settings.nac.born, self.structure.provider_id, self.structure.formula)


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    Parameters
    ----------
    name : str
    needs : tuple of str
        Stages whose records it reads.
    run : callable
        ``run(context) -> Record``.
    depends : callable
        ``depends(context) -> JSON``: the settings and plugin identities its result depends on.
    version : int
        Raised when the code changes the numbers.
    """

    name: str
    needs: tuple[str, ...]
    run: Callable[[Context], Record]
    depends: Callable[[Context], Any]
    version: int = 1


# -- the stages ------------------------------------------------------------------------------------


def _relax(context: Context) -> Record:
    from screen_cli.stages.relax import relax

    symprec = context.settings.read.symprec
    return relax(context.structure.atoms, context.calculator, context.settings.relax, symprec=symprec)


def _displace(context: Context) -> Record:
    from screen_cli.stages.displace import displace
    from screen_cli.stages.relax import relaxed_atoms

    plugin = installed_plugins().get("force_constant_solvers", context.settings.force_constants.solver)
    return displace(
        relaxed_atoms(context.records["relax"]),
        context.settings.displace,
        kind=plugin.displacements,
        third_order=context.settings.force_constants.third_order,
        seed_text=context.structure.id,
    )


def _forces(context: Context) -> Record:
    from screen_cli.stages.forces import compute_forces

    return compute_forces(context.records["displace"], context.calculator, context.settings.forces)


def _force_constants(context: Context) -> Record:
    from screen_cli.stages.force_constants import fit_force_constants

    settings = context.settings.force_constants
    solver = installed_plugins().get("force_constant_solvers", settings.solver).load()(**settings.options)
    return fit_force_constants(context.records["displace"], context.records["forces"], settings, solver)


def _harmonic(context: Context) -> Record:
    from screen_cli.stages.harmonic import compute_harmonic

    return compute_harmonic(
        context.records["displace"],
        context.records["force_constants"],
        context.settings.harmonic,
        born=context.born(),
        nac_method=context.settings.nac.method,
    )


def _gate(context: Context) -> Record:
    settings = context.settings.gate
    reasons = []
    if settings.require_stable and not context.scalars["stable"]:
        reasons.append(f"unstable: lowest frequency {context.scalars['min_frequency_thz']:.3f} THz")
    if settings.expression and not evaluate(settings.expression, context.scalars):
        reasons.append(f"gated: not ({settings.expression})")
    return Record({"passed_gate": not reasons, "gate_reason": "; ".join(reasons)})


def _conductivity(context: Context) -> Record:
    from screen_cli.stages.conductivity import compute_conductivity

    solver = installed_plugins().get("conductivity_solvers", context.settings.conductivity.solver).load()()
    return compute_conductivity(
        context.records["displace"],
        context.records["force_constants"],
        context.settings.conductivity,
        solver,
        born=context.born(),
        nac_method=context.settings.nac.method,
    )


def _property(name: str, context: Context) -> Record:
    function = installed_plugins().get("properties", name).load()
    values = function(dict(context.records), **context.settings.properties.options.get(name, {}))
    if not isinstance(values, dict):
        raise PluginError(f"property '{name}' returned {type(values).__name__}, expected a dict of values.")
    return Record(values)


def _born_dependence(context: Context) -> Any:
    return [context.born(), context.settings.nac.method] if context.settings.nac.born else None


def _depends_calculator(context: Context) -> Any:
    settings = context.settings.calculator
    return _calculator_identity(settings.name, _frozen(settings.options))


def stages_for(settings: RunSettings) -> tuple[Stage, ...]:
    """List the stages that ``settings`` ask for, in order.

    Raises
    ------
    UnknownNameError
        A plugin the settings name is not registered.
    ConfigError
        A property needs a stage that is switched off.
    """
    registry = installed_plugins()
    fit = settings.force_constants
    solver = registry.get("force_constant_solvers", fit.solver)
    stages = [
        Stage(
            "relax",
            (),
            _relax,
            lambda c: [asdict(c.settings.relax), c.settings.read.symprec, _depends_calculator(c)],
        ),
        Stage(
            "displace",
            ("relax",),
            _displace,
            lambda c: [asdict(c.settings.displace), solver.displacements, fit.third_order, c.structure.id],
        ),
        Stage("forces", ("displace",), _forces, lambda c: [asdict(c.settings.forces), _depends_calculator(c)]),
        Stage(
            "force_constants",
            ("displace", "forces"),
            _force_constants,
            lambda c: [asdict(fit), _identity(solver)],
        ),
        Stage(
            "harmonic",
            ("displace", "force_constants"),
            _harmonic,
            lambda c: [asdict(c.settings.harmonic), _born_dependence(c)],
        ),
    ]
    if settings.conductivity.enabled and fit.third_order:
        transport = registry.get("conductivity_solvers", settings.conductivity.solver)
        stages += [
            Stage(
                "gate",
                ("relax", "displace", "force_constants", "harmonic"),
                _gate,
                lambda c: asdict(c.settings.gate),
            ),
            Stage(
                "conductivity",
                ("displace", "force_constants"),
                _conductivity,
                lambda c: [asdict(c.settings.conductivity), _identity(transport), _born_dependence(c)],
            ),
        ]
    known = {stage.name for stage in stages}
    for name in settings.properties.names:
        plugin = registry.get("properties", name)
        missing = set(plugin.needs) - known
        if missing:
            raise ConfigError(f"property '{name}' needs the stages {sorted(missing)}, which these settings switch off.")
        stages.append(
            Stage(
                f"property_{name}",
                tuple(plugin.needs),
                functools.partial(_property, name),
                lambda c, plugin=plugin: [  # type: ignore[misc]
                    _identity(plugin),
                    plugin.version,
                    c.settings.properties.options.get(plugin.name, {}),
                ],
            )
        )
    return tuple(stages)


# -- one crystal through the stages ----------------------------------------------------------------


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


def run_structure(root: str, structure_id: str) -> dict[str, Any]:
    """Take one crystal through every stage; this is what engines run.

    Parameters
    ----------
    root : str
        The run directory.
    structure_id : str

    Returns
    -------
    dict
        Fields of :class:`Outcome`.

    Raises
    ------
    StoreError, PluginError, ConfigError
        What is no crystal's fault: no room on the disk, a missing extra, a bad setting. Everything else
        becomes a failed outcome.
    """
    run = _open_run(root, (Path(root) / "manifest.json").stat().st_mtime_ns)
    try:
        return asdict(take_through(run, structure_id))
    finally:
        run.clear_running()


def take_through(run: RunDirectory, structure_id: str, *, compute_missing: bool = True) -> Outcome:
    """Take one crystal through the stages of ``run`` (see :func:`run_structure`).

    With ``compute_missing=False`` nothing is computed: the outcome is what the records on disk say, with
    state ``"pending"`` at the first stage that has none.
    """
    from screen_cli.structure import Structure

    structure = Structure.from_dict(run.store.read_structure(structure_id))
    outcome = Outcome()
    stages = {stage.name: stage for stage in stages_for(run.settings)}

    memory: dict[str, Record] = {}

    def load(name: str) -> Record:
        if name not in memory:
            record = run.store.read(structure_id, name, outcome.keys[name])
            memory[name] = compute(stages[name]) if record is None else record
        return memory[name]

    def context_of(stage: Stage) -> Context:
        return Context(structure, run.settings, _Records(stage.needs, load), outcome.scalars)

    def compute(stage: Stage) -> Record:
        run.mark_running(structure_id, stage.name)
        start = time.perf_counter()
        record = stage.run(context_of(stage))
        seconds = time.perf_counter() - start
        outcome.computed.append(stage.name)
        run.store.write(
            structure_id,
            stage.name,
            outcome.keys[stage.name],
            record,
            seconds=seconds,
            drop_arrays=_drops_arrays(stage.name, run.settings),
        )
        memory[stage.name] = record
        return record

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
                compute(stage)
                stored = run.store.find(structure_id, stage.name, key)
                if stored is None:
                    raise StoreError(f"record {stage.name}-{key} of {structure_id} vanished after it was written")
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
    """Add a stage's scalars; a name already taken gets the stage as prefix."""
    for name, value in data.items():
        if isinstance(value, (bool, int, float, str)):
            flat[f"{stage}_{name}" if name in flat else name] = value


def _drops_arrays(stage: str, settings: RunSettings) -> bool:
    """Whether a stage's arrays are left out of the store."""
    return stage == "force_constants" and not settings.force_constants.keep


def _identity(plugin: Any) -> list[str]:
    """What makes a plugin's results its own: name, distribution, version, factory."""
    return [plugin.name, plugin.distribution, plugin.factory]


def _frozen(options: Mapping[str, Any]) -> str:
    """Options as a hashable string."""
    return json.dumps(options, sort_keys=True)


@functools.lru_cache(maxsize=1)
def _calculator(name: str, options: str) -> Any:
    """Make a calculator once per process (model files load once)."""
    from screen_cli.calculators import make_calculator

    return make_calculator(name, json.loads(options))


@functools.lru_cache(maxsize=1)
def _calculator_identity(name: str, options: str) -> Any:
    """Identify a calculator once per process (a model file is hashed once)."""
    from screen_cli.calculators import calculator_identity

    return calculator_identity(name, json.loads(options))


@functools.lru_cache(maxsize=4)
def _open_run(root: str, manifest_time: int) -> RunDirectory:
    """Open a run directory once per process and manifest."""
    return RunDirectory.open(root)


def _born_text(folder: str, provider_id: str, formula: str) -> str | None:
    """Find and read a BORN file by provider id or formula."""
    if not folder:
        return None
    for name in (provider_id, formula):
        path = Path(folder) / f"{Path(name).stem}.BORN"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return None
