"""``screen-cli status``: how far a run is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from screen_cli.cli import run_command
from screen_cli.cli.options import GivenPath

if TYPE_CHECKING:
    from screen_cli.store.run_directory import RunDirectory


@click.command(name="status")
@click.argument("run_dir", type=GivenPath(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.option("--failed", is_flag=True, help="List every quarantined crystal with its reason.")
@click.option("--by", metavar="COLUMN", default="", help="Stable shares for each value of COLUMN, e.g. prototype.")
@click.option("--traceback", "with_traceback", is_flag=True, help="With --failed: show the tracebacks.")
def command(*, run_dir: Path, as_json: bool, failed: bool, with_traceback: bool, by: str) -> None:
    """Show the states of the crystals in RUN_DIR, what runs now, what failed, and what each stage costs.

    With --by, how many crystals of each prototype or space group are stable and have κ, beside the paper's Table 1.
    """
    from screen_cli.store.run_directory import RunDirectory

    run = RunDirectory.open(run_dir)
    if by:
        _print_groups(run, by, as_json)
        return
    index = run.index(read_only=True)
    try:
        counts, reasons, costs = index.counts(), index.reasons(), index.stage_costs()
    finally:
        index.close()
    # thousands of small files: read only when they are shown
    quarantined = list(run.store.quarantined()) if failed or as_json else []
    if as_json:
        status = {
            "counts": counts,
            "reasons": [dict(zip(("state", "stage", "count"), row, strict=True)) for row in reasons],
            "stages": [dict(zip(("stage", "structures", "seconds", "bytes"), row, strict=True)) for row in costs],
            "running": run.running(),
            "quarantined": [{k: v for k, v in report.items() if k != "traceback"} for report in quarantined],
        }
        click.echo(json.dumps(status, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160, highlight=False, markup=False)
    total = sum(counts.values())
    states = ", ".join(
        f"{counts[state]} {state}" for state in ("filtered", "done", "skipped", "failed", "pending") if counts[state]
    )
    console.print(f"{run.root}: {total} crystals: {states}")
    for note in run.running():
        console.print(f"  now: {note['id']} in {note['stage']}")
    for state, stage, count in reasons:
        console.print(f"  {count} {state} {'by' if state == 'filtered' else 'in'} {stage}")
    if run.settings.gate.audit_share:
        console.print(f"  what the gate misses: screen-cli gate {run.root}")
    if costs:
        table = Table("stage", "crystals", "total s", "mean s", "MB", box=None, header_style="bold")
        for stage, n, seconds, n_bytes in costs:
            table.add_row(stage, str(n), f"{seconds:.1f}", f"{seconds / n:.2f}", f"{n_bytes / 1e6:.1f}")
        console.print(table)
    if failed:
        for report in quarantined:
            name = report.get("provider_id") or report["id"]
            console.print(f"{name} failed in {report['stage']}: {report['reason']}")
            if with_traceback and report.get("traceback"):
                console.print(report["traceback"], style="dim")
    elif counts["failed"]:
        console.print("  reasons: screen-cli status --failed " + str(run_dir))


def _print_groups(run: RunDirectory, by: str, as_json: bool) -> None:
    """Print stable shares by the values of a column."""
    from screen_cli.analysis.groups import group_by
    from screen_cli.errors import unknown_name
    from screen_cli.report.tables.columns import short_name
    from screen_cli.report.tables.terminal import Column, print_table

    rows, column = run.stream(), short_name(by)
    if column not in rows.columns:
        raise unknown_name("column", by, rows.columns)
    groups = group_by(rows, column)
    if as_json:
        click.echo(json.dumps([group.to_dict() for group in groups], indent=1))
        return
    columns = [
        Column(column, column.replace("_", " "), ""),
        Column("n", "crystals", "d"),
        Column("judged", "stability\nknown", "d"),
        Column("stable", "stable", "d"),
        Column("share", "share\n[95 %]", ""),
        Column("paper", "paper", ""),
        Column("kappa", "with κ", "d"),
        Column("low", "κ < 1\nW/mK", "d"),
    ]
    lines = [
        {
            column: group.name,
            "n": group.n,
            "judged": group.n_judged,
            "stable": group.n_stable,
            "share": str(group.stable),
            "paper": "" if group.paper is None else f"{100 * group.paper:.1f} %",
            "kappa": group.n_kappa,
            "low": group.n_low,
        }
        for group in groups
    ]
    print_table(lines, columns)


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
