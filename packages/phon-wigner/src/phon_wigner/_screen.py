"""What phon-wigner offers to screen-cli; only the host imports this file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from screen_cli.plugins.hookspecs import hookimpl
from screen_cli.plugins.records import CommandPlugin, ConductivitySolverPlugin, MetricPlugin

if TYPE_CHECKING:
    from collections.abc import Callable

    from phon_wigner.screening.metric import score_modes
    from phon_wigner.screening.solver import WignerSolver
    from screen_cli.plugins.protocols import ConductivitySolver, Metric

    # mypy holds them to the host's protocols
    _SOLVER: Callable[..., ConductivitySolver] = WignerSolver
    _METRIC: Metric = score_modes


@hookimpl
def screen_conductivity_solvers() -> Iterable[ConductivitySolverPlugin]:
    """Offer populations and coherences."""
    yield ConductivitySolverPlugin(
        name="wigner",
        summary="Wigner transport: populations and coherences through phono3py",
        factory="phon_wigner.screening.solver:WignerSolver",
        coherences=True,
        citation="10.1038/s41567-019-0520-x",
    )


@hookimpl
def screen_metrics() -> Iterable[MetricPlugin]:
    """Offer the symmetric relative mean error over modes."""
    yield MetricPlugin(
        name="srme",
        summary="SRD, SRE and mode-resolved SRME against a reference conductivity",
        factory="phon_wigner.screening.metric:score_modes",
        citation="arXiv:2408.00755",
    )


@hookimpl
def screen_commands() -> Iterable[CommandPlugin]:
    """Offer the phon-wigner command line."""
    yield CommandPlugin(
        name="wigner",
        summary="Coherences from stored linewidths, comparison metrics, plots, doctor",
        factory="phon_wigner.cli:main",
    )
