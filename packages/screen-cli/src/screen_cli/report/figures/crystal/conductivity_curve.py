"""κ(T) of one crystal."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import ConfigError
from screen_cli.report.figures.figure_file import new_figure, paper_style
from screen_cli.report.figures.style import BLUE, COLUMN, KAPPA, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_conductivity(
    temperatures: NDArray[np.float64],
    kappa_p: NDArray[np.float64],
    kappa_c: NDArray[np.float64] | None = None,
    *,
    title: str = "",
) -> Figure:
    """Draw κ(T), the mean of the diagonal: populations and, where they are known, coherences and the sum.

    Parameters
    ----------
    temperatures : ndarray
        float64 (n_temps,), K, at least two, in any order.
    kappa_p, kappa_c : ndarray
        float64 (n_temps, 6), W/(m K), order xx yy zz yz xz xy.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        A journal's column wide, 2.6 inches high; both axes logarithmic where every value is positive.

    Raises
    ------
    ConfigError
        There are fewer than two temperatures: one point is no curve.
    """
    if len(temperatures) < 2:
        raise ConfigError(
            f"κ(T) is drawn from two temperatures on, there is {len(temperatures)}. Set conductivity.temperatures, "
            "e.g. [100.0, 200.0, 300.0, 600.0]."
        )
    curves = [(kappa_p, "populations κ$_P$", BLUE, "o-")]
    if kappa_c is not None:
        curves += [
            (kappa_c, "coherences κ$_C$", ORANGE, "s-"),
            (kappa_p + kappa_c, "total", "black", "^--"),
        ]
    order = np.argsort(temperatures)
    with paper_style():
        figure = new_figure(COLUMN, 2.6)
        axes = figure.subplots()
        means = [values[order, :3].mean(axis=1) for values, *_ in curves]
        for mean, (_, label, colour, marks) in zip(means, curves, strict=True):
            axes.plot(temperatures[order], mean, marks, color=colour, label=label, markersize=4, linewidth=1.2)
        if min(mean.min() for mean in means) > 0:
            _make_logarithmic(axes, temperatures)
        axes.set_xlabel("Temperature (K)")
        axes.set_ylabel(KAPPA)
        axes.legend()
        axes.set_title(title, loc="left")
    return figure


def data_behind_conductivity(
    temperatures: NDArray[np.float64], kappa_p: NDArray[np.float64], kappa_c: NDArray[np.float64] | None = None
) -> str:
    """Write κ(T) as CSV: K and W/(m K), the six components of populations and coherences, and means of the diagonal."""
    parts = {"kappa_p": kappa_p} if kappa_c is None else {"kappa_p": kappa_p, "kappa_c": kappa_c}
    if kappa_c is not None:
        parts["kappa_total"] = kappa_p + kappa_c
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    axes = [f"{name}_{axis}_w_mk" for name in parts for axis in ("xx", "yy", "zz", "yz", "xz", "xy")]
    writer.writerow(("temperature_k", *(f"{name}_w_mk" for name in parts), *axes))
    for index in np.argsort(temperatures).tolist():
        means = [float(values[index, :3].mean()) for values in parts.values()]
        writer.writerow((float(temperatures[index]), *means, *(x for values in parts.values() for x in values[index])))
    return lines.getvalue()


def _make_logarithmic(axes: Axes, temperatures: NDArray[np.float64]) -> None:
    """Both axes logarithmic, temperatures as plain numbers."""
    from matplotlib.ticker import NullFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = temperatures.min(), temperatures.max()
    shown = [value for value in (50, 100, 200, 300, 500, 1000, 2000) if low <= value <= high]
    if len(shown) < 2:
        shown = sorted(set(temperatures.tolist()))
    axes.set_xticks(shown, [f"{value:g}" for value in shown])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter("{x:g}")
