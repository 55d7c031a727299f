r"""Born charges and the dielectric tensor of one crystal, in one frame.

A BORN file lists the dielectric tensor and the Born charges of the independent atoms of one cell, in the Cartesian
frame of that cell. The charges of the other atoms follow from the symmetry operations that map atom i to j,

.. math:: Z_j = R Z_i R^T, \qquad R = L^T W L^{-T} ,

with the cell vectors as rows of L. When a crystal is turned or its atoms reordered, the tensors go with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from screen_cli.crystal.metadata import Json, plain
from screen_cli.crystal.standard_cell import find_symmetry
from screen_cli.errors import StructureError

INVARIANCE = 0.1
"""Relative to the largest component: by how much symmetry may be broken in a calculated tensor."""
_LEAST_DIELECTRIC = 0.95  # no crystal screens less than the vacuum


@dataclass(frozen=True, eq=False)
class BornTensors:
    """Dielectric tensor and Born charges of every atom of a cell.

    Parameters
    ----------
    dielectric : ndarray
        High-frequency dielectric tensor, float64 (3, 3), Cartesian.
    charges : ndarray
        Born effective charges, float64 (n_atoms, 3, 3), e; first index the field, as in a BORN file.
    """

    dielectric: NDArray[np.float64]
    charges: NDArray[np.float64]

    def carried(self, rotation: NDArray[np.float64], sources: NDArray[np.int64]) -> BornTensors:
        """Turn the tensors and put them in another order of atoms.

        Parameters
        ----------
        rotation : ndarray
            Orthogonal, float64 (3, 3): a vector v becomes ``rotation @ v``.
        sources : ndarray
            Atom of this cell that each atom of the other one is, int64 (n_atoms_other,).
        """
        return BornTensors(
            rotation @ self.dielectric @ rotation.T,
            np.einsum("ab,nbc,dc->nad", rotation, self.charges[sources], rotation),
        )

    @property
    def isotropic(self) -> bool:
        """Whether every tensor is a multiple of the unit tensor, so that its frame does not matter."""
        tensors = np.concatenate([self.dielectric[None], self.charges])
        means = np.trace(tensors, axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3)
        return bool(np.abs(tensors - means).max() < 1e-3 * np.abs(tensors).max())

    def to_json(self) -> Json:
        """Return the numbers for a content key."""
        return plain([self.dielectric.round(6), self.charges.round(6)])


def parse_born(text: str) -> BornTensors:
    """Read a BORN file: a header line, nine numbers of the dielectric tensor, nine for each independent atom.

    Returns
    -------
    BornTensors
        ``charges`` of the independent atoms only, as listed.

    Raises
    ------
    StructureError
        The text is malformed, or the dielectric tensor is impossible.
    """
    rows = [line.split("#")[0].split() for line in text.replace("\r\n", "\n").split("\n")[1:]]
    tensors = []
    for number, words in enumerate(rows, start=2):
        if not words:
            continue
        values = [_number(word) for word in words[:9]]
        if len(values) < 9 or any(value is None for value in values):
            raise StructureError(f"BORN, line {number}: expected 9 numbers, got {len(words)} words.")
        tensors.append(np.array(values, dtype=np.float64).reshape(3, 3))
    if len(tensors) < 2:
        raise StructureError(
            "BORN holds no Born charges: expected a header line, the dielectric tensor (9 numbers), then 9 numbers for "
            "each independent atom."
        )
    dielectric = tensors[0]
    eigenvalues = np.linalg.eigvalsh((dielectric + dielectric.T) / 2)
    asymmetric = np.abs(dielectric - dielectric.T).max() > INVARIANCE * np.abs(dielectric).max()
    if asymmetric or eigenvalues.min() < _LEAST_DIELECTRIC:
        raise StructureError(
            f"BORN, line 2: a dielectric tensor is symmetric with eigenvalues of 1 or more, got {eigenvalues.round(3)}."
        )
    return BornTensors((dielectric + dielectric.T) / 2, np.array(tensors[1:]))


def expand_born(listed: BornTensors, atoms: Atoms, firsts: Sequence[int]) -> BornTensors:
    """Give every atom of a cell its charge.

    Parameters
    ----------
    listed : BornTensors
        In the frame of ``atoms``, charges of the independent atoms.
    atoms : ase.Atoms
        The cell.
    firsts : sequence of int
        Atom that each listed charge belongs to, one of each set of equivalent atoms.

    Raises
    ------
    StructureError
        Another number of charges than of independent atoms, or tensors without the symmetry of the crystal: they belong
        to another crystal or frame.
    """
    if len(listed.charges) != len(firsts):
        raise StructureError(
            f"BORN lists {len(listed.charges)} charges, but {atoms.get_chemical_formula()} has {len(firsts)} "
            "independent atoms. It belongs to another crystal, or lists more than the independent atoms."
        )
    dataset = find_symmetry(atoms)
    lattice = atoms.cell.array.T
    turns = np.array([lattice @ turn @ np.linalg.inv(lattice) for turn in dataset.rotations])
    images = _images(atoms, np.asarray(dataset.rotations), np.asarray(dataset.translations))
    dielectric = _mean(turns, listed.dielectric, "the dielectric tensor")
    charges = np.zeros((len(atoms), 3, 3))
    for first, charge in zip(firsts, listed.charges, strict=True):
        symbol = atoms.symbols[first]
        own = _mean(turns[images[:, first] == first], charge, f"the charge of {symbol}")
        for turn, image in zip(turns, images[:, first], strict=True):
            charges[image] = turn @ own @ turn.T
    largest = float(np.abs(charges).max())
    surplus = charges.sum(axis=0)
    if np.abs(surplus).max() / len(atoms) > max(0.3 * largest, 0.3):
        raise StructureError(
            f"the Born charges of BORN sum to {np.trace(surplus) / 3:.2f} e in the cell, expected 0. They belong to "
            "another crystal, or to another order of atoms."
        )
    return BornTensors(dielectric, charges - surplus / len(atoms))


def _number(word: str) -> float | None:
    """Give a finite number, Fortran's exponents too; None for anything else."""
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d{1,2})?", word):
        return None
    return float(word.lower().replace("d", "e"))


def _mean(turns: NDArray[np.float64], tensor: NDArray[np.float64], what: str) -> NDArray[np.float64]:
    """Average a tensor over operations that should leave it alone.

    Raises
    ------
    StructureError
        They do not.
    """
    turned = turns @ tensor @ np.swapaxes(turns, 1, 2)
    mean: NDArray[np.float64] = turned.mean(axis=0)
    if np.abs(turned - tensor).max() > INVARIANCE * max(float(np.abs(tensor).max()), 0.5):
        raise StructureError(
            f"{what} in BORN does not have the symmetry of the crystal: it belongs to another frame or crystal. Put "
            "the cell of its calculation beside it, as NAME.vasp beside NAME.BORN."
        )
    return mean


def _images(atoms: Atoms, turns: NDArray[np.int64], shifts: NDArray[np.float64]) -> NDArray[np.int64]:
    """Atom that each operation makes of each atom, int64 (n_operations, n_atoms)."""
    scaled = atoms.get_scaled_positions()
    result = np.empty((len(turns), len(atoms)), dtype=np.int64)
    for row, (turn, shift) in enumerate(zip(turns, shifts, strict=True)):
        apart = (scaled @ turn.T + shift)[:, None, :] - scaled[None]
        distance = np.linalg.norm((apart - np.round(apart)) @ atoms.cell.array, axis=2)
        distance[atoms.numbers[:, None] != atoms.numbers[None]] = np.inf
        result[row] = distance.argmin(axis=1)
    return result
