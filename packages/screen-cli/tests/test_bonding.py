"""Bonding and antibonding: exact on straight lines and Gaussians, their difference is the ICOHP, files as LOBSTER's."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.integrate import trapezoid

from screen_cli.cli import main
from screen_cli.crystal.structure import Structure
from screen_cli.errors import ConfigError, StructureError
from screen_cli.physics.bonding import integrate_bonding
from screen_cli.store.run_directory import RunDirectory

spec = importlib.util.spec_from_file_location("lobster_files", Path(__file__).with_name("lobster_files.py"))
lobster_files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lobster_files)
gaussian, write_lobster = lobster_files.gaussian, lobster_files.write_lobster

NACL = Structure.from_atoms(bulk("NaCl", "rocksalt", a=5.64), provider="t", provider_id="x-1")
STRONG = gaussian(-6.0, -3.0) + gaussian(-2.0, 0.5) + gaussian(2.0, 9.0)  # the last one is empty
WEAK = gaussian(-6.0, -1.0)
BONDS = [("Na1->Cl2", 2.82, STRONG), ("Na1->Na1", 3.99, WEAK)]


def test_gaussian_bands_give_their_areas_and_empty_ones_nothing():
    bonding, antibonding = integrate_bonding(lobster_files.ENERGIES, STRONG)
    assert bonding == pytest.approx(3.0, rel=1e-4)
    assert antibonding == pytest.approx(0.5, rel=1e-4)


@example([1e-4, -1e-21, 1.0], -3.0, 0.25)  # crosses within rounding of a point
@given(st.lists(st.floats(-10, 10), min_size=3, max_size=30), st.floats(-5.0, -0.1), st.floats(0.1, 5.0))
def test_their_difference_is_minus_the_integral(values, low, high):
    energies = np.linspace(low, high, len(values))
    cohp = np.array(values)
    bonding, antibonding = integrate_bonding(energies, cohp)
    below = energies < 0
    points = np.append(energies[below], 0.0)
    icohp = trapezoid(np.append(cohp[below], np.interp(0.0, energies, cohp)), points)
    assert bonding >= 0
    assert antibonding >= 0
    assert bonding - antibonding == pytest.approx(-icohp, abs=1e-9)


def test_a_line_through_zero_is_cut_where_it_crosses():
    bonding, antibonding = integrate_bonding(np.array([-2.0, 0.0]), np.array([-1.0, 3.0]))
    assert bonding == pytest.approx(0.5 * 0.5 * 1.0)
    assert antibonding == pytest.approx(0.5 * 1.5 * 3.0)


@pytest.mark.parametrize("energies", [[1.0, 2.0], [-2.0, -1.0], [0.0, -1.0], [0.0]])
def test_curves_without_the_fermi_level_are_refused(energies):
    with pytest.raises(ValueError, match="rise|Fermi"):
        integrate_bonding(np.array(energies), np.zeros(len(energies)))


@pytest.fixture
def cohp():
    pytest.importorskip("pymatgen.io.lobster", reason="needs screen-cli[cohp]")
    from screen_cli.properties.cohp.property import cohp

    return cohp


@pytest.mark.parametrize("n_spins", [1, 2])
@pytest.mark.parametrize("name", ["x-1", "ClNa", NACL.id])
def test_files_of_lobster_are_averaged_over_the_pairs(cohp, tmp_path, n_spins, name):
    write_lobster(tmp_path / (NACL.formula if name == "ClNa" else name), BONDS, n_spins=n_spins)
    found = cohp({}, structure=NACL, folder=str(tmp_path))
    assert found.cohp_bonding_ev == pytest.approx(2.0, rel=1e-3)
    assert found.cohp_antibonding_ev == pytest.approx(0.25, rel=1e-3)
    assert found.icohp_mean_ev == pytest.approx(-1.75, rel=1e-3)
    assert found.icohp_strongest_ev == pytest.approx(-2.5, rel=1e-3)
    assert found.n_bonds == 2
    assert found.cohp_consistent is True


def test_a_window_that_cuts_a_band_off_is_told(cohp, tmp_path):
    write_lobster(tmp_path / "x-1", BONDS)
    path = tmp_path / "x-1" / "COHPCAR.lobster"
    lines = path.read_text().splitlines()
    head, body = lines[:5], lines[5:]
    path.write_text("\n".join(head + body[600:]) + "\n")  # from -6 eV on: half of the bonding bands
    assert cohp({}, structure=NACL, folder=str(tmp_path)).cohp_consistent is False


def test_compressed_files_and_one_file_alone_will_do(cohp, tmp_path):
    write_lobster(tmp_path / "x-1", BONDS)
    (tmp_path / "x-1" / "ICOHPLIST.lobster").unlink()
    path = tmp_path / "x-1" / "COHPCAR.lobster"
    path.with_name("COHPCAR.lobster.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    found = cohp({}, structure=NACL, folder=str(tmp_path))
    assert found.cohp_bonding_ev == pytest.approx(2.0, rel=1e-3)
    assert found.icohp_mean_ev is None


def test_no_output_is_no_failure_but_a_torn_file_is(cohp, tmp_path):
    assert cohp({}, structure=NACL, folder=str(tmp_path)).to_storage().data == {}
    with pytest.raises(ConfigError, match="folder ="):
        cohp({}, structure=NACL)
    write_lobster(tmp_path / "x-1", BONDS)
    path = tmp_path / "x-1" / "COHPCAR.lobster"
    path.write_text(path.read_text()[:3000])
    with pytest.raises(StructureError, match="COHPCAR.lobster"):
        cohp({}, structure=NACL, folder=str(tmp_path))


def test_the_key_follows_the_files(cohp, tmp_path):
    from screen_cli.properties.cohp.property import fingerprint

    before = fingerprint(NACL, folder=str(tmp_path))
    write_lobster(tmp_path / "x-1", BONDS)
    with_files = fingerprint(NACL, folder=str(tmp_path))
    (tmp_path / "x-1" / "ICOHPLIST.lobster").write_text("other")
    assert len({str(item) for item in (before, with_files, fingerprint(NACL, folder=str(tmp_path)))}) == 3


CONFIG = """
[source]
name = "prototypes"
options = {{ entries = [{{ prototype = "cu3au", elements = ["Al", "Al"], a = 4.0 }}] }}
[calculator]
name = "emt"
[relax]
enabled = false
[displace]
dim = [1, 1, 1]
min_pairs = 1
[force_constants]
third_order = false
holdout = 0.0
[harmonic]
mesh = [2, 2, 2]
phase_space = false
[properties]
names = ["cohp"]
options = {{ cohp = {{ folder = "{folder}" }} }}
[engine]
name = "serial"
"""


def test_output_that_comes_later_is_read_after_a_rebuild_and_nothing_else_runs_again(cohp, tmp_path):
    (tmp_path / "lobster").mkdir()
    config = tmp_path / "al.toml"
    config.write_text(CONFIG.format(folder=tmp_path / "lobster"))
    assert main(["run", str(config), "--quiet", "--no-report"]) == 0
    run = RunDirectory.open(tmp_path / "al")
    (row,) = run.rows()
    assert row["state"] == "done", row["reason"]
    assert row.get("cohp_bonding_ev") is None
    before = {path: path.stat().st_mtime_ns for path in run.root.rglob("records/**/*.json")}
    write_lobster(tmp_path / "lobster" / "Al", [("Al1->Al1", 2.83, WEAK)])
    assert main(["rebuild", str(run.root)]) == 0
    assert main(["run", str(config), "--quiet", "--no-report"]) == 0
    (row,) = run.rows()
    assert row["cohp_bonding_ev"] == pytest.approx(1.0, rel=1e-3)
    after = {path: path.stat().st_mtime_ns for path in run.root.rglob("records/**/*.json")}
    assert {path.name.split("-")[0] for path in after.keys() - before.keys()} == {"property_cohp"}
    assert all(after[path] == time for path, time in before.items())


# lines of LOBSTER's own output, from the test files of pymatgen and LobsterPy, with mean and strongest by hand
REAL_LISTS = {
    "NaCl, orbital by orbital": (
        """  COHP#       atomMU       atomNU     distance     translation      ICOHP (at) eF   for spin  1
      1          Na1          Na1      5.69169       1  -1  -1           -0.00034
      1       Na1_3s       Na1_3s      5.69169       1  -1  -1            0.00044
      2          Na1          Na1      4.02464       0   0  -1           -0.02923
      2       Na1_3s       Na1_3s      4.02464       0   0  -1           -0.02574
