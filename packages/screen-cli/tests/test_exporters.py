"""Exports: every format holds every crystal with its types; a hundred times the rows need no more memory."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
import sys
import tracemalloc
import zipfile

import pytest
from ase.build import bulk
from ase.db import connect
from ase.io import read
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from screen_cli.cli import main
from screen_cli.config import settings_from_dict
from screen_cli.crystal.structure import Structure
from screen_cli.errors import FilterError
from screen_cli.report.tables.columns import full_names, short_name
from screen_cli.report.tables.exporters import (
    write_csv,
    write_database,
    write_frames,
    write_json,
    write_json_lines,
    write_parquet,
)
from screen_cli.store.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path):
    """Return a run of three crystals, one dropped by a filter and one unreadable."""
    run = RunDirectory.create(tmp_path / "run", settings_from_dict({"calculator": {"name": "emt"}}))
    index = run.index()
    for number, (name, a) in enumerate((("NaCl", 5.64), ("KBr", 6.6), ("MgO", 4.21))):
        structure = Structure.from_atoms(bulk(name, "rocksalt", a=a), provider="t", provider_id=name)
        run.store.write_structure(structure.id, structure.to_dict())
        index.add_structures([{"id": structure.id, "formula": name, "n_atoms": 2}])
        scalars = {"kappa_total_w_mk": 1.5 * number, "stable": number > 0, "rattler_element": name[:-2]}
        index.update(structure.id, "done", scalars=scalars, keys={})
    index.add_structures([{"id": "duplicate-1", "formula": "NaCl", "state": "filtered", "stage": "duplicate"}])
    index.add_structures([{"id": "rejected-1", "state": "failed", "stage": "read", "reason": 'torn, "quoted"'}])
    index.close()
    return run


def export(run, tmp_path, name, *options):
    path = tmp_path / name
    assert main(["export", str(run.root), str(path), *options]) == 0
    return path


def test_a_data_set_says_what_it_holds_and_how_to_cite_it(run, tmp_path, capsys):
    path = export(run, tmp_path, "data.zip", "--licence", "CC-BY-4.0", "--creator", "N. N.", "--filter", "stable")
    with zipfile.ZipFile(path) as archive:
        contents = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
        assert archive.testzip() is None
    assert {"README.md", "crystals.csv", "crystals.extxyz", "settings.json"} <= set(contents)
    readme = contents["README.md"].decode()
    rows = list(csv.DictReader(io.StringIO(contents["crystals.csv"].decode())))
    assert [row["formula"] for row in rows] == ["KBr", "MgO"]
    assert readme.count("2 crystals") == 1
    for column in rows[0]:
        assert f"| `{column}` |" in readme
    for name in set(contents) - {"README.md"}:
        assert f"`{hashlib.sha256(contents[name]).hexdigest()}`" in readme
    assert "The data: CC-BY-4.0." in readme
    assert "N. N." in readme
    assert "`emt`" in readme
    assert json.loads(contents["settings.json"])["settings"]["calculator"]["name"] == "emt"
    assert main(["export", str(run.root), str(tmp_path / "out.csv"), "--licence", "MIT"]) == 2
    assert "data set" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


def test_tables_hold_every_row_and_no_bookkeeping(run, tmp_path):
    with export(run, tmp_path, "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    assert "keys" not in rows[0]
    assert rows[4]["reason"] == 'torn, "quoted"'
    lines = [json.loads(line) for line in export(run, tmp_path, "out.jsonl").read_text().splitlines()]
    assert lines == json.loads(export(run, tmp_path, "out.json").read_text())
    assert [line["kappa_total_w_mk"] for line in lines] == [0.0, 1.5, 3.0, None, None]
    assert "keys" not in lines[0]


def test_parquet_has_types_and_nulls(run, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(export(run, tmp_path, "out.parquet"))
    assert str(table.schema.field("kappa_total_w_mk").type) == "double"
    assert str(table.schema.field("n_atoms").type) == "int64"
    assert table.column("formula").to_pylist() == ["NaCl", "KBr", "MgO", "NaCl", None]
    assert table.column("kappa_total_w_mk").to_pylist() == [0.0, 1.5, 3.0, None, None]


def test_crystals_are_written_with_their_columns(run, tmp_path):
    frames = read(export(run, tmp_path, "out.extxyz"), ":")
    assert [frame.info["formula"] for frame in frames] == ["NaCl", "KBr", "MgO"]
    assert [frame.info["kappa_total_w_mk"] for frame in frames] == [0.0, 1.5, 3.0]
    path = export(run, tmp_path, "out.db", "--filter", "kappa_total_w_mk > 1")
    found = {row.screen_formula: row.kappa_total_w_mk for row in connect(str(path)).select()}
    assert found == {"KBr": 1.5, "MgO": 3.0}


def test_a_bad_filter_leaves_no_file(run, tmp_path, capsys):
    assert main(["export", str(run.root), str(tmp_path / "out.csv"), "--filter", "kapa > 1"]) == 2
    assert not (tmp_path / "out.csv").exists()
    with pytest.raises(FilterError):
        len(run.stream("kapa > 1"))


def test_a_killed_export_leaves_the_old_file_and_blocks_nobody(run, tmp_path):
    """ASE waits for ever for the lock that a killed writer of a database leaves behind."""
    path = export(run, tmp_path, "out.db")
    old = path.read_bytes()
    script = (
        "import os, sys, ase.db.sqlite as sqlite\n"
        "sqlite.SQLite3Database._write = lambda *_, **__: os.kill(os.getpid(), 9)\n"
        "from screen_cli.cli import main\nmain(sys.argv[1:])\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, "export", str(run.root), str(path)], check=False, timeout=60)
    assert killed.returncode == -9
    assert path.read_bytes() == old
    assert list(tmp_path.glob(".tmp-*/*.lock"))
    export(run, tmp_path, "out.db")
    assert not list(tmp_path.glob(".tmp-*"))


def test_an_export_into_a_pipe(run):
    script = "import sys; from screen_cli.cli import main; main(sys.argv[1:])"
    words = [sys.executable, "-c", script, "export", str(run.root), "/dev/stdout", "--format", "csv"]
    said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "formula" in said.splitlines()[0]


@pytest.mark.parametrize("text", ["123456789012", "12e456789012", "NaN", "True", 'a "b" é'])
def test_text_that_reads_as_a_number_stays_text(tmp_path, text):
    def frames():
        atoms = bulk("Cu")
        atoms.info = {"id": text, "formula": text, "kappa": 1.5}
        yield atoms

    write_frames(frames(), tmp_path / "out.extxyz")
    assert read(tmp_path / "out.extxyz").info["formula"] == text
    write_database(frames(), tmp_path / "out.db")
    (row,) = connect(str(tmp_path / "out.db")).select()
    assert row.data["row"]["id"] == text
    assert row.kappa == 1.5


@pytest.mark.parametrize("write", [write_csv, write_json_lines])
def test_memory_does_not_grow_with_the_rows(run, tmp_path, write):
    index = run.index()
    index.add_structures({"id": f"n{number}", "formula": "Cu", "reason": "x" * 200} for number in range(8_000))
    index.close()
    write(run.stream("n_atoms == 2"), tmp_path / "warm-up", run=run)
    tracemalloc.start()
    write(run.stream(), tmp_path / "all", run=run)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "all").stat().st_size > 1_600_000
    assert peak < 1_000_000


names = st.from_regex(r"[a-z][a-z_]{0,12}", fullmatch=True).filter(lambda name: name != "keys")
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
values = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), texts)


@given(rows=st.lists(st.dictionaries(names, values, max_size=5), max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_come_back_from_json_and_csv(rows, tmp_path):
    """Whatever a plugin calls its columns and puts in them; infinity is no JSON of others, but it comes back here."""
    write_json(rows, tmp_path / "out.json")
    written = [{full_names([name], {})[name]: value for name, value in row.items()} for row in rows]
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == written
    write_json_lines(rows, tmp_path / "out.jsonl")
    with (tmp_path / "out.jsonl").open(encoding="utf-8", newline="\n") as file:
        assert [json.loads(line) for line in file] == written
    write_csv(rows, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        heading, *lines = list(csv.reader(file))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    assert [short_name(name) for name in heading] == [short_name(name) for name in columns]
    assert len(lines) == len(rows) or not columns
    for row, line in zip(rows, lines, strict=False):
        for name, text in zip(columns, line, strict=True):
            value = row.get(name)
            if isinstance(value, str):
                assert text.removeprefix("'") == value.removeprefix("'")
            elif isinstance(value, float):
                assert float(text) == value
            else:
                assert text == ("" if value is None else str(value))


@given(rows=st.lists(st.fixed_dictionaries({"n": st.integers(-9, 9), "x": st.floats(allow_nan=False), "t": texts})))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_rows_come_back_from_parquet_with_their_types(rows, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    write_parquet(rows, tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == rows
