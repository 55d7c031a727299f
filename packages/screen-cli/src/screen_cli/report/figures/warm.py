"""Crystals at temperatures: frequencies against T, and κ with the force constants of 0 K and of the temperature."""

from __future__ import annotations

import numpy as np

from screen_cli.report.figures.specification import Axis, Colouring, Fact, Figure, Guide, Missing, Scatter
from screen_cli.report.material import Material

_NEEDS = "No crystal at a temperature: set renormalise.enabled = true."
_WAYS = {
    "fc2 and fc3 of 0 K": "kappa_total_w_mk",
    "fc2 of the temperature, fc3 of 0 K": "conductivity_{kelvin}k_fc3_0k_kappa_total_w_mk",
}


def frequencies_at_temperatures(material: Material) -> list[Figure]:
    """Lowest frequency of each crystal against temperature, from 0 K on."""
    name, title = "warm-frequencies", "Lowest frequency against temperature"
    kelvins = material.run.settings.renormalise.temperatures if material.run.settings.renormalise.enabled else []
    series = [(kelvin, material.column(f"renormalise_{kelvin}k_commensurate_min_thz")) for kelvin in kelvins]
    known = np.isfinite([values for _, values in series]).any(axis=0) if series else np.array([], dtype=bool)
    warm = np.flatnonzero(known)
    if not len(warm):
        return [Missing(name, title, _NEEDS)]
    cold = material.column("min_frequency_thz")
    shown = [
        (row, kelvin, float(values[row]), _state(material, row, kelvin) if kelvin is not None else "harmonic")
        for row in warm.tolist()
        for kelvin, values in ((None, cold), *series)
        if np.isfinite(values[row])
    ]
    points, x, y, states = zip(*shown, strict=True)
    facts = []
    for kelvin in kelvins:
        ended = [_state(material, row, kelvin) for row in range(len(material.rows))]
        facts.append(Fact(f"stable at {kelvin} K", f"{ended.count('converged')} of {sum(map(bool, ended))}"))
    return [
        Scatter(
            name,
            title,
            "Of the supercell's wave vectors, imaginary ones negative; harmonic: at 0 K, of the whole mesh.",
            Axis("temperature (K)"),
            Axis("lowest frequency (THz)"),
            np.array(points, dtype=np.int64),
            np.array([kelvin or 0 for kelvin in x], dtype=np.float64),
            np.array(y),
            [Colouring("state", "category", list(states))],
            [Guide("0 THz", None, (0.0, 0.0), dashed=True)],
            facts,
        )
    ]


def kappa_with_and_without_temperature(material: Material) -> list[Figure]:
    """κ with fc2(T) and fc3(T) against κ with force constants of 0 K, all or fc3 alone."""
    name, title = "warm-kappa", "κ with force constants of the temperature and of 0 K"
    chosen: list[tuple[int, float, float, str, str]] = []
    kelvins = material.run.settings.renormalise.temperatures if material.run.settings.renormalise.enabled else []
    cold_kelvin = material.column("kappa_temperature_k")
    for kelvin in filter(None, kelvins):  # at 0 K nothing carries heat
        warm = material.column(f"conductivity_{kelvin}k_kappa_total_w_mk")
        for way, column in _WAYS.items():
            other = material.column(column.format(kelvin=kelvin))
            same = cold_kelvin == kelvin if column == "kappa_total_w_mk" else np.isfinite(other)
            rows = np.flatnonzero(same & (warm > 0) & (other > 0)).tolist()
            chosen += [(row, float(warm[row]), float(other[row]), way, f"{kelvin} K") for row in rows]
    if not chosen:
        reason = 'No crystal has κ both ways: set renormalise.select = "all" and renormalise.compare = true.'
        return [Missing(name, title, reason if kelvins else _NEEDS)]
    points, x, y, ways, at = zip(*chosen, strict=True)
    ends = (min(*x, *y), max(*x, *y))
    ratios = {way: [b / a for a, b, this in zip(x, y, ways, strict=True) if this == way] for way in dict.fromkeys(ways)}
    return [
        Scatter(
            name,
            title,
            "Both κ at the same temperature. Where the points leave the line, force constants of 0 K do not do.",
            Axis("κ with fc2 and fc3 of the temperature (W m⁻¹ K⁻¹)", log=True),
            Axis("κ the other way (W m⁻¹ K⁻¹)", log=True),
            np.array(points, dtype=np.int64),
            np.array(x),
            np.array(y),
            [Colouring("the other way", "category", ways), Colouring("temperature", "category", at)],
            [Guide("equal", ends, ends)],
            [Fact(f"mean ratio, {way}", f"{np.exp(np.mean(np.log(found))):.2f}") for way, found in ratios.items()],
        )
    ]


def _state(material: Material, row: int, kelvin: int) -> str:
    """How the search of a crystal ended, or that for its cell before it."""
    values = material.rows[row]
    state = values.get(f"renormalise_{kelvin}k_state")
    if not state and not values.get(f"cell_{kelvin}k_relax_converged"):
        state = values.get(f"cell_{kelvin}k_state")
    return str(state or "").replace("_", " ")
