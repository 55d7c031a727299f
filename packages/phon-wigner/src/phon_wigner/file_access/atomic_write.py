"""Files that are whole or absent: written beside their place, then renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from phon_wigner.errors import OutputFileError


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a path to write to; what was written there takes the place of ``path`` when the block ends well.

    Parameters
    ----------
    path : path
        Where the file shall stand; an older one is replaced in one step. Its folder must exist.

    Yields
    ------
    pathlib.Path
        A new name in the same folder with the same suffix. It is gone afterwards, whatever happened.

    Raises
    ------
    OutputFileError
        The folder is missing or read-only, the disk is full, or ``path`` is a folder.
    """
    target = Path(path)
    temporary = target.with_name(f".tmp-{secrets.token_hex(6)}{target.suffix}")
    try:
        if target.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        yield temporary
        os.replace(temporary, target)
    except OutputFileError:
        raise
    except OSError as error:
        raise OutputFileError(
            f"cannot write {target}: {error.strerror or error}. Give a file in an existing folder that you may "
            "write to, "
            "on a disk with room."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def existing_folder(path: str | os.PathLike[str]) -> Path:
    """Return a folder, made when it is missing.

    Raises
    ------
    OutputFileError
        It cannot be made.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFileError(
            f"cannot make the folder {folder}: {error.strerror or error}. Give another place."
        ) from error
    return folder
