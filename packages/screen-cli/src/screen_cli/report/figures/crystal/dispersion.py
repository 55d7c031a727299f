"""Phonon bands of one crystal, alone or beside the density of states."""

from __future__ import annotations

import csv
import io
import itertools
from typing import TYPE_CHECKING

from ase.data import chemical_symbols

from screen_cli.physics.harmonic.bands import BandStructure
from screen_cli.physics.harmonic.density_of_states import DensityOfStates
from screen_cli.report.figures.figure_file import new_figure, paper_style
from screen_cli.report.figures.style import CATEGORIES, COLUMN, GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_IMAGINARY_THZ = 1e-2  # below minus this a mode is imaginary to the eye


def plot_bands(bands: BandStructure, dos: DensityOfStates | None = None, *, title: str = "") -> Figure:
    """Draw the phonon dispersion, beside the density of states where it is given.

    Parameters
    ----------
    bands : BandStructure
    dos : DensityOfStates, optional
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        A journal's column wide, 2.5 inches high, frequencies in THz, imaginary ones below zero. Elements have the
        colours of the report.
    """
    with paper_style():
        figure = new_figure(COLUMN, 2.5)
        if dos is None:
            axes = figure.subplots()
        else:
            axes, side = figure.subplots(1, 2, width_ratios=(3.2, 1), sharey=True)
            _draw_dos(side, dos)
        _draw_bands(axes, bands)
        if title:
            axes.set_title(title, loc="left")
        figure.draw_without_rendering()
        _part_labels(axes)
    return figure


def data_behind_bands(bands: BandStructure) -> str:
    """Write the dispersion as CSV: a line per point, a column per branch (THz), high-symmetry points by name."""
    names = {round(place, 9): label for place, label in bands.ticks()}
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    branches = [f"frequency_{number}_thz" for number in range(1, bands.frequencies.shape[1] + 1)]
    writer.writerow(("segment", "distance_per_angstrom", "point", "q1", "q2", "q3", *branches))
    for segment, (start, stop) in enumerate(itertools.pairwise(bands.starts.tolist()), start=1):
        for index in range(start, stop):
            distance = float(bands.distances[index])
            point = names.get(round(distance, 9), "") if index in (start, stop - 1) else ""
            writer.writerow((segment, distance, point, *bands.qpoints[index], *bands.frequencies[index]))
    return lines.getvalue()


def data_behind_dos(dos: DensityOfStates) -> str:
    """Write the density of states as CSV: frequency (THz), total and by element (states/THz)."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    elements = [f"dos_{chemical_symbols[number]}_per_thz" for number in dos.elements]
    writer.writerow(("frequency_thz", "dos_per_thz", *elements))
    writer.writerows(zip(dos.frequencies, dos.total, *dos.by_element, strict=True))
    return lines.getvalue()


def _draw_bands(axes: Axes, bands: BandStructure) -> None:
    """Branches, segment by segment, with labelled high-symmetry points."""
    for start, stop in itertools.pairwise(bands.starts):
        axes.plot(bands.distances[start:stop], bands.frequencies[start:stop], color=CATEGORIES[0], linewidth=0.9)
    positions, labels = zip(*bands.ticks(), strict=True)
    for position in positions:
        axes.axvline(position, color=GREY, linewidth=0.5)
    axes.axhline(0.0, color=GREY, linewidth=0.5)
    axes.set_xticks(positions, labels)
    axes.set_xlim(bands.distances[0], bands.distances[-1])
    low, high = float(bands.frequencies.min()), float(bands.frequencies.max())
    axes.set_ylim(1.05 * low if low < -_IMAGINARY_THZ else 0.0, 1.05 * high)
    axes.tick_params(axis="x", length=0, labelsize=8)
    axes.set_ylabel("Frequency (THz)")


def _part_labels(axes: Axes) -> None:
    """Move names of neighbouring points apart where they would touch."""
    labels = axes.get_xticklabels()
    boxes = [label.get_window_extent() for label in labels]
    for number in range(len(labels) - 1):
        if boxes[number].x1 > boxes[number + 1].x0 - 2 and labels[number + 1].get_text():
            labels[number].set_horizontalalignment("right")
            labels[number + 1].set_horizontalalignment("left")


def _draw_dos(axes: Axes, dos: DensityOfStates) -> None:
    """Total and per-element density of states, sideways."""
    axes.fill_betweenx(dos.frequencies, 0, dos.total, color="#dddddd", linewidth=0)
    axes.plot(dos.total, dos.frequencies, color=GREY, linewidth=0.8, label="total")
    if len(dos.elements) > 1:
        for index, number in enumerate(dos.elements):
            colour = CATEGORIES[index % len(CATEGORIES)]
            axes.plot(
                dos.by_element[index], dos.frequencies, color=colour, linewidth=0.8, label=chemical_symbols[number]
            )
        axes.legend(fontsize=7, handlelength=0.8, borderpad=0.1, labelspacing=0.2, handletextpad=0.4)
    axes.set_xlim(0, 1.1 * float(dos.total.max()))
    axes.set_xticks([])
    axes.set_xlabel("DOS (THz⁻¹)", fontsize=8)
