"""The recipe of the campaign: a pool in the paper's proportions of which nothing was learned, and its configuration."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from screen_cli.config import load_settings
from screen_cli.crystal.prototypes import prototypes
from screen_cli.run.driver import resolve
from screen_cli.run.pipeline import stages_for
from screen_cli.sources.decoration import decorated_structure

RECIPE = Path(__file__).parents[1] / "recipes" / "campaign"


@pytest.fixture(scope="module")
def pool() -> Any:
    before = list(sys.path)
    sys.path.insert(0, str(RECIPE))
    try:
        import pool

        yield pool
    finally:
        sys.path[:] = before
        for name in ("pool", "crystals"):
            sys.modules.pop(name, None)


def test_the_goal_is_a_tenth_in_the_proportions_of_the_table(pool: Any) -> None:
    goal = pool.goals(pool.GOAL)
    assert len(goal) == 16
    assert 7709 <= sum(goal.values()) <= 7709 + 16
    assert all(n == -(-prototypes()[name]["pool"] * 7709 // 77091) for name, n in goal.items())


def test_nothing_of_the_pool_was_learned_from_and_a_larger_one_begins_alike(pool: Any) -> None:
    from crystals import EARLIER, ELEMENTS, is_held_out, was_unseen

    rows = pool.chosen(pool.goals(200), 23)
    assert len(rows) == len(set(rows)) == sum(pool.goals(200).values())
    for name, elements in rows:
        assert set(elements) <= set(ELEMENTS)
        assert is_held_out(pool.composition_of(name, elements), set())
        if set(elements) <= set(EARLIER):
            assert was_unseen(name, list(elements))
    assert set(pool.chosen(pool.goals(50), 23)) <= set(rows)
    front = Counter(name for name, _ in rows[:100])
    assert front["elpasolite"] == pytest.approx(51, abs=4)  # 39,171 of 77,091


@pytest.mark.parametrize("name", [name for name, entry in prototypes().items() if "pool" in entry])
def test_the_composition_is_that_of_the_cell(pool: Any, name: str) -> None:
    from crystals import composition

    elements = ["Na", "K", "Cl", "Br"][: prototypes()[name]["elements"]]
    cell = decorated_structure(name, elements).atoms
    assert pool.composition_of(name, elements) == composition(cell.get_chemical_symbols())


def test_a_compound_that_was_learned_from_is_told(
    pool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from crystals import is_held_out, proposals

    learned = next(item for item in proposals(63) if not is_held_out(pool.composition_of(*item), set()))
    assert pool.was_learned_from(*learned)
    line = f"x,{learned[0]},{' '.join(learned[1])},{pool.composition_of(*learned)}\n"
    (tmp_path / "pool.csv").write_text(f"name,prototype,elements,composition\n{line}")
    pool.LEARNED_FROM = 100
    with pytest.raises(SystemExit):
        pool.main(["check", "--out", str(tmp_path)])
    assert "1 of a composition that the 63-element weights may have learned from" in capsys.readouterr().out


def test_the_pool_is_written_and_counted(pool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pool.main(["make", "--out", str(tmp_path), "--size", "16", "--surplus", "1"]) == 0
    assert "| elpasolite | 39171 | 9 | 9 |" in capsys.readouterr().out
    table = tmp_path / "run.csv"
    table.write_text(
        "prototype,formation_energy_model_ev_atom,stable\nrocksalt,-1.0,True\nrocksalt,0.2,\nlaves,,\nlaves,-0.1,False\n"
    )
    assert pool.main(["bound", str(table), "--size", "16"]) == 0
    out = capsys.readouterr().out
    assert "| rocksalt | 518 | 1 | 2 | 1 | 1 |" in out
    assert "| laves | 282 | 1 | 1 | 1 | 0 |" in out
    shares = pool.bound_shares(table, 0.0)
    assert shares == {"rocksalt": 0.5, "laves": pytest.approx(2 / 3)}
    line = ["make", "--out", str(tmp_path), "--size", "16", "--surplus", "1", "--bound", str(table)]
    assert pool.main(line) == 0
    out = capsys.readouterr().out
    assert "| rocksalt | 518 | 1 | 2 |" in out
    assert "| elpasolite | 39171 | 9 | 9 |" in out


def test_a_kill_leaves_the_pool_as_it_was(pool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("pool.csv", "pool.extxyz"):
        (tmp_path / name).write_text("as it was")
    line = ["make", "--out", str(tmp_path), "--size", "16", "--surplus", "1"]
    with monkeypatch.context() as patched:
        patched.setattr("os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            pool.main(line)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        ("pool.csv", "pool.extxyz"), "as it was"
    )
    pool.main(line)
    assert len(pool.read_pool(tmp_path)) == (tmp_path / "pool.extxyz").read_text().count("Lattice=") > 16


def test_the_configuration_is_one_that_runs() -> None:
    names = [stage.name for stage in stages_for(resolve(load_settings(RECIPE / "campaign.toml")))]
    assert names[:4] == ["relax", "property_formation_energy", "relax_gate", "harmonic_displace"]
    assert names.index("gate") < names.index("displace") < names.index("conductivity")
