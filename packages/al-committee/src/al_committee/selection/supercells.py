"""Supercells of a crystal: repeated, strained or sheared, every atom displaced by a fixed length."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from al_committee.config import SupercellKind, SupercellSettings

__all__ = ["deform", "displace_randomly", "repeat"]


def displace_randomly(atoms: Atoms, length: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw one displacement of fixed length and random direction per atom.

    Returns
    -------
    NDArray[np.float64]
        shape ``(n_atoms, 3)``, Å, every row of norm `length`.
    """
    directions = rng.normal(size=(len(atoms), 3))
    directions *= length / np.linalg.norm(directions, axis=1, keepdims=True)
    return directions


def repeat(cell: Atoms, settings: SupercellSettings) -> Atoms:
    """Repeat a cell as the settings say.

    Parameters
    ----------
    cell : Atoms
        The crystal's cell.
    settings : SupercellSettings
        `n_atoms`, or `min_length`; `max_atoms` for both.
    """
    if settings.n_atoms:
        return _repeat_shortest(cell, min(settings.n_atoms, settings.max_atoms))
    supercell: Atoms = cell.repeat(_repetitions(cell, settings.min_length, settings.max_atoms))
    return supercell


def _repeat_shortest(cell: Atoms, n_atoms: int) -> Atoms:
    """Double the shortest periodic axis while that comes nearer to the number of atoms."""
    atoms: Atoms = cell.copy()
    while 1.5 * len(atoms) <= n_atoms and atoms.pbc.any():
        lengths = np.where(atoms.pbc, atoms.cell.lengths().round(3), np.inf)
        counts = [1, 1, 1]
        counts[int(np.argmin(lengths))] = 2
        atoms = atoms.repeat(counts)
    return atoms


def _repetitions(cell: Atoms, min_length: float, max_atoms: int) -> tuple[int, int, int]:
    """Repetitions per periodic axis that reach `min_length`, lowered until `max_atoms` holds."""
    lengths = cell.cell.lengths()
    counts = [
        max(1, int(np.ceil(min_length / length - 1e-9))) if periodic and length > 0 else 1
        for length, periodic in zip(lengths, cell.pbc, strict=True)
    ]
    while len(cell) * int(np.prod(counts)) > max_atoms and max(counts) > 1:
        largest = max(counts)
        counts = [largest - 1 if count == largest else count for count in counts]
    return counts[0], counts[1], counts[2]


def deform(atoms: Atoms, kind: SupercellKind, rng: np.random.Generator) -> Atoms:
    """Strain a cell at random, as far as its kind allows.

    The volume's logarithm changes by at most ``kind.volume``; a symmetric strain with components of at most
    ``kind.shear`` changes the shape.
    """
    deformed: Atoms = atoms.copy()
    if kind.volume or kind.shear:
        scale = np.exp(rng.uniform(-kind.volume, kind.volume) / 3)
        strain = rng.uniform(-kind.shear, kind.shear, size=(3, 3))
        gradient = scale * (np.eye(3) + 0.5 * (strain + strain.T))
        deformed.set_cell(atoms.cell.array @ gradient, scale_atoms=True)
    return deformed
