r"""Heat capacity of harmonic modes at constant volume.

.. math:: C_{qs}(T) = k_B \frac{x^2 e^x}{(e^x - 1)^2}, \qquad x = \frac{h \nu_{qs}}{k_B T}, \qquad
          C_V(T) = \frac{1}{N} \sum_{qs} C_{qs}(T)

The translations at Γ are motions of the crystal as a whole and are left out; which modes they are is told by their
eigenvectors (:func:`~screen_cli.physics.harmonic.stability.find_translations`), not by the sign of a frequency that is
zero but for rounding.

References
----------
M. T. Dove, Introduction to Lattice Dynamics (Cambridge, 1993), chapter 5.
"""

from __future__ import annotations

import numpy as np
from ase import units
from numpy.typing import NDArray

_PLANCK = 2 * np.pi * units._hbar / units._e * 1e12  # eV/THz
_CLASSICAL = 1e-6  # below this x the quotient is 1 to rounding, and 0/0 at zero


def mode_heat_capacity(frequencies: NDArray[np.float64], temperatures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the heat capacity of each mode: k_B where it is hot or its frequency zero, 0 at 0 K.

    Parameters
    ----------
    frequencies : ndarray
        float64 (n_qpoints, n_bands), THz; those that are not positive count as classical.
    temperatures : ndarray
        float64 (n_temps,), K, not negative.

    Returns
    -------
    ndarray
        float64 (n_temps, n_qpoints, n_bands), eV/K.
    """
    energies = _PLANCK * np.maximum(frequencies, 0.0)
    result = np.zeros((len(temperatures), *energies.shape))
    for row, temperature in enumerate(temperatures):
        if temperature > 0:
            with np.errstate(over="ignore"):  # a temperature near the smallest number
                x = np.clip(energies / (units.kB * temperature), _CLASSICAL, 700.0)
            result[row] = units.kB * (0.5 * x / np.sinh(0.5 * x)) ** 2
    return result


def heat_capacity(
    frequencies: NDArray[np.float64],
    weights: NDArray[np.int64],
    counted: NDArray[np.bool_],
    temperatures: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Sum the modes of a mesh.

    Parameters
    ----------
    frequencies : ndarray
        float64 (n_qpoints, n_bands), THz.
    weights : ndarray
        int64 (n_qpoints,), multiplicity of each q.
    counted : ndarray
        bool (n_qpoints, n_bands): False for what has no heat capacity, translations and imaginary modes.
    temperatures : ndarray
        float64 (n_temps,), K.

    Returns
    -------
    ndarray
        float64 (n_temps,), eV/K per primitive cell.
    """
    capacities = np.where(counted, mode_heat_capacity(frequencies, temperatures), 0.0)
    total: NDArray[np.float64] = np.einsum("q,tqs->t", weights / weights.sum(), capacities)
    return total
