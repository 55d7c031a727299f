"""Crystals between ASE and phonopy, and the symmetry that phonopy finds in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from screen_cli.crystal.masses import has_own_masses, without_natural_masses

if TYPE_CHECKING:
    from phonopy.structure.atoms import PhonopyAtoms
    from phonopy.structure.symmetry import Symmetry


def ase_cell(cell: PhonopyAtoms) -> Atoms:
    """ASE's view of a phonopy cell, with masses where they are not the natural ones."""
    atoms = Atoms(numbers=cell.numbers, positions=cell.positions, cell=cell.cell, pbc=True, masses=cell.masses)
    return without_natural_masses(atoms)


def phonopy_cell(atoms: Atoms) -> PhonopyAtoms:
    """Return phonopy's view of an ASE crystal; an atom just below the origin stays there, so no index changes."""
    from phonopy.structure.atoms import PhonopyAtoms

    scaled = atoms.get_scaled_positions(wrap=False)
    masses = atoms.get_masses() if has_own_masses(atoms) else None
    return PhonopyAtoms(numbers=atoms.numbers, cell=atoms.cell.array, scaled_positions=scaled, masses=masses)


def cartesian_rotations(cell: PhonopyAtoms, symprec: float = 1e-5) -> NDArray[np.float64]:
    """Point group of a crystal.

    Parameters
    ----------
    cell : PhonopyAtoms
        Any cell of the crystal, Å.
    symprec : float
        Tolerance, Å.

    Returns
    -------
    ndarray
        float64 (n_operations, 3, 3), orthogonal, in the Cartesian frame of ``cell``.
    """
    from phonopy.structure.symmetry import Symmetry
    from phonopy.utils import similarity_transformation

    lattice = np.asarray(cell.cell).T
    rotations = Symmetry(cell, symprec=symprec).pointgroup_operations
    return np.array([similarity_transformation(lattice, rotation) for rotation in rotations])


class SymmetryAction(NamedTuple):
    """How the space group of a supercell, lattice translations included, moves its atoms.

    Parameters
    ----------
    permutations : ndarray
        int64 (n_operations, n_atoms): atom ``a`` goes to where atom ``permutations[g, a]`` was.
    rotations : ndarray
        float64 (n_operations, 3, 3), orthogonal, Cartesian.
    """

    permutations: NDArray[np.int64]
    rotations: NDArray[np.float64]


def symmetry_action(supercell: PhonopyAtoms | Atoms, symprec: float = 1e-5) -> SymmetryAction:
    """Find the space group of a supercell; magnetic moments and masses do not count.

    Parameters
    ----------
    supercell : PhonopyAtoms or ase.Atoms
        Undisplaced.
    symprec : float
        Tolerance, Å.
    """
    from phonopy.structure.atoms import PhonopyAtoms
    from phonopy.structure.symmetry import Symmetry

    scaled = supercell.get_scaled_positions() if isinstance(supercell, Atoms) else supercell.scaled_positions
    lattice = np.asarray(supercell.cell)
    cell = PhonopyAtoms(cell=lattice, numbers=np.asarray(supercell.numbers), scaled_positions=scaled)
    return known_action(Symmetry(cell, symprec=symprec), lattice)


def known_action(symmetry: Symmetry, cell: NDArray[np.float64]) -> SymmetryAction:
    """Take the space group of a supercell from a search that was made.

    Parameters
    ----------
    symmetry : phonopy.structure.symmetry.Symmetry
        Of the supercell, without magnetic moments.
    cell : ndarray
        float64 (3, 3), rows are the lattice vectors of the supercell, Å.
    """
    lattice = np.asarray(cell).T
    rotations = lattice @ symmetry.symmetry_operations["rotations"] @ np.linalg.inv(lattice)
    return SymmetryAction(np.asarray(symmetry.atomic_permutations), rotations)
