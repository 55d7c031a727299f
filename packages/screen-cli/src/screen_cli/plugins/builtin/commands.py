"""Built-in sub-commands."""

from __future__ import annotations

from collections.abc import Iterator

from screen_cli.plugins.hookspecs import hookimpl
from screen_cli.plugins.records import CommandPlugin


@hookimpl
def screen_commands() -> Iterator[CommandPlugin]:
    """Register the commands of :mod:`screen_cli.cli`."""
    for module, summary in (
        ("run_directory.init", "Write a commented configuration file"),
        ("run_directory.run", "Screen crystals: start or resume a run"),
        ("one", "One crystal from a file: its row, its page and its figures"),
        ("structures", "Prototypes; preview and export the crystals of a configuration"),
        ("run_directory.status", "How far a run is, what failed and why"),
        ("results.show", "Results as a table: filter, columns, sort"),
        ("results.export", "Results as CSV, JSON, Parquet, extended XYZ or ASE database"),
        ("results.gate", "Recall and precision of the gate, and what it saves"),
        ("results.hull", "How far crystals lie above the convex hull of the run, the elements and further phases"),
        ("results.compare", "Two runs (two force fields) on the same crystals: table, parity, statistics"),
        ("results.plot", "Figures of one crystal: bands and DOS, conductivity"),
        ("results.expansion", "Thermal expansion, Grüneisen parameters, elastic constants"),
        ("results.report", "Write the HTML report of a run"),
        ("bench", "Benchmark force fields on κ against a reference; compare two"),
        ("run_directory.merge", "Join runs of one configuration, e.g. shards that ran elsewhere"),
        ("run_directory.verify", "Read a whole run directory and name what is damaged"),
        ("run_directory.rebuild", "Make the index anew from the records"),
        ("kinds", "What crystals of one symmetry share: list, warm, clear"),
        ("env", "Environments of force fields that cannot live together: create, list, check, remove"),
        ("plugins", "List and check plugins"),
    ):
        yield CommandPlugin(name=module.rpartition(".")[2], summary=summary, factory=f"screen_cli.cli.{module}:main")
