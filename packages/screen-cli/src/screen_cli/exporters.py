"""Tables out: CSV, JSON, JSON lines, extended XYZ, ASE database."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def write_csv(rows: Sequence[Row], path: Path, *, run: Any = None) -> None:
    """Write one line per crystal; columns are the union over all rows."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns_of(rows))
        writer.writeheader()
        writer.writerows(rows)


def write_json(rows: Sequence[Row], path: Path, *, run: Any = None) -> None:
    """Write a JSON list of objects."""
    Path(path).write_text(json.dumps(list(rows), indent=1) + "\n", encoding="utf-8")


def write_json_lines(rows: Sequence[Row], path: Path, *, run: Any = None) -> None:
    """Write one JSON object per line."""
    with Path(path).open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


def write_extxyz(rows: Sequence[Row], path: Path, *, run: Any = None) -> None:
    """Write the crystals (relaxed where that stage finished) with their columns in ``info``."""
    from ase.io import write

    write(path, [_atoms_with_info(row, run) for row in rows], format="extxyz")


def write_ase_db(rows: Sequence[Row], path: Path, *, run: Any = None) -> None:
    """Write an ASE database; columns become key-value pairs."""
    from ase.db import connect

    Path(path).unlink(missing_ok=True)
    reserved = {"id", "energy", "formula", "volume", "mass", "natoms", "charge", "magmom", "age", "user"}
    with connect(str(path), type="db") as database:
        for row in rows:
            atoms = _atoms_with_info(row, run)
            pairs = {(f"screen_{k}" if k in reserved else k): v for k, v in atoms.info.items()}
            atoms.info = {}
            database.write(atoms, key_value_pairs=pairs)


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Union of the columns of all rows, in order of first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _atoms_with_info(row: Row, run: Any) -> Any:
    """Crystal of a row, relaxed when possible, with the row's scalars in ``info``."""
    from screen_cli.structure import Structure

    atoms = Structure.from_dict(run.store.read_structure(row["id"])).atoms.copy()
    keys = json.loads(row.get("keys") or "{}")
    if "relax" in keys:
        from screen_cli.stages.relax import relaxed_atoms

        record = run.store.read(row["id"], "relax", keys["relax"])
        atoms = atoms if record is None else relaxed_atoms(record)
    atoms.calc = None
    atoms.info = {name: value for name, value in row.items() if value is not None and name != "keys"}
    return atoms
