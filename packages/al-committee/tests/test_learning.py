"""Which labels train and which validate."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from hypothesis import given
from hypothesis import strategies as st

from al_committee.labels.cache import LazyLabels
from al_committee.loop.learning import split_labels
from al_committee.testing.pair_list import list_pairs

LABELS = {
    "00000001": Atoms("NaCl"),
    "10000000": Atoms("MgO"),
    "10000001": Atoms("Mg"),
    "f0000000": Atoms("NaCl"),
    "f0000001": Atoms("KCl"),
}


class Labels:
    """Stands for the cache."""

    def get(self, key):
        return LABELS[key]

    def path(self, key):
        return key


def split(keys, share):
    return split_labels(LazyLabels(Labels(), keys), share)


def formulas(structures):
    return [atoms.get_chemical_formula() for atoms in structures]


def test_a_label_that_alone_holds_an_element_is_trained_on():
    training, validation = split(list(LABELS), 0.1)
    assert formulas(training) == ["ClNa", "ClK", "MgO"]
    assert formulas(validation) == ["ClNa", "Mg"]


def test_sides_do_not_depend_on_order_and_no_share_means_no_validation():
    assert list(split(list(LABELS), 0.0)[1]) == []
    backwards = split(list(LABELS)[::-1], 0.01)
    assert formulas(backwards[1]) == ["ClNa"]
    everything = split(["00000001"], 0.5)
    assert (len(everything[0]), len(everything[1])) == (1, 0)


@given(
    st.integers(1, 4),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.floats(1.0, 7.0),
    st.integers(0, 10**6),
)
def test_pairs_of_the_toy_are_those_of_ase(n_atoms, periodic, cutoff, seed):
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(2.0, 6.0, 3)) + rng.uniform(-1.0, 1.0, (3, 3))
    atoms = Atoms(f"Cu{n_atoms}", cell=cell, positions=rng.uniform(-8.0, 8.0, (n_atoms, 3)), pbc=periodic)
    first, second, distance, vector = list_pairs(atoms, cutoff)
    expected = neighbor_list("ijdD", atoms, cutoff)
    assert np.array_equal(np.sort(first), first)
    np.testing.assert_allclose(np.linalg.norm(vector, axis=1), distance)
    here = sorted(zip(first, second, np.round(vector, 6).tolist(), strict=True))
    there = sorted(zip(expected[0], expected[1], np.round(expected[3], 6).tolist(), strict=True))
    assert [pair[:2] for pair in here] == [pair[:2] for pair in there]
    np.testing.assert_allclose([pair[2] for pair in here], [pair[2] for pair in there], atol=1e-5)
