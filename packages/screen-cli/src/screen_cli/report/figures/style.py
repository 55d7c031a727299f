"""One style for every figure: sizes, fonts, and colours that colour-blind readers can tell apart."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN = 3.4
"""Width of a journal's column, inches."""

_STYLE = Path(__file__).with_name("paper.mplstyle")  # the same in all four packages

BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#666666"

CATEGORIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7B4FA3", "#8C564B")
"""Okabe and Ito's colours without their black and yellow, and two darker ones; most frequent category first."""

OTHER = "#8A929C"
"""Categories beyond the list, and points without a value."""


def sequential(n_colours: int = 24, *, dark: bool = False) -> list[str]:
    """Return viridis, dark to light, as hex strings.

    Without its palest tenth, which white paper swallows, or (``dark``) without its darkest fifth.
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    viridis = colormaps["viridis"]
    low, high = (0.22, 1.0) if dark else (0.0, 0.92)
    return [to_hex(viridis(low + (high - low) * index / (n_colours - 1))) for index in range(n_colours)]


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
