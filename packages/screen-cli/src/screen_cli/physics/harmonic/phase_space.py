r"""Three-phonon phase space P3, from harmonic frequencies alone.

.. math::

    P_3 = \frac{2}{3\Omega} \left( P_3^{(+)} + \tfrac12 P_3^{(-)} \right), \qquad
    \frac{P_3^{(\pm)}}{\Omega} = \frac{1}{n^3 N^2} \sum_{\lambda \lambda' \lambda''}
    \delta(\omega_\lambda \pm \omega_{\lambda'} - \omega_{\lambda''}) \,
    \delta_{\mathbf{q} \pm \mathbf{q}', \mathbf{q}'' + \mathbf{G}}

with n branches, N mesh points and Ω = n³ V_BZ² the unrestricted phase space. Frequencies are angular, so P3 is in
ps/rad. The sums over λ' and λ'' come from :mod:`screen_cli.solvers.phase_space`.

References
----------
L. Lindsay and D. A. Broido, J. Phys.: Condens. Matter 20, 165209 (2008), Eqs. 4-6,
doi:10.1088/0953-8984/20/16/165209.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PhaseSpace:
    """Phase space of a crystal.

    Parameters
    ----------
    total : float
        P3, ps/rad.
    absorption, emission : float
        P3(+)/Ω and P3(−)/Ω, ps/rad.
    by_mode : ndarray
        float64 (n_irr, n_bands): each mode's part of P3 in ps/rad, such that Σ_q weights · by_mode / N = P3.
    weights : ndarray
        int64 (n_irr,), multiplicity of each irreducible q; their sum is N.
    """

    total: float
    absorption: float
    emission: float
    by_mode: NDArray[np.float64]
    weights: NDArray[np.int64]


def assemble_phase_space(
    absorption: NDArray[np.float64], emission: NDArray[np.float64], weights: NDArray[np.int64]
) -> PhaseSpace:
    """Normalise the sums over partners of each mode.

    Parameters
    ----------
    absorption, emission : ndarray
        float64 (n_irr, n_bands), 1/THz (ordinary): Σ_λ'λ'' of the delta functions of ω + ω' − ω'' and ω − ω' − ω'',
        with ω' and ω'' from the whole mesh. Zero for translations, which scatter nothing.
    weights : ndarray
        int64 (n_irr,), multiplicity of each irreducible q.
    """
    n_points, n_bands = int(weights.sum()), absorption.shape[1]
    # δ(ω) = δ(ν)/2π with ν in THz: ps/rad. One 1/N is here, the other in the mean over q
    scale = 1.0 / (2 * np.pi * n_bands**3 * n_points)
    by_mode = 2.0 / 3.0 * scale * (absorption + 0.5 * emission)
    mean = weights / n_points
    return PhaseSpace(
        total=float(mean @ by_mode.sum(axis=1)),
        absorption=float(scale * mean @ absorption.sum(axis=1)),
        emission=float(scale * mean @ emission.sum(axis=1)),
        by_mode=by_mode,
        weights=weights,
    )


def phase_space_mesh(cell: NDArray[np.float64], n_atoms: int) -> list[int]:
    """Choose an odd mesh of about 11³ points for up to two atoms, fewer for more (the cost grows as n³ N²).

    Parameters
    ----------
    cell : ndarray
        float64 (3, 3), Å, rows.
    n_atoms : int
        Of that cell.
    """
    wanted = 11.0**3 * (2.0 / max(n_atoms, 2)) ** 1.5
    lengths = np.linalg.norm(np.linalg.inv(cell), axis=0)
    scale = (wanted / np.prod(lengths)) ** (1.0 / 3.0)
    return [max(3, 2 * int(scale * length / 2) + 1) for length in lengths]
