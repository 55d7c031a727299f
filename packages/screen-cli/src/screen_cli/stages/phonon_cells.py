"""Phono3py and Phonopy objects of a crystal, made once in a process: its stages share one search of symmetry."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from screen_cli.crystal.masses import has_own_masses
from screen_cli.crystal.supercell import Multiples
from screen_cli.store.record import TypedRecord, array

if TYPE_CHECKING:
    from phono3py import Phono3py
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms


@dataclass(frozen=True, kw_only=True, eq=False)
class BaseCell(TypedRecord):
    """The cell that supercells are multiples of, and the way from it to the primitive cell.

    Parameters
    ----------
    cell : ndarray
        float64 (3, 3), rows are lattice vectors, Å.
    positions : ndarray
        float64 (n_atoms_unitcell, 3), fractional.
    numbers : ndarray
        int64 (n_atoms_unitcell,), atomic numbers.
    masses : ndarray, optional
        float64 (n_atoms_unitcell,), u; only where they are not the standard ones.
    primitive_matrix : ndarray
        float64 (3, 3), columns are the primitive vectors in units of those of this cell.
    """

    cell: NDArray[np.float64] = array(np.float64, 3, 3, name="unitcell_cell")
    positions: NDArray[np.float64] = array(np.float64, "n_atoms_unitcell", 3, name="unitcell_positions")
    numbers: NDArray[np.int64] = array(np.int64, "n_atoms_unitcell", name="unitcell_numbers")
    masses: NDArray[np.float64] | None = array(np.float64, "n_atoms_unitcell", name="unitcell_masses", optional=True)
    primitive_matrix: NDArray[np.float64] = array(np.float64, 3, 3)

    @classmethod
    def of(cls, unitcell: Atoms) -> BaseCell:
        """Take an ASE crystal; phonopy guesses the primitive matrix from its symmetry."""
        from phonopy.structure.atoms import PhonopyAtoms
        from phonopy.structure.cells import guess_primitive_matrix

        cell, numbers = unitcell.cell.array.copy(), np.array(unitcell.numbers, dtype=np.int64)
        positions = unitcell.get_scaled_positions()
        matrix = guess_primitive_matrix(PhonopyAtoms(numbers=numbers, cell=cell, scaled_positions=positions))
        return cls(
            cell=cell,
            positions=positions,
            numbers=numbers,
            masses=np.array(unitcell.get_masses()) if has_own_masses(unitcell) else None,
            primitive_matrix=np.array(matrix, dtype=np.float64),
        )


def bare_phono3py(base: BaseCell, dim: Multiples, dim_fc2: Multiples | None) -> Phono3py:
    """Make a Phono3py object without displacements and force constants.

    Parameters
    ----------
    base : BaseCell
    dim, dim_fc2 : tuple of int
        Multiples of it for fc3, and for fc2 where that has its own supercell.

    Returns
    -------
    Phono3py
        A shallow copy of one that stays with this process: cells and symmetry are shared, what is set on it is not.
    """
    return copy.copy(_made(_Cells.of(base, dim, dim_fc2)).phono3py)


def bare_phonopy(base: BaseCell, dim: Multiples, dim_fc2: Multiples | None) -> Phonopy:
    """Make a Phonopy object of the fc2 supercell without force constants, as :func:`bare_phono3py`."""
    return copy.copy(_made(_Cells.of(base, dim, dim_fc2)).phonopy)


class _Cells(NamedTuple):
    """Cells by their bytes: equal ones give the same objects."""

    cell: bytes
    positions: bytes
    numbers: bytes
    masses: bytes | None
    primitive_matrix: bytes
    dim: Multiples
    dim_fc2: Multiples | None

    @classmethod
    def of(cls, base: BaseCell, dim: Multiples, dim_fc2: Multiples | None) -> _Cells:
        """Take a base cell and its multiples."""
        return cls(
            base.cell.tobytes(),
            base.positions.tobytes(),
            base.numbers.tobytes(),
            None if base.masses is None else base.masses.tobytes(),
            base.primitive_matrix.tobytes(),
            (dim[0], dim[1], dim[2]),
            None if dim_fc2 is None else (dim_fc2[0], dim_fc2[1], dim_fc2[2]),
        )

    @property
    def unitcell(self) -> PhonopyAtoms:
        """The base cell as phonopy has it."""
        from phonopy.structure.atoms import PhonopyAtoms

        return PhonopyAtoms(
            numbers=np.frombuffer(self.numbers, dtype=np.int64),
            cell=np.frombuffer(self.cell).reshape(3, 3),
            scaled_positions=np.frombuffer(self.positions).reshape(-1, 3),
            masses=None if self.masses is None else np.frombuffer(self.masses),
        )

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The primitive matrix."""
        return np.frombuffer(self.primitive_matrix).reshape(3, 3)


class _Made:
    """The objects of one set of cells; Phonopy takes its symmetry from Phono3py."""

    def __init__(self, cells: _Cells) -> None:
        self._cells = cells

    @functools.cached_property
    def phono3py(self) -> Phono3py:
        """Phono3py, its symmetry searched."""
        from phono3py import Phono3py

        cells = self._cells
        return Phono3py(
            cells.unitcell,
            supercell_matrix=np.diag(cells.dim),
            primitive_matrix=cells.matrix,
            phonon_supercell_matrix=None if cells.dim_fc2 is None else np.diag(cells.dim_fc2),
            log_level=0,
        )

    @functools.cached_property
    def phonopy(self) -> Phonopy:
        """Phonopy with the supercell of fc2."""
        from phonopy import Phonopy

        phono3py = self.phono3py

        class PhonopyOfKnownSymmetry(Phonopy):
            """Phonopy that does not search again what Phono3py has found in the same cells."""

            def _search_symmetry(self) -> None:
                self._symmetry = phono3py.phonon_supercell_symmetry

            def _search_primitive_symmetry(self) -> None:
                self._primitive_symmetry = phono3py.primitive_symmetry

        cells = self._cells
        return PhonopyOfKnownSymmetry(
            cells.unitcell,
            supercell_matrix=np.diag(cells.dim if cells.dim_fc2 is None else cells.dim_fc2),
            primitive_matrix=cells.matrix,
            log_level=0,
        )


@functools.lru_cache(maxsize=4)
def _made(cells: _Cells) -> _Made:
    """Keep the objects of the last few crystals."""
    return _Made(cells)
