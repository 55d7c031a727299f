"""The pipeline: which stages there are, in which order.

``relax -> displace -> forces -> force constants -> harmonic -> gate -> conductivity -> properties``

With ``gate.before_third_order`` fc2 alone is fitted first, from a few supercells, and crystals that fail the gate
never cost a third-order force:

``relax -> [displace -> forces -> force constants of fc2 alone] -> harmonic -> gate -> displace -> forces
-> force constants -> conductivity -> properties``

With ``gate.after_relaxation`` a gate of its own stands behind the relaxation and the properties that need no more.

With ``renormalise.enabled`` branches spring from the trunk, one for each temperature, whatever the gate says of 0 K:

``harmonic -> renormalise (which crystals) -> renormalise_300k -> harmonic_300k -> gate_300k -> conductivity_300k``
"""

from __future__ import annotations

from dataclasses import replace

from screen_cli.config import RunSettings
from screen_cli.errors import ConfigError
from screen_cli.plugins.manager import PluginRegistry, installed_plugins
from screen_cli.stages.conductivity import ComputeConductivity
from screen_cli.stages.displace import Displace
from screen_cli.stages.force_constants import FitForceConstants
from screen_cli.stages.forces import ComputeForces
from screen_cli.stages.gate import Gate, GateOfRelaxed
from screen_cli.stages.harmonic import ComputeHarmonic
from screen_cli.stages.property import property_stages
from screen_cli.stages.relax import Relax
from screen_cli.stages.stage import AnyRecord, Stage, Variant
from screen_cli.stages.warm.cell import ThermalCell
from screen_cli.stages.warm.renormalise import Renormalise
from screen_cli.stages.warm.selection import SelectWarm

Stages = tuple[Stage[AnyRecord], ...]

SELECTED = "renormalise"
"""Branch of the crystals whose force constants are sought at temperatures."""

FIT: Stages = (Displace(), ComputeForces(), FitForceConstants())
"""From the relaxed crystal to its force constants."""

FC2_ALONE: Stages = (
    Displace("harmonic_displace", only_fc2=True, version=3, prefixes_columns=True),  # 3: the base cell
    ComputeForces("harmonic_forces", displaced="harmonic_displace", prefixes_columns=True),
    FitForceConstants(
        "harmonic_force_constants",
        displaced="harmonic_displace",
        forces="harmonic_forces",
        only_fc2=True,
        prefixes_columns=True,
    ),
)
"""Sub-pipeline before the gate, with records and columns of its own."""

GATE_ON_FC2_ALONE: Stages = (
    ComputeHarmonic(displaced="harmonic_displace", force_constants="harmonic_force_constants"),
    Gate(sees=("relax", "harmonic_displace", "harmonic_force_constants", "harmonic")),
)
"""Harmonic properties and gate on :data:`FC2_ALONE`."""

FIT_WITH_KNOWN_FC2: Stages = (
    Displace(known_fc2="harmonic_displace"),
    ComputeForces(known=("harmonic_displace", "harmonic_forces")),
    FitForceConstants(),
)
"""The fit behind the gate, where the forces in a separate fc2 supercell are those of :data:`FC2_ALONE`."""

_NO_FC3_TO_COMPARE = (
    "renormalise.compare = true needs fc3 of 0 K in the supercell of the search: with gate.before_third_order = true "
    "unstable crystals have none, and renormalise.dim, renormalise.cell or displace.dim_fc2 take another supercell. "
    "Switch off either."
)


def stages_for(settings: RunSettings) -> Stages:
    """List the stages that ``settings`` ask for, in order.

    Raises
    ------
    UnknownNameError
        A plugin the settings name is not registered.
    ConfigError
        A property needs a stage that is switched off, or ``renormalise.compare`` force constants that there are not.
    PluginError
        Properties need one another in a circle.
    """
    registry = installed_plugins()
    registry.get("force_constant_solvers", settings.force_constants.solver)
    names = settings.properties.names
    early = [name for name in names if registry.get("properties", name).before_gate]
    of_relaxed = [name for name in early if set(registry.get("properties", name).needs) <= {"relax"}]
    trunk, known_of_relaxed = _with_gate_of_relaxed(_trunk(settings), of_relaxed, settings, registry)
    others = [name for name in early if name not in of_relaxed]
    trunk, known_to_gate = _with_early_properties(trunk, others, registry, known_of_relaxed)
    stages = (*trunk, *_warm_branches(settings, known_to_gate))
    if any(isinstance(stage, ComputeConductivity) for stage in stages):
        registry.get("conductivity_solvers", settings.conductivity.solver)
    known = {stage.name for stage in stages}
    return (*stages, *property_stages([name for name in names if name not in early], registry, known))


def _with_gate_of_relaxed(
    trunk: Stages, names: list[str], settings: RunSettings, registry: PluginRegistry
) -> tuple[Stages, tuple[str, ...]]:
    """Put properties of the relaxed crystal right behind it, and the gate that reads them; give their stages too."""
    properties = property_stages(names, registry, {"relax"})
    found = tuple(stage.name for stage in properties)
    gate: Stages = (GateOfRelaxed(sees=("relax", *found)),) if settings.gate.after_relaxation else ()
    if gate and settings.renormalise.enabled:
        raise ConfigError(
            "gate.after_relaxation stops crystals before the harmonic stage, which renormalise.enabled = true needs of "
            "every crystal. Switch off either."
        )
    return (*trunk[:1], *properties, *gate, *trunk[1:]), found


