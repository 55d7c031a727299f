"""``screen-cli plugins``: list and check plugins."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from screen_cli.cli import run_command
from screen_cli.errors import unknown_name
from screen_cli.plugins.manager import PluginRegistry, installed_plugins


@click.group(name="plugins", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.option("--kind", default="", help="Only this kind, e.g. calculators.")
@click.pass_context
def command(context: click.Context, as_json: bool, kind: str) -> None:
    """List every plugin record, what offered it, and the plugins that failed to load."""
    if context.invoked_subcommand:
        return
    registry = installed_plugins()
    if kind and kind not in registry.records:
        raise unknown_name("kind of plugin", kind, registry.records)
    if as_json:
        click.echo(json.dumps(_as_json(registry, kind), indent=1))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("kind", "name", "summary", "from", box=None, header_style="bold", pad_edge=False)
    for record_kind, record in registry:
        if not kind or record_kind == kind:
            table.add_row(record_kind, record.name, record.summary, record.distribution)
    for broken in registry.broken:
        table.add_row(Text("broken", "red"), broken.name, broken.reason, broken.distribution)
    for name in registry.disabled:
        table.add_row(Text("disabled", "dim"), name, "left out by SCREEN_PLUGINS or SCREEN_DISABLE_PLUGINS", "")
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 180, highlight=False, markup=False).print(table)


def _as_json(registry: PluginRegistry, kind: str) -> dict[str, object]:
    """Everything the table shows, and more."""
    return {
        "plugins": [
            {"kind": record_kind, **dataclasses.asdict(record)}
            for record_kind, record in registry
            if not kind or record_kind == kind
        ],
        "broken": [dataclasses.asdict(broken) for broken in registry.broken],
        "disabled": registry.disabled,
    }


@command.command(name="check")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.option("--time-limit", default=120.0, show_default=True, help="Seconds per import.")
def check(as_json: bool, time_limit: float) -> int:
    """Import every plugin's factory in a process of its own, time it, and check phono3py's own registry.

    A factory whose optional dependency is not installed is 'absent' with its pip line; one that fails in any
    other way is 'broken' and makes the exit code 1.
    """
    from screen_cli.plugins.check import check_plugins

    with _bar() as told:
        results = check_plugins(installed_plugins(), time_limit, told)
    n_broken = sum(result.state == "broken" for result in results)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(result) for result in results], indent=1))
    else:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table("state", "kind", "name", "import s", "remark", box=None, header_style="bold", pad_edge=False)
        colours = {"ok": "green", "absent": "yellow", "broken": "red"}
        for result in results:
            table.add_row(
                Text(result.state, colours[result.state]),
                result.kind,
                result.name,
                f"{result.seconds:.2f}",
                result.remark,
            )
        Console(file=sys.stdout, width=None if sys.stdout.isatty() else 180, highlight=False, markup=False).print(table)
    return 1 if n_broken else 0


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """Show on a terminal how far the check is."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("importing", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@command.command(name="new")
@click.argument("name")
@click.option("--force", is_flag=True, help="Write into a folder that exists.")
def new(name: str, force: bool) -> None:
    """Make the folder NAME with a complete plugin package: calculator, property, command and tests that pass."""
    from screen_cli.plugins.new_package import write_package

    folder = write_package(name, force=force)
    click.echo(f"wrote {folder}. Next: pip install -e {folder} && pytest {folder}; screen-cli plugins check", err=True)


def main(argv: list[str]) -> int:
    """Run the command."""
    return run_command(command, argv)
