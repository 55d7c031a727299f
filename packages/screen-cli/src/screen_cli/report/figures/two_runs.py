"""Two runs against each other, crystal by crystal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from screen_cli.analysis.comparison import LOGARITHMIC, Comparison
from screen_cli.report.figures.figure_file import label_few_ticks, new_figure, paper_style
from screen_cli.report.figures.style import BLUE, COLUMN, GREY, KAPPA

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_POINTS = 1000

_PANELS = (
    ("cv_j_mol_k", "c_v (J mol⁻¹ K⁻¹)"),
    ("vs_m_s", "V_s (m s⁻¹)"),
    ("p3", "P3 (ps rad⁻¹)"),
    ("max_msd", "max MSD (Å²)"),
    ("kappa_total_w_mk", KAPPA),
)


def draw_parity(comparison: Comparison, name_a: str, name_b: str, column: str = "kappa_total_w_mk") -> Figure:
    """Draw B against A on logarithmic axes, with the line of agreement and factors of two.

    Raises
    ------
    ValueError
        No crystal has the value in both runs.
    """
    agreement = next((item for item in comparison.agreements if item.column == column), None)
    if agreement is None:
        raise ValueError(f"no crystal has {column} in both runs")
    pairs = comparison.pairs_of(column)
    with paper_style():
        figure = new_figure(COLUMN, 3.1)
        axes = figure.subplots()
        low, high = 0.7 * pairs.min(), 1.4 * pairs.max()
        axes.plot([low, high], [low, high], color=GREY, linewidth=0.8)
        for factor in (0.5, 2.0):
            axes.plot([low, high], [factor * low, factor * high], "--", color=GREY, linewidth=0.6)
        draw_cloud(figure, axes, pairs)
        axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
        label = KAPPA if column == "kappa_total_w_mk" else column
        axes.set_xlabel(f"{label}, {name_a}")
        axes.set_ylabel(f"{label}, {name_b}")
        label_few_ticks(axes)
        words = (
            f"{agreement.n} crystals\nmean log₁₀ ratio {agreement.mean_log10_ratio:+.3f}\n"
            f"its size {agreement.mean_abs_log10_ratio:.3f}".replace("-", "−")
        )
        _note(axes, words, 0.04, "left", size=7)
    return figure


def draw_properties(comparison: Comparison, name_a: str, name_b: str) -> Figure | None:
    """Draw errors of the frequencies and B against A for c_v, V_s, P3, max MSD and κ (paper: Figs. 2 and 3).

    Returns
    -------
    Figure or None
        None where no crystal has anything but κ in both runs. c_v, V_s and P3 are on linear axes, with R² and mean
        error of the values, the others on logarithmic ones, with those of the logarithm.
    """
    known = {item.column: item for item in comparison.agreements if item.n >= 2}
    panels = [(column, label) for column, label in _PANELS if column in known]
    errors = comparison.stable_frequency_errors
    n_panels = len(panels) + bool(len(errors))
    if n_panels < 2:
        return None
    with paper_style():
        n_rows = -(-n_panels // 3)
        figure = new_figure(2 * COLUMN, 0.2 + 2.2 * n_rows)
        places = iter(figure.subplots(n_rows, 3).flat)
        if len(errors):
            axes = next(places)
            axes.hist(
                errors, bins=np.linspace(0, max(2 * np.median(errors), np.quantile(errors, 0.95)), 25), color=BLUE
            )
            axes.set(xlabel="RMSE of the frequencies (% of their range)", ylabel="crystals")
            _note(
                axes,
                f"{len(errors)} crystals\nmean {errors.mean():.2f} %\nmedian {np.median(errors):.2f} %",
                0.96,
                "right",
            )
        for column, label in panels:
            axes, pairs, item = next(places), comparison.pairs_of(column), known[column]
            is_log = column in LOGARITHMIC
            low, high = (0.7 * pairs.min(), 1.4 * pairs.max()) if is_log else _widened(pairs)
            axes.plot([low, high], [low, high], color=GREY, linewidth=0.8)
            axes.plot(pairs[:, 0], pairs[:, 1], "o", color=BLUE, alpha=0.5, markersize=2.5, markeredgewidth=0)
            scale = "log" if is_log else "linear"
            axes.set(xscale=scale, yscale=scale, xlim=(low, high), ylim=(low, high), aspect="equal")
            axes.set(xlabel=f"A: {label}", ylabel=f"B: {label}")
            if is_log:
                label_few_ticks(axes, longest=10.0)
            else:
                axes.locator_params(nbins=4)
            size = f"mean |log₁₀| {item.mean_abs_log10_ratio:.3f}" if is_log else f"MAE {item.mean_abs_error:.3g}"
            fit = "" if item.r_squared is None else f"\nR² {item.r_squared:.3f}".replace("-", "−")
            _note(axes, f"{item.n} crystals{fit}\n{size}", 0.04, "left")
        for axes in places:
            axes.set_axis_off()
        figure.suptitle(f"A: {name_a}; B: {name_b}", fontsize=7)
    return figure


def _widened(pairs: NDArray[np.float64]) -> tuple[float, float]:
    """Limits of a linear axis, a twentieth beyond the points."""
    margin = 0.05 * max(float(np.ptp(pairs)), 1e-12)
    return float(pairs.min()) - margin, float(pairs.max()) + margin


def _note(axes: Axes, words: str, place: float, side: str, size: float = 6) -> None:
    """Write into an upper corner."""
    axes.text(place, 0.96, words, transform=axes.transAxes, va="top", ha=side, fontsize=size)


def draw_cloud(figure: Figure, axes: Axes, pairs: NDArray[np.float64]) -> None:
    """Draw pairs on doubly logarithmic axes: as points, or as their density where there are many.

    Parameters
    ----------
    figure : Figure
    axes : Axes
    pairs : ndarray
        float64 (n_pairs, 2), positive.
    """
    if len(pairs) <= _MOST_POINTS:
        axes.plot(pairs[:, 0], pairs[:, 1], "o", color=BLUE, alpha=0.7, markersize=3.5, markeredgewidth=0)
        return
    cells = axes.hexbin(*pairs.T, gridsize=60, bins="log", xscale="log", yscale="log", mincnt=1, linewidths=0.1)
    figure.colorbar(cells, ax=axes, label="crystals")
