"""Calculated against reference conductivities, and the SRME of each material."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from screen_cli.bench.score import MaterialScore
from screen_cli.report.figures.figure_file import label_few_ticks, new_figure, paper_style
from screen_cli.report.figures.style import CATEGORIES, GREY, KAPPA

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_parity(scores: Sequence[MaterialScore], *, title: str = "") -> Figure:
    """Draw κ against the reference on logarithmic axes, beside SRME by material.

    Parameters
    ----------
    scores : sequence of MaterialScore
        Those counted are drawn; failures appear in the right panel alone, at 2.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    counted = [score for score in scores if score.verdict in ("scored", "failed")]
    prototypes = sorted({score.prototype for score in counted})
    colours = {name: CATEGORIES[index % len(CATEGORIES)] for index, name in enumerate(prototypes)}
    with paper_style():
        figure = new_figure(7.0, max(3.0, 0.13 * len(counted) + 0.8))  # two columns of a journal
        parity, bars = figure.subplots(1, 2, width_ratios=(1, 1))
        _draw_parity(parity, counted, colours)
        _draw_bars(bars, counted, colours)
        if title:
            parity.set_title(title, loc="left")
    return figure


def _draw_parity(axes: Axes, scores: Sequence[MaterialScore], colours: Mapping[str, str]) -> None:
    """κ against the reference, by prototype, with how far it is off."""
    values: list[float] = []
    for name, colour in colours.items():
        members = [score for score in scores if score.prototype == name]
        points = [(score.kappa_reference, score.kappa) for score in members if score.kappa and score.kappa_reference]
        if points:
            axes.plot(*zip(*points, strict=True), "o", ms=4, mew=0, color=colour, label=name)
            values += [value for point in points for value in point if value is not None]
    axes.set(xlabel=f"{KAPPA}, reference", ylabel=KAPPA, aspect="equal")
    if not values:
        return
    limits = (0.7 * min(values), 1.4 * max(values))
    axes.plot(limits, limits, "-", color=GREY, lw=0.8)
    axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
    label_few_ticks(axes)
    axes.legend(loc="upper left")
    ratios = np.log10(np.array(values[1::2]) / np.array(values[::2]))
    text = f"{len(ratios)} crystals\nmean |log₁₀ ratio| {np.abs(ratios).mean():.3f}"
    axes.text(0.96, 0.04, text, transform=axes.transAxes, ha="right", fontsize=7)


def _draw_bars(axes: Axes, scores: Sequence[MaterialScore], colours: Mapping[str, str]) -> None:
    """SRME of each material, the best first."""
    ordered = sorted(scores, key=lambda score: (score.srme or 0.0, score.name))
    axes.barh(
        range(len(ordered)),
        [score.srme or 0.0 for score in ordered],
        color=[colours[score.prototype] for score in ordered],
        hatch=["" if score.verdict == "scored" else "///" for score in ordered],
        edgecolor="white",
    )
    axes.set_yticks(range(len(ordered)), [score.name for score in ordered], fontsize=6)
    axes.set(xlabel="SRME (hatched: failed)", xlim=(0, 2.05))
