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


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Put ``content`` at ``path`` in one step; its folder is made when missing.

    Parameters
    ----------
    path : Path
    content : bytes
    durable : bool
        Wait until the disk has it. Without, a killed process still leaves it whole or absent, a power cut may not;
        of many such files :func:`flush_all` makes sure at once.

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
            if durable:
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


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Put UTF-8 text at ``path`` in one step (see :func:`write_bytes`)."""
    write_bytes(path, text.encode(), durable=durable)


def flush_all() -> None:
    """Wait until the disk has everything that was written."""
    os.sync()
