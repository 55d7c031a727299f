"""Files that are either the old ones or the new ones, whatever is killed when."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from al_committee.errors import RunStateError

__all__ = ["read_json", "sync_directory", "write_atomically", "write_json"]


def sync_directory(path: Path) -> None:
    """Flush a directory entry to disk, so that a rename survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a temporary file next to `path`, fsync it and rename it into place.

    A process killed on the way leaves ``.<name>.<pid>.tmp`` behind, which nothing ever reads.
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


def write_json(path: Path, value: object) -> None:
    """Write a JSON record atomically; NaN is refused.

    Raises
    ------
    ValueError
        When the record holds NaN or infinity.
    """
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
    write_atomically(path, lambda handle: handle.write(text.encode()))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON record.

    Raises
    ------
    RunStateError
        When the file is damaged; the message names it.
    """
    try:
        value = json.loads(path.read_text())
        if not isinstance(value, dict):
            raise ValueError(f"it holds a {type(value).__name__}, expected an object")
        return value
    except ValueError as error:
        raise RunStateError(
            f"{path} is no valid JSON ({error}). It was changed by hand or by a broken disk; "
            "move it away and resume: the step that wrote it runs again."
        ) from error
