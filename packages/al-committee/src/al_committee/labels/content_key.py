"""Keys by content: equal structures and equal settings have equal keys on every machine and in every run."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from ase import Atoms

__all__ = ["settings_key", "structure_key"]

RESOLUTION = 1e-7
"""Å; coordinates are compared after rounding to this grid."""


def structure_key(atoms: Atoms) -> str:
    """Hash elements (in order), positions, cell and periodicity.

    Constraints, tags, info and calculators do not enter. The order of the atoms does: forces belong to it.
    Initial magnetic moments and charges enter when set, because they change a DFT label.

    Parameters
    ----------
    atoms
        Positions and cell in Å.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    digest = hashlib.sha256(b"structure 1")
    digest.update(np.asarray(atoms.numbers, dtype="<i8").tobytes())
    for array in (atoms.positions, np.asarray(atoms.cell.array)):
        digest.update(np.round(array / RESOLUTION).astype("<i8").tobytes())
    digest.update(np.asarray(atoms.pbc, dtype="u1").tobytes())
    for name in ("initial_magmoms", "initial_charges"):
        if atoms.has(name) and np.any(atoms.get_array(name)):
            values = np.asarray(atoms.get_array(name), dtype=float)
            digest.update(name.encode() + np.round(values / RESOLUTION).astype("<i8").tobytes())
    return digest.hexdigest()[:32]


def settings_key(settings: Any) -> str:
    """Hash JSON-like settings, regardless of the order of keys.

    Raises
    ------
    TypeError
        When the settings hold something JSON cannot write.
    """
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
