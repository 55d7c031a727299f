"""Figures of one crystal: the right curves, labels and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from screen_cli.errors import ConfigError
from screen_cli.physics.harmonic.bands import BandStructure
from screen_cli.physics.harmonic.density_of_states import DensityOfStates
from screen_cli.report.figures.crystal.conductivity_curve import plot_conductivity
from screen_cli.report.figures.crystal.dispersion import plot_bands
from screen_cli.report.stored_results import band_structure_of, density_of_states_of
from screen_cli.store.record import Record

GRID = np.linspace(0, 5, 20)
DOS = DensityOfStates(GRID, np.array([GRID**2 * 0.25, GRID**2 * 0.75]), np.array([11, 17]))


def bands(*, lowest: float = 0.0) -> BandStructure:
    distances = np.array([0.0, 0.5, 1.0, 1.0, 1.5, 2.0])
    frequencies = np.stack([distances, 2 * distances], axis=1)
    frequencies[1, 0] += lowest
    qpoints = np.zeros((6, 3))
    return BandStructure(
        qpoints, distances, frequencies, np.array([0, 3, 6]), np.array([False, False]), ("G", "X", "U", "L")
    )


def conductivity(temperatures: list[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values = np.array(temperatures)
    tensor = np.zeros((len(values), 6))
    tensor[:, :3] = (300 / values)[:, None]
    return values, 3 * tensor, 0.5 * tensor


def test_bands_and_dos() -> None:
    figure = plot_bands(bands(), DOS, title="NaCl")
    dispersion, dos = figure.axes
    assert len(dispersion.lines) >= 4
    assert [label.get_text() for label in dispersion.get_xticklabels()] == ["G", "X|U", "L"]
    assert [text.get_text() for text in dos.get_legend().get_texts()] == ["total", "Na", "Cl"]
    assert dispersion.get_ylim()[0] == 0
    assert "THz" in dispersion.get_ylabel()
    figure.canvas.draw()
    assert len(plot_bands(bands()).axes) == 1


def test_imaginary_modes_are_shown() -> None:
    assert plot_bands(bands(lowest=-2.0)).axes[0].get_ylim()[0] < -1


def test_conductivity_curves() -> None:
    axes = plot_conductivity(*conductivity([300.0, 100.0, 1000.0])).axes[0]
    assert len(axes.lines) == 3
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [100, 300, 1000])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [9.0, 3.0, 0.9])
    np.testing.assert_allclose(axes.lines[2].get_ydata(), [10.5, 3.5, 1.05])
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["100", "200", "300", "500", "1000"]


def test_no_coherences_no_curve_of_them() -> None:
    temperatures, particles, _ = conductivity([300.0, 320.0])
    axes = plot_conductivity(temperatures, particles).axes[0]
    assert len(axes.lines) == 1
    assert [text.get_text() for text in axes.get_xticklabels()] == ["300", "320"]


def test_one_temperature_is_no_curve() -> None:
    with pytest.raises(ConfigError, match="two temperatures"):
        plot_conductivity(*conductivity([300.0]))


def test_stored_curves_are_typed_and_a_wrong_record_is_named() -> None:
    one = bands()
    arrays = {
        "band_qpoints": one.qpoints,
        "band_distances": one.distances,
        "band_frequencies": one.frequencies,
        "band_starts": one.starts,
        "band_connected": np.array([0, 0], dtype=np.int8),
        "dos_frequencies": DOS.frequencies,
        "dos_by_element": DOS.by_element,
        "dos_elements": DOS.elements,
    }
    record = Record({"band_labels": list(one.labels)}, arrays)
    assert band_structure_of(record).ticks() == one.ticks()
    np.testing.assert_allclose(density_of_states_of(record).total, GRID**2)
    with pytest.raises(ConfigError, match="band_distances"):
        band_structure_of(Record())
    with pytest.raises(ConfigError, match="dos_frequencies"):
        density_of_states_of(Record())
