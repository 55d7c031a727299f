"""Whatever a description of a crystal says otherwise, the crystal is the same: properties over drawn crystals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from screen_cli.crystal.identity import crystal_id
from screen_cli.crystal.masses import mass_variances, species_of
from screen_cli.crystal.standard_cell import (
    along_standard_axes,
    right_handed,
    space_group_number,
    standard_cell,
    standardise,
)
from screen_cli.crystal.structure import Structure
from screen_cli.testing.strategies import cells, crystals, descriptions, rotations

RELAXED = settings(
    max_examples=25,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # a crystal shrinks for minutes
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def _structure(atoms, **options):
    return Structure.from_atoms(atoms, provider="test", provider_id="x", **options)


def _nearest(atoms):
    """Shortest distance of each pair of species (Å), which every description shares."""
    from ase.neighborlist import neighbor_list

    i, j, d = neighbor_list("ijd", atoms, 5.0)
    pairs = {}
    for a, b, distance in zip(atoms.numbers[i], atoms.numbers[j], d, strict=True):
        key = (int(min(a, b)), int(max(a, b)))
        pairs[key] = min(pairs.get(key, 4.9), float(distance))  # 4.9: beyond it, the pair is not counted
    return {key: distance for key, distance in pairs.items() if distance < 4.8}


@RELAXED
@given(st.data())
def test_the_id_ignores_axes_origin_order_orientation_and_supercell(data):
    atoms = data.draw(crystals())
    described = data.draw(descriptions(atoms))
    first, second = _structure(atoms), _structure(described.atoms)
    assert first.id == second.id
    assert first.space_group == second.space_group
    assert first.prototype == second.prototype
    assert len(first.atoms) == len(second.atoms)


@RELAXED
@given(st.data())
def test_the_id_ignores_handedness(data):
    atoms = data.draw(crystals())
    left = atoms.copy()
    left.set_cell(atoms.cell.array[[1, 0, 2]])
    assert np.linalg.det(left.cell.array) < 0
    assert _structure(left).id == _structure(atoms).id
    assert np.linalg.det(_structure(left).atoms.cell.array) > 0


@RELAXED
@given(st.data())
def test_a_left_handed_cell_becomes_right_handed_and_nothing_moves(data):
    atoms = data.draw(crystals())
    atoms.set_cell(atoms.cell.array[[0, 2, 1]])
    turned = right_handed(atoms)
    assert np.linalg.det(turned.cell.array) > 0
    np.testing.assert_array_equal(turned.positions, atoms.positions)
    ratio = turned.cell.array @ np.linalg.inv(atoms.cell.array)
    np.testing.assert_allclose(ratio, np.round(ratio), atol=1e-9)


@RELAXED
@given(st.data(), st.booleans())
def test_rotation_and_sources_bring_the_given_crystal_onto_the_standardised_one(data, to_primitive):
    described = data.draw(descriptions(data.draw(crystals()))).atoms
    found = standard_cell(described, to_primitive=to_primitive)
    np.testing.assert_allclose(found.rotation @ found.rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(found.rotation) > 0
    np.testing.assert_array_equal(found.atoms.numbers, described.numbers[found.sources])
    turned = described.positions[found.sources] @ found.rotation.T
    inverse = np.linalg.inv(standardise(found.atoms).cell.array)  # any lattice vector of the crystal will do
    shift = (found.atoms.positions - turned) - (found.atoms.positions[0] - turned[0])
    fractions = shift @ inverse
    np.testing.assert_allclose((fractions - np.round(fractions)) @ np.linalg.inv(inverse), 0.0, atol=1e-4)


@RELAXED
@given(st.data())
def test_standardising_twice_changes_nothing(data):
    once = standardise(data.draw(crystals()))
    twice = standardise(once)
    assert len(once) == len(twice)
    np.testing.assert_allclose(once.cell.volume, twice.cell.volume, rtol=1e-9)
    assert _nearest(once) == pytest.approx(_nearest(twice), abs=1e-4)


@RELAXED
@given(st.data())
def test_distances_survive_standardisation(data):
    atoms = data.draw(crystals())
    assert _nearest(data.draw(descriptions(atoms)).atoms) == pytest.approx(_nearest(standardise(atoms)), abs=1e-4)


@RELAXED
@given(st.data())
def test_a_mirror_image_has_the_id_of_the_crystal(data):
    atoms = data.draw(crystals())
    mirrored = atoms.copy()
    mirrored.set_cell(atoms.cell.array * [1, 1, -1])
    mirrored.positions = atoms.positions * [1, 1, -1]
    # enantiomorphic space groups have numbers of their own and stay apart
    assume(space_group_number(mirrored) == space_group_number(atoms))
    assert crystal_id(mirrored) == crystal_id(atoms)


@RELAXED
@given(st.data(), st.floats(1.02, 1.2))
def test_another_size_is_another_crystal(data, scale):
    atoms = data.draw(crystals())
    larger = atoms.copy()
    larger.set_cell(atoms.cell.array * scale, scale_atoms=True)
    assert crystal_id(larger) != crystal_id(atoms)


@RELAXED
@given(st.data())
def test_a_heavier_isotope_is_another_crystal_in_every_description(data):
    atoms = data.draw(crystals(elements=("Li", "O", "Na")))
    heavy = atoms.copy()
    lightest = int(heavy.numbers.min())
    masses = heavy.get_masses()
    masses[heavy.numbers == lightest] *= 1.1
    heavy.set_masses(masses)
    described = data.draw(descriptions(heavy)).atoms
    assert _structure(heavy).id != _structure(atoms).id
    assert _structure(described).id == _structure(heavy).id
    found = _structure(described)
    np.testing.assert_allclose(np.unique(found.masses.round(6)), np.unique(masses.round(6)))


@RELAXED
@given(st.data())
def test_natural_masses_leave_no_trace(data):
    atoms = data.draw(crystals())
    weighed = atoms.copy()
    weighed.set_masses(atoms.get_masses() * (1 + 1e-4))  # other tables of standard weights differ by as much
    assert _structure(weighed).id == _structure(atoms).id
    assert _structure(weighed).masses is None
    np.testing.assert_array_equal(species_of(weighed), atoms.numbers)


@RELAXED
@given(st.data())
def test_two_masses_of_one_element_lower_the_symmetry(data):
    atoms = data.draw(crystals(elements=("Si",), max_atoms=8)) * (2, 1, 1)
    masses = atoms.get_masses()
    masses[0] = 30.0
    atoms.set_masses(masses)
    assert len(_structure(atoms).atoms) == len(atoms)  # one heavy atom among many: no smaller cell is left
    described = data.draw(descriptions(atoms)).atoms
    assert _structure(described).id == _structure(atoms).id
    assert np.count_nonzero(np.isclose(_structure(described).masses, 30.0)) == 1


@RELAXED
@given(st.data())
def test_a_structure_goes_through_json_unchanged(data):
    atoms = data.draw(crystals())
    if data.draw(st.booleans()):
        atoms.set_masses(atoms.get_masses() * 1.05)
    structure = _structure(data.draw(descriptions(atoms)).atoms, notes=["said"], metadata={"n": np.int64(0)})
    again = Structure.from_dict(json.loads(json.dumps(structure.to_dict())))
    assert again.id == structure.id == crystal_id(again.atoms)
    assert again.notes == ("said",)
    assert again.metadata == {"n": 0}
    np.testing.assert_array_equal(again.atoms.get_masses(), structure.atoms.get_masses())
    np.testing.assert_array_equal(again.given.rotation, structure.given.rotation)
    np.testing.assert_array_equal(again.given.sources, structure.given.sources)


@RELAXED
@given(cells("orthorhombic"), st.permutations(range(3)), rotations(), st.tuples(*[st.integers(1, 5)] * 3))
def test_multiples_of_the_files_axes_make_the_same_supercell_whatever_their_order(cell, order, rotation, multiples):
    lengths = np.linalg.norm(cell, axis=1)
    assume(np.diff(np.sort(lengths)).min() > 0.1)
    atoms = Atoms("CuAu", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=cell, pbc=True)
    given_atoms = Atoms(
        atoms.symbols, scaled_positions=atoms.get_scaled_positions()[:, order], cell=cell[list(order)], pbc=True
    )
    given_atoms.rotate(*_axis_angle(rotation), rotate_cell=True)
    found = standard_cell(given_atoms, to_primitive=False)
    assert found.axes is not None
    ours = np.diag(along_standard_axes(multiples, found.axes)) @ found.atoms.cell.array
    theirs = np.diag(multiples) @ given_atoms.cell.array
    np.testing.assert_allclose(
        np.sort(np.linalg.norm(ours, axis=1)), np.sort(np.linalg.norm(theirs, axis=1)), rtol=1e-9
    )


def _axis_angle(rotation):
    from scipy.spatial.transform import Rotation

    vector = Rotation.from_matrix(rotation).as_rotvec(degrees=True)
    angle = float(np.linalg.norm(vector))
    return angle, (vector if angle > 1e-9 else (0, 0, 1))


def test_another_cell_has_no_axes_of_its_own():
    from ase.build import bulk

    assert standard_cell(bulk("Cu", "fcc", a=3.6)).axes is None  # the primitive cell is not the conventional one
    assert sorted(standard_cell(bulk("Cu", "fcc", a=3.6, cubic=True)).axes) == [0, 1, 2]


@pytest.mark.parametrize(
    ("symbol", "mass", "expected"),
    [
        ("Si", None, 2.01e-4),  # Tamura 1983; Morelli & Heremans 2002
        ("Ge", None, 5.87e-4),
        ("Si", 27.9769, 0.0),  # pure 28Si
        ("H", 2.01410178, 0.0),
        ("Al", None, 0.0),
    ],
)
def test_isotope_scattering_follows_from_the_mass(symbol, mass, expected):
    atoms = Atoms(symbol, cell=np.eye(3) * 5, pbc=True)
    if mass is not None:
        atoms.set_masses([mass])
    np.testing.assert_allclose(mass_variances(atoms), expected, rtol=0.02, atol=2e-6)


@given(st.floats(0.0, 1.0))
def test_a_mixture_of_two_isotopes_has_the_variance_of_its_concentrations(share):
    light, heavy = 6.0151223, 7.0160041
    mean = (1 - share) * light + share * heavy
    assume(abs(mean / 6.94 - 1) > 3e-3)
    atoms = Atoms("Li", cell=np.eye(3) * 5, pbc=True)
    atoms.set_masses([mean])
    expected = ((1 - share) * (light - mean) ** 2 + share * (heavy - mean) ** 2) / mean**2
    np.testing.assert_allclose(mass_variances(atoms), expected, rtol=1e-3, atol=1e-7)
