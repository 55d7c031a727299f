"""The count of free force constants equals symfc's own, and the guard refuses what it must."""

from __future__ import annotations

import pytest
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from screen_cli.crystal.phonopy_cells import symmetry_action
from screen_cli.crystal.standard_cell import standardise
from screen_cli.errors import UnderdeterminedFitError
from screen_cli.physics.rank_guard import (
    check_determined,
    count_free_parameters,
    equations_ratio,
    n_independent_supercells,
    required_supercells,
)


def _supercell(symbol: str, prototype: str, a: float, dim: int):
    return bulk(symbol, prototype, a=a, cubic=True).repeat(dim)


@pytest.mark.parametrize(
    ("symbol", "prototype", "a", "n_fc3"),
    [("NaCl", "rocksalt", 5.64, 758), ("ZnS", "zincblende", 5.41, 1536)],
)
def test_published_counts(symbol, prototype, a, n_fc3):
    assert count_free_parameters(*symmetry_action(_supercell(symbol, prototype, a, 2)))[3] == n_fc3


@pytest.mark.parametrize(
    "cell",
    [
        bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(2),
        bulk("CsCl", "cesiumchloride", a=4.12).repeat(2),
        bulk("Cu", "fcc", a=3.6).repeat(3),
        bulk("Mg", "hcp", a=3.2, c=5.2).repeat(2),
        bulk("GaN", "wurtzite", a=3.19, c=5.19).repeat((2, 2, 1)),
    ],
    ids=["rocksalt", "CsCl", "fcc", "hcp", "wurtzite"],
)
def test_equals_size_of_symfc_basis(cell):
    """Burnside's count against symfc, which builds the basis by linear algebra: exact."""
    from symfc import Symfc
    from symfc.utils.utils import SymfcAtoms

    atoms = SymfcAtoms(cell=cell.cell.array, scaled_positions=cell.get_scaled_positions(), numbers=cell.numbers)
    basis = Symfc(atoms).compute_basis_set(orders=[2, 3]).basis_set
    counted = count_free_parameters(*symmetry_action(cell))
    assert counted == {2: basis[2].basis_set.shape[1], 3: basis[3].basis_set.shape[1]}


def test_wurtzite_of_methods_page():
    """72 atoms (3x3x2 primitive cells) of wurtzite: 7752 free third-order parameters."""
    cell = standardise(bulk("AlN", "wurtzite", a=3.11, c=4.98)).repeat((3, 3, 2))
    assert count_free_parameters(*symmetry_action(cell))[3] == 7752


@given(
    n_params=st.dictionaries(st.sampled_from([2, 3]), st.integers(1, 9000), min_size=1),
    n_atoms=st.integers(2, 300),
    margin=st.floats(1.0, 3.0),
    paired=st.booleans(),
)
def test_required_number_is_the_smallest_that_passes(n_params, n_atoms, margin, paired):
    n = required_supercells(n_params, n_atoms, margin=margin, paired=paired)
    ratio = check_determined(n, n_params, n_atoms, margin=margin * (1 - 1e-12), paired=paired)
    assert ratio == equations_ratio(n, n_params, n_atoms, paired=paired)
    fewer = n - (2 if paired else 1)
    if fewer:
        with pytest.raises(UnderdeterminedFitError, match=r"n_supercells = \d+"):
            check_determined(fewer, n_params, n_atoms, margin=margin * (1 + 1e-12), paired=paired)


def test_partner_adds_no_equation():
    assert n_independent_supercells(12, paired=True) == 6
    assert n_independent_supercells(12, paired=False) == 12


def test_numbers_of_the_methods_page():
    """Half-Heusler, 96 atoms, 5198 parameters: 16 pairs are too few, 30 are enough."""
    with pytest.raises(UnderdeterminedFitError, match="48 or more"):
        check_determined(32, {3: 5198}, 96, margin=1.3, paired=True)
    assert check_determined(60, {3: 5198}, 96, margin=1.3, paired=True) == pytest.approx(30 * 288 / 5198)


def test_too_small_supercells_have_no_third_order_at_all():
    """In 2x2x2 primitive fcc cells every site and half translation is an inversion centre."""
    assert count_free_parameters(*symmetry_action(bulk("Cu", "fcc", a=3.6).repeat(2)))[3] == 0
