"""Spectra, crossover, figures, disordered solids, isotopes."""

from __future__ import annotations

import csv
from pathlib import Path

import h5py
import numpy as np
import phono3py
import pytest
from phonopy.phonon.grid import get_qpoints_from_bz_grid_points

from phon_wigner.cli import main
from phon_wigner.conductivity.crossover import REGIMES, crossover, wigner_limit
from phon_wigner.conductivity.glass import (
    broadening_scan,
    diffusivities,
    regularised_conductivity,
    scan_crystal,
)
from phon_wigner.conductivity.postprocess import AnalysisSettings, analyze
from phon_wigner.conductivity.result import WignerResult
from phon_wigner.conductivity.spectra import (
    Spectra,
    cumulative,
    lifetimes,
    mean_free_paths,
    mode_scalars,
    spectral_density,
)
from phon_wigner.errors import GridMismatchError, LinewidthError, TemperatureError
from phon_wigner.files.exports import write_spectra, write_tables
from phon_wigner.phonons.harmonic import HarmonicCrystal
from phon_wigner.phonons.isotope import add_isotopes, isotope_linewidths, isotope_linewidths_on_grid
from phon_wigner.phonons.linewidths import Linewidths
from phon_wigner.phonons.units import heat_capacities
from phon_wigner.physics.formula import average_modes, coherence_conductivity, pair_weights, population_conductivity
from phon_wigner.physics.line_shape import line_shape
from phon_wigner.testing import irreducible_mesh, make_phonopy

PHONO3PY_MINOR = int(phono3py.__version__.split(".")[1])


@pytest.fixture(scope="module")
def widths(crystal):
    qpoints, weights = irreducible_mesh(crystal, 5)
    _, frequencies, _ = crystal.collect_pairs(qpoints, weights)
    gamma = 0.05 + 0.01 * np.maximum(frequencies, 0) ** 2
    return Linewidths.from_arrays([300.0], qpoints, weights, gamma[None], convention="hwhm-thz")


@pytest.fixture(scope="module")
def result(crystal, widths):
    return analyze(crystal, widths, settings=AnalysisSettings(keep_modes=True, map_bins=30))


def test_shares_and_cumulative_sums_reach_kappa(result):
    edges = np.linspace(-0.1, result.frequency.max() + 0.1, 40)
    for kind, kappa in (("populations", result.kappa_p), ("coherences", result.kappa_c)):
        shares = mode_scalars(result, 0, kind)
        expected = kappa[0, :3].mean()
        assert shares.sum() == pytest.approx(expected, rel=1e-9)
        _, accumulated = cumulative(result.frequency, shares)
        assert accumulated[-1] == pytest.approx(expected, rel=1e-9)
        assert (spectral_density(result.frequency, shares, edges) * np.diff(edges)).sum() == pytest.approx(expected)
    assert (np.diff(cumulative(result.frequency, mode_scalars(result, 0, "populations"))[1]) >= -1e-12).all()


def test_mean_free_path_is_speed_times_lifetime(result):
    q, s = 3, 1
    tau = 1 / (4 * np.pi * result.gamma[0, q, s])
    speed = np.linalg.norm(result.group_velocity[q, s])  # Å·THz = 0.1 nm/ps
    assert lifetimes(result, 0)[q, s] == pytest.approx(tau)
    assert mean_free_paths(result, 0)[q, s] == pytest.approx(0.1 * speed * tau)


def test_coherence_map_integrates_to_kappa_c(crystal, widths, result):
    density, edges = result.coherence_map[0], result.map_edges
    np.testing.assert_allclose(density, density.T)
    area = np.outer(np.diff(edges), np.diff(edges))
    assert (density * area).sum() == pytest.approx(result.kappa_c[0, 0], rel=1e-9)
    pairs, _, _ = crystal.collect_pairs(widths.qpoints, widths.weights)
    first, second = pairs.frequencies.ravel()[pairs.first], pairs.frequencies.ravel()[pairs.second]
    i, j = np.searchsorted(edges, first) - 1, np.searchsorted(edges, second) - 1
    filled = np.zeros(density.shape, dtype=bool)
    filled[i, j] = filled[j, i] = True
    assert (density[~filled] == 0).all()


