"""``screen-cli bench``: force fields against reference conductivities, and against one another."""

from __future__ import annotations

import click

from screen_cli.cli import run_command
from screen_cli.cli.bench.kappa import kappa
from screen_cli.cli.bench.ranking import compare, league


@click.group(name="bench")
def command() -> None:
    """Benchmark force fields on the lattice thermal conductivity."""


for _part in (kappa, compare, league):
    command.add_command(_part)


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
