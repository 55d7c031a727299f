"""Colours, trust and bars of the points of a figure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from screen_cli.report.figures.specification import Colouring
from screen_cli.report.material import Material
from screen_cli.store.row import Row

BARS = " Bars: one standard deviation of ln κ over the committee."


def is_untrusted(row: Row) -> bool:
    """Whether the fit of a crystal, or its κ, is not trusted."""
    return row.get("trusted") in (0, False) or row.get("kappa_trusted") in (0, False)


def untrusted(material: Material, points: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Apply :func:`is_untrusted` to each point."""
    return np.array([is_untrusted(material.rows[index]) for index in points], dtype=bool)


def kappa_bars(material: Material, points: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """κ/f and κ·f of each point, f one standard deviation of ln κ over the committee; None without a committee."""
    kappa, factor = (material.column(name)[points] for name in ("kappa_total_w_mk", "kappa_interval_factor"))
    return np.column_stack([kappa / factor, kappa * factor]) if np.isfinite(factor).any() else None


def kappa_kelvin(material: Material) -> float:
    """Temperature of the κ columns, K."""
    kelvin = material.column("kappa_temperature_k")
    return float(kelvin[np.isfinite(kelvin)][0]) if np.isfinite(kelvin).any() else 300.0


def colourings(material: Material, points: NDArray[np.int64], *names: str) -> list[Colouring]:
    """Colour the points by what the names say; a colouring without any value is left out."""
    made = []
    for name in names:
        colouring = _COLOURINGS[name](material, points)
        if any(value is not None for value in colouring.values):
            made.append(colouring)
    return made


def _by_space_group(material: Material, points: NDArray[np.int64]) -> Colouring:
    values = [material.rows[index].get("space_group") for index in points]
    return Colouring("space group", "category", [None if value is None else str(value) for value in values])


def _by_prototype(material: Material, points: NDArray[np.int64]) -> Colouring:
    names = [material.rows[i].get("prototype") or material.crystals[i].metadata.get("prototype") for i in points]
    return Colouring("prototype", "category", [str(name) if name else None for name in names])


def _by_column(name: str, column: str) -> Callable[[Material, NDArray[np.int64]], Colouring]:
    """Colour by the logarithm of a column."""

    def colour(material: Material, points: NDArray[np.int64]) -> Colouring:
        values = material.column(column)[points]
        return Colouring(name, "log", [float(value) if value > 0 else None for value in values])

    return colour


def _by_coherences(material: Material, points: NDArray[np.int64]) -> Colouring:
    with np.errstate(divide="ignore", invalid="ignore"):
        share = 100 * material.column("kappa_c_w_mk")[points] / material.column("kappa_total_w_mk")[points]
    values = [float(value) if np.isfinite(value) and value >= 0 else None for value in share]
    return Colouring("κ_C/κ (%)", "linear", values)


_COLOURINGS: dict[str, Callable[[Material, NDArray[np.int64]], Colouring]] = {
    "space group": _by_space_group,
    "prototype": _by_prototype,
    "κ": _by_column("κ (W m⁻¹ K⁻¹)", "kappa_total_w_mk"),
    "max MSD": _by_column("max MSD (Å²)", "max_msd"),
    "κ_C/κ": _by_coherences,
}
