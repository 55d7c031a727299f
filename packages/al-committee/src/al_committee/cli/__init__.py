"""``al-committee``: the command line, and the one place where every failure becomes a sentence and an exit code."""

from __future__ import annotations

import logging
import os
import platform
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from al_committee.cli.parser import EXIT_ERROR, EXIT_INPUT, EXIT_INTERRUPTED, EXIT_MORE_TO_DO, EXIT_OK, build_parser
from al_committee.errors import (
    CommitteeError,
    ConfigChangedError,
    ConfigError,
    FactoryError,
    MissingExtraError,
    StructureError,
    UnknownNameError,
)

if TYPE_CHECKING:
    from al_committee.cli.objects import HostNames

__all__ = ["EXIT_ERROR", "EXIT_INPUT", "EXIT_INTERRUPTED", "EXIT_MORE_TO_DO", "EXIT_OK", "main"]

INPUT_ERRORS = (ConfigChangedError, ConfigError, FactoryError, MissingExtraError, StructureError, UnknownNameError)


def main(argv: Sequence[str] | None = None, names: HostNames | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        Arguments without the program's name; the process's own by default.
    names
        What a host (screen-cli) knows by name; without one, configurations name ``module:attr`` alone.

    Returns
    -------
    int
        0 done, 1 stopped by a failure, 2 bad input or configuration, 75 stopped cleanly with work left, 130
        interrupted.
    """
    arguments = build_parser().parse_args(argv)
    from al_committee.cli import commands
    from al_committee.cli.terminal import log_to_terminal
    from al_committee.loop.interruption import PausedError

    progress = log_to_terminal(logging.DEBUG if arguments.verbose else logging.INFO)
    for chatty in ("matplotlib", "fontTools"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        return commands.COMMANDS[arguments.command](arguments, progress, names)
    except PausedError as pause:
        print(pause, file=sys.stderr)
        return EXIT_MORE_TO_DO
    except KeyboardInterrupt:
        print("al-committee: interrupted; resume goes on from the last finished step", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads any more
        return EXIT_OK
    except CommitteeError as error:
        code = EXIT_INPUT if isinstance(error, INPUT_ERRORS) else EXIT_ERROR
        return _say(str(error), code, arguments.debug)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        sentence = f"{error.strerror or error}:{where}. Check permissions, free space and the name, then resume."
        return _say(sentence, EXIT_ERROR, arguments.debug)
    except Exception as error:
        if arguments.debug:
            raise
        return _crash(error)


def _say(sentence: str, code: int, debug: bool) -> int:
    """Write one sentence, and the trace where it was asked for."""
    if debug:
        traceback.print_exc()
    print(f"al-committee: {sentence}", file=sys.stderr)
    return code


def _crash(error: Exception) -> int:
    """Write a crash report for what nobody expected."""
    lines = [f"al-committee {version('al-committee')}, Python {platform.python_version()}, {platform.platform()}"]
    lines += [f"{name} {version(name)}" for name in ("ase", "numpy", "scipy", "pydantic")]
    text = "\n".join([*lines, "arguments: " + " ".join(sys.argv[1:]), "", traceback.format_exc()])
    path = Path("al-committee-crash.txt").resolve()
    try:
        path.write_text(text)
        where = f"The report {path} says what happened; please send it to the developers."
    except OSError:
        print(text, file=sys.stderr)
        where = "Please send the lines above to the developers."
    first = str(error).splitlines()[0] if str(error) else ""
    print(f"al-committee: unexpected {type(error).__name__}: {first}. {where}", file=sys.stderr)
    return EXIT_ERROR
