"""Tables of ``screen-cli bench`` on the terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from screen_cli.report.tables.terminal import Column, print_table

if TYPE_CHECKING:
    from screen_cli.bench.comparison import PairedDifference
    from screen_cli.bench.league import LeagueRow
    from screen_cli.bench.results import BenchResult


def print_scores(result: BenchResult) -> None:
    """Print materials, means, and what the fast protocol costs."""
    from screen_cli.bench.results import public_fields

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
        Column("peak_mb", "MB", ".0f"),
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


def print_comparison(a: BenchResult, b: BenchResult, differences: Sequence[PairedDifference]) -> None:
    """Print the paired differences of two results."""
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


def print_league(rows: Sequence[LeagueRow]) -> None:
    """Print the ranking."""
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
            Column("frequency_slope", "ν slope", ".3f"),
            Column("gruneisen_mean", "γ", ".2f"),
            Column("thermal_expansion_per_mk", "α\n10⁻⁶/K", ".1f"),
            Column("n_force_calls", "force\ncalls", ".0f"),
            Column("peak_mb", "MB", ".0f"),
            Column("seconds", "s", ".0f"),
            Column("fast_kappa_error_percent", "κ error\nof fast, %", ".1f"),
        ),
    )
