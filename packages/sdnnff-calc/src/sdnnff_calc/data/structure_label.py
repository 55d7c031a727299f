"""Which structure of a list an error is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ase import Atoms

from sdnnff_calc.errors import SdnnffError
from sdnnff_calc.geometry.elements import N_ELEMENTS

__all__ = ["in_structure"]


@contextmanager
def in_structure(index: int, atoms: Atoms) -> Iterator[None]:
    """Put the place in the list, the formula and, where known, file and frame before the message of an error.

    Parameters
    ----------
    index : int
        In the list, from 0.
    atoms : Atoms
        The structure.
    """
    try:
        yield
    except SdnnffError as error:
        known = (
            len(atoms) > 0 and atoms.numbers.min() >= 0 and atoms.numbers.max() < N_ELEMENTS
        )  # ASE has no symbols beyond
        names = [atoms.get_chemical_formula()] if known else []
        names += [str(atoms.info["origin"])] if "origin" in atoms.info else []
        label = f"structure {index} ({', '.join(names)})" if names else f"structure {index}"
        error.args = (f"{label}: {error}",)
        raise
