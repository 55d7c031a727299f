"""Rows of the index, typed: one crystal, its columns by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, cast

from screen_cli.store.reading import parse_json
from screen_cli.store.record import Scalar

Row: TypeAlias = Mapping[str, Scalar | None]
"""Columns by name; None, or no such name, where a crystal has no value."""


def text(row: Row, name: str) -> str:
    """Text of a column; empty where there is none."""
    value = row.get(name)
    return "" if value is None else str(value)


def number(row: Row, name: str) -> float | None:
    """Give the number in a column; None where there is none, or text.

    Parameters
    ----------
    row : mapping of str to value
    name : str
        Of the column, whose unit it has.
    """
    value = row.get(name)
    return None if value is None or isinstance(value, str) else value


def whole_number(row: Row, name: str) -> int | None:
    """Whole number in a column; None where there is none, or something else."""
    value = row.get(name)
    return value if isinstance(value, int) else None


def flag(row: Row, name: str) -> bool | None:
    """Whether a column says yes; None where it says nothing."""
    value = row.get(name)
    return None if value is None else bool(value)


def stage_keys(row: Row) -> dict[str, str]:
    """Content key of each stage that has a record of this crystal."""
    return cast("dict[str, str]", parse_json(text(row, "keys") or "{}"))
