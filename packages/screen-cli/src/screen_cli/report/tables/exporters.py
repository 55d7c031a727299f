"""Tables out: CSV, JSON, JSON lines, Parquet, extended XYZ, ASE database. Rows pass through one at a time."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from screen_cli.errors import MissingExtraError
from screen_cli.report.tables.columns import full_names, keyed, temperatures_of
from screen_cli.store.atomic_write import whole_file
from screen_cli.store.row import Row, text

if TYPE_CHECKING:
    from ase import Atoms

    from screen_cli.store.record import Scalar
    from screen_cli.store.run_directory import RunDirectory

_BOOKKEEPING = ("keys",)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_PARQUET_ROWS = 5000


def write_csv(rows: Iterable[Row], path: Path, *, run: RunDirectory | None = None) -> None:
    """Write one line per crystal; columns are the union over all rows, with temperature and unit in their names."""
    names = columns_of(rows)
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        write_csv_lines(rows, file, full_names(names, {} if run is None else temperatures_of(run)))


def write_table(rows: Iterable[Row], path: Path, headings: Mapping[str, str]) -> None:
    """Write rows as a CSV file that is whole or absent (see :func:`write_csv_lines`)."""
    with whole_file(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        write_csv_lines(rows, file, headings)


def write_csv_lines(rows: Iterable[Row], file: TextIO, headings: Mapping[str, str]) -> None:
    """Write rows to an open file, under a heading for each column; no cell can become a formula.

    Parameters
    ----------
    rows : iterable of mapping
    file : text file
    headings : mapping of str to str
        Heading of each column, in order.
    """
    writer = csv.writer(file)
    writer.writerow([_harmless(heading) for heading in headings.values()])
    for row in rows:
        writer.writerow([_harmless(row.get(name)) for name in headings])


def _harmless(value: Scalar | None) -> Scalar | None:
    """Put an apostrophe before text that a spreadsheet would compute; numbers stay as they are."""
    if isinstance(value, str) and value.startswith(_FORMULA) and not _reads_as_number(value):
        return f"'{value}"
    return value


def write_json(rows: Iterable[Row], path: Path, *, run: RunDirectory | None = None) -> None:
    """Write a JSON list of objects, with units in their keys and the temperatures beside them."""
    temperatures = {} if run is None else temperatures_of(run)
    with Path(path).open("w", encoding="utf-8") as file:
        file.write("[")
        for number, row in enumerate(rows):
            file.write(("," if number else "") + "\n" + json.dumps(_with_keys(row, temperatures)))
        file.write("\n]\n")


def write_json_lines(rows: Iterable[Row], path: Path, *, run: RunDirectory | None = None) -> None:
    """Write one JSON object per line, keys as in :func:`write_json`."""
    temperatures = {} if run is None else temperatures_of(run)
    with Path(path).open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(_with_keys(row, temperatures)) + "\n")


def write_parquet(rows: Iterable[Row], path: Path, *, run: RunDirectory | None = None) -> None:
    """Write an Apache Parquet file: integers, floats and text, null where there is no value; headings as in CSV.

    Raises
    ------
    MissingExtraError
        Without pyarrow.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("Parquet needs pyarrow. Install it: pip install 'screen-cli[parquet]'.") from error
    kinds = _kinds(rows)
    headings = full_names(kinds, {} if run is None else temperatures_of(run))
    arrow = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    schema = pa.schema([(headings[name], arrow[kind]) for name, kind in kinds.items()])
    waiting = iter(rows)
    with pq.ParquetWriter(str(path), schema) as writer:
        while batch := list(itertools.islice(waiting, _PARQUET_ROWS)):
            plain = [{headings[name]: _as_kind(row.get(name), kind) for name, kind in kinds.items()} for row in batch]
            writer.write_table(pa.Table.from_pylist(plain, schema=schema))


def write_extxyz(rows: Iterable[Row], path: Path, *, run: RunDirectory | None = None) -> None:
    """Write the crystals (relaxed where that stage finished) with their columns in ``info``."""
    write_frames(_crystals(rows, run), path)


