"""The table of known phases: every row is sound, and it is found by composition and symmetry alone."""

from __future__ import annotations

import re

import pytest
import spglib
from ase.formula import Formula
from ase.spacegroup import Spacegroup
from hypothesis import given, settings
from hypothesis import strategies as st

from screen_cli.crystal.standard_cell import space_group_symbol
from screen_cli.errors import StructureError
from screen_cli.properties.warm.known_phases import all_phases, phases_below
from screen_cli.testing.strategies import crystals

PHASES = all_phases()


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: f"{phase.formula}-{phase.child}")
def test_a_row_is_reduced_cited_and_lower_in_symmetry(phase):
    reduced, multiple = Formula(phase.formula).reduce()
    assert multiple == 1
    assert reduced.count() == Formula(phase.formula).count()
    assert re.fullmatch(r"10\.\d{4,5}/\S+", phase.doi)
    assert phase.name
    assert n_rotations(phase.parent) > n_rotations(phase.child)


def n_rotations(number):
    """Order of the point group of a space group."""
    return len({rotation.tobytes() for rotation, _ in Spacegroup(number).get_symop()})


def test_no_row_stands_twice():
    assert len({(phase.formula, phase.parent, phase.child) for phase in PHASES}) == len(PHASES)


@settings(max_examples=60, deadline=None)
@given(phase=st.sampled_from(PHASES), multiple=st.integers(1, 4), data=st.data())
def test_a_phase_is_found_in_any_cell_and_order_and_under_its_parent_alone(phase, multiple, data):
    from ase import Atoms

    symbols = list(Formula(phase.formula)) * multiple
    atoms = Atoms(data.draw(st.permutations(symbols)))
    found = phases_below(atoms, phase.parent)
    assert phase in found
    assert all(one.parent == phase.parent and one.formula == phase.formula for one in found)
    other = data.draw(st.integers(1, 230).filter(lambda number: number not in {one.parent for one in PHASES}))
    assert phases_below(atoms, other) == ()
    atoms.append("Xe")
    assert phases_below(atoms, phase.parent) == ()


@settings(max_examples=30, deadline=None)
@given(crystals(max_atoms=6))
def test_the_symbol_of_a_crystal_is_that_of_its_number(atoms):
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    dataset = spglib.get_symmetry_dataset(cell, symprec=1e-3)
    symbol = space_group_symbol(int(dataset.number))
    kind = spglib.get_spacegroup_type(dataset.hall_number)
    assert kind.number == dataset.number
    if dataset.choice == "":  # the standard setting
        assert symbol == kind.international_short


def test_symbols_of_all_space_groups():
    symbols = [space_group_symbol(number) for number in range(1, 231)]
    assert len(set(symbols)) == 230
    known = {2: "P-1", 14: "P2_1/c", 62: "Pnma", 99: "P4mm", 140: "I4/mcm", 160: "R3m", 167: "R-3c", 225: "Fm-3m"}
    assert {number: symbols[number - 1] for number in known} == known
    for number in (0, 231, -1):
        with pytest.raises(StructureError, match="1 to 230"):
            space_group_symbol(number)
