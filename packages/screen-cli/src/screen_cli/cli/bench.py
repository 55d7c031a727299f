"""``screen-cli bench``: force fields against reference conductivities, and against one another."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from screen_cli.cli import run_command
from screen_cli.cli.options import Duration

if TYPE_CHECKING:
    from screen_cli.bench.league import LeagueRow
    from screen_cli.bench.protocol import Protocol
    from screen_cli.bench.reference import Reference
    from screen_cli.bench.results import BenchResult
    from screen_cli.store.run_directory import RunDirectory


@click.group(name="bench")
def command() -> None:
    """Benchmark force fields on the lattice thermal conductivity."""


@command.command(name="kappa")
@click.option(
    "--calculator",
    "-c",
    "calculators",
    required=True,
    multiple=True,
    metavar="NAME[,KEY=VALUE...]",
    help="Registered calculator, or ase:package.module.Class, with its options: sevennet,model=l3i5; repeatable.",
)
@click.option("--option", "-o", "options", multiple=True, metavar="KEY=VALUE", help="Option of every calculator.")
@click.option("--structures", "-S", multiple=True, required=True, type=click.Path(), help="File or folder; repeatable.")
@click.option("--reference", "-r", type=click.Path(path_type=Path), help="kappas_*.json.gz, or phono3py's kappa hdf5.")
@click.option("--protocol", type=click.Choice(["exact", "fast"]), default="exact", show_default=True)
@click.option("--only", multiple=True, help="Id, name or prototype of a material; repeatable.")
@click.option(
    "--run-dir",
    "-d",
    type=click.Path(path_type=Path),
    help="Default: bench-CALCULATOR-PROTOCOL; of several calculators, the folder that holds theirs.",
)
@click.option(
    "--exact", "exact_result", type=click.Path(path_type=Path), help="Exact run to state fast's error against."
)
@click.option("--set", "-s", "overrides", multiple=True, metavar="TABLE.KEY=VALUE", help="Override any setting.")
@click.option("--engine", help="Engine: local, serial, ...")
@click.option("--workers", "-w", type=int, help="Worker processes (0: one per core).")
@click.option("--walltime", type=Duration(), metavar="TIME", help="Start no further crystal after 90s, 15m, 1:30:00.")
@click.option("--retry-failed", is_flag=True, help="Try quarantined crystals again.")
@click.option("--score-only", is_flag=True, help="Compute nothing; score what is there.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def kappa(
    *,
    calculators: tuple[str, ...],
    options: tuple[str, ...],
    run_dir: Path | None,
    reference: Path | None,
    protocol: Protocol,
    **others: object,
) -> int:
    """Run the κ protocol for every material, and score it against a reference.

    Prints one line per material and the means, and writes bench.json, bench.csv, parity.png and the mode-resolved
    predictions*.json.gz into the run directory. Several calculators run one after another, each in its environment, and
    are ranked at the end (see 'bench league'). Can be stopped at any time; the same command goes on.
    """
    from screen_cli.bench.protocol import TEMPERATURE
    from screen_cli.bench.reference import read_references
    from screen_cli.settings_file import parse_options

    references, problems = read_references(reference, TEMPERATURE) if reference is not None else (None, [])
    scored = References(reference, references, tuple(problems))
    models = [(name, parse_options([*options, *own])) for name, *own in (text.split(",") for text in calculators)]
    names = ["-".join(["bench", name.rsplit(".")[-1], *map(_word, told.values()), protocol]) for name, told in models]
    if len(set(names)) < len(names):
        raise click.UsageError("two calculators with the same options. Give each once.")
    folders = [run_dir or Path(names[0])] if len(names) == 1 else [(run_dir or Path()) / name for name in names]
    drained = False
    for (name, told), folder in zip(models, folders, strict=True):
        if len(models) > 1:
            click.echo(f"\n{name} {told or ''}".rstrip(), err=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        plan = KappaPlan(calculator=name, options=told, protocol=protocol, folder=folder, **others)  # type: ignore[arg-type]
        drained |= _bench(plan, scored)
    if len(models) > 1 and reference is not None and not drained:
        _league(folders, run_dir or Path("bench-league"), as_json=False, seed=0)
    if drained:
        click.echo("stopped before the end: run the same command to go on", err=True)
    return 3 if drained else 0


def _word(value: object) -> str:
    """Give the value of an option as part of a folder's name: of a path, its last part."""
    return Path(str(value)).name


