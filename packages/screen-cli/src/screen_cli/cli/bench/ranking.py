"""``screen-cli bench compare`` and ``screen-cli bench league``: results side by side."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import click

from screen_cli.cli.options import GivenPath

REPORT = "report.html"


@click.command(name="compare")
@click.argument("results", nargs=-1, required=True, type=GivenPath(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, on stdout.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
def compare(results: tuple[Path, ...], as_json: bool, seed: int) -> None:
    """Put two RESULTS (run directories or bench.json) side by side, with paired differences; rank more than two.

    All must be scored against the same reference. Intervals are 95 % bootstrap intervals over the common materials; a
    difference whose interval leaves out zero is marked. More than two are shown as 'bench league' ranks them, which
    also writes a page, a picture and the files of the public leaderboards.
    """
    if len(results) == 1:
        raise click.UsageError(f"one result, {results[0]}, is nothing to compare with. Give two or more.")
    if len(results) > 2:
        write_league(results, None, as_json=as_json, seed=seed)
        return
    from screen_cli.bench.comparison import compare_results
    from screen_cli.bench.results import read_result
    from screen_cli.cli.bench.tables import print_comparison

    a, b = (read_result(path) for path in results)
    differences, problems = compare_results(a, b, seed)
    if as_json:
        rows = [{**dataclasses.asdict(item), "is_clear": item.is_clear} for item in differences]
        click.echo(json.dumps({"a": a.label, "b": b.label, "problems": problems, "differences": rows}, indent=1))
    else:
        print_comparison(a, b, differences)
    for sentence in problems:
        click.echo(f"note: {sentence}", err=True)


@click.command(name="league")
@click.argument("results", nargs=-1, required=True, type=GivenPath(path_type=Path))
@click.option("--output", "-o", type=GivenPath(path_type=Path), help="Folder for the files.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, on stdout.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
def league(results: tuple[Path, ...], output: Path | None, as_json: bool, seed: int) -> None:
    """Rank any number of RESULTS (run directories or bench.json) by SRME, over the materials that all of them count.

    Writes league.csv, league.html, league.png (svg, pdf) and, in the layout of the public leaderboards,
    matbench-discovery/ and ml-peg/. Numbers of the page lead to their crystals in the reports of the runs.

    Example: screen-cli bench league bench-sevennet-fast bench-chgnet-fast bench-sdnnff-fast -o league
    """
    write_league(results, output, as_json=as_json, seed=seed)


def write_league(results: Sequence[Path], output: Path | None, *, as_json: bool, seed: int) -> None:
    """Rank results, print the table, write the files."""
    from screen_cli.bench.export import write_leaderboards
    from screen_cli.bench.league import league_csv, make_league
    from screen_cli.bench.league_page import league_page
    from screen_cli.bench.results import read_result
    from screen_cli.cli.bench.league_plot import plot_league
    from screen_cli.cli.bench.tables import print_league
    from screen_cli.report.figures.style import save_figure
    from screen_cli.store.atomic_write import write_text

    read = [read_result(path) for path in results]
    rows, problems = make_league(read, seed)
    if as_json:
        click.echo(json.dumps({"rows": [dataclasses.asdict(row) for row in rows], "problems": problems}, indent=1))
    else:
        print_league(rows)
    for sentence in problems:
        click.echo(f"note: {sentence}", err=True)
    if output is not None:
        exported = write_leaderboards(list(zip(results, read, strict=True)), output)
        output.mkdir(parents=True, exist_ok=True)
        reports = {
            result.label: quote(os.path.relpath(path / REPORT, output))
            for path, result in zip(results, read, strict=True)
            if (path / REPORT).is_file()
        }
        texts = {
            output / "league.csv": league_csv(rows),
            output / "league.html": league_page(rows, read, problems, reports),
        }
        for path, text in texts.items():
            write_text(path, text)
        for path in [*texts, *save_figure(plot_league(rows, read), output / "league"), *exported]:
            click.echo(f"wrote {path}", err=True)
