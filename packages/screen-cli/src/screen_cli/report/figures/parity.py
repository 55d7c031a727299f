"""Columns of the run against a reference file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from screen_cli.report import gate
from screen_cli.report.figures.colourings import BARS, colourings, kappa_bars, untrusted
from screen_cli.report.figures.specification import Axis, Fact, Figure, Guide, Missing, Scatter
from screen_cli.report.material import Material

_PARITY = (
    ("kappa_total_w_mk", "κ", "W m⁻¹ K⁻¹", True),
    ("kappa_p_w_mk", "κ_P", "W m⁻¹ K⁻¹", True),
    ("max_msd", "max MSD", "Å²", True),
    ("cv_j_mol_k", "c_v", "J mol⁻¹ K⁻¹", False),
    ("vs_m_s", "V_s", "m s⁻¹", False),
    ("p3", "P3", "ps rad⁻¹", True),
)


def parity(material: Material) -> list[Figure]:
    """Each shared column against the reference file."""
    if material.reference is None:
        return [Missing("parity", "Against a reference", "No reference: add --reference FILE.csv (or .json).")]
    known = {column: (symbol, unit, log) for column, symbol, unit, log in _PARITY}
    figures = []
    for column, reference in material.reference.columns.items():
        if column in known:
            figure = _parity_of(material, column, reference, *known[column])
            figures += [figure] if figure else []
    return figures or [
        Missing("parity", "Against a reference", f"{material.reference.path.name} shares no finished crystal.")
    ]


def _parity_of(
    material: Material, column: str, reference: NDArray[np.float64], symbol: str, unit: str, log: bool
) -> Figure | None:
    """One parity plot."""
    assert material.reference is not None
    here = material.column(column)
    usable = np.isfinite(here) & np.isfinite(reference)
    if log:
        usable &= (here > 0) & (reference > 0)
    points = np.flatnonzero(usable)
    if not len(points):
        return None
    x, y = reference[points], here[points]
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    trusted = ~untrusted(material, points)
    facts = [Fact("crystals compared", f"{len(points)}, matched by {material.reference.matched_by}")]
    guides = [Guide("equal", (low, high), (low, high))]
    if log:
        facts += _log_error_facts(x[trusted], y[trusted], is_kappa=symbol.startswith("κ"))
        guides += [
            Guide(name, (low, high), (factor * low, factor * high), dashed=True, in_view=False)
            for name, factor in (("twice", 2.0), ("half", 0.5))
        ]
    elif trusted.any():
        facts.append(Fact("mean absolute error", f"{np.abs(y - x)[trusted].mean():.3g} {unit}"))
    if material.reference.n_unmatched:
        facts.append(Fact("entries of the file without a crystal here", str(material.reference.n_unmatched)))
    name = "parity" if column == "kappa_total_w_mk" else f"parity-{column.replace('_', '-')}"
    bars = kappa_bars(material, points) if column == "kappa_total_w_mk" else None
    caption = f"Reference: {material.reference.path.name}.{' Dashed: a factor of two.' if log else ''}"
    return Scatter(
        name,
        f"{symbol} against a reference",
        caption + (BARS if bars is not None else ""),
        Axis(f"{symbol}, reference ({unit})", log=log),
        Axis(f"{symbol}, this run ({unit})", log=log),
        points,
        x,
        y,
        colourings(material, points, "space group", "prototype"),
        guides,
        facts,
        ~trusted,
        bars,
    )


def _log_error_facts(reference: NDArray[np.float64], here: NDArray[np.float64], *, is_kappa: bool) -> list[Fact]:
    """Errors on the logarithmic scale, and the bias at low κ."""
    if not len(here):
        return []
    error = np.log10(here / reference)
    within = int((np.abs(error) <= np.log10(2)).sum())
    facts = [
        Fact("mean |log₁₀ ratio|", f"{np.abs(error).mean():.3f}", "0.254 (κ, unseen structures)" if is_kappa else ""),
        Fact("within a factor of 2", f"{within} of {len(here)}"),
    ]
    low = reference < gate.LOW_KAPPA
    if is_kappa and low.any():
        factor = 10 ** float(error[low].mean())
        facts.append(Fact("mean ratio where the reference is below 1 W/mK", f"{factor:.2f}", "below 1 (too low)"))
    return facts
