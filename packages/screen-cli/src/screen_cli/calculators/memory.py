"""Memory that a process keeps between uses, so that the kernel need not hand out the same pages again and again."""

from __future__ import annotations

import ctypes
import functools

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h of the GNU C library
_TOP_PAD = 64 * 2**20  # bytes by which the heap grows


@functools.cache
def keep_freed_memory() -> bool:
    """Let freed memory stay with this process until :func:`release_freed_memory`.

    The GNU C library maps every block above some MB afresh and unmaps it when freed. A neural-network force field
    frees and takes GBs of such blocks per evaluation, and each page of each is cleared and faulted in once more.
    See ``mallopt(3)``.

    Returns
    -------
    bool
        Whether this C library understood; others (macOS, Windows, musl) are left as they are.
    """
    libc = _gnu_libc()
    if libc is None:
        return False
    return all([libc.mallopt(_M_MMAP_MAX, 0), libc.mallopt(_M_TRIM_THRESHOLD, -1), libc.mallopt(_M_TOP_PAD, _TOP_PAD)])


def release_freed_memory() -> None:
    """Give what was kept back to the system."""
    if (libc := _gnu_libc()) is not None:
        libc.malloc_trim(0)


@functools.cache
def _gnu_libc() -> ctypes.CDLL | None:
    """Give the C library of this process where it is the GNU one, else None."""
    try:
        libc = ctypes.CDLL(None)
        return libc if hasattr(libc, "gnu_get_libc_version") else None
    except (OSError, TypeError):
        return None
