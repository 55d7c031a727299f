"""Built-in per-structure properties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from screen_cli.stages.harmonic import Harmonic


def rattler(records: Mapping[str, Any]) -> dict[str, Any]:
    """Name the element that moves most, and its mean square displacement over the mean of all atoms.

    Parameters
    ----------
    records : mapping of str to typed record
        ``harmonic``.

    Returns
    -------
    dict
        ``rattler_element`` (symbol), ``rattler_ratio`` (dimensionless, at the first temperature).
    """
    harmonic: Harmonic = records["harmonic"]
    msd = harmonic.msd[0]
    most = int(np.argmax(msd))
    symbol = chemical_symbols[int(harmonic.numbers[most])]
    return {"rattler_element": symbol, "rattler_ratio": float(msd[most] / msd.mean())}
