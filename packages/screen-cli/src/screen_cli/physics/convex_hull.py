r"""Distance of a phase from the convex hull of energies over composition.

The hull at a composition :math:`c` is the lowest energy of any mixture of phases :math:`i`,

.. math:: E_{hull}(c) = \min_{x \ge 0} \sum_i x_i E_i, \qquad \sum_i x_i c_i = c,

a linear programme, solved exactly at the composition of the phase; nothing is triangulated, so any number of elements
and any number of equal compositions will do.

References
----------
S. P. Ong, L. Wang, B. Kang, G. Ceder, Chem. Mater. 20, 1798 (2008), doi:10.1021/cm702327g: phase diagrams of several
elements as convex hulls.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

_LEAST_SHARE = 1e-6
"""Of a mixture; smaller ones are rounding."""


def lowest_mixture(
    composition: NDArray[np.float64], phases: NDArray[np.float64], energies: NDArray[np.float64]
) -> tuple[float, dict[int, float]]:
    """Find the mixture of phases that has the lowest energy at a composition.

    Parameters
    ----------
    composition : ndarray
        float64 (n_elements,), shares of the atoms, which sum to 1.
    phases : ndarray
        float64 (n_phases, n_elements), the same of each phase.
    energies : ndarray
        float64 (n_phases,), eV per atom, all against the same references.

    Returns
    -------
    energy : float
        Of the hull, eV per atom.
    shares : dict of int to float
        Share of the atoms in each phase of the mixture, by its number, the largest first.

    Raises
    ------
    ValueError
        No mixture of the phases has the composition.
    """
    found = linprog(energies, A_eq=phases.T, b_eq=composition, bounds=(0, None), method="highs")
    if found.status != 0:
        raise ValueError(f"no mixture of the phases has this composition: {found.message}")
    order = np.argsort(-found.x, kind="stable")
    return float(found.fun), {int(i): float(found.x[i]) for i in order if found.x[i] > _LEAST_SHARE}
