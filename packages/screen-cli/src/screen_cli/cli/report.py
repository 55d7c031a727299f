"""``screen-cli report``: the HTML report."""

from __future__ import annotations

from pathlib import Path

import click

from screen_cli.cli import run_command


@click.command(name="report")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Default: RUN_DIR/report.html.")
@click.option(
    "--figures", type=click.Path(path_type=Path, file_okay=False), help="Also write its figures here, as PNG and SVG."
)
def command(run_dir: Path, output: Path | None, figures: Path | None) -> None:
    """Write one self-contained HTML page about RUN_DIR: funnel, sortable table, figures."""
    from screen_cli.report import write_figures, write_report
    from screen_cli.run_directory import RunDirectory

    run = RunDirectory.open(run_dir)
    click.echo(str(write_report(run, output)))
    if figures is not None:
        for path in write_figures(run, figures):
            click.echo(str(path))


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