def test_spectra_need_modes(crystal, widths):
    with pytest.raises(GridMismatchError, match="keep_modes"):
        mode_scalars(analyze(crystal, widths), 0)


def test_regimes_follow_the_two_limits(result):
    diagnosis = crossover(result)
    omega = 2 * np.pi * diagnosis.frequency
    limit = wigner_limit(result.frequency)
    assert limit == pytest.approx(result.frequency.shape[1] / omega.max())
    known = diagnosis.regime >= 0
    tau = diagnosis.lifetime
    assert (tau[diagnosis.regime == 0] > limit).all()
    assert (tau[diagnosis.regime == 2] * omega[diagnosis.regime == 2] <= 1).all()
    assert known.sum() == known.size - 3  # three acoustic modes at Gamma
    assert sum(diagnosis.counts.values()) == pytest.approx(1)
    carried = np.array([diagnosis.kappa_of_regime[name] for name in REGIMES]).sum(axis=0)
    np.testing.assert_allclose(carried, [result.kappa_p[0, 0], result.kappa_c[0, 0]], rtol=1e-9)
    share = diagnosis.coherence_share[known]
    assert np.nanmin(share) >= 0
    assert np.nanmax(share) <= 1


def test_wider_lines_move_modes_to_the_wave_side(crystal, widths):
    def counts(scale):
        wide = Linewidths.from_arrays(
            [300.0], widths.qpoints, widths.weights, scale * widths.gamma, convention="hwhm-thz"
        )
        return crossover(analyze(crystal, wide, settings=AnalysisSettings(keep_modes=True))).counts

    narrow, broad = counts(0.1), counts(20.0)
    assert narrow["particle"] > 0.9
    assert broad["overdamped"] > narrow["overdamped"]
    assert broad["particle"] < 0.1


def test_spectra_are_the_sums_over_modes(result):
    """Binned densities integrate to κ; accumulated values are brute-force sums over modes."""
    spectra = Spectra.from_result(result, n_bins=37, n_paths=50)
    step = np.diff(spectra.edges)
    assert (spectra.kappa_p * step).sum() == pytest.approx(result.kappa_p[0, 0], rel=1e-9)
    assert (spectra.kappa_c * step).sum() == pytest.approx(result.kappa_c[0, 0], rel=1e-9)
    np.testing.assert_allclose(spectra.cumulative_c[1:], np.cumsum(spectra.kappa_c * step), atol=1e-12)
    paths, shares = mean_free_paths(result, 0), mode_scalars(result, 0, "coherences")
    for level in (5, 30, 49):
        expected = shares[np.nan_to_num(paths, nan=np.inf) <= spectra.path[level]].sum()
        assert spectra.path_cumulative_c[level] == pytest.approx(expected, rel=1e-9)
    known = np.isfinite(paths)
    assert spectra.path_cumulative_p[-1] == pytest.approx(mode_scalars(result, 0, "populations")[known].sum())


def test_exports_hold_what_the_result_holds(result, tmp_path):
    path = tmp_path / "spectra.hdf5"
    write_spectra(result, path)
    with h5py.File(path) as handle:
        group = handle["T300K"]
        np.testing.assert_array_equal(group["coherence_map"], result.coherence_map[0])
        step = np.diff(group["edges"])
        assert (group["kappa_p"] * step).sum() == pytest.approx(result.kappa_p[0, 0])
        assert group["crossover/regime"].shape == result.frequency.shape
        assert group["crossover"].attrs["share_of_modes"].sum() == pytest.approx(1)
    tables = {p.name: p for p in write_tables(result, tmp_path / "tables")}
    assert sorted(tables) == [f"{kind}_300K.csv" for kind in ("cumulative", "map", "modes", "regimes", "spectrum")]
    rows = list(csv.DictReader(tables["modes_300K.csv"].read_text().splitlines()))
    assert len(rows) == result.frequency.size
    assert sum(float(r["kappa_c_300k_w_mk"]) for r in rows) == pytest.approx(result.kappa_c[0, 0], rel=1e-6)
    rows = list(csv.DictReader(tables["map_300K.csv"].read_text().splitlines()))
    cell = np.diff(result.map_edges)[0] ** 2
    assert sum(float(r["kappa_c_300k_w_mk_thz2"]) for r in rows) * cell == pytest.approx(result.kappa_c[0, 0], rel=1e-6)
    rows = list(csv.DictReader(tables["spectrum_300K.csv"].read_text().splitlines()))
    assert float(rows[-1]["cumulative_p_300k_w_mk"]) == pytest.approx(result.kappa_p[0, 0], rel=1e-6)


