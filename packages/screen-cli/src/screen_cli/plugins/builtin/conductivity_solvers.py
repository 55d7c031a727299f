"""Built-in conductivity solvers."""

from __future__ import annotations

from collections.abc import Iterator

from screen_cli.plugins.hookspecs import hookimpl
from screen_cli.plugins.records import ConductivitySolverPlugin


@hookimpl
def screen_conductivity_solvers() -> Iterator[ConductivitySolverPlugin]:
    """Register phono3py's standard transport."""
    yield ConductivitySolverPlugin(
        name="standard",
        summary="phono3py: relaxation times or direct solution of the Boltzmann equation, populations only",
        factory="screen_cli.solvers.conductivity:StandardSolver",
        citation="10.7566/JPSJ.92.012001",
    )
