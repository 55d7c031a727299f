"""``screen-cli bench`` end to end: EMT metals against references that the test makes from its own results."""

from __future__ import annotations

import csv
import gzip
import json

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from screen_cli.cli import main
from screen_cli.testing import MetricContract

QUICK = ["-s", "harmonic.band_points=3", "-s", "harmonic.dos_points=11", "-s", "relax.fmax=0.01"]
KAPPA = ["bench", "kappa", "-c", "ase:ase.calculators.emt.EMT", "--engine", "serial", "-q", *QUICK]
TWICE = 2 * np.eye(3, dtype=int)


class TestSrme(MetricContract):
    name = "srme"


@pytest.fixture(scope="module")
def structures(tmp_path_factory):
    """A good metal, one that is unstable, and one that EMT does not know."""
    crystals = {
        "mp-Cu": bulk("Cu", cubic=True, a=3.6),
        "mp-bcc": bulk("Cu", "bcc", cubic=True, a=2.87),
        "mp-Na": bulk("Na", cubic=True),
    }
    for name, atoms in crystals.items():
        header = {"mp_id": name, "name": name[3:], "q_mesh": np.array([3, 3, 3]), "prototype": "metal"}
        atoms.info = {**header, "fc3_supercell": TWICE, "fc2_supercell": TWICE}
    path = tmp_path_factory.mktemp("bench") / "metals.extxyz"
    write(path, list(crystals.values()))
    return path


@pytest.fixture(scope="module")
def run_dir(structures):
    """All materials computed once, without a reference."""
    folder = structures.parent / "run"
    assert main([*KAPPA, "-S", str(structures), "-d", str(folder), "--only", "Cu", "--only", "mp-Na"]) == 0
    assert main([*KAPPA, "-S", str(structures), "-d", str(folder)]) == 0  # a longer list is no other run
    return folder


@pytest.fixture(scope="module")
def predictions(run_dir):
    return json.loads(gzip.decompress((run_dir / "predictions.json.gz").read_bytes()))


def rows(predictions):
    keys = list(predictions["mp_id"])
    return {predictions["mp_id"][key]: {name: column[key] for name, column in predictions.items()} for key in keys}


def reference_file(path, items):
    columns = {name for item in items for name in item}
    table = {name: {str(i): item.get(name) for i, item in enumerate(items)} for name in columns}
    path.write_bytes(gzip.compress(json.dumps(table).encode()))
    return path


def score(structures, run_dir, reference, *more):
    argv = [*KAPPA, "-S", str(structures), "-d", str(run_dir), "-r", str(reference), "--score-only", *more]
    assert main(argv) == 0
    return json.loads((run_dir / "bench.json").read_text())


@pytest.fixture
def scaled(predictions, tmp_path):
    """Copper with every mode 1.5 times as conductive; rows for the two that fail, one twice and one of no crystal."""
    table = rows(predictions)
    copper = table["mp-Cu"]
    good = {**copper, "kappa_TOT_ave": [1.5 * copper["kappa_TOT_ave"][0]]}
    good["mode_kappa_TOT_ave"] = (1.5 * np.array(copper["mode_kappa_TOT_ave"])).tolist()
    failing = [{**copper, "mp_id": name} for name in ("mp-bcc", "mp-Na")]
    return reference_file(tmp_path / "r.json.gz", [good, *failing, {**copper, "mp_id": "mp-Au"}, good])


def test_scores_of_a_known_reference(structures, run_dir, scaled, capsys):
    document = score(structures, run_dir, scaled)
    materials = {item["id"]: item for item in document["materials"]}
    copper = materials["mp-Cu"]
    assert copper["verdict"] == "scored"
    assert copper["srd"] == pytest.approx(-0.4)
    assert copper["srme"] == pytest.approx(0.4)  # every mode is off by the same factor: no cancellation to lose
    assert copper["frequency_error_percent"] == pytest.approx(0.0, abs=1e-6)
    assert copper["n_force_calls"] > 10
    assert 1.0 < copper["gruneisen_mean"] < 3.5
    assert 10 < copper["thermal_expansion_per_mk"] < 30  # experiment: 17
    assert copper["peak_mb"] is None or copper["peak_mb"] > 50
    assert materials["mp-bcc"]["verdict"] == "failed"
    assert materials["mp-bcc"]["imaginary"]
    assert materials["mp-bcc"]["spectrum_distance_thz"] > 0
    assert materials["mp-Na"]["verdict"] == "failed"
    assert "Na" in materials["mp-Na"]["reason"]
    for name in ("mp-bcc", "mp-Na"):
        assert (materials[name]["srme"], materials[name]["sre"]) == (2.0, 2.0)
    assert document["means"]["n_materials"] == 3
    assert document["means"]["srme"] == pytest.approx((0.4 + 2 + 2) / 3)
    assert document["by_prototype"]["metal"]["n_failed"] == 2
    told = capsys.readouterr().err
    for phrase in ("stands there twice", "1 references have no structure in this run: mp-Au"):
        assert phrase in told
    with (run_dir / "bench.csv").open() as file:
        assert {row["id"]: row["verdict"] for row in csv.DictReader(file)}["mp-Cu"] == "scored"
    assert (run_dir / "parity.png").stat().st_size > 5000


