"""The pipeline: which stages there are, and what each depends on.

``source -> relax -> displace -> forces -> force constants -> harmonic -> gate -> conductivity -> properties``

With ``gate.before_third_order`` fc2 alone is fitted first, from a few supercells, and crystals that fail the gate
never cost a third-order force:

``source -> relax -> harmonic_displace -> harmonic_forces -> harmonic_force_constants -> harmonic -> gate -> displace
-> forces -> force constants -> conductivity -> properties``

A stage is a pure function of earlier records and its settings. Its key hashes the keys of the records it
reads, its settings, its version, and the identity of the plugin it uses; so changed settings never mix with
old results and unchanged work is never repeated.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from screen_cli.analysis.gate_audit import is_drawn
from screen_cli.config import RunSettings
from screen_cli.crystal.metadata import SOURCE_COLUMNS
from screen_cli.engines.messages import starting
from screen_cli.errors import ConfigError, PluginError
from screen_cli.plugins.manager import PluginRegistry, installed_plugins
from screen_cli.store.expression import evaluate
from screen_cli.store.record import Record

HARMONIC_PREFIX = "harmonic_"
"""Of stages (and their columns) that fit fc2 alone, before the gate."""
_PROPERTY_PREFIX = "property_"


@dataclass
class Context:
    """What a stage may look at: the crystal, the settings, the records it needs, and shared heavy objects.

    Parameters
    ----------
    structure : screen_cli.crystal.structure.Structure
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


def _displace(context: Context, prefix: str = "") -> Record:
    from screen_cli.stages.displace import displace, harmonic_settings
    from screen_cli.stages.relax import relaxed_atoms

    fit = context.settings.force_constants
    plugin = installed_plugins().get("force_constant_solvers", fit.solver)
    settings = context.settings.displace
    solver = _make_solver(plugin, fit.options) if fit.options and not prefix else None
    kind = plugin.displacements
    if prefix and settings.dim_fc2 and settings.n_supercells_fc2 == 0:
        kind = "finite-difference"  # as the fc2 supercells beside fc3
    earlier = context.records.get(f"{HARMONIC_PREFIX}displace")
    return displace(
        relaxed_atoms(context.records["relax"]),
        harmonic_settings(settings) if prefix else settings,
        kind=kind,
        third_order=fit.third_order and not prefix,
        seed_text=context.structure.id,
        count=getattr(solver, "count_parameters", None),
        displacements_fc2=earlier.arrays["displacements"] if earlier and kind == "random" else None,
    )


def _forces(context: Context, prefix: str = "") -> Record:
    from screen_cli.stages.forces import compute_forces

    names = (f"{HARMONIC_PREFIX}displace", f"{HARMONIC_PREFIX}forces")
    known = (context.records[names[0]], context.records[names[1]]) if names[1] in context.records else None
    displaced = context.records[f"{prefix}displace"]
    return compute_forces(displaced, context.calculator, context.settings.forces, known=known)


def _force_constants(context: Context, prefix: str = "") -> Record:
    from screen_cli.stages.force_constants import fit_force_constants

    settings = context.settings.force_constants
    solver = _make_solver(installed_plugins().get("force_constant_solvers", settings.solver), settings.options)
    if prefix:
        settings = replace(settings, third_order=False)
    return fit_force_constants(
        context.records[f"{prefix}displace"], context.records[f"{prefix}forces"], settings, solver
    )


def _harmonic(context: Context, prefix: str = "") -> Record:
    from screen_cli.stages.harmonic import compute_harmonic

    return compute_harmonic(
        context.records[f"{prefix}displace"],
        context.records[f"{prefix}force_constants"],
        context.settings.harmonic,
        born=context.born(),
        nac_method=context.settings.nac.method,
    )


def _gate(context: Context) -> Record:
    settings = context.settings.gate
    if settings.require_stable and not context.scalars["stable"]:
        reason = f"unstable: lowest frequency {context.scalars['min_frequency_thz']:.3f} THz"
        return Record({"passed_gate": False, "gate_audited": False, "gate_reason": reason})
    if not settings.expression or evaluate(settings.expression, context.scalars):
        return Record({"passed_gate": True, "gate_audited": False, "gate_reason": ""})
    audited = is_drawn(context.structure.id, settings.audit_share, settings.audit_seed)
    reason = f"gated: not ({settings.expression})"
    return Record({"passed_gate": audited, "gate_audited": audited, "gate_reason": reason})


