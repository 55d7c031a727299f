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
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from sdnnff_calc.errors import DataError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

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


_MOST_RATIO, _ALWAYS_READ = 200, 64 << 20
"""Text grows tenfold by decompression, not two-hundredfold; so many bytes are read whatever they grew from."""


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading bytes, decompressed where its first bytes say that it is compressed.

    Reading raises ValueError once a compressed file has grown as no text does.
    """
    with open(path, "rb") as stream:
        start = stream.read(6)
    for magic, opener in _OPENERS.items():
        if start.startswith(magic):
            most = min(MAX_BYTES, max(_ALWAYS_READ, _MOST_RATIO * path.stat().st_size))
            return cast(BinaryIO, io.BufferedReader(_Bounded(opener(path, "rb"), most)))
    return open(path, "rb")


class _Bounded(io.RawIOBase):
    """A stream of bytes that ends with ValueError instead of going on beyond a size.

    Parameters
    ----------
    stream : BinaryIO
        Readable and seekable.
    most : int
        Bytes.
    """

    def __init__(self, stream: BinaryIO, most: int) -> None:
        self._stream, self._most = stream, most

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def seekable(self) -> bool:
        """Whether it can be read again from an earlier place."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        return self._stream.seek(offset, whence)

    def readinto(self, buffer: Buffer) -> int:
        """Read some bytes."""
        with memoryview(buffer) as view:
            content = self._stream.read(len(view))
            view[: len(content)] = content
        if self._stream.tell() > self._most:
            raise ValueError(f"it unpacks to more than {self._most >> 20} MiB, as no text of this size does")
        return len(content)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        super().close()


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
