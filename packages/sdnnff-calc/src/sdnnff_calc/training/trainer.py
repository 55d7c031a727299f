"""The trainer that an active-learning loop asks for committees (its protocol is met by shape)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ase import Atoms

from sdnnff_calc.calculators.committee import Committee, load_committee
from sdnnff_calc.calculators.sdnnff import SDNNFF
from sdnnff_calc.config import (
    DataConfig,
    EquivariantConfig,
    GridConfig,
    ModelConfig,
    RunConfig,
    TrainingConfig,
    model_config_from_dict,
)
from sdnnff_calc.data.stores import Stores, store_of
from sdnnff_calc.data.structures import DataReport
from sdnnff_calc.errors import ConfigError
from sdnnff_calc.settings_file import make_settings
from sdnnff_calc.training.runs import train_committee

__all__ = ["Trainer"]


class Trainer:
    """Trains committees for an active-learning loop.

    Parameters
    ----------
    model : ModelConfig or dict of str to object, optional
        Settings of the members, as a record or a table of them; default ``e-sdnnff``.
    device : str
        Where members are trained and evaluated.
    **training : object
        Fields of :class:`~sdnnff_calc.config.TrainingConfig`, such as ``epochs`` or ``max_minutes``.

    Raises
    ------
    ConfigError
        For a setting that is unknown, of the wrong type or out of range.
    """

    def __init__(
        self, model: ModelConfig | dict[str, object] | None = None, device: str = "auto", **training: object
    ) -> None:
        if not isinstance(model, EquivariantConfig | GridConfig | dict | None):
            raise ConfigError(f"model is {model!r}, expected a table of settings, such as {{'kind': 'sdnnff'}}.")
        self.model = model_config_from_dict(model or {}) if isinstance(model, dict | None) else model
        self.training = make_settings(TrainingConfig, {**training, "device": str(device)}, "training")

    def train(
        self,
        train_atoms: Sequence[Atoms],
        validation_atoms: Sequence[Atoms],
        *,
        workdir: str | Path,
        seed: int = 0,
        warm_start: Sequence[str | Path] | None = None,
        n_members: int = 5,
    ) -> list[Path]:
        """Train n members that differ in initial weights and order.

        Parameters
        ----------
        train_atoms, validation_atoms : sequence of Atoms
            With calculators that hold forces (eV/Å), and energies (eV) where known.
        workdir : str or Path
            Everything is written below it; a killed call resumes there.
        seed : int
            Same seed, same models.
        warm_start : sequence of (str or Path), optional
            Earlier checkpoints, one per member.
        n_members : int
            Size of the committee.

        Returns
        -------
        list of Path
            Checkpoints, one per member.
        """
        training = dataclasses.replace(self.training, workdir=str(workdir), seed=seed, n_members=n_members)
        config = RunConfig(model=self.model, data=DataConfig(), training=training)
        cutoff = self.model.cutoff
        stores = Stores(store_of(train_atoms, cutoff), store_of(validation_atoms, cutoff), DataReport())
        start = None if warm_start is None else [Path(p) for p in warm_start]
        return train_committee(config, stores, warm_start=start)

    def committee(self, model_paths: Sequence[str | Path]) -> Committee:
        """Load the members into one batched evaluator."""
        return load_committee(model_paths, self.training.device)

    def calculator(self, model_path: str | Path) -> SDNNFF:
        """Load one member as an ASE calculator."""
        return SDNNFF(model_path, device=self.training.device)
