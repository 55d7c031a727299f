"""``screen-cli report``: the HTML report."""

from __future__ import annotations

from pathlib import Path

import click

from screen_cli.cli import run_command


@click.command(name="report")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Default: RUN_DIR/report.html.")
def command(run_dir: Path, output: Path | None) -> None:
    """Write one self-contained HTML page about RUN_DIR: funnel, sortable table, figures."""
    from screen_cli.report import write_report
    from screen_cli.run_directory import RunDirectory

    click.echo(str(write_report(RunDirectory.open(run_dir), output)))


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
