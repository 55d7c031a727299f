"""Bytes of a file, decompressed up to a limit, and the text in them, whatever editor wrote it."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from screen_cli.errors import StructureError

COMPRESSED: dict[str, Callable[[Path], IO[bytes]]] = {
    ".gz": gzip.GzipFile,  # type: ignore[dict-item]  # reads as IO does
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
"""Endings of compressed files that are read, and what opens them."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CHUNK = 2**20
_MAGIC = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz"}
_NOT_READ = (".zst", ".lz4", ".z", ".zip", ".7z", ".rar", ".tar", ".tgz", ".lzma")


def plain_name(path: Path) -> str:
    """Name of a file without the ending of its compression."""
    return path.stem if path.suffix.lower() in COMPRESSED else path.name


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """Read a file, decompressed by its ending or its first bytes, and stop at a limit.

    Raises
    ------
    StructureError
        More bytes than ``max_bytes``, or the file cannot be read or decompressed.
    """
    if path.exists() and not path.is_file():
        raise StructureError("is no regular file.")
    if path.suffix.lower() in _NOT_READ:
        raise StructureError(f"is packed as {path.suffix}, which is not read. Unpack it, or use .gz, .bz2 or .xz.")
    opener = _opener(path)
    parts: list[bytes] = []
    size = 0
    try:
        with opener(path) as file:
            while chunk := file.read(_CHUNK):
                size += len(chunk)
                if size > max_bytes:
                    raise StructureError(
                        f"holds more than {max_bytes / 2**20:.0f} MB"
                        f"{' after decompression' if opener in COMPRESSED.values() else ''}; a crystal needs less. "
                        "Split the file."
                    )
                parts.append(chunk)
    except StructureError:
        raise
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise StructureError(f"cannot be read: {type(error).__name__}: {error}.") from error
    return b"".join(parts)


def _opener(path: Path) -> Callable[[Path], IO[bytes]]:
    """Choose what opens a file, by its ending or its first bytes."""
    ending = path.suffix.lower()
    if ending not in COMPRESSED:
        try:
            with path.open("rb") as file:
                head = file.read(6)
        except OSError as error:
            raise StructureError(f"cannot be read: {type(error).__name__}: {error}.") from error
        ending = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")
    return COMPRESSED.get(ending, _plain)


def _plain(path: Path) -> IO[bytes]:
    """Open a file that is not compressed."""
    return path.open("rb")


def decode(data: bytes) -> str:
    """Turn bytes into text with line ends ``\\n``: UTF-8, UTF-16 and UTF-32 by their mark, else Latin-1.

    Raises
    ------
    StructureError
        Binary data, or bytes that are not what their mark says.
    """
    encoding, start = "", 0
    for mark, name in _BOMS:
        if data.startswith(mark):
            encoding, start = name, len(mark)
            break
    body = data[start:]
    if not encoding and b"\0" in body[:4000]:
        encoding = _utf16_without_mark(body)
    try:
        if encoding:
            text = body.decode(encoding)
        else:
            try:
                text = body.decode("utf-8")
            except UnicodeDecodeError:
                text = body.decode("latin-1")
    except UnicodeDecodeError as error:
        raise StructureError(f"is no text in {encoding}, as its byte order mark says ({error.reason}).") from error
    if "\0" in text:
        raise StructureError("is binary, expected text.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def printable(text: str, limit: int = 300) -> str:
    """Text of a stranger for a message: control characters (terminal escapes) replaced, and cut to ``limit``."""
    clean = "".join(
        character if character.isprintable() else "�" if unicodedata.category(character)[0] == "C" else " "
        for character in text.encode("utf-8", "replace").decode("utf-8")
    )
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def _utf16_without_mark(body: bytes) -> str:
    """Give the encoding of text that has a NUL in every other byte.

    Raises
    ------
    StructureError
        The NULs say otherwise: binary.
    """
    head = body[:4000]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 0.9 * len(head[1::2]) and not even:
        return "utf-16-le"
    if even > 0.9 * len(head[0::2]) and not odd:
        return "utf-16-be"
    raise StructureError("is binary, expected text.")
