"""Settings of models, data and training: frozen records read from TOML."""

from __future__ import annotations

import dataclasses
import math
import os
import tomllib
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from sdnnff_calc.bundled_weights import bundled_models
from sdnnff_calc.errors import ConfigError, nearest_hint

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
    "record_from_dict",
]

Head = Literal["direct", "conservative"]


@dataclass(frozen=True)
class EquivariantConfig:
    """Sizes of ``e-sdnnff`` (all of them our choice)."""

    kind: Literal["e-sdnnff"] = "e-sdnnff"
    """Name of the architecture."""
    head: Head = "conservative"
    """``conservative``: energy, forces and stress by autograd; ``direct``: forces only, cheaper."""
    cutoff: float = 6.0
    """R_c, Å."""
    n_radial: int = 8
    """Radial functions."""
    radial_basis: Literal["bessel", "bond-scaled"] = "bessel"
    """Functions of r, or of r over the sum of covalent radii, which carries over between elements."""
    l_max: int = 3
    """Highest degree of the spherical harmonics."""
    n_element_channels: int = 8
    """Length of the learned vector w(Z)."""
    n_channels: int = 32
    """Channels of each factor of the products."""
    n_factors: int = 3
    """Factors of the highest product: 1, 2 or 3 (two-, three- and four-body terms)."""
    n_layers: int = 1
    """1: strictly local; 2: neighbours' environments are seen too (reach 2·cutoff)."""
    n_hidden: int = 64
    """Width of the readout network."""

    def __post_init__(self) -> None:
        _check_choices(self)
        fewest = 2 if self.radial_basis == "bond-scaled" else 1
        _require(self.n_radial >= fewest, "n_radial", self.n_radial, f"at least {fewest} with this radial_basis")
        _require(self.n_factors in (1, 2, 3), "n_factors", self.n_factors, "1, 2 or 3")
        _require(self.n_layers in (1, 2), "n_layers", self.n_layers, "1 or 2")
        _require(1 <= self.l_max <= 8, "l_max", self.l_max, "1 to 8")
        _require(1.0 < self.cutoff < math.inf, "cutoff", self.cutoff, "above 1 Å")
        _check_least(self, 1, "n_element_channels", "n_channels", "n_hidden")


@dataclass(frozen=True)
class GridConfig:
    """Sizes of ``sdnnff`` (our reconstruction: none of them is published)."""

    kind: Literal["sdnnff"] = "sdnnff"
    """Name of the architecture."""
    head: Literal["direct"] = "direct"
    """Forces come straight from the network, as published."""
    cutoff: float = 6.0
    """R_c, Å. No neighbour shell of the ideal crystals should lie within 0.15 Å of it."""
    n_grid: int = 11
    """Grid points along one edge of the cube."""
    sigma: float = 0.72
    """Width of the Gaussians, Å; below half the grid spacing the density aliases."""
    n_element_channels: int = 8
    """Length of the learned vector w(Z)."""
    n_hidden: int = 256
    """Width of the network."""
    n_hidden_layers: int = 3
    """Hidden layers of the network."""
    n_frames: int = 3
    """Local frames per atom used as augmentation in training: 1, 2 or 3; prediction uses the first."""

    def __post_init__(self) -> None:
        _check_choices(self)
        _require(self.n_frames in (1, 2, 3), "n_frames", self.n_frames, "1, 2 or 3")
        _require(self.n_grid >= 3, "n_grid", self.n_grid, "at least 3")
        _require(1.0 < self.cutoff < math.inf, "cutoff", self.cutoff, "above 1 Å")
        spacing = 2.0 * self.cutoff / (self.n_grid - 1)
        _require(self.sigma > 0.5 * spacing, "sigma", self.sigma, f"above half the spacing, {0.5 * spacing:.3f} Å")
        _check_least(self, 1, "n_element_channels", "n_hidden", "n_hidden_layers")


ModelConfig = EquivariantConfig | GridConfig


