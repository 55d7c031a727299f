"""The paper's rule, budgets, diversity, duplicates, and names."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from al_committee.config import PoolSettings, SelectionSettings, SupercellSettings
from al_committee.errors import ConfigError
from al_committee.labels.identity import settings_key, structure_key
from al_committee.selection.crystal_index import Crystal
from al_committee.selection.descriptors import describe_composition, describe_radially
from al_committee.selection.diversity import (
    cover_elements,
    farthest_points,
    principal_components,
    representative_points,
)
from al_committee.selection.pool import Pool
from al_committee.selection.rules import (
    COSTS,
    STRATEGIES,
    ScoredSupercell,
    recommend,
    select_supercells,
)
from al_committee.selection.start_set import choose_start_set


def cell(structure, index, score, key=None, n_atoms=8):
    return ScoredSupercell(structure, index, key or f"{structure}-{index}", score, n_atoms)


def choose(scored, known=(), describe=None, seed=0, **options):
    named = SelectionSettings(**options)
    return select_supercells(
        scored,
        named,
        known_keys=known,
        rng=np.random.default_rng(seed),
        describe=describe or (lambda s: np.array([[float(x.index)] for x in s])),
        strategy=STRATEGIES[named.strategy],
        cost=COSTS[named.cost],
    )


def test_paper_rule_by_hand():
    scored = [
        cell("A", 0, 0.06),
        cell("A", 1, 0.09),
        cell("B", 0, 0.04),
        cell("B", 1, 0.05),
        cell("C", 0, 0.2),
    ]
    kept = [(s.structure_id, s.index) for s in recommend(scored, 0.05)]
    assert kept == [("C", 0), ("A", 1)]  # B's worst is at the threshold, not above


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1)), min_size=1, max_size=25, unique_by=lambda t: t),
    st.randoms(),
)
def test_rule_keeps_one_per_structure_and_ignores_order(pairs, random):
    scored = [cell(f"S{s}", i, e) for i, (s, e) in enumerate(pairs)]
    kept = recommend(scored, 0.5)
    names = [s.structure_id for s in kept]
    assert len(names) == len(set(names))
    assert set(names) == {s.structure_id for s in scored if s.score > 0.5}
    random.shuffle(scored)
    assert recommend(scored, 0.5) == kept


def test_budget_in_labels_and_in_cost():
    scored = [cell("A", 0, 0.9, n_atoms=64), cell("B", 0, 0.8, n_atoms=128), cell("C", 0, 0.7, n_atoms=64)]
    assert [s.structure_id for s in choose(scored, budget=2).selected] == ["A", "B"]
    # (64/64)³ = 1 and (128/64)³ = 8: B does not fit into 3, A and C do
    dear = choose(scored, budget=3, cost="atoms-cubed")
    assert [s.structure_id for s in dear.selected] == ["A", "C"]
    assert len(dear.recommended) == 3


def test_duplicates_by_content_are_excluded():
    scored = [cell("A", 0, 0.9, key="x"), cell("B", 0, 0.8, key="y"), cell("C", 0, 0.7, key="y")]
    picked = choose(scored, known={"x"})
    assert [s.structure_id for s in picked.selected] == ["B"]
    assert {s.structure_id for s in picked.duplicates} == {"A", "C"}


def test_upper_bound_sets_the_absurd_aside(caplog):
    scored = [cell("A", 0, 50.0), cell("B", 0, 0.8)]
    picked = choose(scored, upper_bound=5.0)
    assert [s.structure_id for s in picked.selected] == ["B"]
    assert [s.structure_id for s in picked.absurd] == ["A"]
    assert "A/0" in caplog.text
    assert len(choose(scored).selected) == 2


def test_fill_budget_goes_on_below_the_threshold():
    scored = [cell("A", 0, 0.9), cell("A", 1, 0.95), cell("B", 0, 0.01), cell("C", 0, 0.02)]
    picked = choose(scored, strategy="fill-budget", budget=2)
    assert [(s.structure_id, s.index) for s in picked.selected] == [("A", 1), ("C", 0)]
    assert len(picked.recommended) == 1


def test_unseen_elements_come_first_and_pass_the_bound():
    unseen = ScoredSupercell("U", 0, "u", 0.0, 8, unseen=True)
    picked = choose([cell("A", 0, 0.9), unseen, cell("B", 0, 9.0)], upper_bound=5.0, threshold=0.05)
    assert [s.structure_id for s in picked.selected] == ["U", "A"]


def test_few_labels_bring_all_unknown_elements():
    unknown = {"a": ("As",), "b": ("As",), "c": ("As", "Br"), "d": ("Cl",), "e": ("Cl",)}
    scored = [ScoredSupercell(name, 0, name, 0.0, 8, True, found) for name, found in unknown.items()]
    scored.append(cell("known", 0, 9.0))
    assert [s.structure_id for s in recommend(scored, 0.05)] == ["c", "d", "a", "b", "e", "known"]


def test_diverse_strategy_prefers_the_far_one():
    scored = [cell("A", 0, 0.9), cell("B", 1, 0.8), cell("C", 100, 0.6)]
    assert [s.structure_id for s in choose(scored, strategy="worst-first", budget=2).selected] == ["A", "B"]
    assert [s.structure_id for s in choose(scored, strategy="diverse", budget=2).selected] == ["A", "C"]


def test_random_strategy_ignores_the_score_and_follows_its_seed():
    scored = [cell(f"S{i}", k, 0.0) for i in range(30) for k in range(2)]
    first = choose(scored, strategy="random", budget=10, seed=1).selected
    assert len({s.structure_id for s in first}) == 10
    assert first == choose(scored[::-1], strategy="random", budget=10, seed=1).selected
    assert first != choose(scored, strategy="random", budget=10, seed=2).selected


@pytest.mark.parametrize("bad", ["twice", "known"])
def test_a_strategy_is_held_to_what_it_may_choose(bad):
    scored = [cell("A", 0, 1.0), cell("B", 0, 1.0, key="known")]

    def strategy(choice):
        return [*choice.recommended, *choice.recommended] if bad == "twice" else scored

    with pytest.raises(ValueError, match="chose a supercell twice"):
        select_supercells(
            scored,
            SelectionSettings(),
            known_keys={"known"},
            rng=np.random.default_rng(0),
            describe=lambda s: np.zeros((len(s), 1)),
            strategy=strategy,
        )


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="A/0"):
        choose([cell("A", 0, float("nan"))])


def test_farthest_points_reach_half_the_best_cover():
    # Gonzalez: the greedy radius is at most twice the optimal one, here found by exhaustion
    points = np.random.default_rng(5).normal(size=(12, 2))
    for count in (2, 3, 4):

        def radius(chosen):
            return np.linalg.norm(points[:, None] - points[list(chosen)], axis=2).min(1).max()

        best = min(radius(c) for c in combinations(range(12), count))
        assert radius(farthest_points(points, count)) <= 2 * best + 1e-12


def test_farthest_points_avoid_the_known():
    points = np.array([[0.0], [1.0], [10.0]])
    assert farthest_points(points, 1, known=np.array([[10.0]])) == [0]
    assert farthest_points(points, 5, known=points) == []


def test_start_set_takes_one_of_each_cluster():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0, 0], [50, 0, 0], [0, 50, 0], [0, 0, 50.0]])
    points = np.concatenate([centre + rng.normal(size=(20, 3)) for centre in centres])
    picked = representative_points(points, 4, seed=0)
    assert sorted(i // 20 for i in picked) == [0, 1, 2, 3]
    assert representative_points(points[:3], 10, seed=0) == [0, 1, 2]
    assert len(set(representative_points(np.zeros((9, 2)), 4, seed=0))) == 4


def test_principal_components_are_those_of_scikit_learn():
    decomposition = pytest.importorskip("sklearn.decomposition", reason="needs scikit-learn")
    vectors = np.random.default_rng(3).normal(size=(30, 5)) * [5.0, 3.0, 2.0, 0.5, 0.1]
    ours, theirs = principal_components(vectors, share=0.9), decomposition.PCA(0.9).fit_transform(vectors)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), rtol=1e-9, atol=1e-12)  # signs are a matter of choice


def test_principal_components_keep_distances():
    rng = np.random.default_rng(2)
    flat = rng.normal(size=(15, 2)) @ rng.normal(size=(2, 6))
    reduced = principal_components(flat, share=1.0)
    assert reduced.shape == (15, 2)

    def distances(x):
        return np.linalg.norm(x[:, None] - x[None], axis=2)

    assert distances(reduced) == pytest.approx(distances(flat), rel=1e-10, abs=1e-10)


def test_descriptor_invariances():
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.05, seed=1)
    expected = describe_radially(atoms)
    turned = atoms.copy()
    turned.rotate(30, (1, 1, 0), rotate_cell=True)
    turned.positions += 0.3
    assert describe_radially(turned[::-1]) == pytest.approx(expected, rel=1e-8, abs=1e-10)
    assert describe_radially(atoms * (2, 1, 1)) == pytest.approx(expected, rel=1e-8, abs=1e-10)
    other = atoms.copy()
    other.numbers[other.numbers == 11] = 19
    assert np.abs(describe_radially(other) - expected).max() > 0.01


def test_keys_follow_content_only():
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    same = atoms.copy()
    same.info["note"] = 1
    assert structure_key(same) == structure_key(atoms)
    moved, larger, swapped = atoms.copy(), atoms.copy(), atoms.copy()
    moved.positions[0, 0] += 1e-4
    larger.set_cell(atoms.cell * 1.001)
    swapped.numbers = swapped.numbers[::-1]
    assert len({structure_key(a) for a in (atoms, moved, larger, swapped, atoms[::-1])}) == 5
    magnetic = atoms.copy()
    magnetic.set_initial_magnetic_moments([1.0] * len(atoms))
    assert structure_key(magnetic) != structure_key(atoms)
    assert settings_key({"a": 1, "b": 2}) == settings_key({"b": 2, "a": 1}) != settings_key({"a": 1, "b": 3})


def test_pool_is_lazy_deterministic_and_of_fixed_step():
    crystals = [Crystal("NaCl", bulk("NaCl", "rocksalt", a=5.6, cubic=True)), Crystal("Cu", bulk("Cu"))]
    pool = Pool(crystals, SupercellSettings(n_supercells=4, min_length=8.0, pairs=True, seed=3))
    one, again, mirror = pool.supercell("NaCl", 2), pool.supercell("NaCl", 2), pool.supercell("NaCl", 3)
    assert one.key == again.key
    ideal = crystals[0].atoms.repeat((2, 2, 2)).positions
    steps = one.atoms.positions - ideal
    assert np.linalg.norm(steps, axis=1) == pytest.approx(0.03, rel=1e-10)
    assert mirror.atoms.positions - ideal == pytest.approx(-steps, abs=1e-12)
    assert len({entry.key for entry in pool.supercells()}) == len(pool) == 8
    other = Pool(crystals, SupercellSettings(n_supercells=4, min_length=8.0, seed=4))
    assert other.supercell("NaCl", 2).key != one.key
    assert other.checksum() != pool.checksum()
    with pytest.raises(ConfigError, match="unique"):
        Pool([crystals[0], crystals[0]])
    small = Pool(crystals, SupercellSettings(min_length=30.0, max_atoms=100))
    assert all(len(entry.atoms) <= 100 for entry in small.supercells())


@pytest.mark.parametrize("method", ["random", "representative", "elements"])
def test_start_set_by_name(method):
    names = [(pair, k) for pair in ("MgO", "CaS") for k in range(6)] + [("AgBr", 0), ("LiF", 0)]
    crystals = [Crystal(f"{pair}-{k}", bulk(pair, "rocksalt", a=4.0 + 0.1 * k)) for pair, k in names]
    pool = Pool(crystals, SupercellSettings(n_supercells=2, min_length=0.0))
    settings = PoolSettings(start_labels=4, start_method=method)
    for seed in range(5):
        chosen = choose_start_set(pool, pool.structure_ids, settings, descriptor=describe_composition, seed=seed)
        again = choose_start_set(pool, pool.structure_ids, settings, descriptor=describe_composition, seed=seed)
        assert chosen == again
        names = {s.structure_id for s in chosen}
        assert len(names) == 4
        if method == "elements":
            assert {name.split("-")[0] for name in names} == {"MgO", "CaS", "AgBr", "LiF"}


def test_elements_are_covered_before_anything_else():
    sets = [{"A"}, {"A"}, {"B"}, {"A", "B", "C"}, {"D"}]
    assert cover_elements(sets, 3) == [3, 4, 0]
    assert cover_elements(sets, 1) == [3]
    assert cover_elements(sets, 9) == [3, 4, 0, 1, 2]