""",
        (-0.00034 - 0.02923) / 2,
        -0.02923,
    ),
    "AlN of LOBSTER 5, both spins in one line": (
        """  COHP#    atomMU    atomNU   distance   translation   ICOHP (at) eF    ICOHP (at) eF
                                                          for spin 1       for spin 2
      1       Al1       Al1    3.12859    -1  -1   0        -0.21490         -0.21497
      1    Al1_3s    Al1_3s    3.12859    -1  -1   0        -0.00181         -0.00181
      1    Al1_3s  Al1_3p_y    3.12859    -1  -1   0         0.00102          0.00104
      2       Al1       Al1    3.12859     0  -1   0        -0.21482         -0.21493
      7       Al1       Al2    3.09114     0  -1  -1        -0.20710         -0.20742
      7    Al1_3s    Al2_3s    3.09114     0  -1  -1        -0.00255         -0.00255
      7    Al1_3s  Al2_3p_y    3.09114     0  -1  -1        -0.00345         -0.00345
""",
        -(0.42987 + 0.42975 + 0.41452) / 3,
        -0.42987,
    ),
}
REAL_CURVES = """ESCALE ; pCOHP file generated by LOBSTER. Energy is shifted such that the Fermi level lies at 0 eV.
         5          1          6  -1.41247e+01   4.62525e+00  -2.87475e+00
