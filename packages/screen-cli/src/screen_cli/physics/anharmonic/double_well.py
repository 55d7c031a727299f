r"""How deep the well is that a mode moves in, the other modes averaged: whether a crystal stays where it is.

The Gaussian variational principle finds a positive curvature for every well, also for one with two deep minima, where
its distribution covers both and the crystal would rather be in one. What the mode feels is read from the samples: the
pull along it, averaged over everything else at a given coordinate q,

.. math:: \langle f \mid q \rangle = -(\alpha q + \beta q^3), \qquad
   \Delta = \frac{\alpha^2}{4\beta\,\lambda\sigma^2} \text{ where } \alpha < 0,

with α and β by least squares. Δ is the height of the barrier between the minima over :math:`\lambda\sigma^2`, which is
k_BT, or the zero-point energy where that is more. From Δ = 2.035 on a distribution about one minimum has the lower
free energy in the same principle (a classical oscillator): the crystal distorts.

References
----------
E. Pytte and J. Feder, Phys. Rev. 187, 1077 (1969), doi:10.1103/PhysRev.187.1077.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DISPLACED_IS_LOWER = 2.0354717593
"""Δ from which the classical Gaussian free energy about one minimum is below that about the middle."""


def barrier(
    coordinates: NDArray[np.float64], pulls: NDArray[np.float64], weights: NDArray[np.float64], eigenvalue: float
) -> float:
    """Height of the barrier in the middle of a well.

    Parameters
    ----------
    coordinates : ndarray
        float64 (n_samples,), q, mass-weighted, √u Å.
    pulls : ndarray
        float64 (n_samples,), generalised forces, odd in q, eV/(√u Å).
    weights : ndarray
        float64 (n_samples,), sum 1.
    eigenvalue : float
        λ of the mode, eV/(Å² u), positive: the mean curvature, α + 3βσ².

    Returns
    -------
    float
        Δ; 0 where there is one minimum. Where the pulls are too few to show what bounds the well, λ tells.
    """
    variance = float(weights @ coordinates**2)
    width = np.sqrt(variance)
    scaled = coordinates / width
    terms = np.stack([scaled, scaled**3], axis=1)
    weighted = terms * weights[:, None]
    linear, cubic = -np.linalg.solve(weighted.T @ terms, weighted.T @ pulls) / width  # α and βσ²
    if linear >= 0:
        return 0.0
    bound = cubic if cubic > 0 else (eigenvalue - linear) / 3
    return float(linear**2 / (4 * bound * eigenvalue))
