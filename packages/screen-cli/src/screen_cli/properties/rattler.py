"""Built-in per-structure properties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from screen_cli.stages.harmonic import Harmonic
from screen_cli.store.record import TypedRecord, record_from


@dataclass(frozen=True, kw_only=True, eq=False)
class Rattler(TypedRecord):
    """Which element moves most.

    Parameters
    ----------
    rattler_element : str
        Symbol.
    rattler_ratio : float
        Its mean square displacement over the mean of all atoms, at the first temperature.
    """

    rattler_element: str
    rattler_ratio: float


def rattler(records: Mapping[str, object]) -> Rattler:
    """Name the element that moves most, and its mean square displacement over the mean of all atoms.

    Parameters
    ----------
    records : mapping of str to typed record
        ``harmonic``.
    """
    harmonic = record_from(records, "harmonic", Harmonic)
    msd = harmonic.msd[0]
    most = int(np.argmax(msd))
    symbol = chemical_symbols[int(harmonic.numbers[most])]
    return Rattler(rattler_element=symbol, rattler_ratio=float(msd[most] / msd.mean()))
