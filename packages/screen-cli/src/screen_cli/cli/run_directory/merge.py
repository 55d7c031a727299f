"""``screen-cli merge``: shards that ran elsewhere, in one run directory."""

from __future__ import annotations

from pathlib import Path

import click

from screen_cli.cli import run_command
from screen_cli.cli.options import GivenPath


@click.command(name="merge")
@click.argument("run_dirs", nargs=-1, required=True, type=GivenPath(path_type=Path))
@click.option("--into", "target", required=True, type=GivenPath(path_type=Path), help="Run directory to fill.")
def command(run_dirs: tuple[Path, ...], target: Path) -> int:
    """Join RUN_DIRS, runs of one configuration, into another run directory.

    A run of the source 'children' joins that of its parents. The sources are only read. A merge that was stopped goes
    on when it is started again. A result that both sides have and that differs is reported, the target keeps its own,
    and the exit code is 1.

    Example: screen-cli merge screen-1of2 screen-2of2 --into screen
    """
    from screen_cli.run.merge import merge_runs

    report = merge_runs(run_dirs, target)
    for conflict in report.conflicts:
        click.echo(f"conflict: {conflict}", err=True)
    for damaged in report.damaged:
        click.echo(f"left out: {damaged}", err=True)
    if report.missing_shards:
        click.echo(f"missing shards: {', '.join(report.missing_shards)}", err=True)
    states = ", ".join(f"{count} {state}" for state, count in sorted(report.counts.items()))
    click.echo(f"{target}: {states}; {report.n_copied} records copied, {report.n_known} were there")
    return 1 if report.conflicts else 0


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
