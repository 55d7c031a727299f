"""Bonding and antibonding of a crystal from COHP curves.

For a pair of atoms, B = ∫ max(−COHP, 0) dE and A = ∫ max(COHP, 0) dE over the occupied states (E ≤ E_F), so that
B − A = −ICOHP(E_F). A crystal gets the mean of each over its pairs.

References
----------
R. Dronskowski, P. E. Blöchl, J. Phys. Chem. 97, 8617 (1993), doi:10.1021/j100135a014 (COHP: negative is bonding);
A. Rodriguez et al., Commun. Mater. 4, 61 (2023), doi:10.1038/s43246-023-00390-3, Fig. 5 (the two descriptors).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid


def integrate_bonding(energies: NDArray[np.float64], cohp: NDArray[np.float64]) -> tuple[float, float]:
    """Integrate the bonding and the antibonding part of one COHP curve up to the Fermi level.

    Parameters
    ----------
    energies : ndarray
        float64 (n_energies,), eV, rising, Fermi level at zero.
    cohp : ndarray
        float64 (n_energies,), 1/eV times eV (LOBSTER's unit), spins summed; linear between the points.

    Returns
    -------
    (float, float)
        Bonding and antibonding integrals, both positive, eV.

    Raises
    ------
    ValueError
        Energies do not rise, or do not reach the Fermi level.
    """
    if len(energies) < 2 or (np.diff(energies) <= 0).any():
        raise ValueError("the energies of a COHP curve must rise, in at least two points")
    if energies[0] > 0 or energies[-1] < 0:
        raise ValueError(f"the curve goes from {energies[0]:g} to {energies[-1]:g} eV and misses the Fermi level at 0")
    occupied = energies < 0
    energy = np.append(energies[occupied], 0.0)
    value = np.append(cohp[occupied], np.interp(0.0, energies, cohp))
    changes = np.nonzero(value[:-1] * value[1:] < 0)[0]  # a straight piece through zero is cut there
    crossing = energy[changes] - value[changes] * np.diff(energy)[changes] / np.diff(value)[changes]
    crossing = np.clip(crossing, energy[changes], energy[changes + 1])  # rounding must not pass a neighbour
    energy = np.insert(energy, changes + 1, crossing)
    value = np.insert(value, changes + 1, 0.0)
    bonding = trapezoid(np.clip(-value, 0.0, None), energy)
    antibonding = trapezoid(np.clip(value, 0.0, None), energy)
    return float(bonding), float(antibonding)
