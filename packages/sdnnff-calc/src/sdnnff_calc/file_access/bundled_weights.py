"""The models that come inside this package, found without reading them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["bundled_committee", "bundled_models"]

_FOLDER = Path(__file__).parents[1] / "weights"


def bundled_models() -> dict[str, Path]:
    """List the models that come inside this package, by name."""
    return {p.stem: p for p in sorted(_FOLDER.glob("*.pt"))}


def bundled_committee() -> list[Path]:
    """List the members of the bundled committee: the default model first."""
    models = bundled_models()
    return [models["default"], *(path for name, path in models.items() if name.startswith("default-member-"))]
