r"""Mean square displacement of each atom.

.. math:: \langle u_\kappa^2 \rangle = \frac{\hbar}{2 N m_\kappa} \sum_{qs}
          \frac{|e_{\kappa}(qs)|^2}{\omega_{qs}} \coth \frac{\hbar \omega_{qs}}{2 k_B T}

summed over x, y and z. Translations at Γ, whose displacement diverges, and imaginary modes are left out.

References
----------
B. T. M. Willis and A. W. Pryor, Thermal Vibrations in Crystallography (Cambridge, 1975), chapter 4.
"""

from __future__ import annotations

import numpy as np
from ase import units
from numpy.typing import NDArray

_HBAR = units._hbar / units._e  # eV s
_SCALE = units._hbar / units._amu * 1e20  # Å² u/s


def shares_of_atoms(eigenvectors: NDArray[np.complex128], orbits: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share |e|² of each atom in each mode, averaged over equivalent atoms.

    The average lets one irreducible q stand for its whole star.

    Parameters
    ----------
    eigenvectors : ndarray
        complex128 (n_qpoints, 3 n_atoms, n_bands), mass-weighted, columns are modes.
    orbits : ndarray
        int64 (n_atoms,): equal numbers for atoms that symmetry makes equivalent.

    Returns
    -------
    ndarray
        float64 (n_qpoints, n_bands, n_atoms); the sum over atoms is 1.
    """
    n_qpoints, _, n_bands = eigenvectors.shape
    shares = (np.abs(eigenvectors.reshape(n_qpoints, len(orbits), 3, n_bands)) ** 2).sum(axis=2)  # qκs
    for orbit in np.unique(orbits):
        shares[:, orbits == orbit] = shares[:, orbits == orbit].mean(axis=1, keepdims=True)
    result: NDArray[np.float64] = shares.transpose(0, 2, 1)  # qsκ
    return result


def mean_square_displacements(
    frequencies: NDArray[np.float64],
    weights: NDArray[np.int64],
    shares: NDArray[np.float64],
    counted: NDArray[np.bool_],
    *,
    masses: NDArray[np.float64],
    temperatures: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Sum the modes of a mesh (formula above).

    Parameters
    ----------
    frequencies : ndarray
        float64 (n_qpoints, n_bands), THz.
    weights : ndarray
        int64 (n_qpoints,), multiplicity of each q.
    shares : ndarray
        float64 (n_qpoints, n_bands, n_atoms), of :func:`shares_of_atoms`.
    counted : ndarray
        bool (n_qpoints, n_bands): False for what is left out; the others have positive frequencies.
    masses : ndarray
        float64 (n_atoms,), u.
    temperatures : ndarray
        float64 (n_temps,), K, not negative.

    Returns
    -------
    ndarray
        float64 (n_temps, n_atoms), Å².
    """
    omega = 2 * np.pi * 1e12 * np.where(counted, frequencies, 1.0)  # 1/s
    result = np.empty((len(temperatures), len(masses)))
    for row, temperature in enumerate(temperatures):
        with np.errstate(divide="ignore", over="ignore"):  # towards absolute zero: tanh of infinity is one
            hot = 1 / np.tanh(_HBAR * omega / (2 * units.kB * temperature))
        of_mode = np.where(counted, hot / omega, 0.0) * weights[:, None]
        result[row] = np.einsum("qs,qsk->k", of_mode, shares)
    return np.asarray(result * _SCALE / (2 * weights.sum() * masses))
