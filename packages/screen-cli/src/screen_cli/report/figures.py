"""The figures of a report: numbers, guides and captions, before anyone draws them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screen_cli.analysis.gate_audit import audit_gate
from screen_cli.errors import MissingExtraError
from screen_cli.report import gate
from screen_cli.report.descriptors import FEWEST, embed_in_plane
from screen_cli.report.figure import Axis, Colouring, ElementMap, Fact, Figure, Guide, Missing, Scatter
from screen_cli.report.material import Material

_BARS = " Bars: one standard deviation of ln κ over the committee."
_MOST_MAPPED = 10_000  # minutes of t-SNE
_PARITY = (
    ("kappa_total_w_mk", "κ", "W m⁻¹ K⁻¹", True),
    ("kappa_p_w_mk", "κ_P", "W m⁻¹ K⁻¹", True),
    ("max_msd", "max MSD", "Å²", True),
    ("cv_j_mol_k", "c_v", "J mol⁻¹ K⁻¹", False),
    ("vs_m_s", "V_s", "m s⁻¹", False),
    ("p3", "P3", "ps rad⁻¹", True),
)


def make_figures(material: Material) -> list[Figure]:
    """Prepare every figure of the report; one without data says what it needs."""
    makers: list[Callable[[Material], list[Figure]]] = [
        kappa_against_msd,
        coherence_share,
        parity,
        msd_by_element,
        bonding_map,
        descriptor_map,
    ]
    return [figure for make in makers for figure in make(material)]


def kappa_against_msd(material: Material) -> list[Figure]:
    """κ against the largest mean square displacement, with the fitted line and the gate (paper: Fig. 4)."""
    name, title = "kappa-msd", "κ against the largest displacement"
    msd, kappa = material.column("max_msd"), material.column("kappa_total_w_mk")
    points = np.flatnonzero((msd > 0) & (kappa > 0))
    if not len(points):
        return [Missing(name, title, "No crystal has both κ and max MSD yet.")]
    x, y = msd[points], kappa[points]
    trusted = ~_untrusted(material, points)
    line = gate.fit_power_law(x[trusted], y[trusted])
    guides = [Guide("1 W m⁻¹ K⁻¹", None, (gate.LOW_KAPPA, gate.LOW_KAPPA), dashed=True)]
    facts = []
    if line is not None:
        ends = (float(x.min()), float(x.max()))
        guides.append(Guide(f"fit, slope {_signed(line.slope)}", ends, (line.at(ends[0]), line.at(ends[1]))))
        error = f"{_signed(line.slope)} ± {line.slope_error:.2f}"
        quality = f"r = {_signed(line.correlation)}, {_crystals(int(trusted.sum()))}"
        facts.append(Fact("slope of ln κ against ln MSD", f"{error} ({quality})", "negative; no number printed"))
    kelvin = material.msd_kelvin
    if abs(kelvin - 300) < 1e-6:
        guides.append(Guide(f"gate {gate.GATE_MSD} Å²", (gate.GATE_MSD, gate.GATE_MSD), None, dashed=True))
        facts += _gate_facts(material, line)
    else:
        facts.append(Fact("gate", f"not scored: MSD is at {kelvin:g} K, the gate is defined at 300 K"))
    caption = (
        "One point is one crystal; open ones have a fit that is not trusted and count in no number. "
        f"MSD at {kelvin:g} K, largest over the atoms; κ is κ_P + κ_C at {_kappa_kelvin(material):g} K."
    )
    bars = _kappa_bars(material, points)
    return [
        Scatter(
            name,
            title,
            caption + (_BARS if bars is not None else ""),
            Axis(f"largest mean square displacement at {kelvin:g} K (Å²)", log=True),
            Axis(f"κ at {_kappa_kelvin(material):g} K (W m⁻¹ K⁻¹)", log=True),
            points,
            x,
            y,
            _colourings(material, points, "space group", "prototype", "κ_C/κ"),
            guides,
            facts,
            ~trusted,
            bars,
        )
    ]


def coherence_share(material: Material) -> list[Figure]:
    """κ_C/κ_total against κ_total with the 50 % line (paper: Fig. 6)."""
    name, title = "coherence-share", "Wave-like share of κ"
    total, wave, particle = (material.column(f"kappa_{part}_w_mk") for part in ("total", "c", "p"))
    points = np.flatnonzero((total > 0) & (wave > 0))
    if not len(points):
        return [Missing(name, title, "No coherences: set conductivity.solver = wigner (package phon-wigner).")]
    share = 100 * wave[points] / total[points]
    trusted = ~_untrusted(material, points)
    positive = trusted & (particle[points] > 0)
    paper = dict(gate.PAPER_RATIOS)
    facts = [
        Fact(
            f"mean κ_C/κ_P for {label}",
            f"{ratio:.3g} ({_crystals(count)})",
            f"{paper[label]:g}",
        )
        for label, ratio, count in gate.coherence_ratios(particle[points][positive], wave[points][positive])
    ]
    facts.append(Fact("mostly wave-like (above 50 %)", f"{int((share[trusted] > 50).sum())} of {int(trusted.sum())}"))
    return [
        Scatter(
            name,
            title,
            "Share of the coherences in κ. Above the dashed line heat tunnels more than it flies.",
            Axis(f"κ at {_kappa_kelvin(material):g} K (W m⁻¹ K⁻¹)", log=True),
            Axis("κ_C / κ (%)", log=True),
            points,
            total[points],
            share,
            _colourings(material, points, "space group", "prototype", "max MSD"),
            [Guide("50 %", None, (50.0, 50.0), dashed=True)],
            facts,
            ~trusted,
        )
    ]


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
    trusted = ~_untrusted(material, points)
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
    bars = _kappa_bars(material, points) if column == "kappa_total_w_mk" else None
    caption = f"Reference: {material.reference.path.name}.{' Dashed: a factor of two.' if log else ''}"
    return Scatter(
        name,
        f"{symbol} against a reference",
        caption + (_BARS if bars is not None else ""),
        Axis(f"{symbol}, reference ({unit})", log=log),
        Axis(f"{symbol}, this run ({unit})", log=log),
        points,
        x,
        y,
        _colourings(material, points, "space group", "prototype"),
        guides,
        facts,
        ~trusted,
        bars,
    )


def msd_by_element(material: Material) -> list[Figure]:
    """Mean over the crystals of each element's mean square displacement (paper: Fig. S4)."""
    name, title = "msd-by-element", "Which elements rattle"
    sums: dict[str, list[float]] = {}
    for row, crystal in zip(material.rows, material.crystals, strict=True):
        if row.get("stable"):
            for symbol, value in crystal.msd_by_element.items():
                sums.setdefault(symbol, []).append(value)
    if not sums:
        return [Missing(name, title, "No stable crystal has mean square displacements yet.")]
    values = {symbol: (float(np.mean(found)), len(found)) for symbol, found in sorted(sums.items())}
    caption = "Mean square displacement of an element's atoms, averaged over the stable crystals that hold it."
    label = f"mean square displacement at {material.msd_kelvin:g} K (Å²)"
    return [ElementMap(name, title, caption, label, values)]


