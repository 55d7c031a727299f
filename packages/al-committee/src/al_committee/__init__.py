"""Query by committee: uncertainty, selection, labelling and active learning for any ASE force field."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from al_committee.errors import CommitteeError

if TYPE_CHECKING:
    from al_committee.committee.calculator import CommitteeCalculator, CommitteePrediction
    from al_committee.committee.calibration import calibrate
    from al_committee.committee.disagreement import force_deviation
    from al_committee.committee.ensemble_factory import make_committee
    from al_committee.committee.propagation import PropagatedValue, member_forces, propagate
    from al_committee.committee.protocols import BatchedCommittee, Trainer
    from al_committee.config import LoopConfig, read_config
    from al_committee.labels.cache import LabelCache
    from al_committee.labels.calculator_labeller import CalculatorLabeller, Labeller
    from al_committee.labels.file_exchange import FileExchangeLabeller
    from al_committee.labels.identity import structure_key
    from al_committee.labels.obtain import label_through_cache
    from al_committee.labels.outcome import LabelRequest
    from al_committee.labels.workers.teacher import TeacherSettings
    from al_committee.labels.workers.worker_labeller import WorkerLabeller
    from al_committee.loop.campaign import ActiveLearningLoop, LoopParts
    from al_committee.loop.run_directory import RunDirectory
    from al_committee.selection.crystal_index import Crystal, CrystalIndex
    from al_committee.selection.pool import Pool

__all__ = [
    "ActiveLearningLoop",
    "BatchedCommittee",
    "CalculatorLabeller",
    "CommitteeCalculator",
    "CommitteeError",
    "CommitteePrediction",
    "Crystal",
    "CrystalIndex",
    "FileExchangeLabeller",
    "LabelCache",
    "LabelRequest",
    "Labeller",
    "LoopConfig",
    "LoopParts",
    "Pool",
    "PropagatedValue",
    "RunDirectory",
    "TeacherSettings",
    "Trainer",
    "WorkerLabeller",
    "calibrate",
    "force_deviation",
    "label_through_cache",
    "make_committee",
    "member_forces",
    "propagate",
    "read_config",
    "structure_key",
]
__version__ = version("al-committee")

_HOMES = {
    "ActiveLearningLoop": "loop.campaign",
    "BatchedCommittee": "committee.protocols",
    "CalculatorLabeller": "labels.calculator_labeller",
    "CommitteeCalculator": "committee.calculator",
    "CommitteePrediction": "committee.calculator",
    "Crystal": "selection.crystal_index",
    "CrystalIndex": "selection.crystal_index",
    "FileExchangeLabeller": "labels.file_exchange",
    "LabelCache": "labels.cache",
    "LabelRequest": "labels.outcome",
    "Labeller": "labels.calculator_labeller",
    "LoopConfig": "config",
    "LoopParts": "loop.campaign",
    "Pool": "selection.pool",
    "PropagatedValue": "committee.propagation",
    "RunDirectory": "loop.run_directory",
    "TeacherSettings": "labels.workers.teacher",
    "Trainer": "committee.protocols",
    "WorkerLabeller": "labels.workers.worker_labeller",
    "calibrate": "committee.calibration",
    "force_deviation": "committee.disagreement",
    "label_through_cache": "labels.obtain",
    "make_committee": "committee.ensemble_factory",
    "member_forces": "committee.propagation",
    "propagate": "committee.propagation",
    "read_config": "config",
    "structure_key": "labels.identity",
}


def __getattr__(name: str) -> object:
    """Import ASE only when something that needs it is asked for (the host's start-up stays light)."""
    if name in _HOMES:
        return getattr(import_module(f"al_committee.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'al_committee' has no attribute '{name}'")
