"""Checkpoints: versioned files that carry all a model needs, and load without running code.

Format 2 is a zip file written by ``torch.save`` and read with ``weights_only=True``: a dictionary of plain
Python values and tensors with the keys of :data:`KEYS`. The checksum is the SHA-256 over the
configuration, the statistics, what was trained and all weights, so a flipped bit is found. Format 1 did not tell which
labels a model was trained on, nor knew a repulsive core.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdnnff_calc.config import ModelConfig, model_config_from_dict
from sdnnff_calc.errors import (
    CheckpointError,
    CheckpointVersionError,
    ModelNotFoundError,
    SdnnffError,
    nearest_hint,
)
from sdnnff_calc.file_access.atomic_write import write_atomically
from sdnnff_calc.file_access.bundled_weights import bundled_models
from sdnnff_calc.models.architectures import build_network
from sdnnff_calc.models.heads import Statistics
from sdnnff_calc.models.network import Network
from sdnnff_calc.models.trained_labels import TrainedLabels

__all__ = [
    "FORMAT_VERSION",
    "KEYS",
    "UNITS",
    "Model",
    "bundled_models",
    "load_model",
    "save_model",
]

FORMAT_VERSION = 2
"""Written by this version; every version up to it loads."""

UNITS = {"energy": "eV", "length": "Angstrom", "force": "eV/Angstrom", "stress": "eV/Angstrom^3"}

KEYS = (
    "format", "format_version", "config", "elements", "statistics", "trained", "repulsive_core", "units",
    "provenance", "card", "dtype", "weights", "checksum",
)  # fmt: skip
_OF_VERSION_2 = ("trained", "repulsive_core")
_MAGIC = "sdnnff-calc checkpoint"


@dataclass
class Model:
    """A network with what is known about it.

    Attributes
    ----------
    network : Network
        Maps environments to raw output.
    config : ModelConfig
        Its settings.
    elements : tuple of int
        Atomic numbers it was trained on, sorted.
    statistics : Statistics
        Of its training data.
    trained : TrainedLabels, optional
        Labels it was trained on; None where that is not known.
    repulsive_core : bool
        Whether pairs closer than any learned from are held apart by a
        :class:`~sdnnff_calc.models.repulsive_core.RepulsiveCore`; otherwise the calculator refuses them.
    provenance : dict of str to str
        Package and torch versions, git commit.
    card : dict of str to object
        Free text by topic (data, licence, limits), numbers of the last evaluation.
    checksum : str
        SHA-256, hexadecimal; empty before the first save.
    """

    network: Network
    config: ModelConfig
    elements: tuple[int, ...]
    statistics: Statistics
    trained: TrainedLabels | None = None
    repulsive_core: bool = False
    provenance: dict[str, str] = field(default_factory=dict)
    card: dict[str, object] = field(default_factory=dict)
    checksum: str = ""

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return next(self.network.parameters()).dtype

    @property
    def n_parameters(self) -> int:
        """Number of trained numbers."""
        return sum(p.numel() for p in self.network.parameters())


def git_version() -> str:
    """Name the commit of the source tree this package runs from, ``-dirty`` when files differ from it.

    Empty without git, and where this file is not tracked: a repository around a virtual environment says nothing
    about the package installed in it.
    """
    here = Path(__file__).resolve()
    commit = ""
    describe = ["describe", "--always", "--exclude=*", "--dirty", "--abbrev=12"]  # without the names of tags
    for arguments in (["ls-files", "--error-unmatch", here.name], describe):
        try:
            result = subprocess.run(
                ["git", "--no-optional-locks", "-C", str(here.parent), *arguments],
                capture_output=True,
                text=True,
                timeout=5,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        if result.returncode != 0:
            return ""
        commit = result.stdout.strip()
    return commit


def _provenance() -> dict[str, str]:
    """Say which software writes a checkpoint."""
    return {
        "sdnnff-calc": metadata.version("sdnnff-calc"),
        "torch": str(torch.__version__),
        "e3nn": metadata.version("e3nn"),
        "git": git_version(),
    }


def _digest(header: Mapping[str, object], weights: Mapping[str, Tensor]) -> str:
    """Hash configuration, statistics and weights."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _header(model: Model) -> dict[str, object]:
    """Give what, beside the weights, decides the results."""
    statistics = model.statistics
    return {
        "config": dataclasses.asdict(model.config),
        "elements": [int(z) for z in model.elements],
        "trained": None if model.trained is None else dataclasses.asdict(model.trained),
        "repulsive_core": bool(model.repulsive_core),
        "statistics": {
            "force_scale": float(statistics.force_scale),
            "mean_neighbours": float(statistics.mean_neighbours),
            "atomic_energies": {str(z): float(e) for z, e in (statistics.atomic_energies or {}).items()},
            "closest_pairs": {f"{a}-{b}": float(d) for (a, b), d in (statistics.closest_pairs or {}).items()},
        },
    }


