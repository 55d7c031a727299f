"""Query by committee: uncertainty, selection, labelling and active learning for any ASE force field."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from al_committee.errors import CommitteeError

if TYPE_CHECKING:
    from al_committee.committee.calculator import CommitteeCalculator, CommitteePrediction
    from al_committee.committee.disagreement import force_deviation

__all__ = ["CommitteeCalculator", "CommitteeError", "CommitteePrediction", "force_deviation"]
__version__ = version("al-committee")

_HOMES = {
    "CommitteeCalculator": "committee.calculator",
    "CommitteePrediction": "committee.calculator",
    "force_deviation": "committee.disagreement",
}


def __getattr__(name: str) -> Any:
    """Import ASE only when something that needs it is asked for (the host's start-up stays light)."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"al_committee.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'al_committee' has no attribute '{name}'")
