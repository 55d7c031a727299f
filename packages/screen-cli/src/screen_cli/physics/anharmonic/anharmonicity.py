r"""The anharmonicity σ^A: which share of the forces at a temperature harmonic force constants do not explain.

.. math:: \sigma^A(T) = \frac{\mathrm{std}[F - F^{(2)}]_T}{\mathrm{std}[F]_T}, \qquad F^{(2)} = -\Phi u,

over samples of the harmonic ensemble (:math:`\sigma^A_{\mathrm{OS}}` of the reference, which needs no dynamics).
With the bundled weights Si has 0.16 at 300 K and NaCl 0.42; the larger it is, the less perturbation theory is to be
relied on.

References
----------
F. Knoop, T. A. R. Purcell, M. Scheffler and C. Carbogno, Phys. Rev. Mater. 4, 083809 (2020), Eq. 9,
doi:10.1103/PhysRevMaterials.4.083809.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import PhysicsError


def anharmonicity(forces: NDArray[np.float64], harmonic_forces: NDArray[np.float64]) -> float:
    """σ^A of samples.

    Parameters
    ----------
    forces, harmonic_forces : ndarray
        float64 (n_samples, n_atoms, 3), eV/Å.

    Raises
    ------
    PhysicsError
        There is no force at all.
    """
    scale = float(np.std(forces))
    if not scale > 0:
        raise PhysicsError("σ^A needs forces: those of all samples vanish.")
    return float(np.std(forces - harmonic_forces)) / scale


def anharmonicity_of_groups(
    forces: NDArray[np.float64], harmonic_forces: NDArray[np.float64], groups: NDArray[np.int64]
) -> dict[int, float]:
    """σ^A of the atoms of each group, e.g. an element.

    Parameters
    ----------
    forces, harmonic_forces : ndarray
        float64 (n_samples, n_atoms, 3), eV/Å.
    groups : ndarray
        int64 (n_atoms,).
    """
    return {
        int(group): anharmonicity(forces[:, groups == group], harmonic_forces[:, groups == group])
        for group in np.unique(groups)
    }


def anharmonicity_error(forces: NDArray[np.float64], harmonic_forces: NDArray[np.float64]) -> float:
    """Estimate the standard error of σ^A by leaving each sample out (jackknife)."""
    n_samples = len(forces)
    if n_samples < 2:
        return float("inf")
    kept = [np.arange(n_samples) != left for left in range(n_samples)]
    values = np.array([anharmonicity(forces[rows], harmonic_forces[rows]) for rows in kept])
    return float(np.sqrt((n_samples - 1) * values.var()))
