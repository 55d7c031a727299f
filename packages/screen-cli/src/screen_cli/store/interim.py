"""What a long stage has so far, so that a kill costs it half a minute and not all supercells."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from screen_cli.store.record import Record

if TYPE_CHECKING:
    from screen_cli.store.records import RecordStore

_EVERY = 30.0
"""Seconds of work between two writes."""


class Interim:
    """Arrays of a stage that has not ended, kept beside the records of its crystal under the key of the stage.

    Parameters
    ----------
    store : RecordStore
    structure_id, stage, key : str
        Of the record that the stage will make.
    every : float
        Seconds of work between two writes; what takes less is never written.
    """

    def __init__(self, store: RecordStore, structure_id: str, stage: str, key: str, every: float = _EVERY) -> None:
        self._store = store
        self._names = structure_id, f"{stage}.interim", key
        self._every = every
        self._since = time.monotonic()
        self._is_used = False

    def read(self) -> dict[str, NDArray[np.generic]]:
        """Give the arrays that a stage of this key left when it was stopped; none where there are no whole ones."""
        self._is_used = True
        record = self._store.read(*self._names)
        return {} if record is None else dict(record.arrays)

    @property
    def is_due(self) -> bool:
        """Whether the last write, or the beginning, is long enough ago."""
        return time.monotonic() - self._since >= self._every

    def write(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Write the arrays in the place of earlier ones."""
        self._is_used = True
        self._store.write(*self._names, Record(arrays=arrays), seconds=time.monotonic() - self._since)
        self._since = time.monotonic()

    def remove(self) -> None:
        """Forget them: the stage has its record."""
        if self._is_used:
            self._store.remove(*self._names)
