"""Where other people's files and other packages' readers meet ours: whatever fails there becomes one sentence."""

from __future__ import annotations

import contextlib
import gzip
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from phon_wigner.errors import InputFileError, WignerError
from phon_wigner.file_access.recursion import usual_recursion

PathLike = str | os.PathLike[str]

_PIECE = 2**20
MAX_BYTES = 2**31
"""Largest text, after decompression, and largest array that is read in one piece."""


def existing_file(path: PathLike, what: str, fix: str) -> Path:
    """Return the path of a file that is there.

    Raises
    ------
    InputFileError
        It is missing, or a folder.
    """
    found = Path(path)
    try:
        if found.is_file():
            return found
        problem = "is a folder" if found.is_dir() else "does not exist"
    except (OSError, ValueError) as error:  # too long a name, a null byte
        problem = f"is no usable path ({error})"
    raise InputFileError(f"{what} {path} {problem}. {fix}")


@contextlib.contextmanager
def reading(path: PathLike, expected: str, fix: str) -> Iterator[None]:
    """Turn whatever goes wrong while a file is read into one sentence; what a reader prints goes to stderr.

    phonopy's readers assert, exit, and raise nearly every exception there is on files that they do not expect.

    Parameters
    ----------
    path : path
        The file, for the message.
    expected : str
        What it should have been.
    fix : str
        A sentence that says what to do.

    Raises
    ------
    InputFileError
        Reading failed.
    """
    try:
        with usual_recursion(), contextlib.redirect_stdout(sys.stderr):
            yield
    except WignerError:
        raise
    except MemoryError as error:
        raise InputFileError(f"{path} does not fit into the memory of this machine. {fix}") from error
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())[:200]
        reason = f"it lacks {text}" if isinstance(error, KeyError) else text or type(error).__name__
        raise InputFileError(f"{path} cannot be read as {expected} ({reason}). {fix}") from error


def read_text(path: PathLike, expected: str, fix: str) -> str:
    """Return the text of a UTF-8 file of bounded size, gzipped or not."""
    content = ""
    with reading(path, expected, fix):
        content = read_bytes(Path(path)).decode("utf-8-sig")
    return content


def read_bytes(path: Path) -> bytes:
    """Return the content of a file, gunzipped where it is gzip, up to :data:`MAX_BYTES`."""
    with open(path, "rb") as probe:
        packed = probe.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path, "rb") if packed else open(path, "rb") as handle:
            content = read_all(cast(IO[bytes], handle))
    except zlib.error as error:
        raise ValueError(f"damaged gzip: {error}") from error
    return content


def read_all(stream: IO[bytes]) -> bytes:
    """Return what is left of a stream, piece by piece, since room for the most that may come would be taken at once.

    Raises
    ------
    ValueError
        It holds more than :data:`MAX_BYTES`.
    """
    content = bytearray()
    while piece := stream.read(_PIECE):
        content += piece
        if len(content) > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
    return bytes(content)


def read_array(
    group: h5py.Group, name: str, path: PathLike, shape: tuple[int | None, ...] | None = None
) -> NDArray[np.float64]:
    """Return one dataset of numbers, checked before anything large is read.

    Parameters
    ----------
    group : h5py.Group
    name : str
    path : path
        For the message.
    shape : tuple, optional
        Expected shape; None in a place stands for any length.

    Raises
    ------
    InputFileError
        The dataset is missing, not real numbers, of another shape, too large, or not finite.
    """
    dataset = group.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise InputFileError(f"{path} has no dataset {name}; it holds {', '.join(sorted(group)) or 'nothing'}.")
    if dataset.dtype.kind not in "fiu" or dataset.shape is None:
        raise InputFileError(f"{path}: {name} holds {dataset.dtype}, expected real numbers.")
    if shape is not None:
        fits = len(shape) == dataset.ndim and all(
            want is None or want == got for want, got in zip(shape, dataset.shape, strict=True)
        )
        if not fits:
            wanted = tuple("any" if want is None else want for want in shape)
            raise InputFileError(f"{path}: {name} has shape {dataset.shape}, expected {wanted}.")
    if dataset.size * 8 > MAX_BYTES:
        raise InputFileError(f"{path}: {name} would take {dataset.size * 8} bytes, more than {MAX_BYTES}.")
    values = np.zeros(0)
    with reading(path, f"HDF5 ({name})", "The file is damaged: write it again."):
        values = np.asarray(dataset[()], dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputFileError(
            f"{path}: {int((~np.isfinite(values)).sum())} of {values.size} values of {name} are not finite (NaN or "
            "infinite). Run the program that wrote it again."
        )
    return values


@contextlib.contextmanager
def open_hdf5(path: PathLike, what: str, fix: str) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, or say in one sentence why not."""
    found = existing_file(path, what, fix)
    with reading(path, "HDF5", fix), h5py.File(found, "r") as handle:
        refuse_other_files(handle)
        yield handle


def refuse_other_files(handle: h5py.File) -> None:
    """Refuse an HDF5 file whose datasets lie in other files: HDF5 would open whatever a stranger names there.

    Raises
    ------
    ValueError
        One is a link, a virtual dataset, or has an external storage.
    """
    for name in handle:
        item = handle[name] if isinstance(handle.get(name, getlink=True), h5py.HardLink) else None
        if item is None or (isinstance(item, h5py.Dataset) and (item.is_virtual or item.external)):
            raise ValueError(f"its dataset {name} lies in another file, which phono3py and phonopy never write")
