"""Files that strangers made: each is understood or refused with one sentence, in bounded time and memory."""

from __future__ import annotations

import bz2
import gzip
import logging
import os
import time
import tracemalloc

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from ase.io.trajectory import Trajectory
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from screen_cli.config import ReadSettings
from screen_cli.crystal.structure import RejectedStructure, Structure
from screen_cli.errors import ConfigError, StructureError
from screen_cli.sources.files import iterate_files
from screen_cli.sources.readers.cif.document import read_cif
from screen_cli.sources.readers.extxyz import read_extxyz
from screen_cli.sources.readers.frame import Frame, Limits
from screen_cli.sources.readers.poscar import read_poscar
from screen_cli.sources.readers.text import decode, printable
from screen_cli.sources.readers.time_limit import time_limit

POSCAR = "salt\n1.0\n0 2.82 2.82\n2.82 0 2.82\n2.82 2.82 0\nNa Cl\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n"
XYZ = (
    '2\nLattice="0 2.82 2.82 2.82 0 2.82 2.82 2.82 0" Properties=species:S:1:pos:R:3 pbc="T T T" n=0\n'
    "Na 0 0 0\nCl 2.82 2.82 2.82\n"
)
CIF = (
    "data_x\n_space_group_name_H-M_alt 'F m -3 m'\n_cell_length_a 5.64\n_cell_length_b 5.64\n_cell_length_c 5.64\n"
    "_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\nloop_\n_atom_site_label\n_atom_site_fract_x\n"
    "_atom_site_fract_y\n_atom_site_fract_z\nNa1 0 0 0\nCl1 0.5 0.5 0.5\n"
)


def _poscar(row, line):
    lines = POSCAR.split("\n")
    lines[row] = line
    return "\n".join(lines)


BAD = {
    "empty.cif": ("", "is empty"),
    "blank.vasp": ("\n\n \n", "is empty"),
    "zeros.cif": (b"\0" * 3000, "is binary"),
    "noise.vasp": (bytes(range(256)) * 20, "is binary"),
    "half-utf16.cif": ("data_x".encode("utf-16") + b"\x00", "is no text in utf-16"),
    "cut.vasp": (POSCAR[:60], "ends before line 9"),
    "one-atom-short.vasp": (POSCAR.replace("1 1\n", "1 9\n"), "ends before line 11"),
    "scale.vasp": (_poscar(1, "x"), "line 2 is 'x'"),
    "scale-zero.vasp": (_poscar(1, "0.0"), "scale factor that is not zero"),
    "scale-infinite.vasp": (_poscar(1, "1e999"), "expected a scale factor"),
    "words.vasp": (_poscar(2, "a b c"), "line 3 is 'a b c', expected 3 numbers"),
    "nan.vasp": (_poscar(8, "nan nan nan"), "line 9 is 'nan nan nan'"),
    "flat.vasp": (_poscar(4, "2.82 0 2.82"), "span a volume"),
    "flat-by-volume.vasp": (_poscar(1, "-44").replace("2.82 2.82 0", "2.82 0 2.82"), "span no volume"),
    "element.vasp": (_poscar(5, "Na Qq"), "'Qq', which is no chemical symbol"),
    "no-names.vasp": (POSCAR.replace("Na Cl\n", ""), "names no elements"),
    "counts.vasp": (_poscar(6, "1 1 1"), "2 elements, line 7 3 counts"),
    "negative.vasp": (_poscar(6, "-1 1"), "expected numbers of atoms"),
    "zero-atoms.vasp": (_poscar(6, "0 0"), "expected numbers of atoms"),
    "trillion.vasp": (_poscar(6, "999999999999 1"), "has 1000000000000 atoms, at most 2000"),
    "mode.vasp": (_poscar(7, "0.1 0.2 0.3"), "expected 'Direct' or 'Cartesian'"),
    "overlap.vasp": (_poscar(9, "0 0 0.001"), "overlap"),
    "bohr.vasp": (_poscar(1, "0.1"), "is no solid"),
    "escape.vasp": (_poscar(5, "\x1b[31mNa Cl"), "no chemical symbol"),
    "trillion.xyz": (XYZ.replace("2\n", "999999999999\n", 1), "has 999999999999 atoms"),
    "huge-number.xyz": ("9" * 5000 + "\n", "expected the number of atoms"),
    "negative.xyz": (XYZ.replace("2\n", "-2\n", 1), "expected the number of atoms"),
    "cut.xyz": (XYZ[:-25], "the file ends before"),
    "molecule.xyz": ("1\n\nH 0 0 0\n", "periodic directions"),
    "layer.xyz": (XYZ.replace("T T T", "T T F"), "periodic directions"),
    "wide.xyz": (XYZ.replace("pos:R:3", "pos:R:3:x:R:300000000"), "promises more than 10000 columns"),
    "twice.xyz": (XYZ.replace("pos:R:3", "pos:R:3 Properties=x:R:300000000"), "promises more than 10000 columns"),
    "columns.xyz": (XYZ.replace("pos:R:3", ":".join(f"c{n}:R:1" for n in range(400))), "more than 200 columns"),
    "column-of-words.xyz": (XYZ.replace("Na 0 0 0", "Na a b c"), "is no extended XYZ"),
    "no-such-element.xyz": (XYZ.replace("Na 0", "Zz 0"), "is no extended XYZ"),
    "lattice.xyz": (XYZ.replace('"0 2.82', '"x 2.82'), "is no extended XYZ|periodic"),
    "bad-masses.xyz": (
        XYZ.replace("pos:R:3", "pos:R:3:masses:R:1").replace(" 0 0 0", " 0 0 0 -1").replace("2.82\n", "2.82 1\n"),
        "masses",
    ),
    "word-masses.xyz": (
        XYZ.replace("pos:R:3", "pos:R:3:masses:S:1").replace(" 0 0 0", " 0 0 0 x").replace("2.82\n", "2.82 y\n"),
        "no numbers",
    ),
    "no-format.qqq": ("hello\nworld\n", "in no format that is known"),
    "bad.db": (b"SQLite format 3\0" + b"\1" * 500, "is no ASE database"),
    "bad.gz": (b"no gzip", "cannot be read|in no format"),
    "cut.cif.gz": (gzip.compress(CIF.encode())[:-20], "cannot be read"),
    "outcar/OUTCAR": ("vasp.5.4.4\n garbage\n", "cannot be read as|holds no structure|in no format"),
    "vasprun.xml": ("<?xml version='1.0'?><modeling><a>", "cannot be read as"),
    "x.traj": (b"- of Ulm" + b"\xff" * 300, "cannot be read as"),
    "dict.json": ('{"a": 1}', "cannot be read as|in no format"),
}


