"""``screen-cli init``: a commented configuration."""

from __future__ import annotations

from pathlib import Path

import click

from screen_cli.cli import run_command
from screen_cli.errors import ConfigError


@click.command(name="init")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), default="screen.toml")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option("--reference", is_flag=True, help="Print the Markdown reference of all settings instead.")
def command(path: Path, force: bool, reference: bool) -> None:
    """Write a commented configuration file to PATH (default: screen.toml).

    Every key stands there with its default and its meaning. Edit [source] and [calculator], then start with
    'screen-cli run screen.toml'.
    """
    from screen_cli.config import reference as reference_page
    from screen_cli.config import template
    from screen_cli.store.atomic_write import write_text

    if reference:
        click.echo(reference_page())
        return
    if path.exists() and not force:
        raise ConfigError(f"{path} exists. Choose another name, or overwrite it with --force.")
    write_text(path, template())
    click.echo(f"wrote {path}", err=True)


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
