"""``screen-cli one``: one crystal from a file, all the way, into a folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from screen_cli.cli import run_command
from screen_cli.cli.options import GivenPath

if TYPE_CHECKING:
    from screen_cli.config import RunSettings
    from screen_cli.store.row import Row
    from screen_cli.store.run_directory import RunDirectory


@click.command(name="one", context_settings={"max_content_width": 110})
@click.argument("file", type=GivenPath(exists=True, dir_okay=False, path_type=Path))
@click.option("--calculator", "-c", required=True, help="Registered calculator, or ase:package.module.Class.")
@click.option("--option", "-o", "options", multiple=True, metavar="KEY=VALUE", help="Calculator option: model=l3i5.")
@click.option("--temperature", "-t", "temperatures", multiple=True, type=float, metavar="K", help="Repeatable.")
@click.option("--mesh", "-m", nargs=3, type=int, metavar="N N N", help="q mesh of κ (default: from q_spacing).")
@click.option("--run-dir", "-d", type=GivenPath(path_type=Path), help="Folder of the results (default: FILE's name).")
@click.option("--set", "-s", "overrides", multiple=True, metavar="TABLE.KEY=VALUE", help="Override any setting.")
@click.option("--phono3py", "-p", is_flag=True, help="Write phono3py_params.yaml, fc2.hdf5, fc3.hdf5 and κ too.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    *,
    file: Path,
    calculator: str,
    options: tuple[str, ...],
    temperatures: tuple[float, ...],
    mesh: tuple[int, int, int] | None,
    run_dir: Path | None,
    overrides: tuple[str, ...],
    phono3py: bool,
    quiet: bool,
) -> int:
    """Phonons and lattice thermal conductivity of the one crystal in FILE.

    Prints its row and, on stderr, the paths of its page (report.html) and figures. Everything finished is kept: the
    same command goes on where it stopped, and another temperature or mesh computes only what is new.

    \b
    Examples:
      screen-cli one NaCl.cif -c sdnnff
      screen-cli one POSCAR -c sevennet -o model=l3i5 -t 100 -t 300 -t 600 --mesh 19 19 19
    """
    from screen_cli.cli.run_directory.run import execute_watched, leaving_nothing_behind
    from screen_cli.report import write_report
    from screen_cli.report.tables.columns import temperatures_of
    from screen_cli.report.tables.terminal import print_table
    from screen_cli.run.driver import ExecuteOptions
    from screen_cli.settings_file import parse_options
    from screen_cli.store.run_directory import RunDirectory

    settings = _settings(file, calculator, parse_options(options), temperatures, mesh, overrides)
    _require_one_crystal(file, settings)
    folder = run_dir or _default_folder(file)
    with leaving_nothing_behind(folder):
        run = RunDirectory.create(folder, settings, accept_changes=True)
        execute_watched(run, ExecuteOptions(retry_failed=True), quiet=quiet)
    rows = run.rows("state != 'filtered'")
    (row,) = rows
    print_table(rows, temperatures=temperatures_of(run))
    if row["state"] != "done":
        click.echo(f"{row['formula'] or file.name} {row['state']} in {row['stage']}: {row['reason']}", err=True)
    for path in _files(run, row, phono3py=phono3py):
        click.echo(str(path), err=True)
    click.echo(str(write_report(run)), err=True)
    return 1 if row["state"] == "failed" else 0


def _require_one_crystal(file: Path, settings: RunSettings) -> None:
    """Refuse a file that holds none, or several, before anything is computed."""
    from screen_cli.crystal.structure import Structure
    from screen_cli.errors import StructureError
    from screen_cli.run.reading import open_source

    found = list(itertools.islice(open_source(settings), 2))
    if len(found) == 1 and isinstance(found[0], Structure):
        return
    reasons = [item.reason for item in found if not isinstance(item, Structure)]
    if reasons:
        raise StructureError(f"{file}: {reasons[0]}")
    raise StructureError(
        f"{file} holds {'several crystals' if found else 'no crystal'}, expected one. Use 'screen-cli run' for several."
    )


def _default_folder(file: Path) -> Path:
    """Folder named after the file; a name without suffix (POSCAR) gets one."""
    return Path(file.stem if file.suffix else f"{file.name}-results")


def _settings(
    file: Path,
    calculator: str,
    options: Mapping[str, object],
    temperatures: tuple[float, ...],
    mesh: tuple[int, int, int] | None,
    overrides: tuple[str, ...],
) -> RunSettings:
    """Give the settings of a run of one crystal."""
    from screen_cli.config import settings_from_dict
    from screen_cli.run.driver import resolve
    from screen_cli.settings_file import apply_override

    conductivity: dict[str, object] = {}
    tables: dict[str, object] = {
        "title": file.name,
        "source": {"name": "files", "options": {"paths": [str(file.expanduser().resolve())]}},
        "calculator": {"name": calculator, "options": dict(options)},
        "engine": {"name": "serial"},
    }
    if temperatures:
        conductivity["temperatures"] = list(temperatures)
        tables["harmonic"] = {"temperatures": list(temperatures)}
    if mesh:
        conductivity["mesh"] = list(mesh)
    if conductivity:
        tables["conductivity"] = conductivity
    for override in overrides:
        apply_override(tables, override)
    return resolve(settings_from_dict(tables, "arguments of one"))


def _files(run: RunDirectory, row: Row, *, phono3py: bool) -> Iterator[Path]:
    """Write the figures of the crystal and, when asked, the files of phono3py; yield each path."""
    from screen_cli.report.figures.crystal.files import write_bands, write_conductivity
    from screen_cli.report.phono3py_files import write_phono3py_files
    from screen_cli.stages.conductivity import Conductivity
    from screen_cli.stages.displace import Displaced
    from screen_cli.stages.force_constants import ForceConstants
    from screen_cli.stages.forces import Forces
    from screen_cli.stages.harmonic import Harmonic
    from screen_cli.store.row import text

    harmonic, transport = run.record(row, "harmonic"), run.record(row, "conductivity")
    conductivity = None if transport is None else Conductivity.from_storage(transport)
    formula = text(row, "formula")
    if harmonic is not None:
        yield from write_bands(Harmonic.from_storage(harmonic), run.root / "bands", title=formula)
    if conductivity is not None:
        yield from write_conductivity(conductivity, run.root / "kappa", title=formula)
    parts = [run.record(row, stage) for stage in ("displace", "forces", "force_constants")]
    if phono3py and parts[0] and parts[1] and parts[2]:
        yield from write_phono3py_files(
            run.root / "phono3py",
            Displaced.from_storage(parts[0]),
            Forces.from_storage(parts[1]),
            ForceConstants.from_storage(parts[2]),
            conductivity,
        )


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