@pytest.mark.parametrize(
    "kind", [["modes"], ["spectrum"], ["cumulative"], ["cumulative", "--against", "frequency"], ["map"], ["many"]]
)
def test_figures_from_the_command_line(result, kind, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path, document, figure = tmp_path / "toy.hdf5", tmp_path / "toy.json", tmp_path / "figure.png"
    result.to_hdf5(path)
    result.to_json(document)
    np.testing.assert_array_equal(WignerResult.from_hdf5(path).mode_kappa_c, result.mode_kappa_c)
    files = [str(path), str(document)] if kind == ["many"] else [str(path)]
    assert main(["plot", *files, *kind, "-o", str(figure)]) == 0
    assert figure.stat().st_size > 5000
    assert ("overdamped" in capsys.readouterr().out) == (kind == ["modes"])
    assert main(["plot", *files, *kind, "--ts", "77", "-o", str(figure)]) == 2
    assert "holds [300.0] K" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["modes", "spectrum", "cumulative", "map"])
def test_figures_look_as_they_were_reviewed(result, kind, tmp_path):
    # words are taken away: fonts differ between machines and versions
    pytest.importorskip("matplotlib")
    from matplotlib.testing.compare import compare_images
    from matplotlib.testing.decorators import remove_ticks_and_titles

    from phon_wigner.conductivity import plots

    axes = {
        "modes": lambda: plots.plot_crossover(crossover(result, 0)),
        "spectrum": lambda: plots.plot_spectrum(result, 0),
        "cumulative": lambda: plots.plot_cumulative(result, 0),
        "map": lambda: plots.plot_coherence_map(result.coherence_map[0], result.map_edges),
    }[kind]()
    for one in axes.figure.axes:
        for text in one.texts:
            text.set_visible(False)
        one.set(xlabel="", ylabel="")
        for side in ("left", "right"):
            one.set_title("", loc=side)
        if one.get_legend():
            one.get_legend().remove()
    remove_ticks_and_titles(axes.figure)
    axes.figure.savefig(tmp_path / f"{kind}.png", dpi=100)
    reference = Path(__file__).parent / "pictures" / f"{kind}.png"
    assert compare_images(str(reference), str(tmp_path / f"{kind}.png"), tol=8) is None


def test_a_figure_without_an_ending_comes_in_every_format_with_its_data(result, tmp_path):
    pytest.importorskip("matplotlib")
    result.to_hdf5(tmp_path / "toy.hdf5")
    assert main(["plot", str(tmp_path / "toy.hdf5"), "map", "-o", str(tmp_path / "k.map")]) == 2
    assert main(["plot", str(tmp_path / "toy.hdf5"), "map", "-o", str(tmp_path / "map")]) == 0
    assert {path.suffix for path in tmp_path.glob("map.*")} == {".png", ".svg", ".pdf", ".csv"}
    assert "THz" in (tmp_path / "map.svg").read_text(encoding="utf-8"), "text stays text"


def test_map_figure_needs_a_map(crystal, widths, tmp_path, capsys):
    analyze(crystal, widths, settings=AnalysisSettings(keep_modes=True)).to_hdf5(tmp_path / "bare.hdf5")
    assert main(["plot", str(tmp_path / "bare.hdf5"), "map", "-o", str(tmp_path / "x.png")]) == 2
    assert "holds no map" in capsys.readouterr().err


