"""One style for every figure: sizes, fonts, and colours that colour-blind readers can tell apart."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN = 3.39
"""Width of a journal's column, inches: 8.6 cm."""

KAPPA = "κ (W m⁻¹ K⁻¹)"
"""How the axis of a conductivity is named."""

_FORMATS = {"png": None, "svg": "Date", "pdf": "CreationDate"}

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


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as PNG, SVG and PDF: text stays text, and the same figure gives the same bytes.

    Parameters
    ----------
    figure : Figure
    stem : Path
        Name of the files without their endings.
    """
    paths = []
    with paper_style():
        for ending, date in _FORMATS.items():
            paths.append(stem.with_name(f"{stem.name}.{ending}"))
            figure.savefig(paths[-1], metadata={date: None} if date else None)
    return paths


def label_few_ticks(axes: Axes) -> None:
    """Write 1, 2 and 5 of each decade: matplotlib would label every minor tick of a short axis, or none."""
    from matplotlib.ticker import LogLocator, NullFormatter

    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() != "log":
            continue
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 50 * low else (1.0,)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
