"""Built-in force-constant solvers."""

from __future__ import annotations

from collections.abc import Iterator

from screen_cli.plugins.hookspecs import hookimpl
from screen_cli.plugins.records import ForceConstantSolverPlugin


@hookimpl
def screen_force_constant_solvers() -> Iterator[ForceConstantSolverPlugin]:
    """Register symfc, hiphive and finite differences."""
    yield ForceConstantSolverPlugin(
        name="symfc",
        summary="Least squares with all symmetries and sum rules (options: cutoff, cutoff_fc2)",
        factory="screen_cli.solvers.force_constants.symfc:SymfcSolver",
        citation="10.1103/PhysRevB.110.214302",
    )
    yield ForceConstantSolverPlugin(
        name="hiphive",
        summary="Compressive sensing in a cluster space (options: cutoffs, fit_method = ols, lasso, ardr, rfe)",
        factory="screen_cli.solvers.force_constants.hiphive:HiphiveSolver",
        pip="screen-cli[hiphive]",
        citation="10.1002/adts.201800184",
    )
    yield ForceConstantSolverPlugin(
        name="finite-difference",
        summary="phono3py's finite differences of one or two atoms (option: solver = traditional, symfc)",
        factory="screen_cli.solvers.force_constants.finite_difference:FiniteDifferenceSolver",
        displacements="finite-difference",
        citation="10.7566/JPSJ.92.012001",
    )