@dataclass(frozen=True)
class DataConfig:
    """Where the labelled structures come from and how they are split."""

    train: tuple[str, ...] = ()
    """Files or folders: extxyz, ASE db, phonopy/phono3py YAML, folders of VASP or QE outputs."""
    validation: tuple[str, ...] = ()
    """As ``train``; empty: taken from the training set by ``validation_fraction``."""
    validation_fraction: float = 0.1
    """Share of the training set held out when ``validation`` is empty."""
    split_by: Literal["structure", "supercell"] = "structure"
    """``structure``: all supercells of one crystal fall on the same side; ``supercell``: each on its own."""
    max_force: float = 100.0
    """eV/Å; supercells with a larger force are reported and left out."""
    cache: str = ""
    """Folder of the sharded cache; empty: keep everything in memory."""
    shard_atoms: int = 50_000
    """Atoms in one shard of the cache."""

    def __post_init__(self) -> None:
        _check_choices(self)
        fraction = self.validation_fraction
        _require(0.0 <= fraction < 1.0, "validation_fraction", fraction, "0 up to 1, without 1")
        _require(self.max_force > 0.0, "max_force", self.max_force, "above 0 eV/Å")
        _check_least(self, 1, "shard_atoms")


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is fitted."""

    workdir: str = "sdnnff-run"
    """Folder of checkpoints, log and plots."""
    seed: int = 0
    """Of weights, order and frames."""
    n_members: int = 1
    """Members of the committee, differing in initial weights and order."""
    epochs: int = 200
    """Passes over the training set."""
    max_minutes: float = 0.0
    """Stop after so much wall time per member and stage (see ``direct_epochs``), the learning rate falling in time for
    it; 0: no limit."""
    batch_atoms: int = 512
    """Atoms per step, filled with whole structures."""
    optimiser: Literal["adamw", "muon"] = "adamw"
    """``muon``: AdamW, but matrices move along their orthogonalised momentum; fewer steps for large data sets."""
    learning_rate: float = 3e-3
    """Peak of the schedule."""
    warmup_steps: int = 20
    """Steps of linear increase."""
    final_rate: float = 0.01
    """Share of the peak left at the end of the cosine."""
    weight_decay: float = 1e-4
    """Decoupled from the gradient, as in AdamW."""
    clip_norm: float = 10.0
    """Largest gradient norm."""
    ema_decay: float = 0.99
    """Of the averaged weights that are kept and evaluated."""
    patience: int = 0
    """Epochs without improvement before stopping; 0: never."""
    loss: Literal["squared", "absolute"] = "squared"
    """Mean square errors, or mean lengths of the errors (of the force on an atom, the energy, the stress)."""
    force_weight: float = 1.0
    """Weight of the force error over the force scale."""
    structure_scaling: float = 0.0
    """Measure force errors by the scale of the whole set (0), of each structure (1), or between."""
    energy_weight: float = 0.0
    """Weight of the error of the energy per atom over (force scale · 1 Å)."""
    stress_weight: float = 0.0
    """Weight of the error of stress · volume per atom over (force scale · 1 Å)."""
    force_constant_weight: float = 0.0
    """Weight of the squared error of fc2·v on random vectors v; needs ``force_constants``."""
    force_constants: tuple[str, ...] = ()
    """phonopy YAML files that hold force constants, or folders of them, for the force-constant loss."""
    direct_epochs: int = 0
    """Train a direct head for so many epochs first, then the conservative head on the same features."""
    refit_atoms: int = 5000
    """Atoms used to solve for the readout's last layer at the end; 0: no refit. Conservative models trained on
    forces alone only; in fine-tuning, only with replay data, of which it uses as many atoms."""
    mixed_precision: bool = False
    """bfloat16 matrix products on a GPU: three digits, for speed. What that costs in force errors is not measured yet.
    Never used on a CPU."""
    dtype: Literal["float32", "float64"] = "float32"
    """Precision of weights and features; in fine-tuning it must be that of the model."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``, ``cuda:1``. Energies are summed in float64, which Apple's ``mps`` lacks."""
    checkpoint_minutes: float = 5.0
    """Longest time between two resume points."""

    def __post_init__(self) -> None:
        _check_choices(self)
        _check_least(self, 1, "epochs", "batch_atoms", "n_members")
        _check_least(self, 0, "seed", "warmup_steps", "weight_decay", "patience", "direct_epochs", "refit_atoms")
        for name in ("max_minutes", "checkpoint_minutes"):
            _require(getattr(self, name) >= 0.0, name, getattr(self, name), "at least 0")
        _check_least(self, 0, "force_weight", "energy_weight", "stress_weight", "force_constant_weight")
        for name in ("structure_scaling", "final_rate"):
            _require(0.0 <= getattr(self, name) <= 1.0, name, getattr(self, name), "0 to 1")
        _require(0.0 <= self.ema_decay < 1.0, "ema_decay", self.ema_decay, "0 up to 1, without 1")
        _require(0.0 < self.learning_rate < math.inf, "learning_rate", self.learning_rate, "above 0")
        _require(self.clip_norm > 0.0, "clip_norm", self.clip_norm, "above 0")


@dataclass(frozen=True)
class FinetuneConfig:
    """How an existing model is adapted to new data."""

    model: str = ""
    """Checkpoint to start from; ``default``: the model of the wheel."""
    method: Literal["full", "head", "adapters"] = "full"
    """``full``: all weights; ``head``: the readout only; ``adapters``: low-rank additions to every matrix."""
    rank: int = 4
    """Rank of the adapters."""
    replay: tuple[str, ...] = ()
    """Data of the original training, mixed in so that it is not forgotten."""
    replay_fraction: float = 0.5
    """Replayed structures per new one in each epoch."""
    same_zero: bool = False
    """The energies of new and replayed data count from the same zero (one code, functional and pseudopotentials);
    otherwise a constant per element is fitted and taken off the replayed ones."""

    def __post_init__(self) -> None:
        _check_choices(self)
        _check_least(self, 1, "rank")
        _check_least(self, 0, "replay_fraction")


