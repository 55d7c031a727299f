"""The command line: ``screen-cli COMMAND``. Every command, built in or not, comes through the hook.

Data go to stdout, everything else to stderr. Exit codes: 0 done (quarantined crystals included), 1 stopped
by a failure, 2 wrong input or configuration, 3 drained before the end (run again to go on), 70 a fault of this program
(a report is written), 130 interrupted.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click

from screen_cli.cli.boundary import Boundary
from screen_cli.cli.options import listen, options_for_everybody
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
        if ctx.resilient_parsing:  # the shell asks what may follow
            found = getattr(import_module(plugin.factory.partition(":")[0]), "command", None)
            if isinstance(found, click.Command):
                return found

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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; ask for the nearest name where there is none."""
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            raise click.exceptions.NoSuchCommand(args[0], possibilities=self.list_commands(ctx), ctx=ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: screen-cli init --crystals FOLDER, screen-cli run screen.toml. Exit codes: 0 done, 1 stopped "
    "by a failure, 2 wrong input, 3 stopped with work left, 70 a fault of this program, 130 interrupted.",
)
@click.version_option(package_name="screen-cli", message="%(package)s %(version)s")
def cli() -> None:
    """From crystals to phonons and lattice thermal conductivity.

    Reads crystals, relaxes them with any ASE calculator, fits force constants to random displacements, and
    computes phonon properties, the lattice thermal conductivity and its wave-like part. A run can be killed
    at any time and resumed.
    """


cli.params.extend(options_for_everybody())


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    listen(0)
    boundary = Boundary(sys.argv[1:] if argv is None else argv)
    code = boundary.run(lambda: cli.main(args=argv, prog_name="screen-cli", standalone_mode=False, obj=boundary))
    if argv is None:
        sys.exit(code)
    return code


def run_command(command: click.Command, argv: list[str]) -> int:
    """Run one built-in click command inside the group (errors reach :func:`main`)."""
    if not any("--debug" in option.opts for option in command.params):
        command.params.extend(options_for_everybody())
    context = click.get_current_context(silent=True)
    boundary = None if context is None else context.find_object(Boundary)
    name, helps = f"screen-cli {command.name}", ["-h", "--help"]
    return int(command.main(argv, name, standalone_mode=False, obj=boundary, help_option_names=helps) or 0)
