r"""Trial force constants of a Gaussian ensemble: positive by construction, narrowed or widened by bounded steps.

A normal distribution needs a positive matrix D, while the mean curvature of the potential over it may be negative
along a mode: then the distribution is narrower than the well, and its width has to grow. A step from D to another
matrix N is therefore taken in the metric of D,

.. math:: D \leftarrow D^{1/2} \min(\max(D^{-1/2} N D^{-1/2},\ 1/g),\ g)\, D^{1/2},

with the bounds on the eigenvalues: no direction softens or stiffens by more than g at once, and every symmetry of D
and N stays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from screen_cli.physics.anharmonic.density_matrix import THZ, NormalModes, dynamical_matrix


def stiffened(modes: NormalModes, floor_thz: float, factor: float = 1.0) -> NDArray[np.float64]:
    """Turn imaginary modes into real ones of the same size, or a multiple of it, at least a floor.

    With a multiple above one, real modes softer than the floor times that are raised to it, too.

    Parameters
    ----------
    modes : NormalModes
    floor_thz : float
        THz.
    factor : float
        How much stiffer than that, as a ratio of frequencies.

    Returns
    -------
    ndarray
        float64 (n_atoms, n_atoms, 3, 3), eV/Å²: force constants without imaginary mode.
    """
    values = modes.eigenvalues
    floor = (factor * floor_thz / THZ) ** 2
    real = values if factor <= 1 else np.maximum(values, floor)
    return _force_constants(modes, np.diag(np.where(values > 0, real, np.maximum(-(factor**2) * values, floor))))


def bounded_step(modes: NormalModes, wanted: NDArray[np.float64], most: float) -> NDArray[np.float64]:
    """Go from positive force constants towards others, as far as none softens or stiffens by more than a factor.

    Parameters
    ----------
    modes : NormalModes
        Of the force constants to go from, all eigenvalues positive.
    wanted : ndarray
        float64 (n_atoms, n_atoms, 3, 3), eV/Å²: where to go, perhaps with imaginary modes.
    most : float
        g, above 1.

    Returns
    -------
    ndarray
        float64 (n_atoms, n_atoms, 3, 3), eV/Å²: ``wanted`` itself where it lies within the bound.
    """
    roots = np.sqrt(modes.eigenvalues)
    relative = modes.vectors.T @ dynamical_matrix(wanted, modes.masses) @ modes.vectors / np.outer(roots, roots)
    values, vectors = np.linalg.eigh(relative)
    if values[0] >= 1 / most and values[-1] <= most:
        return wanted
    bounded = (vectors * np.clip(values, 1 / most, most)) @ vectors.T
    return _force_constants(modes, bounded * np.outer(roots, roots))


def _force_constants(modes: NormalModes, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Force constants of a matrix between modes, float64 (n_atoms, n_atoms, 3, 3), eV/Å²."""
    n_atoms = len(modes.masses)
    dynamical = (modes.vectors @ matrix @ modes.vectors.T).reshape(n_atoms, 3, n_atoms, 3).transpose(0, 2, 1, 3)
    return np.asarray(dynamical * np.sqrt(np.outer(modes.masses, modes.masses))[:, :, None, None])