@dataclasses.dataclass(frozen=True)
class References:
    """What a benchmark is scored against.

    Parameters
    ----------
    file : pathlib.Path or None
    by_id : mapping of str to Reference, or None
    problems : tuple of str
        What was wrong in the file, a sentence each.
    """

    file: Path | None
    by_id: Mapping[str, Reference] | None
    problems: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class KappaPlan:
    """One force field of ``bench kappa``, and how it is to run; the other fields are options of the command.

    Parameters
    ----------
    calculator : str
    options : dict
        Of the calculator.
    protocol : {"exact", "fast"}
    folder : pathlib.Path
        Its run directory.
    """

    calculator: str
    options: dict[str, object]
    protocol: Protocol
    folder: Path
    structures: tuple[str, ...]
    only: tuple[str, ...]
    exact_result: Path | None
    overrides: tuple[str, ...]
    engine: str | None
    workers: int | None
    walltime: float | None
    retry_failed: bool
    score_only: bool
    quiet: bool


def _bench(plan: KappaPlan, references: References) -> bool:
    """Run and score one force field; whether it stopped before the end."""
    from screen_cli.bench.campaign import campaign_settings, open_campaign
    from screen_cli.bench.protocol import TEMPERATURE
    from screen_cli.cli.run_directory.run import execute_watched, leaving_nothing_behind
    from screen_cli.run.driver import ExecuteOptions

    engine_table = {"name": plan.engine, "workers": plan.workers}
    settings = campaign_settings(
        plan.protocol,
        plan.calculator,
        plan.options,
        plan.structures,
        only=plan.only,
        meshes={key: item.mesh for key, item in (references.by_id or {}).items() if item.mesh is not None},
        engine={key: value for key, value in engine_table.items() if value is not None},
        overrides=plan.overrides,
    )
    drained = False
    with leaving_nothing_behind(plan.folder):
        run = open_campaign(plan.folder, settings, must_exist=plan.score_only)
        if not plan.score_only:
            options_of_run = ExecuteOptions(retry_failed=plan.retry_failed, time_limit=plan.walltime)
            drained = execute_watched(run, options_of_run, quiet=plan.quiet).drained
    _report(
        run,
        plan.protocol,
        TEMPERATURE,
        references.file,
        references=references.by_id,
        problems=references.problems,
        exact_result=plan.exact_result,
    )
    return drained


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


@command.command(name="league")
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Folder for league.csv and league.html.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, on stdout.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
def league(results: tuple[Path, ...], output: Path | None, as_json: bool, seed: int) -> None:
    """Rank any number of RESULTS (run directories or bench.json) by SRME, over the materials that all of them count.

    Example: screen-cli bench league bench-sevennet-fast bench-chgnet-fast bench-sdnnff-fast -o league
    """
    _league(results, output, as_json=as_json, seed=seed)


def _league(results: Sequence[Path], output: Path | None, *, as_json: bool, seed: int) -> None:
    """Rank results, print the table, write the files."""
    from screen_cli.bench.league import league_csv, league_page, make_league
    from screen_cli.bench.results import read_result
    from screen_cli.store.atomic_write import write_text

    read = [read_result(path) for path in results]
    rows, problems = make_league(read, seed)
    if as_json:
        click.echo(json.dumps({"rows": [dataclasses.asdict(row) for row in rows], "problems": problems}, indent=1))
    else:
        _print_league(rows)
    for sentence in problems:
        click.echo(f"note: {sentence}", err=True)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        for path, text in (
            (output / "league.csv", league_csv(rows)),
            (output / "league.html", league_page(rows, read, problems)),
        ):
            write_text(path, text)
            click.echo(f"wrote {path}", err=True)


def _print_league(rows: Sequence[LeagueRow]) -> None:
    """Print the ranking."""
    from screen_cli.report.tables.terminal import Column, print_table

    shown = [
        {
            **dataclasses.asdict(row),
            "interval": f"[{row.srme_low:.3f}, {row.srme_high:.3f}]",
            "behind_interval": "" if row.rank == 1 else f"[{row.behind_low:+.3f}, {row.behind_high:+.3f}]",
            "clear": "clear" if row.is_clearly_behind else "",
        }
        for row in rows
    ]
    print_table(
        shown,
        (
            Column("rank", "", "d"),
            Column("label", "model", ""),
            Column("n_materials", "n", "d"),
            Column("n_failed", "failed", "d"),
            Column("srme", "SRME", ".4f"),
            Column("interval", "[95 %]", ""),
            Column("behind", "behind", "+.4f"),
            Column("behind_interval", "[95 %]", ""),
            Column("clear", "", ""),
            Column("srd", "SRD", "+.3f"),
            Column("sre", "SRE", ".4f"),
            Column("frequency_error_percent", "ν error\n%", ".2f"),
            Column("n_force_calls", "force\ncalls", ".0f"),
            Column("seconds", "s", ".0f"),
        ),
    )


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
