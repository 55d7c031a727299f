"""Figures in one style, and as the content of files."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "figure_content", "label_few_ticks", "new_figure", "paper_style"]

FORMATS = ("png", "svg", "pdf")
"""In which a figure is written where nobody asks for one."""

_DATES = {"svg": "Date", "pdf": "CreationDate"}
_STYLE = Path(__file__).with_name("paper.mplstyle")


def paper_style() -> AbstractContextManager[None]:
    """Return the context in which figures are drawn: fonts, lines and ticks as journals want them."""
    from matplotlib import rc_context

    return rc_context(fname=_STYLE)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of that size (inches) that can be saved without pyplot; draw in :func:`paper_style`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def figure_content(figure: Figure, form: str, *, transparent: bool = False) -> bytes:
    """Return a figure as the content of a file: text stays text, and the same figure gives the same bytes.

    Parameters
    ----------
    figure : Figure
    form : str
        Format, as the ending of a name.
    transparent : bool
        Without a background.
    """
    content = io.BytesIO()
    date = _DATES.get(form)
    with paper_style():
        figure.savefig(content, format=form, transparent=transparent, metadata={date: None} if date else None)
    figure.set_layout_engine("none")  # that of the first format serves all: it takes longer than drawing
    return content.getvalue()


def label_few_ticks(axes: Axes, longest: float = 50.0) -> None:
    """Write 1, 2 and 5 of each decade, of axes longer than a factor of ``longest`` the 1 alone.

    Matplotlib would label every minor tick of a short axis, or none.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() != "log":
            continue
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < longest * low else (1.0,)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