def _gate_dependence(context: Context) -> Any:
    metadata = context.structure.metadata
    settings = asdict(context.settings.gate)
    settings.pop("audit_target")  # says how results are counted, not which there are
    return [settings, {name: metadata[name] for name in SOURCE_COLUMNS if name in metadata}]


def _conductivity(context: Context) -> Record:
    from screen_cli.stages.conductivity import compute_conductivity

    settings = context.settings.conductivity
    solver = _make_solver(installed_plugins().get("conductivity_solvers", settings.solver), settings.options)
    return compute_conductivity(
        context.records["displace"],
        context.records["force_constants"],
        context.settings.conductivity,
        solver,
        born=context.born(),
        nac_method=context.settings.nac.method,
    )


def _property(name: str, context: Context) -> Record:
    plugin = installed_plugins().get("properties", name)
    options = dict(context.settings.properties.options.get(name, {}))
    if plugin.uses_calculator:
        options["calculator"] = context.calculator
    if plugin.recomputes:
        options["recompute"] = functools.partial(_recompute, context)
    if plugin.uses_structure:
        options["structure"] = context.structure
    values = plugin.load()(dict(context.records), **options)
    if isinstance(values, Record):
        return values
    if not isinstance(values, dict):
        raise PluginError(f"property '{name}' returned {type(values).__name__}, expected a dict of values or a Record.")
    return Record(values)


def _recompute(context: Context, forces: Mapping[str, Any], last_stage: str) -> dict[str, Record]:
    """Send other forces through the fit and, where asked, harmonic properties or κ (PropertyPlugin.recomputes)."""
    settings = replace(
        context.settings,
        force_constants=replace(context.settings.force_constants, holdout=0.0),
        harmonic=replace(context.settings.harmonic, phase_space=False),
        conductivity=replace(context.settings.conductivity, keep_modes=False),
    )
    records = {"displace": context.records["displace"], "forces": Record(arrays=dict(forces))}
    inner = replace(context, settings=settings, records=records)
    records["force_constants"] = _force_constants(inner)
    if last_stage != "force_constants":
        records[last_stage] = {"harmonic": _harmonic, "conductivity": _conductivity}[last_stage](inner)
    return records


def _with_needed_properties(names: Sequence[str], registry: PluginRegistry) -> list[str]:
    """Names of the properties to run: those asked for, each after the properties it reads."""
    ordered: list[str] = []

    def visit(name: str) -> None:
        if name not in ordered:
            for stage in registry.get("properties", name).needs:
                if stage.startswith(_PROPERTY_PREFIX):
                    visit(stage.removeprefix(_PROPERTY_PREFIX))
            ordered.append(name)

    for name in names:
        visit(name)
    return ordered


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
    stages = [
        Stage(
            "relax",
            (),
            _relax,
            lambda c: [asdict(c.settings.relax), c.settings.read.symprec, _depends_calculator(c)],
        )
    ]
    has_gate = settings.conductivity.enabled and settings.force_constants.third_order
    prefix = HARMONIC_PREFIX if has_gate and settings.gate.before_third_order else ""
    harmonic_needs = (f"{prefix}displace", f"{prefix}force_constants")
    stages += _fit_stages(settings, prefix)
    stages.append(
        Stage(
            "harmonic",
            harmonic_needs,
            functools.partial(_harmonic, prefix=prefix),
            lambda c: [asdict(c.settings.harmonic), _born_dependence(c)],
        )
    )
    if has_gate:
        stages.append(Stage("gate", ("relax", *harmonic_needs, "harmonic"), _gate, _gate_dependence))
        if prefix:
            stages += _fit_stages(settings, "", known_fc2=bool(settings.displace.dim_fc2))
        transport = registry.get("conductivity_solvers", settings.conductivity.solver)
        stages.append(
            Stage(
                "conductivity",
                ("displace", "force_constants"),
                _conductivity,
                lambda c: [asdict(c.settings.conductivity), _identity(transport), _born_dependence(c)],
                version=2,  # scattering = "products" averages all three origins
            )
        )
    known = {stage.name for stage in stages}
    for name in _with_needed_properties(settings.properties.names, registry):
        plugin = registry.get("properties", name)
        missing = set(plugin.needs) - known
        if missing:
            raise ConfigError(f"property '{name}' needs the stages {sorted(missing)}, which these settings switch off.")
        known.add(f"{_PROPERTY_PREFIX}{name}")
        stages.append(
            Stage(
                f"{_PROPERTY_PREFIX}{name}",
                tuple(plugin.needs),
                functools.partial(_property, name),
                lambda c, plugin=plugin: [  # type: ignore[misc]
                    _identity(plugin),
                    plugin.version,
                    c.settings.properties.options.get(plugin.name, {}),
                    *([_depends_calculator(c)] if plugin.uses_calculator else []),
                    *([_fingerprint(plugin, c)] if plugin.fingerprint else []),
                ],
            )
        )
    return tuple(stages)