Average
No.1:F1->K2(2.7119923200622269)
No.2:F1[2s]->K2[3s](2.7119923200622269)
No.3:F1->K2(2.7119923200622269)
No.4:F1[2s]->K2[3s](2.7119923200622269)
-11.25000  0.00000 -0.02791  0.00000 -0.29304  0.00000 -0.00161  0.00000 -0.29304  0.00000 -0.00161
 -7.50000 -0.00120 -0.03242 -0.01263 -0.34042  0.00001 -0.00157 -0.01263 -0.34041  0.00001 -0.00157
 -3.75000  0.00000 -0.03242  0.00000 -0.34042  0.00000 -0.00157  0.00000 -0.34041  0.00000 -0.00157
  0.00000 -0.00153 -0.03817 -0.01609 -0.40075  0.00004 -0.00143 -0.01609 -0.40074  0.00004 -0.00143
  3.75000  0.00000 -0.03817  0.00000 -0.40075  0.00000 -0.00143  0.00000 -0.40074  0.00000 -0.00143
  7.50000  0.00000 -0.03817  0.00000 -0.40075  0.00000 -0.00143  0.00000 -0.40074  0.00000 -0.00143
"""


@pytest.mark.parametrize("which", sorted(REAL_LISTS))
def test_lists_of_real_lobster_versions(cohp, tmp_path, which):
    """Orbital-resolved lines are parts of their pair and do not count again."""
    text, mean, strongest = REAL_LISTS[which]
    (tmp_path / "x-1").mkdir()
    (tmp_path / "x-1" / "ICOHPLIST.lobster").write_text(text)
    found = cohp({}, structure=NACL, folder=str(tmp_path))
    assert found.icohp_mean_ev == pytest.approx(mean, abs=1e-9)
    assert found.icohp_strongest_ev == pytest.approx(strongest, abs=1e-9)


def test_curves_of_a_real_lobster_file(cohp, tmp_path):
    """KF, orbital by orbital (two of its six pairs): the trapezoids of the pairs up to the Fermi level."""
    (tmp_path / "x-1").mkdir()
    (tmp_path / "x-1" / "COHPCAR.lobster").write_text(REAL_CURVES)
    found = cohp({}, structure=NACL, folder=str(tmp_path))
    assert found.n_bonds == 2
    assert found.cohp_bonding_ev == pytest.approx(3.75 * (0.01263 + 0.01609 / 2), abs=1e-9)
    assert found.cohp_antibonding_ev == pytest.approx(0.0, abs=1e-9)
