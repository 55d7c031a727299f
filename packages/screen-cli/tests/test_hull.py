"""The convex hull: a binary by hand, scipy's hull on drawn ternaries, what is missing only raises distances, files."""

from __future__ import annotations

import csv
import errno
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from screen_cli.analysis.hull import hull_rows, phase_of, phases_of_rows, read_phases
from screen_cli.cli import main
from screen_cli.config import settings_from_dict
from screen_cli.errors import FilterError, SourceError
from screen_cli.physics.convex_hull import lowest_mixture
from screen_cli.store.run_directory import RunDirectory

BINARY = [
    phase_of("a", "AuCu", -0.10),
    phase_of("b", "AuCu3", -0.02),
    phase_of("c", "Au3Cu", -0.06),
    phase_of("d", "AuCu", -0.07),
]


def test_a_binary_is_as_by_hand() -> None:
    a, b, c, d = hull_rows(BINARY)
    assert (a.e_above_hull_ev_atom, a.decomposes_to) == (0.0, "")
    assert b.e_above_hull_ev_atom == pytest.approx(-0.02 - 0.5 * -0.10)  # half AuCu, half Cu
    assert sorted(b.decomposes_to.split(" + ")) == ["0.5 AuCu", "0.5 Cu"]
    assert c.e_above_hull_ev_atom == 0.0  # below the line from AuCu to Au, which is at -0.05
    assert d.e_above_hull_ev_atom == pytest.approx(0.03)
    assert d.decomposes_to == "1 AuCu"
    assert [row.n_competing for row in (a, b, c, d)] == [3, 3, 3, 3]


def test_a_further_phase_makes_distances_larger() -> None:
    other = phase_of("x", "AuCu2", -0.12)
    _, b, *_ = hull_rows(BINARY, [other])
    assert b.e_above_hull_ev_atom == pytest.approx(-0.02 + 0.75 * 0.12)  # three quarters AuCu2, a quarter Cu


def test_without_compounds_the_hull_is_that_of_the_elements() -> None:
    up, down = hull_rows([phase_of("a", "NaCl", 0.2), phase_of("b", "KF", -1.0)])
    assert (up.e_above_hull_ev_atom, up.n_competing) == (pytest.approx(0.2), 0)
    assert (down.e_above_hull_ev_atom, down.n_competing) == (0.0, 0)


def test_subsystems_compete_and_other_elements_do_not() -> None:
    ternary = phase_of("t", "LiNaCl2", -1.0)
    salts = [phase_of("a", "LiCl", -2.0), phase_of("b", "NaCl", -1.6), phase_of("c", "KCl", -9.0)]
    row = hull_rows([ternary, *salts])[0]
    assert row.e_above_hull_ev_atom == pytest.approx(-1.0 + 1.8)
    assert row.n_competing == 2


compositions = st.lists(
    st.tuples(*[st.integers(0, 5)] * 3).filter(lambda counts: sum(counts) > 0), min_size=1, max_size=8
)


@given(compositions, st.data())
def test_it_is_the_lower_hull_of_scipy(counts: list[tuple[int, int, int]], data: st.DataObject) -> None:
    shares = np.array([*np.eye(3), *[np.array(item) / sum(item) for item in counts]])
    energies = np.array([0.0] * 3 + [data.draw(st.floats(-2, 1)) for _ in counts])
    points = np.column_stack([shares[:, :2], energies])
    points = np.vstack([points, [1 / 3, 1 / 3, 9.0]])  # a roof, so that the hull has a volume
    hull = ConvexHull(points, qhull_options="QJ Pp")
    facets = hull.equations[hull.equations[:, 2] < -1e-6]
    for share, energy in zip(shares, energies, strict=True):
        lowest, mixture = lowest_mixture(share, shares, energies)
        plane = max(-(facet[0] * share[0] + facet[1] * share[1] + facet[3]) / facet[2] for facet in facets)
        assert lowest == pytest.approx(plane, abs=1e-4)  # scipy joggles its points
        assert lowest <= energy + 1e-9
        mixed = sum(part * shares[i] for i, part in mixture.items())
        assert mixed == pytest.approx(share, abs=1e-5)


