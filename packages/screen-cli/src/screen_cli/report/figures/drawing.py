"""The figures of papers: the same numbers as on the page, drawn by matplotlib."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from screen_cli.report.figures import style
from screen_cli.report.figures.figure_file import new_figure, paper_style
from screen_cli.report.figures.specification import Axis, Colouring, ElementMap, Fact, Scatter, table_position

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.transforms import Bbox

_GUIDES = ("#222222", "#B4481A", "#B3261E", "#5A6675")
_MOST_NAMES = 40
_ROUND = [digit * 10.0**decade for decade in range(-4, 3) for digit in (1, 2, 5)]
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def draw(figure: Scatter | ElementMap, names: list[str]) -> Canvas:
    """Draw one figure.

    Parameters
    ----------
    figure : Scatter or ElementMap
    names : list of str
        Formula of each row of the table, written beside the points when they are few.

    Returns
    -------
    matplotlib.figure.Figure
    """
    with paper_style():
        wide = isinstance(figure, ElementMap)
        canvas = new_figure(*((7.0, 3.9) if wide else (style.COLUMN, 3.3)))
        axes = canvas.subplots()
        if isinstance(figure, ElementMap):
            _draw_elements(canvas, axes, figure)
        else:
            _draw_points(canvas, axes, figure, names)
        canvas.draw_without_rendering()
    return canvas


def _draw_points(canvas: Canvas, axes: Axes, figure: Scatter, names: list[str]) -> None:
    """Points, guides, legend."""
    count = len(figure.points)
    size = 4.0 if count > 2000 else 8.0 if count > 300 else 16.0
    opened = np.zeros(count, dtype=bool) if figure.open_points is None else figure.open_points
    colouring = figure.colourings[0] if figure.colourings else None
    _set_scales(axes, figure)
    if colouring is not None and colouring.kind != "category":
        _draw_shaded(canvas, axes, figure, colouring, size)
    else:
        _draw_categories(axes, figure, colouring, size, opened)
    if figure.y_bars is not None:
        known = np.isfinite(figure.y_bars).all(axis=1)
        low, high = figure.y_bars[known].T
        axes.vlines(figure.x_values[known], low, high, colors=style.OTHER, lw=0.8, zorder=0.9)
    for number, guide in enumerate(figure.guides):
        line: dict[str, Any] = {
            "color": _GUIDES[number % len(_GUIDES)],
            "lw": 1.1,
            "ls": "--" if guide.dashed else "-",
            "zorder": 1.5,
        }
        label = guide.label if guide.label not in axes.get_legend_handles_labels()[1] else None
        if guide.x is not None and guide.y is None:
            axes.axvline(guide.x[0], label=label, **line)
        elif guide.y is not None and guide.x is None:
            axes.axhline(guide.y[0], label=label, **line)
        elif guide.x is not None and guide.y is not None:
            axes.plot(guide.x, guide.y, label=label, scalex=guide.in_view, scaley=guide.in_view, **line)
    if opened.any():
        axes.scatter([], [], s=size, facecolors="none", edgecolors=style.OTHER, label="fit not trusted")
    if axes.get_legend_handles_labels()[0]:
        canvas.legend(loc="outside lower center", ncols=3, fontsize=6.5, handlelength=1.4, columnspacing=1.0)
    if figure.name.startswith("parity"):
        _write_errors(axes, figure.facts)
    if count <= _MOST_NAMES:
        _write_names(canvas, axes, figure, names)


def _write_errors(axes: Axes, facts: Sequence[Fact]) -> None:
    """Error statistics of a parity plot in its corner."""
    text = "\n".join(f"{fact.label}: {fact.here.split(',')[0]}" for fact in facts[:3])
    axes.text(0.03, 0.97, text, transform=axes.transAxes, va="top", fontsize=6)


def _set_scales(axes: Axes, figure: Scatter) -> None:
    """Labels, logarithms, ticks."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    sides: tuple[tuple[Axis, Any, Any, Any], ...] = (
        (figure.x, axes.set_xscale, axes.xaxis, figure.x_values),
        (figure.y, axes.set_yscale, axes.yaxis, figure.y_values),
    )
    for spec, scale, axis, values in sides:
        axis.set_label_text(re.sub(r"κ_([PC])", r"κ$_\1$", spec.label))
        if not spec.ticks:
            axis.set_ticks([])
        elif spec.log:
            scale("log")
            decades = np.ptp(np.log10(values)) if len(values) else 1.0
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 1.6 else (1,)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter(NullFormatter())
    axes.margins(0.06)


def _draw_categories(
    axes: Axes, figure: Scatter, colouring: Colouring | None, size: float, opened: NDArray[np.bool_]
) -> None:
    """Points by category, the most frequent first; open where the fit is not trusted."""
    values = np.array(["" if v is None else v for v in colouring.values] if colouring else [""] * len(figure.points))
    found, counts = np.unique(values, return_counts=True)
    order = [str(name) for _, name in sorted(zip(-counts, found, strict=True)) if name]
    for rank, name in enumerate([*order, ""]):
        chosen = values == name
        if not chosen.any():
            continue
        colour = style.CATEGORIES[rank] if rank < len(style.CATEGORIES) and name else style.OTHER
        if colouring is None:
            colour = style.CATEGORIES[0]
        few = rank < len(style.CATEGORIES) and name
        label = f"{colouring.name} {name}" if few and colouring and name.isdigit() else name if few else None
        full, hollow = chosen & ~opened, chosen & opened
        axes.scatter(
            figure.x_values[full],
            figure.y_values[full],
            s=size,
            c=colour,
            lw=0,
            alpha=0.75,
            label=label,
            rasterized=len(values) > 2000,
        )
        axes.scatter(
            figure.x_values[hollow], figure.y_values[hollow], s=size, facecolors="none", edgecolors=colour, lw=0.8
        )


