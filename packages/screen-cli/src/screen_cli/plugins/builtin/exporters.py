"""Built-in output formats."""

from __future__ import annotations

from collections.abc import Iterator

from screen_cli.plugins.hookspecs import hookimpl
from screen_cli.plugins.records import ExporterPlugin


@hookimpl
def screen_exporters() -> Iterator[ExporterPlugin]:
    """Register the formats of :mod:`screen_cli.report.tables.exporters`, and the data set made of them."""
    for name, summary, suffix, function in (
        ("csv", "Comma-separated values, one line per crystal", ".csv", "write_csv"),
        ("json", "JSON list of objects", ".json", "write_json"),
        ("jsonl", "One JSON object per line", ".jsonl", "write_json_lines"),
        ("parquet", "Apache Parquet, typed columns", ".parquet", "write_parquet"),
        ("extxyz", "Extended XYZ: relaxed crystals with their columns", ".extxyz", "write_extxyz"),
        ("ase-db", "ASE database: relaxed crystals with key-value pairs", ".db", "write_ase_db"),
    ):
        pip = "screen-cli[parquet]" if name == "parquet" else None
        factory = f"screen_cli.report.tables.exporters:{function}"
        yield ExporterPlugin(name=name, summary=summary, suffix=suffix, factory=factory, pip=pip)
    yield ExporterPlugin(
        name="dataset",
        summary="Data set to publish: CSV, Parquet, extended XYZ, settings and a README, in one zip file",
        suffix=".zip",
        factory="screen_cli.report.tables.dataset:write_dataset",
    )