def _fit_stages(settings: RunSettings, prefix: str, *, known_fc2: bool = False) -> list[Stage]:
    """The three stages from relaxed crystal to force constants; with a prefix, of second order only.

    With ``known_fc2`` the forces in the fc2 supercell are those of the fit before the gate.
    """
    fit = settings.force_constants
    solver = installed_plugins().get("force_constant_solvers", fit.solver)
    third_order = fit.third_order and not prefix
    names = displaced, forced, fitted = f"{prefix}displace", f"{prefix}forces", f"{prefix}force_constants"
    runs = [functools.partial(run, prefix=prefix) for run in (_displace, _forces, _force_constants)]
    return [
        Stage(
            displaced,
            ("relax", f"{HARMONIC_PREFIX}displace") if known_fc2 else ("relax",),
            runs[0],
            lambda c: [
                asdict(c.settings.displace),
                solver.displacements,
                third_order,
                c.structure.id,
                *([fit.options, _identity(solver)] if fit.options and third_order else []),  # cutoffs count
            ],
            version=2 if prefix else 1,  # 2: displacements span every direction
        ),
        Stage(
            forced,
            (*names[:1], f"{HARMONIC_PREFIX}displace", f"{HARMONIC_PREFIX}forces") if known_fc2 else names[:1],
            runs[1],
            lambda c: [asdict(c.settings.forces), _depends_calculator(c)],
        ),
        Stage(fitted, names[:2], runs[2], lambda c: [asdict(fit), _identity(solver)]),
    ]


def _fingerprint(plugin: Any, context: Context) -> Any:
    """What a property reads besides records, in its own words."""
    function = replace(plugin, factory=plugin.fingerprint).load()
    return function(context.structure, **context.settings.properties.options.get(plugin.name, {}))


def _make_solver(plugin: Any, options: Mapping[str, Any]) -> Any:
    """Make a solver with its options."""
    try:
        return plugin.load()(**options)
    except TypeError as error:
        raise ConfigError(f"solver '{plugin.name}' does not accept its options {dict(options)}: {error}.") from error


def _identity(plugin: Any) -> list[str]:
    """What makes a plugin's results its own: name, distribution, version, factory."""
    return [plugin.name, plugin.distribution, plugin.factory]


def _frozen(options: Mapping[str, Any]) -> str:
    """Options as a hashable string."""
    return json.dumps(options, sort_keys=True)


@functools.lru_cache(maxsize=1)
def _calculator(name: str, options: str) -> Any:
    """Make a calculator once per process (model files load once)."""
    from screen_cli.calculators.registered import make_calculator

    with starting(f"the calculator '{name}'"):
        return make_calculator(name, json.loads(options))


@functools.lru_cache(maxsize=1)
def _calculator_identity(name: str, options: str) -> Any:
    """Identify a calculator once per process (a model file is hashed once)."""
    from screen_cli.calculators.registered import calculator_identity

    return calculator_identity(name, json.loads(options))


def _born_text(folder: str, provider_id: str, formula: str) -> str | None:
    """Find and read a BORN file by provider id or formula."""
    if not folder:
        return None
    for name in (provider_id, formula):
        path = Path(folder) / f"{Path(name).stem}.BORN"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return None
