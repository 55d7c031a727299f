"""``screen-cli report``: the HTML report."""

from __future__ import annotations

from pathlib import Path

import click

from screen_cli.cli import run_command
from screen_cli.cli.options import GivenPath


@click.command(name="report")
@click.argument("run_dir", type=GivenPath(path_type=Path))
@click.option("--output", "-o", type=GivenPath(path_type=Path, dir_okay=False), help="Default: RUN_DIR/report.html.")
@click.option(
    "--figures",
    type=GivenPath(path_type=Path, file_okay=False),
    help="Also write its figures here: PNG, SVG, PDF, CSV.",
)
@click.option(
    "--reference",
    type=GivenPath(path_type=Path, dir_okay=False),
    help="Compare with this CSV or JSON file: id, provider_id or formula, and columns of the run (or 'kappa').",
)
@click.option(
    "--descriptors",
    type=GivenPath(path_type=Path, dir_okay=False),
    help="Vectors for the t-SNE map, .npz (ids, vectors) or CSV (default: those in the records).",
)
@click.option("--filter", "-f", "where", default="", help="Only these crystals (expression as in 'show').")
@click.option(
    "--max-size",
    type=click.FloatRange(min=0),
    default=1.4,
    show_default=True,
    metavar="MB",
    help="Room for the curves of crystals, lowest κ first; the others have numbers and links.",
)
@click.option(
    "--paper/--no-paper",
    "with_paper",
    default=None,
    help="Numbers of the SDNNFF paper beside those of the run (default: from 300 crystals).",
)
def command(
    *,
    run_dir: Path,
    output: Path | None,
    figures: Path | None,
    reference: Path | None,
    descriptors: Path | None,
    where: str,
    max_size: float,
    with_paper: bool | None,
) -> None:
    """Write one self-contained HTML page about RUN_DIR: funnel, figures, table, a page for each crystal.

    Prints the files written. The page needs no network and no server.
    """
    from screen_cli.report import Report, ReportOptions
    from screen_cli.store.run_directory import RunDirectory

    options = ReportOptions(
        reference=reference, descriptors=descriptors, max_megabytes=max_size, where=where, with_paper=with_paper
    )
    report = Report(RunDirectory.open(run_dir), options)
    page = output or run_dir / "report.html"
    report.write_page(page)
    click.echo(str(page))
    if figures is not None:
        for path in report.write_figures(figures):
            click.echo(str(path))
    click.echo(f"{len(report.material.rows)} crystals, page of {page.stat().st_size / 1e6:.1f} MB", err=True)


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
