"""κ against the largest displacement, and the share of the coherences."""

from __future__ import annotations

import numpy as np

from screen_cli.analysis.gate_audit import audit_gate
from screen_cli.report import gate
from screen_cli.report.figures.colourings import BARS, colourings, is_untrusted, kappa_bars, kappa_kelvin, untrusted
from screen_cli.report.figures.specification import Axis, Fact, Figure, Guide, Missing, Scatter
from screen_cli.report.material import Material

_AT_GATE = f"{gate.PAPER_KAPPA_AT_GATE} W/mK (DFT line)"


def kappa_against_msd(material: Material) -> list[Figure]:
    """κ against the largest mean square displacement, with the fitted line and the gate (paper: Fig. 4)."""
    name, title = "kappa-msd", "κ against the largest displacement"
    msd, kappa = material.column("max_msd"), material.column("kappa_total_w_mk")
    points = np.flatnonzero((msd > 0) & (kappa > 0))
    if not len(points):
        return [Missing(name, title, "No crystal has both κ and max MSD yet.")]
    x, y = msd[points], kappa[points]
    trusted = ~untrusted(material, points)
    line = gate.fit_power_law(x[trusted], y[trusted])
    guides = [Guide("1 W m⁻¹ K⁻¹", None, (gate.LOW_KAPPA, gate.LOW_KAPPA), dashed=True)]
    facts = []
    if line is not None:
        ends = (float(x.min()), float(x.max()))
        guides.append(Guide(f"fit, slope {_signed(line.slope)}", ends, (line.at(ends[0]), line.at(ends[1]))))
        error = f"{_signed(line.slope)} ± {line.slope_error:.2f}"
        quality = f"r = {_signed(line.correlation)}, {_crystals(int(trusted.sum()))}"
        facts.append(Fact("slope of ln κ against ln MSD", f"{error} ({quality})", "negative; no number printed"))
    reference = _reference_line(material)
    if reference is not None:
        ends, other = reference
        guides.append(
            Guide("reference's fit", ends, (other.at(ends[0]), other.at(ends[1])), dashed=True, in_view=False)
        )
        facts.append(Fact("slope of the reference", f"{_signed(other.slope)} ± {other.slope_error:.2f}"))
        facts.append(Fact("line of the reference at the gate", f"{other.at(gate.GATE_MSD):.2f} W/mK", _AT_GATE))
    kelvin = material.msd_kelvin
    if abs(kelvin - 300) < 1e-6:
        guides.append(Guide(f"gate {gate.GATE_MSD} Å²", (gate.GATE_MSD, gate.GATE_MSD), None, dashed=True))
        facts += _gate_facts(material, line)
    else:
        facts.append(Fact("gate", f"not scored: MSD is at {kelvin:g} K, the gate is defined at 300 K"))
    caption = (
        "One point is one crystal; open ones have a fit that is not trusted and count in no number. "
        f"MSD at {kelvin:g} K, largest over the atoms; κ is κ_P + κ_C at {kappa_kelvin(material):g} K."
    )
    bars = kappa_bars(material, points)
    return [
        Scatter(
            name,
            title,
            caption + (BARS if bars is not None else ""),
            Axis(f"max MSD at {kelvin:g} K (Å²)", log=True),
            Axis(f"κ at {kappa_kelvin(material):g} K (W m⁻¹ K⁻¹)", log=True),
            points,
            x,
            y,
            colourings(material, points, "space group", "prototype", "κ_C/κ"),
            guides,
            facts,
            ~trusted,
            bars,
        )
    ]


def _reference_line(material: Material) -> tuple[tuple[float, float], gate.PowerLaw] | None:
    """Fit κ against the largest displacement of the reference file, where it has both: ends, and the line."""
    columns = {} if material.reference is None else material.reference.columns
    if not {"max_msd", "kappa_total_w_mk"} <= set(columns):
        return None
    msd, kappa = columns["max_msd"], columns["kappa_total_w_mk"]
    usable = (msd > 0) & (kappa > 0)
    line = gate.fit_power_law(msd[usable], kappa[usable])
    return None if line is None else ((float(msd[usable].min()), float(msd[usable].max())), line)


def coherence_share(material: Material) -> list[Figure]:
    """κ_C/κ_total against κ_total with the 50 % line (paper: Fig. 6)."""
    name, title = "coherence-share", "Wave-like share of κ"
    total, wave, particle = (material.column(f"kappa_{part}_w_mk") for part in ("total", "c", "p"))
    points = np.flatnonzero((total > 0) & (wave > 0))
    if not len(points):
        return [Missing(name, title, "No coherences: set conductivity.solver = wigner (package phon-wigner).")]
    share = 100 * wave[points] / total[points]
    trusted = ~untrusted(material, points)
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
            Axis(f"κ at {kappa_kelvin(material):g} K (W m⁻¹ K⁻¹)", log=True),
            Axis("κ_C / κ (%)", log=True),
            points,
            total[points],
            share,
            colourings(material, points, "space group", "prototype", "max MSD"),
            [Guide("50 %", None, (50.0, 50.0), dashed=True)],
            facts,
            ~trusted,
        )
    ]


def _gate_facts(material: Material, line: gate.PowerLaw | None) -> list[Fact]:
    """Numbers of the paper's gate beside the paper's, and of the run's own gate where it had one."""
    rows = [row for row in material.rows if not is_untrusted(row)]
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
        facts.append(Fact("line at the gate", here, _AT_GATE))
    own = material.run.settings.gate
    if own.expression:
        audited = audit_gate(rows, own.audit_target)
        known = f"recall {audited.recall}, precision {audited.precision}"
        missing = "" if audited.n_audited or not audited.n_held_back else "; gate.audit_share would tell the recall"
        facts.append(Fact(f"the run's own gate ({own.expression})", known + missing))
    return facts


def _crystals(count: int) -> str:
    """Count crystals in words."""
    return f"{count:,} crystal{'' if count == 1 else 's'}"


def _signed(value: float) -> str:
    """Two decimals with a real minus."""
    return f"{value:.2f}".replace("-", "−")
