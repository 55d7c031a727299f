"""Results of one crystal as the store has them, typed for the figures and the page."""

from __future__ import annotations

from typing import cast

import numpy as np

from screen_cli.errors import ConfigError, FilterError
from screen_cli.physics.harmonic.bands import BandStructure
from screen_cli.physics.harmonic.density_of_states import DensityOfStates
from screen_cli.store.record import Record
from screen_cli.store.row import Row, text
from screen_cli.store.run_directory import RunDirectory


def find_crystal(run: RunDirectory, crystal: str) -> Row:
    """Row of the one crystal with that formula, or whose id begins so.

    Raises
    ------
    FilterError
        None, or several.
    """
    rows = [row for row in run.rows() if text(row, "id").startswith(crystal) or row["formula"] == crystal]
    if len(rows) != 1:
        found = ", ".join(f"{row['id']} ({row['formula']})" for row in rows[:10]) or "none"
        raise FilterError(f"'{crystal}' must name one crystal of {run.root}, found: {found}.")
    return rows[0]


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
        qpoints=harmonic.floats("band_qpoints"),
        distances=harmonic.floats("band_distances"),
        frequencies=harmonic.floats("band_frequencies"),
        starts=arrays["band_starts"].astype(np.int64),
        connected=arrays["band_connected"].astype(bool),
        labels=tuple(cast("list[str]", harmonic.data["band_labels"])),
    )


def density_of_states_of(harmonic: Record) -> DensityOfStates:
    """Density of states of a harmonic record.

    Raises
    ------
    ConfigError
        It has none.
    """
    _require(harmonic, ("dos_frequencies", "dos_by_element", "dos_elements"))
    elements = harmonic.arrays["dos_elements"].astype(np.int64)
    return DensityOfStates(harmonic.floats("dos_frequencies"), harmonic.floats("dos_by_element"), elements)


def _require(record: Record, names: tuple[str, ...]) -> None:
    """Refuse a record without the arrays a curve needs."""
    missing = [name for name in names if name not in record.arrays]
    if missing:
        raise ConfigError(
            f"the figure needs the arrays {missing}, the record has {sorted(record.arrays)}. Pass the record of the "
            "right stage."
        )
