"""What tests of plugins share: contract classes to subclass, and hypothesis strategies of crystals.

The contracts are here by name (:mod:`screen_cli.testing.contracts` holds them); the strategies stand in
:mod:`screen_cli.testing.strategies`, which needs hypothesis.
"""

from screen_cli.testing.contracts import (
    FINITE_DIFFERENCE_TOLERANCE,
    FORCE_TOLERANCE,
    CalculatorContract,
    CommandContract,
    ConductivitySolverContract,
    EngineContract,
    ExporterContract,
    ForceConstantSolverContract,
    MetricContract,
    PropertyContract,
    StructureSourceContract,
    echo_task,
    fail_task,
)

__all__ = [
    "FINITE_DIFFERENCE_TOLERANCE",
    "FORCE_TOLERANCE",
    "CalculatorContract",
    "CommandContract",
    "ConductivitySolverContract",
    "EngineContract",
    "ExporterContract",
    "ForceConstantSolverContract",
    "MetricContract",
    "PropertyContract",
    "StructureSourceContract",
    "echo_task",
    "fail_task",
]
