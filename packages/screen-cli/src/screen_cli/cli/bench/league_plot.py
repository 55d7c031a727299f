"""The league as a picture: mean SRME of every model with its interval, and what it makes of each conductivity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from screen_cli.bench.league import LeagueRow, common_materials
from screen_cli.bench.results import BenchResult
from screen_cli.report.figures.figure_file import label_few_ticks, new_figure, paper_style
from screen_cli.report.figures.style import BLUE, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_league(rows: Sequence[LeagueRow], results: Sequence[BenchResult]) -> Figure:
    """Draw the ranking, and beside it κ over the reference's of every material and model.

    Parameters
    ----------
    rows : sequence of LeagueRow
        The best first.
    results : sequence of BenchResult
        Those that were ranked, in any order.

    Returns
    -------
    matplotlib.figure.Figure
    """
    by_label = {result.label: result for result in results}
    with paper_style():
        figure = new_figure(7.0, 0.36 * len(rows) + 1.1)  # two columns of a journal
        ranking, ratios = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.3))
        ordered = [by_label[row.label] for row in rows]
        _draw_ranking(ranking, rows, ordered)
        _draw_ratios(ratios, ordered)
    return figure


def _draw_ranking(axes: Axes, rows: Sequence[LeagueRow], results: Sequence[BenchResult]) -> None:
    """Mean SRME with its interval, the best on top."""
    places = np.arange(len(rows))
    means = np.array([row.srme for row in rows])
    reach = np.array([[row.srme - row.srme_low, row.srme_high - row.srme] for row in rows]).T
    axes.errorbar(means, places, xerr=np.maximum(reach, 0.0), fmt="o", ms=4, lw=1, capsize=2, color=BLUE)
    for place, row in enumerate(rows):
        if row.n_failed:
            at, side = (row.srme_high + 0.06, "left") if row.srme_high < 1.5 else (row.srme_low - 0.06, "right")
            axes.text(at, place, f"{row.n_failed} failed", ha=side, va="center", color=ORANGE, fontsize=7)
    names = ["\n".join([result.calculator.name, *result.calculator.told.values()]) for result in results]
    axes.set_yticks(places, names)
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlim=(0, 2), xlabel=f"SRME, mean of {rows[0].n_materials}")


def _draw_ratios(axes: Axes, results: Sequence[BenchResult]) -> None:
    """κ over the reference's, of the materials that all have."""
    common = common_materials(results)
    values = []
    for place, result in enumerate(results):
        ratios = sorted(
            score.kappa / score.kappa_reference
            for score in result.materials
            if score.id in common and score.kappa and score.kappa_reference
        )
        heights = place + 0.22 * np.sin(2.4 * np.arange(len(ratios)))  # neighbours do not hide one another
        axes.plot(ratios, heights, "o", ms=3, mew=0, alpha=0.7, color=BLUE)
        values += ratios
    axes.axvline(1.0, color=GREY, lw=0.8)
    axes.set(xscale="log", xlabel="κ / κ of the reference")
    axes.set_xlim(min([0.5, *values]) / 1.5, max([2.0, *values]) * 1.3)
    label_few_ticks(axes)
