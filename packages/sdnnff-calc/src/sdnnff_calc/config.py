"""Settings of models, data and training: frozen records read from TOML."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sdnnff_calc.errors import ConfigError, nearest_hint
from sdnnff_calc.file_access.bundled_weights import bundled_models
from sdnnff_calc.settings_file import SettingsFile, make_settings, read_settings_file, setting, settings_record

__all__ = [
    "DataConfig",
    "EquivariantConfig",
    "FinetuneConfig",
    "GridConfig",
    "ModelConfig",
    "RunConfig",
    "TrainingConfig",
    "model_config_from_dict",
    "read_config",
]


@settings_record
class EquivariantConfig:
    """Sizes of ``e-sdnnff`` (all of them our choice)."""

    kind: Literal["e-sdnnff"] = setting("e-sdnnff", "Name of the architecture.")
    head: Literal["direct", "conservative"] = setting(
        "conservative",
        "``conservative``: energy, forces and stress by autograd; ``direct``: forces only, cheaper.",
    )
    cutoff: float = setting(6.0, "R_c, Å.", gt=1.0, le=30.0)
    n_radial: int = setting(8, "Radial functions.", ge=1)
    radial_basis: Literal["bessel", "bond-scaled"] = setting(
        "bessel", "Functions of r, or of r over the sum of covalent radii, which carries over between elements."
    )
    l_max: int = setting(3, "Highest degree of the spherical harmonics.", ge=1, le=8)
    n_element_channels: int = setting(8, "Length of the learned vector w(Z).", ge=1)
    n_channels: int = setting(32, "Channels of each factor of the products.", ge=1)
    n_factors: int = setting(
        3, "Factors of the highest product: 1, 2 or 3 (two-, three- and four-body terms).", ge=1, le=3
    )
    n_layers: int = setting(
        1, "1: strictly local; 2: neighbours' environments are seen too (reach 2·cutoff).", ge=1, le=2
    )
    n_hidden: int = setting(64, "Width of the readout network.", ge=1)

    def __post_init__(self) -> None:
        if self.radial_basis == "bond-scaled" and self.n_radial < 2:
            raise ConfigError(f"n_radial is {self.n_radial}, expected at least 2 with radial_basis = 'bond-scaled'.")


@settings_record
class GridConfig:
    """Sizes of ``sdnnff`` (our reconstruction: none of them is published)."""

    kind: Literal["sdnnff"] = setting("sdnnff", "Name of the architecture.")
    head: Literal["direct"] = setting("direct", "Forces come straight from the network, as published.")
    cutoff: float = setting(
        6.0, "R_c, Å. No neighbour shell of the ideal crystals should lie within 0.15 Å of it.", gt=1.0, le=30.0
    )
    n_grid: int = setting(11, "Grid points along one edge of the cube.", ge=3, le=101)
    sigma: float = setting(0.72, "Width of the Gaussians, Å; below half the grid spacing the density aliases.", gt=0.0)
    n_element_channels: int = setting(8, "Length of the learned vector w(Z).", ge=1)
    n_hidden: int = setting(256, "Width of the network.", ge=1)
    n_hidden_layers: int = setting(3, "Hidden layers of the network.", ge=1)
    n_frames: int = setting(
        3,
        "Local frames per atom used as augmentation in training: 1, 2 or 3; prediction uses the first.",
        ge=1,
        le=3,
    )

    def __post_init__(self) -> None:
        spacing = 2.0 * self.cutoff / (self.n_grid - 1)
        if not self.sigma > 0.5 * spacing:
            raise ConfigError(f"sigma is {self.sigma}, expected above half the spacing, {0.5 * spacing:.3f} Å.")


ModelConfig = EquivariantConfig | GridConfig


@settings_record
class DataConfig:
    """Where the labelled structures come from and how they are split."""

    train: tuple[str, ...] = setting(
        (), "Files or folders: extxyz, ASE db, phonopy/phono3py YAML, folders of VASP or QE outputs."
    )
    validation: tuple[str, ...] = setting(
        (), "As ``train``; empty: taken from the training set by ``validation_fraction``."
    )
    validation_fraction: float = setting(
        0.1, "Share of the training set held out when ``validation`` is empty.", ge=0.0, lt=1.0
    )
    split_by: Literal["structure", "supercell"] = setting(
        "structure",
        "``structure``: all supercells of one crystal fall on the same side; ``supercell``: each on its own.",
    )
    max_force: float = setting(100.0, "eV/Å; supercells with a larger force are reported and left out.", gt=0.0)
    cache: str = setting("", "Folder of the sharded cache; empty: keep everything in memory.")
    shard_atoms: int = setting(50_000, "Atoms in one shard of the cache.", ge=1)


@settings_record
class TrainingConfig:
    """How a model is fitted."""

    workdir: str = setting("sdnnff-run", "Folder of checkpoints, log and plots.", min_length=1)
    seed: int = setting(0, "Of weights, order and frames.", ge=0, lt=2**63)
    n_members: int = setting(1, "Members of the committee, differing in initial weights and order.", ge=1)
    epochs: int = setting(200, "Passes over the training set.", ge=1)
    max_minutes: float = setting(
        0.0,
        "Stop after so much wall time per member and stage (see ``direct_epochs``), the learning rate falling in time "
        "for it; 0: no limit.",
        ge=0.0,
    )
    batch_atoms: int = setting(512, "Atoms per step, filled with whole structures.", ge=1)
    optimiser: Literal["adamw", "muon"] = setting(
        "adamw",
        "``muon``: AdamW, but matrices move along their orthogonalised momentum; fewer steps for large data sets.",
    )
    learning_rate: float = setting(3e-3, "Peak of the schedule.", gt=0.0)
    warmup_steps: int = setting(20, "Steps of linear increase.", ge=0)
    final_rate: float = setting(0.01, "Share of the peak left at the end of the cosine.", ge=0.0, le=1.0)
    weight_decay: float = setting(1e-4, "Decoupled from the gradient, as in AdamW.", ge=0.0)
    clip_norm: float = setting(10.0, "Largest gradient norm.", gt=0.0)
    ema_decay: float = setting(0.99, "Of the averaged weights that are kept and evaluated.", ge=0.0, lt=1.0)
    patience: int = setting(0, "Epochs without improvement before stopping; 0: never.", ge=0)
    loss: Literal["squared", "absolute"] = setting(
        "squared",
        "Mean square errors, or mean lengths of the errors (of the force on an atom, the energy, the stress).",
    )
    force_weight: float = setting(1.0, "Weight of the force error over the force scale.", ge=0.0)
    structure_scaling: float = setting(
        0.0,
        "Measure force errors by the scale of the whole set (0), of each structure (1), or between.",
        ge=0.0,
        le=1.0,
    )
    energy_weight: float = setting(0.0, "Weight of the error of the energy per atom over (force scale · 1 Å).", ge=0.0)
    stress_weight: float = setting(
        0.0, "Weight of the error of stress · volume per atom over (force scale · 1 Å).", ge=0.0
    )
    force_constant_weight: float = setting(
        0.0, "Weight of the squared error of fc2·v on random vectors v; needs ``force_constants``.", ge=0.0
    )
    force_constants: tuple[str, ...] = setting(
        (), "phonopy YAML files that hold force constants, or folders of them, for the force-constant loss."
    )
    direct_epochs: int = setting(
        0, "Train a direct head for so many epochs first, then the conservative head on the same features.", ge=0
    )
    refit_atoms: int = setting(
        5000,
        "Atoms used to solve for the readout's last layer at the end; 0: no refit. Conservative models trained on "
        "forces alone only; in fine-tuning, only with replay data, of which it uses as many atoms.",
        ge=0,
    )
    mixed_precision: bool = setting(
        False,
        "bfloat16 matrix products on a GPU: three digits, for speed. What that costs in force errors is not measured "
        "yet. Never used on a CPU.",
    )
    dtype: Literal["float32", "float64"] = setting(
        "float32", "Precision of weights and features; in fine-tuning it must be that of the model."
    )
    device: str = setting(
        "auto", "``auto``, ``cpu``, ``cuda``, ``cuda:1``. Energies are summed in float64, which Apple's ``mps`` lacks."
    )
    checkpoint_minutes: float = setting(5.0, "Longest time between two resume points.", ge=0.0)


@settings_record
class FinetuneConfig:
    """How an existing model is adapted to new data."""

    model: str = setting("", "Checkpoint to start from; ``default``: the bundled weights.")
    method: Literal["full", "head", "adapters"] = setting(
        "full",
        "``full``: all weights; ``head``: the readout only; ``adapters``: low-rank additions to every matrix.",
    )
    rank: int = setting(4, "Rank of the adapters.", ge=1)
    replay: tuple[str, ...] = setting((), "Data of the original training, mixed in so that it is not forgotten.")
    replay_fraction: float = setting(0.5, "Replayed structures per new one in each epoch.", ge=0.0)
    same_zero: bool = setting(
        False,
        "The energies of new and replayed data count from the same zero (one code, functional and pseudopotentials); "
        "otherwise a constant per element is fitted and taken off the replayed ones.",
    )


@dataclass(frozen=True)
class RunConfig:
    """One run: a TOML file with the tables ``model``, ``data``, ``training`` and, to adapt, ``finetune``."""

    model: ModelConfig = field(default_factory=EquivariantConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)


@settings_record
class _EquivariantRun:
    """The tables of a file whose model is an ``e-sdnnff``."""

    model: EquivariantConfig = setting(EquivariantConfig, "Architecture and sizes.")
    data: DataConfig = setting(DataConfig, "Labelled structures.")
    training: TrainingConfig = setting(TrainingConfig, "How it is fitted.")
    finetune: FinetuneConfig = setting(FinetuneConfig, "What is adapted, and how.")


@settings_record
class _GridRun:
    """The tables of a file whose model is an ``sdnnff``."""

    model: GridConfig = setting(GridConfig, "Architecture and sizes.")
    data: DataConfig = setting(DataConfig, "Labelled structures.")
    training: TrainingConfig = setting(TrainingConfig, "How it is fitted.")
    finetune: FinetuneConfig = setting(FinetuneConfig, "What is adapted, and how.")


_KINDS: dict[str, tuple[type[Any], type[Any]]] = {
    "e-sdnnff": (EquivariantConfig, _EquivariantRun),
    "sdnnff": (GridConfig, _GridRun),
}
_PATHS = {"data": ("train", "validation"), "training": ("force_constants",), "finetune": ("replay",)}


def _records_of(table: object, place: str = "") -> tuple[type[Any], type[Any]]:
    """Choose the records by the ``kind`` of a model's table."""
    kind = table.get("kind", "e-sdnnff") if isinstance(table, Mapping) else "e-sdnnff"
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ConfigError(f"{place}unknown model kind {kind!r}. {nearest_hint(str(kind), _KINDS)}")
    return _KINDS[kind]


