"""Most memory that a stage held, as Linux counts it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path


class PeakMemory:
    """Largest resident size of this process since now, and of others that work for it.

    Pages of mapped files count, also where other processes share them.

    Parameters
    ----------
    processes : iterable of int
        Such as the server of a force field.
    """

    def __init__(self, processes: Iterable[int] = ()) -> None:
        for process in ("self", *processes):
            with contextlib.suppress(OSError):  # another system, or gone
                Path(f"/proc/{process}/clear_refs").write_text("5")

    def megabytes(self, processes: Iterable[int] = ()) -> float | None:
        """Sum over this process and those, in 10⁶ bytes; None where the system does not tell."""
        own = _high_water("self")
        return None if own is None else own + sum(_high_water(process) or 0.0 for process in processes)


def _high_water(process: int | str) -> float | None:
    """Largest resident size of a process, in 10⁶ bytes."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return None
