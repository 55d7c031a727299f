"""``screen-cli rebuild``: the index anew."""

from __future__ import annotations

from pathlib import Path

import click

from screen_cli.cli import run_command
from screen_cli.cli.options import GivenPath


@click.command(name="rebuild")
@click.argument("run_dir", type=GivenPath(path_type=Path))
def command(run_dir: Path) -> None:
    """Make the index of RUN_DIR anew from its records. Nothing is computed."""
    from screen_cli.run.rebuild import rebuild_index
    from screen_cli.store.run_directory import RunDirectory

    counts = rebuild_index(RunDirectory.open(run_dir))
    click.echo(", ".join(f"{count} {state}" for state, count in sorted(counts.items())))


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
