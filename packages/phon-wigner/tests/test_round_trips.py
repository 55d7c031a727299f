"""Every file that is written is read back as what it was; names, docs and pages agree with the code."""

from __future__ import annotations

import csv
import importlib
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import phon_wigner
from phon_wigner.conductivity.crossover import REGIMES, Crossover
from phon_wigner.conductivity.glass import BroadeningScan
from phon_wigner.conductivity.metrics import ModeConductivity, compare, symmetric_relative_difference
from phon_wigner.conductivity.result import WignerResult
from phon_wigner.conductivity.tables import at, write_table
from phon_wigner.errors import OutputFileError, TemperatureError
from phon_wigner.file_access.atomic_write import whole_file
from phon_wigner.files.exports import write_spectra, write_tables
from phon_wigner.files.kappa_file import read_kappa_file
from phon_wigner.files.shengbte import read_shengbte
from phon_wigner.phonons.conventions import CONVENTIONS, to_hwhm_thz
from phon_wigner.phonons.linewidths import Linewidths
from phon_wigner.testing import fortran_e, write_shengbte

some = settings(deadline=None, max_examples=15)
numbers = st.floats(0, 50, allow_subnormal=False)


def array(draw, *shape, elements=numbers):
    return draw(hnp.arrays(np.float64, shape, elements=elements))


@st.composite
def linewidth_records(draw):
    """Linewidths with everything that a file may hold."""
    n_temps, n_q, n_bands = draw(st.integers(1, 3)), draw(st.integers(1, 4)), 3 * draw(st.integers(1, 2))
    temperatures = np.cumsum([round(draw(st.floats(1, 400)), 1) for _ in range(n_temps)])
    grid = np.array([[draw(st.integers(-3, 3)) for _ in range(3)] for _ in range(n_q)]) / 7
    return Linewidths(
        temperatures=temperatures,
        qpoints=grid,
        weights=np.array([draw(st.integers(1, 48)) for _ in range(n_q)]),
        gamma=array(draw, n_temps, n_q, n_bands, elements=st.floats(0, 2, allow_subnormal=False)),
        gamma_isotope=array(draw, n_q, n_bands, elements=st.floats(0, 0.5, allow_subnormal=False)),
        frequencies=np.sort(array(draw, n_q, n_bands), axis=1),
        mesh=(7, 7, 7),
    )


@st.composite
def results(draw):
    """A result with modes and a map; κ is what its modes sum to."""
    n_temps, n_q, n_bands, n_bins = draw(st.integers(1, 2)), draw(st.integers(1, 3)), 3, draw(st.integers(2, 5))
    modes = [np.abs(array(draw, n_temps, n_q, n_bands, 6)) + 1e-3 for _ in range(2)]
    weights = np.array([draw(st.integers(1, 48)) for _ in range(n_q)])
    temperatures = np.array([100.0, 300.5])[:n_temps]
    frequency = np.sort(array(draw, n_q, n_bands), axis=1) + 0.1
    return WignerResult(
        temperatures=temperatures,
        kappa_p=modes[0].sum(axis=(1, 2)) / weights.sum(),
        kappa_c=modes[1].sum(axis=(1, 2)) / weights.sum(),
        frequency=frequency,
        gamma=array(draw, n_temps, n_q, n_bands) + 1e-3,
        heat_capacity=array(draw, n_temps, n_q, n_bands),
        group_velocity=array(draw, n_q, n_bands, 3) + 1e-3,
        qpoints=array(draw, n_q, 3, elements=st.floats(-0.5, 0.5)),
        weights=weights,
        mode_kappa_p=modes[0],
        mode_kappa_c=modes[1],
        volume=draw(st.floats(1, 1e4)),
        mesh=draw(st.sampled_from([None, (5, 5, 5), (0, 5, 5, 5, 0, 5, 4, 4, 0)])),
        coherence_map=array(draw, n_temps, n_bins, n_bins),
        map_edges=np.linspace(0, 60, n_bins + 1),
        metadata={"source": draw(st.text(max_size=10)), "isotopes": draw(st.booleans())},
    )


