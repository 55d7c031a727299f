"""``screen-cli hull``: how far the crystals of a run lie above the convex hull."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from screen_cli.cli import run_command
from screen_cli.cli.options import GivenPath, OutputPath

if TYPE_CHECKING:
    from collections.abc import Sequence

    from screen_cli.analysis.hull import HullRow
    from screen_cli.store.row import Row

HEADINGS = (
    *("id", "formula", "prototype", "space_group", "formation_energy_model_ev_atom", "e_above_hull_ev_atom"),
    *("decomposes_to", "n_competing"),
)
"""Of the CSV file and the rows of JSON; the further columns follow."""


@click.command(name="hull")
@click.argument("run_dir", type=GivenPath(path_type=Path))
@click.option(
    "--with",
    "files",
    type=GivenPath(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Further phases: a CSV with formula and formation_energy_model_ev_atom, or another run directory. Repeatable.",
)
@click.option("--filter", "-f", "where", default="", help="Show only these crystals; the hull is that of all.")
@click.option("--columns", "-c", default="", help="Further columns of the run, comma-separated, e.g. kappa_total_w_mk.")
@click.option("--csv", "csv_path", type=OutputPath(), help="Write the table, all rows.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, all rows, on stdout.")
@click.option("--limit", "-n", default=40, show_default=True, help="Rows of the table to show.")
def command(
    *,
    run_dir: Path,
    files: tuple[Path, ...],
    where: str,
    columns: str,
    csv_path: Path | None,
    as_json: bool,
    limit: int,
) -> None:
    """Place the crystals of RUN_DIR against the hull of themselves, their elements and further phases.

    Needs the property formation_energy. Unstable crystals and those a gate held back count too: they have energies.
    A phase that is in none of these is missing, and the hull would lie lower with it: distances are lower bounds.

    Example: screen-cli hull screen --with oqmd.csv -f "stable" -c kappa_total_w_mk --csv hull.csv
    """
    from screen_cli.analysis.hull import hull_rows, phases_of_rows, read_phases
    from screen_cli.errors import FilterError, unknown_name
    from screen_cli.report.tables.columns import in_short_names, short_name
    from screen_cli.report.tables.exporters import write_table
    from screen_cli.store.run_directory import RunDirectory

    run = RunDirectory.open(run_dir)
    crystals, without = phases_of_rows(run.stream())
    others = [
        phase
        for path in files
        for phase in (phases_of_rows(RunDirectory.open(path).stream())[0] if path.is_dir() else read_phases(path))
    ]
    names = [short_name(name.strip()) for name in columns.split(",") if name.strip()]
    for name in names:
        if name not in run.stream().columns:
            raise FilterError(str(unknown_name("column", name, run.stream().columns)))
    wanted = {str(row["id"]): row for row in run.stream(in_short_names(where))}
    placed = [row for row in hull_rows(crystals, others) if row.phase.name in wanted]
    placed.sort(key=lambda row: row.e_above_hull_ev_atom)
    rows = [_row(row, wanted[row.phase.name], names) for row in placed]
    counts = {"n_crystals": len(crystals), "n_without_energy": without, "n_further_phases": len(others)}
    if csv_path is not None:
        write_table(rows, csv_path, {name: name for name in (*HEADINGS, *names)})
        click.echo(f"wrote {len(rows)} rows to {csv_path}", err=True)
    if as_json:
        click.echo(json.dumps({**counts, "is_lower_bound": True, "rows": rows}, indent=1))
        return
    _print(rows[:limit], names)
    if len(rows) > limit:
        click.echo(f"... and {len(rows) - limit} more (--limit)")
    _summarise(placed, counts)


def _row(row: HullRow, of_run: Row, names: Sequence[str]) -> Row:
    """Write one crystal as a flat row."""
    return {
        "id": row.phase.name,
        "formula": row.phase.formula,
        "prototype": of_run.get("prototype"),
        "space_group": of_run.get("space_group"),
        "formation_energy_model_ev_atom": row.phase.energy,
        "e_above_hull_ev_atom": row.e_above_hull_ev_atom,
        "decomposes_to": row.decomposes_to,
        "n_competing": row.n_competing,
        **{name: of_run.get(name) for name in names},
    }


def _print(rows: Sequence[Row], names: Sequence[str]) -> None:
    """Print the table."""
    from screen_cli.report.tables.terminal import Column, columns_named, print_table

    print_table(
        rows,
        (
            Column("formula", "crystal", ""),
            Column("space_group", "SG", "d"),
            Column("formation_energy_model_ev_atom", "formation\neV/atom", ".3f"),
            Column("e_above_hull_ev_atom", "above hull\neV/atom", ".3f"),
            Column("n_competing", "competing", "d"),
            Column("decomposes_to", "decomposes to", ""),
            *columns_named(names, {}),
        ),
    )


def _summarise(placed: Sequence[HullRow], counts: dict[str, int]) -> None:
    """Say what is on the hull, and what the hull does not know."""
    on_hull = sum(row.e_above_hull_ev_atom == 0 for row in placed)
    alone = sum(row.n_competing == 0 for row in placed)
    click.echo(
        f"{on_hull} of {len(placed)} on the hull of {counts['n_crystals']} crystals, their elements and "
        f"{counts['n_further_phases']} further phases"
        + (f"; {counts['n_without_energy']} crystals have no energy" if counts["n_without_energy"] else "")
    )
    click.echo(
        f"distances are lower bounds: phases that are not among these are missing; {alone} crystals have no competing "
        "compound here, only their elements (--with FILE adds phases)",
        err=True,
    )


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
