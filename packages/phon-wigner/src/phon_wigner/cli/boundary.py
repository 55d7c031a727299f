"""The boundary of the command line: an expected failure is one sentence, an unexpected one a report to send."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from phon_wigner.errors import WignerError

WRONG_INPUT = 2
"""Exit code of every expected failure: files, options, crystals."""

CRASHED = 70
"""Exit code of a fault of this program (EX_SOFTWARE)."""

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def guarded(job: Callable[[argparse.Namespace], int], arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    """Run one command; turn every exception into a message and an exit code.

    Parameters
    ----------
    job : callable
        The command.
    arguments : argparse.Namespace
        ``debug`` shows the trace.
    argv : sequence of str
        What was typed, for the crash report.

    Returns
    -------
    int
        What ``job`` returns; 2 on wrong input, 70 on a crash, 130 when interrupted.
    """
    try:
        return int(job(arguments))
    except KeyboardInterrupt:
        _say("interrupted.")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of stdout, e.g. head, has enough
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (stands until the process ends)
        return 0
    except WignerError as error:
        return _expected(error, str(error), arguments)
    except MemoryError as error:
        return _expected(error, "the memory of this machine is not enough. Use fewer temperatures or bins.", arguments)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _expected(
            error, f"{where}{error.strerror or error}. Check the file, its folder and your rights.", arguments
        )
    except Exception as error:
        _say(
            f"unexpected {type(error).__name__}: {error}. This is a fault of phon-wigner. A report with versions "
            "and the "
            f"trace is in {_write_report(argv)}; please send it with the input to the authors."
        )
        if arguments.debug:
            traceback.print_exc()
        return CRASHED


def _expected(error: BaseException, text: str, arguments: argparse.Namespace) -> int:
    """Say one sentence, with the trace when asked for."""
    if arguments.debug:
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
