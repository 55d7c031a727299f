"""Files and prototypes in: what is good is read, what is not is refused by name and never stops the rest."""

from __future__ import annotations

import numpy as np
import pytest
import spglib
from ase.build import bulk
from ase.db import connect
from ase.io import write

from screen_cli.errors import ConfigError
from screen_cli.sources.files import iterate_files
from screen_cli.sources.prototypes import build, iterate_demo, iterate_prototypes, prototypes
from screen_cli.structure import RejectedStructure, Structure

NACL = bulk("NaCl", "rocksalt", a=5.64)
ELEMENTS = ("Mg", "Si", "O", "Ba")
PAPER = {  # doi:10.1038/s43246-023-00390-3, Table 1: space group and atoms in the primitive cell
    216: [2, 3, 4, 4],
    221: [2, 4, 5, 7, 16],
    225: [2, 4, 4, 10],
    227: [6, 8, 14],
}
PARTIAL = """data_x
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
_symmetry_Int_Tables_number 225
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na1 Na 0 0 0 0.5
Cl1 Cl 0.5 0.5 0.5 1.0
"""


def test_every_format_gives_the_same_crystal(tmp_path):
    write(tmp_path / "a.cif", NACL)
    write(tmp_path / "POSCAR", NACL.repeat(2), format="vasp")
    write(tmp_path / "b.extxyz", [NACL, bulk("KCl", "rocksalt", a=6.29)])
    with connect(tmp_path / "c.db") as database:
        database.write(NACL, band_gap=5.0)
    found = list(iterate_files([str(tmp_path)]))
    assert all(isinstance(item, Structure) for item in found)
    assert len(found) == 5
    assert len({item.id for item in found}) == 2
    assert any(item.metadata.get("band_gap") == 5.0 for item in found)
    assert len(list(iterate_files(str(tmp_path / "*.cif")))) == 1


def test_bad_files_and_frames_are_refused_by_name_and_the_rest_is_read(tmp_path):
    (tmp_path / "broken.cif").write_text("data_x\n_cell_length_a five\nloop_\n_atom_site_label\n")
    (tmp_path / "partial.cif").write_text(PARTIAL)
    overlapping = NACL.repeat((1, 1, 2))
    overlapping.positions[1] = overlapping.positions[0] + [0.1, 0, 0]
    write(tmp_path / "frames.extxyz", [NACL, overlapping, NACL])
    found = list(iterate_files([str(tmp_path)]))
    rejected = {
        item.provider_id.rsplit("/", 1)[-1].removesuffix("#0"): item.reason
        for item in found
        if isinstance(item, RejectedStructure)
    }
    assert set(rejected) == {"broken.cif", "partial.cif", "frames.extxyz#1"}
    assert "occupancy" in rejected["partial.cif"]
    assert "overlap" in rejected["frames.extxyz#1"]
    assert sum(isinstance(item, Structure) for item in found) == 2


def test_nothing_matches():
    with pytest.raises(ConfigError, match="nothing"):
        list(iterate_files("no/such/*.cif"))


@pytest.mark.parametrize("name", sorted(prototypes()))
def test_prototype_has_its_space_group_and_no_smaller_cell(name):
    entry = prototypes()[name]
    elements = ELEMENTS[: entry["elements"]]
    atoms = build(name, elements, 10.0)
    dataset = spglib.get_symmetry_dataset((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers))
    assert dataset.number == entry["space_group"]
    assert set(atoms.symbols) == set(elements)


def test_the_sixteen_prototypes_of_the_paper_are_there():
    sizes: dict[int, list[int]] = {}
    for name, entry in prototypes().items():
        atoms = build(name, ELEMENTS[: entry["elements"]], 10.0)
        structure = Structure.from_atoms(atoms, provider="t", provider_id=name)
        sizes.setdefault(entry["space_group"], []).append(len(structure.atoms))
    for space_group, expected in PAPER.items():
        remaining = list(sizes[space_group])
        for size in expected:
            remaining.remove(size)  # raises when one is missing


def test_entries_become_structures_or_reasons():
    good, bad = iterate_prototypes(
        [
            {"prototype": "rocksalt", "elements": ["Na", "Cl"], "a": 5.64},
            {"prototype": "rocksalt", "elements": ["Na"], "a": 5.64},
        ]
    )
    assert isinstance(good, Structure)
    assert (good.formula, good.space_group) == ("NaCl", 225)
    assert good.id == Structure.from_atoms(NACL, provider="x", provider_id="y").id
    assert isinstance(bad, RejectedStructure)


def test_demo_set():
    crystals = list(iterate_demo())
    assert len(crystals) == 12
    assert all(isinstance(item, Structure) for item in crystals)
    assert len({item.id for item in crystals}) == 12
    assert len({item.space_group for item in crystals}) >= 4
    assert all(np.isfinite(item.atoms.positions).all() for item in crystals)
