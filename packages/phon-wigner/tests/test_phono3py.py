"""The variant inside phono3py: RTA, direct solution, files, kaccum, discovery."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import phono3py
import pytest

from phon_wigner.cli import main
from phon_wigner.conductivity.postprocess import analyze
from phon_wigner.files.crystal_files import CrystalFiles, load_crystal
from phon_wigner.files.kappa_file import read_kappa_file
from phon_wigner.phono3py_variant.doctor import require_variant, run_checks
from phon_wigner.phonons.assembly import crystal_from_phono3py
from phon_wigner.phonons.linewidths import Linewidths

MESH = [4, 4, 4]
TEMPERATURES = [100.0, 400.0]


@functools.cache
def prepared(path):
    """Return the toy crystal with its mesh set."""
    crystal = phono3py.load(path, log_level=0)
    crystal.mesh_numbers = MESH
    crystal.init_phph_interaction()
    return crystal


def unprepared(path):
    """Return a new object of the toy crystal, with the force constants that loading it once has made."""
    known = prepared(path)
    crystal = phono3py.Phono3py(
        known.unitcell, supercell_matrix=known.supercell_matrix, primitive_matrix=known.primitive_matrix, log_level=0
    )
    crystal.fc2, crystal.fc3 = known.fc2, known.fc3
    return crystal


@functools.cache
def run(path, **options):
    """Run one conductivity on the toy crystal; the same options run once."""
    crystal = prepared(path)
    crystal.run_thermal_conductivity(temperatures=TEMPERATURES, **options)
    return crystal, crystal.thermal_conductivity


@pytest.fixture(scope="module")
def wigner_files(phono3py_yaml, tmp_path_factory):
    """Directory with kappa-m444.hdf5 of a Wigner run with isotopes and boundaries."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(phono3py_yaml, transport_type="wigner", is_isotope=True, boundary_mfp=0.5, write_kappa=True)
    return folder


def test_populations_equal_the_standard_run(phono3py_yaml):
    """Block pairs apart, κ_P is phono3py's std-rta; away from degeneracies also mode by mode."""
    _, standard = run(phono3py_yaml)
    _, ours = run(phono3py_yaml, transport_type="wigner")
    np.testing.assert_allclose(ours.kappa_P - ours.kappa_block, standard.kappa, rtol=1e-6, atol=1e-9)
    frequencies = standard.frequencies
    gaps = np.diff(frequencies, axis=1)
    alone = np.ones(frequencies.shape, dtype=bool)
    alone[:, 1:] &= gaps > 1e-3
    alone[:, :-1] &= gaps > 1e-3
    assert alone.sum() > 8
    np.testing.assert_allclose(ours.mode_kappa[:, :, alone], standard.mode_kappa[:, :, alone], rtol=1e-6, atol=1e-9)
    assert (ours.kappa_C[0, :, 0] > 0).all()


def test_coherences_rise_with_temperature_relative_to_populations(phono3py_yaml):
    _, ours = run(phono3py_yaml, transport_type="wigner")
    ratio = ours.kappa_C[0, :, 0] / ours.kappa_P[0, :, 0]
    assert ratio[1] > 2 * ratio[0]


def test_isotopes_and_boundaries_enter_the_coherences(phono3py_yaml):
    _, bare = run(phono3py_yaml, transport_type="wigner")
    _, isotopes = run(phono3py_yaml, transport_type="wigner", is_isotope=True)
    _, boundary = run(phono3py_yaml, transport_type="wigner", boundary_mfp=0.05)
    for other in (isotopes, boundary):
        assert (other.kappa_C[0, :, 0] > bare.kappa_C[0, :, 0] * 1.001).all()
        assert (other.kappa_P[0, :, 0] < bare.kappa_P[0, :, 0]).all()


