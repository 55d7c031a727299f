"""Two runs against each other, crystal by crystal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from screen_cli.analysis.comparison import Comparison
from screen_cli.report.figures.figure_file import label_few_ticks, new_figure, paper_style
from screen_cli.report.figures.style import BLUE, COLUMN, GREY, KAPPA

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_POINTS = 1000


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
        axes.text(
            0.04,
            0.96,
            f"{agreement.n} crystals\nmean log₁₀ ratio {agreement.mean_log10_ratio:+.3f}\n"
            f"its size {agreement.mean_abs_log10_ratio:.3f}".replace("-", "−"),
            transform=axes.transAxes,
            va="top",
            fontsize=7,
        )
    return figure


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
