"""Pages of mapped files: in memory while they are read, and not for longer."""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import NDArray


def let_go(array: NDArray[np.generic]) -> None:
    """Give the pages of a mapped file back to the system; what is read again comes from the file, or its cache.

    Parameters
    ----------
    array : ndarray
        Of any shape, mapped to be read; one that no file is mapped for stays as it is.
    """
    owner: object = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)
