"""Which modes are translations, and whether a crystal is dynamically stable.

At Γ three modes move the crystal as a whole: their mass-weighted eigenvectors are √(m_κ/M) along x, y and z. Rounding
and imperfect sum rules leave them a frequency of either sign, so they are known by their eigenvectors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_AT_GAMMA = 1e-8  # fractional


def find_translations(
    qpoints: NDArray[np.float64], eigenvectors: NDArray[np.complex128], masses: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Mark the three modes at Γ that are most nearly translations.

    Parameters
    ----------
    qpoints : ndarray
        float64 (n_qpoints, 3), fractional.
    eigenvectors : ndarray
        complex128 (n_qpoints, 3 n_atoms, n_bands), mass-weighted, normalised, columns are modes.
    masses : ndarray
        float64 (n_atoms,), any unit.

    Returns
    -------
    ndarray
        bool (n_qpoints, n_bands).
    """
    marked = np.zeros((len(qpoints), eigenvectors.shape[2]), dtype=bool)
    rigid = np.kron(np.sqrt(masses / masses.sum())[:, None], np.eye(3))  # (3 n_atoms, 3)
    for row in np.flatnonzero(np.linalg.norm(qpoints - np.rint(qpoints), axis=1) < _AT_GAMMA):
        share = (np.abs(rigid.T @ eigenvectors[row]) ** 2).sum(axis=0)
        marked[row, np.argsort(share)[-3:]] = True
    return marked


def is_stable(
    frequencies: NDArray[np.float64],
    translations: NDArray[np.bool_],
    *,
    gamma_tolerance_thz: float,
    tolerance_thz: float,
) -> bool:
    """Apply the stability rule: translations at Γ ≥ −gamma_tolerance, all other modes ≥ −tolerance.

    Parameters
    ----------
    frequencies : ndarray
        float64 (n_qpoints, n_bands), THz, imaginary ones negative.
    translations : ndarray
        bool (n_qpoints, n_bands), of :func:`find_translations`.
    gamma_tolerance_thz, tolerance_thz : float
        THz, not negative.
    """
    return bool(np.all(frequencies >= np.where(translations, -gamma_tolerance_thz, -tolerance_thz)))


def count_imaginary(frequencies: NDArray[np.float64], weights: NDArray[np.int64], *, tolerance_thz: float) -> int:
    """Count the modes of the full mesh below −tolerance.

    Parameters
    ----------
    frequencies : ndarray
        float64 (n_qpoints, n_bands), THz, imaginary ones negative.
    weights : ndarray
        int64 (n_qpoints,), multiplicity of each q.
    tolerance_thz : float
        THz.
    """
    return int(np.count_nonzero(frequencies < -tolerance_thz, axis=1) @ weights)
