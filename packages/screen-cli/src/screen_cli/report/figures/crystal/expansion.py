"""Figures of thermal expansion: α(T), the modes' Grüneisen parameters, the volume scan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from screen_cli.report.figures.figure_file import new_figure, paper_style
from screen_cli.report.figures.style import BLUE, COLUMN, GREEN, GREY, ORANGE
from screen_cli.store.record import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROUTES = (
    ("expansion", "third-order force constants", BLUE, "-"),
    ("expansion_strain", "strained crystals", ORANGE, "--"),
    ("quasi_harmonic", "quasi-harmonic scan", GREEN, ":"),
)


def plot_expansion(records: Mapping[str, Record], *, title: str = "") -> Figure:
    """Draw α(T) along the conventional axes, or β/3 where all are equal, by each route.

    Parameters
    ----------
    records : mapping of str to Record
        Any of ``expansion``, ``expansion_strain``, ``quasi_harmonic``.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        A journal's column wide, 10⁻⁶/K against K.
    """
    with paper_style():
        figure = new_figure(COLUMN, 2.7)
        axes = figure.subplots()
        for name, label, colour, line in _ROUTES:
            if name in records:
                for curve, axis in _curves(records[name]):
                    axes.plot(
                        records[name].floats("temperatures"),
                        1e6 * curve,
                        line,
                        color=colour,
                        linewidth=1.3,
                        label=label if not axis or axis == "a" else None,
                    )
                    if axis:
                        axes.annotate(axis, (records[name].floats("temperatures")[-1], 1e6 * curve[-1]), color=colour)
        axes.axhline(0.0, color=GREY, linewidth=0.5)
        axes.set_xlabel("Temperature (K)")
        axes.set_ylabel("α (10⁻⁶ K⁻¹)")
        axes.legend()
        axes.set_title(title, loc="left")
    return figure


def plot_gruneisen(records: Mapping[str, Record], *, title: str = "") -> Figure:
    """Draw each mode's volumetric Grüneisen parameter against its frequency.

    Parameters
    ----------
    records : mapping of str to Record
        ``expansion`` and, or, ``expansion_strain``.
    title : str
    """
    with paper_style():
        figure = new_figure(COLUMN, 2.7)
        axes = figure.subplots()
        for name, label, colour, _ in reversed(_ROUTES[:2]):
            if name in records:
                frequencies, gruneisen = records[name].floats("frequencies"), records[name].floats("gruneisen")
                moving = frequencies > 0.01
                axes.scatter(
                    frequencies[moving],
                    gruneisen[moving],
                    s=6 if name == "expansion" else 14,
                    facecolors=colour if name == "expansion" else "none",
                    edgecolors=colour,
                    linewidths=0.5,
                    label=label,
                )
        axes.axhline(0.0, color=GREY, linewidth=0.5)
        axes.set_xlabel("Frequency (THz)")
        axes.set_ylabel("Mode Grüneisen parameter")
        figure.legend(loc="outside lower center", ncols=2, columnspacing=1.0)
        axes.set_title(title, loc="left")
    return figure


def plot_volume_scan(record: Record, *, title: str = "") -> Figure:
    """Draw the static energy over the volumes scanned, and the volume at each temperature."""
    with paper_style():
        figure = new_figure(COLUMN, 2.7)
        axes = figure.subplots()
        static = record.floats("scan_energies")
        energies = 1e3 * (static - static.min())
        axes.plot(record.floats("scan_volumes"), energies, "o-", color=BLUE, markersize=4, linewidth=1.0)
        axes.set_xlabel("Volume of the primitive cell (Å³)")
        axes.set_ylabel("Static energy (meV)", color=BLUE)
        warmer = axes.twinx()
        warmer.plot(record.floats("volume"), record.floats("temperatures"), color=ORANGE, linewidth=1.3)
        warmer.set_ylabel("Temperature (K)", color=ORANGE)
        axes.set_title(title, loc="left")
    return figure


def _curves(record: Record) -> list[tuple[NDArray[np.float64], str]]:
    """Curves to draw and the axis each belongs to; one nameless curve when all axes agree."""
    along = record.floats("alpha_axes") if "alpha_axes" in record.arrays else None
    if along is None or np.allclose(along, along[:, :1], rtol=1e-3, atol=1e-9):
        return [(record.floats("beta") / 3, "")]
    if np.allclose(along[:, 0], along[:, 1], rtol=1e-3, atol=1e-9):
        return [(along[:, 0], "a"), (along[:, 2], "c")]
    return [(along[:, index], name) for index, name in enumerate("abc")]
