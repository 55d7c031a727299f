"""Files that are whole or absent: write beside, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from screen_cli.errors import StoreError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


def write_atomically(path: Path, write: Callable[[Path], None]) -> int:
    """Let ``write`` fill a temporary file, then put it at ``path`` in one step.

    Parameters
    ----------
    path : Path
        Final place; its folder is made when missing.
    write : callable
        Gets the temporary path.

    Returns
    -------
    int
        Size in bytes.

    Raises
    ------
    StoreError
        The disk is full, or the folder cannot be written; nothing is left behind.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        size = temporary.stat().st_size
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        reason = error.strerror or str(error)
        # h5py reports a failed write without errno, only in its message
        if error.errno in _NO_ROOM or error.errno is None:
            raise StoreError(
                error.errno or errno.EIO,
                f"cannot write {path}: {reason}. Make room or rights, then run again: nothing finished is lost",
            ) from error
        raise
    return size


def write_text(path: Path, text: str) -> int:
    """Write text atomically; return its size in bytes."""
    return write_atomically(path, lambda temporary: _fill(temporary, text))


def _fill(path: Path, text: str) -> None:
    """Write text to an existing temporary file."""
    path.write_text(text, encoding="utf-8")


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
