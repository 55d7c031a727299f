"""``screen-cli plot``: figures of one crystal."""

from __future__ import annotations

from pathlib import Path

import click

from screen_cli.cli import run_command
from screen_cli.cli.options import GivenPath
from screen_cli.errors import FilterError


@click.command(name="plot")
@click.argument("run_dir", type=GivenPath(path_type=Path))
@click.argument("crystal")
@click.option(
    "--output",
    "-o",
    type=GivenPath(path_type=Path, file_okay=False),
    help="Folder (default: RUN_DIR/plots).",
)
def command(run_dir: Path, crystal: str, output: Path | None) -> None:
    """Draw bands with density of states, and κ(T), of one CRYSTAL of RUN_DIR.

    CRYSTAL is an id, the beginning of one, or a formula. Each figure is written as PNG, SVG and PDF, the data behind it
    as CSV; prints the files written.
    """
    from screen_cli.report.figures.crystal.files import write_bands, write_conductivity
    from screen_cli.report.stored_results import find_crystal
    from screen_cli.stages.conductivity import Conductivity
    from screen_cli.stages.harmonic import Harmonic
    from screen_cli.store.row import text
    from screen_cli.store.run_directory import RunDirectory

    run = RunDirectory.open(run_dir)
    row = find_crystal(run, crystal)
    harmonic, conductivity = run.record(row, "harmonic"), run.record(row, "conductivity")
    formula = text(row, "formula")
    if harmonic is None and conductivity is None:
        raise FilterError(f"{formula} has no results to draw: {row['state']} in {row['stage']}: {row['reason']}.")
    folder = output or run.root / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{formula}-{text(row, 'id')[:8]}"
    if harmonic is not None:
        for path in write_bands(Harmonic.from_storage(harmonic), folder / f"{stem}-bands", title=formula):
            click.echo(str(path))
    if conductivity is not None:
        found = Conductivity.from_storage(conductivity)
        if len(found.temperatures) < 2:
            click.echo(f"κ(T) is not drawn: there is one temperature, {found.temperatures[0]:g} K", err=True)
        for path in write_conductivity(found, folder / f"{stem}-kappa", title=formula):
            click.echo(str(path))


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
