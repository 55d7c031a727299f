"""Resume points: what a training needs to go on after a kill as if nothing had happened."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from sdnnff_calc.errors import TrainingError
from sdnnff_calc.file_access.atomic_write import write_atomically
from sdnnff_calc.training.log import EpochRecord

__all__ = ["RESUME_VERSION", "FitState", "ResumeFile", "file_digest"]

RESUME_VERSION = 2
"""Raised when a resume point means something else than before: 2, since the validation loss chooses the epoch."""
_START_AGAIN = "To start again here, delete resume-*.pt and model.pt in the workdir."


@dataclass
class FitState:
    """Counters and records of a training.

    Attributes
    ----------
    epoch, batch, step : int
        Epochs, batches of the epoch under way, and steps done.
    seconds : float
        Wall time, kills and resumes included.
    loss_sum, square_sum, component_sum : float, float, int
        Over the epoch under way: losses, squared force errors (eV²/Å²) and their number.
    best_loss, best_rmse, best_epoch : float, float, int
        Smallest validation loss, its force RMSE (eV/Å) and its epoch.
    records : list of EpochRecord
        One for each epoch.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    square_sum: float = 0.0
    component_sum: int = 0
    best_loss: float = math.inf
    best_rmse: float = math.inf
    best_epoch: int = 0
    records: list[EpochRecord] = field(default_factory=list)


@dataclass(frozen=True)
class ResumeFile:
    """The file of a training's resume point.

    Attributes
    ----------
    path : Path
        ``resume-STAGE.pt``.
    identity : str
        What it belongs to: settings and data that may not change in between.
    """

    path: Path
    identity: str

    def save(self, state: FitState, **content: Mapping[str, object]) -> None:
        """Write weights, optimiser, averages and counters, all or nothing."""
        everything = {"identity": self.identity, **content, "state": dataclasses.asdict(state)}
        write_atomically(self.path, lambda stream: torch.save(everything, stream))

    def load(self, device: torch.device) -> tuple[FitState, dict[str, dict[str, Tensor]]] | None:
        """Read the resume point; None where there is none.

        Raises
        ------
        TrainingError
            When it is damaged or of another training.
        """
        if not self.path.is_file():
            return None
        try:
            content = torch.load(self.path, map_location=device, weights_only=True)
            identity, state = content.pop("identity"), content.pop("state")
            records = [EpochRecord(**record) for record in state.pop("records")]
            found = FitState(**state, records=records)
        except Exception as error:  # torch raises many kinds for a broken file
            raise TrainingError(f"{self.path} is damaged ({error}). {_START_AGAIN}") from error
        if identity != self.identity:
            raise TrainingError(
                f"{self.path.parent} holds a training with other settings or data. Choose another workdir. "
                f"{_START_AGAIN}"
            )
        return found, content


def file_digest(path: Path) -> str:
    """Hash a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()
