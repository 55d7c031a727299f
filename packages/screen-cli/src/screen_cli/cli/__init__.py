"""The command line: ``screen-cli COMMAND``. Every command, built in or not, comes through the hook.

Data go to stdout, everything else to stderr. Exit codes: 0 done (quarantined crystals included), 1 stopped
by a failure, 2 bad input or configuration, 3 drained before the end (run again to go on), 70 a fault of this program
(a report is written), 130 interrupted.
"""

from __future__ import annotations

import logging
import sys

import click

from screen_cli.cli.boundary import Boundary
from screen_cli.plugins.manager import installed_plugins


class _CommandGroup(click.Group):
    """Sub-commands from the registry; a command's module is imported only when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all registered commands."""
        return list(installed_plugins().records["commands"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Wrap one registered command; what follows its name reaches it unchanged."""
        registry = installed_plugins()
        if cmd_name not in registry.records["commands"]:
            return None
        plugin = registry.get("commands", cmd_name)

        def invoke(argv: tuple[str, ...]) -> int:
            return int(plugin.load()(list(argv)) or 0)

        return click.Command(
            cmd_name,
            callback=invoke,
            short_help=plugin.summary,
            params=[click.Argument(["argv"], nargs=-1, type=click.UNPROCESSED)],
            context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
            add_help_option=False,
        )


@click.group(
    cls=_CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: screen-cli init, edit screen.toml, screen-cli run screen.toml.",
)
@click.option("-v", "--verbose", count=True, help="Log more (-v: info, -vv: debug).")
@click.option("--debug", is_flag=True, help="Show the trace of a failure.")
@click.version_option(package_name="screen-cli")
@click.pass_obj
def cli(boundary: Boundary | None, verbose: int, debug: bool) -> None:
    """From crystals to phonons and lattice thermal conductivity.

    Reads crystals, relaxes them with any ASE calculator, fits force constants to random displacements, and
    computes phonon properties, the lattice thermal conductivity and its wave-like part. A run can be killed
    at any time and resumed.
    """
    if boundary is not None:
        boundary.debug = debug
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.setLevel(level)  # else a library that lowers the level of its own logger writes here too


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    boundary = Boundary(sys.argv[1:] if argv is None else argv)
    code = boundary.run(lambda: cli.main(args=argv, prog_name="screen-cli", standalone_mode=False, obj=boundary))
    if argv is None:
        sys.exit(code)
    return code


def run_command(command: click.Command, argv: list[str]) -> int:
    """Run one built-in click command inside the group (errors reach :func:`main`)."""
    return int(command.main(args=argv, prog_name=f"screen-cli {command.name}", standalone_mode=False) or 0)