def test_electron_phonon_widths_enter_the_coherences(phono3py_yaml, tmp_path, monkeypatch):
    """phono3py reads them from gamma_elph-m444.hdf5 (--read-elph); the run and its file give one and the same κ."""
    monkeypatch.chdir(tmp_path)
    _, bare = run(phono3py_yaml, transport_type="wigner")
    with h5py.File("gamma_elph-m444.hdf5", "w") as handle:
        handle["gamma_1"] = 0.5 * bare.gamma + 0.01
        handle["temperature_1"] = np.array(TEMPERATURES)
    crystal = prepared(phono3py_yaml)
    crystal.run_thermal_conductivity(
        temperatures=TEMPERATURES, transport_type="wigner", read_elph=1, write_kappa=True, log_level=0
    )
    ours = crystal.thermal_conductivity
    assert (ours.kappa_C[0, :, 0] > 1.1 * bare.kappa_C[0, :, 0]).all()
    assert (ours.kappa_P[0, :, 0] < 0.67 * bare.kappa_P[0, :, 0]).all()
    widths = Linewidths.from_arrays(
        TEMPERATURES, bare.qpoints, bare.grid_weights, 1.5 * bare.gamma[0] + 0.01, convention="hwhm-thz"
    )
    expected = analyze(crystal_from_phono3py(crystal), widths)
    np.testing.assert_allclose(ours.kappa_C[0], expected.kappa_c, rtol=1e-6, atol=1e-9)
    stored = analyze(crystal_from_phono3py(crystal), read_kappa_file("kappa-m444.hdf5"))
    np.testing.assert_allclose(stored.kappa_c, expected.kappa_c, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(stored.kappa_p, expected.kappa_p, rtol=1e-6, atol=1e-9)


def test_direct_solution_adds_the_same_coherences(phono3py_yaml):
    """Populations come from the collision matrix, coherences from its diagonal, boundaries included."""
    _, standard = run(phono3py_yaml, is_LBTE=True)
    _, ours = run(phono3py_yaml, is_LBTE=True, transport_type="wigner")
    _, rta = run(phono3py_yaml, transport_type="wigner")
    np.testing.assert_allclose(ours.kappa_P - ours.kappa_block, standard.kappa, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(ours.kappa_C, rta.kappa_C, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(ours.kappa, ours.kappa_P + ours.kappa_C)
    np.testing.assert_allclose(ours.kappa_RTA, standard.kappa_RTA, rtol=1e-10)
    _, direct = run(phono3py_yaml, is_LBTE=True, transport_type="wigner", boundary_mfp=0.05)
    _, rta = run(phono3py_yaml, transport_type="wigner", boundary_mfp=0.05)
    np.testing.assert_allclose(direct.kappa_C, rta.kappa_C, rtol=1e-8)


def test_full_mesh_run_matches_the_standard_one(phono3py_yaml):
    """Without star symmetry every grid point counts once."""
    _, standard = run(phono3py_yaml, is_kappa_star=False)
    _, ours = run(phono3py_yaml, transport_type="wigner", is_kappa_star=False)
    np.testing.assert_allclose(ours.kappa_P - ours.kappa_block, standard.kappa, rtol=1e-6, atol=1e-6)
    _, reduced = run(phono3py_yaml, transport_type="wigner")
    # the tetrahedron method breaks the symmetry of the linewidths, hence not closer
    np.testing.assert_allclose(ours.kappa_C[..., 0], reduced.kappa_C[..., 0], rtol=0.1)


def test_hdf5_holds_totals_and_modes(wigner_files):
    with h5py.File(wigner_files / "kappa-m444.hdf5") as handle:
        n_points, n_bands = handle["frequency"].shape
        mesh = np.prod(MESH)
        for name in ("kappa_P", "kappa_C", "kappa_total"):
            assert handle[name].shape == (2, 6)
        for name in ("mode_kappa", "mode_kappa_C"):
            assert handle[name].shape == (2, n_points, n_bands, 6)
            assert handle[name].chunks is not None
        np.testing.assert_allclose(handle["kappa_total"][:], handle["kappa"][:])
        np.testing.assert_allclose(
            handle["mode_kappa"][:].sum(axis=(1, 2)) / mesh, handle["kappa_P"][:], rtol=1e-10, atol=1e-12
        )
        np.testing.assert_allclose(
            handle["mode_kappa_C"][:].sum(axis=(1, 2)) / mesh, handle["kappa_C"][:], rtol=1e-10, atol=1e-12
        )
        assert "mode_kappa_C_pairs" not in handle


def test_pair_resolved_output_on_request(phono3py_yaml, monkeypatch):
    monkeypatch.setenv("PHON_WIGNER_PAIRS", "1")
    _, ours = run(phono3py_yaml, transport_type="wigner", log_level=0)
    pairs = ours.pairs
    np.testing.assert_allclose(pairs.sum(axis=(2, 3, 4)) / np.prod(MESH), ours.kappa_C, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(pairs, pairs.transpose(0, 1, 2, 4, 3, 5))


def test_agreement_with_smm19_after_the_analytic_factor(phono3py_yaml, monkeypatch):
    """Our κ_P plus our pairs times (ω+ω')²/(4ωω') is smm19's total, once its in-place projection works on a copy."""
    from phono3py.phonon.velocity_matrix import VelocityMatrix

    shipped = VelocityMatrix.run

    def without_aliasing(self, q_points, perturbation=None):
        shipped(self, q_points, perturbation)
        self._velocity_matrices = np.array([self._calculate_velocity_matrix_at_q(np.array(q)) for q in q_points])

    monkeypatch.setattr(VelocityMatrix, "run", without_aliasing)
    _, theirs = run(phono3py_yaml, transport_type="smm19")
    monkeypatch.setenv("PHON_WIGNER_PAIRS", "1")
    _, ours = run(phono3py_yaml, transport_type="wigner", is_full_pp=False)
    frequencies = np.maximum(ours.frequencies, 1e-9)
    sums = frequencies[:, :, None] + frequencies[:, None, :]
    factor = sums**2 / (4 * frequencies[:, :, None] * frequencies[:, None, :])
    corrected = (ours.pairs * factor[None, None, ..., None]).sum(axis=(2, 3, 4)) / np.prod(MESH)
    # at the higher temperature the factor is visible at the tolerance of the comparison
    assert (corrected - ours.kappa_C)[0, 1, 0] > 5e-6 * theirs.kappa[0, 1, 0]
    np.testing.assert_allclose((ours.kappa_P + corrected)[..., :3], theirs.kappa[..., :3], rtol=1e-6, err_msg="total")


def test_kaccum_works_again(wigner_files, phono3py_yaml):
    """phono3py-kaccum, which fails on the built-in inter-band variants, accumulates the populations."""
    command = [
        sys.executable,
        "-c",
        "import sys; from phono3py.cui.kaccum_script import main; sys.argv[0] = 'phono3py-kaccum'; main()",
        "kappa-m444.hdf5",
        "--nsp",
        "20",
    ]
    target = wigner_files / "phono3py.yaml"
    target.write_bytes(phono3py_yaml.read_bytes())
    done = subprocess.run(command, cwd=wigner_files, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line and not line.startswith("#")]
    last = np.array(rows[-1], dtype=float)
    with h5py.File(wigner_files / "kappa-m444.hdf5") as handle:
        assert last[1] == pytest.approx(handle["kappa_P"][-1, 0], rel=0.02)


def test_post_processor_repeats_the_run(wigner_files, phono3py_yaml):
    """Stored linewidths alone (isotopes and boundaries included) give the κ of the run that made them."""
    linewidths = read_kappa_file(wigner_files / "kappa-m444.hdf5")
    result = analyze(load_crystal(CrystalFiles(yaml=phono3py_yaml)), linewidths)
    with h5py.File(wigner_files / "kappa-m444.hdf5") as handle:
        np.testing.assert_allclose(result.kappa_p, handle["kappa_P"][:], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(result.kappa_c, handle["kappa_C"][:], rtol=1e-6, atol=1e-9)


def test_crystal_from_a_phono3py_object(phono3py_yaml):
    crystal = crystal_from_phono3py(prepared(phono3py_yaml))
    other = load_crystal(CrystalFiles(yaml=phono3py_yaml))
    assert crystal.volume == pytest.approx(other.volume)
    np.testing.assert_array_equal(crystal.reciprocal_operations, other.reciprocal_operations)


def test_phono3py_offers_the_variant_in_a_fresh_process():
    """phono3py hides every load error, so look from outside, after its own discovery."""
    code = (
        "import phono3py.conductivity.factory;"
        "from phon_wigner.phono3py_variant.doctor import METHODS, is_offered;"
        "assert all(map(is_offered, METHODS)) and not is_offered('wigner-none')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_loading_the_plugin_does_not_import_torch_or_matplotlib():
    code = (
        "import sys, phono3py.conductivity.factory;"
        "bad = [m for m in ('torch', 'matplotlib', 'phon_wigner.conductivity.plots', 'phon_wigner.cli')"
        " if m in sys.modules];"
        "assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_doctor_passes_here(capsys):
    require_variant()
    assert all(check.passed for check in run_checks())
    assert main(["doctor"]) == 0
    assert "ok" in capsys.readouterr().out


def test_doctor_names_the_reason(monkeypatch, capsys):
    from phono3py.conductivity import factory

    import phon_wigner.phono3py_variant.doctor as doctor

    monkeypatch.setattr(doctor, "is_offered", lambda method: False)
    monkeypatch.setattr(factory, "register_variant", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("moved")))
    assert doctor.print_report() == 1
    assert "moved" in capsys.readouterr().out


def test_subset_of_bands_is_refused(phono3py_yaml):
    crystal = unprepared(phono3py_yaml)
    crystal.mesh_numbers = [3, 3, 3]
    crystal.band_indices = [[0, 1]]
    crystal.init_phph_interaction()
    with pytest.raises(ValueError, match="bands"):
        crystal.run_thermal_conductivity(temperatures=[300], transport_type="wigner", grid_points=[1])


def test_screening_solver_returns_the_documented_arrays(phono3py_yaml):
    from phon_wigner.screening.solver import WignerSolver

    crystal = unprepared(phono3py_yaml)
    crystal.mesh_numbers = MESH
    result = WignerSolver()(crystal, TEMPERATURES, boundary_mfp=0.5)
    n_irr, n_bands = result["frequency"].shape
    shapes = {
        "temperatures": (2,),
        "kappa_p": (2, 6),
        "kappa_c": (2, 6),
        "kappa_total": (2, 6),
        "gamma": (2, n_irr, n_bands),
        "mode_kappa_p": (2, n_irr, n_bands, 6),
        "mode_kappa_c": (2, n_irr, n_bands, 6),
        "weights": (n_irr,),
        "qpoints": (n_irr, 3),
        "group_velocity": (n_irr, n_bands, 3),
        "heat_capacity": (2, n_irr, n_bands),
    }
    for name, shape in shapes.items():
        assert result[name].shape == shape, name
    assert result["weights"].sum() == np.prod(MESH)
    np.testing.assert_allclose(result["kappa_total"], result["kappa_p"] + result["kappa_c"])


@pytest.mark.parametrize("solution", ["--br", "--lbte"])
def test_phono3py_command_line(phono3py_yaml, tmp_path, solution):
    command = [shutil.which("phono3py", path=str(Path(sys.executable).parent)) or "phono3py"]
    command += [str(phono3py_yaml), "--mesh", "3", "3", "3", solution, "--tt", "wigner", "--ts", "300"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert "K_C" in done.stdout
    with h5py.File(tmp_path / "kappa-m333.hdf5") as handle:
        assert handle["kappa_C"][0, 0] > 0
        assert handle["mode_kappa"].shape[-1] == 6
        coherences = handle["kappa_C"][0]
    out = tmp_path / "out.json"  # the quick start on what the run left, from another folder
    assert main(["analyze", str(tmp_path / "kappa-m333.hdf5"), str(phono3py_yaml), "--json", str(out)]) == 0
    np.testing.assert_allclose(json.loads(out.read_text())["kappa_c"][0], coherences, rtol=1e-6, atol=1e-9)
