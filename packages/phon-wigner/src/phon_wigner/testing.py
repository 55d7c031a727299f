"""A toy crystal for tests: rocksalt held together by Morse springs, exact, stable and quick.

Every bond sits at its own minimum, so the crystal is stable and its force constants are analytic in kind.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from phon_wigner.harmonic import HarmonicCrystal

LATTICE = 5.6
BORN_CHARGE = 1.1
DIELECTRIC = 2.4


def rocksalt() -> PhonopyAtoms:
    """Return the 8-atom conventional cell."""
    fcc = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return PhonopyAtoms(
        symbols=["Na"] * 4 + ["Cl"] * 4,
        cell=np.eye(3) * LATTICE,
        scaled_positions=np.vstack([fcc, (fcc + np.array([0.5, 0.5, 0.5])) % 1]),
    )


def morse_forces(cell: PhonopyAtoms) -> NDArray[np.float64]:
    """Return forces (n_atoms, 3; eV/Å): nearest Na-Cl and Cl-Cl, Na-Na bonds, each at its own minimum."""
    positions = cell.positions
    difference = positions[None, :, :] - positions[:, None, :]
    fractional = difference @ np.linalg.inv(cell.cell)
    difference = (fractional - np.rint(fractional)) @ cell.cell
    distance = np.linalg.norm(difference, axis=2)
    np.fill_diagonal(distance, np.inf)
    like = np.equal.outer(cell.numbers, cell.numbers)
    first, second = LATTICE / 2, LATTICE / np.sqrt(2)
    depth = np.where(like, 0.12, 0.5)
    rest = np.where(like, second, first)
    stretch = np.where(np.isfinite(distance), distance - rest, 0.0)
    decay = np.exp(-1.4 * stretch)
    slope = np.where(np.abs(stretch) < 0.5, 2 * depth * 1.4 * (1 - decay) * decay, 0.0)
    return (slope[:, :, None] * difference / np.where(np.isfinite(distance), distance, 1)[:, :, None]).sum(axis=1)


def make_phonopy(primitive_matrix: str = "F", nac: str | None = None, dim: int = 2) -> Any:
    """Return the toy crystal with force constants and, when asked, charges."""
    phonon = Phonopy(rocksalt(), supercell_matrix=np.eye(3, dtype=int) * dim, primitive_matrix=primitive_matrix)
    phonon.generate_displacements(distance=0.001)
    phonon.forces = [morse_forces(cell) for cell in phonon.supercells_with_displacements]
    phonon.produce_force_constants()
    phonon.symmetrize_force_constants()
    if nac:
        signs = [1 if s == "Na" else -1 for s in phonon.primitive.symbols]
        phonon.nac_params = {
            "born": np.array([np.eye(3) * BORN_CHARGE * s for s in signs]),
            "dielectric": np.eye(3) * DIELECTRIC,
            "factor": 14.4,
            "method": nac,
        }
    return phonon


def irreducible_mesh(phonon_crystal: HarmonicCrystal, n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return one q per star of a regular mesh and the star sizes, by brute force."""
    grid = np.array(np.meshgrid(*[np.arange(n)] * 3, indexing="ij")).reshape(3, -1).T
    seen: dict[tuple[int, ...], int] = {}
    chosen, sizes = [], []
    for point in grid:
        star = np.einsum("rab,b->ra", phonon_crystal.reciprocal_operations, point)
        keys = {tuple(int(x) for x in s % n) for s in star}
        if any(key in seen for key in keys):
            continue
        seen.update(dict.fromkeys(keys, 1))
        chosen.append((point + n // 2) % n - n // 2)
        sizes.append(len(keys))
    return np.array(chosen) / n, np.array(sizes)
