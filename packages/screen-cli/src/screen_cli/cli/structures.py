"""``screen-cli structures``: what there is to screen, before anything is computed."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from screen_cli.cli import run_command
from screen_cli.cli.options import GivenPath, OutputPath

if TYPE_CHECKING:
    from ase import Atoms

    from screen_cli.crystal.structure import Structure
    from screen_cli.sources.filters import Kept
    from screen_cli.store.row import Row

Cells = tuple[str | int | None, ...]

_COLUMNS = ("id", "formula", "space_group", "prototype", "n_atoms", "provider", "provider_id")


@click.group(name="structures")
def command() -> None:
    """List prototypes; preview and export the crystals of a configuration."""


@command.command(name="prototypes")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, with sites and free parameters.")
def list_prototypes(as_json: bool) -> None:
    """List the cubic prototypes: the sixteen of the SDNNFF paper, and a few more."""
    from screen_cli.crystal.prototypes import prototypes

    table = prototypes()
    if as_json:
        click.echo(json.dumps([{"name": name, **entry} for name, entry in table.items()], indent=1))
        return
    _print_table(
        ("SG", "type", "prototype", "atoms", "elements", "sites", "free", "in the paper's table"),
        [
            (
                entry["space_group"],
                entry["type"],
                name,
                entry["atoms"],
                entry["elements"],
                entry["wyckoff"],
                ", ".join(f"{key} = {value:g}" for key, value in entry.get("parameters", {}).items()),
                "no" if "pool" not in entry else "yes" if entry["stated"] else "yes, our assignment",
            )
            for name, entry in table.items()
        ],
    )


@command.command(name="preview")
@click.argument("config", type=GivenPath(path_type=Path))
@click.option("--set", "-s", "overrides", multiple=True, metavar="KEY=VALUE", help="Override, as in 'run'.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.option("--download", is_flag=True, help="Let the source use the network; else only what is on the disk.")
def preview(config: Path, overrides: tuple[str, ...], as_json: bool, download: bool) -> None:
    """Count the crystals of CONFIG per space group and prototype, and what the filters drop.

    The last column gives the 77,091 structures of the paper's Table 1 for comparison.
    """
    from screen_cli.crystal.prototypes import prototypes
    from screen_cli.crystal.structure import Structure

    groups: Counter[tuple[int, str, str]] = Counter()
    outcome: Counter[str] = Counter()
    for crystal in _crystals(config, overrides, download):
        outcome[_outcome(crystal)] += 1
        if isinstance(crystal, Structure):
            groups[crystal.space_group, _type_of(crystal), crystal.prototype] += 1
    rows = _with_the_papers_counts(groups)
    if as_json:
        names = ("space_group", "type", "prototype", "count", "paper")
        groups_json = [dict(zip(names, row, strict=True)) for row in rows]
        click.echo(json.dumps({"groups": groups_json, "counts": dict(outcome)}, indent=1))
        return
    rows.append(("", "", "all", sum(groups.values()), sum(entry.get("pool", 0) for entry in prototypes().values())))
    _print_table(("SG", "type", "prototype", "crystals", "paper"), rows)
    for reason, count in outcome.most_common():
        click.echo(f"{count} {reason if reason in ('kept', 'unreadable') else 'dropped by ' + reason}")


@command.command(name="export")
@click.argument("config", type=GivenPath(path_type=Path))
@click.argument("output", type=OutputPath())
@click.option("--set", "-s", "overrides", multiple=True, metavar="KEY=VALUE", help="Override, as in 'run'.")
@click.option("--download", is_flag=True, help="Let the source use the network; else only what is on the disk.")
def export(config: Path, output: Path, overrides: tuple[str, ...], download: bool) -> None:
    """Write the crystals of CONFIG that pass the filters to OUTPUT: .extxyz, .db or .csv."""
    from screen_cli.crystal.metadata import SOURCE_COLUMNS
    from screen_cli.crystal.structure import Structure
    from screen_cli.errors import UnknownNameError
    from screen_cli.report.tables.exporters import write_database, write_frames, write_table
    from screen_cli.store.atomic_write import whole_file

    if output.suffix not in (".extxyz", ".db", ".csv"):
        raise UnknownNameError(f"'{output.suffix or output.name}' cannot be written. Known: .extxyz, .db, .csv.")
    kept = (crystal for crystal in _crystals(config, overrides, download) if isinstance(crystal, Structure))
    count = 0

    def counted() -> Iterator[Structure]:
        nonlocal count
        for crystal in kept:
            count += 1
            yield crystal

    with whole_file(output) as path:
        if output.suffix == ".csv":
            names = [*_COLUMNS, *SOURCE_COLUMNS]
            write_table(map(_row, counted()), path, dict(zip(names, names, strict=True)))
        else:
            write = write_frames if output.suffix == ".extxyz" else write_database
            write((_with_info(crystal) for crystal in counted()), path)
    click.echo(f"wrote {count} crystals to {output}", err=True)


def _crystals(config: Path, overrides: tuple[str, ...], download: bool) -> Iterator[Kept]:
    """Give what the source gives, through the filters; offline unless asked."""
    from screen_cli.config import load_settings
    from screen_cli.run.reading import open_source

    return open_source(load_settings(config, overrides), **({} if download else {"offline": True}))


def _outcome(crystal: Kept) -> str:
    """Give what became of a crystal, in one word."""
    from screen_cli.sources.filters import count_reasons

    return next(iter(count_reasons([crystal])))


def _type_of(crystal: Structure) -> str:
    """Stoichiometry without elements, as in the paper: ``AB3``, ``ABC2D6``."""
    counts = sorted(crystal.atoms.symbols.formula.reduce()[0].count().values())
    return "".join(f"{letter}{count if count > 1 else ''}" for letter, count in zip("ABCDEFGHIJ", counts, strict=False))


def _with_the_papers_counts(groups: Counter[tuple[int, str, str]]) -> list[Cells]:
    """Rows (space group, type, prototype, count, paper's count); prototypes in the table's order, others behind."""
    from screen_cli.crystal.prototypes import prototypes

    rows: list[Cells] = []
    for name, entry in prototypes().items():
        key = (entry["space_group"], entry["type"], name)
        if groups[key] or "pool" in entry:
            rows.append((*key, groups[key], entry.get("pool")))
    known = {row[:3] for row in rows}
    return rows + [(*key, count, None) for key, count in sorted(groups.items()) if key not in known and count]


def _row(crystal: Structure) -> Row:
    """Flat row of a crystal."""
    from screen_cli.crystal.metadata import SOURCE_COLUMNS

    row = {name: getattr(crystal, name) for name in _COLUMNS if name != "n_atoms"}
    return row | {"n_atoms": len(crystal.atoms), **{name: crystal.metadata.get(name) for name in SOURCE_COLUMNS}}


def _with_info(crystal: Structure) -> Atoms:
    """ASE atoms with the row and the plain metadata in ``info``."""
    atoms: Atoms = crystal.atoms.copy()
    plain = {key: value for key, value in crystal.metadata.items() if isinstance(value, (str, int, float, bool))}
    atoms.info = {key: value for key, value in {**plain, **_row(crystal)}.items() if value is not None and value != ""}
    return atoms


def _print_table(headings: tuple[str, ...], rows: list[Cells]) -> None:
    """Print a table to stdout."""
    from rich.console import Console
    from rich.table import Table

    from screen_cli.errors import printable

    table = Table(*headings, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*("" if value is None else printable(str(value)) for value in row))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160, markup=False, highlight=False).print(table)


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
