"""Figures of one crystal: the right curves, labels and refusals."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from screen_cli.analysis.comparison import compare_rows
from screen_cli.errors import ConfigError
from screen_cli.physics.harmonic.bands import BandStructure
from screen_cli.physics.harmonic.density_of_states import DensityOfStates
from screen_cli.report.figures.crystal.conductivity_curve import data_behind_conductivity, plot_conductivity
from screen_cli.report.figures.crystal.dispersion import data_behind_bands, data_behind_dos, plot_bands
from screen_cli.report.figures.style import save_figure
from screen_cli.report.figures.two_runs import draw_parity, draw_properties
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


# -- what is written ---------------------------------------------------------------------------------

PICTURES = Path(__file__).parent / "pictures"


def zigzag() -> BandStructure:
    """Two branches that cross, on a path with a jump and neighbours that stand close together."""
    distances = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 1.06, 1.12, 1.12, 1.4, 1.8, 2.2])
    frequencies = np.stack([4 * np.sin(distances), 3 - 2 * np.cos(2 * distances), 5 + np.cos(distances)], axis=1)
    labels = ("$\\Gamma$", "$\\mathrm{X}$", "$\\mathrm{U}$", "$\\mathrm{K}$", "$\\Gamma$")
    starts = np.array([0, 5, 7, 11])
    return BandStructure(np.zeros((11, 3)), distances, frequencies, starts, np.array([True, False, False]), labels)


def compared_runs():
    generator = np.random.default_rng(5)
    kappa = np.exp(generator.normal(1.0, 1.5, 40))
    rows = [
        [
            {
                "id": str(k),
                "formula": f"X{k}",
                "stable": 1,
                "kappa_total_w_mk": float(value * f),
                "max_msd": float(0.1 / np.sqrt(value * f)),
                "vs_m_s": float(1000 * f * (1 + np.sqrt(value))),
            }
            for k, value in enumerate(kappa)
        ]
        for f in (1.0, 1.3)
    ]
    return compare_rows(*rows)


FIGURES = {
    "bands": lambda: plot_bands(zigzag(), DOS, title="NaCl"),
    "kappa": lambda: plot_conductivity(*conductivity([100.0, 200.0, 300.0, 600.0]), title="NaCl"),
    "parity": lambda: draw_parity(compared_runs(), "model A", "model B"),
    "properties": lambda: draw_properties(compared_runs(), "model A", "model B"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_look_as_they_were_reviewed(name, tmp_path) -> None:
    # words are taken away: fonts differ between machines and versions, and the tests above read them
    from matplotlib.testing.compare import compare_images
    from matplotlib.testing.decorators import remove_ticks_and_titles

    figure = FIGURES[name]()
    for axes in figure.axes:
        for text in axes.texts:
            text.set_visible(False)
        axes.set(xlabel="", ylabel="")
        for side in ("left", "right"):
            axes.set_title("", loc=side)
        if axes.get_legend():
            axes.get_legend().remove()
    remove_ticks_and_titles(figure)
    figure.savefig(tmp_path / f"{name}.png", dpi=100)
    assert compare_images(str(PICTURES / f"{name}.png"), str(tmp_path / f"{name}.png"), tol=8) is None


@pytest.mark.parametrize("name", FIGURES)
def test_no_words_touch_and_none_leave_the_picture(name) -> None:
    from matplotlib.text import Text

    figure = FIGURES[name]()
    columns = 2 if name == "properties" else 1
    assert figure.get_figwidth() == pytest.approx(columns * 8.6 / 2.54, abs=0.02)
    figure.draw_without_rendering()
    unseen = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        unseen |= {
            t.label1 for t in (*axis.get_major_ticks(), *axis.get_minor_ticks()) if not low <= t.get_loc() <= high
        }
    words = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    words = [text for text in words if text not in unseen]
    boxes = [text.get_window_extent() for text in words]
    for number, box in enumerate(boxes):
        assert box.x0 > -1
        assert box.x1 < figure.bbox.x1 + 1
        assert box.y0 > -1
        for other in range(number):
            assert not box.padded(-1).overlaps(boxes[other].padded(-1)), (words[number], words[other])


def test_every_format_and_the_data_behind_it(tmp_path) -> None:
    paths = save_figure(FIGURES["bands"](), tmp_path / "NaCl.v2-bands")
    assert [path.name for path in paths] == [f"NaCl.v2-bands.{ending}" for ending in ("png", "svg", "pdf")]
    assert "Frequency (THz)" in paths[1].read_text(encoding="utf-8"), "text stays text"
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in save_figure(FIGURES["bands"](), tmp_path / "NaCl.v2-bands")] == before
    lines = list(csv.DictReader(data_behind_bands(zigzag()).splitlines()))
    assert [line["point"] for line in lines if line["point"]][:2] == ["$\\Gamma$", "$\\mathrm{X}$"]
    np.testing.assert_allclose([float(line["frequency_2_thz"]) for line in lines], zigzag().frequencies[:, 1])
    dos = list(csv.DictReader(data_behind_dos(DOS).splitlines()))
    np.testing.assert_allclose(
        [float(line["dos_Na_per_thz"]) + float(line["dos_Cl_per_thz"]) for line in dos],
        [float(line["dos_per_thz"]) for line in dos],
    )
    (first, *_) = csv.DictReader(data_behind_conductivity(*conductivity([300.0, 100.0])).splitlines())
    assert first["temperature_k"] == "100.0"
    assert float(first["kappa_total_w_mk"]) == pytest.approx(
        float(first["kappa_p_w_mk"]) + float(first["kappa_c_w_mk"])
    )
