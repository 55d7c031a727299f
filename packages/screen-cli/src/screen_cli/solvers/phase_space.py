"""Three-phonon phase space of a crystal by phono3py's tetrahedra, or Gaussians."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from screen_cli.physics.harmonic.phase_space import PhaseSpace, assemble_phase_space

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from phono3py.phonon3.joint_dos import JointDos
    from phonopy import Phonopy

CUTOFF_THZ = 1e-4
"""A mode below it scatters nothing: a translation, or layers and chains that no force holds. Its frequency is rounding
noise of either sign, and the sign of noise must not count."""
_MAX_ELEMENTS = 20_000_000  # of one array of integration weights: 160 MB

_EMISSION_ABSORPTION = np.zeros((2, 3, 3))
_EMISSION_ABSORPTION[0, 0, 0] = 1.0
_EMISSION_ABSORPTION[1, 1:, 0] = 0.5


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
    from phonopy.phonon.grid import BZGrid, get_ir_grid_points

    from screen_cli.solvers.tetrahedra import TripletTetrahedra, conserved_sums  # imports numba: a quarter of a second

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
    tetrahedra = TripletTetrahedra(grid)
    for index, point in enumerate(points):
        jdos.set_grid_point(point)
        jdos.run_phonon_solver()
        triplets, triplet_weights = (np.asarray(part) for part in jdos.get_triplets_at_q()[:2])
        frequencies = np.asarray(jdos.phonons.frequencies)
        own = frequencies[point]
        if sigma is None:
            emission[index], absorption[index] = conserved_sums(
                tetrahedra, own, frequencies, triplets, triplet_weights, factors=_EMISSION_ABSORPTION
            )
        else:
            emission[index], absorption[index] = _gaussian_sums(jdos, own, triplet_weights, sigma)
        silent = own < CUTOFF_THZ
        emission[index, silent] = 0.0
        absorption[index, silent] = 0.0
    return assemble_phase_space(absorption, emission, np.asarray(weights, dtype=np.int64))


def _gaussian_sums(
    jdos: JointDos, own: NDArray[np.float64], triplet_weights: NDArray[np.int64], sigma: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Emission and absorption of the modes of one q, with Gaussians."""
    from phono3py.phonon3.triplets import get_triplets_integration_weights

    n_bands = len(own)
    emission, absorption = np.zeros(n_bands), np.zeros(n_bands)
    step = max(1, _MAX_ELEMENTS // (3 * len(triplet_weights) * n_bands**2))
    for start in range(0, n_bands, step):
        bands = slice(start, start + step)
        g, _ = get_triplets_integration_weights(jdos, own[bands], sigma, is_collision_matrix=True)
        pairs = g.sum(axis=(3, 4))  # (3, n_triplets, n_frequencies)
        emission[bands] = triplet_weights @ pairs[0]
        absorption[bands] = 0.5 * triplet_weights @ (pairs[2] - pairs[0])
    return emission, absorption
