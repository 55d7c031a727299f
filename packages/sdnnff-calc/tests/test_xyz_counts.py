"""No count that an XYZ file promises makes ASE wait, whatever way it is written."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
from ase.io.extxyz import key_val_str_to_dict, parse_properties, read_xyz
from hypothesis import given
from hypothesis import strategies as st

from sdnnff_calc.data.structures import iterate_structures
from sdnnff_calc.errors import DataError
from sdnnff_calc.file_access import xyz_header
from sdnnff_calc.file_access.xyz_counts import check_counts
from sdnnff_calc.file_access.xyz_header import check_columns

BILLION = [
    "Properties=species:S:1:pos:R:1000000000",
    "Properties=species:S:1:pos:R:3 Properties=species:S:1:pos:R:1000000000",
    "Properties = species:S:1:pos:R:1000000000",
    "Properties='species:S:1:pos:R: +1_000_000_000'",
    '"Prop\\erties"={species:S:1:pos:"R":1000000000}',
    'Properties=species:S:1:pos:R:1"000000"000',
    'Properties="_JSON \\"species:S:1:pos:R:\\\\u0031000000000\\""',
    f"Properties=species:S:1:pos:R:{'9' * 5000}",
]
PIECES = ["Properties", "=", ":", "R", "S", "I", "a", "1", "7", "40", "_", "+", " ", '"', "'", "{", "}", "[", "]", "\\"]


@pytest.mark.parametrize("header", BILLION)
def test_a_billion_columns_are_refused_in_every_spelling(header: str) -> None:
    with pytest.raises(ValueError, match="more than 10000 columns|written as JSON"):
        check_columns(header)


@given(st.lists(st.sampled_from([*PIECES, "Properties=a:R:", ":R:", "b:I:"]), max_size=20).map("".join))
def test_no_header_gets_more_columns_out_of_ase_than_are_counted(header: str) -> None:
    try:
        properties = key_val_str_to_dict(header).get("Properties", "")
        n_columns = len(parse_properties(properties)[2])
    except Exception:
        return  # ASE refuses it
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xyz_header, "MOST_COLUMNS", n_columns - 1)
        with pytest.raises(ValueError, match="columns"):
            check_columns(header)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("999999999999999\n\nAr 0 0 0\n", "frame 0: 999999999999999 atoms are promised, 1 are there"),
        (f"{'9' * 30}\n\nAr 0 0 0\n", "atoms are promised, 1 are there"),
        ("-2\n\n", "frame 0: -2 atoms are promised, 0 are there"),
        ("1\n\nAr 0 0 0\n+7\n\nAr 0 0 0\n", "frame 1: 7 atoms are promised, 1 are there"),
        ("1\n\nAr 0 0 0\nVEC1 1 0 0\n9\n\n", "frame 1: 9 atoms are promised, 0 are there"),
        (f"1\r{BILLION[0]}\rAr 0 0 0\r", "frame 0: it promises more than 10000 columns"),
        ("one\n\nAr 0 0 0\n", "frame 0: 'one' is no number of atoms"),
    ],
)
@pytest.mark.parametrize("name", ["a.xyz", "a.EXTXYZ", "a.extxyz.gz"])
def test_a_count_that_is_not_true_is_refused_before_ase_reads(tmp_path: Path, text: str, said: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    with pytest.raises(DataError, match=said):
        list(iterate_structures([path]))


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=4))
def test_counts_of_what_ase_reads_are_true(frames: list[tuple[int, bool]]) -> None:
    text = "".join(
        f"{n}\nProperties=species:S:1:pos:R:3\n" + n * "Ar 0 0 1\n" + (vectors * "VEC1 5 0 0\nVEC2 0 5 0\nVEC3 0 0 5\n")
        for n, vectors in frames
    )
    check_counts(io.StringIO(text))
    assert [len(atoms) for atoms in read_xyz(io.StringIO(text), slice(None))] == [n for n, _ in frames]