def model_config_from_dict(values: Mapping[str, object]) -> ModelConfig:
    """Make the settings of a model; ``kind`` chooses the architecture (default ``e-sdnnff``).

    Raises
    ------
    ConfigError
        For unknown keys, wrong types and values out of range, all of them at once.
    """
    config: ModelConfig = make_settings(_records_of(values)[0], values, "model")
    return config


_UNUSED = {
    "train": ("finetune", "train starts from fresh weights. Run 'sdnnff finetune', or take the table out."),
    "finetune": ("model", "fine-tuning takes the architecture from the checkpoint. Take the table out."),
}


def read_config(path: str | Path, command: Literal["train", "finetune"] | None = None) -> RunConfig:
    """Read a training run from TOML; paths in it are relative to the file.

    Parameters
    ----------
    path : str or Path
        The file.
    command : str, optional
        What it is read for: a table of no use to it is refused. None allows all of them.

    Raises
    ------
    ConfigError
        For a missing file, broken TOML, or wrong settings: every fault at once, each with its line.
    """
    file = read_settings_file(path)
    model = file.tables.get("model")
    line = file.line_of(("model", "kind"))
    record = _records_of(model, f"{path}: line {line}: " if line else f"{path}: ")[1]
    tables = {name: _with_lists(name, table) for name, table in file.tables.items()}
    made = make_settings(record, tables, file)
    if command is not None and _UNUSED[command][0] in tables:
        table, reason = _UNUSED[command]
        line = file.line_of((table,))
        raise ConfigError(f"{path}: line {line}: there is a table [{table}], but {reason}")
    return _with_absolute_paths(RunConfig(made.model, made.data, made.training, made.finetune), file)


