"""``screen-cli plot``: figures of one crystal."""

from __future__ import annotations

import json
from pathlib import Path

import click

from screen_cli.cli import run_command
from screen_cli.errors import FilterError


@click.command(name="plot")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.argument("crystal")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder (default: RUN_DIR/plots).",
)
@click.option("--format", "form", type=click.Choice(["png", "svg", "pdf"]), default="png", show_default=True)
def command(run_dir: Path, crystal: str, output: Path | None, form: str) -> None:
    """Draw bands with density of states, and κ(T), of one CRYSTAL of RUN_DIR.

    CRYSTAL is an id, the beginning of one, or a formula; prints the files written.
    """
    from screen_cli.report.crystal_figures import plot_bands_and_dos, plot_conductivity
    from screen_cli.store.run_directory import RunDirectory

    run = RunDirectory.open(run_dir)
    rows = [row for row in run.rows() if row["id"].startswith(crystal) or row["formula"] == crystal]
    if len(rows) != 1:
        found = ", ".join(f"{row['id']} ({row['formula']})" for row in rows[:10]) or "none"
        raise FilterError(f"'{crystal}' must name one crystal of {run_dir}, found: {found}.")
    row = rows[0]
    keys = json.loads(row["keys"] or "{}")
    folder = output or run.root / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    drawings = {"harmonic": plot_bands_and_dos, "conductivity": plot_conductivity}
    written = 0
    for stage, draw in drawings.items():
        record = run.store.read(row["id"], stage, keys[stage]) if stage in keys else None
        if record is not None:
            path = folder / f"{row['formula']}-{row['id'][:8]}-{stage}.{form}"
            draw(record, title=row["formula"]).savefig(path, dpi=200)
            click.echo(str(path))
            written += 1
    if not written:
        raise FilterError(
            f"{row['formula']} has no results to draw: {row['state']} in {row['stage']}: {row['reason']}."
        )


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