def bonding_map(material: Material) -> list[Figure]:
    """Antibonding against bonding integrals of COHP, coloured by κ (paper: Fig. 5)."""
    name, title = "bonding-map", "Bonding and antibonding"
    bonding, antibonding = material.column("cohp_bonding_ev"), material.column("cohp_antibonding_ev")
    points = np.flatnonzero(np.isfinite(bonding) & np.isfinite(antibonding))
    if not len(points):
        return [Missing(name, title, "No COHP integrals: add the property 'cohp', which reads LOBSTER files.")]
    return [
        Scatter(
            name,
            title,
            "COHP integrated up to the Fermi level, mean over the pairs of a crystal. In the paper, weak bonding with "
            "strong antibonding has κ < 3 W m⁻¹ K⁻¹ only.",
            Axis("bonding (eV per pair)"),
            Axis("antibonding (eV per pair)"),
            points,
            bonding[points],
            antibonding[points],
            _colourings(material, points, "κ", "max MSD", "space group"),
        )
    ]


def descriptor_map(material: Material) -> list[Figure]:
    """t-SNE of the descriptor vectors, coloured by space group, κ and MSD (paper: Fig. S5)."""
    name, title = "descriptor-map", "Map of the crystals"
    shapes = [crystal.descriptor.shape for crystal in material.crystals if crystal.descriptor is not None]
    if not shapes:
        reason = (
            "No descriptor vectors. Add the property 'descriptor' to the run (properties.names), or give "
            "--descriptors FILE."
        )
        return [Missing(name, title, reason)]
    common = max(set(shapes), key=shapes.count)
    chosen = [i for i, c in enumerate(material.crystals) if c.descriptor is not None and c.descriptor.shape == common]
    if len(chosen) < FEWEST:
        return [Missing(name, title, f"Only {len(chosen)} crystals have descriptors; a map needs {FEWEST}.")]
    n_all = len(chosen)
    if n_all > _MOST_MAPPED:
        chosen = sorted(np.random.default_rng(0).choice(chosen, _MOST_MAPPED, replace=False).tolist())
    points = np.array(chosen, dtype=np.int64)
    drawn = "" if n_all == len(chosen) else f" {len(chosen):,} of {n_all:,} crystals, drawn at random."
    try:
        plane = embed_in_plane(np.array([material.crystals[index].descriptor for index in chosen]))
    except MissingExtraError as error:
        return [Missing(name, title, str(error))]
    return [
        Scatter(
            name,
            title,
            f"t-SNE of {common[0]} descriptors of each crystal: neighbours are alike, the axes mean nothing.{drawn}",
            Axis("t-SNE 1", ticks=False),
            Axis("t-SNE 2", ticks=False),
            points,
            plane[:, 0],
            plane[:, 1],
            _colourings(material, points, "space group", "κ", "max MSD", "prototype"),
        )
    ]


