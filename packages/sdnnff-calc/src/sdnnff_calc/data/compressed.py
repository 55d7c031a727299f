"""Text files as they come: plain, or compressed by gzip, bzip2 or xz, whatever they are called."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from sdnnff_calc.errors import DataError

__all__ = ["DAMAGED", "MAX_BYTES", "open_binary", "open_text", "plain_copy"]

_OPENERS: dict[bytes, Any] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}

DAMAGED = (OSError, EOFError, lzma.LZMAError, zlib.error, UnicodeError, ValueError)
"""What reading a damaged file, or a damaged compressed one, raises."""

MAX_BYTES = 8 << 30
"""Largest size after decompression that is read: 8 GiB."""


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading bytes, decompressed where its first bytes say that it is compressed."""
    with open(path, "rb") as stream:
        start = stream.read(6)
    for magic, opener in _OPENERS.items():
        if start.startswith(magic):
            return cast(BinaryIO, opener(path, "rb"))
    return open(path, "rb")


def open_text(path: Path, *, errors: str = "strict") -> IO[str]:
    """Open a file for reading text: UTF-8, or what its byte-order mark says."""
    stream = open_binary(path)
    start = stream.read(4)
    stream.seek(0)
    encoding = "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    return io.TextIOWrapper(stream, encoding=encoding, errors=errors)


@contextmanager
def plain_copy(path: Path, suffix: str, change: Callable[[IO[str]], Iterator[str]]) -> Iterator[Path]:
    """Give a decompressed copy of a text file, for readers that take a file by its name; it is deleted afterwards.

    Parameters
    ----------
    path : Path
        Compressed or not.
    suffix : str
        Ending of the copy's name.
    change : callable
        Gives the lines of the copy from those of the file.

    Raises
    ------
    DataError
        When the file is larger than :data:`MAX_BYTES`.
    """
    with tempfile.TemporaryDirectory(prefix="sdnnff-") as folder:
        copy = Path(folder) / f"copy{suffix}"
        n_bytes = 0
        with open_text(path, errors="replace") as source, open(copy, "w", encoding="utf-8") as target:
            for line in change(source):
                n_bytes += len(line)
                if n_bytes > MAX_BYTES:
                    raise DataError(f"{path} holds more than {MAX_BYTES >> 30} GiB. Split it.")
                target.write(line)
        yield copy
