"""POSCAR, extended XYZ, the formats that only ASE reads, and folders: understood, or refused with a sentence."""

from __future__ import annotations

import bz2
import gzip
import json
import logging
import lzma
import os

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from screen_cli.bench.materials import iterate_materials
from screen_cli.config import ReadSettings
from screen_cli.crystal.structure import Structure
from screen_cli.sources.files import iterate_files

SALT = bulk("NaCl", "rocksalt", a=5.64)
SALT_ID = Structure.from_atoms(SALT, provider="t", provider_id="t").id
SITES = "0 0 0\n0 .5 .5\n.5 0 .5\n.5 .5 0\n.5 .5 .5\n.5 0 0\n0 .5 0\n0 0 .5\n"
POSCAR = f"salt\n1.0\n5.64 0 0\n0 5.64 0\n0 0 5.64\nNa Cl\n4 4\nDirect\n{SITES}"
CELL = 'Lattice="0 2.82 2.82 2.82 0 2.82 2.82 2.82 0" pbc="T T T"'
MOMENTS = "magnetic moments are not used"


def read(folder, name, content, **options):
    """What a file gives: structures and refusals."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(iterate_files([str(path)], **options))


def xyz(columns="", first="", second="", header=""):
    return f"2\n{CELL} Properties=species:S:1:pos:R:3{columns} {header}\nNa 0 0 0 {first}\nCl 2.82 0 0 {second}\n"


@settings(max_examples=20)
@given(st.sampled_from([1.0, 0.5, 2.0, -179.406144]), st.booleans(), st.booleans(), st.permutations(range(3)))
def test_a_poscar_in_any_scale_axes_and_notation(tmp_path_factory, scale, cartesian, fortran, order):
    """One factor, a volume, Cartesian or direct, Fortran's exponents, left-handed axes: the same salt."""
    edges = np.eye(3)[list(order)] * 5.64 / (1.0 if scale < 0 else scale)
    scaled = np.array([[float(word) for word in line.split()] for line in SITES.splitlines()])
    positions = scaled @ edges if cartesian else scaled
    letter = "d" if fortran else "e"
    rows = [" ".join(f"{value:.9e}".replace("e", letter) for value in row) for row in (*edges, *positions)]
    text = "\n".join(
        ["salt", f"{scale:.6f}{letter}0", *rows[:3], "Na Cl", "4 4", "Cart" if cartesian else "D", *rows[3:]]
    )
    (found,) = read(tmp_path_factory.mktemp("p"), "POSCAR", text + "\n")
    assert isinstance(found, Structure), found
    assert found.id == SALT_ID


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("1.0\n", "1.0 1.0 -2.0\n"), "three positive"),
        (("1.0\n", "1.0 2.0\n"), "three positive"),
        (("1.0\n", "0\n"), "three positive"),
        (("0 0 0\n0", "0 0 0 Cl\n0"), "line 9 says Cl where the counts say Na"),
        (("Na Cl\n", ""), "names no elements"),
        (
            ("salt\n1.0\n5.64 0 0\n0 5.64 0\n0 0 5.64\nNa Cl\n", "salt of Na Cl\n1\n5 0 0\n0 5 0\n0 0 5\n"),
            "names no el",
        ),
    ],
)
def test_poscars_that_are_refused(tmp_path, change, words):
    (found,) = read(tmp_path, "POSCAR", POSCAR.replace(*change, 1))
    assert words in found.reason


def test_moments_are_said_whatever_they_are_called(tmp_path):
    for name in ("magmom", "magmoms", "initial_magmoms", "magnetic_moments", "spin", "dft_magmom", "moments"):
        (found,) = read(tmp_path, "x.xyz", xyz(f":{name}:R:1", "1.5", "0"))
        assert MOMENTS in found.notes, name
    (none,) = read(tmp_path, "x.xyz", xyz(":magmoms:R:1", "0", "0"))
    (vectors,) = read(tmp_path, "x.xyz", xyz(":magmom:R:3", "0 0 1", "0 0 0"))
    (poscar,) = read(tmp_path, "POSCAR", POSCAR.replace("salt", "salt MAGMOM = 4*1 4*0"))
    assert (none.notes, vectors.notes, poscar.notes) == ((), (MOMENTS,), (MOMENTS,))


