r"""The stress of a crystal whose atoms move: what the force field says on average, and the momentum they carry.

.. math:: \sigma = \langle \sigma_\mathrm{BO} \rangle
   - \frac1V \sum_\mu \lambda_\mu \sigma_\mu^2 \sum_i e_{i\mu} e_{i\mu}^T,

positive under tension. :math:`\lambda_\mu\sigma_\mu^2` is twice the kinetic energy of a mode, k_BT at high temperature.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from screen_cli.physics.anharmonic.density_matrix import ThermalEnsemble


def kinetic_stress(ensemble: ThermalEnsemble, volume: float) -> NDArray[np.float64]:
    """Stress of the momenta.

    Parameters
    ----------
    ensemble : ThermalEnsemble
        Of positive force constants.
    volume : float
        Of the supercell, Å³.

    Returns
    -------
    ndarray
        float64 (3, 3), eV/Å³, negative: momenta press outwards.
    """
    modes = ensemble.modes
    vectors = modes.vectors.reshape(len(modes.masses), 3, -1)  # iam
    twice_energy = modes.eigenvalues * ensemble.variances
    return np.asarray(-np.einsum("iam,ibm,m->ab", vectors, vectors, twice_energy, optimize=True) / volume)