def _draw_shaded(canvas: Canvas, axes: Axes, figure: Scatter, colouring: Colouring, size: float) -> None:
    """Points by a number, with a colour bar from the 2nd to the 98th percentile."""
    from matplotlib.colors import ListedColormap, LogNorm, Normalize

    values = np.array([np.nan if value is None else float(value) for value in colouring.values])
    low, high = np.nanpercentile(values, [2, 98])
    norm = LogNorm(low, max(high, low * 1.0001)) if colouring.kind == "log" else Normalize(low, max(high, low + 1e-9))
    known = np.isfinite(values)
    axes.scatter(figure.x_values[~known], figure.y_values[~known], s=size, c=style.OTHER, lw=0)
    drawn = axes.scatter(
        figure.x_values[known],
        figure.y_values[known],
        s=size,
        c=values[known],
        cmap=ListedColormap(style.sequential(256)),
        norm=norm,
        lw=0,
        rasterized=len(values) > 2000,
    )
    canvas.colorbar(drawn, ax=axes, label=colouring.name, extend="both")


def _write_names(canvas: Canvas, axes: Axes, figure: Scatter, names: list[str]) -> None:
    """Write formulas beside points where they touch neither a point nor another name."""
    from matplotlib.transforms import Bbox

    canvas.draw_without_rendering()
    renderer = canvas.canvas.get_renderer()  # type: ignore[attr-defined]
    places = axes.transData.transform(np.column_stack([figure.x_values, figure.y_values]))
    taken = [Bbox.from_extents(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    if figure.y_bars is not None:
        ends = [axes.transData.transform(np.column_stack([figure.x_values, end])) for end in figure.y_bars.T]
        known = np.isfinite(figure.y_bars).all(axis=1)
        taken += [
            Bbox.from_extents(x - 1, y0, x + 1, y1) for (x, y0), (_, y1) in zip(*np.array(ends)[:, known], strict=True)
        ]
    frame = axes.get_window_extent(renderer)
    taken += _guide_boxes(axes, figure, frame)
    offsets = (
        (5, -2.5, "left"),
        (-5, -2.5, "right"),
        (0, 5, "center"),
        (0, -10, "center"),
        (4, 4, "left"),
        (4, -9, "left"),
    )
    for index, point in enumerate(figure.points):
        for dx, dy, side in offsets:
            text = axes.annotate(
                names[point].translate(_SUBSCRIPTS),
                (figure.x_values[index], figure.y_values[index]),
                xytext=(dx, dy),
                textcoords="offset points",
                ha=side,
                fontsize=6,
            )
            box = text.get_window_extent(renderer)
            inside = frame.x0 < box.x0 and box.x1 < frame.x1 and frame.y0 < box.y0 and box.y1 < frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


def _guide_boxes(axes: Axes, figure: Scatter, frame: Bbox) -> list[Bbox]:
    """Give what straight guides take of the frame, in pixels."""
    from matplotlib.transforms import Bbox

    boxes = []
    for guide in figure.guides:
        if guide.x is not None and guide.y is None:
            x = axes.transData.transform((guide.x[0], figure.y_values[0]))[0]
            boxes.append(Bbox.from_extents(x - 1, frame.y0, x + 1, frame.y1))
        elif guide.y is not None and guide.x is None:
            y = axes.transData.transform((figure.x_values[0], guide.y[0]))[1]
            boxes.append(Bbox.from_extents(frame.x0, y - 1, frame.x1, y + 1))
    return boxes


def _draw_elements(canvas: Canvas, axes: Axes, figure: ElementMap) -> None:
    """Give the periodic table."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, LogNorm
    from matplotlib.patches import Rectangle

    means = [mean for mean, _ in figure.values.values()]
    norm = LogNorm(min(means), max(max(means), min(means) * 1.0001))
    shades = ListedColormap(style.sequential(256))
    for symbol in chemical_symbols[1:104]:
        row, column = table_position(atomic_numbers[symbol])
        top = -row - (0.4 if row > 7 else 0.0)
        mean = figure.values.get(symbol, (None, 0))[0]
        colour: Any = "#F2F4F7" if mean is None else shades(norm(mean))
        axes.add_patch(Rectangle((column, top), 0.94, 0.94, facecolor=colour, lw=0))
        bright = mean is not None and float(np.dot((0.3, 0.59, 0.11), colour[:3])) > 0.55
        ink = "#A0A8B2" if mean is None else "#14181E" if bright else "white"
        axes.text(
            column + 0.47,
            top + (0.47 if mean is None else 0.58),
            symbol,
            ha="center",
            va="center",
            color=ink,
            fontsize=7.5,
        )
        if mean is not None:
            axes.text(
                column + 0.47, top + 0.22, f"{mean:.2g}".lstrip("0"), ha="center", va="center", color=ink, fontsize=4.8
            )
    axes.set(xlim=(0.9, 19.1), ylim=(-9.6, 0.1), aspect="equal")
    axes.set_axis_off()
    bar = ScalarMappable(norm, shades)
    ticks = [value for value in _ROUND if min(means) <= value <= max(means)]
    side = canvas.colorbar(bar, ax=axes, label=figure.label, location="bottom", shrink=0.5, aspect=40, ticks=ticks)
    side.ax.set_xticklabels([f"{value:g}" for value in ticks])
    side.ax.minorticks_off()
