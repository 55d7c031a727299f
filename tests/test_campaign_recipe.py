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


def test_candidates_are_written_and_counted(pool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pool.main(["make", "--out", str(tmp_path), "--size", "16", "--surplus", "2"]) == 0
    assert "| elpasolite | 39171 | 9 | 18 |" in capsys.readouterr().out


def test_the_pool_is_what_is_bound_and_nearest_to_the_hull(
    pool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool.main(["make", "--out", str(tmp_path / "drawn"), "--size", "16", "--surplus", "3"])
    names = [pool.name_of(name, elements) for name, elements, _ in pool.read_pool(tmp_path / "drawn")]
    lines = ["provider_id,prototype,formation_energy_model_ev_atom,e_above_hull_ev_atom", "another,rocksalt,-1,0"]
    spinels = [name for name in names if name.startswith("spinel")]
    numbers = [(0.1, 0.3), (-0.2, 0.2), (-0.1, 0.05)]  # the first is not bound; of the others the last is nearer
    lines += [f"{name},spinel,{bound},{above}" for name, (bound, above) in zip(spinels, numbers, strict=True)]
    lines += [f"{name},elpasolite,-0.5,{k / 1000}" for k, name in enumerate(names) if name.startswith("elpasolite")]
    (tmp_path / "hull.csv").write_text("\n".join(lines))
    capsys.readouterr()
    given = ["--drawn", str(tmp_path / "drawn"), "--out", str(tmp_path / "data"), "--size", "16"]
    assert pool.main(["choose", str(tmp_path / "hull.csv"), *given]) == 0
    assert "| spinel | 1298 | 1 | 3 | 2 | 1 | 50 |" in capsys.readouterr().out
    found = [pool.name_of(name, elements) for name, elements, _ in pool.read_pool(tmp_path / "data")]
    assert [name for name in found if name.startswith("spinel")] == [spinels[2]]
    assert [name for name in found if name.startswith("elpasolite")] == [
        name for name in names if name.startswith("elpasolite")
    ][:9]


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
