"""Built-in per-structure properties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from screen_cli.store.record import Record


def rattler(records: Mapping[str, Record]) -> dict[str, Any]:
    """Name the element that moves most, and its mean square displacement over the mean of all atoms.

    Parameters
    ----------
    records : mapping of str to Record
        ``harmonic`` with array ``msd`` (n_temps, n_atoms) in Å² and ``numbers`` (n_atoms,).

    Returns
    -------
    dict
        ``rattler_element`` (symbol), ``rattler_ratio`` (dimensionless, at the first temperature).
    """
    arrays = records["harmonic"].arrays
    msd = np.asarray(arrays["msd"])[0]
    most = int(np.argmax(msd))
    symbol = chemical_symbols[int(arrays["numbers"][most])]
    return {"rattler_element": symbol, "rattler_ratio": float(msd[most] / msd.mean())}