def test_mode_figure_has_size_and_colour(result):
    pytest.importorskip("matplotlib")
    from phon_wigner.conductivity.plots import plot_coherence_fractions, plot_crossover

    points = plot_crossover(crossover(result)).collections[0]
    assert np.ptp(points.get_sizes()) > 1
    assert np.ptp(points.get_array()) > 0.1
    axes = plot_coherence_fractions(np.array([0.1, 10.0]), np.array([0.2, 0.1]), ["a", "b"])
    assert [t.get_text() for t in axes.texts] == ["a", "b"]
    assert any(np.allclose(line.get_ydata(), 50) for line in axes.lines)


# --- disordered solids ----------------------------------------------------------------------------------


def test_voigt_limits_and_norm():
    x = np.linspace(-200, 200, 400_001)
    width = np.full_like(x, 0.3)
    step = x[1] - x[0]
    assert line_shape(x, width, 0.5).sum() * step == pytest.approx(np.pi, abs=6e-3)
    np.testing.assert_allclose(line_shape(x, width), 0.3 / (x**2 + 0.09))
    np.testing.assert_allclose(line_shape(x, 0 * x, 0.5), np.exp(-(x**2) / 0.5) * np.sqrt(np.pi / 2) / 0.5, atol=1e-9)


def test_rwte_without_broadening_is_the_wigner_conductivity(crystal, widths):
    pairs, _, _ = crystal.collect_pairs(widths.qpoints, widths.weights)
    capacity = heat_capacities(pairs.frequencies, 300.0)
    modes = average_modes(pairs, linewidths=widths.gamma[0], heat_capacities=capacity)
    expected = population_conductivity(pairs, modes).sum(axis=(0, 1))
    expected = expected + coherence_conductivity(pairs, pair_weights(pairs, modes))
    got = regularised_conductivity(pairs, modes, 0.0)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


def test_allen_feldman_limit_and_scan(crystal, widths):
    """Widths far below the broadening no longer matter; diffusivities times C give the same κ."""
    pairs, _, _ = crystal.collect_pairs(widths.qpoints, widths.weights)
    capacity = heat_capacities(pairs.frequencies, 2000.0)
    none, small, full = (
        average_modes(pairs, linewidths=scale * widths.gamma[0], heat_capacities=capacity) for scale in (0, 1e-7, 1)
    )
    bare = regularised_conductivity(pairs, none, 0.5)
    tiny = regularised_conductivity(pairs, small, 0.5)
    np.testing.assert_allclose(tiny, bare, rtol=1e-5, atol=1e-9)
    scan = broadening_scan(pairs, full, [0.0, 0.1, 0.5])
    assert scan.shape == (3, 6)
    assert len(np.unique(np.round(scan[:, 0], 6))) == 3
    classical = (capacity * diffusivities(pairs, 0.5)).sum() * 2 * np.pi
    assert classical == pytest.approx(bare[:3].mean(), rel=0.02)
    with pytest.raises(LinewidthError, match="broadening > 0"):
        regularised_conductivity(pairs, none, 0.0)
    with pytest.raises(LinewidthError, match="broadening > 0"):
        diffusivities(pairs, 0.0)


def test_broadening_scan_of_a_crystal(crystal, widths, tmp_path):
    """κ of the scan is the Wigner κ at small η; the flattest point is the one of least slope; the file holds it."""
    expected = analyze(crystal, widths)
    scan = scan_crystal(crystal, widths, [300.0], [1e-5, 0.05, 0.1, 0.2])
    np.testing.assert_allclose(scan.kappa[0, 0], (expected.kappa_p + expected.kappa_c)[0], rtol=1e-4, atol=1e-9)
    wide = scan_crystal(crystal, widths, [300.0], scan.level_spacing * np.array([0.1, 0.5, 1.1, 2.0, 4.0]))
    assert wide.plateau(0) == 2 + np.argmin(np.abs(wide.slope(0)[2:]))  # not below the level spacing
    scan.to_hdf5(tmp_path / "scan.hdf5")
    with h5py.File(tmp_path / "scan.hdf5") as handle:
        np.testing.assert_array_equal(handle["kappa"], scan.kappa)
    free = scan_crystal(crystal, (5, 5, 5), [300.0], [0.2, 0.1])
    np.testing.assert_array_equal(free.broadenings, [0.1, 0.2])
    tiny = Linewidths.from_arrays([300.0], widths.qpoints, widths.weights, 1e-9 * widths.gamma, convention="hwhm-thz")
    np.testing.assert_allclose(free.kappa, scan_crystal(crystal, tiny, [300.0], [0.1, 0.2]).kappa, rtol=1e-5, atol=1e-9)


