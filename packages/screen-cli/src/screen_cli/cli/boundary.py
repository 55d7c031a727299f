"""The boundary of the command line: an expected failure is one sentence, an unexpected one a report to send."""

from __future__ import annotations

import errno
import os
import platform
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from screen_cli.errors import (
    ConfigError,
    FilterError,
    MissingExtraError,
    NoRunError,
    PluginError,
    ScreenError,
    StructureError,
    printable,
)

STOPPED, BAD_INPUT, CRASHED, INTERRUPTED = 1, 2, 70, 130
_INPUT_ERRORS = (ConfigError, FilterError, MissingExtraError, NoRunError, PluginError, StructureError)
_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EFBIG}


@dataclass
class Boundary:
    """What one call of the command line was asked, and what becomes of its failures.

    Parameters
    ----------
    argv : sequence of str
        What was typed, for the crash report.
    debug : bool
        Show the trace of every failure.
    """

    argv: Sequence[str]
    debug: bool = False

    def run(self, job: Callable[[], object]) -> int:
        """Call ``job``; turn what it raises into one sentence on stderr and an exit code.

        Returns
        -------
        int
            What ``job`` returns, or 1 stopped, 2 bad input, 70 a fault of this program, 130 interrupted.
        """
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
        try:
            code = job()
            return code if isinstance(code, int) else 0
        except click.exceptions.Exit as error:
            return error.exit_code
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except (KeyboardInterrupt, click.Abort):
            return self._tell(INTERRUPTED, "interrupted; finished work is kept, run the same command to resume")
        except BrokenPipeError:  # the reader of stdout, e.g. head, has enough
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # stands until the process ends
            return 0
        except ScreenError as error:
            return self._tell(BAD_INPUT if isinstance(error, _INPUT_ERRORS) else STOPPED, f"error: {_message(error)}")
        except (MemoryError, RecursionError, OSError, UnicodeError, sqlite3.Error) as error:
            return self._tell(*_system_failure(error))
        except Exception as error:
            report = _write_report(self.argv)
            return self._tell(
                CRASHED,
                f"unexpected {type(error).__name__}: {error}. This is a fault of screen-cli or a plugin; nothing "
                f"finished is lost. Versions and trace are in {report}; please send it to the authors.",
            )

    def _tell(self, code: int, text: str) -> int:
        """Say one line, with the trace when asked for, and return the code."""
        if self.debug:
            traceback.print_exc()
        click.echo(printable(" ".join(text.split())), err=True)
        return code


def _message(error: ScreenError) -> str:
    """Text of an error without the errno prefix of OSError."""
    return str(getattr(error, "strerror", None) or error)


def _system_failure(error: BaseException) -> tuple[int, str]:
    """Exit code and sentence for what the machine, or a file, refused."""
    if isinstance(error, MemoryError):
        return STOPPED, "error: the memory of this machine is not enough. Take a part of the rows, or fewer workers."
    if isinstance(error, RecursionError):
        return BAD_INPUT, "error: the input is nested too deeply to be read. Is it the right file?"
    if isinstance(error, UnicodeError):
        return BAD_INPUT, f"error: the input is not UTF-8 text ({error}). Save it as UTF-8, or name the right file."
    if isinstance(error, sqlite3.Error):
        return STOPPED, f"error: the index cannot be used: {error}. Make it anew: screen-cli rebuild RUN_DIR"
    assert isinstance(error, OSError)
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
    fix = "Make room, and run again" if error.errno in _MACHINE else "Check the file, its folder and your rights"
    code = STOPPED if error.errno in _MACHINE else BAD_INPUT
    return code, f"error: {where}{error.strerror or error}. {fix}."


def _write_report(argv: Sequence[str]) -> str:
    """Write versions, command and trace to a new file here, or among temporary files; return its path."""
    from screen_cli.store.run_directory import installed_versions

    lines = [f"screen-cli {' '.join(map(repr, argv))}", f"Python {platform.python_version()} on {platform.platform()}"]
    lines += [f"{name} {found}" for name, found in installed_versions().items()]
    text = "\n".join([*lines, "", traceback.format_exc()])
    name = f"screen-cli-crash-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.txt"
    for folder in (Path.cwd(), Path(tempfile.gettempdir())):
        try:
            (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
            return str(folder / name)
        except OSError:
            continue
    sys.stderr.write(text)
    return "the lines above"
