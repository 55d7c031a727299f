"""One call of the command line: its options for everybody, and the boundary where a failure becomes a sentence."""

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
from pathlib import Path

import click

from phon_wigner.errors import WignerError

WRONG_INPUT = 2
"""Exit code of every expected failure: files, options, crystals."""

CRASHED = 70
"""Exit code of a fault of this program (EX_SOFTWARE)."""

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


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

    def run(self, program: click.Command) -> int:
        """Run the program; turn every exception into a message and an exit code.

        Returns
        -------
        int
            What the command returns; 2 on wrong input, 70 on a crash, 130 when interrupted.
        """
        try:
            return int(program.main(list(self.argv), prog_name="phon-wigner", standalone_mode=False, obj=self) or 0)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            return self._expected(error, "a command is missing.")
        except click.ClickException as error:
            click.echo(error.ctx.get_usage() if isinstance(error, click.UsageError) and error.ctx else "", err=True)
            return self._expected(error, error.format_message())
        except (KeyboardInterrupt, click.Abort):
            _say("interrupted.")
            return INTERRUPTED
        except WignerError as error:
            return self._expected(error, str(error))
        except MemoryError as error:
            return self._expected(error, "the memory of this machine is not enough. Use fewer temperatures or bins.")
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            fix = "Check the file, its folder and your rights."
            return self._expected(error, f"{where}{error.strerror or error}. {fix}")
        except Exception as error:
            _say(
                f"unexpected {type(error).__name__}: {error}. This is a fault of phon-wigner. A report with versions "
                f"and the trace is in {_write_report(self.argv)}; please send it with the input to the authors."
            )
            if self.debug:
                traceback.print_exc()
            return CRASHED

    def _expected(self, error: BaseException, text: str) -> int:
        """Say one sentence, with the trace when asked for."""
        if self.debug:
            traceback.print_exception(error)
        _say(f"error: {text}")
        return WRONG_INPUT


def _say(text: str) -> None:
    """Write one line to stderr, without control characters that a file name or a file may hold."""
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    sys.stderr.write(f"phon-wigner: {line}\n")


def _write_report(argv: Sequence[str]) -> str:
    """Write versions, command and trace to a new file here, or among temporary files; return its path."""
    from phon_wigner.phono3py_variant.doctor import installed_versions

    lines = [f"phon-wigner {' '.join(map(repr, argv))}", f"Python {platform.python_version()} on {platform.platform()}"]
    lines += [f"{name} {found}" for name, found in installed_versions().items()]
    text = "\n".join([*lines, "", traceback.format_exc()])
    name = f"phon-wigner-crash-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.txt"
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
