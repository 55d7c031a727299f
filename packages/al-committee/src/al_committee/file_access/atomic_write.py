"""Files that are either the old ones or the new ones, whatever is killed when, and how they are read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

from al_committee.errors import RunStateError
from al_committee.file_access.recursion import usual_recursion

__all__ = ["read_json", "sweep", "sync_directory", "whole_file", "write_atomically", "write_json"]

CHECKSUM = "checksum"


def sync_directory(path: Path) -> None:
    """Flush a directory entry to disk, so that a rename survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a temporary file next to `path`, fsync it and rename it into place.

    A process killed on the way leaves ``.<name>.<pid>.tmp`` behind, which nothing ever reads and :func:`sweep` removes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as handle:
            write(handle)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path of the same name in a folder of its own, and put what was written there at `path` in one step.

    For writers that take a name. The folder is called as in :func:`write_atomically`, and is gone afterwards.
    """
    folder = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    folder.mkdir()
    try:
        yield folder / path.name
        with open(folder / path.name, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(folder / path.name, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written below a folder; nobody else may write there meanwhile."""
    for path in folder.rglob(".*.tmp"):
        process = path.name.split(".")[-2]
        if process.isdigit() and not _is_alive(int(process)):
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_alive(process: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write a JSON record atomically, with a checksum; NaN is refused.

    Raises
    ------
    ValueError
        When the record holds NaN or infinity.
    """
    content = json.loads(json.dumps(value, allow_nan=False))
    text = json.dumps({**content, CHECKSUM: _sum(content)}, indent=1, sort_keys=True) + "\n"
    write_atomically(path, lambda handle: handle.write(text.encode()))


def read_json(path: Path) -> dict[str, object]:
    """Read a JSON record; one without a checksum is taken as it is.

    Raises
    ------
    RunStateError
        When the file is damaged; the message names it.
    """
    try:
        with usual_recursion():
            value = json.loads(path.read_bytes())
        if not isinstance(value, dict):
            raise ValueError(f"it holds a {type(value).__name__}, expected an object")
        expected = value.pop(CHECKSUM, None)
        if expected is not None and expected != _sum(value):
            raise ValueError("its checksum does not fit")
        return value
    except ValueError as error:
        raise RunStateError(
            f"{path} is no valid JSON ({error}). It was changed by hand or by a broken disk; "
            "move it away and resume: the step that wrote it runs again."
        ) from error


def _sum(content: Mapping[str, object]) -> str:
    """Checksum of a JSON object."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
