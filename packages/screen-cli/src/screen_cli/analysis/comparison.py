"""Two runs on the same crystals, usually with two force fields: where they agree, and by how much they differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]

COMPARED = (
    "kappa_total_w_mk",
    "kappa_p_w_mk",
    "kappa_c_w_mk",
    "min_frequency_thz",
    "max_frequency_thz",
    "max_msd",
    "vs_m_s",
    "cv_j_mol_k",
    "p3",
)
"""Columns that the joint table holds for both runs, as far as they have them."""


@dataclass(frozen=True)
class Agreement:
    """Statistics of one column over the crystals both runs have it for.

    Parameters
    ----------
    column : str
    n : int
        Crystals with a positive value in both runs.
    mean_log10_ratio : float
        Mean of log10(B/A): 0 without bias, 0.3 when B is twice A.
    mean_abs_log10_ratio : float
        Mean of its size: 0.254 is what the SDNNFF paper has against DFT (doi:10.1038/s43246-023-00390-3).
    rank_correlation : float or None
        Spearman's; None with fewer than three crystals.
    within_factor_2 : float
        Share of the crystals with 1/2 ≤ B/A ≤ 2.
    """

    column: str
    n: int
    mean_log10_ratio: float
    mean_abs_log10_ratio: float
    rank_correlation: float | None
    within_factor_2: float


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side.

    Parameters
    ----------
    rows : list of dict
        One for each crystal both runs read: ``id formula space_group``, then ``state``, ``stable``, ``trusted``,
        ``kappa_trusted`` and :data:`COMPARED` with ``_a`` and ``_b``, and of κ ``log10_ratio``, ``kappa_mean_w_mk``
        (geometric mean of both) and ``kappa_factor`` (A and B are this mean times and over it: how much the models
        leave open, a lower bound of the error). ``doubts`` says what else speaks against a number: models that
        disagree about stability, a fit or a κ that is not trusted, κ in one run alone.
    only_a, only_b : int
        Crystals that one run alone has.
    stability : dict of str to int
        ``both``, ``only_a``, ``only_b``, ``neither``: who calls a crystal stable, where both could tell.
    agreements : list of Agreement
        For each compared column with values.
    without_doubts : Agreement or None
        Of κ over the crystals without ``doubts``; None where there are none such, or nothing but such.
    """

    rows: list[dict[str, Any]]
    only_a: int
    only_b: int
    stability: dict[str, int]
    agreements: list[Agreement]
    without_doubts: Agreement | None = None

    @property
    def stability_agreement(self) -> float | None:
        """Share of the crystals on whose stability both agree; None when there is none."""
        total = sum(self.stability.values())
        return (self.stability["both"] + self.stability["neither"]) / total if total else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return {
            "n_common": len(self.rows),
            "only_a": self.only_a,
            "only_b": self.only_b,
            "stability": self.stability,
            "stability_agreement": self.stability_agreement,
            "agreements": [asdict(agreement) for agreement in self.agreements],
            "without_doubts": None if self.without_doubts is None else asdict(self.without_doubts),
            "rows": self.rows,
        }


def compare_rows(rows_a: Iterable[Row], rows_b: Iterable[Row]) -> Comparison:
    """Match the rows of two runs by the id of the crystal.

    Parameters
    ----------
    rows_a, rows_b : iterable of dict
        Rows of the index; those that a filter dropped or that could not be read do not take part.
    """
    first = {row["id"]: row for row in rows_a if _is_crystal(row)}
    joint, n_second = [], 0
    for row in rows_b:
        if _is_crystal(row):
            n_second += 1
            if row["id"] in first:
                joint.append(_join(first[row["id"]], row))
    agreements = [agreement for column in COMPARED if (agreement := _agreement(joint, column))]
    sound = [row for row in joint if not row["doubts"]]
    without_doubts = _agreement(sound, COMPARED[0])
    if without_doubts is not None and without_doubts.n == len(_pairs(joint, COMPARED[0])):
        without_doubts = None
    return Comparison(
        joint, len(first) - len(joint), n_second - len(joint), _stability(joint), agreements, without_doubts
    )


