"""Results of one crystal as the store has them, typed for the figures and the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from screen_cli.errors import ConfigError, FilterError
from screen_cli.physics.harmonic.bands import BandStructure
from screen_cli.physics.harmonic.density_of_states import DensityOfStates
from screen_cli.store.record import Record
from screen_cli.store.run_directory import RunDirectory


def find_crystal(run: RunDirectory, crystal: str) -> dict[str, Any]:
    """Row of the one crystal with that formula, or whose id begins so.

    Raises
    ------
    FilterError
        None, or several.
    """
    rows = [row for row in run.rows() if row["id"].startswith(crystal) or row["formula"] == crystal]
    if len(rows) != 1:
        found = ", ".join(f"{row['id']} ({row['formula']})" for row in rows[:10]) or "none"
        raise FilterError(f"'{crystal}' must name one crystal of {run.root}, found: {found}.")
    return rows[0]


def record_of(run: RunDirectory, row: Mapping[str, Any], stage: str) -> Record | None:
    """Record of a stage of the crystal of a row; None where it has not got there."""
    key = json.loads(row.get("keys") or "{}").get(stage)
    return None if key is None else run.store.read(row["id"], stage, key)


def band_structure_of(harmonic: Record) -> BandStructure:
    """Bands of a harmonic record.

    Raises
    ------
    ConfigError
        It has none.
    """
    _require(harmonic, ("band_qpoints", "band_distances", "band_frequencies", "band_starts", "band_connected"))
    arrays = harmonic.arrays
    return BandStructure(
        qpoints=arrays["band_qpoints"],
        distances=arrays["band_distances"],
        frequencies=arrays["band_frequencies"],
        starts=arrays["band_starts"],
        connected=arrays["band_connected"].astype(bool),
        labels=tuple(harmonic.data["band_labels"]),
    )


def density_of_states_of(harmonic: Record) -> DensityOfStates:
    """Density of states of a harmonic record.

    Raises
    ------
    ConfigError
        It has none.
    """
    _require(harmonic, ("dos_frequencies", "dos_by_element", "dos_elements"))
    arrays = harmonic.arrays
    return DensityOfStates(arrays["dos_frequencies"], arrays["dos_by_element"], arrays["dos_elements"].astype(np.int64))


def _require(record: Record, names: tuple[str, ...]) -> None:
    """Refuse a record without the arrays a curve needs."""
    missing = [name for name in names if name not in record.arrays]
    if missing:
        raise ConfigError(
            f"the figure needs the arrays {missing}, the record has {sorted(record.arrays)}. Pass the record of the "
            "right stage."
        )
