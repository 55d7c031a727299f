"""The commands of screen-cli as one group, for its reference page: the program itself imports each when it runs."""

from importlib import import_module

import click

from screen_cli.plugins.builtin.commands import screen_commands

screen_cli = click.Group(
    "screen-cli",
    {record.name: import_module(record.factory.partition(":")[0]).command for record in screen_commands()},
    help="From crystals to phonons and lattice thermal conductivity.",
)
