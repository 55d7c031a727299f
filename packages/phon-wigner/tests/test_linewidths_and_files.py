"""Linewidths from elsewhere, files, the command line, and wrong input."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest

from phon_wigner.cli import main
from phon_wigner.errors import (
    GridMismatchError,
    ImaginaryModeError,
    InputFileError,
    LinewidthError,
    ShapeError,
    TemperatureError,
)
from phon_wigner.harmonic import HarmonicCrystal
from phon_wigner.linewidths import CONVENTIONS, Linewidths, to_hwhm_thz
from phon_wigner.metrics import ModeConductivity, compare, read_reference
from phon_wigner.phono3py_files import CrystalFiles, load_crystal, read_kappa_file
from phon_wigner.postprocess import AnalysisSettings, analyze
from phon_wigner.result import WignerResult
from phon_wigner.shengbte import read_shengbte
from phon_wigner.testing import irreducible_mesh, make_phonopy


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


def write_shengbte(folder, sample, split=False):
    """Write the files ShengBTE would, with rates 4πγ."""
    omega = 2 * np.pi * sample.frequencies
    table = [[i + 1, i + 1, w, *q] for i, (q, w) in enumerate(zip(sample.qpoints, sample.weights, strict=True))]
    np.savetxt(folder / "BTE.qpoints", table, fmt=["%9d"] * 3 + ["%20.12f"] * 3)
    np.savetxt(folder / "BTE.omega", omega, fmt="%20.10E")
    for temperature, gamma in zip(sample.temperatures, sample.gamma, strict=True):
        target = folder / f"T{temperature:g}K"
        target.mkdir()
        rate = 4 * np.pi * gamma.T.ravel()
        parts = {"BTE.w_3ph": 0.75 * rate, "BTE.w_4ph": 0.25 * rate} if split else {"BTE.w": rate}
        for name, values in parts.items():
            np.savetxt(target / name, np.column_stack([omega.T.ravel(), values]), fmt="%20.10E")


def test_shengbte_gives_the_same_kappa(crystal, sample, tmp_path):
    write_shengbte(tmp_path, sample)
    read = read_shengbte(tmp_path)
    np.testing.assert_allclose(read.gamma, sample.gamma, rtol=1e-8)
    a, b = analyze(crystal, read), analyze(crystal, sample)
    np.testing.assert_allclose(a.kappa_p, b.kappa_p, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(a.kappa_c, b.kappa_c, rtol=1e-8, atol=1e-10)


def test_fourphonon_rates_add_up(sample, tmp_path):
    write_shengbte(tmp_path, sample, split=True)
    read = read_shengbte(tmp_path, ["BTE.w_3ph", "BTE.w_4ph"])
    np.testing.assert_allclose(read.gamma, sample.gamma, rtol=1e-8)


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
    command = [sys.executable, "-m", "phon_wigner.cli", "analyze", str(kappa), *options(cell_files)]
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
    with pytest.raises(InputFileError, match="not a reference table"):
        read_reference(path)
