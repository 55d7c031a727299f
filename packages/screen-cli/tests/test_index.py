"""The index: states, columns that grow, filters, and a broken file."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screen_cli.errors import FilterError, StoreError
from screen_cli.store.index import Index


@pytest.fixture
def index(tmp_path):
    index = Index(tmp_path / "index.sqlite")
    index.add_structures([{"id": f"id{n}", "formula": f"F{n}", "n_atoms": 2} for n in range(5)])
    yield index
    index.close()


def test_structures_are_added_once(index):
    assert index.add_structures([{"id": "id0"}, {"id": "id9"}]) == 1
    assert index.counts() == {"pending": 6}


def test_columns_grow_and_filter(index):
    for n in range(4):
        index.update(f"id{n}", "done", scalars={"kappa": float(n), "stable": n % 2 == 0})
    assert [row["id"] for row in index.rows("stable and kappa > 1")] == ["id2"]
    assert [row["id"] for row in index.rows(sort="kappa", descending=True)][:4] == [
        "id3",
        "id2",
        "id1",
        "id0",
    ]
    assert [row["id"] for row in index.rows(sort="kappa", limit=1)] == ["id0"]
    with pytest.raises(FilterError, match="Did you mean 'kappa'"):
        list(index.rows("kapa > 1"))


def test_new_results_replace_all_old_columns(index):
    index.update("id0", "done", scalars={"kappa": 1.0, "old": 2.0})
    index.update("id0", "done", scalars={"kappa": 3.0})
    (row,) = index.rows("id == 'id0'")
    assert (row["kappa"], row["old"]) == (3.0, None)


def test_costs_and_reasons(index):
    index.update("id0", "done", stage_times={"relax": (1.0, 10), "forces": (2.0, 20)})
    index.update("id1", "failed", stage="relax", reason="exploded")
    assert index.stage_costs() == [("forces", 1, 2.0, 20), ("relax", 1, 1.0, 10)]
    assert index.reasons() == [("failed", "relax", 1)]
    (row,) = index.rows("id == 'id0'")
    assert row["seconds"] == 3.0


def test_a_broken_file_is_told(tmp_path):
    path = tmp_path / "index.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match="screen-cli rebuild"):
        Index(path)


@settings(deadline=None, max_examples=25)
@given(crystals=st.lists(st.tuples(st.sampled_from([216, 225, 227]), st.integers(2, 4)), max_size=12))
def test_crystals_of_one_space_group_and_size_stand_together(crystals):
    index = Index(Path(":memory:"))
    index.add_structures(
        [{"id": f"id{n}", "space_group": group, "n_atoms": size} for n, (group, size) in enumerate(crystals)]
    )
    order = index.ids(("pending",))
    assert sorted(order) == sorted(f"id{n}" for n in range(len(crystals)))
    kinds = [crystals[int(identity[2:])] for identity in order]
    assert len(list(itertools.groupby(kinds))) == len(set(crystals))
    for _, same in itertools.groupby(order, key=lambda identity: crystals[int(identity[2:])]):
        numbers = [int(identity[2:]) for identity in same]
        assert numbers == sorted(numbers)


def test_names_of_columns_that_are_no_text_are_damage(tmp_path):
    path = tmp_path / "index.sqlite"
    Index(path).close()
    content = path.read_bytes()
    assert b"provider_id" in content
    path.write_bytes(content.replace(b"provider_id", b"provider_\xf2d"))
    with pytest.raises(StoreError, match="Rebuild it from the records"):
        Index(path, read_only=True)
