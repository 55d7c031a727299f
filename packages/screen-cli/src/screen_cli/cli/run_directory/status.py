"""``screen-cli status``: how far a run is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from screen_cli.cli import run_command
from screen_cli.cli.options import GivenPath


@click.command(name="status")
@click.argument("run_dir", type=GivenPath(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.option("--failed", is_flag=True, help="List every quarantined crystal with its reason.")
@click.option("--traceback", "with_traceback", is_flag=True, help="With --failed: show the tracebacks.")
def command(run_dir: Path, as_json: bool, failed: bool, with_traceback: bool) -> None:
    """Show the states of the crystals in RUN_DIR, what runs now, what failed, and what each stage costs."""
    from screen_cli.store.run_directory import RunDirectory

    run = RunDirectory.open(run_dir)
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


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
