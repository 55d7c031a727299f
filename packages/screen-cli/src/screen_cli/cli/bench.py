"""``screen-cli bench``: force fields against reference conductivities, and against one another."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from screen_cli.cli import run_command

if TYPE_CHECKING:
    from screen_cli.bench.protocol import Protocol
    from screen_cli.bench.reference import Reference
    from screen_cli.bench.results import BenchResult
    from screen_cli.store.run_directory import RunDirectory


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
@click.option(
    "--exact", "exact_result", type=click.Path(path_type=Path), help="Exact run to state fast's error against."
)
@click.option("--set", "-s", "overrides", multiple=True, metavar="TABLE.KEY=VALUE", help="Override any setting.")
@click.option("--engine", help="Engine: local, serial, ...")
@click.option("--workers", "-w", type=int, help="Worker processes (0: one per core).")
@click.option("--walltime", type=float, metavar="SECONDS", help="Start no further crystal after this time.")
@click.option("--retry-failed", is_flag=True, help="Try quarantined crystals again.")
@click.option("--score-only", is_flag=True, help="Compute nothing; score what is there.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def kappa(
    *,
    calculator: str,
    options: tuple[str, ...],
    structures: tuple[str, ...],
    reference: Path | None,
    protocol: Protocol,
    only: tuple[str, ...],
    run_dir: Path | None,
    exact_result: Path | None,
    overrides: tuple[str, ...],
    engine: str | None,
    workers: int | None,
    walltime: float | None,
    retry_failed: bool,
    score_only: bool,
    quiet: bool,
) -> int:
    """Run the κ protocol for every material, and score it against a reference.

    Prints one line per material and the means, and writes bench.json, bench.csv, parity.png and the mode-resolved
    predictions*.json.gz into the run directory. Can be stopped at any time; the same command goes on.
    """
    from screen_cli.bench.campaign import campaign_settings, open_campaign
    from screen_cli.bench.protocol import TEMPERATURE
    from screen_cli.bench.reference import read_references
    from screen_cli.cli.run_directory.run import execute_watched
    from screen_cli.run.driver import ExecuteOptions
    from screen_cli.settings_file import parse_options

    references, problems = read_references(reference, TEMPERATURE) if reference is not None else (None, [])
    calculator_options = parse_options(options)
    engine_table = {"name": engine, "workers": workers}
    settings = campaign_settings(
        protocol,
        calculator,
        calculator_options,
        structures,
        only=only,
        meshes={key: item.mesh for key, item in (references or {}).items() if item.mesh is not None},
        engine={key: value for key, value in engine_table.items() if value is not None},
        overrides=overrides,
    )
    name = "-".join(["bench", calculator.rsplit(".")[-1], *map(str, calculator_options.values()), protocol])
    run = open_campaign(run_dir or Path(name), settings, must_exist=score_only)
    drained = False
    if not score_only:
        options_of_run = ExecuteOptions(retry_failed=retry_failed, time_limit=walltime)
        drained = execute_watched(run, options_of_run, quiet=quiet).drained
    _report(run, protocol, TEMPERATURE, reference, references=references, problems=problems, exact_result=exact_result)
    if drained:
        click.echo("stopped before the end: run the same command to go on", err=True)
    return 3 if drained else 0


def _report(
    run: RunDirectory,
    protocol: str,
    temperature: float,
    reference: Path | None,
    *,
    references: Mapping[str, Reference] | None,
    problems: Sequence[str],
    exact_result: Path | None,
) -> None:
    """Score the run, print it, write its files."""
    from screen_cli.bench.accuracy import fast_error
    from screen_cli.bench.parity_plot import plot_parity
    from screen_cli.bench.results import collect_result, read_result, write_predictions, write_result
    from screen_cli.bench.score import score_run, unmatched_references

    scores = score_run(run, references)
    told = list(problems)
    told += [
        f"{score.name} ({score.id}): {score.reason.rstrip('.')}."
        for score in scores
        if score.verdict == "not scored" and score.reason
    ]
    left = unmatched_references(scores, references) if references else []
    if left:
        told.append(
            f"{len(left)} references have no structure in this run: {', '.join(left[:8])}{' ...' * (len(left) > 8)}."
        )
    exact = None if exact_result is None else read_result(exact_result)
    error = None if exact is None else fast_error(scores, exact.materials, exact.label)
    told += error.problems if error is not None else ()
    result = collect_result(run, protocol, temperature, scores, reference, problems=told, fast_error=error)
    _print_scores(result)
    for sentence in told:
        click.echo(f"note: {sentence}", err=True)
    paths = [*write_result(result, run.root), *write_predictions(run, scores, run.root)]
    if result.means is not None:
        paths.append(run.root / "parity.png")
        plot_parity(scores, title=result.label).savefig(paths[-1], dpi=150)
    for path in paths:
        click.echo(f"wrote {path}", err=True)


def _print_scores(result: BenchResult) -> None:
    """Print materials, means, and what the fast protocol costs."""
    from screen_cli.bench.results import public_fields
    from screen_cli.report.tables.terminal import Column, print_table

    columns = (
        Column("name", "material", ""),
        Column("prototype", "prototype", ""),
        Column("verdict", "verdict", ""),
        Column("kappa", "κ\nW/mK"),
        Column("kappa_reference", "κ ref\nW/mK"),
        Column("srd", "SRD", "+.3f"),
        Column("srme", "SRME", ".4f"),
        Column("frequency_error_percent", "ν error\n%", ".2f"),
        Column("spectrum_distance_thz", "spectrum\nTHz", ".3f"),
        Column("n_force_calls", "force\ncalls", "d"),
        Column("seconds", "s", ".0f"),
        Column("trusted", "fit", ""),
        Column("reason", "why", ""),
    )
    print_table([public_fields(score) for score in result.materials], columns)
    groups = {} if result.means is None else {"all": result.means}
    means = [{"group": name, **dataclasses.asdict(part)} for name, part in (groups | {**result.by_prototype}).items()]
    if means:
        click.echo("")
        print_table(
            means,
            (
                Column("group", "mean over", ""),
                Column("n_materials", "n", "d"),
                Column("n_failed", "failed", "d"),
                Column("srd", "SRD", "+.3f"),
                Column("sre", "SRE", ".4f"),
                Column("srme", "SRME", ".4f"),
                Column("srme_scored", "SRME\nwithout failed", ".4f"),
                Column("imaginary_rate", "imaginary", ".2f"),
                Column("symmetry_broken_rate", "symmetry\nbroken", ".2f"),
                Column("frequency_error_percent", "ν error\n%", ".2f"),
                Column("spectrum_distance_thz", "spectrum\nTHz", ".3f"),
            ),
        )
    error = result.fast_error
    if error is not None and error.materials:
        click.echo(f"\nfast against {error.against}:")
        print_table(
            [dataclasses.asdict(row) for row in error.materials],
            (
                Column("name", "material", ""),
                Column("kappa_error_percent", "κ error\n%", "+.2f"),
                Column("srme_error", "SRME error", "+.4f"),
                Column("force_calls_ratio", "force calls\nsaved", ".1f"),
                Column("seconds_ratio", "time\nsaved", ".1f"),
                Column("trusted", "fit", ""),
            ),
        )


@command.command(name="compare")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, on stdout.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
def compare(first: Path, second: Path, as_json: bool, seed: int) -> None:
    """Put two results (run directories or bench.json) side by side, with paired differences.

    FIRST and SECOND must be scored against the same reference. Intervals are 95 % bootstrap intervals over the
    common materials; a difference whose interval leaves out zero is marked.
    """
    from screen_cli.bench.comparison import compare_results
    from screen_cli.bench.results import read_result
    from screen_cli.report.tables.terminal import Column, print_table

    a, b = read_result(first), read_result(second)
    differences, problems = compare_results(a, b, seed)
    if as_json:
        rows = [{**dataclasses.asdict(item), "is_clear": item.is_clear} for item in differences]
        click.echo(json.dumps({"a": a.label, "b": b.label, "problems": problems, "differences": rows}, indent=1))
    else:
        click.echo(f"A: {a.label}\nB: {b.label}\n")
        rows = [
            {
                **dataclasses.asdict(item),
                "a": f"{item.mean_a:.4f} [{item.interval_a[0]:.4f}, {item.interval_a[1]:.4f}]",
                "b": f"{item.mean_b:.4f} [{item.interval_b[0]:.4f}, {item.interval_b[1]:.4f}]",
                "interval": f"[{item.interval[0]:+.4f}, {item.interval[1]:+.4f}]",
                "clear": "clear" if item.is_clear else "",
            }
            for item in differences
        ]
        print_table(
            rows,
            (
                Column("quantity", "quantity", ""),
                Column("group", "materials", ""),
                Column("n", "n", "d"),
                Column("a", "A [95 %]", ""),
                Column("b", "B [95 %]", ""),
                Column("difference", "B − A", "+.4f"),
                Column("interval", "[95 %]", ""),
                Column("share_b_better", "B better", ".3f"),
                Column("clear", "", ""),
            ),
        )
    for sentence in problems:
        click.echo(f"note: {sentence}", err=True)


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
