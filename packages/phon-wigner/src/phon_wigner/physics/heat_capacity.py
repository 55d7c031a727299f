"""Harmonic heat capacity of a phonon mode.

::

    C = k_B x² e^x/(e^x - 1)²,   x = hν/(k_B T)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from phonopy.physical_units import get_physical_units


def mode_heat_capacity(
    frequencies: NDArray[np.float64], temperature: float, cutoff_frequency: float = 1e-4
) -> NDArray[np.float64]:
    """Return the heat capacity of each mode at constant volume.

    Parameters
    ----------
    frequencies : NDArray[np.float64], any shape, THz
        Ordinary frequencies.
    temperature : float, K
        0 gives zeros.
    cutoff_frequency : float
        Modes at or below it (THz) get 0.

    Returns
    -------
    NDArray[np.float64], the shape of ``frequencies``, eV/K
    """
    units = get_physical_units()
    result = np.zeros(np.shape(frequencies))
    if temperature <= 0:
        return result
    active = np.asarray(frequencies) > cutoff_frequency
    x = np.asarray(frequencies)[active] * units.THzToEv / (units.KB * temperature)
    decay = np.exp(-x)
    result[active] = units.KB * x**2 * decay / np.expm1(-x) ** 2
    return result
