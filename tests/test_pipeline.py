"""The main job on real input, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.build import bulk

from screen_cli.cli import main
from screen_cli.report.page.packing import unpack
from screen_cli.store.run_directory import RunDirectory


def show(capsys, run_dir, *options):
    capsys.readouterr()
    assert main(["show", str(run_dir), "--format", "json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_crystals_to_conductivity(fast_config, tmp_path, capsys):
    config = fast_config("Al", "Cu")
    assert main(["run", str(config), "--quiet"]) == 0
    rows = show(capsys, tmp_path / "screen")
    assert [row["formula"] for row in rows] == ["Al", "Cu"]
    for row in rows:
        assert row["state"] == "done", row["reason"]
        assert row["stable"] == 1
        assert row["space_group"] == 225
        assert row["kappa_p_w_mk"] > 0
        assert row["kappa_c_w_mk"] >= 0
        np.testing.assert_allclose(row["kappa_total_w_mk"], row["kappa_p_w_mk"] + row["kappa_c_w_mk"], rtol=1e-9)
        # one atom: c_v at 300 K lies below 3R and, for metals this soft, above 2.6 R
        assert 2.6 * 8.314 < row["cv_j_mol_k"] < 3 * 8.3145
    # a second call finds everything done
    assert main(["run", str(config)]) == 0
    assert "0 worked on now" in capsys.readouterr().err


def test_crystals_added_to_the_source_come_in_when_it_is_read_again(fast_config, tmp_path, capsys):
    crystals = tmp_path / "crystals"
    crystals.mkdir()
    files = ["--set", "source.name=files", "--set", f"source.options={{paths=['{crystals}']}}", "--no-report"]
    command = ["run", str(fast_config()), *files]
    bulk("Al").write(crystals / "Al.cif")
    assert main(command) == 0
    (aluminium,) = show(capsys, tmp_path / "screen")
    bulk("Cu").write(crystals / "Cu.cif")
    assert main(command) == 0
    assert len(show(capsys, tmp_path / "screen")) == 1
    assert main([*command, "--reread"]) == 0
    assert "1 worked on now" in capsys.readouterr().err
    rows = {row["formula"]: row for row in show(capsys, tmp_path / "screen")}
    assert rows["Al"] == aluminium
    assert rows["Cu"]["state"] == "done"


def test_records_open_with_phono3py(fast_config, tmp_path, capsys):
    from phono3py.file_IO import read_fc2_from_hdf5, read_fc3_from_hdf5

    assert main(["run", str(fast_config("Al")), "--quiet"]) == 0
    run = RunDirectory.open(tmp_path / "screen")
    (row,) = run.rows()
    keys = json.loads(row["keys"])
    path = run.store.path(row["id"], "force_constants", keys["force_constants"], "hdf5")
    with h5py.File(path) as file:
        p2s_map = file["p2s_map"][:]
    assert read_fc3_from_hdf5(path, p2s_map=p2s_map).shape[1:3] == (32, 32)
    assert read_fc2_from_hdf5(path, p2s_map=p2s_map).shape[1] == 32
    yaml = run.store.path(row["id"], "displace", keys["displace"], "yaml")
    from phono3py.interface.phono3py_yaml import Phono3pyYaml

    assert len(Phono3pyYaml().read(yaml).supercell) == 32


def test_export_plot_report_and_status(fast_config, tmp_path, capsys):
    assert main(["run", str(fast_config("Al")), "--quiet"]) == 0
    run_dir = str(tmp_path / "screen")
    for name in ("out.csv", "out.json", "out.jsonl", "out.extxyz", "out.db"):
        assert main(["export", run_dir, str(tmp_path / name)]) == 0
        assert (tmp_path / name).stat().st_size > 0
    from ase.io import read

    assert read(tmp_path / "out.extxyz").info["kappa_p_w_mk"] > 0
    capsys.readouterr()
    assert main(["plot", run_dir, "Al"]) == 0
    printed = capsys.readouterr()
    endings = sorted(Path(line).name.split("-", 2)[2] for line in printed.out.splitlines())
    drawn = ["bands-dos.csv", "bands.csv", "bands.pdf", "bands.png", "bands.svg"]
    assert endings == [*drawn, "kappa.csv"], "one temperature is no curve"
    assert "there is one temperature" in printed.err
    page = (tmp_path / "screen" / "report.html").read_text()
    assert "http" not in page.split("<pre")[0].replace("http://www.w3.org", "").replace("http-equiv", "")
    assert "1 crystal." in page
    assert unpack(page.split('type="text/plain">')[1].split("<")[0])["data"]["formula"] == ["Al"]
    assert main(["report", run_dir, "--figures", str(tmp_path / "figures")]) == 0
    assert (tmp_path / "figures" / "kappa-msd.png").stat().st_size > 5000
    capsys.readouterr()
    assert main(["status", run_dir, "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["counts"] == {"done": 1}
    assert {row["stage"] for row in status["stages"]} >= {"relax", "forces", "harmonic", "conductivity"}


def test_changed_settings_never_mix_and_unchanged_work_is_kept(fast_config, tmp_path, capsys):
    config = str(fast_config("Al"))
    assert main(["run", config, "--quiet"]) == 0
    run = RunDirectory.open(tmp_path / "screen")
    relaxed = {path: path.stat().st_mtime_ns for path in run.root.rglob("relax-*.json")}
    assert len(relaxed) == 1
    changed = [config, "--quiet", "--set", "conductivity.mesh=[4, 4, 4]"]
    assert main(["run", *changed]) == 2
    assert "conductivity.mesh was [3, 3, 3], now [4, 4, 4]" in capsys.readouterr().err
    assert main(["run", *changed, "--accept-changes"]) == 0
    assert {path: path.stat().st_mtime_ns for path in run.root.rglob("relax-*.json")} == relaxed
    assert len(list(run.root.rglob("conductivity-*.json"))) == 2
    assert len(list(run.root.rglob("harmonic-*.json"))) == 1


def test_dropped_force_constants_are_made_again_when_needed(fast_config, tmp_path, capsys):
    config = str(fast_config("Al", extra="[force_constants]\nkeep = false\n"))
    assert main(["run", config, "--quiet"]) == 0
    assert list((tmp_path / "screen").rglob("force_constants-*.hdf5")) == []
    before = show(capsys, tmp_path / "screen")[0]["kappa_p_w_mk"]
    changed = ["--set", "conductivity.temperatures=[300.0, 400.0]", "--accept-changes"]
    assert main(["run", config, "--quiet", *changed]) == 0
    assert show(capsys, tmp_path / "screen")[0]["kappa_p_w_mk"] == pytest.approx(before, rel=1e-12)


def test_a_gate_expression_sees_all_earlier_columns(fast_config, tmp_path, capsys):
    config = str(fast_config("Al", "Pt", extra='[gate]\nexpression = "max_msd > 0.02 and residual < 0.5"\n'))
    assert main(["run", config, "--quiet"]) == 0
    rows = {row["formula"]: row for row in show(capsys, tmp_path / "screen")}
    assert rows["Al"]["max_msd_angstrom2"] > 0.02 > rows["Pt"]["max_msd_angstrom2"]
    assert rows["Al"]["state"] == "done"
    assert (rows["Pt"]["state"], rows["Pt"]["stage"]) == ("skipped", "gate")
    assert "max_msd > 0.02" in rows["Pt"]["reason"]


@pytest.mark.parametrize(
    "extra",
    ['[gate]\nexpression = "max_msdd > 0.02"\n', '[renormalise]\nenabled = true\nselect = "max_msdd > 0.02"\n'],
    ids=["gate", "renormalise"],
)
def test_a_column_that_no_crystal_has_stops_the_run(fast_config, tmp_path, capsys, extra):
    config = fast_config("Al", "Pt", extra=extra)
    assert main(["run", str(config), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "unknown column 'max_msdd'" in said
    assert "max_msd" in said
    assert not list((tmp_path / "screen" / "quarantine").glob("*"))


def test_harmonic_only_run_trusts_a_harmonic_fit(fast_config, tmp_path, capsys):
    config = str(fast_config("Al", extra="[force_constants]\nthird_order = false\n"))
    assert main(["run", config, "--quiet"]) == 0
    (row,) = show(capsys, tmp_path / "screen")
    assert row["state"] == "done"
    assert row["trusted"] == 1, row["force_constants_warning"]
    assert row.get("kappa_p_w_mk") is None


@pytest.mark.parametrize("single_atoms", [False, True])
def test_forces_of_the_fc2_supercell_before_the_gate_are_used_again_after_it(
    fast_config, tmp_path, capsys, single_atoms
):
    config = fast_config("Al", extra="[gate]\nbefore_third_order = true\n")
    fc2 = "dim_fc2 = [2, 2, 2]\n" + ("n_supercells_fc2 = 0\n" if single_atoms else "")
    text = config.read_text().replace("dim = [2, 2, 2]", "dim = [2, 2, 1]")
    config.write_text(text.replace("[harmonic]", f"{fc2}[harmonic]"))
    assert main(["run", str(config), "--quiet"]) == 0
    (row,) = show(capsys, tmp_path / "screen", "--columns", "all")
    assert row["state"] == "done", row["reason"]
    assert row["n_force_calls"] == row["n_supercells"] + 1
    run = RunDirectory.open(tmp_path / "screen")
    keys = json.loads(run.rows()[0]["keys"])
    before, after, displaced = (
        run.store.read(row["id"], stage, keys[stage]).arrays for stage in ("harmonic_forces", "forces", "displace")
    )
    assert len(after["forces_fc2"]) == len(displaced["displacements_fc2"]) > 0
    np.testing.assert_array_equal(after["forces_fc2"], before["forces_fc2" if single_atoms else "forces"])
    if single_atoms:  # the very same displacements as in a run that does both at once
        config.write_text(config.read_text().replace("before_third_order = true", ""))
        assert main(["run", str(config), "--run-dir", str(tmp_path / "at-once"), "--quiet"]) == 0
        (joint,) = show(capsys, tmp_path / "at-once", "--columns", "all")
        assert row["kappa_total_w_mk"] == pytest.approx(joint["kappa_total_w_mk"], rel=1e-6)
        assert joint["n_force_calls"] > row["n_force_calls"]


def test_fc2_alone_before_the_gate_spares_third_order_forces(fast_config, tmp_path, capsys):
    config = fast_config("Al", "Cu")
    assert main(["run", str(config), "--run-dir", str(tmp_path / "joint"), "--quiet"]) == 0
    joint = show(capsys, tmp_path / "joint", "--columns", "all")
    early = '[gate]\nbefore_third_order = true\nexpression = "max_frequency_thz > 8"\n'
    config.write_text(config.read_text() + early)
    assert main(["run", str(config), "--run-dir", str(tmp_path / "early"), "--quiet"]) == 0
    passed, held_back = show(capsys, tmp_path / "early", "--columns", "all")
    assert (passed["state"], held_back["state"]) == ("done", "skipped")
    assert "n_params_fc3" in passed
    assert passed["harmonic_displace_n_supercells"] == 4
    assert held_back.get("n_force_calls") is None
    assert held_back["harmonic_forces_n_force_calls"] == 5
    # fc2 from four supercells or from all of them: the same crystal within the noise of the fit
    np.testing.assert_allclose(passed["max_frequency_thz"], joint[0]["max_frequency_thz"], rtol=2e-3)
    assert passed["kappa_total_w_mk"] == pytest.approx(joint[0]["kappa_total_w_mk"], rel=1e-9)
