"""Which labels a model was trained on: what it may be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

__all__ = ["TrainedLabels"]


@dataclass(frozen=True)
class TrainedLabels:
    """Structures with each kind of label that entered the loss.

    Attributes
    ----------
    forces, energies, stresses : int or None
        Number of structures; 0: never trained on; None: trained on, their number is not recorded.
    """

    forces: int | None = 0
    energies: int | None = 0
    stresses: int | None = 0

    @property
    def properties(self) -> tuple[str, ...]:
        """Give ASE's names of the properties trained on; forces, which every model is for, among them always."""
        energies = ("energy", "free_energy", "energies") if self.energies != 0 else ()
        return (*energies, "forces", *(("stress",) if self.stresses != 0 else ()))

    def after(self, more: TrainedLabels) -> TrainedLabels:
        """Give what a model trained on these has been trained on after fine-tuning on more."""
        mine, theirs = asdict(self), asdict(more)
        unknown = {name for name in mine if mine[name] is None or theirs[name] is None}
        return TrainedLabels(**{n: None if n in unknown else mine[n] + theirs[n] for n in mine})

    def words(self) -> str:
        """Say it: ``forces of 120 structures, energies of 120, no stresses``."""
        parts: list[str] = []
        for name, number in asdict(self).items():
            of = "" if parts else " structures"
            parts.append(f"no {name}" if number == 0 else name if number is None else f"{name} of {number}{of}")
        return ", ".join(parts)

    @classmethod
    def of_settings(cls, card: Mapping[str, object]) -> TrainedLabels | None:
        """Derive it from the card of an older checkpoint, which tells settings that are no default; None: unknown."""
        training = card.get("training")
        if not isinstance(training, Mapping) or "structures" not in training:
            return None
        number = int(training["structures"])

        def used(weight: str, default: float) -> int | None:
            return None if float(training.get(weight, default)) > 0.0 else 0

        forces = number if used("force_weight", 1.0) is None else 0
        return cls(forces, used("energy_weight", 0.0), used("stress_weight", 0.0))
