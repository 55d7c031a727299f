"""Figures of one crystal: bands with density of states, and κ(T). Each takes a record and returns a Figure."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import ConfigError
from screen_cli.store.record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _GREEN, _PINK, _GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#666666"
_ELEMENT_COLOURS = (_ORANGE, _GREEN, _PINK, "#E69F00", "#56B4E9", "#F0E442")
_STYLE = {
    "font.size": 9,
    "axes.linewidth": 0.8,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


def plot_bands_and_dos(harmonic: Record, *, title: str = "") -> Figure:
    """Draw the phonon dispersion beside the density of states.

    Parameters
    ----------
    harmonic : Record
        Of the stage harmonic.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        5.5 × 3.4 inches, frequencies in THz (imaginary ones below zero).

    Raises
    ------
    ConfigError
        The record lacks bands or DOS.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    _require(harmonic, ("band_distances", "band_frequencies", "band_starts", "dos", "dos_frequencies"))
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.5, 3.4), layout="constrained")
        FigureCanvasAgg(figure)
        bands, dos = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
        _draw_bands(bands, harmonic)
        _draw_dos(dos, harmonic)
        frequencies = harmonic.arrays["band_frequencies"]
        low, high = float(frequencies.min()), float(frequencies.max())
        bands.set_ylim(min(0.0, 1.05 * low) if low < -1e-2 else 0.0, 1.05 * high)
        bands.set_ylabel("Frequency (THz)")
        if title:
            figure.suptitle(title)
    return figure


def plot_conductivity(conductivity: Record, *, title: str = "") -> Figure:
    """Draw κ(T): populations, coherences and their sum.

    With one temperature the contributions are drawn as points; several give lines on logarithmic axes.

    Raises
    ------
    ConfigError
        The record has no κ.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    _require(conductivity, ("temperatures", "kappa_p"))
    temperatures = conductivity.arrays["temperatures"]
    order = np.argsort(temperatures)
    curves = [("kappa_p", "populations $\\kappa_P$", _BLUE, "o-")]
    if "kappa_c" in conductivity.arrays:
        curves += [
            ("kappa_c", "coherences $\\kappa_C$", _ORANGE, "s-"),
            ("kappa_total", "total", "black", "^--"),
        ]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(3.6, 3.0), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for name, label, colour, marks in curves:
            mean = conductivity.arrays[name][:, :3].mean(axis=1)
            axes.plot(temperatures[order], mean[order], marks, color=colour, label=label, markersize=4, linewidth=1.2)
        if len(temperatures) > 1 and all(
            conductivity.arrays[name][:, :3].mean(axis=1).min() > 0 for name, *_ in curves
        ):
            axes.set_xscale("log")
            axes.set_yscale("log")
            _plain_ticks(axes, temperatures)
        axes.set_xlabel("Temperature (K)")
        axes.set_ylabel("Thermal conductivity (W m$^{-1}$ K$^{-1}$)")
        axes.legend(frameon=False)
        if title:
            axes.set_title(title)
    return figure


def _draw_bands(axes: Axes, record: Record) -> None:
    """Dispersion with labelled high-symmetry points."""
    distances = record.arrays["band_distances"]
    frequencies = record.arrays["band_frequencies"]
    starts = record.arrays["band_starts"]
    for start, stop in itertools.pairwise(starts):
        axes.plot(distances[start:stop], frequencies[start:stop], color=_BLUE, linewidth=1.0)
    positions, labels = band_ticks(record)
    for position in positions:
        axes.axvline(position, color=_GREY, linewidth=0.5)
    axes.axhline(0.0, color=_GREY, linewidth=0.5)
    axes.set_xticks(positions, labels)
    axes.set_xlim(distances[0], distances[-1])
    axes.set_xlabel("Wave vector")


def band_ticks(record: Record) -> tuple[list[float], list[str]]:
    """Places and names of the high-symmetry points; a jump of the path shows both names."""
    distances = record.arrays["band_distances"]
    starts = record.arrays["band_starts"]
    connected = record.arrays["band_connected"]
    names = iter(record.data["band_labels"])
    positions, labels = [float(distances[0])], [next(names)]
    n_segments = len(connected)
    for segment in range(n_segments):
        positions.append(float(distances[starts[segment + 1] - 1]))
        label = next(names)
        if not connected[segment] and segment < n_segments - 1:
            label = f"{label}|{next(names)}"
        labels.append(label)
    return positions, labels


def _draw_dos(axes: Axes, record: Record) -> None:
    """Total and per-element density of states, sideways."""
    from ase.data import chemical_symbols

    frequencies = record.arrays["dos_frequencies"]
    total: NDArray[np.float64] = record.arrays["dos"]
    axes.fill_betweenx(frequencies, 0, total, color="#dddddd", linewidth=0)
    axes.plot(total, frequencies, color="black", linewidth=1.0, label="total")
    elements = record.arrays.get("dos_elements", np.zeros(0, dtype=np.int64))
    if len(elements) > 1:
        for index, number in enumerate(elements):
            colour = _ELEMENT_COLOURS[index % len(_ELEMENT_COLOURS)]
            partial = record.arrays["dos_by_element"][index]
            axes.plot(partial, frequencies, color=colour, linewidth=1.0, label=chemical_symbols[number])
        axes.legend(frameon=False, fontsize="small", handlelength=1.0)
    axes.set_xlim(0, 1.1 * float(total.max()))
    axes.set_xlabel("DOS (THz$^{-1}$)")


def _plain_ticks(axes: Axes, temperatures: NDArray[np.float64]) -> None:
    """Write temperatures as plain numbers on the logarithmic axis."""
    shown = [
        value for value in (50, 100, 200, 300, 500, 1000, 2000) if temperatures.min() <= value <= temperatures.max()
    ]
    if len(shown) > 1:
        axes.set_xticks(shown, [str(value) for value in shown])
        axes.minorticks_off()


def _require(record: Record, names: tuple[str, ...]) -> None:
    """Refuse a record without the arrays a figure needs."""
    missing = [name for name in names if name not in record.arrays]
    if missing:
        raise ConfigError(
            f"the figure needs the arrays {missing}, the record has {sorted(record.arrays)}. Pass the record of the "
            "right stage."
        )
