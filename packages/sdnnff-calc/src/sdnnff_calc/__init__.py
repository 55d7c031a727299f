"""sdnnff-calc: the elemental spatial-density neural-network force field, as an ASE calculator.

>>> from sdnnff_calc import SDNNFF
>>> atoms.calc = SDNNFF("model.pt")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from sdnnff_calc.errors import SdnnffError

if TYPE_CHECKING:
    from sdnnff_calc.calculators.committee import Committee, load_committee
    from sdnnff_calc.calculators.committee_calculator import SDNNFFCommittee
    from sdnnff_calc.calculators.sdnnff import SDNNFF
    from sdnnff_calc.config import (
        DataConfig,
        EquivariantConfig,
        FinetuneConfig,
        GridConfig,
        RunConfig,
        TrainingConfig,
        read_config,
    )
    from sdnnff_calc.data.structures import DataReport, check_labels, iterate_structures
    from sdnnff_calc.models.checkpoint import Model, bundled_models, load_model, save_model
    from sdnnff_calc.models.trained_labels import TrainedLabels
    from sdnnff_calc.training.evaluation import ForceReport, OneByOne, embed, evaluate_forces, plot_parity
    from sdnnff_calc.training.finetuning.finetune import finetune
    from sdnnff_calc.training.runs import train_committee
    from sdnnff_calc.training.trainer import Trainer

__all__ = [
    "SDNNFF",
    "Committee",
    "DataConfig",
    "DataReport",
    "EquivariantConfig",
    "FinetuneConfig",
    "ForceReport",
    "GridConfig",
    "Model",
    "OneByOne",
    "RunConfig",
    "SDNNFFCommittee",
    "SdnnffError",
    "TrainedLabels",
    "Trainer",
    "TrainingConfig",
    "__version__",
    "bundled_models",
    "check_labels",
    "embed",
    "evaluate_forces",
    "finetune",
    "iterate_structures",
    "load_committee",
    "load_model",
    "plot_parity",
    "read_config",
    "save_model",
    "train_committee",
]

__version__ = version("sdnnff-calc")

_HOMES = {
    "calculators.sdnnff": ("SDNNFF",),
    "models.checkpoint": ("Model", "bundled_models", "load_model", "save_model"),
    "calculators.committee": ("Committee", "load_committee"),
    "calculators.committee_calculator": ("SDNNFFCommittee",),
    "config": (
        "DataConfig", "EquivariantConfig", "FinetuneConfig", "GridConfig", "RunConfig", "TrainingConfig", "read_config",
    ),
    "data.structures": ("DataReport", "check_labels", "iterate_structures"),
    "models.trained_labels": ("TrainedLabels",),
    "training.evaluation": ("ForceReport", "OneByOne", "embed", "evaluate_forces", "plot_parity"),
    "training.finetuning.finetune": ("finetune",),
    "training.runs": ("train_committee",),
    "training.trainer": ("Trainer",),
}  # fmt: skip
_MODULES = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import torch only when something that needs it is asked for (the host's start-up stays light)."""
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(f"sdnnff_calc.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'sdnnff_calc' has no attribute '{name}'")
