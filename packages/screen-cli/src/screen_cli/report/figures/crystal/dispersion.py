"""Phonon bands of one crystal, alone or beside the density of states."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from ase.data import chemical_symbols

from screen_cli.physics.harmonic.bands import BandStructure
from screen_cli.physics.harmonic.density_of_states import DensityOfStates
from screen_cli.report.figures.style import BLUE, GREEN, GREY, ORANGE, PINK, new_figure, paper_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ELEMENT_COLOURS = (ORANGE, GREEN, PINK, "#E69F00", "#56B4E9", "#F0E442")
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
        5.5 × 3.4 inches (4.2 without the density of states), frequencies in THz, imaginary ones below zero.
    """
    with paper_style():
        figure = new_figure(4.2 if dos is None else 5.5, 3.4)
        if dos is None:
            axes = figure.subplots()
        else:
            axes, side = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
            _draw_dos(side, dos)
        _draw_bands(axes, bands)
        if title:
            figure.suptitle(title)
    return figure


def _draw_bands(axes: Axes, bands: BandStructure) -> None:
    """Branches, segment by segment, with labelled high-symmetry points."""
    for start, stop in itertools.pairwise(bands.starts):
        axes.plot(bands.distances[start:stop], bands.frequencies[start:stop], color=BLUE, linewidth=1.0)
    positions, labels = zip(*bands.ticks(), strict=True)
    for position in positions:
        axes.axvline(position, color=GREY, linewidth=0.5)
    axes.axhline(0.0, color=GREY, linewidth=0.5)
    axes.set_xticks(positions, labels)
    axes.set_xlim(bands.distances[0], bands.distances[-1])
    low, high = float(bands.frequencies.min()), float(bands.frequencies.max())
    axes.set_ylim(1.05 * low if low < -_IMAGINARY_THZ else 0.0, 1.05 * high)
    axes.set_xlabel("Wave vector")
    axes.set_ylabel("Frequency (THz)")


def _draw_dos(axes: Axes, dos: DensityOfStates) -> None:
    """Total and per-element density of states, sideways."""
    axes.fill_betweenx(dos.frequencies, 0, dos.total, color="#dddddd", linewidth=0)
    axes.plot(dos.total, dos.frequencies, color="black", linewidth=1.0, label="total")
    if len(dos.elements) > 1:
        for index, number in enumerate(dos.elements):
            colour = _ELEMENT_COLOURS[index % len(_ELEMENT_COLOURS)]
            axes.plot(
                dos.by_element[index], dos.frequencies, color=colour, linewidth=1.0, label=chemical_symbols[number]
            )
        axes.legend(frameon=False, fontsize="small", handlelength=1.0)
    axes.set_xlim(0, 1.1 * float(dos.total.max()))
    axes.set_xlabel("DOS (THz$^{-1}$)")
