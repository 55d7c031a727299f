"""The identity of a crystal: a hash of what all of its descriptions share."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from screen_cli.crystal.masses import has_own_masses
from screen_cli.crystal.standard_cell import Symmetry, standardise, symmetry_of

ID_LENGTH = 12
_LENGTH_STEP = 1e-3  # Å, rounding of lattice parameters in the id
_MASS_STEP = 1e-2  # u, rounding of masses in the id
_RELATIVE_STEP = 1e-3  # rounding of the pair sums in the id
_OFFSET = math.sqrt(2) / 10  # keeps values that authors round themselves away from the rounding edges
_PAIR_WIDTHS = (1.5, 3.0)  # Å, Gaussian widths of the pair sums in the id


def crystal_id(atoms: Atoms) -> str:
    r"""Hash what all descriptions of one crystal share.

    Hashed are the space group, the composition of the primitive cell, its volume, the sorted edges of the
    conventional cell and, for each pair of species :math:`(A, B)` and each width :math:`\sigma`, the sum

    .. math:: S_{AB} = \frac{1}{n_A} \sum_{i \in A} \sum_{j \in B} \exp(-r_{ij}^2 / 2\sigma^2)

    over all periodic images, rounded to 1e-3 (Å or relative). None of these depends on the origin, the
    orientation, the order of the atoms or the choice of axes; mirror images share one id, as they share κ. Where
    atoms have masses of their own, the masses (rounded to 0.01 u) are hashed too, and masses of one element count as
    species, so that LiD is not LiH.

    Returns
    -------
    str
        12 hexadecimal digits.
    """
    primitive = standardise(atoms)
    return hash_of(primitive, symmetry_of(primitive))


def hash_of(primitive: Atoms, symmetry: Symmetry) -> str:
    """Hash of :func:`crystal_id` for a primitive cell of known symmetry."""
    edges = np.sort(symmetry.edges)
    labels = _labels(primitive)
    species = sorted(set(labels))
    counts = [(label if has_own_masses(primitive) else label[0], labels.count(label)) for label in species]
    volume_length = primitive.cell.volume ** (1 / 3)
    of_atoms = np.array([species.index(label) for label in labels])
    sums = _pair_sums(primitive, of_atoms, len(species), symmetry.equivalent_atoms)
    parts = [
        str(symmetry.space_group),
        repr(counts),
        repr([_rounded(length, _LENGTH_STEP) for length in (*edges.tolist(), volume_length)]),
        repr([_rounded(math.log(value + 1e-6), _RELATIVE_STEP) for value in sums]),
    ]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:ID_LENGTH]


def _labels(atoms: Atoms) -> list[tuple[int, int]]:
    """Atomic number of each atom and, where masses are the crystal's own, its rounded mass; else 0."""
    if not has_own_masses(atoms):
        return [(number, 0) for number in atoms.numbers.tolist()]
    masses = [_rounded(mass, _MASS_STEP) for mass in atoms.get_masses().tolist()]
    return list(zip(atoms.numbers.tolist(), masses, strict=True))


def _rounded(value: float, step: float) -> int:
    """Round to a whole number of steps, off the edges where round input values sit."""
    return math.floor(value / step + 0.5 + _OFFSET)


def _pair_sums(
    atoms: Atoms, of_atoms: NDArray[np.int64], n_species: int, equivalent_atoms: NDArray[np.int64]
) -> list[float]:
    """Gaussian sums over pairs of each two species and each width, one centre for each set of equivalent atoms."""
    cutoff = 5.0 * max(_PAIR_WIDTHS)
    cell = atoms.cell.array
    heights = atoms.cell.volume / np.linalg.norm(np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]]), axis=1)
    reach = [np.arange(-n, n + 1) for n in np.ceil(cutoff / heights).astype(int) + 1]
    translations = np.stack(np.meshgrid(*reach, indexing="ij"), axis=-1).reshape(-1, 3) @ cell
    centres, multiplicity = np.unique(equivalent_atoms, return_counts=True)
    sums = np.zeros((len(centres), n_species, len(_PAIR_WIDTHS)))
    for row, centre in enumerate(centres):
        difference = (atoms.positions - atoms.positions[centre])[:, None, :] + translations
        squared = np.einsum("jtx,jtx->jt", difference, difference)
        neighbours = (squared < cutoff**2) & (squared > 1e-12)
        for column in range(n_species):
            near = squared[of_atoms == column][neighbours[of_atoms == column]]
            for k, width in enumerate(_PAIR_WIDTHS):
                sums[row, column, k] = np.exp(-near / (2 * width**2)).sum()
    result = []
    for first in range(n_species):
        of_first = of_atoms[centres] == first
        mean = np.average(sums[of_first], axis=0, weights=multiplicity[of_first])
        result += mean[first:].ravel().tolist()
    return result