@some
@given(results())
def test_results_come_back_from_hdf5(tmp_path_factory, result):
    path = tmp_path_factory.mktemp("r") / "result.hdf5"
    result.to_hdf5(path)
    back = WignerResult.from_hdf5(path)
    for name in result.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(back, name), getattr(result, name), err_msg=name)
    with h5py.File(path) as handle:
        assert all("unit" in dataset.attrs for name, dataset in handle.items() if name != "kappa_total")


@some
@given(results())
def test_results_come_back_from_json(tmp_path_factory, result):
    path = tmp_path_factory.mktemp("r") / "result.json"
    result.to_json(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    np.testing.assert_array_equal(document["kappa_p"], result.kappa_p)
    np.testing.assert_array_equal(document["kappa_c"], result.kappa_c)
    np.testing.assert_array_equal(document["temperatures"], result.temperatures)
    assert document["metadata"] == result.metadata


@some
@given(results())
def test_tables_and_spectra_hold_the_same_and_name_unit_and_temperature(tmp_path_factory, result):
    folder = tmp_path_factory.mktemp("r")
    write_spectra(result, folder / "s.hdf5")
    written = write_tables(result, folder / "tables")
    assert len(written) == 5 * len(result.temperatures)
    units = r"(thz|ps|nm|w_mk|w_mk_thz|w_mk_thz2)"
    for path in written:
        temperature = path.stem.split("_")[1].lower()
        header = path.read_text(encoding="utf-8").splitlines()[0].split(",")
        for name in header:
            plain = name in ("qpoint", "band", "regime") or re.fullmatch(r"frequency(_[12])?_thz", name)
            bare = name in (f"coherence_share_{temperature}", f"regime_{temperature}", f"share_of_modes_{temperature}")
            assert plain or bare or re.fullmatch(rf"[a-z_]+_{re.escape(temperature)}_{units}", name), name
    with h5py.File(folder / "s.hdf5") as handle:
        for row, temperature in enumerate(result.temperatures):
            group = handle[f"T{temperature:g}K"]
            rows = list(csv.DictReader((folder / "tables" / f"spectrum_{temperature:g}K.csv").read_text().splitlines()))
            column = [float(r[at("kappa_p", temperature, "w_mk_thz")]) for r in rows]
            np.testing.assert_allclose(column, group["kappa_p"], rtol=1e-7)
            step = np.diff(group["edges"])
            assert (group["kappa_c"] * step).sum() == pytest.approx(result.kappa_c[row, :3].mean(), rel=1e-9)
            assert all("unit" in d.attrs for d in group.values() if isinstance(d, h5py.Dataset))


@some
@given(linewidth_records(), st.booleans())
def test_shengbte_folders_come_back(tmp_path_factory, record, fourphonon):
    folder = tmp_path_factory.mktemp("b")
    names = {round(t) for t in record.temperatures}
    assume(len(names) == len(record.temperatures))
    write_shengbte(folder, record, fourphonon=fourphonon)
    rates = ["BTE.w_3ph", "BTE.w_4ph"] if fourphonon else ["BTE.w"]
    back = read_shengbte(folder, rates, isotope="BTE.w_isotopic" if fourphonon else None)
    assert sorted(names) == back.temperatures.tolist()
    expected = record.gamma + record.gamma_isotope
    np.testing.assert_allclose(back.gamma + back.gamma_static, expected, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(back.frequencies, record.frequencies, rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(back.weights, record.weights)
    difference = back.qpoints - record.qpoints
    np.testing.assert_allclose(difference, np.rint(difference), atol=1e-9)


@some
@given(linewidth_records(), st.sampled_from([None, "gzip"]))
def test_kappa_files_come_back(tmp_path_factory, record, compression):
    """What phono3py writes, in its own names; temperatures are read one at a time."""
    path = tmp_path_factory.mktemp("k") / "kappa-m777.hdf5"
    with h5py.File(path, "w") as handle:
        handle["temperature"], handle["qpoint"], handle["weight"] = record.temperatures, record.qpoints, record.weights
        handle.create_dataset("gamma", data=record.gamma, compression=compression)
        handle["gamma_isotope"], handle["frequency"] = record.gamma_isotope, record.frequencies
        handle["mesh"] = record.mesh
    back = read_kappa_file(path)
    for i, temperature in enumerate(record.temperatures):
        np.testing.assert_array_equal(back.at(temperature), record.gamma[i] + record.gamma_isotope)
    assert back.mesh == record.mesh
    np.testing.assert_array_equal(back.qpoints, record.qpoints)


@some
@given(linewidth_records(), st.floats(0, 1))
def test_interpolation_stays_between_its_neighbours(record, share):
    stored = record.temperatures
    assume(len(stored) > 1)
    wanted = stored[0] + share * (stored[1] - stored[0])
    got = record.at(wanted, interpolate=True)
    pair = np.sort([record.at(t) for t in stored[:2]], axis=0)
    assert (got >= pair[0] - 1e-9).all()
    assert (got <= pair[1] + 1e-9).all()
    with pytest.raises(TemperatureError):
        record.at(stored.max() + 1, interpolate=True)


@some
@given(hnp.arrays(np.float64, 5, elements=st.floats(1e-6, 1e6)))
def test_conventions_agree_on_what_they_convert(values):
    """Each linear convention keeps ratios; lifetime and rate are inverse; full is twice half."""
    for name in CONVENTIONS:
        converted = to_hwhm_thz(values, name)
        if name == "lifetime-ps":
            np.testing.assert_allclose(converted, to_hwhm_thz(1 / values, "rate-per-ps"), rtol=1e-12)
        else:
            np.testing.assert_allclose(converted / values, converted[0] / values[0], rtol=1e-12)
    for half, full in (("hwhm-thz", "fwhm-thz"), ("hwhm-cm", "fwhm-cm"), ("hwhm-rad-ps", "rate-per-ps")):
        np.testing.assert_allclose(to_hwhm_thz(values, half), 2 * to_hwhm_thz(values, full), rtol=1e-12)
    np.testing.assert_allclose(to_hwhm_thz(values, "hwhm-cm") * 33.35640951981521, values, rtol=1e-9)


@some
@given(st.floats(-1e90, 1e90).filter(lambda x: x == 0 or abs(x) > 1e-90))
def test_fortran_numbers_come_back(value):
    assert float(fortran_e(value)) == pytest.approx(value, rel=1e-9)


@some
@given(results(), st.floats(0.2, 5))
def test_metrics_are_antisymmetric_and_ordered(result, factor):
    ours = ModeConductivity.from_result(result, result.temperatures[0])
    scaled_modes = ours.modes * np.where(np.arange(ours.modes.shape[1]) % 2, factor, 1.0)
    theirs = ModeConductivity(
        kappa=float(scaled_modes.sum() / ours.weights.sum()),
        modes=scaled_modes,
        weights=ours.weights,
        qpoints=ours.qpoints,
        frequencies=ours.frequencies,
        temperature=ours.temperature,
    ).checked()
    there, back = compare(theirs, ours), compare(ours, theirs)
    assert there.srd == pytest.approx(-back.srd, abs=1e-12)
    assert there.srme == pytest.approx(back.srme, rel=1e-9)
    assert there.srme >= there.sre - 1e-9
    assert there.srd == pytest.approx(symmetric_relative_difference(theirs.kappa, ours.kappa))


@some
@given(hnp.arrays(np.float64, (2, 3, 6), elements=st.floats(0.01, 9)), st.floats(0.01, 2))
def test_scans_come_back_from_tables(tmp_path_factory, kappa, spacing):
    scan = BroadeningScan(np.array([100.0, 300.0]), np.array([0.1, 0.2, 0.4]), kappa, spacing)
    folder = tmp_path_factory.mktemp("g")
    scan.to_csv(folder / "scan.csv")
    scan.to_hdf5(folder / "scan.hdf5")
    rows = list(csv.DictReader((folder / "scan.csv").read_text().splitlines()))
    got = [[float(r[f"kappa_{c}_w_mk"]) for c in ("xx", "yy", "zz", "yz", "xz", "xy")] for r in rows]
    np.testing.assert_allclose(got, kappa.reshape(-1, 6), rtol=1e-7)
    with h5py.File(folder / "scan.hdf5") as handle:
        np.testing.assert_array_equal(handle["kappa"], kappa)
    for i in range(2):
        best = scan.plateau(i)
        allowed = scan.broadenings >= min(spacing, 0.4)
        assert allowed[best]
        assert np.abs(scan.slope(i)[best]) == np.abs(scan.slope(i)[allowed]).min()


def test_regimes_come_back_from_tables(tmp_path):
    ones = np.ones((1, 3))
    diagnosis = Crossover(
        temperature=300.0,
        frequency=ones,
        lifetime=2 * ones,
        mean_free_path=ones * np.nan,
        kappa_p=ones,
        kappa_c=ones,
        coherence_share=0.5 * ones,
        regime=np.array([[0, 2, -1]]),
        wigner_limit_ps=1.0,
        counts=dict.fromkeys(REGIMES, 1 / 3),
        kappa_of_regime=dict.fromkeys(REGIMES, (1.0, 1.0)),
    )
    diagnosis.to_csv(tmp_path / "m.csv")
    rows = list(csv.DictReader((tmp_path / "m.csv").read_text().splitlines()))
    assert [r["regime_300k"] for r in rows] == ["particle", "overdamped", "none"]
    assert {r["lifetime_300k_ps"] for r in rows} == {"2"}
    assert {r["mean_free_path_300k_nm"] for r in rows} == {"nan"}


# --- whole or absent ------------------------------------------------------------------------------------


@some
@given(st.binary(max_size=50), st.binary(max_size=50), st.booleans())
def test_a_file_is_the_old_one_or_the_new_one(tmp_path_factory, old, new, fails):
    folder = tmp_path_factory.mktemp("w")
    path = folder / "data.bin"
    path.write_bytes(old)
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(new)
            assert path.read_bytes() == old
            if fails:
                raise RuntimeError("in the middle")
    except RuntimeError:
        assert fails
    assert path.read_bytes() == (old if fails else new)
    assert [p.name for p in folder.iterdir()] == ["data.bin"]


def test_a_failed_table_leaves_the_old_one(tmp_path):
    path = tmp_path / "t.csv"
    write_table(path, ["a_k"], [[1.0]])

    def rows():
        yield [2.0]
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        write_table(path, ["a_k"], rows())
    assert path.read_text().split() == ["a_k", "1"]
    with pytest.raises(OutputFileError, match="existing folder"):
        write_table(tmp_path / "none" / "t.csv", ["a_k"], [])


def test_files_follow_the_umask(tmp_path):
    import os

    before = os.umask(0o027)
    try:
        write_table(tmp_path / "t.csv", ["a_k"], [[1.0]])
    finally:
        os.umask(before)
    assert (tmp_path / "t.csv").stat().st_mode & 0o777 == 0o640


# --- names ----------------------------------------------------------------------------------------------


def test_public_names_exist_and_stand_on_the_reference_page():
    """What __init__ exports, what it maps to, and what docs/reference/phon-wigner-api.md lists are one list."""
    exported = set(phon_wigner.__all__) - {"__version__"}
    for name in exported:
        assert getattr(phon_wigner, name) is not None
    page = Path(__file__).parents[3] / "docs" / "reference" / "phon-wigner-api.md"
    if not page.is_file():
        pytest.skip("the documentation is not beside this package")
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"^   phon_wigner\.(\w+)$", text, flags=re.MULTILINE)) == exported
    for module in ("errors", "testing", "testing.springs", "testing.strategies"):
        importlib.import_module(f"phon_wigner.{module}")


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        phon_wigner.nothing  # noqa: B018
