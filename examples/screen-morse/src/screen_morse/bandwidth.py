"""The width of the phonon spectrum."""

from __future__ import annotations

from collections.abc import Mapping

from screen_cli import Harmonic, record_from


def bandwidth(records: Mapping[str, object]) -> dict[str, float]:
    """Return highest minus lowest frequency on the mesh, THz."""
    frequencies = record_from(records, "harmonic", Harmonic).frequencies
    return {"bandwidth_thz": float(frequencies.max() - frequencies.min())}
