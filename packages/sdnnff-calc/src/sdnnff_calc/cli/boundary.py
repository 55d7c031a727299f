"""The boundary of the command line: an expected failure is one sentence, an unexpected one a report to send."""

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
from importlib import metadata
from pathlib import Path

import click

from sdnnff_calc.errors import SdnnffError

__all__ = ["CRASHED", "INTERRUPTED", "WRONG_INPUT", "Program", "Session", "options_for_everybody"]

WRONG_INPUT = 2
"""Exit code of every expected failure: files, settings, structures."""

CRASHED = 70
"""Exit code of a fault of this program (EX_SOFTWARE)."""

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

_RESUMED = ("train", "finetune")
_VERSIONS = ("sdnnff-calc", "torch", "e3nn", "ase", "vesin", "numpy", "phonopy", "phono3py")


@dataclass
class Session:
    """What one call was asked, and what becomes of its failures.

    Parameters
    ----------
    argv : sequence of str
        What was typed, for the crash report.
    debug : bool
        Show the trace of every failure.
    """

    argv: Sequence[str]
    debug: bool = False

    def run(self, program: click.Group) -> int:
        """Run the program; turn every exception into a message and an exit code.

        Returns
        -------
        int
            0; 2 on wrong input, 70 on a crash, 130 when interrupted.
        """
        command = next((word for word in self.argv if word in program.commands), "")
        try:
            return int(program.main(list(self.argv), prog_name="sdnnff", standalone_mode=False, obj=self) or 0)
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except (KeyboardInterrupt, click.Abort):
            hint = "; the same command goes on from the last resume point" if command in _RESUMED else ""
            _say(f"interrupted{hint}.")
            return INTERRUPTED
        except SdnnffError as error:
            return self._expected(error, str(error))
        except MemoryError as error:
            advice = "Lower --memory-gb." if command == "evaluate" else "Lower batch_atoms, or set [data] cache."
            return self._expected(error, f"the memory of this machine is not enough. {advice}")
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            said = f"{where}{error.strerror or error}. Check the file, its folder, your rights and the space left."
            return self._expected(error, said)
        except Exception as error:
            _say(
                f"unexpected {type(error).__name__}: {error}. This is a fault of sdnnff-calc. A report with versions "
                f"and the trace is in {_write_report(self.argv)}; please send it with the input to the authors."
            )
            if self.debug:
                traceback.print_exc()
            return CRASHED

    def _expected(self, error: BaseException, text: str) -> int:
        """Say one sentence, with the trace when asked for."""
        if self.debug:
            traceback.print_exception(error)
        _say(text)
        return WRONG_INPUT


def _say(text: str) -> None:
    """Write one line to stderr, without control characters that a file name or a file may hold."""
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    sys.stderr.write(f"sdnnff: {line}\n".encode(errors="backslashreplace").decode())


def _write_report(argv: Sequence[str]) -> str:
    """Write versions, command and trace to a new file here, or among temporary files; return its path."""
    lines = [f"sdnnff {' '.join(map(repr, argv))}", f"Python {platform.python_version()} on {platform.platform()}"]
    for name in _VERSIONS:
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name} is not installed")
    text = "\n".join([*lines, "", traceback.format_exc()])
    name = f"sdnnff-crash-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.txt"
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
        cmd.params.extend(options_for_everybody())
        super().add_command(cmd, name)


def options_for_everybody() -> list[click.Parameter]:
    """Return ``-v`` and ``--debug``, which go to the session and not to the command."""

    def listen(context: click.Context, option: click.Parameter, times: int) -> None:
        if times:
            logging.getLogger().setLevel((logging.INFO, logging.DEBUG)[min(times, 2) - 1])

    def trace(context: click.Context, option: click.Parameter, wanted: bool) -> None:
        session = context.find_object(Session)
        if session is not None and wanted:
            session.debug = True

    return [
        click.Option(["-v", "--verbose"], count=True, expose_value=False, callback=listen, help="Say more, on stderr."),
        click.Option(
            ["--debug"], is_flag=True, expose_value=False, callback=trace, help="Show the trace of a failure."
        ),
    ]
