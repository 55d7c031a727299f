"""Which labels train and which validate."""

from __future__ import annotations

from ase import Atoms

from al_committee.labels.cache import LazyLabels
from al_committee.loop.learning import split_labels

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
