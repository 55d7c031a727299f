"""The constants of phonopy that the formulas take, so that results agree with phono3py's to rounding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from phonopy.physical_units import get_physical_units

from phon_wigner.physics.heat_capacity import mode_heat_capacity


def conversion_to_w_mk(volume: float) -> float:
    """Return the factor from eV/K · (Å·THz)² / THz to W/(m K) for a cell volume in Å³."""
    units = get_physical_units()
    return float((units.THz * units.Angstrom) ** 2 / (volume * units.Angstrom**3) * units.EV / units.THz / (2 * np.pi))


def volume_of_conversion(factor: float) -> float:
    """Return the cell volume (Å³) for which :func:`conversion_to_w_mk` has this size; the sign is handedness."""
    return conversion_to_w_mk(1.0) / abs(factor)


def heat_capacities(
    frequencies: NDArray[np.float64], temperature: float, cutoff_frequency: float = 1e-4
) -> NDArray[np.float64]:
    """Return the heat capacity of each mode with phonopy's constants.

    Parameters
    ----------
    frequencies : NDArray[np.float64], any shape, THz
    temperature : float, K
    cutoff_frequency : float, THz
        Modes at or below it get 0.

    Returns
    -------
    NDArray[np.float64], the shape of ``frequencies``, eV/K
    """
    units = get_physical_units()
    return mode_heat_capacity(
        frequencies, temperature, boltzmann=units.KB, planck=units.THzToEv, cutoff_frequency=cutoff_frequency
    )
