r"""Where the ions go when the cell is strained: Newton steps with the Hessian of the primitive cell.

A strain of some 10⁻³ leaves forces far below what any optimiser calls converged, and how far depends on how stiff
the crystal is. The Hessian Φ of the primitive cell (the force constants at Γ) is therefore found once, by finite
differences, and the ions move by

.. math:: u = -\Phi^{+} \, \frac{\partial E}{\partial u} = \Phi^{+} F

with the pseudo-inverse, which leaves out translations; a few repetitions take care of what is not linear.

References
----------
M. Born and K. Huang, Dynamical Theory of Crystal Lattices (Oxford, 1954), section 11.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from screen_cli.errors import PhysicsError
from screen_cli.stages.relax import first_forces

_STEP = 0.01  # Å
_MAX_ITERATIONS = 6
_REDUCTION = 1e-3  # of the force that the strain caused
_FLOOR = 1e-7  # eV/Å; no model computes forces better
_FLAT = 1e-4  # of the largest eigenvalue; below it a mode is a translation, or has no restoring force


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
    def of(cls, atoms: Atoms, calculator: Any) -> InternalStrain:
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
        values, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T))
        flat = _FLAT * np.abs(values).max()
        if values.min() < -10 * flat:
            raise PhysicsError(
                f"the ions are on a saddle: a restoring force at Γ is {values.min():.3g} eV/Å². Relax the crystal "
                "further, or into the lower symmetry."
            )
        inverse = np.where(values > flat, 1 / np.where(values > flat, values, 1.0), 0.0)
        return cls((vectors * inverse) @ vectors.T)

    def relax(self, deformed: Atoms, calculator: Any) -> NDArray[np.float64]:
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


def _forces(atoms: Atoms, calculator: Any) -> NDArray[np.float64]:
    """Forces without their mean, eV/Å."""
    atoms.calc = calculator
    try:
        forces = np.array(first_forces(atoms), dtype=np.float64)
    finally:
        atoms.calc = None
    return forces - forces.mean(axis=0)
