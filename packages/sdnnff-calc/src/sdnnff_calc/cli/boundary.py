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
from importlib import metadata
from pathlib import Path

from sdnnff_calc.errors import SdnnffError

__all__ = ["CRASHED", "INTERRUPTED", "WRONG_INPUT", "guarded"]

WRONG_INPUT = 2
"""Exit code of every expected failure: files, settings, structures."""

CRASHED = 70
"""Exit code of a fault of this program (EX_SOFTWARE)."""

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

_RESUMED = ("train", "finetune")
_VERSIONS = ("sdnnff-calc", "torch", "e3nn", "ase", "vesin", "numpy", "phonopy", "phono3py")


def guarded(
    job: Callable[[argparse.Namespace], object], arguments: argparse.Namespace, argv: Sequence[str] | None
) -> int:
    """Run one command; turn every exception into a message and an exit code.

    Parameters
    ----------
    job : callable
        The command.
    arguments : argparse.Namespace
        ``debug`` shows the trace.
    argv : sequence of str, optional
        What was typed, for the crash report.

    Returns
    -------
    int
        0; 2 on wrong input, 70 on a crash, 130 when interrupted.
    """
    try:
        job(arguments)
    except KeyboardInterrupt:
        hint = "; the same command goes on from the last resume point" if arguments.command in _RESUMED else ""
        _say(f"interrupted{hint}.")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of stdout, e.g. head, has enough
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (stands until the process ends)
        return 0
    except SdnnffError as error:
        return _expected(error, str(error), arguments)
    except MemoryError as error:
        advice = "Lower --memory-gb." if arguments.command == "evaluate" else "Lower batch_atoms, or set [data] cache."
        return _expected(error, f"the memory of this machine is not enough. {advice}", arguments)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        said = f"{where}{error.strerror or error}. Check the file, its folder, your rights and the space left."
        return _expected(error, said, arguments)
    except Exception as error:
        _say(
            f"unexpected {type(error).__name__}: {error}. This is a fault of sdnnff-calc. A report with versions and "
            f"the trace is in {_write_report(argv)}; please send it with the input to the authors."
        )
        if arguments.debug:
            traceback.print_exc()
        return CRASHED
    return 0


def _expected(error: BaseException, text: str, arguments: argparse.Namespace) -> int:
    """Say one sentence, with the trace when asked for."""
    if arguments.debug:
        traceback.print_exception(error)
    _say(text)
    return WRONG_INPUT


def _say(text: str) -> None:
    """Write one line to stderr, without control characters that a file name or a file may hold."""
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    sys.stderr.write(f"sdnnff: {line}\n".encode(errors="backslashreplace").decode())


def _write_report(argv: Sequence[str] | None) -> str:
    """Write versions, command and trace to a new file here, or among temporary files; return its path."""
    typed = sys.argv[1:] if argv is None else argv
    lines = [f"sdnnff {' '.join(map(repr, typed))}", f"Python {platform.python_version()} on {platform.platform()}"]
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
