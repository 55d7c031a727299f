r"""Sound velocities and the Debye temperature from the slopes of the acoustic branches.

.. math:: v_s(\hat q) = \lim_{k \to 0} \frac{2 \pi \nu_s(k \hat q)}{|k|}, \qquad
          3 v_D^{-3} = \sum_s \langle v_s^{-3} \rangle_{\hat q}, \qquad
          k_B \Theta_D = \hbar v_D (6 \pi^2 n)^{1/3}

with n atoms per volume. The fastest branch of each direction counts as longitudinal, the two others as transverse.

References
----------
O. L. Anderson, J. Phys. Chem. Solids 24, 909 (1963), doi:10.1016/0022-3697(63)90067-2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import units
from numpy.typing import NDArray


@dataclass(frozen=True)
class SoundVelocities:
    """Averages over all directions.

    Parameters
    ----------
    debye : float
        v_D, m/s.
    transverse, longitudinal : float
        Means of the two slower branches and of the fastest, m/s.
    debye_temperature : float
        K.
    """

    debye: float
    transverse: float
    longitudinal: float
    debye_temperature: float


def acoustic_slopes(frequencies: NDArray[np.float64], wave_number: float) -> NDArray[np.float64]:
    """Slopes of the three lowest branches at one small |q|.

    Parameters
    ----------
    frequencies : ndarray
        float64 (n_directions, n_bands), THz, at q = ``wave_number`` q̂.
    wave_number : float
        |q|, 1/Å without 2π.

    Returns
    -------
    ndarray
        float64 (n_directions, 3), m/s, ascending; negative where imaginary.
    """
    slopes: NDArray[np.float64] = np.sort(frequencies, axis=1)[:, :3] / wave_number * 100.0  # THz Å = 100 m/s
    return slopes


def average_sound_velocities(slopes: NDArray[np.float64], number_density: float) -> SoundVelocities | None:
    """Average slopes over evenly spread directions.

    Parameters
    ----------
    slopes : ndarray
        float64 (n_directions, 3), m/s, ascending.
    number_density : float
        Atoms per Å³.

    Returns
    -------
    SoundVelocities or None
        None when a branch is imaginary near Γ.
    """
    if slopes.min() <= 0:
        return None
    debye = float(np.mean(slopes**-3.0) ** (-1.0 / 3.0))
    omega = debye * 1e10 * (6 * np.pi**2 * number_density) ** (1.0 / 3.0)  # rad/s
    return SoundVelocities(
        debye=debye,
        transverse=float(slopes[:, :2].mean()),
        longitudinal=float(slopes[:, 2].mean()),
        debye_temperature=float(omega * units._hbar / units._k),
    )


def even_directions(number: int) -> NDArray[np.float64]:
    """Give unit vectors spread evenly over the sphere (Fibonacci spiral), float64 (number, 3)."""
    index = np.arange(number) + 0.5
    height = 1 - 2 * index / number
    azimuth = np.pi * (1 + np.sqrt(5)) * index
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), height], axis=1)