def draw_parity(comparison: Comparison, name_a: str, name_b: str, column: str = "kappa_total_w_mk") -> Figure:
    """Draw B against A on logarithmic axes, with the line of agreement and factors of two.

    Raises
    ------
    ValueError
        No crystal has the value in both runs.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    agreement = next((item for item in comparison.agreements if item.column == column), None)
    if agreement is None:
        raise ValueError(f"no crystal has {column} in both runs")
    pairs = _pairs(comparison.rows, column)
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    low, high = 0.7 * pairs.min(), 1.4 * pairs.max()
    axes.plot([low, high], [low, high], color="#5b6675", linewidth=1)
    for factor in (0.5, 2.0):
        axes.plot([low, high], [factor * low, factor * high], "--", color="#5b6675", linewidth=0.7)
    axes.plot(pairs[:, 0], pairs[:, 1], "o", color="#24527a", alpha=0.7, markersize=4)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
    label = "κ (W m⁻¹ K⁻¹)" if column == "kappa_total_w_mk" else column
    axes.set_xlabel(f"{label}, {name_a}", fontsize=8)
    axes.set_ylabel(f"{label}, {name_b}", fontsize=8)
    if high < 100 * low:  # less than two decades: matplotlib would label every minor tick
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
    axes.set_title(
        f"{agreement.n} crystals, mean log₁₀ ratio {agreement.mean_log10_ratio:+.3f}, "
        f"size {agreement.mean_abs_log10_ratio:.3f}",
        fontsize=9,
    )
    return figure


def _is_crystal(row: Row) -> bool:
    """Whether a row stands for a crystal that took part."""
    return row.get("state") != "filtered" and row.get("formula") is not None


def _join(a: Row, b: Row) -> dict[str, Any]:
    """One row for a crystal of both runs."""
    joint = {name: a.get(name) for name in ("id", "formula", "space_group", "prototype")}
    for name in ("state", "stable", "trusted", "kappa_trusted", *COMPARED):
        joint |= {f"{name}_a": a.get(name), f"{name}_b": b.get(name)}
    kappa_a, kappa_b = a.get("kappa_total_w_mk") or 0.0, b.get("kappa_total_w_mk") or 0.0
    both = kappa_a > 0 and kappa_b > 0
    joint["log10_ratio"] = math.log10(kappa_b / kappa_a) if both else None
    joint["kappa_mean_w_mk"] = math.sqrt(kappa_a * kappa_b) if both else None
    joint["kappa_factor"] = math.sqrt(max(kappa_a, kappa_b) / min(kappa_a, kappa_b)) if both else None
    joint["doubts"] = ", ".join(_doubts(joint, kappa_a, kappa_b))
    return joint


def _doubts(joint: Row, kappa_a: float, kappa_b: float) -> Iterator[str]:
    """Say what speaks against the κ of a crystal besides the distance of the models."""
    for name in "ab":
        other = joint["stable_b" if name == "a" else "stable_a"]
        if other and joint[f"stable_{name}"] in (False, 0):
            yield f"unstable in {name.upper()}"
    if (kappa_a > 0) != (kappa_b > 0):
        yield f"no κ in {'B' if kappa_a > 0 else 'A'}"
    for name, kappa in (("a", kappa_a), ("b", kappa_b)):
        if kappa > 0 and joint[f"trusted_{name}"] in (False, 0):
            yield f"rough fit in {name.upper()}"
        elif kappa > 0 and joint[f"kappa_trusted_{name}"] in (False, 0):
            yield f"doubtful κ in {name.upper()}"


def _pairs(rows: list[dict[str, Any]], column: str) -> Any:
    """Positive values of a column in both runs, float64 (n, 2)."""
    pairs = [(row[f"{column}_a"], row[f"{column}_b"]) for row in rows]
    return np.array([(a, b) for a, b in pairs if a is not None and b is not None and a > 0 and b > 0], dtype=float)


def _agreement(rows: list[dict[str, Any]], column: str) -> Agreement | None:
    """Statistics of one column, if both runs have it anywhere."""
    from scipy.stats import spearmanr

    pairs = _pairs(rows, column)
    if not len(pairs):
        return None
    ratio = np.log10(pairs[:, 1] / pairs[:, 0])
    varied = len(pairs) >= 3 and np.ptp(pairs[:, 0]) > 0 and np.ptp(pairs[:, 1]) > 0
    return Agreement(
        column,
        len(pairs),
        float(ratio.mean()),
        float(np.abs(ratio).mean()),
        float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic) if varied else None,
        float(np.mean(np.abs(ratio) <= math.log10(2) + 1e-12)),
    )


def _stability(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Count who calls a crystal stable."""
    counts = {"both": 0, "only_a": 0, "only_b": 0, "neither": 0}
    for row in rows:
        a, b = row["stable_a"], row["stable_b"]
        if a is not None and b is not None:
            counts["both" if a and b else "only_a" if a else "only_b" if b else "neither"] += 1
    return counts
