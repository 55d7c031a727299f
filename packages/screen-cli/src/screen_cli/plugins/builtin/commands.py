"""Built-in sub-commands."""

from __future__ import annotations

from collections.abc import Iterator

from screen_cli.plugins.hookspecs import hookimpl
from screen_cli.plugins.records import CommandPlugin


@hookimpl
def screen_commands() -> Iterator[CommandPlugin]:
    """Register the commands of :mod:`screen_cli.cli`."""
    for name, summary in (
        ("init", "Write a commented configuration file"),
        ("run", "Screen crystals: start or resume a run"),
        ("one", "One crystal from a file: its row, its page and its figures"),
        ("structures", "Prototypes; preview and export the crystals of a configuration"),
        ("status", "How far a run is, what failed and why"),
        ("show", "Results as a table: filter, columns, sort"),
        ("export", "Results as CSV, JSON, Parquet, extended XYZ or ASE database"),
        ("gate", "Recall and precision of the gate, and what it saves"),
        ("compare", "Two runs (two force fields) on the same crystals: table, parity, statistics"),
        ("plot", "Figures of one crystal: bands and DOS, conductivity"),
        ("expansion", "Thermal expansion, Grüneisen parameters, elastic constants"),
        ("report", "Write the HTML report of a run"),
        ("bench", "Benchmark force fields on κ against a reference; compare two"),
        ("merge", "Join runs of one configuration, e.g. shards that ran elsewhere"),
        ("verify", "Read a whole run directory and name what is damaged"),
        ("rebuild", "Make the index anew from the records"),
        ("kinds", "What crystals of one symmetry share: list, warm, clear"),
        ("plugins", "List and check plugins"),
    ):
        yield CommandPlugin(name=name, summary=summary, factory=f"screen_cli.cli.{name}:main")
