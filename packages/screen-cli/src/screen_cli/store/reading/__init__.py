"""Files as they are read, since a stranger may have made them; those of a run are whole, regular, and no links."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

from screen_cli.store.reading.recursion import usual_recursion


def read_regular(path: Path) -> bytes:
    """Read a file; a link could lead out of the run directory, a pipe would never end.

    Raises
    ------
    OSError
        It is a link, no regular file, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(error.errno, f"{path} is a link, which files of a run never are") from error
        raise
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, f"{path} is no regular file")
        return file.read()


def require_file(path: Path) -> None:
    """Refuse what would be waited for, or never end; a missing file is left to whoever opens it.

    Raises
    ------
    OSError
        It is a folder, a pipe or a device.
    """
    if path.exists() and not path.is_file():
        raise OSError(f"it is no file but a folder, pipe or device: {path}")


def parse_json(text: str | bytes) -> object:
    """Parse the JSON of a stranger.

    Raises
    ------
    ValueError
        It is no JSON, or is nested too deeply.
    """
    with usual_recursion():
        return json.loads(text)
