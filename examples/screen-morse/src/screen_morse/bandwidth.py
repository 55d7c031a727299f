"""The width of the phonon spectrum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def bandwidth(records: Mapping[str, Any]) -> dict[str, float]:
    """Return highest minus lowest frequency on the mesh, THz."""
    frequencies = records["harmonic"].frequencies
    return {"bandwidth_thz": float(frequencies.max() - frequencies.min())}
