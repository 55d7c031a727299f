"""``screen-cli expansion``: thermal expansion of crystals from a file."""

from __future__ import annotations

from pathlib import Path

import click

from screen_cli.cli import run_command
from screen_cli.cli.options import GivenPath

_ROUTES = {"fc3": "expansion", "strain": "expansion_strain", "qha": "quasi_harmonic"}


@click.command(name="expansion", context_settings={"max_content_width": 110})
@click.argument("structures", nargs=-1, required=True, type=GivenPath())
@click.option("--calculator", "-c", required=True, help="Registered calculator, or ase:package.module.Class.")
@click.option("--option", "-o", "options", multiple=True, metavar="KEY=VALUE", help="Calculator option: model=l3i5.")
@click.option(
    "--route",
    "-R",
    "routes",
    multiple=True,
    type=click.Choice([*_ROUTES, "all"]),
    default=("fc3", "strain"),
    show_default=True,
    help="How: third-order force constants, strained crystals, volume scan; repeatable.",
)
@click.option("--mesh", "-m", nargs=3, type=int, metavar="N N N", help="q mesh (default: 30 Å, about 9 9 9 for NaCl).")
@click.option("--strain", type=float, help="Largest element of the strains of route strain (default 0.003).")
@click.option("--elastic", type=GivenPath(path_type=Path), help="Text file with a 6 × 6 stiffness in GPa to use.")
@click.option("--run-dir", "-d", type=GivenPath(path_type=Path), help="Default: expansion-CALCULATOR-FILE.")
@click.option("--set", "-s", "overrides", multiple=True, metavar="TABLE.KEY=VALUE", help="Override any setting.")
@click.option("--workers", "-w", type=int, help="Worker processes for several crystals (default: in this process).")
@click.option("--retry-failed", is_flag=True, help="Try quarantined crystals again.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    *,
    structures: tuple[str, ...],
    calculator: str,
    options: tuple[str, ...],
    routes: tuple[str, ...],
    mesh: tuple[int, int, int] | None,
    strain: float | None,
    elastic: Path | None,
    run_dir: Path | None,
    overrides: tuple[str, ...],
    workers: int | None,
    retry_failed: bool,
    quiet: bool,
) -> int:
    """Thermal expansion, Grüneisen parameters and elastic constants of the crystals in STRUCTURES.

    Relaxes each crystal, fits its force constants to displaced supercells, strains its primitive cell for the
    elastic constants, and sums α(T) = S·ΣCγ/V over the phonon modes. The mode Grüneisen tensors γ come from the
    third-order force constants (fc3), and once more from strained crystals (strain) as a check; --route qha adds
    a quasi-harmonic volume scan, which also holds at high temperature.

    Prints a table at 300 K and the paths of a JSON, a CSV over temperature, and figures. Everything finished is
    kept in the run directory: stop at any time, the same command goes on; a further --route computes only what
    is new.

    \b
    Examples:
      screen-cli expansion NaCl.cif --calculator sevennet
      screen-cli expansion POSCAR -c sevennet -o model=l3i5 --route all --mesh 8 8 8
      screen-cli expansion Al.cif -c emt -s displace.dim=[3,3,3]
    """
    from screen_cli.cli.run_directory.run import execute_watched, leaving_nothing_behind
    from screen_cli.report.tables.columns import temperatures_of
    from screen_cli.report.tables.expansion import COLUMNS, disagreement, write_results
    from screen_cli.report.tables.terminal import print_table
    from screen_cli.run.driver import ExecuteOptions
    from screen_cli.run.expansion import expansion_settings
    from screen_cli.settings_file import parse_options
    from screen_cli.store.run_directory import RunDirectory

    chosen = [name for key, name in _ROUTES.items() if key in routes or "all" in routes]
    settings = expansion_settings(
        calculator,
        parse_options(options),
        structures,
        routes=chosen,
        mesh=mesh or (),
        property_options=_property_options(strain, elastic),
        engine={} if workers is None else {"name": "local", "workers": workers},
        overrides=overrides,
    )
    root = run_dir or Path(f"expansion-{calculator.split('.')[-1]}-{Path(structures[0]).stem}")
    with leaving_nothing_behind(root):
        run = RunDirectory.create(root, settings, accept_changes=True)  # content keys keep old and new results apart
        summary = execute_watched(run, ExecuteOptions(retry_failed=retry_failed), quiet=quiet)
    rows = run.rows()
    print_table(rows, COLUMNS, temperatures=temperatures_of(run))
    for row in rows:
        if row["state"] == "done":
            if disagreement(row):
                click.echo(f"warning: {disagreement(row)}", err=True)
            for path in write_results(run, row, run.root / "expansion"):
                click.echo(str(path), err=True)
    if summary.drained:
        click.echo("stopped before the end: run the same command to go on", err=True)
        return 3
    return 0 if any(row["state"] == "done" for row in rows) else 1


def _property_options(strain: float | None, elastic: Path | None) -> dict[str, dict[str, object]]:
    """Options of the properties that have a flag of their own."""
    import numpy as np

    from screen_cli.errors import ConfigError

    found: dict[str, dict[str, object]] = {}
    if strain is not None:
        found["expansion_strain"] = {"strain": strain}
    if elastic is not None:
        try:
            found["elastic"] = {"stiffness_gpa": np.loadtxt(elastic, ndmin=2).tolist()}
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot read {elastic}: {error}. Expected six rows of six numbers, GPa.") from error
    return found


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
