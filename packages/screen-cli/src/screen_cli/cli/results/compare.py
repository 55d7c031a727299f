"""``screen-cli compare``: two runs on the same crystals."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from screen_cli.cli import run_command
from screen_cli.cli.options import GivenPath, OutputPath
from screen_cli.store.row import Row, number

if TYPE_CHECKING:
    from screen_cli.analysis.comparison import Comparison
    from screen_cli.store.run_directory import RunDirectory


@click.command(name="compare")
@click.argument("run_a", type=GivenPath(path_type=Path))
@click.argument("run_b", type=GivenPath(path_type=Path))
@click.option("--filter", "-f", "where", default="", help="Only crystals for which this holds in both runs.")
@click.option("--json", "as_json", is_flag=True, help="Everything, machine-readable, on stdout.")
@click.option("--csv", "csv_path", type=OutputPath(), help="Write the joint table.")
@click.option(
    "--plot",
    type=OutputPath(),
    metavar="NAME",
    help="Write the parity plot of κ as NAME.png, .svg and .pdf, and that of frequencies, c_v, V_s, P3 and MSD as "
    "NAME-properties; --csv has the data.",
)
@click.option(
    "--sort",
    "order",
    type=click.Choice(["difference", "kappa"]),
    default="difference",
    show_default=True,
    help="Largest ratio of κ first, or lowest κ first.",
)
@click.option("--limit", "-n", default=40, show_default=True, help="Rows of the table to show.")
def command(
    *,
    run_a: Path,
    run_b: Path,
    where: str,
    as_json: bool,
    csv_path: Path | None,
    plot: Path | None,
    order: str,
    limit: int,
) -> None:
    """Compare RUN_B with RUN_A, crystal by crystal (matched by id).

    Prints κ_P and κ_C of both runs, their geometric mean κ and the factor by which each is off it, what else speaks
    against the number; of every compared column the mean log10 ratio, R² (A is the reference) and mean error; the error
    of the frequencies where both have them on the same mesh; and on how many crystals both agree about stability.
    Settings that differ besides the force field are named.
    """
    from screen_cli.analysis.comparison import compare_rows, with_frequency_errors
    from screen_cli.errors import FilterError
    from screen_cli.report.figures.style import save_figure
    from screen_cli.report.figures.two_runs import draw_parity, draw_properties
    from screen_cli.report.tables.columns import in_short_names, temperatures_of
    from screen_cli.report.tables.exporters import write_table
    from screen_cli.store.run_directory import RunDirectory, setting_differences

    first, second = RunDirectory.open(run_a), RunDirectory.open(run_b)
    comparison = compare_rows(first.stream(in_short_names(where)), second.stream(in_short_names(where)))
    if not comparison.crystals:
        raise FilterError(f"{run_a} and {run_b} have no crystal in common; they must read the same source.")
    comparison = with_frequency_errors(comparison, first, second)
    others = [text for text in setting_differences(first.settings, second.settings) if not _expected(text)]
    if others:
        click.echo("settings differ besides the force field: " + "; ".join(others), err=True)
    if csv_path is not None:
        rows = comparison.rows
        headings = _headings(rows[0], {"a": temperatures_of(first), "b": temperatures_of(second)})
        write_table(rows, csv_path, headings)
        click.echo(f"wrote {len(rows)} rows to {csv_path}", err=True)
    if plot is not None:
        stem = plot.with_suffix("") if plot.suffix in (".png", ".svg", ".pdf") else plot
        try:
            figures = {stem: draw_parity(comparison, _name(first), _name(second))}
        except ValueError as error:
            raise FilterError(f"nothing to plot: {error}.") from error
        properties = draw_properties(comparison, _name(first), _name(second))
        if properties is not None:
            figures[stem.with_name(f"{stem.name}-properties")] = properties
        for path in (path for place, figure in figures.items() for path in save_figure(figure, place)):
            click.echo(f"wrote {path}", err=True)
    if as_json:
        click.echo(json.dumps({"settings_differ": others, **_as_json(comparison, first, second)}, indent=1))
        return
    _print(comparison, _name(first), _name(second), order, limit)


def _as_json(comparison: Comparison, first: RunDirectory, second: RunDirectory) -> dict[str, object]:
    """Write the comparison of two runs with units in the keys of its rows, and the temperatures of both beside them."""
    from screen_cli.report.tables.columns import temperatures_of

    keys = _headings(comparison.rows[0], {"a": {}, "b": {}}) if comparison.rows else {}
    rows = [{keys[name]: value for name, value in row.items()} for row in comparison.rows]
    kelvin = {side: temperatures_of(run) for side, run in (("a", first), ("b", second))}
    names = {"a": _name(first), "b": _name(second)}
    return {"runs": names, "temperatures_k": kelvin, **comparison.to_dict(), "rows": rows}


def _headings(names: Iterable[str], temperatures: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """Heading of each joint column; those of one run end in its letter."""
    from screen_cli.report.tables.columns import quantity_of

    headings = {}
    for name in names:
        side = name[-1] if name.endswith(("_a", "_b")) else ""
        known = temperatures[side or "a"]
        headings[name] = quantity_of(name.removesuffix(f"_{side}") if side else name).full_name(known)
        headings[name] += f"_{side}" if side else ""
    return headings


def _print(comparison: Comparison, name_a: str, name_b: str, order: str, limit: int) -> None:
    """Print table and statistics."""
    import numpy as np

    from screen_cli.analysis.comparison import LOGARITHMIC
    from screen_cli.report.tables.terminal import Column, print_table

    click.echo(f"A = {name_a}\nB = {name_b}\n")
    columns = [
        Column("formula", "crystal", ""),
        Column("space_group", "SG", "d"),
        Column("stability", "stable", ""),
        Column("min_frequency_thz_a", "ν min A\nTHz", ".2f"),
        Column("min_frequency_thz_b", "ν min B\nTHz", ".2f"),
        Column("max_msd_a", "max MSD A\nÅ²", ".4f"),
        Column("max_msd_b", "max MSD B\nÅ²", ".4f"),
        Column("kappa_p_w_mk_a", "κ_P A\nW/mK", ".3g"),
        Column("kappa_c_w_mk_a", "κ_C A\nW/mK", ".2g"),
        Column("kappa_p_w_mk_b", "κ_P B\nW/mK", ".3g"),
        Column("kappa_c_w_mk_b", "κ_C B\nW/mK", ".2g"),
        Column("kappa_mean_w_mk", "κ mean\nW/mK", ".3g"),
        Column("kappa_factor", "×÷", ".2f"),
        Column("log10_ratio", "log10 B/A", "+.3f"),
        Column("warnings", "warnings", ""),
    ]
    rows = sorted(comparison.rows, key=_by_kappa if order == "kappa" else _by_difference)[:limit]
    print_table([{**row, "stability": _stability(row)} for row in rows], columns)
    if len(comparison.crystals) > limit:
        click.echo(f"... and {len(comparison.crystals) - limit} more (--limit)")
    click.echo()
    sound = [] if comparison.without_warnings is None else [comparison.without_warnings]
    for item in (*comparison.agreements, *sound):
        name = f"{item.column} without warnings" if item in sound else item.column
        rank = "" if item.rank_correlation is None else f", rank correlation {item.rank_correlation:.3f}"
        of = " of the logarithm" if item.column in LOGARITHMIC else ""
        fit = "" if item.r_squared is None else f", R²{of} {item.r_squared:.3f}"
        click.echo(
            f"{name}: {item.n} crystals, mean log10(B/A) {item.mean_log10_ratio:+.3f}, mean size "
            f"{item.mean_abs_log10_ratio:.3f}, mean |B − A| {item.mean_abs_error:.3g}, "
            f"{100 * item.within_factor_2:.0f} % within a factor of 2{rank}{fit}"
        )
    errors = comparison.stable_frequency_errors
    if len(errors):
        click.echo(
            f"frequencies: {len(errors)} crystals stable in A, RMSE over the range {errors.mean():.2f} % in the mean, "
            f"median {np.median(errors):.2f} %"
        )
    if comparison.stability_agreement is not None:
        counts = comparison.stability
        click.echo(
            f"stability: agree on {100 * comparison.stability_agreement:.1f} % of {sum(counts.values())} (both stable "
            f"{counts['both']}, only A {counts['only_a']}, only B {counts['only_b']}, neither {counts['neither']})"
        )
    click.echo(
        f"{len(comparison.crystals)} crystals in common; only in A {comparison.only_a}, only in B {comparison.only_b}"
    )


def _by_difference(row: Row) -> float:
    """Largest ratio of κ first."""
    return -abs(number(row, "log10_ratio") or 0.0)


def _by_kappa(row: Row) -> float:
    """Lowest κ first: the mean, or the one there is; crystals without κ last."""
    known = [number(row, name) for name in ("kappa_mean_w_mk", "kappa_total_w_mk_a", "kappa_total_w_mk_b")]
    return next((value for value in known if value is not None), math.inf)


def _stability(row: Row) -> str:
    """Who calls a crystal stable."""
    names = {(True, True): "both", (True, False): "A only", (False, True): "B only", (False, False): "neither"}
    a, b = row["stable_a"], row["stable_b"]
    return "" if a is None or b is None else names[bool(a), bool(b)]


def _name(run: RunDirectory) -> str:
    """Folder and force field of a run."""
    calculator = run.settings.calculator
    options = ", ".join(f"{key} = {value}" for key, value in calculator.options.items())
    return f"{run.root.name} ({calculator.name}{f': {options}' if options else ''})"


def _expected(difference: str) -> bool:
    """Whether a difference of the settings is what a comparison is for."""
    return difference.startswith(("calculator", "engine", "title"))


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