def _with_early_properties(
    trunk: Stages, names: list[str], registry: PluginRegistry, of_relaxed: tuple[str, ...]
) -> tuple[Stages, tuple[str, ...]]:
    """Put properties that the gate may know before it; give the trunk, and all stages of properties that it knows."""
    place = next((number for number, stage in enumerate(trunk) if isinstance(stage, Gate)), len(trunk))
    known = {stage.name for stage in trunk[:place]}
    alone = "displace" not in known
    instead = {name: f"harmonic_{name}" for name in ("displace", "forces", "force_constants")} if alone else {}
    early = property_stages(names, registry, known, instead)
    found = (*of_relaxed, *(stage.name for stage in early))
    behind = [
        replace(stage, sees=(*stage.sees, *found)) if isinstance(stage, Gate) else stage for stage in trunk[place:]
    ]
    return (*trunk[:place], *early, *behind), found


def _trunk(settings: RunSettings) -> Stages:
    """List the stages of 0 K."""
    if not _wants_kappa(settings):
        return (Relax(), *FIT, ComputeHarmonic())
    if not _fits_fc2_first(settings):
        return (Relax(), *FIT, ComputeHarmonic(), Gate(), ComputeConductivity())
    behind_the_gate = FIT_WITH_KNOWN_FC2 if settings.displace.dim_fc2 else FIT
    return (Relax(), *FC2_ALONE, *GATE_ON_FC2_ALONE, *behind_the_gate, ComputeConductivity())


def _wants_kappa(settings: RunSettings) -> bool:
    """Whether κ, and with it fc3, is asked for."""
    return settings.conductivity.enabled and settings.force_constants.third_order


def _fits_fc2_first(settings: RunSettings) -> bool:
    """Whether the gate stands on fc2 alone, before any third-order force."""
    return _wants_kappa(settings) and settings.gate.before_third_order


def _warm_branches(settings: RunSettings, known: tuple[str, ...]) -> Stages:
    """List the stages at temperatures: the selection, a supercell where another is asked for, a branch for each."""
    if not settings.renormalise.enabled:
        return ()
    front = "harmonic_" if _fits_fc2_first(settings) else ""
    sees = ("relax", f"{front}displace", f"{front}force_constants", "harmonic", *known)
    own = bool(settings.renormalise.dim or (settings.displace.dim_fc2 and not front))
    stages: list[Stage[AnyRecord]] = [SelectWarm(sees=sees)]
    displaced, start = f"{front}displace", f"{front}force_constants"
    if own:
        displaced, start = "renormalise_displace", "renormalise_force_constants"
        stages += _second_order("renormalise_", settings, SELECTED)
    kelvins = settings.renormalise.temperatures
    if len(set(kelvins)) < len(kelvins):
        raise ConfigError(f"renormalise.temperatures is {kelvins}, expected each temperature once.")
    warm_cell = settings.renormalise.cell == "thermal"
    if settings.renormalise.compare and (front or own or warm_cell):
        raise ConfigError(_NO_FC3_TO_COMPARE)
    for kelvin in kelvins:
        fc3, branch = "force_constants" if settings.renormalise.compare else "", f"{SELECTED}/{kelvin}k"
        if not warm_cell:
            stages += _at(kelvin, settings, ("relax", displaced, *known), start, fc3_of=fc3)
            continue
        cell = ThermalCell(f"cell_{kelvin}k", kelvin, displaced=displaced, start=start, branch=branch)
        stages += [cell, *_second_order(f"cell_{kelvin}k_", settings, branch, cell.name)]
        sees_cell = ("relax", f"cell_{kelvin}k_displace", *known)
        stages += _at(kelvin, settings, sees_cell, f"cell_{kelvin}k_force_constants", cell=cell.name)
    return tuple(stages)


def _second_order(front: str, settings: RunSettings, branch: str, relaxed: str = "relax") -> Stages:
    """List the stages of fc2 at 0 K in the supercell of a search, with names that begin as given."""
    displaced, forces, fitted = (f"{front}{name}" for name in ("displace", "forces", "force_constants"))
    dim = list(settings.renormalise.dim or settings.displace.dim_fc2 or settings.displace.dim)
    fit: Stages = (
        Displace(displaced, only_fc2=True, relaxed=relaxed, version=2),
        ComputeForces(forces, displaced=displaced),
        FitForceConstants(fitted, displaced=displaced, forces=forces, only_fc2=True),
    )
    return tuple(Variant(stage, {"displace": {"dim": dim, "dim_fc2": []}}, branch=branch) for stage in fit)


def _at(
    kelvin: int, settings: RunSettings, sees: tuple[str, ...], start: str, *, fc3_of: str = "", cell: str = ""
) -> list[Stage[AnyRecord]]:
    """List the stages at one temperature."""
    branch, displaced = f"{SELECTED}/{kelvin}k", sees[1]
    warm = Renormalise(f"renormalise_{kelvin}k", kelvin, displaced=displaced, start=start, cell=cell, branch=branch)
    harmonic = ComputeHarmonic(f"harmonic_{kelvin}k", displaced=displaced, force_constants=warm.name)
    at = {"temperatures": [float(max(kelvin, 1))]}
    stages: list[Stage[AnyRecord]] = [warm, Variant(harmonic, {"harmonic": at}, branch=branch)]
    if not (settings.conductivity.enabled and settings.renormalise.third_order):
        return stages
    gate = Gate(f"gate_{kelvin}k", sees=(*sees, warm.name, harmonic.name), plain=(warm.name, harmonic.name))
    stages.append(Variant(gate, {}, branch=branch))
    kappa = ComputeConductivity(f"conductivity_{kelvin}k", displaced=displaced, force_constants=warm.name)
    stages.append(Variant(kappa, {"conductivity": at}, branch=branch))
    if fc3_of:
        mixed = replace(kappa, name=f"conductivity_{kelvin}k_fc3_0k", fc3_of=fc3_of)
        stages.append(Variant(mixed, {"conductivity": at}, branch=branch))
    return stages