def _with_lists(name: str, table: object) -> object:
    """Take one path for a list of one."""
    if not isinstance(table, dict):
        return table
    return {
        key: [value] if key in _PATHS.get(name, ()) and isinstance(value, str) else value
        for key, value in table.items()
    }


def _with_absolute_paths(config: RunConfig, file: SettingsFile) -> RunConfig:
    """Resolve paths by the folder of the file."""
    data, training, finetune = config.data, config.training, config.finetune

    def absolute(names: Iterable[str]) -> tuple[str, ...]:
        names = tuple(names)
        if odd := [name for name in names if "\0" in name]:
            raise ConfigError(f"{file.path}: {odd[0]!r} cannot be the name of a file.")
        return tuple(str((file.path.parent / name).resolve()) for name in names)

    def one(name: str) -> str:
        return absolute([name])[0]

    has_no_file = finetune.model in ("", *bundled_models())
    return RunConfig(
        model=config.model,
        data=dataclasses.replace(
            data,
            train=absolute(data.train),
            validation=absolute(data.validation),
            cache=one(data.cache) if data.cache else "",
        ),
        training=dataclasses.replace(
            training, workdir=one(training.workdir), force_constants=absolute(training.force_constants)
        ),
        finetune=dataclasses.replace(
            finetune,
            model=finetune.model if has_no_file else one(finetune.model),
            replay=absolute(finetune.replay),
        ),
    )
