"""Results as a table on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Column:
    """How a column of the results is shown.

    Parameters
    ----------
    name : str
        Column of the index.
    title : str
        Heading, with unit.
    format : str
        Format specification of the number.
    """

    name: str
    title: str
    format: str = ".4g"


MAIN_COLUMNS = (
    Column("formula", "crystal", ""),
    Column("space_group", "SG", "d"),
    Column("state", "state", ""),
    Column("min_frequency_thz", "ν min\nTHz", ".2f"),
    Column("cv_j_mol_k", "c_v\nJ/mol/K", ".1f"),
    Column("vs_m_s", "V_s\nm/s", ".0f"),
    Column("p3", "P3\nps/rad", ".2e"),
    Column("max_msd", "max MSD\nÅ²", ".4f"),
    Column("kappa_p_w_mk", "κ_P\nW/mK", ".4g"),
    Column("kappa_c_w_mk", "κ_C\nW/mK", ".3g"),
    Column("kappa_total_w_mk", "κ_total\nW/mK", ".4g"),
    Column("kappa_total_sigma_w_mk", "± σ\nW/mK", ".2g"),
    Column("force_deviation_max", "ε max\neV/Å", ".3f"),
    Column("trusted", "fit", ""),
    Column("reason", "why", ""),
)


def columns_named(names: Sequence[str]) -> tuple[Column, ...]:
    """Return columns by name, with the usual heading where there is one."""
    known = {column.name: column for column in MAIN_COLUMNS}
    return tuple(known.get(name, Column(name, name)) for name in names)


def cell(row: dict[str, Any], column: Column) -> str:
    """Text of one cell; empty when there is no value."""
    value = row.get(column.name)
    if value is None:
        return ""
    if column.name == "trusted":
        return "good" if value else "rough: κ not trustworthy"
    if isinstance(value, float) and column.format:
        return format(value, column.format)
    return str(value)


def print_table(rows: Sequence[dict[str, Any]], columns: Sequence[Column] = MAIN_COLUMNS) -> None:
    """Print rows to stdout; a column without any value is left out."""
    from rich.console import Console
    from rich.table import Table

    shown = [column for column in columns if any(cell(row, column) for row in rows)]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in shown:
        text = column.format == ""
        table.add_column(
            column.title,
            justify="left" if text else "right",
            overflow="fold",
            no_wrap=column.name != "reason",
        )
    for row in rows:
        table.add_row(*(cell(row, column) for column in shown))
    # without a terminal, rich would fold at 80 columns and tear numbers apart
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200, markup=False).print(table)