def write_ase_db(rows: Iterable[Row], path: Path, *, run: RunDirectory | None = None) -> None:
    """Write an ASE database; columns become key-value pairs (see :func:`write_database`)."""
    write_database(_crystals(rows, run), path)


def write_frames(frames: Iterable[Atoms], path: Path) -> None:
    """Write ASE atoms, one after the other, as extended XYZ.

    Text that ASE would read back as a number is written as JSON, which it reads back as text.
    """
    from ase.io import write

    with Path(path).open("w", encoding="utf-8") as file:
        for atoms in frames:
            for name, value in atoms.info.items():
                if _reads_as_number(value):
                    atoms.info[name] = f"_JSON {json.dumps(value)}"
            write(file, atoms, format="extxyz")


def write_database(frames: Iterable[Atoms], path: Path) -> None:
    """Write ASE atoms into an ASE database, what is in ``info`` as key-value pairs.

    ASE refuses text that reads as a number (an id such as ``12e4567890ab``, the formula ``NaN``) and some names; such
    names get the prefix ``screen_``, and ``data["row"]`` holds everything as it is.
    """
    from ase.db import connect
    from ase.db.core import reserved_keys

    Path(path).unlink(missing_ok=True)
    with connect(str(path), type="db") as database:
        for atoms in frames:
            row, atoms.info = dict(atoms.info), {}
            pairs = {(f"screen_{name}" if name in reserved_keys else name): value for name, value in row.items()}
            pairs = {name: value for name, value in pairs.items() if not _reads_as_number(value)}
            database.write(atoms, key_value_pairs=pairs, data={"row": row})


def _reads_as_number(value: object) -> bool:
    """Whether ASE would take a text for a number or a truth value."""
    if not isinstance(value, str):
        return False
    try:
        float(value)
    except ValueError:
        return value in ("T", "F", "True", "False", "true", "false")
    return True


def columns_of(rows: Iterable[Row]) -> list[str]:
    """Union of the columns of all rows, in order of first appearance."""
    names = getattr(rows, "columns", None) or list(dict.fromkeys(name for row in rows for name in row))
    return [name for name in names if name not in _BOOKKEEPING]


def _with_keys(row: Row, temperatures: Mapping[str, float]) -> Row:
    """Name the values as JSON does; what only the store needs is left out."""
    return keyed({name: value for name, value in row.items() if name not in _BOOKKEEPING}, temperatures)


def _kinds(rows: Iterable[Row]) -> dict[str, type]:
    """Type of each column: whole numbers, numbers, or text when anything in it is text."""
    kinds: dict[str, type] = dict.fromkeys(columns_of(rows), int)
    order = (int, float, str)
    for row in rows:
        for name, value in row.items():
            if value is not None and name in kinds:
                kind = int if isinstance(value, (bool, int)) else float if isinstance(value, float) else str
                kinds[name] = max(kinds[name], kind, key=order.index)
    return kinds


def _as_kind(value: Scalar | None, kind: type) -> Scalar | None:
    """Fit a value into its column."""
    if value is None or isinstance(value, kind):
        return int(value) if isinstance(value, bool) else value
    fitted: Scalar = kind(value)
    return fitted


def _crystals(rows: Iterable[Row], run: RunDirectory | None) -> Iterator[Atoms]:
    """Crystals of the rows; those that could not be read or were filtered have none."""
    temperatures = {} if run is None else temperatures_of(run)
    for row in rows:
        if run is not None and (run.store.folder(text(row, "id")) / "structure.json").is_file():
            yield _atoms_with_info(row, run, temperatures)


def _atoms_with_info(row: Row, run: RunDirectory, temperatures: Mapping[str, float]) -> Atoms:
    """Crystal of a row, relaxed when possible, with the row's scalars in ``info``."""
    from screen_cli.crystal.structure import Structure

    atoms: Atoms = Structure.from_dict(run.store.read_structure(text(row, "id"))).atoms.copy()
    record = run.record(row, "relax")
    if record is not None:
        from screen_cli.stages.relax import Relaxed

        atoms = Relaxed.from_storage(record).atoms
    atoms.calc = None
    atoms.info = {key: value for key, value in _with_keys(row, temperatures).items() if value is not None}
    return atoms