@pytest.mark.parametrize("name", BAD)
def test_each_bad_file_is_one_sentence(tmp_path, name):
    content, words = BAD[name]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = list(iterate_files([str(path)]))
    assert [type(item) for item in found] == [RejectedStructure]
    (reason,) = [item.reason for item in found]
    assert any(word in reason for word in words.split("|")), reason
    assert "\n" not in reason
    assert "\x1b" not in reason
    assert len(reason) < 700


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path, compress):
    path = tmp_path / ("x.cif" + {"gzip": ".gz", "bz2": ".bz2"}[compress.__module__])
    path.write_bytes(compress(b"#" * 300_000_000))
    assert path.stat().st_size < 1_000_000
    tracemalloc.start()
    (found,) = iterate_files([str(path)], ReadSettings(max_megabytes=5.0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "more than 5 MB after decompression" in found.reason
    assert peak < 50_000_000


def test_twenty_thousand_atoms_are_refused_before_symmetry(tmp_path):
    atoms = bulk("Cu", cubic=True) * (17, 17, 18)
    assert len(atoms) > 20_000
    for name in ("x.vasp", "x.xyz", "x.cif"):
        write(tmp_path / name, atoms, format="extxyz" if name == "x.xyz" else None)
        (found,) = iterate_files([str(tmp_path / name)])
        assert isinstance(found, RejectedStructure)
        assert "2000" in found.reason


def test_a_reader_that_takes_too_long_is_stopped():
    start = time.monotonic()
    with pytest.raises(StructureError, match="was not read within 0.2 s"), time_limit(0.2):
        time.sleep(100)
    assert time.monotonic() - start < 60


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.vasp", POSCAR.replace("1.0\n", "1.0d0\n").replace("2.82", "2.82D+00")),
        ("x.vasp", POSCAR.replace("\n", "\r\n")),
        ("x.vasp", POSCAR.replace("\n", "\r")),
        ("x.vasp", POSCAR.replace("Na Cl", "Na_pv Cl/0a1b2c")),
        ("x.vasp", POSCAR.replace("salt", "Na Cl").replace("Na Cl\n1 1", "1 1")),
        ("x.vasp", POSCAR.replace("1.0\n", "-44.851536\n")),
        ("x.vasp", POSCAR.replace("1.0\n", "1.0 1.0 1.0\n")),
        ("x.vasp", POSCAR.replace("Direct\n", "Selective dynamics\nDirect\n").replace("0 0 0", "0 0 0 F F T")),
        ("x.vasp", POSCAR.replace("Direct", "Cartesian").replace("0.5 0.5 0.5", "2.82 2.82 2.82")),
        ("POSCAR", POSCAR),
        ("CONTCAR_relaxed", POSCAR),
        ("x.xyz", XYZ),
        ("x.cif", CIF),
        ("x.cif", CIF.encode("utf-16")),
        ("x.cif", CIF.encode("utf-8-sig")),
        ("x.cif", CIF.encode("utf-16-le")),
        ("x.cif", CIF.replace("\n", "\r")),
        ("x.cif", CIF.replace("data_x", "# Schr\xf6dinger\ndata_x").encode("latin-1")),
        ("x.cif.gz", gzip.compress(CIF.encode())),
        ("x.vasp.bz2", bz2.compress(POSCAR.encode())),
        ("\u754c \xe9.cif", CIF),
    ],
)
def test_every_spelling_of_salt_is_salt(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (found,) = iterate_files([str(path)])
    assert isinstance(found, Structure), found.reason
    assert found.id == Structure.from_atoms(bulk("NaCl", "rocksalt", a=5.64), provider="x", provider_id="y").id


def test_masses_zeros_and_a_key_called_settings_of_an_extended_xyz(tmp_path):
    text = XYZ.replace("pos:R:3", "pos:R:3:masses:R:1").replace(
        "n=0", "n=0 energy_above_hull_ev_atom=0 u=nan settings=x"
    )
    (tmp_path / "x.xyz").write_text(text.replace(" 0 0 0", " 0 0 0 22.0").replace("2.82\n", "2.82 35.45\n"))
    (found,) = iterate_files([str(tmp_path / "x.xyz")])
    np.testing.assert_allclose(sorted(found.masses), [22.0, 35.45])
    assert found.metadata == {"n": 0, "energy_above_hull_ev_atom": 0.0, "settings": "x"}
    assert found.settings == {}


def test_names_that_are_no_text_or_steer_terminals_are_made_printable(tmp_path):
    for name in (b"odd-\xff.vasp", b"red-\x1b[31m.vasp"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(POSCAR.encode())
    found = list(iterate_files([str(tmp_path)]))
    assert len(found) == 2
    for item in found:
        assert isinstance(item, Structure)
        item.provider_id.encode()
        assert item.provider_id.isprintable()


def test_what_a_folder_search_passes_over_is_said(tmp_path, caplog):
    for name in ("a.vasp", "notes.md", ".hidden.cif", "more.zip", "b.vasp.zst"):
        (tmp_path / name).write_text(POSCAR)
    with caplog.at_level(logging.WARNING):
        found = list(iterate_files([str(tmp_path)]))
    assert len(found) == 1
    for name in ("notes.md", ".hidden.cif", "more.zip", "b.vasp.zst"):
        assert name in caplog.text


def test_frames_have_numbers_where_there_are_several_and_the_last_of_a_relaxation_is_taken(tmp_path, caplog):
    (tmp_path / "one.xyz").write_text(XYZ)
    (tmp_path / "two.xyz").write_text(XYZ + XYZ.replace("Na", "K"))
    names = [item.provider_id for item in iterate_files([str(tmp_path / "one.xyz"), str(tmp_path / "two.xyz")])]
    assert [name.split("/")[-1] for name in names] == ["one.xyz", "two.xyz#0", "two.xyz#1"]
    steps = [bulk("NaCl", "rocksalt", a=a) for a in (5.5, 5.6, 5.7)]
    write(tmp_path / "relax.traj", steps)
    with caplog.at_level(logging.WARNING):
        (last,) = iterate_files([str(tmp_path / "relax.traj")])
    assert "the last of 3 frames" in caplog.text
    assert "the last of 3 frames" in last.notes[0]
    assert last.atoms.cell.volume == pytest.approx(5.7**3 / 4)
    assert len(list(iterate_files([str(tmp_path / "relax.traj")], all_frames=True))) == 3
    with pytest.raises(ConfigError, match="true or false"):
        list(iterate_files([str(tmp_path)], all_frames="yes"))


@pytest.mark.parametrize("number", [-200, 0, 119, 10**6])
@pytest.mark.parametrize("n_frames", [1, 2])
def test_frames_with_atoms_of_no_element_are_refused_one_by_one(tmp_path, number, n_frames):
    frames = [bulk("NaCl", "rocksalt", a=5.6) for _ in range(n_frames)]
    frames[-1].numbers[0] = number
    with Trajectory(tmp_path / "odd.traj", "w") as file:
        for atoms in frames:
            file.write(atoms)
    *good, refused = iterate_files([str(tmp_path / "odd.traj")])
    assert "no element" in refused.reason
    assert len(good) == n_frames - 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name")
def test_pipes_devices_and_circles_of_links_hold_nothing_up(tmp_path, caplog):
    folder = tmp_path / "crystals"
    folder.mkdir()
    (folder / "good.vasp").write_text(POSCAR)
    os.mkfifo(folder / "pipe.cif")
    for name, target in {"zero.cif": "/dev/zero", "self.cif": "self.cif", "gone.cif": "nowhere", "up": ".."}.items():
        (folder / name).symlink_to(target)
    with caplog.at_level(logging.WARNING):
        (found,) = iterate_files([str(folder)])
    assert isinstance(found, Structure)
    for name in ("pipe.cif", "zero.cif", "self.cif", "gone.cif"):
        assert name in caplog.text
    settings = ReadSettings(seconds_per_file=0.5, max_megabytes=1.0)
    for name in ("pipe.cif", "zero.cif"):
        (refused,) = iterate_files([str(folder / name)], settings)
        assert refused.reason == "is no regular file."


@given(st.text())
def test_what_is_shown_of_a_stranger_is_printable_and_short(text):
    shown = printable(text, 50)
    assert len(shown) <= 50
    assert all(character.isprintable() for character in shown)


WORDS = (b"1e999", b"nan", b"-", b"?", b".", b"999999999999", b"\x1b[0m", b"''", b";\n", b"loop_")


def _mutated(draw, text):
    """Bytes of a good file with a few changes."""
    data = bytearray(text.encode())
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["delete", "insert", "repeat", "replace"]))
        end = min(len(data), start + draw(st.integers(0, 30)))
        if kind == "delete":
            del data[start:end]
        elif kind == "insert":
            data[start:start] = draw(st.binary(max_size=8))
        elif kind == "repeat":
            data[start:start] = data[start:end] * draw(st.integers(1, 5))
        else:
            data[start:end] = draw(
                st.sampled_from(
                    [b"1e999", b"nan", b"-", b"?", b".", b"999999999999", b"\x1b[0m", b"''", b";\n", b"loop_"]
                )
            )
    return bytes(data)


