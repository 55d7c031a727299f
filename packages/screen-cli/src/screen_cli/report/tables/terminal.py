"""Results as a table on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from screen_cli.errors import printable
from screen_cli.report.tables.columns import Stage, full_names


@dataclass(frozen=True)
class Column:
    """How a column of the results is shown.

    Parameters
    ----------
    name : str
        Column of the index.
    title : str
        Heading: symbol, and unit on the next line.
    format : str
        Format specification of the number.
    stage : {"harmonic", "conductivity", ""}
        Whose temperature stands in the heading.
    """

    name: str
    title: str
    format: str = ".4g"
    stage: Stage = ""

    def heading(self, temperatures: Mapping[str, float]) -> str:
        """Title, with the temperature (K) before the unit where it is known."""
        symbol, *unit = self.title.split("\n", 1)
        kelvin = temperatures.get(self.stage)
        return "\n".join([symbol, *([] if kelvin is None else [f"{kelvin:g} K"]), *unit])


MAIN_COLUMNS = (
    Column("formula", "crystal", ""),
    Column("space_group", "SG", "d"),
    Column("state", "state", ""),
    Column("min_frequency_thz", "ν min\nTHz", ".2f"),
    Column("cv_j_mol_k", "c_v\nJ/mol/K", ".1f", "harmonic"),
    Column("vs_m_s", "V_s\nm/s", ".0f"),
    Column("p3", "P3\nps/rad", ".2e"),
    Column("max_msd", "max MSD\nÅ²", ".4f", "harmonic"),
    Column("kappa_p_w_mk", "κ_P\nW/mK", "#.3g", "conductivity"),
    Column("kappa_c_w_mk", "κ_C\nW/mK", "#.2g", "conductivity"),
    Column("kappa_total_w_mk", "κ_total\nW/mK", "#.3g", "conductivity"),
    Column("kappa_total_sigma_w_mk", "± σ\nW/mK", "#.2g", "conductivity"),
    Column("force_deviation_max", "ε max\neV/Å", ".3f"),
    Column("trusted", "fit", ""),
    Column("reason", "why", ""),
)


def columns_named(names: Sequence[str], temperatures: Mapping[str, float]) -> tuple[Column, ...]:
    """Return columns by name: with the usual heading where there is one, else under the full name."""
    known = {column.name: column for column in MAIN_COLUMNS}
    headings = full_names(names, temperatures)
    return tuple(known.get(name, Column(name, headings[name])) for name in names)


def cell(row: Mapping[str, object], column: Column) -> str:
    """Text of one cell; empty when there is no value."""
    value = row.get(column.name)
    if value is None:
        return ""
    if column.name == "trusted":
        return "good" if value else "rough: κ not trustworthy"
    if isinstance(value, float) and column.format:
        return _number(value, column.format)
    return printable(str(value))


def _number(value: float, form: str) -> str:
    """Format a number; ``#.3g`` keeps zeros that are known, and 1234 does not become 1.23e+03."""
    if form.startswith("#") and abs(value) >= 10 ** int(form[2:-1]):
        form = ".0f"
    text = format(value, form).rstrip(".")  # −0.00 is 0.00: rounding noise has no sign
    return text.removeprefix("-") if text.startswith("-") and not text.strip("-0.e+") else text


def print_table(
    rows: Sequence[Mapping[str, object]],
    columns: Sequence[Column] = MAIN_COLUMNS,
    *,
    temperatures: Mapping[str, float] | None = None,
) -> None:
    """Print rows to stdout; a column without any value is left out.

    Parameters
    ----------
    rows : sequence of mapping
    columns : sequence of Column
    temperatures : mapping of str to float, optional
        Temperatures of the headings by stage, K (:func:`screen_cli.report.tables.columns.temperatures_of`).
    """
    from rich.console import Console
    from rich.table import Table

    shown = [column for column in columns if any(cell(row, column) for row in rows)]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in shown:
        table.add_column(
            _printable_lines(column.heading(temperatures or {})),
            justify="left" if column.format == "" else "right",
            overflow="fold",
            no_wrap=column.name != "reason",
        )
    for row in rows:
        table.add_row(*(cell(row, column) for column in shown))
    # without a terminal, rich would fold at 80 columns and tear numbers apart
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200, markup=False).print(table)


def _printable_lines(heading: str) -> str:
    """Heading of several lines without other control characters."""
    return "\n".join(printable(line) for line in heading.split("\n"))