@pytest.mark.parametrize(
    ("columns", "first", "second", "words"),
    [
        (":masses:R:1", "3.8e-26", "5.9e-26", "no isotope's"),
        (":masses:R:1", "41907", "64626", "no isotope's"),
        (":mass:R:1", "0", "35.45", "zero or less"),
        (":mass:R:1", "nan", "35.45", "NaN"),
    ],
)
def test_masses_in_another_unit_are_refused(tmp_path, columns, first, second, words):
    (found,) = read(tmp_path, "x.xyz", xyz(columns, first, second))
    assert words in found.reason


def test_an_isotope_and_its_column_of_masses_agree(tmp_path):
    text = xyz(":masses:R:1", "6.94", "{}").replace("Na", "Li").replace("Cl ", "D ")
    (heavy,) = read(tmp_path, "x.xyz", text.format("2.014"))
    (light,) = read(tmp_path, "x.xyz", text.format("1.008"))
    assert sorted(heavy.masses.round(3)) == [2.014, 6.94]
    assert "atom 1 is D" in light.reason
    (fractional,) = read(tmp_path, "x.xyz", xyz().replace("pos:R:3", "frac_pos:R:3"))
    assert "no column 'pos:R:3'" in fractional.reason


def test_masses_and_notes_are_columns_of_the_results(tmp_path):
    """So they stand in tables, in exports and on the page of the crystal."""
    from screen_cli.run.reading import structure_row

    text = xyz(":masses:R:1:magmoms:R:1", "22.5 1", "35.45 0")
    (found,) = read(tmp_path, "x.xyz", text)
    row = structure_row(json.loads(json.dumps(found.to_dict())))
    assert (row["masses_u"], row["reading_notes"]) == ("Cl 35.45, Na 22.5", MOMENTS)
    (plain,) = read(tmp_path, "x.xyz", xyz())
    assert not {"masses_u", "reading_notes"} & structure_row(plain.to_dict()).keys()


PWX = """&system
 ibrav=0, nat=2, ntyp=2
/
ATOMIC_SPECIES
 Li 6.94 li.upf
 H1 {mass} h.upf
CELL_PARAMETERS angstrom
0 2 2
2 0 2
2 2 0
ATOMIC_POSITIONS crystal
Li 0 0 0
H1 .5 .5 .5 0 0 0
"""
PDB = (
    "CRYST1    5.640    5.640    5.640  90.00  90.00  90.00 {group:<11}   4\n"
    "ATOM      1 NA   NA  A   1       0.000   0.000   0.000  1.00  0.00          NA\n"
    "ATOM      2 CL   CL  A   1       2.820   2.820   2.820  1.00  0.00          CL\nEND\n"
)
RES = "TITL x\nCELL 0.7 5.64 5.64 5.64 90 90 90\n{lattice}SFAC Na Cl\nNa 1 0 0 0 1\nCl 2 .5 .5 .5 1\nEND\n"


def test_masses_of_pw_x_reach_the_crystal(tmp_path):
    (heavy,) = read(tmp_path, "x.pwi", PWX.format(mass="2.0141"))
    (natural,) = read(tmp_path, "x.pwi", PWX.format(mass="1.008"))
    (default,) = read(tmp_path, "x.pwi", PWX.format(mass="0.0"))
    assert sorted(heavy.masses.round(3)) == [2.014, 6.94]
    assert natural.masses is None
    assert default.id == natural.id != heavy.id
    both = PWX.replace("H1 .5", "H2 .5").format(mass="1.008\n H2 2.014").replace("h.upf\n H2", "h.upf\n H2")
    (two,) = read(tmp_path, "x.pwi", both.replace("1.008\n H2 2.014 h.upf", "1.008 h.upf\n H2 2.014 h.upf"))
    assert "gives H two masses, 1.008 and 2.014" in two.reason


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.pdb", PDB.format(group="F m -3 m"), "says a symmetry (F m -3 m)"),
        ("x.pdb", PDB.format(group="P 1"), ""),
        ("x.res", RES.format(lattice="LATT 4\n"), "says a symmetry (LATT 1"),
        ("x.res", RES.format(lattice=""), "says a symmetry (LATT 1"),
        ("x.res", RES.format(lattice="LATT -1\nSYMM -X,-Y,Z\n"), "says a symmetry (-X,-Y,Z)"),
        ("x.res", RES.format(lattice="LATT -1\n"), ""),
        ("x.pwi", PWX.replace("ibrav=0", "space_group = 225, ibrav=0").format(mass="1"), "says a symmetry"),
    ],
)
def test_symmetry_that_ase_passes_over_is_refused(tmp_path, name, text, words):
    (found,) = read(tmp_path, name, text)
    reason = getattr(found, "reason", "")
    assert words in reason
    assert bool(words) == bool(reason)


