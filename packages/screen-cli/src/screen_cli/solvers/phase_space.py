"""Three-phonon phase space of a crystal by phono3py's tetrahedra, or Gaussians."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from screen_cli.physics.harmonic.phase_space import PhaseSpace, assemble_phase_space

if TYPE_CHECKING:
    from phonopy import Phonopy

CUTOFF_THZ = 1e-4
"""A mode below it scatters nothing: a translation, or layers and chains that no force holds. Its frequency is rounding
noise of either sign, and the sign of noise must not count."""
_MAX_ELEMENTS = 20_000_000  # of one array of integration weights: 160 MB


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
        silent = frequencies < CUTOFF_THZ
        emission[index, silent] = 0.0
        absorption[index, silent] = 0.0
    return assemble_phase_space(absorption, emission, np.asarray(weights, dtype=np.int64))
