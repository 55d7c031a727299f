"""Query by committee: uncertainty, selection, labelling and active learning for any ASE force field."""

from __future__ import annotations

from al_committee.committee import CommitteeCalculator, CommitteePrediction
from al_committee.disagreement import force_deviation
from al_committee.errors import CommitteeError

__all__ = ["CommitteeCalculator", "CommitteeError", "CommitteePrediction", "force_deviation"]
__version__ = "0.1.0"
