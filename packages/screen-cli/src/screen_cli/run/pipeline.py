"""The pipeline: which stages there are, in which order.

``relax -> displace -> forces -> force constants -> harmonic -> gate -> conductivity -> properties``

With ``gate.before_third_order`` fc2 alone is fitted first, from a few supercells, and crystals that fail the gate
never cost a third-order force:

``relax -> [displace -> forces -> force constants of fc2 alone] -> harmonic -> gate -> displace -> forces
-> force constants -> conductivity -> properties``
"""

from __future__ import annotations

from typing import Any

from screen_cli.config import RunSettings
from screen_cli.plugins.manager import installed_plugins
from screen_cli.stages.conductivity import ComputeConductivity
from screen_cli.stages.displace import Displace
from screen_cli.stages.force_constants import FitForceConstants
from screen_cli.stages.forces import ComputeForces
from screen_cli.stages.gate import Gate
from screen_cli.stages.harmonic import ComputeHarmonic
from screen_cli.stages.property import property_stages
from screen_cli.stages.relax import Relax
from screen_cli.stages.stage import Stage

Stages = tuple[Stage[Any], ...]

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


def stages_for(settings: RunSettings) -> Stages:
    """List the stages that ``settings`` ask for, in order.

    Raises
    ------
    UnknownNameError
        A plugin the settings name is not registered.
    ConfigError
        A property needs a stage that is switched off.
    PluginError
        Properties need one another in a circle.
    """
    registry = installed_plugins()
    registry.get("force_constant_solvers", settings.force_constants.solver)
    stages = _up_to_conductivity(settings)
    if any(isinstance(stage, ComputeConductivity) for stage in stages):
        registry.get("conductivity_solvers", settings.conductivity.solver)
    known = {stage.name for stage in stages}
    return (*stages, *property_stages(settings.properties.names, registry, known))


def _up_to_conductivity(settings: RunSettings) -> Stages:
    """List the stages before the properties."""
    if not (settings.conductivity.enabled and settings.force_constants.third_order):
        return (Relax(), *FIT, ComputeHarmonic())
    if not settings.gate.before_third_order:
        return (Relax(), *FIT, ComputeHarmonic(), Gate(), ComputeConductivity())
    behind_the_gate = FIT_WITH_KNOWN_FC2 if settings.displace.dim_fc2 else FIT
    return (Relax(), *FC2_ALONE, *GATE_ON_FC2_ALONE, *behind_the_gate, ComputeConductivity())
