r"""The loop: how fourth-order force constants shift the harmonic ones, to first order, at a temperature.

.. math:: \Phi^{\mathrm{loop}}_{ij} = \Phi_{ij} + \tfrac12 \sum_{kl} \Phi_{ijkl}\, \langle u_k u_l \rangle,

with ⟨u u⟩ of the harmonic ensemble. Where the same is repeated with ⟨u u⟩ of the result, it is the self-consistent
result for a potential of fourth order.

References
----------
A. A. Maradudin and A. E. Fein, Phys. Rev. 128, 2589 (1962), doi:10.1103/PhysRev.128.2589.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def add_loop(
    fc2: NDArray[np.float64], fc4: NDArray[np.float64], covariance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Add the loop to compact force constants.

    Parameters
    ----------
    fc2 : ndarray
        float64 (n_rows, n_atoms, 3, 3), eV/Å².
    fc4 : ndarray
        float64 (n_rows, n_atoms, n_atoms, n_atoms, 3, 3, 3, 3), eV/Å⁴.
    covariance : ndarray
        float64 (n_atoms, n_atoms, 3, 3), ⟨u u⟩, Å².

    Returns
    -------
    ndarray
        float64 (n_rows, n_atoms, 3, 3), eV/Å².
    """
    return np.asarray(fc2 + 0.5 * np.einsum("ijklabcd,klcd->ijab", fc4, covariance, optimize=True))