def _read_all(name, data):
    """Frames of bytes, and crystals of the frames; only our own errors come out."""
    limits = Limits(max_atoms=200)
    readers = {
        "cif": lambda text: read_cif(text, limits),
        "vasp": lambda text: iter([read_poscar(text, limits)]),
        "xyz": lambda text: read_extxyz(text, limits),
    }
    reason = ""
    with time_limit(30.0):
        try:
            for frame in readers[name](decode(data)):
                if isinstance(frame, Frame):
                    Structure.from_atoms(frame.atoms, provider="x", provider_id="y", metadata=frame.metadata).to_dict()
        except StructureError as error:
            reason = str(error)
    assert "\n" not in reason
    assert "was not read within" not in reason


FUZZ = {
    "deadline": None,
    "phases": (Phase.explicit, Phase.reuse, Phase.generate),
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}


@settings(max_examples=120, **FUZZ)
@given(st.data(), st.sampled_from([("cif", CIF), ("vasp", POSCAR), ("xyz", XYZ)]))
def test_mutated_files_give_a_crystal_or_one_of_our_sentences(data, format_and_text):
    name, text = format_and_text
    _read_all(name, _mutated(data.draw, text))


@pytest.mark.slow
@settings(max_examples=20_000, **FUZZ)
@given(st.data(), st.sampled_from([("cif", CIF), ("vasp", POSCAR), ("xyz", XYZ)]))
def test_many_mutated_files_give_a_crystal_or_one_of_our_sentences(data, format_and_text):
    name, text = format_and_text
    _read_all(name, _mutated(data.draw, text))
