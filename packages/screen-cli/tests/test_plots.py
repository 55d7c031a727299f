"""Figures: the right curves, labels and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from screen_cli.errors import ConfigError
from screen_cli.report.crystal_figures import plot_bands_and_dos, plot_conductivity
from screen_cli.store.record import Record


def harmonic() -> Record:
    distances = np.array([0.0, 0.5, 1.0, 1.0, 1.5, 2.0])
    grid = np.linspace(0, 5, 20)
    arrays = {
        "band_distances": distances,
        "band_frequencies": np.stack([distances, 2 * distances], axis=1),
        "band_starts": np.array([0, 3, 6]),
        "band_connected": np.array([0, 0]),
        "dos_frequencies": grid,
        "dos": grid**2,
        "dos_elements": np.array([11, 17]),
        "dos_by_element": np.array([grid**2 * 0.25, grid**2 * 0.75]),
    }
    return Record({"band_labels": ["G", "X", "U", "L"]}, arrays)


def conductivity(temperatures: list[float], coherences: bool) -> Record:
    values = np.array(temperatures)
    tensor = np.zeros((len(values), 6))
    tensor[:, :3] = (300 / values)[:, None]
    arrays = {"temperatures": values, "kappa_p": 3 * tensor, "kappa_total": 3 * tensor}
    if coherences:
        arrays |= {"kappa_c": 0.5 * tensor, "kappa_total": 3.5 * tensor}
    return Record({}, arrays)


def test_bands_and_dos() -> None:
    figure = plot_bands_and_dos(harmonic(), title="NaCl")
    bands, dos = figure.axes
    assert len(bands.lines) >= 4
    assert [label.get_text() for label in bands.get_xticklabels()] == ["G", "X|U", "L"]
    assert [text.get_text() for text in dos.get_legend().get_texts()] == ["total", "Na", "Cl"]
    assert bands.get_ylim()[0] == 0
    assert "THz" in bands.get_ylabel()
    figure.canvas.draw()


def test_imaginary_modes_are_shown() -> None:
    record = harmonic()
    record.arrays["band_frequencies"][1, 0] = -2.0
    assert plot_bands_and_dos(record).axes[0].get_ylim()[0] < -2


def test_conductivity_curves() -> None:
    axes = plot_conductivity(conductivity([300.0, 100.0, 1000.0], True)).axes[0]
    assert len(axes.lines) == 3
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [100, 300, 1000])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [9.0, 3.0, 0.9])
    np.testing.assert_allclose(axes.lines[2].get_ydata(), [10.5, 3.5, 1.05])
    assert axes.get_xscale() == "log"


def test_one_temperature_and_no_coherences() -> None:
    figure = plot_conductivity(conductivity([300.0], False))
    assert len(figure.axes[0].lines) == 1
    assert figure.axes[0].get_xscale() == "linear"
    figure.canvas.draw()


def test_wrong_record_is_named() -> None:
    with pytest.raises(ConfigError, match="band_distances"):
        plot_bands_and_dos(conductivity([300.0], False))
    with pytest.raises(ConfigError, match="kappa_p"):
        plot_conductivity(harmonic())