# --- isotopes -------------------------------------------------------------------------------------------


def _phono3py_isotopes(constants, jitter=0.0, **options):
    """phono3py's own widths on the irreducible points of a symmetric 5³ mesh, frequencies shaken by ``jitter`` THz."""
    from phono3py.other.isotope import Isotope
    from phonopy.phonon.grid import get_ir_grid_points

    phonon = make_phonopy()
    theirs = Isotope([5, 5, 5], phonon.primitive, cutoff_frequency=1e-4, **options)
    theirs.init_dynamical_matrix(constants, phonon.supercell, phonon.primitive)
    points = theirs.bz_grid.grg2bzg[get_ir_grid_points(theirs.bz_grid)[0]]
    theirs.set_grid_point(int(points[0]))
    theirs.run()
    theirs.phonons.frequencies[:] += jitter * np.random.default_rng(1).normal(size=theirs.phonons.frequencies.shape)
    gamma = []
    for point in points:
        theirs.set_grid_point(int(point))
        theirs.run()
        gamma.append(theirs.gamma)
    return np.array(gamma), theirs, points


@pytest.mark.skipif(PHONO3PY_MINOR < 8, reason="Isotope.phonons came with phono3py 4.8")
@pytest.mark.parametrize(
    "options",
    [{}, {"symmetrize_tetrahedra": True}, {"symmetrize_tetrahedra": True, "average_degenerate_weights": True}],
)
def test_isotope_widths_equal_phono3py_on_every_mode(options):
    """From the same phonons of a symmetric crystal, degenerate modes included, to rounding."""
    gamma, theirs, points = _phono3py_isotopes(make_phonopy().force_constants, **options)
    ours = isotope_linewidths_on_grid(
        theirs.phonons.frequencies,
        theirs.phonons.eigenvectors,
        theirs.bz_grid,
        points,
        theirs.mass_variances,
        symmetrize_tetrahedra=options.get("symmetrize_tetrahedra", False),
        average_degenerate=options.get("average_degenerate_weights", False),
        cutoff_frequency=1e-4,
    )
    assert gamma.max() > 1e-3
    np.testing.assert_allclose(ours, gamma, rtol=1e-10, atol=1e-12 * gamma.max())


@pytest.mark.skipif(PHONO3PY_MINOR < 8, reason="Isotope.phonons came with phono3py 4.8")
def test_mean_of_both_sides_has_no_rounding_accidents():
    """A shake of 1e-12 THz moves single modes of phono3py by far more than 1 %, ours not at all."""
    constants = make_phonopy().force_constants
    still, _, _ = _phono3py_isotopes(constants)
    shaken, _, _ = _phono3py_isotopes(constants, jitter=1e-12)
    assert np.abs(shaken - still).max() > 0.01 * still.max()
    phonon = make_phonopy()
    qpoints, _ = irreducible_mesh(HarmonicCrystal.from_phonopy(phonon), 5)
    options = {"symmetrize_tetrahedra": True, "average_degenerate": True}
    widths = []
    for scale in (1.0, 1 + 1e-12):
        phonon.force_constants = constants * scale
        widths.append(isotope_linewidths(HarmonicCrystal.from_phonopy(phonon), (5, 5, 5), qpoints, **options))
    np.testing.assert_allclose(widths[1], widths[0], rtol=1e-6, atol=1e-9 * widths[0].max())