@dataclass(frozen=True)
class RunConfig:
    """One run: a TOML file with the tables ``model``, ``data``, ``training`` and, to adapt, ``finetune``."""

    model: ModelConfig = field(default_factory=EquivariantConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)


def _require(condition: bool, name: str, got: object, expected: str) -> None:
    """Raise ConfigError unless the condition holds."""
    if not condition:
        raise ConfigError(f"{name} is {got!r}, expected {expected}.")


def _check_least(record: object, least: int, *names: str) -> None:
    """Require numbers of at least so much, and finite."""
    for name in names:
        _require(least <= getattr(record, name) < math.inf, name, getattr(record, name), f"at least {least}")


def _check_choices(record: object) -> None:
    """Require of every setting with named choices that it is one of them."""
    for name, kind in typing.get_type_hints(type(record)).items():
        if typing.get_origin(kind) is Literal:
            _convert(getattr(record, name), kind, name)


Record = TypeVar("Record")


def _convert(value: Any, kind: Any, name: str) -> Any:
    """Check one setting against its annotation; lists become tuples, ints floats, paths text where asked."""
    if isinstance(value, np.generic):
        value = value.item()
    if kind is str and isinstance(value, os.PathLike):
        value = os.fspath(value)
    origin = typing.get_origin(kind)
    if origin is Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            raise ConfigError(f"{name} is {value!r}. {nearest_hint(str(value), [str(c) for c in choices])}")
        return value
    if origin is tuple:
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{name} is {value!r}, expected a list.")
        return tuple(_convert(item, typing.get_args(kind)[0], name) for item in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise ConfigError(f"{name} is {value!r} ({type(value).__name__}), expected {kind.__name__}.")
    return value


def record_from_dict(record: type[Record], values: dict[str, Any], where: str) -> Record:
    """Make a settings record from a table of a TOML file.

    Raises
    ------
    ConfigError
        For an unknown key (with the nearest known one), a wrong type or a value out of range.
    """
    hints = typing.get_type_hints(record)
    names = [f.name for f in dataclasses.fields(record)]  # type: ignore[arg-type]
    converted = {}
    for key, value in values.items():
        if key not in names:
            raise ConfigError(f"unknown setting '{key}' in [{where}]. {nearest_hint(key, names)}")
        converted[key] = _convert(value, hints[key], f"[{where}] {key}")
    return record(**converted)


def model_config_from_dict(values: dict[str, Any]) -> ModelConfig:
    """Make the settings of a model; ``kind`` chooses the architecture (default ``e-sdnnff``)."""
    kinds: dict[str, type[Any]] = {"e-sdnnff": EquivariantConfig, "sdnnff": GridConfig}
    kind = values.get("kind", "e-sdnnff")
    if kind not in kinds:
        raise ConfigError(f"unknown model kind {kind!r}. {nearest_hint(str(kind), kinds)}")
    config: ModelConfig = record_from_dict(kinds[kind], values, "model")
    return config


_UNUSED = {
    "train": ("finetune", "train starts from fresh weights. Run 'sdnnff finetune', or take the table out."),
    "finetune": ("model", "fine-tuning takes the architecture from the checkpoint. Take the table out."),
}


def read_config(path: str | Path, command: Literal["train", "finetune"] | None = None) -> RunConfig:
    """Read a training run from TOML; paths in it are relative to the file.

    Parameters
    ----------
    path
        The file.
    command
        What it is read for: a table of no use to it is refused. None allows all of them.

    Raises
    ------
    ConfigError
        For a missing file, broken TOML, or any wrong setting.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"no such configuration file: {path}.")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    known = ["model", "data", "training", "finetune"]
    unknown = set(tables) - set(known)
    if unknown:
        name = sorted(unknown)[0]
        raise ConfigError(f"unknown table [{name}] in {path}. {nearest_hint(name, known)}")
    for name, table in tables.items():
        _require(isinstance(table, dict), name, table, f"a table [{name}]")
    if command is not None and _UNUSED[command][0] in tables:
        table, reason = _UNUSED[command]
        raise ConfigError(f"{path} has a table [{table}], but {reason}")
    data = record_from_dict(DataConfig, tables.get("data", {}), "data")
    training = record_from_dict(TrainingConfig, tables.get("training", {}), "training")
    finetune = record_from_dict(FinetuneConfig, tables.get("finetune", {}), "finetune")

    has_no_file = finetune.model in ("", *bundled_models())

    def absolute(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str((path.parent / name).resolve()) for name in names)

    return RunConfig(
        model=model_config_from_dict(tables.get("model", {})),
        data=dataclasses.replace(
            data,
            train=absolute(data.train),
            validation=absolute(data.validation),
            cache=str((path.parent / data.cache).resolve()) if data.cache else "",
        ),
        training=dataclasses.replace(
            training,
            workdir=str((path.parent / training.workdir).resolve()),
            force_constants=absolute(training.force_constants),
        ),
        finetune=dataclasses.replace(
            finetune,
            model=finetune.model if has_no_file else str((path.parent / finetune.model).resolve()),
            replay=absolute(finetune.replay),
        ),
    )
