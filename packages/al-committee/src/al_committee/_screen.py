"""What al-committee offers to screen-cli; the only file that knows the host, and only the host imports it."""

from __future__ import annotations

from collections.abc import Iterator

from screen_cli.hookspecs import hookimpl
from screen_cli.plugin_records import CalculatorPlugin, CommandPlugin

__all__ = ["screen_calculators", "screen_commands"]


@hookimpl
def screen_commands() -> Iterator[CommandPlugin]:
    """Offer the active-learning loop as ``screen-cli al``."""
    yield CommandPlugin(
        name="al",
        summary="Active learning: committee, selection, labelling, the closed loop.",
        factory="al_committee.cli:main",
    )


@hookimpl
def screen_calculators() -> Iterator[CalculatorPlugin]:
    """Offer the committee of several force fields as one calculator."""
    yield CalculatorPlugin(
        name="committee",
        summary="Mean of several force fields, with their disagreement per atom (Eq. 3).",
        factory="al_committee.ensemble_factory:make_committee",
        licence="BSD-3-Clause (the members keep their own)",
        citation="Rodriguez et al., Commun. Mater. 4, 61 (2023), doi:10.1038/s43246-023-00390-3",
    )
