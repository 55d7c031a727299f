"""``screen-cli plot``: figures of one crystal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from screen_cli.cli import run_command
from screen_cli.cli.options import GivenPath
from screen_cli.errors import FilterError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@click.command(name="plot")
@click.argument("run_dir", type=GivenPath(path_type=Path))
@click.argument("crystal")
@click.option(
    "--output",
    "-o",
    type=GivenPath(path_type=Path, file_okay=False),
    help="Folder (default: RUN_DIR/plots).",
)
@click.option("--format", "form", type=click.Choice(["png", "svg", "pdf"]), default="png", show_default=True)
def command(run_dir: Path, crystal: str, output: Path | None, form: str) -> None:
    """Draw bands with density of states, and κ(T), of one CRYSTAL of RUN_DIR.

    CRYSTAL is an id, the beginning of one, or a formula; prints the files written.
    """
    from screen_cli.report.figures.crystal.conductivity_curve import plot_conductivity
    from screen_cli.report.figures.crystal.dispersion import plot_bands
    from screen_cli.report.stored_results import band_structure_of, density_of_states_of, find_crystal, record_of
    from screen_cli.store.row import text
    from screen_cli.store.run_directory import RunDirectory

    run = RunDirectory.open(run_dir)
    row = find_crystal(run, crystal)
    folder = output or run.root / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    formula = text(row, "formula")
    figures: dict[str, Figure] = {}
    harmonic, conductivity = record_of(run, row, "harmonic"), record_of(run, row, "conductivity")
    if harmonic is not None:
        bands, dos = band_structure_of(harmonic), density_of_states_of(harmonic)
        figures["harmonic"] = plot_bands(bands, dos, title=formula)
    if conductivity is not None:
        temperatures = conductivity.floats("temperatures")
        coherences = conductivity.floats("kappa_c") if "kappa_c" in conductivity.arrays else None
        if len(temperatures) > 1:
            populations = conductivity.floats("kappa_p")
            figures["conductivity"] = plot_conductivity(temperatures, populations, coherences, title=formula)
        else:
            click.echo(f"κ(T) is not drawn: there is one temperature, {temperatures[0]:g} K", err=True)
    for name, figure in figures.items():
        path = folder / f"{formula}-{text(row, 'id')[:8]}-{name}.{form}"
        figure.savefig(path, dpi=200)
        click.echo(str(path))
    if not figures:
        raise FilterError(
            f"{row['formula']} has no results to draw: {row['state']} in {row['stage']}: {row['reason']}."
        )


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