def save_model(model: Model, path: str | Path) -> Path:
    """Write a checkpoint.

    Parameters
    ----------
    model : Model
        Its ``checksum`` and ``provenance`` are set.
    path : str or Path
        Usually ``*.pt``.

    Returns
    -------
    Path
        Where it stands.
    """
    path = Path(path)
    weights = {name: t.detach().cpu().clone() for name, t in model.network.state_dict().items()}
    header = _header(model)
    model.checksum = _digest(header, weights)
    model.provenance = _provenance()
    content = {
        "format": _MAGIC,
        "format_version": FORMAT_VERSION,
        **header,
        "units": UNITS,
        "provenance": model.provenance,
        "card": model.card,
        "dtype": str(model.dtype).removeprefix("torch."),
        "weights": weights,
        "checksum": model.checksum,
    }
    write_atomically(path, lambda stream: torch.save(content, stream))
    return path


def _resolve(path: str | Path | None) -> Path:
    """Turn a path, a bundled name or nothing into a file."""
    bundled = bundled_models()
    if path is None:
        return bundled["default"]
    if str(path) in bundled:
        return bundled[str(path)]
    found = Path(path).expanduser()
    if found.is_dir():
        if (found / "model.pt").is_file():
            return found / "model.pt"
        inside = sorted(found.glob("*/model.pt"))
        hint = f"Give a model below it, such as '{inside[0]}'." if inside else "Was it trained?"
        raise ModelNotFoundError(f"the folder '{path}' holds no model.pt of its own. {hint}")
    if not found.is_file():
        raise ModelNotFoundError(
            f"no model file '{path}', expected a checkpoint written by 'sdnnff train'. "
            f"Bundled models: {nearest_hint(str(path), bundled)}"
        )
    return found


def load_model(path: str | Path | None = None, device: str | torch.device = "cpu", dtype: str | None = None) -> Model:
    """Read a checkpoint of this or any earlier version.

    Parameters
    ----------
    path : str or Path, optional
        File, training folder, name of a bundled model, or None for the default one.
    device : str or torch.device
        Where the weights go.
    dtype : str, optional
        ``float32``, ``float64`` or None for the precision it was saved in.

    Raises
    ------
    ModelNotFoundError
        When there is no such file or name.
    CheckpointError
        When the file is corrupt or something else.
    CheckpointVersionError
        When it was written by a newer version.
    """
    file = _resolve(path)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a broken file
        raise CheckpointError(f"{file} cannot be read as a checkpoint ({error}). Copy or train it again.") from error
    if not isinstance(content, dict) or content.get("format") != _MAGIC:
        raise CheckpointError(f"{file} is a torch file but no sdnnff-calc checkpoint.")
    version = content.get("format_version")
    if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        raise CheckpointVersionError(
            f"{file} has format version {version!r}, this sdnnff-calc reads 1 to {FORMAT_VERSION}. "
            "Upgrade with 'pip install -U sdnnff-calc'."
        )
    missing = [key for key in KEYS if key not in content and (version > 1 or key not in _OF_VERSION_2)]
    if missing:
        raise CheckpointError(f"{file} lacks {', '.join(missing)}: it is damaged.")
    return _build(content, file, device, dtype)


def _trained_of_old(content: dict[str, Any], file: Path) -> TrainedLabels | None:
    """Tell what an older checkpoint was trained on: from its card; the bundled weights on all three; else unknown."""
    if file in bundled_models().values() and content["format_version"] == 1:
        return TrainedLabels(None, None, None)
    return TrainedLabels.of_settings(content["card"])


def _build(content: dict[str, Any], file: Path, device: str | torch.device, dtype: str | None) -> Model:
    """Check and assemble what was read."""
    newer = _OF_VERSION_2 if content["format_version"] > 1 else ()
    header = {key: content[key] for key in ("config", "elements", "statistics", *newer)}
    if not isinstance(content["weights"], dict):
        raise CheckpointError(f"{file}: the weights are no table of tensors. Copy the file again.")
    if _digest(header, content["weights"]) != content["checksum"]:
        raise CheckpointError(f"{file}: the checksum does not match its content. Copy the file again.")
    try:
        config = model_config_from_dict(content["config"])
        network = build_network(config, getattr(torch, dtype or content["dtype"]), seed=0)
        network.load_state_dict(content["weights"])
    except (SdnnffError, RuntimeError, AttributeError) as error:
        raise CheckpointError(f"{file}: weights and configuration do not fit together ({error}).") from error
    stats = content["statistics"]
    energies = {int(z): float(e) for z, e in stats["atomic_energies"].items()}
    closest = {tuple(key.split("-")): float(d) for key, d in stats.get("closest_pairs", {}).items()}
    pairs = {(int(a), int(b)): distance for (a, b), distance in closest.items()}
    trained = content["trained"] if newer else None
    return Model(
        network=network.to(device).eval(),
        trained=TrainedLabels(**trained) if trained else _trained_of_old(content, file),
        repulsive_core=bool(content["repulsive_core"]) if newer else False,
        config=config,
        elements=tuple(int(z) for z in content["elements"]),
        statistics=Statistics(stats["force_scale"], stats["mean_neighbours"], energies or None, pairs or None),
        provenance=dict(content["provenance"]),
        card=dict(content["card"]),
        checksum=str(content["checksum"]),
    )
