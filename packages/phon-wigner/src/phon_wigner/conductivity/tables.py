"""The one way in which tables are written: CSV, a unit in every column name, eight significant digits."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence

from phon_wigner.file_access.atomic_write import whole_file


def write_table(
    path: str | os.PathLike[str], header: Sequence[str], rows: Iterable[Iterable[float | int | str]]
) -> None:
    """Write one CSV table, whole or not at all.

    Parameters
    ----------
    path : path
    header : sequence of str
        Column names, unit and temperature included (``kappa_p_300k_w_mk``).
    rows : iterable of rows
    """
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(header)
        writer.writerows([x if isinstance(x, str) else f"{x:.8g}" for x in row] for row in rows)


def at(name: str, temperature: float, unit: str) -> str:
    """Return a column name with temperature and unit: ``at("kappa_p", 300, "w_mk")`` is ``kappa_p_300k_w_mk``."""
    return f"{name}_{temperature:g}k_{unit}" if unit else f"{name}_{temperature:g}k"
