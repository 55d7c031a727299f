"""Solvers by name, with what they can do declared."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from screen_cli.errors import ConfigError, PluginError
from screen_cli.plugins.manager import installed_plugins
from screen_cli.plugins.records import ConductivitySolverPlugin, ForceConstantSolverPlugin

if TYPE_CHECKING:
    from screen_cli.plugins.protocols import ConductivitySolver, ForceConstantSolver, PredictsLeftOut
    from screen_cli.solvers.conductivity import StandardSolver
    from screen_cli.solvers.force_constants.finite_difference import FiniteDifferenceSolver
    from screen_cli.solvers.force_constants.hiphive import HiphiveSolver
    from screen_cli.solvers.force_constants.symfc import SymfcSolver

    # mypy holds our own solvers to the protocols that it holds others to
    _FORCE_CONSTANTS: tuple[Callable[..., ForceConstantSolver], ...] = (
        SymfcSolver,
        HiphiveSolver,
        FiniteDifferenceSolver,
    )
    _PREDICT: Callable[..., PredictsLeftOut] = SymfcSolver
    _CONDUCTIVITY: Callable[..., ConductivitySolver] = StandardSolver

SolverPlugin = ForceConstantSolverPlugin | ConductivitySolverPlugin


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
    plugin = installed_plugins().get("force_constant_solvers", name)
    with _refusing_options(plugin, options):
        solver = plugin.load()(**options)
    _require_declared(plugin, solver, ("supports_subset", "predicts_left_out", "has_cutoff"))
    return solver


def make_conductivity_solver(name: str, options: Mapping[str, object]) -> ConductivitySolver:
    """Make a conductivity solver; errors are those of :func:`make_force_constant_solver`."""
    plugin = installed_plugins().get("conductivity_solvers", name)
    with _refusing_options(plugin, options):
        solver = plugin.load()(**options)
    _require_declared(plugin, solver, ("coherences", "direct_solution"))
    return solver


@contextlib.contextmanager
def _refusing_options(plugin: SolverPlugin, options: Mapping[str, object]) -> Iterator[None]:
    """Say that a solver does not take its options."""
    try:
        yield
    except TypeError as error:
        raise ConfigError(f"solver '{plugin.name}' does not accept its options {dict(options)}: {error}.") from error


def _require_declared(plugin: SolverPlugin, solver: object, declared: tuple[str, ...]) -> None:
    """Refuse a solver that does not declare its capabilities."""
    missing = [flag for flag in declared if not hasattr(solver, flag)]
    if missing:
        raise PluginError(
            f"solver '{plugin.name}' of {plugin.distribution} does not declare {', '.join(missing)}. Set what it can "
            "do as class attributes, as screen_cli.plugins.protocols describes."
        )
