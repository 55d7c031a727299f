r"""Three-phonon phase space P3, from harmonic frequencies alone.

.. math::

    P_3 = \frac{2}{3\Omega} \left( P_3^{(+)} + \tfrac12 P_3^{(-)} \right), \qquad
    \frac{P_3^{(\pm)}}{\Omega} = \frac{1}{n^3 N^2} \sum_{\lambda \lambda' \lambda''}
    \delta(\omega_\lambda \pm \omega_{\lambda'} - \omega_{\lambda''}) \,
    \delta_{\mathbf{q} \pm \mathbf{q}', \mathbf{q}'' + \mathbf{G}}

with n branches, N mesh points and Ω = n³ V_BZ² the unrestricted phase space. Frequencies are angular, so P3 is in
ps/rad. The delta functions are integrated by phono3py's tetrahedra, or Gaussians.

References
----------
L. Lindsay and D. A. Broido, J. Phys.: Condens. Matter 20, 165209 (2008), Eqs. 4-6,
doi:10.1088/0953-8984/20/16/165209.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from phonopy import Phonopy

_MAX_ELEMENTS = 20_000_000  # of one array of integration weights: 160 MB


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


def compute_phase_space(phonopy: Phonopy, mesh: list[int], *, sigma: float | None = None) -> PhaseSpace:
    """Sum the three-phonon phase space over the irreducible q points of a mesh.

    Parameters
    ----------
    phonopy : Phonopy
        With force constants, and NAC when wanted.
    mesh : list of int
        Γ-centred mesh.
    sigma : float, optional
        Gaussian width in (ordinary) THz; None: linear tetrahedra.
    """
    from phono3py.phonon3.joint_dos import JointDos
    from phono3py.phonon3.triplets import get_triplets_integration_weights
    from phonopy.phonon.grid import BZGrid, get_ir_grid_points

    primitive = phonopy.primitive
    grid = BZGrid(
        mesh, lattice=primitive.cell, symmetry_dataset=phonopy.primitive_symmetry.dataset, store_dense_gp_map=True
    )
    jdos = JointDos(
        primitive,
        phonopy.supercell,
        grid,
        phonopy.force_constants,
        nac_params=phonopy.nac_params,
        sigma=sigma,
        exclude_gamma_acoustic=True,
    )
    points, weights, _ = get_ir_grid_points(grid)
    points = grid.grg2bzg[points]
    n_bands = 3 * len(primitive)
    absorption = np.zeros((len(points), n_bands))
    emission = np.zeros((len(points), n_bands))
    for index, point in enumerate(points):
        jdos.set_grid_point(point)
        jdos.run_phonon_solver()
        frequencies = np.array(jdos.phonons.frequencies[point])
        triplet_weights = np.asarray(jdos.get_triplets_at_q()[1])
        step = max(1, _MAX_ELEMENTS // (3 * len(triplet_weights) * n_bands**2))
        for start in range(0, n_bands, step):
            bands = slice(start, start + step)
            g, _ = get_triplets_integration_weights(jdos, frequencies[bands], sigma, is_collision_matrix=True)
            pairs = g.sum(axis=(3, 4))  # (3, n_triplets, n_frequencies)
            emission[index, bands] = triplet_weights @ pairs[0]
            absorption[index, bands] = 0.5 * triplet_weights @ (pairs[2] - pairs[0])
        # a translation (ω = 0 at Γ) scatters nothing
        silent = frequencies <= 0
        emission[index, silent] = 0.0
        absorption[index, silent] = 0.0
    n_points = int(np.prod(mesh))
    # δ(ω) = δ(ν)/2π with ν in THz: ps/rad. One 1/N is here, the other in the mean over q
    scale = 1.0 / (2 * np.pi * n_bands**3 * n_points)
    by_mode = 2.0 / 3.0 * scale * (absorption + 0.5 * emission)
    mean = np.asarray(weights, dtype=np.float64) / n_points
    return PhaseSpace(
        total=float(mean @ by_mode.sum(axis=1)),
        absorption=float(scale * mean @ absorption.sum(axis=1)),
        emission=float(scale * mean @ emission.sum(axis=1)),
        by_mode=by_mode,
        weights=np.asarray(weights, dtype=np.int64),
    )


def phase_space_mesh(cell: NDArray[np.float64], n_atoms: int) -> list[int]:
    """Choose an odd mesh of about 11³ points for up to two atoms, fewer for more (the cost grows as n³ N²)."""
    wanted = 11.0**3 * (2.0 / max(n_atoms, 2)) ** 1.5
    lengths = np.linalg.norm(np.linalg.inv(cell), axis=0)
    scale = (wanted / np.prod(lengths)) ** (1.0 / 3.0)
    return [max(3, 2 * int(scale * length / 2) + 1) for length in lengths]
