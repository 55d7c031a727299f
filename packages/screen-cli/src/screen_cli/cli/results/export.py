"""``screen-cli export``: results as a file."""

from __future__ import annotations

from pathlib import Path

import click

from screen_cli.cli import run_command
from screen_cli.cli.options import GivenPath, OutputPath


@click.command(name="export")
@click.argument("run_dir", type=GivenPath(path_type=Path))
@click.argument("output", type=OutputPath())
@click.option("--format", "form", default="", help="Exporter name; default: from the file ending.")
@click.option("--filter", "-f", "where", default="", help="Only these rows (expression as in 'show').")
@click.option("--licence", default="", help="Licence of a data set (.zip), e.g. CC-BY-4.0; for its README.")
@click.option("--creator", default="", help="Whom the README of a data set (.zip) names.")
def command(*, run_dir: Path, output: Path, form: str, where: str, licence: str, creator: str) -> None:
    """Write the results of RUN_DIR to OUTPUT: .csv, .json, .jsonl, .parquet, .extxyz, .db, or a plugin's.

    .zip is a data set to publish: tables, crystals and settings, with a README of columns, units, licence and citation.
    """
    from screen_cli.errors import ConfigError, UnknownNameError
    from screen_cli.plugins.manager import installed_plugins
    from screen_cli.report.tables.columns import in_short_names
    from screen_cli.store.atomic_write import whole_file
    from screen_cli.store.run_directory import RunDirectory

    registry = installed_plugins()
    if form:
        exporter = registry.get("exporters", form)
    else:
        exporters = [registry.get("exporters", name) for name in registry.names("exporters")]
        by_suffix = {record.suffix: record for record in exporters}
        if output.suffix not in by_suffix:
            raise UnknownNameError(
                f"no exporter writes '{output.suffix or output.name}'. Known endings: {', '.join(sorted(by_suffix))}; "
                "or name one with --format."
            )
        exporter = by_suffix[output.suffix]
    about = {}
    if licence or creator:
        from screen_cli.report.tables.dataset import About

        if exporter.name != "dataset":
            raise ConfigError("--licence and --creator are for a data set, whose name ends in .zip.")
        about["about"] = About(licence, creator)
    run = RunDirectory.open(run_dir)
    rows = run.stream(in_short_names(where))
    n_rows = len(rows)  # a bad expression is told before the file is touched
    with whole_file(output) as path:
        exporter.load()(rows, path, run=run, **about)
    click.echo(f"wrote {n_rows} rows to {output}", err=True)


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
