"""Two runs against each other, crystal by crystal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from screen_cli.analysis.comparison import Comparison
from screen_cli.report.figures.style import BLUE, GREY, new_figure, paper_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
        figure = new_figure(4.2, 4.0)
        axes = figure.subplots()
        low, high = 0.7 * pairs.min(), 1.4 * pairs.max()
        axes.plot([low, high], [low, high], color=GREY, linewidth=1)
        for factor in (0.5, 2.0):
            axes.plot([low, high], [factor * low, factor * high], "--", color=GREY, linewidth=0.7)
        axes.plot(pairs[:, 0], pairs[:, 1], "o", color=BLUE, alpha=0.7, markersize=4)
        axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
        label = "κ (W m⁻¹ K⁻¹)" if column == "kappa_total_w_mk" else column
        axes.set_xlabel(f"{label}, {name_a}", fontsize=8)
        axes.set_ylabel(f"{label}, {name_b}", fontsize=8)
        if high < 100 * low:
            _label_few_ticks(axes)
        axes.set_title(
            f"{agreement.n} crystals, mean log₁₀ ratio {agreement.mean_log10_ratio:+.3f}, "
            f"size {agreement.mean_abs_log10_ratio:.3f}",
            fontsize=9,
        )
    return figure


def _label_few_ticks(axes: Axes) -> None:
    """On less than two decades matplotlib would label every minor tick."""
    from matplotlib.ticker import LogLocator, NullFormatter

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
