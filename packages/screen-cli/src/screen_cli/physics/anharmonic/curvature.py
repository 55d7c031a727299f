r"""Curvature of the free energy along a mode: whether a crystal that warmth seems to hold together stays as it is.

Self-consistent force constants are positive whenever the search ends, even where the crystal would rather distort.
The free energy as a function of the mean positions tells; along a mode μ of the self-consistent crystal its
curvature is

.. math:: \Omega^2_\mu = \omega_\mu^2 - \tfrac12 \sum_{\nu\rho}
   \frac{\hbar\,|\Phi_{\mu\nu\rho}|^2}{2\omega_\nu\omega_\rho}
   \left[\frac{1 + n_\nu + n_\rho}{\omega_\nu + \omega_\rho} - \frac{n_\nu - n_\rho}{\omega_\nu - \omega_\rho}\right]

(:math:`\Phi_{\mu\nu\rho}` in mass-weighted coordinates; the static bubble, without the fourth order that screens
it). At high temperature the bracket is :math:`2k_BT/(\hbar\,\omega_\nu\omega_\rho)`.

References
----------
R. Bianco, I. Errea, L. Paulatto, M. Calandra and F. Mauri, Phys. Rev. B 96, 014111 (2017), Eqs. 21-23,
doi:10.1103/PhysRevB.96.014111.
"""

from __future__ import annotations

import numpy as np
from ase import units
from numpy.typing import NDArray

from screen_cli.physics.anharmonic.density_matrix import HBAR, ThermalEnsemble


def free_energy_curvature(
    ensemble: ThermalEnsemble, mode: int, third_order: NDArray[np.float64], temperature: float
) -> float:
    """Curvature of the free energy along one mode.

    Parameters
    ----------
    ensemble : ThermalEnsemble
        Of the self-consistent force constants.
    mode : int
        Of ``ensemble.modes``.
    third_order : ndarray
        float64 (3 n_atoms, 3 n_atoms), eV/Å³ times Å/√u: Σ_i Φ_ijk e_i/√m_i, the third-order force constants along
        the mode.
    temperature : float
        K.

    Returns
    -------
    float
        Ω², eV/(Å² u).
    """
    modes = ensemble.modes
    frequencies = np.sqrt(np.abs(modes.eigenvalues))
    scale = np.repeat(1 / np.sqrt(modes.masses), 3)
    along = modes.vectors.T @ (third_order * scale[:, None] * scale) @ modes.vectors
    propagator = pair_propagator(frequencies, temperature)
    return float(modes.eigenvalues[mode] - 0.5 * (along**2 * propagator).sum())


def pair_propagator(frequencies: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Give the static response of pairs of modes.

    Parameters
    ----------
    frequencies : ndarray
        float64 (n_modes,), angular, ASE's units, positive.
    temperature : float
        K.

    Returns
    -------
    ndarray
        float64 (n_modes, n_modes), Å² u per eV times u Å²: kT/(ω_ν² ω_ρ²) at high temperature.
    """
    thermal = units.kB * temperature
    with np.errstate(over="ignore"):
        occupations = np.zeros_like(frequencies) if thermal == 0 else 1 / np.expm1(HBAR * frequencies / thermal)
    slope = np.zeros_like(frequencies)
    if thermal > 0:
        slope = HBAR / thermal * occupations * (occupations + 1)  # −dn/dω
    total = frequencies[:, None] + frequencies
    difference = frequencies[:, None] - frequencies
    close = np.abs(difference) < 1e-6 * total
    ratio = -(occupations[:, None] - occupations) / np.where(close, 1.0, difference)
    ratio = np.where(close, 0.5 * (slope[:, None] + slope), ratio)
    bracket = (1 + occupations[:, None] + occupations) / total + ratio
    return np.asarray(0.5 * HBAR * bracket / (frequencies[:, None] * frequencies))
