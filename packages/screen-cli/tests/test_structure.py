"""One crystal, one id, however it is written; and clear refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from screen_cli.config import ReadSettings
from screen_cli.crystal.structure import Structure
from screen_cli.errors import StructureError


def _structure(atoms, **options):
    return Structure.from_atoms(atoms, provider="test", provider_id="x", **options)


CRYSTALS = {
    "rocksalt": bulk("NaCl", "rocksalt", a=5.64),
    "zincblende": bulk("ZnS", "zincblende", a=5.41),
    "wurtzite": bulk("GaN", "wurtzite", a=3.19, c=5.19),
    "hcp": bulk("Mg", "hcp", a=3.2, c=5.2),
}


@pytest.mark.parametrize("name", CRYSTALS)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_id_ignores_rotation_origin_order_and_supercell(name, seed):
    rng = np.random.default_rng(seed)
    atoms = CRYSTALS[name].repeat((1, 2, 1) if seed % 2 else 1)
    expected = _structure(CRYSTALS[name])
    atoms.positions += rng.normal(size=3)
    atoms = atoms[rng.permutation(len(atoms))]
    rotation = Rotation.random(random_state=int(seed)).as_matrix()
    atoms.set_cell(atoms.cell.array @ rotation.T, scale_atoms=True)
    found = _structure(atoms)
    assert found.id == expected.id
    assert len(found.atoms) == len(expected.atoms)


def test_id_is_equal_from_cif_and_poscar(tmp_path):
    for atoms in CRYSTALS.values():
        write(tmp_path / "a.cif", atoms)
        write(tmp_path / "POSCAR", atoms.repeat(2), format="vasp")
        ids = {_structure(read(tmp_path / name)).id for name in ("a.cif", "POSCAR")}
        assert ids == {_structure(atoms).id}


def test_id_tells_crystals_apart():
    others = [
        *CRYSTALS.values(),
        bulk("NaCl", "rocksalt", a=5.65),
        bulk("NaCl", "zincblende", a=5.64),
        bulk("KCl", "rocksalt", a=5.64),
    ]
    assert len({_structure(atoms).id for atoms in others}) == len(others)


def test_dict_round_trip_through_json():
    structure = _structure(CRYSTALS["wurtzite"], metadata={"band_gap": np.float64(3.4)})
    again = Structure.from_dict(json.loads(json.dumps(structure.to_dict())))
    assert (again.id, again.space_group, again.formula) == (structure.id, 186, structure.formula)
    np.testing.assert_array_equal(again.atoms.positions, structure.atoms.positions)
    assert again.metadata == {"band_gap": 3.4}


def _partial():
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    atoms.info["occupancy"] = {"0": {"Na": 0.5, "K": 0.5}, "1": {"Cl": 1.0}}
    return atoms


def _nan():
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    atoms.positions[0, 0] = np.nan
    return atoms


@pytest.mark.parametrize(
    ("atoms", "words"),
    [
        (Atoms(cell=[5, 5, 5], pbc=True), "no atoms"),
        (Atoms("H2", [(0, 0, 0), (0, 0, 0.8)]), "periodic"),
        (Atoms("Cu", cell=[[3, 0, 0], [0, 3, 0], [3, 3, 0]], pbc=True), "volume"),
        (Atoms("CuCu", [(0.1, 0, 0), (3.9, 0, 0)], cell=[4, 4, 4], pbc=True), "overlap"),
        (Atoms("XCu", [(0, 0, 0), (2, 2, 2)], cell=[4, 4, 4], pbc=True), "element"),
        (_partial(), "partial occupancy"),
        (_nan(), "NaN"),
    ],
    ids=["empty", "molecule", "flat", "overlap", "dummy", "partial", "nan"],
)
def test_refusals(atoms, words):
    with pytest.raises(StructureError, match=words):
        _structure(atoms)


def test_too_many_atoms():
    with pytest.raises(StructureError, match="max_atoms"):
        _structure(CRYSTALS["wurtzite"], settings=ReadSettings(max_atoms=3))