@pytest.mark.skipif(
    PHONO3PY_MINOR < 8, reason="phono3py 4.0's tetrahedron isotope widths differ from 4.8's by up to 60 %"
)
def test_isotope_widths_equal_phono3py_without_degeneracies():
    """With its own phonons, where no corners coincide, nothing has to be undone."""
    phonon = make_phonopy()
    noise = np.random.default_rng(0).normal(size=phonon.force_constants.shape)
    constants = phonon.force_constants + 1e-2 * noise * (np.abs(phonon.force_constants) > 1e-8)
    phonon.force_constants = constants
    gamma, theirs, points = _phono3py_isotopes(constants)
    qpoints = get_qpoints_from_bz_grid_points(points[1:4], theirs.bz_grid)
    crystal = HarmonicCrystal.from_phonopy(phonon)
    ours = isotope_linewidths(crystal, (5, 5, 5), qpoints, irreducible=False, side_step=0.0)
    np.testing.assert_allclose(ours, gamma[1:4], rtol=1e-5, atol=1e-7 * gamma.max())
    robust = isotope_linewidths(crystal, (5, 5, 5), qpoints, irreducible=False)
    np.testing.assert_allclose(robust, gamma[1:4], rtol=1e-3, atol=1e-5 * gamma.max())


@pytest.mark.skipif(PHONO3PY_MINOR < 8, reason="symmetrised tetrahedra came with phono3py 4.8")
def test_one_q_per_star_is_enough(crystal):
    qpoints, _ = irreducible_mesh(crystal, 5)
    options = {"symmetrize_tetrahedra": True, "average_degenerate": True}
    fast = isotope_linewidths(crystal, (5, 5, 5), qpoints, **options)
    full = isotope_linewidths(crystal, (5, 5, 5), qpoints, irreducible=False, **options)
    assert fast.max() > 1e-4
    np.testing.assert_allclose(fast, full, rtol=1e-7, atol=1e-9 * full.max())


def test_isotope_rate_is_proportional_to_the_mass_variance(crystal):
    q = np.array([[0.2, 0.4, 0.0]])
    one = isotope_linewidths(crystal, (5, 5, 5), q, mass_variances=np.array([0.0, 1e-3]))
    two = isotope_linewidths(crystal, (5, 5, 5), q, mass_variances=np.array([0.0, 2e-3]))
    np.testing.assert_allclose(two, 2 * one)
    assert (isotope_linewidths(crystal, (5, 5, 5), q, mass_variances=np.zeros(2)) == 0).all()


def test_isotopes_are_added_once(crystal, widths):
    from dataclasses import replace

    with pytest.raises(GridMismatchError, match="mesh"):
        add_isotopes(crystal, widths)
    more = add_isotopes(crystal, replace(widths, mesh=(5, 5, 5)), average_degenerate=True)
    assert analyze(crystal, more).kappa_p[0, 0] < analyze(crystal, widths).kappa_p[0, 0]
    with pytest.raises(GridMismatchError, match="twice"):
        add_isotopes(crystal, more)


def test_unknown_temperature_in_comparison(result):
    from phon_wigner.conductivity.metrics import ModeConductivity

    with pytest.raises(TemperatureError, match="holds"):
        ModeConductivity.from_result(result, 77.0)


def test_a_layer_in_vacuum_is_warned_about(crystal, widths, caplog):
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    from phon_wigner.conductivity.postprocess import vacuum_gap

    sheet = PhonopyAtoms(symbols=["C"], cell=np.diag([2.5, 2.5, 15.0]), scaled_positions=[[0, 0, 0.5]])
    phonon = Phonopy(sheet, supercell_matrix=[2, 2, 1], primitive_matrix="P")
    spring = np.zeros((4, 4, 3, 3))
    for i in range(4):
        for j in range(4):
            spring[i, j] = np.eye(3) * (3.0 if i == j else -1.0)
    phonon.force_constants = spring
    layer = HarmonicCrystal.from_phonopy(phonon)
    assert vacuum_gap(layer) == pytest.approx(15.0)
    assert vacuum_gap(crystal) < 5
    qpoint = np.array([[0.5, 0.5, 0.0]])
    lines = Linewidths.from_arrays([300.0], qpoint, np.array([1]), np.full((1, 1, 3), 0.1), convention="hwhm-thz")
    analyze(layer, lines)
    assert "vacuum gap of 15.0" in caplog.text