def _crystals(count: int) -> str:
    """Count crystals in words."""
    return f"{count:,} crystal{'' if count == 1 else 's'}"


def _signed(value: float) -> str:
    """Two decimals with a real minus."""
    return f"{value:.2f}".replace("-", "−")


def _gate_facts(material: Material, line: gate.PowerLaw | None) -> list[Fact]:
    """Numbers of the paper's gate beside the paper's, and of the run's own gate where it had one."""
    rows = [row for row in material.rows if not _is_untrusted(row)]
    target, expression = f"kappa_total_w_mk < {gate.LOW_KAPPA:g}", f"max_msd >= {gate.GATE_MSD:g}"
    if "max_msd" not in {name for row in rows for name in row}:
        return []
    paper = audit_gate(rows, target, expression=expression)
    n = paper.n_passed + paper.n_held_back
    facts = [
        Fact("recall: of κ < 1, past the gate", str(paper.recall), f"{100 * gate.PAPER_RECALL:.0f} %"),
        Fact("precision: past the gate, κ < 1", str(paper.precision), f"{100 * gate.PAPER_PRECISION:.1f} %"),
        Fact("past the gate", f"{paper.n_passed:,} of {n:,}", f"{100 * gate.PAPER_PASSED:.1f} %"),
    ]
    if line is not None:
        here = f"{line.at(gate.GATE_MSD):.2f} W/mK"
        facts.append(Fact("line at the gate", here, f"{gate.PAPER_KAPPA_AT_GATE} W/mK (DFT line)"))
    own = material.run.settings.gate
    if own.expression:
        audited = audit_gate(rows, own.audit_target)
        known = f"recall {audited.recall}, precision {audited.precision}"
        missing = "" if audited.n_audited or not audited.n_held_back else "; gate.audit_share would tell the recall"
        facts.append(Fact(f"the run's own gate ({own.expression})", known + missing))
    return facts


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


def _is_untrusted(row: dict[str, Any]) -> bool:
    """Whether the fit of a crystal, or its κ, is not trusted."""
    return row.get("trusted") in (0, False) or row.get("kappa_trusted") in (0, False)


def _untrusted(material: Material, points: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Apply :func:`_is_untrusted` to each point."""
    return np.array([_is_untrusted(material.rows[index]) for index in points], dtype=bool)


def _kappa_bars(material: Material, points: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """κ/f and κ·f of each point, f one standard deviation of ln κ over the committee; None without a committee."""
    kappa, factor = (material.column(name)[points] for name in ("kappa_total_w_mk", "kappa_interval_factor"))
    return np.column_stack([kappa / factor, kappa * factor]) if np.isfinite(factor).any() else None


def _kappa_kelvin(material: Material) -> float:
    """Temperature of the κ columns, K."""
    kelvin = material.column("kappa_temperature_k")
    return float(kelvin[np.isfinite(kelvin)][0]) if np.isfinite(kelvin).any() else 300.0


def _colourings(material: Material, points: NDArray[np.int64], *names: str) -> list[Colouring]:
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
    values: list[Any] = [float(value) if np.isfinite(value) and value >= 0 else None for value in share]
    return Colouring("κ_C/κ (%)", "linear", values)


_COLOURINGS: dict[str, Callable[[Material, NDArray[np.int64]], Colouring]] = {
    "space group": _by_space_group,
    "prototype": _by_prototype,
    "κ": _by_column("κ (W m⁻¹ K⁻¹)", "kappa_total_w_mk"),
    "max MSD": _by_column("max MSD (Å²)", "max_msd"),
    "κ_C/κ": _by_coherences,
}
