"""``screen-cli bench kappa``: force fields against reference conductivities."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from screen_cli.cli.bench.ranking import write_league
from screen_cli.cli.options import Duration, GivenPath

if TYPE_CHECKING:
    from screen_cli.bench.protocol import Protocol
    from screen_cli.bench.reference import Reference
    from screen_cli.store.run_directory import RunDirectory


class HowToRun(TypedDict):
    """Options of ``bench kappa`` that hold for every calculator.

    Attributes
    ----------
    structures, only : tuple of str
        Files and folders, and which of their materials; empty: all.
    exact_result : pathlib.Path or None
        Run or result of the exact protocol, to state the error of the fast one against.
    overrides : tuple of str
        ``TABLE.KEY=VALUE``.
    engine : str or None
    workers : int or None
    walltime : float or None
        Seconds.
    retry_failed, score_only, report, quiet : bool
    """

    structures: tuple[str, ...]
    only: tuple[str, ...]
    exact_result: Path | None
    overrides: tuple[str, ...]
    engine: str | None
    workers: int | None
    walltime: float | None
    retry_failed: bool
    score_only: bool
    report: bool
    quiet: bool


@click.command(name="kappa")
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
@click.option("--structures", "-S", multiple=True, required=True, type=GivenPath(), help="File or folder; repeatable.")
@click.option("--reference", "-r", type=GivenPath(path_type=Path), help="kappas_*.json.gz, or phono3py's kappa hdf5.")
@click.option(
    "--protocol",
    type=click.Choice(["exact", "fast"]),
    default="exact",
    show_default=True,
    help="Finite differences as published, or a fit to a tenth of the force calls.",
)
@click.option("--only", multiple=True, help="Id, name or prototype of a material; repeatable.")
@click.option(
    "--run-dir",
    "-d",
    type=GivenPath(path_type=Path),
    help="Default: bench-CALCULATOR-PROTOCOL; of several calculators, the folder that holds theirs.",
)
@click.option(
    "--exact", "exact_result", type=GivenPath(path_type=Path), help="Exact run to state fast's error against."
)
@click.option("--set", "-s", "overrides", multiple=True, metavar="TABLE.KEY=VALUE", help="Override any setting.")
@click.option("--engine", help="Engine: local, serial, ...")
@click.option("--workers", "-w", type=int, help="Worker processes (0: one per core).")
@click.option("--walltime", type=Duration(), metavar="TIME", help="Start no further crystal after 90s, 15m, 1:30:00.")
@click.option("--retry-failed", is_flag=True, help="Try quarantined crystals again.")
@click.option("--score-only", is_flag=True, help="Compute nothing; score what is there.")
@click.option("--report/--no-report", default=True, help="Write the report.html of each run at the end.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def kappa(
    *,
    calculators: tuple[str, ...],
    options: tuple[str, ...],
    run_dir: Path | None,
    reference: Path | None,
    protocol: Protocol,
    **how: Unpack[HowToRun],
) -> int:
    """Run the κ protocol for every material, and score it against a reference.

    Prints one line per material and the means, and writes bench.json, bench.csv, parity.png, report.html and the
    mode-resolved predictions*.json.gz into the run directory. Several calculators run one after another, each in its
    environment, and are ranked at the end (see 'bench league'). Can be stopped at any time; the same command goes on.
    """
    from screen_cli.bench.protocol import TEMPERATURE
    from screen_cli.bench.reference import read_references
    from screen_cli.bench.results import BenchCalculator
    from screen_cli.settings_file import parse_options

    references, problems = read_references(reference, TEMPERATURE) if reference is not None else (None, [])
    scored = References(reference, references, tuple(problems))
    models = [(name, parse_options([*options, *own])) for name, *own in (text.split(",") for text in calculators)]
    names = [
        "-".join(["bench", name.rsplit(".")[-1], *BenchCalculator(name, told).told.values(), protocol])
        for name, told in models
    ]
    if len(set(names)) < len(names):
        raise click.UsageError("two calculators with the same options. Give each once.")
    folders = [run_dir or Path(names[0])] if len(names) == 1 else [(run_dir or Path()) / name for name in names]
    drained = False
    for (name, told), folder in zip(models, folders, strict=True):
        if len(models) > 1:
            click.echo(f"\n{name} {told or ''}".rstrip(), err=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        plan = KappaPlan(calculator=name, options=told, protocol=protocol, folder=folder, how=how)
        drained |= _bench(plan, scored)
    if len(models) > 1 and reference is not None and not drained:
        write_league(folders, run_dir or Path("bench-league"), as_json=False, seed=0)
    if drained:
        click.echo("stopped before the end: run the same command to go on", err=True)
    return 3 if drained else 0


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
    """One force field of ``bench kappa``, and how it is to run.

    Parameters
    ----------
    calculator : str
    options : dict
        Of the calculator.
    protocol : {"exact", "fast"}
    folder : pathlib.Path
        Its run directory.
    how : HowToRun
    """

    calculator: str
    options: dict[str, object]
    protocol: Protocol
    folder: Path
    how: HowToRun


def _bench(plan: KappaPlan, references: References) -> bool:
    """Run and score one force field; whether it stopped before the end."""
    from screen_cli.bench.campaign import campaign_settings, open_campaign
    from screen_cli.bench.protocol import TEMPERATURE
    from screen_cli.cli.run_directory.run import execute_watched, leaving_nothing_behind
    from screen_cli.run.driver import ExecuteOptions

    how = plan.how
    engine_table = {"name": how["engine"], "workers": how["workers"]}
    settings = campaign_settings(
        plan.protocol,
        plan.calculator,
        plan.options,
        how["structures"],
        only=how["only"],
        meshes={key: item.mesh for key, item in (references.by_id or {}).items() if item.mesh is not None},
        engine={key: value for key, value in engine_table.items() if value is not None},
        overrides=how["overrides"],
    )
    drained = False
    with leaving_nothing_behind(plan.folder):
        run = open_campaign(plan.folder, settings, must_exist=how["score_only"])
        if not how["score_only"]:
            options_of_run = ExecuteOptions(retry_failed=how["retry_failed"], time_limit=how["walltime"])
            drained = execute_watched(run, options_of_run, quiet=how["quiet"]).drained
    _report(
        run,
        plan.protocol,
        TEMPERATURE,
        references.file,
        references=references.by_id,
        problems=references.problems,
        exact_result=how["exact_result"],
    )
    if how["report"]:
        from screen_cli.report import write_report

        click.echo(f"wrote {write_report(run)}", err=True)
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
    from screen_cli.bench.results import collect_result, read_result, write_predictions, write_result
    from screen_cli.bench.score import score_run, unmatched_references
    from screen_cli.cli.bench.parity_plot import plot_parity
    from screen_cli.cli.bench.tables import print_scores
    from screen_cli.report.figures.style import save_figure

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
    print_scores(result)
    for sentence in told:
        click.echo(f"note: {sentence}", err=True)
    paths = [*write_result(result, run.root), *write_predictions(run, scores, run.root)]
    if result.means is not None:
        paths += save_figure(plot_parity(scores, title=result.label), run.root / "parity")
    for path in paths:
        click.echo(f"wrote {path}", err=True)
