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

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import PhysicsError

_FLAT = 1e-4  # of the largest eigenvalue; below it a mode is a translation, or has no restoring force


def invert_hessian(hessian: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pseudo-inverse Φ⁺ of a Hessian, without translations.

    Parameters
    ----------
    hessian : ndarray
        float64 (3 n_atoms, 3 n_atoms), eV/Å²; its symmetric part counts.

    Returns
    -------
    ndarray
        float64 (3 n_atoms, 3 n_atoms), Å²/eV, symmetric.

    Raises
    ------
    PhysicsError
        The ions sit on a saddle: an optical mode at Γ is imaginary.
    """
    values, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T))
    flat = _FLAT * np.abs(values).max()
    if values.min() < -10 * flat:
        raise PhysicsError(
            f"the ions are on a saddle: a restoring force at Γ is {values.min():.3g} eV/Å². Relax the crystal "
            "further, or into the lower symmetry."
        )
    inverse = np.where(values > flat, 1 / np.where(values > flat, values, 1.0), 0.0)
    result: NDArray[np.float64] = (vectors * inverse) @ vectors.T
    return result
