"""Harmonic heat capacity of a phonon mode.

::

    C = k_B x² e^x/(e^x - 1)²,   x = hν/(k_B T)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mode_heat_capacity(
    frequencies: NDArray[np.float64],
    temperature: float,
    *,
    boltzmann: float,
    planck: float,
    cutoff_frequency: float = 1e-4,
) -> NDArray[np.float64]:
    """Return the heat capacity of each mode at constant volume.

    Parameters
    ----------
    frequencies : NDArray[np.float64], any shape, THz
        Ordinary frequencies.
    temperature : float, K
        0 gives zeros.
    boltzmann : float, eV/K
        Boltzmann's constant.
    planck : float, eV/THz
        Planck's constant.
    cutoff_frequency : float, THz
        Modes at or below it get 0.

    Returns
    -------
    NDArray[np.float64], the shape of ``frequencies``, eV/K
    """
    result = np.zeros(np.shape(frequencies))
    if temperature <= 0:
        return result
    active = np.asarray(frequencies) > cutoff_frequency
    x = np.asarray(frequencies)[active] * planck / (boltzmann * temperature)
    decay = np.exp(-x)
    result[active] = boltzmann * x**2 * decay / np.expm1(-x) ** 2
    return result
