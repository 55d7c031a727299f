"""``screen-cli show``: results as a table."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import click

from screen_cli.cli import run_command


@click.command(name="show")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--filter", "-f", "where", default="", help='Expression, e.g. "stable and kappa_total_w_mk < 1".')
@click.option("--columns", "-c", default="", help="Comma-separated columns; 'all' for every one, '?' to list them.")
@click.option("--sort", "-S", default="", help="Column to sort by.")
@click.option("--descending", "-D", is_flag=True, help="Largest first.")
@click.option("--limit", "-n", type=int, help="At most this many rows.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
def command(run_dir: Path, where: str, columns: str, sort: str, descending: bool, limit: int | None, form: str) -> None:
    """Show the results of RUN_DIR.

    Example: screen-cli show demo-run -f "max_msd > 0.02" -S kappa_total_w_mk -n 20
    """
    from screen_cli.errors import FilterError, unknown_name
    from screen_cli.report.table import MAIN_COLUMNS, columns_named, print_table
    from screen_cli.store.run_directory import RunDirectory

    index = RunDirectory.open(run_dir).index(read_only=True)
    try:
        known = index.columns
        if columns == "?":
            click.echo("\n".join(known))
            return
        rows = list(index.rows(where, sort, descending, limit))
    finally:
        index.close()
    names = [name.strip() for name in columns.split(",") if name.strip()]
    for name in names:
        if name not in known and name != "all":
            raise FilterError(str(unknown_name("column", name, known)))
    if names == ["all"] or (not names and form != "table"):
        names = [name for name in known if name != "keys"]
    if form == "table":
        print_table(rows, columns_named(names) if names else MAIN_COLUMNS)
        return
    picked = [{name: row.get(name) for name in names} for row in rows]
    if form == "json":
        click.echo(json.dumps(picked, indent=1))
        return
    writer = csv.DictWriter(sys.stdout, fieldnames=names)
    writer.writeheader()
    writer.writerows(picked)


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