@given(compositions, compositions, st.data())
def test_what_is_missing_only_raises_distances(
    counts: list[tuple[int, int, int]], more: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    def phases(found: list[tuple[int, int, int]]) -> list:
        text = ["".join(f"{s}{n}" for s, n in zip(["Na", "K", "Cl"], item, strict=True) if n) for item in found]
        return [phase_of(str(i), name, data.draw(st.floats(-2, 1))) for i, name in enumerate(text)]

    crystals, others = phases(counts), phases(more)
    for before, after in zip(hull_rows(crystals), hull_rows(crystals, others), strict=True):
        assert after.e_above_hull_ev_atom >= before.e_above_hull_ev_atom - 1e-9


def test_a_composition_out_of_reach_is_refused() -> None:
    with pytest.raises(ValueError, match="no mixture"):
        lowest_mixture(np.array([0.5, 0.5]), np.array([[1.0, 0.0]]), np.array([0.0]))


@pytest.mark.parametrize("formula", ["", "NaXx2", "Na-Cl", "12"])
def test_what_is_no_formula_is_refused(formula: str) -> None:
    with pytest.raises(SourceError, match="line 2"):
        phase_of("line 2", formula, 0.0)


def test_files_of_phases(tmp_path: Path) -> None:
    path = tmp_path / "more.csv"
    path.write_text("formula,formation_energy_ev_atom,other\nAuCu2,-0.12,x\nAuCu5,,y\n")
    assert [(phase.formula, phase.energy) for phase in read_phases(path)] == [("AuCu2", -0.12)]
    path.write_text("formula,formation_energy_ev_atom\nAuCu2,low\n")
    with pytest.raises(SourceError, match="line 2: formation_energy_ev_atom is 'low'"):
        read_phases(path)
    path.write_text("name,energy\nAuCu2,1\n")
    with pytest.raises(SourceError, match="expected formula and formation_energy_model_ev_atom"):
        read_phases(path)
    with pytest.raises(SourceError, match="cannot read"):
        read_phases(tmp_path / "none.csv")


def test_rows_without_energies_are_counted_or_told() -> None:
    rows = [{"id": "a", "formula": "NaCl", "state": "done"}, {"id": "b", "formula": "KCl", "state": "filtered"}]
    with pytest.raises(FilterError, match="properties"):
        phases_of_rows(rows)
    found, without = phases_of_rows([*rows, {"id": "c", "formula": "KF", "formation_energy_model_ev_atom": -1.0}])
    assert ([phase.formula for phase in found], without) == (["KF"], 1)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    root = tmp_path / "run"
    directory = RunDirectory.create(root, settings_from_dict({"calculator": {"name": "emt"}}))
    index = directory.index()
    index.add_structures(
        {
            "id": phase.name,
            "formula": phase.formula,
            "state": "done",
            "space_group": 221,
            "stable": phase.name != "b",
            "kappa_total_w_mk": 1.5,
            "formation_energy_model_ev_atom": phase.energy,
        }
        for phase in BINARY
    )
    index.close()
    return root


def test_the_command(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hull", str(run)]) == 0
    said = capsys.readouterr()
    assert "2 of 4 on the hull of 4 crystals, their elements and 0 further phases" in said.out
    assert "lower bounds" in said.err
    more = tmp_path / "more.csv"
    more.write_text("formula,formation_energy_model_ev_atom\nAuCu2,-0.12\n")
    table = tmp_path / "hull.csv"
    line = ["hull", str(run), "--with", str(more), "-f", "stable", "-c", "kappa_total_w_mk", "--csv", str(table)]
    assert main([*line, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_further_phases"] == 1
    assert found["is_lower_bound"] is True
    assert sorted(row["id"] for row in found["rows"]) == ["a", "c", "d"]
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    assert rows[0]["kappa_total_w_mk"] == "1.5"
    assert list(rows[0])[:6] == list(found["rows"][0])[:6]
    assert main(["hull", str(run), "--with", str(run)]) == 0  # another run directory
    assert main(["hull", str(run), "-c", "kapa_total_w_mk"]) == 2
    assert "kappa_total_w_mk" in capsys.readouterr().err


def test_a_table_is_whole_or_as_it_was(run: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    table = tmp_path / "hull.csv"
    table.write_text("as it was")

    def full_disk(value: object) -> object:
        if value == BINARY[2].name:  # not the first row
            raise OSError(errno.ENOSPC, "No space left on device")
        return value

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr("screen_cli.report.tables.exporters._harmless", full_disk)
    assert main(["hull", str(run), "--csv", str(table)]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert (table.read_text(), sorted(tmp_path.iterdir())) == ("as it was", before)


@pytest.mark.parametrize(
    "command", [["hull", "--csv"], ["compare", ".", "--csv"], ["compare", ".", "--plot"], ["export"]], ids=" ".join
)
def test_a_folder_that_is_not_there_is_told_before_any_work(command: list[str], tmp_path: Path, capsys) -> None:
    name, *more = command
    assert main([name, str(tmp_path), *more, str(tmp_path / "none" / "x.csv")]) == 2
    said = capsys.readouterr().err
    assert "x.csv' cannot be written: there is no folder" in said
    assert not (tmp_path / "none").exists()
