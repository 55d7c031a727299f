"""Two runs side by side: matched by id, ratios with the right sign, stability counted, nothing filtered takes part."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import math
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk

from screen_cli.analysis.comparison import compare_rows
from screen_cli.cli import main
from screen_cli.config import settings_from_dict
from screen_cli.run.driver import execute, resolve
from screen_cli.stages.harmonic import Harmonic
from screen_cli.store.row import stage_keys
from screen_cli.store.run_directory import RunDirectory


def row(name, kappa, stable=True, state="done", **columns):
    return {"id": name, "formula": name, "state": state, "stable": stable, "kappa_total_w_mk": kappa, **columns}


A = [row("x", 1.0), row("y", 10.0), row("z", 4.0), row("u", None, stable=False, state="skipped"), row("only", 1.0)]
B = [row("z", 1.0), row("x", 2.0), row("y", 10.0), row("u", 3.0), row("new", 1.0), row("new2", 1.0)]


def test_ratios_are_b_over_a_and_means_are_those_of_the_logarithm():
    result = compare_rows(A, B)
    ratios = {item["id"]: item["log10_ratio"] for item in result.rows}
    assert ratios == {"x": pytest.approx(math.log10(2)), "y": 0.0, "z": pytest.approx(-math.log10(4)), "u": None}
    (kappa,) = result.agreements
    assert kappa.n == 3
    assert kappa.mean_log10_ratio == pytest.approx(-math.log10(2) / 3)
    assert kappa.mean_abs_log10_ratio == pytest.approx(math.log10(2))
    assert kappa.within_factor_2 == pytest.approx(2 / 3)
    assert kappa.rank_correlation == pytest.approx(0.5)
    assert (result.only_a, result.only_b) == (1, 2)


def test_r_squared_and_errors_are_those_of_the_definition():
    first, second = [1.0, 10.0, 100.0, 1000.0], [2.0, 10.0, 50.0, 1000.0]
    rows = [[row(str(k), kappa, vs_m_s=kappa) for k, kappa in enumerate(values)] for values in (first, second)]
    found = {item.column: item for item in compare_rows(*rows).agreements}
    two = math.log10(2)
    assert found["kappa_total_w_mk"].r_squared == pytest.approx(1 - 2 * two**2 / 5)  # logarithms 0, 1, 2, 3: spread 5
    mean = 1111 / 4
    spread = sum((value - mean) ** 2 for value in first)
    assert found["vs_m_s"].r_squared == pytest.approx(1 - (1 + 50**2) / spread)
    assert found["vs_m_s"].mean_abs_error == pytest.approx(51 / 4)
    assert compare_rows(rows[0][:1], rows[1][:1]).agreements[0].r_squared is None


def test_what_imaginary_modes_leave_out_is_not_compared():
    rows = [
        row("x", 1.0, max_msd=0.1, max_frequency_thz=5.0),
        row("y", None, stable=False, max_msd=3.0, max_frequency_thz=6.0),
    ]
    found = {item.column: item.n for item in compare_rows(rows, rows).agreements}
    assert found == {"kappa_total_w_mk": 1, "max_msd": 1, "max_frequency_thz": 2}


def test_stability_is_counted_from_both_sides():
    result = compare_rows(A, B)
    assert result.stability == {"both": 3, "only_a": 0, "only_b": 1, "neither": 0}
    assert result.stability_agreement == 0.75
    swapped = compare_rows(B, A)
    assert swapped.stability == {"both": 3, "only_a": 1, "only_b": 0, "neither": 0}
    assert swapped.agreements[0].mean_log10_ratio == -result.agreements[0].mean_log10_ratio


def test_two_models_give_a_mean_a_factor_and_warnings():
    rough = row("x", 1.0, trusted=False)
    result = compare_rows([rough, *A[1:]], B)
    joint = {item["id"]: item for item in result.rows}
    assert joint["x"]["kappa_mean_w_mk"] == pytest.approx(math.sqrt(2))
    assert joint["x"]["kappa_factor"] == pytest.approx(math.sqrt(2))
    for name, factor in (("x", 2**0.5), ("z", 2.0), ("y", 1.0)):  # either model is the mean times or over the factor
        values = {joint[name]["kappa_total_w_mk_a"], joint[name]["kappa_total_w_mk_b"]}
        mean = joint[name]["kappa_mean_w_mk"]
        assert sorted(values) == pytest.approx(sorted({mean / factor, mean * factor}))
    assert joint["x"]["warnings"] == "rough fit in A"
    (kappa,) = (item for item in result.agreements if item.column == "kappa_total_w_mk")
    assert result.without_warnings is not None
    assert result.without_warnings.n == kappa.n - 1
    distrusted = compare_rows([row("x", 1e6, kappa_trusted=False), *A[1:]], B).rows
    assert {item["id"]: item["warnings"] for item in distrusted}["x"] == "κ not trusted in A"
    assert compare_rows(A, B).without_warnings is None
    assert joint["u"]["warnings"] == "unstable in A, no κ in A"
    assert joint["y"]["warnings"] == ""
    assert joint["u"]["kappa_mean_w_mk"] is None


def test_filtered_and_unreadable_rows_take_no_part():
    dropped = [row("x", None, state="filtered"), {"id": "rejected-1", "state": "failed", "formula": None}]
    result = compare_rows(A, dropped)
    assert (result.rows, result.only_b) == ([], 0)


@pytest.fixture
def runs(tmp_path):
    folders = []
    for name, calculator, rows, mesh in (("a", "emt", A, [3, 3, 3]), ("b", "lj", B, [5, 5, 5])):
        tables = {"calculator": {"name": calculator}, "conductivity": {"mesh": mesh}}
        run = RunDirectory.create(tmp_path / name, settings_from_dict(tables))
        index = run.index()
        for item in rows:
            scalars = {key: item[key] for key in ("stable", "kappa_total_w_mk") if item[key] is not None}
            index.add_structures([{"id": item["id"], "formula": item["formula"]}])
            index.update(item["id"], item["state"], scalars=scalars)
        index.close()
        folders.append(str(run.root))
    return folders


def test_command_writes_table_plot_and_numbers(runs, tmp_path, capsys):
    table, plot = tmp_path / "joint.csv", tmp_path / "parity.svg"
    assert main(["compare", *runs, "--csv", str(table), "--plot", str(plot)]) == 0
    printed = capsys.readouterr()
    assert "mean log10(B/A) -0.100" in printed.out
    assert "agree on 75.0 % of 4" in printed.out
    order = [line.split()[0] for line in printed.out.splitlines() if line.split()[:1] in (["x"], ["y"], ["z"], ["u"])]
    assert order == ["z", "x", "y", "u"]
    assert "settings differ besides the force field: conductivity.mesh" in printed.err
    assert "calculator" not in printed.err
    with table.open() as file:
        rows = {item["id"]: item for item in csv.DictReader(file)}
    assert float(rows["z"]["kappa_total_w_mk_a"]) == 4.0
    assert float(rows["z"]["kappa_total_w_mk_b"]) == 1.0
    assert "a (emt)" in plot.read_text()
    assert main(["compare", *runs, "--sort", "kappa"]) == 0
    printed = capsys.readouterr().out
    order = [line.split()[0] for line in printed.splitlines() if line.split()[:1] in (["x"], ["y"], ["z"], ["u"])]
    assert order == ["x", "z", "u", "y"]
    assert main(["compare", *runs, "--json", "--filter", "kappa_total_w_mk < 5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {item["id"] for item in found["rows"]} == {"x", "z"}


def test_frequencies_are_compared_where_both_runs_have_the_same_mesh(tmp_path, capsys):
    frames = [bulk("Al", "fcc", 4.0, cubic=True), bulk("Cu", "fcc", 3.6, cubic=True)]
    ase.io.write(tmp_path / "metals.extxyz", frames)
    tables = {
        "source": {"name": "files", "options": {"paths": [str(tmp_path / "metals.extxyz")], "all_frames": True}},
        "calculator": {"name": "emt"},
        "engine": {"name": "serial"},
        "gate": {"before_third_order": True, "expression": "max_msd < 0"},  # harmonic, no more
    }
    runs = {}
    for name, mesh, amplitude in (("a", 5, 0.03), ("b", 5, 0.06), ("c", 3, 0.03)):
        changed = {"harmonic": {"mesh": [mesh] * 3}, "displace": {"distance": amplitude}}
        runs[name] = RunDirectory.create(tmp_path / name, resolve(settings_from_dict(tables | changed)))
        execute(runs[name])

    assert main(["compare", str(runs["a"].root), str(runs["b"].root), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for item in found["rows"]:
        pair = []
        for run in (runs["a"], runs["b"]):
            (stored,) = (one for one in run.rows() if one["id"] == item["id"])
            pair.append(Harmonic.from_storage(run.store.read(item["id"], "harmonic", stage_keys(stored)["harmonic"])))
        mean = np.average(((pair[1].frequencies - pair[0].frequencies) ** 2).mean(axis=1), weights=pair[0].weights)
        expected = 100 * math.sqrt(mean) / np.ptp(pair[0].frequencies)
        assert item["frequency_error_percent"] == pytest.approx(expected)
        assert 0 < expected < 5
    assert found["frequency_error_percent"]["n_stable"] == 2

    assert main(["compare", str(runs["a"].root), str(runs["c"].root), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["frequency_error_percent"] is None
    assert [item["frequency_error_percent"] for item in found["rows"]] == [None, None]


def test_nothing_in_common_is_told(runs, capsys):
    assert main(["compare", *runs, "--filter", "id == 'only'"]) == 2
    assert "no crystal in common" in capsys.readouterr().err


def test_a_figure_is_whole_or_as_it_was(runs, tmp_path, monkeypatch, capsys):
    (tmp_path / "parity.png").write_bytes(b"as it was")
    before = sorted(tmp_path.iterdir())

    def full_disk(figure, target, **options):
        with open(target, "wb") if isinstance(target, Path) else contextlib.nullcontext(target) as file:
            file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full_disk)
    assert main(["compare", *runs, "--plot", str(tmp_path / "parity")]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "parity.png").read_bytes() == b"as it was"
