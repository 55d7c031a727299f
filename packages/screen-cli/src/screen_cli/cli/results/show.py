"""``screen-cli show``: results as a table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from screen_cli.cli import run_command
from screen_cli.cli.options import GivenPath

if TYPE_CHECKING:
    from screen_cli.store.row import Row


@click.command(name="show")
@click.argument("run_dir", type=GivenPath(path_type=Path))
@click.option("--filter", "-f", "where", default="", help='Expression, e.g. "stable and kappa_total_w_mk < 1".')
@click.option("--columns", "-c", default="", help="Comma-separated columns; 'all' for every one, '?' to list them.")
@click.option("--sort", "-S", default="", help="Column to sort by.")
@click.option("--descending", "-D", is_flag=True, help="Largest first.")
@click.option("--limit", "-n", type=int, help="At most this many rows.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="Table to read, or full precision for programs.",
)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
def command(
    *, run_dir: Path, where: str, columns: str, sort: str, descending: bool, limit: int | None, form: str
) -> None:
    """Show the results of RUN_DIR.

    Example: screen-cli show demo-run -f "max_msd > 0.02" -S kappa_total_w_mk -n 20
    """
    from screen_cli.errors import FilterError, unknown_name
    from screen_cli.report.tables.columns import (
        full_names,
        in_short_names,
        keyed,
        quantity_of,
        short_name,
        temperatures_of,
    )
    from screen_cli.report.tables.terminal import MAIN_COLUMNS, columns_named, print_table
    from screen_cli.store.run_directory import RunDirectory

    run = RunDirectory.open(run_dir)
    temperatures = temperatures_of(run)
    index = run.index(read_only=True)
    try:
        known = [name for name in index.columns if name != "keys"]
        if columns == "?":
            for name in known:
                quantity = quantity_of(name)
                full = quantity.full_name(temperatures)
                shown = name if name == full else f"{name} ({full})"
                click.echo(f"{shown}: {quantity.meaning}" if quantity.meaning else shown)
            return
        rows = list(index.rows(in_short_names(where), short_name(sort), descending, limit))
    finally:
        index.close()
    names = [short_name(name.strip()) for name in columns.split(",") if name.strip()]
    for name in names:
        if name not in known and name != "all":
            raise FilterError(str(unknown_name("column", name, known)))
    if names == ["all"] or (not names and form != "table"):
        names = known
    if not rows:
        click.echo(f"no crystal of {run.root} is {where}" if where else f"{run.root} holds no crystal yet", err=True)
    if form == "table" and rows:
        print_table(rows, columns_named(names, temperatures) if names else MAIN_COLUMNS, temperatures=temperatures)
    elif form == "json":
        found = [keyed({name: row.get(name) for name in names}, temperatures) for row in rows]
        click.echo(json.dumps(found, indent=1))
    elif form == "csv":
        _print_csv(rows, full_names(names, temperatures))


def _print_csv(rows: list[Row], headings: dict[str, str]) -> None:
    """Write CSV to stdout, which may be a terminal."""
    from screen_cli.errors import printable
    from screen_cli.report.tables.exporters import write_csv_lines

    safe = (
        {name: printable(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows
    )
    write_csv_lines(safe, sys.stdout, headings)


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
