"""What a label belongs to: the structure without anything that does not determine its energy, forces and stress.

One rule for every source of labels: what does not enter the key does not reach the source either. Elements, positions
up to lattice vectors, cell, periodicity, initial magnetic moments and charges, and the total charge and spin that some
force fields read from ``info``, determine a label. Constraints of every kind (fixed atoms, move masks, ``if_pos``,
springs), tags, momenta, masses, notes in ``info`` and calculators do not.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from al_committee.errors import StructureError
from al_committee.file_access.recursion import usual_recursion

__all__ = [
    "IDENTITY_RULE",
    "bare_structure",
    "decode_structure",
    "earlier_settings_key",
    "encode_structure",
    "settings_key",
    "structure_key",
    "with_notes",
]

IDENTITY_RULE = 2
"""1 let constraints reach the source of labels, so that fixed atoms could be labelled with a force of zero."""

RESOLUTION = 1e-7
"""Å and e or µ_B; values are compared after rounding to this grid."""
FRACTIONS = 720720 * 128
"""Grid points along a lattice vector: fractions such as 1/3, 1/7 or 5/16 lie on points and never between two."""
DETERMINING_ARRAYS = ("initial_magmoms", "initial_charges")
DETERMINING_INFO = ("charge", "spin")


def bare_structure(atoms: Atoms) -> Atoms:
    """Copy what determines a label, and nothing else.

    Parameters
    ----------
    atoms : Atoms
        Any structure, Å.

    Returns
    -------
    Atoms
        Elements, positions, cell, periodicity; initial magnetic moments and charges where one is not zero; total
        ``charge`` and ``spin`` of ``info`` where given. No constraint, tag, momentum or calculator.

    Raises
    ------
    StructureError
        NaN or infinity in positions, cell, moments or charges.
    """
    bare = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc)
    bare.info = {name: atoms.info[name] for name in DETERMINING_INFO if _determines(atoms.info.get(name))}
    for name in DETERMINING_ARRAYS:
        if atoms.has(name) and np.any(atoms.get_array(name)):
            bare.set_array(name, np.asarray(atoms.get_array(name), dtype=np.float64))
    for what, values in (("positions", bare.positions), ("cell", bare.cell.array), *bare.arrays.items()):
        if not np.isfinite(values).all():
            raise StructureError(
                f"{atoms.get_chemical_formula()}: {what.replace('_', ' ')} hold NaN or infinity. Mend the structure."
            )
    return bare


def with_notes(atoms: Atoms) -> Atoms:
    """Copy what determines a label, and the plain notes of ``info`` that a label carries along for people."""
    bare = bare_structure(atoms)
    plain = {key: value for key, value in atoms.info.items() if isinstance(value, str | int | float | bool)}
    bare.info = {**plain, **bare.info}
    return bare


def encode_structure(atoms: Atoms) -> str:
    """Write a structure and its notes as one line of JSON, every digit kept."""
    bare = with_notes(atoms)
    value: dict[str, object] = {
        "numbers": bare.numbers.tolist(),
        "positions": bare.positions.tolist(),
        "cell": bare.cell.array.tolist(),
        "pbc": np.asarray(bare.pbc).tolist(),
        "info": {k: v.item() if isinstance(v, np.generic) else v for k, v in bare.info.items()},
    }
    value.update({name: bare.get_array(name).tolist() for name in DETERMINING_ARRAYS if bare.has(name)})
    return json.dumps(value)


def decode_structure(text: str) -> Atoms:
    """Read what :func:`encode_structure` wrote.

    Raises
    ------
    StructureError
        When the text is something else.
    """
    try:
        with usual_recursion():
            value = json.loads(text)
        atoms = Atoms(value["numbers"], positions=value["positions"], cell=value["cell"], pbc=value["pbc"])
        atoms.info = dict(value["info"])
        for name in DETERMINING_ARRAYS:
            if name in value:
                atoms.set_array(name, np.asarray(value[name], dtype=np.float64))
    except (ValueError, KeyError, TypeError) as error:
        raise StructureError(f"a stored structure cannot be read ({type(error).__name__}: {error}).") from error
    return atoms


def _determines(value: object) -> bool:
    """Whether a total charge or spin of ``info`` says something."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and bool(value)


def structure_key(atoms: Atoms) -> str:
    """Hash what determines a label.

    The order of the atoms enters: forces belong to it. Lattice vectors added to an atom do not.

    Parameters
    ----------
    atoms : Atoms
        Positions and cell in Å.

    Returns
    -------
    str
        32 hexadecimal digits.

    Raises
    ------
    StructureError
        NaN or infinity in what determines the label.
    """
    bare = bare_structure(atoms)
    digest = hashlib.sha256(f"structure {IDENTITY_RULE}".encode())
    digest.update(np.asarray(bare.numbers, dtype="<i8").tobytes())
    digest.update(_on_grid(bare).tobytes())
    digest.update(_rounded(bare.cell.array).tobytes())
    digest.update(np.asarray(bare.pbc, dtype="u1").tobytes())
    for name in DETERMINING_ARRAYS:
        if bare.has(name):
            digest.update(name.encode() + _rounded(bare.get_array(name)).tobytes())
    for name, value in sorted(bare.info.items()):
        digest.update(f"{name}={float(value):.7g}".encode())
    return digest.hexdigest()[:32]


def _rounded(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Integers of the grid of :data:`RESOLUTION`."""
    return np.round(np.asarray(values) / RESOLUTION).astype("<i8")


def _on_grid(atoms: Atoms) -> NDArray[np.int64]:
    """Positions as integers: Cartesian without a lattice, else fractions, those of periodic axes within one cell."""
    if not atoms.pbc.any() or abs(atoms.cell.complete().volume) < 1e-6:
        return _rounded(atoms.positions)
    fractions = np.linalg.solve(atoms.cell.complete().array.T, atoms.positions.T).T
    grid = np.round(fractions * FRACTIONS).astype("<i8")
    grid[:, atoms.pbc] %= FRACTIONS
    return grid


def settings_key(settings: object) -> str:
    """Hash JSON-like settings of a source of labels, regardless of the order of keys.

    Raises
    ------
    TypeError
        When the settings hold something JSON cannot write.
    """
    return _hash_json({"rule": IDENTITY_RULE, "settings": settings})


def earlier_settings_key(settings: object) -> str:
    """Give the key under which labels from before rule 2 of the same source were kept."""
    return _hash_json(settings)


def _hash_json(value: object) -> str:
    """Hash of compact, sorted JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
