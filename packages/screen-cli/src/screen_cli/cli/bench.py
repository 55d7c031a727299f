"""``screen-cli bench``: force fields against reference conductivities, and against one another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from screen_cli.cli import run_command


@click.group(name="bench")
def command() -> None:
    """Benchmark force fields on the lattice thermal conductivity."""


@command.command(name="kappa")
@click.option("--calculator", "-c", required=True, help="Registered calculator, or ase:package.module.Class.")
@click.option("--option", "-o", "options", multiple=True, metavar="KEY=VALUE", help="Calculator option: model=l3i5.")
@click.option("--structures", "-S", multiple=True, required=True, type=click.Path(), help="File or folder; repeatable.")
@click.option("--reference", "-r", type=click.Path(path_type=Path), help="kappas_*.json.gz, or phono3py's kappa hdf5.")
@click.option("--protocol", type=click.Choice(["exact", "fast"]), default="exact", show_default=True)
@click.option("--only", multiple=True, help="Id, name or prototype of a material; repeatable.")
@click.option("--run-dir", "-d", type=click.Path(path_type=Path), help="Default: bench-CALCULATOR-PROTOCOL.")
@click.option("--exact", "exact_run", type=click.Path(path_type=Path), help="Exact results to state the error against.")
@click.option("--set", "-s", "overrides", multiple=True, metavar="TABLE.KEY=VALUE", help="Override any setting.")
@click.option("--engine", help="Engine: local, serial, ...")
@click.option("--workers", "-w", type=int, help="Worker processes (0: one per core).")
@click.option("--walltime", type=float, metavar="SECONDS", help="Start no further crystal after this time.")
@click.option("--retry-failed", is_flag=True, help="Try quarantined crystals again.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def kappa(
    calculator: str,
    options: tuple[str, ...],
    structures: tuple[str, ...],
    reference: Path | None,
    protocol: Any,
    only: tuple[str, ...],
    run_dir: Path | None,
    exact_run: Path | None,
    overrides: tuple[str, ...],
    engine: str | None,
    workers: int | None,
    walltime: float | None,
    retry_failed: bool,
    quiet: bool,
) -> int:
    """Run the κ protocol for every material, and score it against a reference.

    Prints one line per material and the means, and writes bench.json, bench.csv, parity.png and
    predictions.json.gz (the mode-resolved table of the published benchmark) into the run directory. Can be
    stopped at any time; the same command goes on.
    """
    from screen_cli.bench.campaign import campaign_settings, open_campaign
    from screen_cli.cli.run import drain_on_interrupt
    from screen_cli.config import parse_options
    from screen_cli.driver import SilentObserver, execute
    from screen_cli.progress import progress_observer

    calculator_options = parse_options(options)
    engine_table = {"name": engine} if engine else {}
    settings = campaign_settings(
        protocol,
        calculator,
        calculator_options,
        structures,
        only=only,
        engine=engine_table | ({"workers": workers} if workers is not None else {}),
        overrides=overrides,
    )
    root = run_dir or Path("-".join(["bench", calculator.split(".")[-1], *map(str, calculator_options.values()), protocol]))
    run = open_campaign(root, settings)
    with drain_on_interrupt() as stop_requested:
        watching = None if quiet else progress_observer(run)
        try:
            summary = execute(
                run,
                observer=watching or SilentObserver(),
                retry_failed=retry_failed,
                time_limit=walltime,
                stop_requested=stop_requested,
            )
        finally:
            if watching is not None:
                watching.close()
    return 3 if summary.drained else 0


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