def test_other_grids_are_told_and_not_scored(structures, run_dir, predictions, tmp_path, capsys):
    other = dict(rows(predictions)["mp-Cu"])
    for name in ("weights", "qpoints", "frequencies"):
        other[name] = other[name][:-1]
    modes = other["mode_kappa_TOT_ave"][0][:-1]
    other |= {"mode_kappa_TOT_ave": [modes], "kappa_TOT_ave": [np.sum(modes) / np.sum(other["weights"])]}
    document = score(structures, run_dir, reference_file(tmp_path / "r.json.gz", [other]))
    assert {item["id"]: item["verdict"] for item in document["materials"]}["mp-Cu"] == "not scored"
    assert document["means"] is None
    told = [line for line in capsys.readouterr().err.splitlines() if "mp-Cu" in line]
    assert len(told) == 1
    assert "has modes" in told[0]


def test_modes_that_cancel_show_in_srme_alone(structures, run_dir, predictions, tmp_path):
    copper = rows(predictions)["mp-Cu"]
    modes = np.array(copper["mode_kappa_TOT_ave"][0])
    moved = modes.copy()
    rich = np.argsort(modes, axis=None)[-2:]
    shift = 0.2 * modes.flat[rich].min()
    moved.flat[rich] += [shift, -shift]
    path = reference_file(tmp_path / "r.json.gz", [{**copper, "mode_kappa_TOT_ave": [moved.tolist()]}])
    document = score(structures, run_dir, path)
    found = {item["id"]: item for item in document["materials"]}["mp-Cu"]
    assert found["srd"] == pytest.approx(0.0, abs=1e-6)
    assert found["srme"] == pytest.approx(2 * shift / np.sum(copper["weights"]) / copper["kappa_TOT_ave"][0], rel=1e-3)


def test_predictions_are_a_reference_in_either_format(structures, run_dir):
    for name in ("predictions.json.gz", "predictions-matbench.json.gz"):
        document = score(structures, run_dir, run_dir / name)
        materials = {item["id"]: item for item in document["materials"]}
        assert materials["mp-Cu"]["srme"] == pytest.approx(0.0, abs=1e-6)


def test_a_material_that_cannot_be_read_is_not_scored(structures, tmp_path, capsys):
    atoms = bulk("Cu", a=3.6)
    atoms.info = {
        "mp_id": "mp-primitive",
        "q_mesh": np.array([3, 3, 3]),
        "fc3_supercell": TWICE,
        "fc2_supercell": TWICE,
    }
    write(tmp_path / "primitive.extxyz", atoms)
    folder = tmp_path / "run"
    assert main([*KAPPA, "-S", str(tmp_path / "primitive.extxyz"), "-d", str(folder)]) == 0
    (item,) = json.loads((folder / "bench.json").read_text())["materials"]
    assert item["verdict"] == "not scored"
    assert "conventional cell" in item["reason"]
    assert rows(json.loads(gzip.decompress((folder / "predictions.json.gz").read_bytes()))) == {}
    assert "mp-primitive" in capsys.readouterr().err


def test_compare_two_results(structures, run_dir, scaled, tmp_path, capsys):
    score(structures, run_dir, scaled)
    better = json.loads((run_dir / "bench.json").read_text())
    for item in better["materials"]:
        if item["verdict"] == "scored":
            item["srme"] -= 0.1
    (tmp_path / "better.json").write_text(json.dumps(better))
    capsys.readouterr()
    assert main(["bench", "compare", str(run_dir), str(tmp_path / "better.json"), "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["differences"][0]
    assert (first["quantity"], first["n"]) == ("srme", 3)
    assert first["difference"] == pytest.approx(-0.1 / 3)
    assert main(["bench", "compare", str(run_dir), str(tmp_path / "better.json")]) == 0
    assert "B − A" in capsys.readouterr().out
    (tmp_path / "equal.json").write_text(json.dumps({**better, "label": "equal"}))
    (tmp_path / "better.json").write_text(json.dumps({**better, "label": "better"}))
    three = [str(run_dir), str(tmp_path / "equal.json"), str(tmp_path / "better.json")]
    assert main(["bench", "compare", *three, "--json"]) == 0
    assert {row["label"] for row in json.loads(capsys.readouterr().out)["rows"][:2]} == {"better", "equal"}
    assert main(["bench", "compare", str(run_dir)]) == 2
    assert "Give two or more" in capsys.readouterr().err


def test_other_protocol_in_the_same_directory_is_refused(structures, run_dir, capsys):
    argv = [*KAPPA, "-S", str(structures), "-d", str(run_dir), "--protocol", "fast"]
    assert main(argv) == 2
    assert "other settings" in capsys.readouterr().err


def test_wrong_input_is_one_line(structures, tmp_path, capsys):
    for argv, phrase in (
        ([*KAPPA, "-S", str(tmp_path / "no.xyz"), "-d", str(tmp_path / "a")], "does not exist"),
        ([*KAPPA, "-S", str(structures), "-r", str(tmp_path / "no.gz"), "-d", str(tmp_path / "b")], "does not exist"),
        ([*KAPPA, "-S", str(structures), "--only", "Xx", "-d", str(tmp_path / "c")], "called Xx"),
        (["bench", "compare", str(tmp_path), str(tmp_path)], "cannot be read"),
    ):
        assert main(argv) == 2
        told = capsys.readouterr().err.strip().splitlines()
        assert len(told) == 1
        assert phrase in told[0]