def test_compressed_files_are_known_by_their_first_bytes_or_refused(tmp_path):
    for pack in (gzip.compress, bz2.compress, lzma.compress):
        (found,) = read(tmp_path, "POSCAR", pack(POSCAR.encode()))
        assert found.id == SALT_ID
    for ending in ("zst", "Z", "lz4", "zip"):
        (found,) = read(tmp_path, f"POSCAR.{ending}", b"(packed)")
        assert f"is packed as .{ending}, which is not read" in found.reason


def test_links_pipes_and_folders_of_a_pattern(tmp_path, caplog):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.xyz").write_text(xyz())
    (tmp_path / "link").symlink_to(tmp_path / "one")
    os.mkfifo(tmp_path / "pipe.cif")
    (tmp_path / "b.cif~").write_text("old")
    with caplog.at_level(logging.WARNING):
        found = [item.provider_id for item in iterate_files([str(tmp_path)])]
    assert [os.path.basename(name) for name in found] == ["a.xyz"]
    for name in ("link (a link to a folder)", "pipe.cif", "b.cif~"):
        assert name in caplog.text
    by_pattern = list(iterate_files([str(tmp_path / "*")], settings=ReadSettings(seconds_per_file=5)))
    assert [item.provider_id for item in by_pattern if isinstance(item, Structure)] == [
        str(tmp_path / "link" / "a.xyz"),
        str(tmp_path / "one" / "a.xyz"),
    ]
    assert "is no regular file" in next(item.reason for item in by_pattern if item.provider_id.endswith("pipe.cif"))


def test_rounded_coordinates_that_lose_their_group_are_said(tmp_path):
    cell = "x\n1\n4 0 0\n-2 3.4641016151 0\n0 0 40\nZn S\n2 2\nDirect\n"
    text = cell + "0.333 0.667 0\n0.667 0.333 .5\n0.333 0.667 .375\n0.667 0.333 .875\n"
    (coarse,) = read(tmp_path, "POSCAR", text)
    assert (coarse.space_group, len(coarse.notes)) == (36, 1)
    assert "36 within 0.001 Å and 186 within 0.01 Å" in coarse.notes[0]
    (loose,) = read(tmp_path, "POSCAR", text, settings=ReadSettings(symprec=1e-2))
    assert (loose.space_group, loose.notes) == (186, ())


def test_the_benchmark_reads_cif_with_the_same_reader(tmp_path):
    """P 1 21/n 1 is no P 1 21/c 1: ASE's reader would make another crystal of it."""
    sites = "Si1 Si 0.1 0.2 0.3\nO1 O 0.35 0.4 0.15\n"
    cell = "".join(
        f"_cell_length_{x} {v}\n_cell_angle_{y} {w}\n"
        for x, y, v, w in zip("abc", ("alpha", "beta", "gamma"), (5, 6, 7), (90, 105, 90), strict=True)
    )
    columns = "loop_\n_atom_site_label\n_atom_site_type_symbol\n" + "".join(f"_atom_site_fract_{x}\n" for x in "xyz")
    (tmp_path / "x.cif").write_text(f"data_x\n_space_group_name_H-M_alt 'P 1 21/n 1'\n{cell}{columns}{sites}")
    (found,) = iterate_materials(str(tmp_path / "x.cif"))
    (expected,) = iterate_files([str(tmp_path / "x.cif")])
    assert found.id == expected.id
    (tmp_path / "x.cif").write_text("data_x\n_cell_length_a 5\n")
    (refused,) = iterate_materials(str(tmp_path / "x.cif"))
    assert "no atoms" in refused.reason or "missing" in refused.reason or "expected a number" in refused.reason
