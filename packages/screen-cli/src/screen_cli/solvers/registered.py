"""Solvers by name, with what they can do declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from screen_cli.errors import ConfigError, PluginError
from screen_cli.plugins.manager import installed_plugins

if TYPE_CHECKING:
    from screen_cli.plugins.protocols import ConductivitySolver, ForceConstantSolver


def make_force_constant_solver(name: str, options: Mapping[str, object]) -> ForceConstantSolver:
    """Make a force-constant solver.

    Raises
    ------
    UnknownNameError, MissingExtraError
        No such solver, or its library is not installed.
    ConfigError
        It does not accept the options.
    PluginError
        It does not declare what it can do.
    """
    solver: ForceConstantSolver = _make(
        "force_constant_solvers", name, options, ("supports_subset", "predicts_left_out", "has_cutoff")
    )
    return solver


def make_conductivity_solver(name: str, options: Mapping[str, object]) -> ConductivitySolver:
    """Make a conductivity solver; errors are those of :func:`make_force_constant_solver`."""
    solver: ConductivitySolver = _make("conductivity_solvers", name, options, ("coherences", "direct_solution"))
    return solver


def _make(kind: str, name: str, options: Mapping[str, object], declared: tuple[str, ...]) -> Any:
    """Make a solver and check that it declares its capabilities."""
    plugin = installed_plugins().get(kind, name)
    try:
        solver = plugin.load()(**options)
    except TypeError as error:
        raise ConfigError(f"solver '{name}' does not accept its options {dict(options)}: {error}.") from error
    missing = [flag for flag in declared if not hasattr(solver, flag)]
    if missing:
        raise PluginError(
            f"solver '{name}' of {plugin.distribution} does not declare {', '.join(missing)}. Set what it can do as "
            "class attributes, as screen_cli.plugins.protocols describes."
        )
    return solver
