"""``screen-cli init``: a commented configuration, for crystals that are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from screen_cli.cli import run_command
from screen_cli.cli.options import GivenPath
from screen_cli.errors import ConfigError, StructureError

if TYPE_CHECKING:
    from screen_cli.crystal.structure import RejectedStructure
    from screen_cli.sources.filters import Kept


@click.command(name="init")
@click.argument("path", type=GivenPath(dir_okay=False, path_type=Path), default="screen.toml")
@click.option("--crystals", type=GivenPath(path_type=Path), metavar="DIR|FILE", help="The crystals to screen.")
@click.option("--calculator", "-c", help="Force field (default: one that is installed, with weights).")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option("--reference", is_flag=True, help="Print the Markdown reference of all settings instead.")
def command(path: Path, *, crystals: Path | None, calculator: str | None, force: bool, reference: bool) -> None:
    """Write a commented configuration file to PATH (default: screen.toml).

    Every key stands there with its default and its meaning. With --crystals it runs as it is: the crystals are read
    now, and what cannot be read is told. Then: screen-cli run screen.toml
    """
    from screen_cli.config import reference as reference_page
    from screen_cli.config import template
    from screen_cli.store.atomic_write import write_text

    if reference:
        click.echo(reference_page())
        return
    if path.exists() and not force:
        raise ConfigError(f"{path} exists. Choose another name, or overwrite it with --force.")
    chosen: dict[str, dict[str, str]] = {}
    if crystals is not None:
        _tell(crystals, *_read(crystals))
        paths = toml_text(str(crystals.expanduser().resolve()))
        chosen["source"] = {"name": '"files"', "options": f"{{ paths = [{paths}] }}"}
    if crystals is not None or calculator is not None:
        chosen["calculator"] = {"name": toml_text(_known(calculator) if calculator else _installed())}
    write_text(path, template(chosen))
    click.echo(f"wrote {path}", err=True)


def toml_text(text: str) -> str:
    """Write a text as TOML does: JSON's escapes, and DEL too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _read(crystals: Path) -> tuple[list[Kept], list[RejectedStructure]]:
    """Read every crystal now, so that nothing is refused later for what a file holds."""
    from screen_cli.config import settings_from_dict
    from screen_cli.crystal.structure import RejectedStructure
    from screen_cli.run.reading import open_source

    source = {"source": {"name": "files", "options": {"paths": [str(crystals)]}}}
    found = list(open_source(settings_from_dict(source, "--crystals")))
    rejected = [item for item in found if isinstance(item, RejectedStructure)]
    return [item for item in found if not isinstance(item, RejectedStructure)], rejected


def _tell(crystals: Path, kept: list[Kept], rejected: list[RejectedStructure]) -> None:
    """Say what was found; refuse where nothing can be used."""
    reasons = [f"{item.provider_id}: {item.reason}" for item in rejected]
    if not kept:
        raise StructureError(f"{crystals} holds no crystal that can be used. {reasons[0] if reasons else ''}".rstrip())
    click.echo(f"{len(kept)} crystals in {crystals}", err=True)
    for reason in reasons[:5]:
        click.echo(f"not read: {reason}", err=True)
    if len(reasons) > 5:
        click.echo(f"and {len(reasons) - 5} more that cannot be read; the run quarantines them", err=True)


def _known(name: str) -> str:
    """Take a registered name, or any ASE calculator."""
    from screen_cli.plugins.manager import installed_plugins

    if not name.startswith("ase:"):
        installed_plugins().get("calculators", name)
    return name


def _installed() -> str:
    """Name a force field whose library is installed and whose weights need no download: real ones before toys."""
    from importlib.util import find_spec

    from screen_cli.plugins.manager import installed_plugins

    registry = installed_plugins()
    for name in ("sevennet", "sdnnff", "chgnet", "hienet"):
        known = name in registry.records["calculators"]
        if known and all(find_spec(module) for module in registry.get("calculators", name).requires):
            return name
    raise ConfigError(
        "no force field with weights is installed. Install one (pip install 'screen-cli[sevennet]', or sdnnff-calc), "
        "or name a calculator of your own: --calculator ase:package.module.Class."
    )


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
