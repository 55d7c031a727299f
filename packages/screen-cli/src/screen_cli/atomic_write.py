"""Files that are whole or absent: write beside, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path

from screen_cli.errors import StoreError

_NO_ROOM = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ENOTDIR,
}


def write_bytes(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` in one step; its folder is made when missing.

    Raises
    ------
    StoreError
        The disk is full, or the folder cannot be written; nothing is left behind.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".tmp-", suffix=path.suffix)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if error.errno in _NO_ROOM:
            raise StoreError(
                error.errno,
                f"cannot write {path}: {error.strerror}. Make room or rights and run again: nothing finished is lost",
            ) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Put UTF-8 text at ``path`` in one step (see :func:`write_bytes`)."""
    write_bytes(path, text.encode())
