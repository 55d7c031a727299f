"""From crystals to phonons and lattice thermal conductivity: plugin host, pipeline, store, command line.

``from screen_cli import compute`` is the door from Python; what it needs is imported when it is used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from screen_cli.plugins.hookspecs import HOOK_API as HOOK_API
from screen_cli.plugins.hookspecs import hookimpl as hookimpl

if TYPE_CHECKING:
    from screen_cli.calculators.registered import make_calculator as make_calculator
    from screen_cli.config import RunSettings as RunSettings
    from screen_cli.config import load_settings as load_settings
    from screen_cli.crystal.structure import RejectedStructure as RejectedStructure
    from screen_cli.crystal.structure import Structure as Structure
    from screen_cli.plugins.protocols import ConductivityArrays as ConductivityArrays
    from screen_cli.plugins.protocols import ConductivitySolver as ConductivitySolver
    from screen_cli.plugins.protocols import Exporter as Exporter
    from screen_cli.plugins.protocols import ForceConstantArrays as ForceConstantArrays
    from screen_cli.plugins.protocols import ForceConstantSolver as ForceConstantSolver
    from screen_cli.plugins.protocols import Metric as Metric
    from screen_cli.plugins.protocols import ModeConductivity as ModeConductivity
    from screen_cli.plugins.protocols import PredictsLeftOut as PredictsLeftOut
    from screen_cli.plugins.protocols import Recompute as Recompute
    from screen_cli.plugins.records import CalculatorPlugin as CalculatorPlugin
    from screen_cli.plugins.records import CommandPlugin as CommandPlugin
    from screen_cli.plugins.records import ConductivitySolverPlugin as ConductivitySolverPlugin
    from screen_cli.plugins.records import EnginePlugin as EnginePlugin
    from screen_cli.plugins.records import ExporterPlugin as ExporterPlugin
    from screen_cli.plugins.records import ForceConstantSolverPlugin as ForceConstantSolverPlugin
    from screen_cli.plugins.records import MetricPlugin as MetricPlugin
    from screen_cli.plugins.records import PluginRecord as PluginRecord
    from screen_cli.plugins.records import PropertyPlugin as PropertyPlugin
    from screen_cli.plugins.records import StructureSourcePlugin as StructureSourcePlugin
    from screen_cli.plugins.records import TrainerPlugin as TrainerPlugin
    from screen_cli.single_crystal import CrystalResult as CrystalResult
    from screen_cli.single_crystal import compute as compute
    from screen_cli.stages.conductivity import Conductivity as Conductivity
    from screen_cli.stages.conductivity import compute_conductivity as compute_conductivity
    from screen_cli.stages.displace import Displaced as Displaced
    from screen_cli.stages.displace import SupercellSet as SupercellSet
    from screen_cli.stages.displace import displace as displace
    from screen_cli.stages.force_constants import FitQuality as FitQuality
    from screen_cli.stages.force_constants import ForceConstants as ForceConstants
    from screen_cli.stages.force_constants import fit_force_constants as fit_force_constants
    from screen_cli.stages.forces import Forces as Forces
    from screen_cli.stages.forces import ForceSet as ForceSet
    from screen_cli.stages.forces import compute_forces as compute_forces
    from screen_cli.stages.gate import GateDecision as GateDecision
    from screen_cli.stages.harmonic import Harmonic as Harmonic
    from screen_cli.stages.harmonic import compute_harmonic as compute_harmonic
    from screen_cli.stages.relax import Relaxed as Relaxed
    from screen_cli.stages.relax import relax as relax
    from screen_cli.store.record import Record as Record
    from screen_cli.store.record import TypedRecord as TypedRecord
    from screen_cli.store.record import record_from as record_from
    from screen_cli.store.run_directory import RunDirectory as RunDirectory

__version__ = version("screen-cli")

_LAZY = {
    "make_calculator": "calculators.registered",
    "RunSettings": "config",
    "load_settings": "config",
    "RejectedStructure": "crystal.structure",
    "Structure": "crystal.structure",
    "ConductivityArrays": "plugins.protocols",
    "ConductivitySolver": "plugins.protocols",
    "Exporter": "plugins.protocols",
    "ForceConstantArrays": "plugins.protocols",
    "ForceConstantSolver": "plugins.protocols",
    "Metric": "plugins.protocols",
    "ModeConductivity": "plugins.protocols",
    "PredictsLeftOut": "plugins.protocols",
    "Recompute": "plugins.protocols",
    "CalculatorPlugin": "plugins.records",
    "CommandPlugin": "plugins.records",
    "ConductivitySolverPlugin": "plugins.records",
    "EnginePlugin": "plugins.records",
    "ExporterPlugin": "plugins.records",
    "ForceConstantSolverPlugin": "plugins.records",
    "MetricPlugin": "plugins.records",
    "PluginRecord": "plugins.records",
    "PropertyPlugin": "plugins.records",
    "StructureSourcePlugin": "plugins.records",
    "TrainerPlugin": "plugins.records",
    "CrystalResult": "single_crystal",
    "compute": "single_crystal",
    "Conductivity": "stages.conductivity",
    "compute_conductivity": "stages.conductivity",
    "Displaced": "stages.displace",
    "SupercellSet": "stages.displace",
    "displace": "stages.displace",
    "FitQuality": "stages.force_constants",
    "ForceConstants": "stages.force_constants",
    "fit_force_constants": "stages.force_constants",
    "ForceSet": "stages.forces",
    "Forces": "stages.forces",
    "compute_forces": "stages.forces",
    "GateDecision": "stages.gate",
    "Harmonic": "stages.harmonic",
    "compute_harmonic": "stages.harmonic",
    "Relaxed": "stages.relax",
    "relax": "stages.relax",
    "Record": "store.record",
    "TypedRecord": "store.record",
    "record_from": "store.record",
    "RunDirectory": "store.run_directory",
}

__all__ = sorted(["HOOK_API", "__version__", "hookimpl", *_LAZY])


def __getattr__(name: str) -> object:
    """Import what is heavy when it is first asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module 'screen_cli' has no attribute '{name}'")
    return getattr(import_module(f"screen_cli.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
