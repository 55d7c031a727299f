"""A reference to compare with: columns of a CSV or JSON file, matched to the crystals of the run."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.formula import Formula
from numpy.typing import NDArray

from screen_cli.errors import FilterError
from screen_cli.report.tables.columns import short_name
from screen_cli.store.reading import parse_json, require_file
from screen_cli.store.row import Row

Entry = Mapping[str, object]
"""One crystal of the file, by column."""

_KEYS = ("id", "provider_id", "formula")
_ALIASES = {"kappa": "kappa_total_w_mk", "kappa_w_mk": "kappa_total_w_mk", "kappa_total": "kappa_total_w_mk"}

_MOST_BYTES = 256 << 20


@dataclass(frozen=True)
class Reference:
    """Reference values beside the rows of a run.

    Parameters
    ----------
    path : Path
    columns : dict of str to ndarray
        Column to float64 (n_rows,), NaN where the reference has no such crystal.
    matched_by : str
        Key that named the crystals.
    n_unmatched : int
        Lines of the file without a crystal in the run.
    """

    path: Path
    columns: dict[str, NDArray[np.float64]]
    matched_by: str
    n_unmatched: int


def read_reference(path: Path, rows: Sequence[Row]) -> Reference:
    """Read a CSV file with a header, or JSON (a list of objects, or an object of objects by name).

    Each entry names its crystal by ``id``, ``provider_id`` or ``formula`` (with ``space_group`` where a formula is
    not unique), and gives numbers under the names and units of the run's columns; ``kappa`` alone means
    ``kappa_total_w_mk``. A ``results.csv`` of another run is such a file.

    Raises
    ------
    FilterError
        The file cannot be read, names no crystals, shares no column with the run, or an entry is ambiguous.
    """
    entries = [{short_name(name): value for name, value in entry.items()} for entry in _read_entries(path)]
    known = {name for row in rows for name in row}
    fields = [name for name in dict.fromkeys(key for entry in entries for key in entry) if name not in _KEYS]
    values = [name for name in fields if _ALIASES.get(name, name) in known and name != "space_group"]
    numeric = [name for name in values if any(_number(entry.get(name)) is not None for entry in entries)]
    if not numeric:
        raise FilterError(
            f"{path} shares no numeric column with the run: it has {', '.join(fields) or 'none'}. Name columns as "
            "'screen-cli show RUN -c ?' lists them, e.g. kappa_total_w_mk."
        )
    matchers = {key: _Matcher(rows, key) for key in _KEYS}
    key = next((key for key, match in matchers.items() if any(match(entry) for entry in entries)), None)
    if key is None:
        raise FilterError(
            f"{path} names none of the run's crystals. Give each entry an id, provider_id or formula of the run."
        )
    columns = {_ALIASES.get(name, name): np.full(len(rows), np.nan) for name in numeric}
    n_unmatched = 0
    seen: Counter[int] = Counter()
    for entry in entries:
        found = matchers[key](entry)
        n_unmatched += not found
        for index in found:
            seen[index] += 1
            if seen[index] > 1:
                raise FilterError(
                    f"{path} has two entries for {rows[index]['formula']} ({key} {entry.get(key)}). Keep one, or "
                    "tell them apart by space_group or id."
                )
            for name in numeric:
                number = _number(entry.get(name))
                if number is not None:
                    columns[_ALIASES.get(name, name)][index] = number
    return Reference(path, columns, key, n_unmatched)


def _read_entries(path: Path) -> Sequence[Entry]:
    """List the entries of the file."""
    try:
        require_file(path)
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            raise FilterError(f"the reference {path} holds more than {_MOST_BYTES >> 20} MB. Is it the right file?")
        text = raw.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FilterError(f"cannot read the reference {path}: {error}. Give a CSV or JSON file.") from error
    if path.suffix.lower() == ".json":
        try:
            content = parse_json(text)
        except ValueError as error:
            raise FilterError(f"{path} is no valid JSON: {error}.") from error
        if isinstance(content, dict):
            content = [{"formula": name, **_entry(value)} for name, value in content.items()]
        if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
            raise FilterError(f"{path} holds {type(content).__name__}, expected a list of objects.")
        return content
    return list(csv.DictReader(text.splitlines()))


def _entry(value: object) -> Entry:
    """Fields of one named entry; a lone number is κ."""
    return value if isinstance(value, dict) else {"kappa": value}


class _Matcher:
    """Finds the rows that an entry names by one key."""

    def __init__(self, rows: Sequence[Row], key: str) -> None:
        self._rows = rows
        self._key = key
        self._table: dict[str, list[int]] = {}
        for index, row in enumerate(rows):
            self._table.setdefault(self._normal(row.get(key)), []).append(index)

    def __call__(self, entry: Entry) -> list[int]:
        """Row numbers; empty when the entry does not name a crystal of the run."""
        wanted = self._normal(entry.get(self._key))
        group = _number(entry.get("space_group"))
        found = self._table.get(wanted, []) if wanted else []
        return [index for index in found if group is None or self._rows[index].get("space_group") == group]

    def _normal(self, name: object) -> str:
        """Write formulas in one order (ClNa is NaCl); other keys as they are."""
        if name is None or self._key != "formula":
            return "" if name is None else str(name)
        try:
            return str(Formula(str(name)).reduce()[0].format("metal"))
        except (ValueError, KeyError):
            return str(name)


def _number(value: object) -> float | None:
    """Read a finite number, else None."""
    try:
        number = float(value)  # type: ignore[arg-type]  # whatever is no number is the TypeError below
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
