"""Crystals under a strain, with clamped ions and with ions where the force vanishes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from numpy.typing import NDArray

from screen_cli.errors import StructureError
from screen_cli.physics.elasticity.internal_strain import invert_hessian
from screen_cli.stages.relax import first_forces

SYMPREC = 1e-4  # Å; finer than any displacement of these strains
_STEP = 0.01  # Å
_MAX_ITERATIONS = 6
_REDUCTION = 1e-3  # of the force that the strain caused
_FLOOR = 1e-7  # eV/Å; no model computes forces better


def strained(atoms: Atoms, strain: NDArray[np.float64]) -> Atoms:
    """Copy of a crystal under the deformation 1 + ε, atoms carried along (clamped ions).

    Parameters
    ----------
    atoms : ase.Atoms
    strain : ndarray
        float64 (3, 3), symmetric.

    Raises
    ------
    StructureError
        The strain is not small: some element exceeds a half.
    """
    if not np.isfinite(strain).all() or np.abs(strain).max() > 0.5:
        raise StructureError(f"strain with largest element {np.abs(strain).max():.3g}, expected small ones (0.01).")
    result = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    result.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return result


@dataclass(frozen=True)
class InternalStrain:
    """Response of the ions of one crystal.

    Parameters
    ----------
    inverse : ndarray
        float64 (3 n_atoms, 3 n_atoms), Å²/eV: pseudo-inverse of the Hessian.
    """

    inverse: NDArray[np.float64]

    @classmethod
    def of(cls, atoms: Atoms, calculator: BaseCalculator) -> InternalStrain:
        """Find the Hessian of a relaxed primitive cell by 6 n_atoms force calls (none for a single atom).

        Raises
        ------
        PhysicsError
            The ions sit on a saddle: an optical mode at Γ is imaginary.
        CalculatorError
            The calculator failed.
        """
        size = 3 * len(atoms)
        if len(atoms) == 1:
            return cls(np.zeros((size, size)))
        hessian = np.empty((size, size))
        for row in range(size):
            forces = []
            for step in (_STEP, -_STEP):
                moved = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
                moved.positions[row // 3, row % 3] += step
                forces.append(_forces(moved, calculator))
            hessian[row] = (forces[1] - forces[0]).ravel() / (2 * _STEP)
        return cls(invert_hessian(hessian))

    def relax(self, deformed: Atoms, calculator: BaseCalculator) -> NDArray[np.float64]:
        """Move the ions of a strained cell in place to where the force vanishes.

        Returns
        -------
        ndarray
            float64 (n_atoms, 3), Å, Cartesian: the displacement beyond the uniform strain.
        """
        start = deformed.positions.copy()
        if not self.inverse.any():
            return np.zeros_like(start)
        goal = None
        for _ in range(_MAX_ITERATIONS):
            forces = _forces(deformed, calculator)
            largest = float(np.abs(forces).max())
            if goal is None:
                goal = max(_REDUCTION * largest, _FLOOR)
            if largest <= goal:
                break
            deformed.positions += (self.inverse @ forces.ravel()).reshape(-1, 3)
        moved: NDArray[np.float64] = deformed.positions - start
        return moved


def _forces(atoms: Atoms, calculator: BaseCalculator) -> NDArray[np.float64]:
    """Give the forces without their mean, eV/Å."""
    atoms.calc = calculator
    try:
        forces = np.array(first_forces(atoms), dtype=np.float64)
    finally:
        atoms.calc = None
    net: NDArray[np.float64] = forces.mean(axis=0)
    return forces - net
