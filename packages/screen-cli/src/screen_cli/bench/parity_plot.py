"""Calculated against reference conductivities, and the SRME of each material."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from screen_cli.bench.score import MaterialScore

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    counted = [score for score in scores if score.verdict in ("scored", "failed")]
    prototypes = sorted({score.prototype for score in counted})
    colour = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(prototypes)}
    height = max(3.4, 0.16 * len(counted) + 1.0)
    figure = Figure(figsize=(8.0, height), layout="constrained")
    FigureCanvasAgg(figure)
    parity, bars = figure.subplots(1, 2, width_ratios=(1, 1))
    values: list[float] = []
    for name in prototypes:
        members = [score for score in counted if score.prototype == name]
        points = [(score.kappa_reference, score.kappa) for score in members if score.kappa and score.kappa_reference]
        if points:
            parity.plot(*zip(*points, strict=True), "o", ms=5, color=colour[name], label=name)
            values += [value for point in points for value in point if value is not None]
    if values:
        limits = (0.7 * min(values), 1.4 * max(values))
        parity.plot(limits, limits, "-", color="#666666", lw=0.8)
        parity.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
        for axis in (parity.xaxis, parity.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
        parity.legend(frameon=False)
    parity.set(xlabel="κ of the reference (W/mK)", ylabel="κ (W/mK)", aspect="equal")
    ordered = sorted(counted, key=lambda score: (score.srme or 0.0, score.name))
    bars.barh(
        range(len(ordered)),
        [score.srme or 0.0 for score in ordered],
        color=[colour[score.prototype] for score in ordered],
        hatch=["" if score.verdict == "scored" else "///" for score in ordered],
        edgecolor="white",
    )
    bars.set_yticks(range(len(ordered)), [score.name for score in ordered], fontsize=7)
    bars.set(xlabel="SRME (hatched: failed)", xlim=(0, 2.05))
    if title:
        figure.suptitle(title)
    return figure
