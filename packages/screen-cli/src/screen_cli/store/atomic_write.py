"""Files that are whole or absent: write beside, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import shutil
import time
import uuid
from collections.abc import Iterator
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
    errno.ENAMETOOLONG,
    errno.ELOOP,
}
LITTER = ".tmp-"
"""Names of files that are being written begin like this."""
_OLD = 86400.0  # s, after which a file of another machine is litter


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Put ``content`` at ``path`` in one step; its folder is made when missing, and the umask decides who may read it.

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
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
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


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path of the same name in a folder of its own, and put what was written there at ``path`` in one step.

    For writers of other packages. What they leave beside the file (ASE's databases have locks, for which the next
    writer would wait) goes with the folder, and so do folders that killed processes of this machine left. A device or
    a pipe at ``path`` is written to directly.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    path = path.resolve()
    for litter in litter_in(path.parent):
        if litter.is_dir() and litter.name.startswith(f"{LITTER}{platform.node()}-"):
            shutil.rmtree(litter, ignore_errors=True)
    folder = _beside(path)
    folder.mkdir()
    try:
        yield folder / path.name
        with (folder / path.name).open("rb") as file:
            os.fsync(file.fileno())
        os.replace(folder / path.name, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def flush_all() -> None:
    """Wait until the disk has everything that was written."""
    os.sync()


def _beside(path: Path) -> Path:
    """Name, in the folder of a path, that says whose it is; :func:`litter_in` knows it."""
    return path.parent / f"{LITTER}{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"


def litter_in(folder: Path) -> Iterator[Path]:
    """Iterate over what killed processes left half-written in a folder.

    A file of this machine is litter when its process is gone, one of another machine after a day.
    """
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if name.startswith(LITTER):
            host, _, process = name.removeprefix(LITTER).rpartition("-")[0].rpartition("-")
            if host == platform.node() and process.isdigit():
                if not _alive(int(process)):
                    yield folder / name
            else:
                with contextlib.suppress(OSError):
                    if time.time() - (folder / name).lstat().st_mtime > _OLD:
                        yield folder / name


def sweep(folder: Path) -> None:
    """Remove what :func:`litter_in` finds."""
    for path in litter_in(folder):
        with contextlib.suppress(OSError):
            path.unlink()


def _alive(process: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process > 0
