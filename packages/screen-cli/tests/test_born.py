"""Born charges belong to one crystal and one frame: they turn and reorder with it, or are refused."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from screen_cli.crystal.born import BornTensors, expand_born, parse_born
from screen_cli.crystal.matching import find_match
from screen_cli.crystal.standard_cell import find_symmetry
from screen_cli.crystal.structure import Structure
from screen_cli.errors import StructureError
from screen_cli.sources.born_files import find_born
from screen_cli.sources.files import iterate_files
from screen_cli.testing.strategies import crystals, descriptions

RELAXED = settings(
    max_examples=20,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # a crystal shrinks for minutes
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def born_text(dielectric, charges):
    rows = [np.asarray(tensor).ravel() for tensor in (dielectric, *charges)]
    return "14.4\n" + "\n".join(" ".join(f"{value:.10f}" for value in row) for row in rows) + "\n"


def symmetric_tensors(atoms, seed):
    """Dielectric tensor and charges of every atom with the symmetry of the crystal and sum zero."""
    random = np.random.default_rng(seed)
    dataset = find_symmetry(atoms)
    orbits = np.asarray(dataset.equivalent_atoms)
    firsts = np.unique(orbits)
    lattice = atoms.cell.array.T
    turns = np.array([lattice @ turn @ np.linalg.inv(lattice) for turn in dataset.rotations])
    noise = random.normal(scale=0.3, size=(3, 3))
    dielectric = np.mean(turns @ (4 * np.eye(3) + noise + noise.T) @ np.swapaxes(turns, 1, 2), axis=0)
    values = [np.eye(3) * random.normal() + random.normal(scale=0.3, size=(3, 3)) for _ in firsts]
    charges = np.zeros((len(atoms), 3, 3))
    scaled = atoms.get_scaled_positions()
    count = np.zeros(len(atoms))
    for turn, whole, shift in zip(turns, dataset.rotations, dataset.translations, strict=True):
        for first, value in zip(firsts, values, strict=True):
            apart = scaled - (whole @ scaled[first] + shift)
            image = int(np.argmin(np.linalg.norm((apart - np.round(apart)) @ atoms.cell.array, axis=1)))
            charges[image] += turn @ value @ turn.T
            count[image] += 1
    charges /= count[:, None, None]
    return dielectric, charges - charges.mean(axis=0)


@RELAXED
@given(st.data(), st.integers(0, 1000))
def test_tensors_of_a_file_in_any_frame_and_order_come_to_the_crystal(data, seed):
    import tempfile
    from pathlib import Path

    atoms = data.draw(crystals(max_atoms=12))
    dielectric, charges = symmetric_tensors(atoms, seed)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("one", "two"):
            other = data.draw(descriptions(atoms))
            described, turn = other.atoms, other.rotation
            order = np.argsort(described.numbers, kind="stable")  # as a POSCAR groups them
            described, places = described[order], other.order[order]
            write(Path(folder) / f"{name}.vasp", described, format="vasp")
            orbits = np.asarray(find_symmetry(described).crystallographic_orbits)
            _, firsts = np.unique(orbits, return_index=True)
            listed = [turn @ charges[places[first]] @ turn.T for first in sorted(firsts)]
            (Path(folder) / f"{name}.BORN").write_text(born_text(turn @ dielectric @ turn.T, listed))
            (structure,) = iterate_files([str(Path(folder) / f"{name}.vasp")])
            assert isinstance(structure, Structure)
            found.append((structure, find_born(folder, structure)))
    (first, born_one), (second, born_two) = found
    match = find_match(first.atoms, second.atoms)
    assert match is not None
    carried = born_one.carried(*match)
    np.testing.assert_allclose(carried.dielectric, born_two.dielectric, atol=2e-3)
    np.testing.assert_allclose(carried.charges, born_two.charges, atol=2e-3)
    np.testing.assert_allclose(np.linalg.eigvalsh(born_two.dielectric), np.linalg.eigvalsh(dielectric), atol=2e-3)


@RELAXED
@given(st.data())
def test_a_crystal_matches_its_other_descriptions_and_no_other_crystal(data):
    atoms = data.draw(crystals(max_atoms=12))
    one = Structure.from_atoms(atoms, provider="t", provider_id="a").atoms
    described = data.draw(descriptions(atoms)).atoms
    two = Structure.from_atoms(described, provider="t", provider_id="b").atoms
    match = find_match(one, two)
    assert match is not None
    rotation, sources = match
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    shift = two.positions - one.positions[sources] @ rotation.T
    fractions = (shift - shift[0]) @ np.linalg.inv(two.cell.array)
    np.testing.assert_allclose(fractions, np.round(fractions), atol=1e-3)
    moved = two.copy()
    assume(len(moved) > 1)
    moved.positions[0] += [0.4, 0.3, 0.2]
    assert find_match(one, moved) is None


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("stretch", [1.0, 0.997, 1.012])
def test_of_two_rotations_that_nearly_fit_the_better_one_is_taken(seed, stretch):
    """A crystal a hair from higher symmetry: exchanging a and c is within the tolerance, and wrong."""
    random = np.random.default_rng(seed)
    cell = np.array([[4.0, 0, 0], [0, 5.0, 0], [4.03 * np.cos(1.585), 0, 4.03 * np.sin(1.585)]]) * stretch
    scaled = np.array([[0, 0, 0], [0.5, 0.1, 0.5], [0.25, 0.55, 0.25], [0.75, 0.45, 0.76]])
    one = Atoms("Au4", scaled_positions=scaled + random.normal(scale=2e-3, size=(4, 3)), cell=cell, pbc=True)
    turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    other = Atoms("Au4", positions=(one.positions + 0.3) @ turn.T, cell=one.cell.array @ turn.T, pbc=True)
    other = other[random.permutation(4)]
    other.set_cell(other.cell.array[[2, 0, 1]])
    rotation, sources = find_match(one, other)
    np.testing.assert_allclose(rotation, turn, atol=1e-9)
    moved = one.positions[sources] @ turn.T - other.positions
    fractions = (moved - moved[0]) @ np.linalg.inv(other.cell.array)
    np.testing.assert_allclose(fractions, np.round(fractions), atol=1e-9)


@RELAXED
@given(st.data(), st.integers(0, 1000))
def test_expanding_the_independent_charges_gives_them_all(data, seed):
    atoms = data.draw(crystals(max_atoms=12))
    dielectric, charges = symmetric_tensors(atoms, seed)
    firsts = np.unique(np.asarray(find_symmetry(atoms).equivalent_atoms))
    found = expand_born(BornTensors(dielectric, charges[firsts]), atoms, firsts.tolist())
    np.testing.assert_allclose(found.charges, charges, atol=1e-6)
    np.testing.assert_allclose(found.charges.sum(axis=0), 0.0, atol=1e-9)


NACL = born_text(np.eye(3) * 2.4, [np.eye(3) * 1.1, np.eye(3) * -1.1])
FLAT = Atoms("CuAu", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[3.72, 2.68, 2.82], pbc=True)


def _structure(atoms, provider="files", name="x.vasp"):
    return Structure.from_atoms(atoms, provider=provider, provider_id=name)


def test_names_of_files_frames_and_ids(tmp_path):
    salt = bulk("NaCl", "rocksalt", a=5.64)
    (tmp_path / "poly.BORN").write_text(NACL)
    (tmp_path / "agm0012.34.BORN").write_text(NACL)
    (tmp_path / "many#2.BORN").write_text(NACL)
    assert find_born(str(tmp_path), _structure(salt, name="in/poly.extxyz")) is not None
    assert find_born(str(tmp_path), _structure(salt, name="in/poly.extxyz.gz")) is not None
    assert find_born(str(tmp_path), _structure(salt, "optimade:x", "agm0012.34")) is not None
    assert find_born(str(tmp_path), _structure(salt, "optimade:x", "agm0012.35")) is None
    assert find_born(str(tmp_path), _structure(salt, name="many.extxyz#2")) is not None
    assert find_born(str(tmp_path), _structure(salt, name="many.extxyz#3")) is None
    with pytest.raises(StructureError, match="may belong to any frame.*poly#3.BORN"):
        find_born(str(tmp_path), _structure(salt, name="in/poly.extxyz#3"))
    assert find_born("", _structure(salt)) is None


def test_one_file_does_not_serve_two_polymorphs(tmp_path):
    from screen_cli.errors import ConfigError
    from screen_cli.sources.born_files import check_born_files

    (tmp_path / "NaCl.BORN").write_text(NACL)
    rows = [
        {"provider": "optimade:x", "provider_id": "1", "space_group": 225},
        {"provider": "files", "provider_id": "in/cscl-type.cif", "space_group": 221},
    ]
    check_born_files(str(tmp_path), lambda formula: rows[:1])
    check_born_files("", lambda formula: rows)
    with pytest.raises(ConfigError, match="space groups 221 and 225.*NaCl.vasp"):
        check_born_files(str(tmp_path), lambda formula: rows if formula == "NaCl" else [])
    (tmp_path / "cscl-type.BORN").write_text(NACL)  # named after its crystal
    check_born_files(str(tmp_path), lambda formula: rows if formula == "NaCl" else [])
    (tmp_path / "cscl-type.BORN").unlink()
    write(tmp_path / "NaCl.vasp", bulk("NaCl", "rocksalt", a=5.64), format="vasp")
    check_born_files(str(tmp_path), lambda formula: rows)


def test_a_formula_needs_a_frame_or_tensors_without_one(tmp_path):
    salt = _structure(bulk("NaCl", "rocksalt", a=5.64), "optimade:x", "1")
    (tmp_path / "NaCl.BORN").write_text(NACL)
    found = find_born(str(tmp_path), salt)
    np.testing.assert_allclose(found.charges[salt.atoms.numbers == 11], [np.eye(3) * 1.1], atol=1e-12)
    swapped = born_text(np.eye(3) * 2.4, [np.eye(3) * -1.1, np.eye(3) * 1.1])
    (tmp_path / "NaCl.BORN").write_text(swapped)
    with pytest.raises(StructureError, match="Cl would be positive"):
        find_born(str(tmp_path), salt)
    layered = _structure(FLAT, "optimade:x", "2")
    turned = born_text(np.diag([8, 4, 5]), [np.diag([2, 1, 1.2]), np.diag([-2, -1, -1.2])])
    (tmp_path / f"{layered.formula}.BORN").write_text(turned)
    with pytest.raises(StructureError, match="cannot be known in which frame"):
        find_born(str(tmp_path), layered)
    write(tmp_path / f"{layered.formula}.vasp", FLAT, format="vasp")
    found = find_born(str(tmp_path), layered)
    longest = int(np.argmax(layered.atoms.cell.lengths()))
    assert found.dielectric[longest, longest] == pytest.approx(8)
    write(tmp_path / f"{layered.formula}.vasp", bulk("NaCl", "rocksalt", a=5.64), format="vasp")
    with pytest.raises(StructureError, match="another crystal"):
        find_born(str(tmp_path), layered)


def test_a_cif_has_no_cartesian_frame(tmp_path):
    (tmp_path / "x.BORN").write_text(born_text(np.diag([8, 4, 5]), [np.diag([2, 1, 1.2]), np.diag([-2, -1, -1.2])]))
    assert find_born(str(tmp_path), _structure(FLAT, name="x.vasp")) is not None
    with pytest.raises(StructureError, match="cannot be known in which frame"):
        find_born(str(tmp_path), _structure(FLAT, name="x.cif"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense\n1 2\n", "line 2: expected 9 numbers"),
        ("", "holds no Born charges"),
        ("14.4\n" + "1 0 0 0 1 0 0 0 1\n", "holds no Born charges"),
        ("14.4\n2 0 0 0 2 0 0 0 nan\n1 0 0 0 1 0 0 0 1\n", "line 2: expected 9 numbers"),
        ("14.4\n0 0 0 0 0 0 0 0 0\n1 0 0 0 1 0 0 0 1\n", "eigenvalues of 1 or more"),
        ("14.4\n3 9 0 0 3 0 0 0 3\n1 0 0 0 1 0 0 0 1\n", "is symmetric"),
        (NACL + "1 0 0 0 1 0 0 0 1\n", "lists 3 charges"),
        (born_text(np.eye(3) * 2.4, [np.eye(3) * 2, np.eye(3) * 1]), "sum to"),
        (born_text(np.diag([2, 3, 4]), [np.eye(3), -np.eye(3)]), "does not have the symmetry"),
        (born_text(np.eye(3) * 2, [np.diag([1, 2, 3]), -np.diag([1, 2, 3])]), "charge of Na in BORN"),
    ],
)
def test_impossible_tensors_are_refused(tmp_path, text, words):
    (tmp_path / "x.BORN").write_text(text)
    with pytest.raises(StructureError, match=words):
        find_born(str(tmp_path), _structure(bulk("NaCl", "rocksalt", a=5.64)))


def test_fortran_numbers_and_comments_are_read():
    text = "# epsilon and Z* of atoms 1 2\n 2.4d0 0 0 0 2.4D+00 0 0 0 2.4\n1 0 0 0 1 0 0 0 1 # Na\n\n"
    text += "-1 0 0 0 -1 0 0 0 -1\n"
    assert parse_born(text).charges.shape == (2, 3, 3)
