"""Metadata of a crystal as plain JSON: numbers are numbers, what is not known is not there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from ase.data import chemical_symbols

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
"""What JSON can say."""

PARENT_COLUMNS = ("parent_id", "parent_formula")
"""Metadata of a crystal of the source ``children``: id and formula of the undistorted one."""
CHILDREN = "soft_mode"
"""Provider of the crystals of the source ``children``."""

SOURCE_COLUMNS = ("formation_energy_ev_atom", "energy_above_hull_ev_atom", "band_gap_ev")
"""Metadata with a fixed meaning, whoever the provider is: eV/atom, eV/atom, eV."""


def plain(value: object) -> Json:
    """Turn numpy values inside nested containers into plain ones; NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def typed_metadata(metadata: Mapping[str, object]) -> dict[str, Json]:
    """Metadata as plain values; those that are not known (None, NaN, infinity) are left out.

    A column of :data:`SOURCE_COLUMNS` is a float: a whole number counts, a number in quotes is read, and whatever is no
    number is left out.
    """
    known = {str(key): plain(value) for key, value in metadata.items()}
    for name in SOURCE_COLUMNS:
        if name in known:
            known[name] = number_of(known[name])
    return {key: value for key, value in known.items() if value is not None}


def number_of(value: object) -> float | None:
    """Give a finite float; None for everything else, truth values among them (numbers in quotes are read)."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (str, int, float, np.number)):
        return None
    try:
        number = float(value)  # a complex number is the TypeError below
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def source_columns(description: Mapping[str, object]) -> dict[str, float | str]:
    """Columns of the results table that a source knows, from the fields of ``Structure.to_dict``.

    Returns
    -------
    dict
        Those of ``prototype``, ``masses_u``, ``reading_notes`` and :data:`SOURCE_COLUMNS` that have a value; for a
        crystal of the source ``children`` :data:`PARENT_COLUMNS` and ``parent_space_group``.
    """
    metadata = description.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    is_child = description.get("provider") == CHILDREN
    columns: dict[str, float | str] = {}
    for name in SOURCE_COLUMNS:
        number = number_of(metadata.get(name))
        if number is not None:
            columns[name] = number
    group = metadata.get("parent_space_group")
    if is_child and isinstance(group, int):
        columns["parent_space_group"] = group
    words = {name: str(metadata.get(name) or "") for name in PARENT_COLUMNS if is_child} | {
        "prototype": str(description.get("prototype") or ""),
        "masses_u": _own_masses(description),
        "reading_notes": "; ".join(map(str, _listed(description, "notes"))),
    }
    return columns | {name: text for name, text in words.items() if text}


def _own_masses(description: Mapping[str, object]) -> str:
    """Give the masses of a crystal that has its own, by element: ``"H 2.014, Li 6.94"``."""
    pairs = zip(_listed(description, "numbers"), _listed(description, "masses"), strict=False)
    known = [
        (number, mass)
        for number, mass in pairs
        if isinstance(number, int) and 0 < number < len(chemical_symbols) and isinstance(mass, (int, float))
    ]
    return ", ".join(sorted({f"{chemical_symbols[number]} {mass:.5g}" for number, mass in known}))


def _listed(description: Mapping[str, object], name: str) -> list[object]:
    """Give a list of a description; empty where there is none."""
    found = description.get(name)
    return list(found) if isinstance(found, (list, tuple)) else []
