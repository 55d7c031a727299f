"""``screen-cli verify``: whether a run directory is what was written."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from screen_cli.cli import run_command
from screen_cli.cli.options import GivenPath


@click.command(name="verify")
@click.argument("run_dir", type=GivenPath(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def command(run_dir: Path, as_json: bool) -> int:
    """Read every crystal, record and page of the index of RUN_DIR, compare checksums, and name what is damaged.

    Nothing is changed. The exit code is 1 when something is damaged; screen-cli run CONFIG --deep computes it again.
    """
    from screen_cli.errors import printable
    from screen_cli.store.run_directory import RunDirectory
    from screen_cli.store.verify import verify

    found = verify(RunDirectory.open(run_dir))
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), indent=1, default=str))
        return 1 if found.damaged else 0
    for sentence in found.damaged:
        click.echo(printable(f"damaged: {sentence}"))
    for path in found.litter:
        click.echo(printable(f"left half-written by a killed process: {path}"))
    click.echo(f"{found.n_structures} crystals, {found.n_records} records read; {len(found.damaged)} damaged")
    return 1 if found.damaged else 0


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
