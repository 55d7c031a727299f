"""Linewidths from elsewhere, files, the command line, and wrong input."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from phon_wigner.cli import main
from phon_wigner.conductivity.metrics import ModeConductivity, compare, read_reference
from phon_wigner.conductivity.postprocess import AnalysisSettings, analyze
from phon_wigner.conductivity.result import WignerResult
from phon_wigner.errors import (
    GridMismatchError,
    ImaginaryModeError,
    InputFileError,
    LinewidthError,
    ShapeError,
    TemperatureError,
)
from phon_wigner.files.crystal_files import CrystalFiles, load_crystal
from phon_wigner.files.kappa_file import read_kappa_file
from phon_wigner.files.shengbte import read_shengbte
from phon_wigner.phonons.conventions import CONVENTIONS, to_hwhm_thz
from phon_wigner.phonons.harmonic import HarmonicCrystal
from phon_wigner.phonons.linewidths import Linewidths
from phon_wigner.testing import fortran_e, irreducible_mesh, make_phonopy, write_shengbte


@pytest.fixture(scope="module")
def sample(crystal):
    """Linewidths of the toy crystal on 5³: γ ∝ T ν²."""
    qpoints, weights = irreducible_mesh(crystal, 5)
    _, frequencies, _ = crystal.collect_pairs(qpoints, weights)
    frequencies = np.maximum(frequencies, 0)
    gamma = np.array([t / 300 * (0.02 + 0.004 * frequencies**2) for t in (100.0, 300.0)])
    return Linewidths.from_arrays(
        [100.0, 300.0], qpoints, weights, gamma, convention="hwhm-thz", frequencies=frequencies
    )


def write_kappa_file(path, sample, **changes):
    """Write a minimal kappa-m*.hdf5."""
    data = {
        "temperature": sample.temperatures,
        "qpoint": sample.qpoints,
        "weight": sample.weights,
        "gamma": sample.gamma,
        "frequency": sample.frequencies,
        "mesh": np.array([5, 5, 5]),
    } | changes
    with h5py.File(path, "w") as handle:
        for name, value in data.items():
            if value is not None:
                handle[name] = value
    return path


# --- conventions -----------------------------------------------------------------------------------------


def test_conventions_describe_one_physical_width():
    """A half width of 1 THz in every dress."""
    from phonopy.physical_units import get_physical_units

    cm = get_physical_units().THzToCm
    dressed = {
        "hwhm-thz": 1.0,
        "fwhm-thz": 2.0,
        "rate-per-ps": 4 * np.pi,
        "hwhm-rad-ps": 2 * np.pi,
        "lifetime-ps": 1 / (4 * np.pi),
        "hwhm-cm": cm,
        "fwhm-cm": 2 * cm,
    }
    assert set(dressed) == set(CONVENTIONS)
    assert cm == pytest.approx(33.356, rel=1e-4)
    for name, value in dressed.items():
        assert to_hwhm_thz(np.array(value), name) == pytest.approx(1.0), name


def test_wrong_factor_two_is_visible(crystal, sample):
    """Half or full width changes κ_P by two: the convention has no default."""
    full = Linewidths.from_arrays(
        sample.temperatures, sample.qpoints, sample.weights, sample.gamma, convention="fwhm-thz"
    )
    ratio = analyze(crystal, full).kappa_p[:, 0] / analyze(crystal, sample).kappa_p[:, 0]
    np.testing.assert_allclose(ratio, 2.0, rtol=1e-9)


def test_unknown_convention_suggests_the_nearest():
    with pytest.raises(LinewidthError, match="fwhm-thz"):
        to_hwhm_thz(np.ones(2), "fwmh-thz")


# --- ShengBTE -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0000000000E+00"),
        (-12.34, "-0.1234000000E+02"),
        (9.99999999999e-3, "0.1000000000E-01"),
        (1.5e-120, "0.1500000000-119"),
        (np.inf, "Infinity"),
    ],
)
def test_numbers_look_like_fortran(value, text):
    assert fortran_e(value) == text.rjust(20)


def test_shengbte_reads_three_digit_exponents(sample, tmp_path):
    tiny = replace(sample, gamma=np.where(sample.gamma > sample.gamma.mean(), 1e-150, sample.gamma))
    write_shengbte(tmp_path, tiny)
    np.testing.assert_allclose(read_shengbte(tmp_path).gamma, tiny.gamma, rtol=1e-8)


def test_shengbte_gives_the_same_kappa(crystal, sample, tmp_path):
    write_shengbte(tmp_path, sample)
    read = read_shengbte(tmp_path)
    np.testing.assert_allclose(read.gamma, sample.gamma, rtol=1e-8)
    a, b = analyze(crystal, read), analyze(crystal, sample)
    np.testing.assert_allclose(a.kappa_p, b.kappa_p, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(a.kappa_c, b.kappa_c, rtol=1e-8, atol=1e-10)


def test_fourphonon_rates_add_up(sample, tmp_path):
    write_shengbte(tmp_path, sample, fourphonon=True)
    read = read_shengbte(tmp_path, ["BTE.w_3ph", "BTE.w_4ph"])
    np.testing.assert_allclose(read.gamma, sample.gamma, rtol=1e-8)


def test_fourphonon_total_holds_isotopes_and_both_rates(sample, tmp_path):
    """BTE.w is the sum of all; three- and four-phonon rates need the isotopes beside them."""
    static = np.full(sample.gamma_static.shape, 0.03)
    write_shengbte(tmp_path, replace(sample, gamma_isotope=static), fourphonon=True)
    total = read_shengbte(tmp_path)
    parts = read_shengbte(tmp_path, ["BTE.w_3ph", "BTE.w_4ph"], isotope="BTE.w_isotopic")
    np.testing.assert_allclose(total.at(300.0), sample.gamma[1] + 0.03, rtol=1e-8)
    np.testing.assert_allclose(parts.at(300.0), total.at(300.0), rtol=1e-8)


def test_rates_after_the_iteration_are_warned_about(sample, tmp_path, caplog):
    write_shengbte(tmp_path, sample)
    for folder in tmp_path.glob("T*K"):
        (folder / "BTE.w").rename(folder / "BTE.w_final")
    read_shengbte(tmp_path, ["BTE.w_final"])
    assert "no linewidths" in caplog.text


def test_shengbte_half_rates_need_their_convention(sample, tmp_path):
    write_shengbte(tmp_path, sample)
    read = read_shengbte(tmp_path, convention="hwhm-rad-ps")
    np.testing.assert_allclose(read.gamma, 2 * sample.gamma, rtol=1e-8)


def test_shengbte_bad_files(sample, tmp_path):
    with pytest.raises(InputFileError, match=r"BTE\.qpoints"):
        read_shengbte(tmp_path)
    write_shengbte(tmp_path, sample)
    with pytest.raises(InputFileError, match=r"BTE\.w_4ph"):
        read_shengbte(tmp_path, ["BTE.w", "BTE.w_4ph"])
    table = np.loadtxt(tmp_path / "T100K" / "BTE.w")
    np.savetxt(tmp_path / "T100K" / "BTE.w", table[::-1])
    with pytest.raises(GridMismatchError, match="band after band"):
        read_shengbte(tmp_path)


# --- bad linewidths, grids and temperatures -------------------------------------------------------------


def test_negative_widths_are_an_error(sample):
    bad = sample.gamma.copy()
    bad[0, 3, 2] = -0.1
    with pytest.raises(LinewidthError, match=r"1 of .* negative"):
        replace(sample, gamma=bad).checked()


def test_nan_widths_are_an_error(sample):
    bad = sample.gamma.copy()
    bad[1, 0, 5] = np.nan
    with pytest.raises(LinewidthError, match="not finite"):
        replace(sample, gamma=bad).checked()


def test_many_zero_widths_are_an_error_few_a_warning(crystal, sample, caplog):
    few = sample.gamma.copy()
    few[:, 2, 5] = 0
    result = analyze(crystal, replace(sample, gamma=few))
    assert "zero linewidth" in caplog.text
    assert result.kappa_p[0, 0] < analyze(crystal, sample).kappa_p[0, 0]
    many = sample.gamma.copy()
    many[:, ::2] = 0
    with pytest.raises(LinewidthError, match="incomplete"):
        analyze(crystal, replace(sample, gamma=many))


def test_shapes_are_checked(sample):
    with pytest.raises(ShapeError, match="weights"):
        replace(sample, weights=sample.weights[:-1]).checked()
    with pytest.raises(ShapeError, match="linewidths"):
        replace(sample, temperatures=np.array([1.0])).checked()


def test_temperatures(crystal, sample):
    with pytest.raises(TemperatureError, match="stored: 100, 300"):
        analyze(crystal, sample, [200.0])
    with pytest.raises(TemperatureError, match="never extrapolated"):
        analyze(crystal, sample, [400.0], AnalysisSettings(interpolate=True))
    with pytest.raises(TemperatureError, match=">= 0"):
        analyze(crystal, sample, [-5.0])
    between = analyze(crystal, sample, [200.0], AnalysisSettings(interpolate=True))
    exact = replace(sample, temperatures=np.array([200.0]), gamma=2 * sample.gamma[:1])
    np.testing.assert_allclose(between.kappa_p, analyze(crystal, exact).kappa_p, rtol=1e-9, atol=1e-12)


def test_zero_kelvin_conducts_nothing(crystal, sample):
    frozen = replace(sample, temperatures=np.array([0.0, 300.0]))
    np.testing.assert_array_equal(analyze(crystal, frozen).kappa_total[0], 0)


def test_wrong_force_constants_are_noticed(sample):
    charged = HarmonicCrystal.from_phonopy(make_phonopy(nac="gonze"))
    with pytest.raises(GridMismatchError, match="--born or --nonac"):
        analyze(charged, sample)


@pytest.mark.parametrize(("factor", "name"), [(2 * np.pi, "angular"), (33.35641, "cm"), (4.135667, "meV")])
def test_frequencies_in_another_unit_are_named(crystal, sample, factor, name):
    with pytest.raises(LinewidthError, match=name):
        analyze(crystal, replace(sample, frequencies=sample.frequencies * factor))


class RowsOnly:
    """Stands for a dataset on disk: gives one temperature at a time and counts what was taken."""

    def __init__(self, array):
        self._array = array
        self.shape = array.shape
        self.taken = []

    def __getitem__(self, key):
        assert isinstance(key, (int, np.integer)), key
        self.taken.append(int(key))
        return self._array[key]


def test_temperatures_are_streamed(crystal, sample):
    """No step needs two temperatures at once, and nothing per temperature but κ is kept."""
    temperatures = np.linspace(100, 300, 7)
    gamma = np.array([sample.at(t, interpolate=True) for t in temperatures])
    on_disk = replace(sample, temperatures=temperatures, gamma=RowsOnly(gamma))
    result = analyze(crystal, on_disk)
    np.testing.assert_allclose(result.kappa_c[[0, -1]], analyze(crystal, sample).kappa_c, rtol=1e-12, atol=1e-12)
    assert set(on_disk.gamma.taken) == set(range(7))
    assert len(result.gamma) == len(result.mode_kappa_p) == len(result.mode_kappa_c) == len(result.heat_capacity) == 0


def test_wrong_cell_is_noticed(sample):
    with pytest.raises(GridMismatchError, match=r"--pa|bands"):
        analyze(HarmonicCrystal.from_phonopy(make_phonopy("P")), sample)


def test_wrong_weights_are_noticed(crystal, sample):
    weights = sample.weights.copy()
    weights[1] = 5
    with pytest.raises(GridMismatchError, match="star"):
        analyze(crystal, replace(sample, weights=weights))


def test_imaginary_modes_are_an_error(sample):
    phonon = make_phonopy()
    phonon.force_constants = -phonon.force_constants
    with pytest.raises(ImaginaryModeError, match="unstable"):
        analyze(HarmonicCrystal.from_phonopy(phonon), sample)


# --- files and command line -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cell_files(tmp_path_factory):
    """POSCAR, fc2.hdf5 of the toy crystal."""
    from phono3py.file_IO import write_fc2_to_hdf5
    from phonopy.interface.vasp import write_vasp

    folder = tmp_path_factory.mktemp("cell")
    phonon = make_phonopy()
    write_vasp(str(folder / "POSCAR"), phonon.unitcell)
    write_fc2_to_hdf5(phonon.force_constants, filename=str(folder / "fc2.hdf5"))
    return folder


def options(folder):
    return ["--fc2", str(folder / "fc2.hdf5"), "--cell", str(folder / "POSCAR"), "--dim", "2", "2", "2"]


def test_command_line_writes_json_and_hdf5(crystal, sample, cell_files, tmp_path):
    kappa = write_kappa_file(tmp_path / "kappa-m555.hdf5", sample)
    command = [sys.executable, "-m", "phon_wigner", "analyze", str(kappa), *options(cell_files)]
    command += ["--ts", "300", "100", "--json", "out.json", "--hdf5", "out.hdf5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "K_P" in done.stdout
    document = json.loads((tmp_path / "out.json").read_text())
    expected = analyze(crystal, sample, [300.0, 100.0])
    assert document["temperatures"] == [300.0, 100.0]
    for name in ("kappa_p", "kappa_c", "kappa_total"):
        assert np.shape(document[name]) == (2, 6)
        np.testing.assert_allclose(document[name], getattr(expected, name), rtol=1e-6, atol=1e-9)
    result = WignerResult.from_hdf5(tmp_path / "out.hdf5")
    n = result.weights.sum()
    np.testing.assert_allclose(result.mode_kappa_p.sum(axis=(1, 2)) / n, result.kappa_p, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(result.mode_kappa_c.sum(axis=(1, 2)) / n, result.kappa_c, rtol=1e-9, atol=1e-12)


def test_analyze_keeps_to_one_blas_thread_and_gives_the_others_back(sample, cell_files, tmp_path, monkeypatch):
    """Threads wait for one another over matrices of 3 n_atoms and burn the time of ten."""
    kappa = write_kappa_file(tmp_path / "kappa-m555.hdf5", sample)
    seen = []

    def watched(*arguments):
        seen.append(blas_threads())
        return analyze(*arguments)

    monkeypatch.setattr("phon_wigner.conductivity.postprocess.analyze", watched)
    with threadpool_limits(limits=2, user_api="blas"):
        if set(blas_threads()) != {2}:
            pytest.skip("this BLAS does not let its threads be set")
        assert main(["analyze", str(kappa), *options(cell_files), "--ts", "100"]) == 0
        assert set(blas_threads()) == {2}
    assert seen
    assert set(seen[0]) == {1}


def blas_threads():
    """Threads of each BLAS that is loaded."""
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_command_line_writes_spectra_and_tables(crystal, sample, cell_files, tmp_path):
    kappa = write_kappa_file(tmp_path / "kappa-m555.hdf5", sample)
    arguments = ["analyze", str(kappa), *options(cell_files), "--ts", "100", "300", "--map-bins", "20"]
    arguments += ["--spectra", str(tmp_path / "s.hdf5"), "--csv", str(tmp_path / "tables")]
    assert main(arguments) == 0
    expected = analyze(crystal, sample)
    with h5py.File(tmp_path / "s.hdf5") as handle:
        for i, name in enumerate(("T100K", "T300K")):
            group = handle[name]
            assert group["cumulative_p"][-1] == pytest.approx(expected.kappa_p[i, 0], rel=1e-6)
            assert group["coherence_map"].shape == (20, 20)
            cell = np.diff(group["map_edges"])[0] ** 2
            assert group["coherence_map"][()].sum() * cell == pytest.approx(expected.kappa_c[i, 0], rel=1e-6)
            assert group["path_cumulative_c"][-1] == pytest.approx(expected.kappa_c[i, 0], rel=1e-6)
    assert len(list((tmp_path / "tables").glob("*_300K.csv"))) == 5


def test_command_line_glass(crystal, sample, cell_files, tmp_path, capsys):
    """With linewidths and a vanishing broadening the scan is the Wigner conductivity; without, a mesh is enough."""
    kappa = write_kappa_file(tmp_path / "kappa-m555.hdf5", sample)
    table = tmp_path / "scan.csv"
    arguments = ["glass", *options(cell_files), "--kappa", str(kappa), "--broadening", "1e-6", "0.1", "0.3"]
    assert main([*arguments, "--csv", str(table), "--hdf5", str(tmp_path / "scan.hdf5")]) == 0
    rows = list(csv.DictReader(table.read_text().splitlines()))
    expected = analyze(crystal, sample, [300.0])
    assert [float(r["broadening_thz"]) for r in rows] == [1e-6, 0.1, 0.3]
    assert float(rows[0]["kappa_xx_w_mk"]) == pytest.approx((expected.kappa_p + expected.kappa_c)[0, 0], rel=1e-4)
    assert capsys.readouterr().out.count("flattest") == 1
    figure = tmp_path / "scan.png"
    pytest.importorskip("matplotlib")
    assert main(["glass", *options(cell_files), "--mesh", "3", "3", "3", "--plot", str(figure)]) == 0
    assert figure.stat().st_size > 5000
    assert len(capsys.readouterr().out.splitlines()) == 15  # 13 broadenings and two lines of header


def test_electron_phonon_widths_of_a_file_enter(crystal, sample, cell_files, tmp_path):
    """``gamma_elph`` beside ``gamma`` counts in populations and coherences, read one temperature at a time."""
    extra = 0.1 * sample.gamma + 0.02
    kappa = write_kappa_file(tmp_path / "kappa-m555.hdf5", sample, gamma_elph=extra)
    read = read_kappa_file(kappa)
    assert not isinstance(read.gamma, np.ndarray)
    np.testing.assert_allclose(read.at(300.0), sample.gamma[1] + extra[1])
    expected = analyze(crystal, replace(sample, gamma=sample.gamma + extra))
    result, bare = analyze(crystal, read), analyze(crystal, sample)
    np.testing.assert_allclose(result.kappa_c, expected.kappa_c, rtol=1e-6, atol=1e-9)
    assert (result.kappa_c[:, 0] > 1.05 * bare.kappa_c[:, 0]).all()
    assert (result.kappa_p[:, 0] < 0.95 * bare.kappa_p[:, 0]).all()


def test_stored_isotope_widths_are_kept(sample, cell_files, tmp_path):
    isotope = np.full(sample.frequencies.shape, 0.05)
    kappa = write_kappa_file(tmp_path / "kappa-m555.hdf5", sample, gamma_isotope=isotope)
    np.testing.assert_allclose(read_kappa_file(kappa).at(300.0), sample.gamma[1] + 0.05)
    values = {}
    for name, extra in (("with", []), ("without", ["--no-isotope"])):
        out = tmp_path / f"{name}.json"
        assert main(["analyze", str(kappa), *options(cell_files), "--json", str(out), *extra]) == 0
        values[name] = json.loads(out.read_text())["kappa_p"][1][0]
    assert values["with"] < 0.8 * values["without"]


def test_command_line_shengbte(sample, cell_files, tmp_path, capsys):
    write_shengbte(tmp_path, sample)
    assert main(["shengbte", str(tmp_path), *options(cell_files), "--ts", "300"]) == 0
    assert "K_TOT" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gamma": None}, "lacks gamma"),
        ({"gamma": np.ones((2, 6))}, "expected \\(temperatures"),
    ],
)
def test_bad_kappa_files(sample, cell_files, tmp_path, changes, message):
    kappa = write_kappa_file(tmp_path / "kappa-m555.hdf5", sample, **changes)
    with pytest.raises(InputFileError, match=message):
        read_kappa_file(kappa)


def test_command_line_errors_name_the_fix(sample, cell_files, tmp_path, capsys):
    kappa = str(write_kappa_file(tmp_path / "kappa-m555.hdf5", sample))
    crystal = options(cell_files)
    cases = [
        (["analyze", "nothing.hdf5", *crystal], "does not exist"),
        (["analyze", kappa, "--cell", crystal[3], "--dim", "2", "2", "2"], "give --fc2"),
        (["analyze", kappa, "--fc2", crystal[1]], "--cell POSCAR"),
        (["analyze", kappa, *crystal[:-3], "3", "3", "3"], "--dim-fc2"),
        (["analyze", kappa, *crystal, "--ts", "250"], "--interpolate"),
        (["analyze", kappa, *crystal, "--pa", "P"], "--pa"),
    ]
    for arguments, message in cases:
        assert main(arguments) == 2, arguments
        assert message in capsys.readouterr().err, arguments


def test_yaml_without_force_constants_asks_for_fc2(phono3py_yaml, tmp_path):
    text = phono3py_yaml.read_text()
    bare = tmp_path / "phono3py_disp.yaml"
    bare.write_text(text.split("\nforce_constants:")[0])
    with pytest.raises(InputFileError, match="--fc2"):
        load_crystal(CrystalFiles(yaml=bare))


# --- metrics --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def modes(crystal, sample):
    result = analyze(crystal, sample, settings=AnalysisSettings(keep_modes=True))
    return ModeConductivity.from_result(result, 300.0, "toy")


def test_metrics_of_equal_results_are_zero(modes):
    same = compare(modes, modes)
    assert (same.srd, same.sre, same.srme) == (0.0, 0.0, 0.0)


def test_metrics_of_a_scaled_result(modes):
    """Three times every mode: SRD = 2·2/4 = 1, and SRME equals SRE."""
    triple = replace(modes, modes=3 * modes.modes, kappa=3 * modes.kappa)
    got = compare(triple, modes)
    assert got.srd == pytest.approx(1.0)
    assert got.srme == pytest.approx(1.0)
    assert compare(modes, triple).srd == pytest.approx(-1.0)


def test_srme_sees_what_srd_cancels(modes):
    """Heat moved from one half of the modes to the other leaves κ but not SRME."""
    shift = np.zeros_like(modes.modes)
    shift[0::2, 3] = 0.3 * modes.modes.sum() / shift[0::2, 3].size
    shift[1::2, 3] = -shift.sum() / shift[1::2, 3].size
    moved = replace(modes, modes=modes.modes + shift)
    got = compare(moved, modes)
    assert got.srd == 0.0
    assert got.srme == pytest.approx(0.6, rel=1e-9)


def test_metrics_refuse_what_does_not_match(modes):
    with pytest.raises(GridMismatchError, match="mesh"):
        compare(replace(modes, weights=modes.weights[::-1]), modes)
    with pytest.raises(GridMismatchError, match=r"300 K"):
        compare(replace(modes, temperature=200.0), modes)
    with pytest.raises(GridMismatchError, match="modes sum"):
        replace(modes, kappa=1.1 * modes.kappa).checked()
    with pytest.raises(GridMismatchError, match="order"):
        replace(modes, frequencies=modes.frequencies[:, ::-1]).checked()
    with pytest.raises(GridMismatchError, match="primitive cell"):
        compare(replace(modes, modes=modes.modes[1:]), modes)


def test_reference_file_round_trip(modes, tmp_path):
    row = {
        "mp_id": "toy-1",
        "name": "NaCl",
        "temperatures": [300.0],
        "qpoints": modes.qpoints.tolist(),
        "weights": modes.weights.tolist(),
        "frequencies": modes.frequencies.tolist(),
        "kappa_TOT_ave": [modes.kappa],
        "mode_kappa_TOT_ave": [modes.modes.tolist()],
    }
    path = tmp_path / "kappas.json"
    path.write_text(json.dumps({key: {"0": value} for key, value in row.items()}))
    reference = ModeConductivity.from_reference_row(read_reference(path)["toy-1"])
    assert compare(modes, reference).srme == pytest.approx(0, abs=1e-12)
    path.write_text("{}")
    with pytest.raises(InputFileError, match="reference table .it lacks 'mp_id'"):
        read_reference(path)
