"""Options that mean the same in every command, and how a time is written."""

from __future__ import annotations

import logging
import math
import os
import re
import sys
from pathlib import Path

import click

from screen_cli.cli.boundary import Boundary

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Duration(click.ParamType[float]):
    """A time in seconds, written ``3000``, ``90s``, ``15m``, ``1.5h``, ``1:30:00`` or ``2-12:00:00`` (Slurm)."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a time."""
        text = str(value).strip()
        if simple := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text, flags=re.ASCII):
            seconds = float(simple[1]) * _UNITS[simple[2]]
            if math.isfinite(seconds):
                return seconds
        if clock := re.fullmatch(r"(?:(\d{1,4})-)?(\d{1,4}):(\d\d)(?::(\d\d))?", text, flags=re.ASCII):
            days, first, second, third = (int(part or 0) for part in clock.groups())
            if clock[4] is None and not clock[1]:
                return 60.0 * first + second
            return 86400.0 * days + 3600.0 * first + 60.0 * second + third
        self.fail(f"{text!r} is no time. Write 3000 (seconds), 90s, 15m, 1.5h, 1:30:00 or 2-12:00:00.", param, ctx)


class GivenPath(click.Path):
    """A path that names something: an empty one, of a variable that is not set, would be the current folder."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Take a path."""
        if not os.fspath(value) or "\0" in os.fsdecode(value):
            self.fail("the path is empty, or holds a null character.", param, ctx)
        return super().convert(value, param, ctx)


class OutputPath(GivenPath):
    """A file to write: in a folder that is there, which is told before the work for it is done."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Take a path."""
        path = super().convert(value, param, ctx)
        folder = os.path.dirname(os.fsdecode(path))
        if folder and not os.path.isdir(folder):
            self.fail(f"{os.fsdecode(path)!r} cannot be written: there is no folder {folder!r}. Make it.", param, ctx)
        return path


def options_for_everybody() -> list[click.Parameter]:
    """Return ``-v`` and ``--debug``, which stand before or after a command."""

    def say_more(context: click.Context, option: click.Parameter, times: int) -> None:
        if times:
            listen(times)

    def trace(context: click.Context, option: click.Parameter, wanted: bool) -> None:
        boundary = context.find_object(Boundary)
        if boundary is not None and wanted:
            boundary.debug = True

    return [
        click.Option(
            ["-v", "--verbose"], count=True, expose_value=False, callback=say_more, help="Say more, on stderr."
        ),
        click.Option(
            ["--debug"], is_flag=True, expose_value=False, callback=trace, help="Show the trace of a failure."
        ),
    ]


def listen(times: int) -> None:
    """Log to stderr: warnings, with one ``-v`` information, with two everything."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(times, 2)]
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    root = logging.getLogger()
    root.setLevel(level)
    for handler in root.handlers:
        handler.setLevel(level)  # else a library that lowers the level of its own logger writes here too
