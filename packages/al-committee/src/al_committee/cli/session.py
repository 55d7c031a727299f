"""One call of the command line: its options for everybody, and the one place where a failure becomes a sentence."""

from __future__ import annotations

import logging
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from al_committee.cli.objects import HostNames
    from al_committee.loop.progress import Progress

__all__ = [
    "EXIT_CRASH",
    "EXIT_ERROR",
    "EXIT_INPUT",
    "EXIT_INTERRUPTED",
    "EXIT_MORE_TO_DO",
    "EXIT_OK",
    "Program",
    "Session",
    "in_session",
]

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_INPUT = 2
EXIT_MORE_TO_DO = 3
"""The loop stopped cleanly with work left (walltime, signal, outstanding labels): run resume later."""
EXIT_CRASH = 70
EXIT_INTERRUPTED = 130


@dataclass
class Session:
    """What one call was asked, and what becomes of its failures.

    Parameters
    ----------
    argv : sequence of str
        What was typed, for the crash report.
    names : HostNames, optional
        What a host (screen-cli) knows by name.
    verbose : int
        How often ``-v`` was given.
    debug : bool
        Show the trace of every failure.
    progress : Progress, optional
        Where long steps are told, once the terminal is known.
    """

    argv: Sequence[str]
    names: HostNames | None = None
    verbose: int = 0
    debug: bool = False

    progress: Progress | None = None

    def log_to_terminal(self) -> None:
        """Log to the terminal from now on, with bars that do not disturb the lines."""
        from al_committee.cli.terminal import log_to_terminal

        self.progress = log_to_terminal(logging.DEBUG if self.verbose else logging.INFO)
        for chatty in ("matplotlib", "fontTools"):
            logging.getLogger(chatty).setLevel(logging.WARNING)

    def run(self, program: click.Command) -> int:
        """Run the program; every exception becomes one sentence on stderr and an exit code."""
        name = "al-committee" if self.names is None else "screen-cli al"
        try:
            return int(program.main(list(self.argv), prog_name=name, standalone_mode=False, obj=self) or 0)
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except (KeyboardInterrupt, click.Abort):
            return self._say("interrupted; resume goes on from the last finished step", EXIT_INTERRUPTED)
        except Exception as error:
            return self._failed(error)

    def _failed(self, error: Exception) -> int:
        """Tell what was expected from what was not."""
        from al_committee.errors import (
            CommitteeError,
            ConfigChangedError,
            ConfigError,
            FactoryError,
            MissingExtraError,
            StructureError,
            UnknownNameError,
        )
        from al_committee.loop.interruption import PausedError

        of_input = (ConfigChangedError, ConfigError, FactoryError, MissingExtraError, StructureError, UnknownNameError)
        if isinstance(error, PausedError):
            print(error, file=sys.stderr)
            return EXIT_MORE_TO_DO
        if isinstance(error, CommitteeError):
            return self._say(str(error), EXIT_INPUT if isinstance(error, of_input) else EXIT_ERROR)
        if isinstance(error, OSError):
            where = f" {error.filename}" if error.filename else ""
            fix = "Check permissions, free space and the name, then resume."
            return self._say(f"{error.strerror or error}:{where}. {fix}", EXIT_ERROR)
        first = str(error).splitlines()[0] if str(error) else ""
        report = _write_report(self.argv)
        return self._say(
            f"unexpected {type(error).__name__}: {first}. This is a fault of al-committee or of what the "
            f"configuration names. Versions and trace are in {report}; please send it to the authors.",
            EXIT_CRASH,
        )

    def _say(self, sentence: str, code: int) -> int:
        """Write one sentence, and the trace where it was asked for."""
        if self.debug:
            traceback.print_exc()
        print(f"al-committee: {sentence}", file=sys.stderr)
        return code


def _write_report(argv: Sequence[str]) -> str:
    """Write versions, command and trace to a new file here, or among temporary files; return its path."""
    lines = [
        f"al-committee {' '.join(map(repr, argv))}",
        f"Python {platform.python_version()} on {platform.platform()}",
        *(f"{name} {version(name)}" for name in ("al-committee", "ase", "numpy", "scipy", "pydantic")),
    ]
    text = "\n".join([*lines, "", traceback.format_exc()])
    name = f"al-committee-crash-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.txt"
    for folder in (Path.cwd(), Path(tempfile.gettempdir())):
        try:
            (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
            return str(folder / name)
        except OSError:
            continue
    sys.stderr.write(text)
    return "the lines above"


class Program(click.Group):
    """A group whose commands take ``-v`` and ``--debug`` too, before or after their name."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command, with the options for everybody."""
        cmd.params.extend(_options_for_everybody())
        super().add_command(cmd, name)


def in_session(program: click.Group) -> click.Group:
    """Give the program itself the options for everybody."""
    program.params.extend(_options_for_everybody())
    return program


def _options_for_everybody() -> list[click.Parameter]:
    """``-v`` and ``--debug``, which go to the session and not to the command."""

    def take(context: click.Context, option: click.Parameter, value: int) -> None:
        session = context.find_object(Session)
        if session is not None and value:
            setattr(session, str(option.name), value)

    return [
        click.Option(["-v", "--verbose"], count=True, expose_value=False, callback=take, help="Say more, on stderr."),
        click.Option(["--debug"], is_flag=True, expose_value=False, callback=take, help="Show the trace of a failure."),
    ]
