"""The wells that the modes of an ensemble move in, from its samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from screen_cli.physics.anharmonic.density_matrix import ThermalEnsemble
from screen_cli.physics.anharmonic.double_well import barrier
from screen_cli.solvers.self_consistent.samples import Pool


def highest_barrier(ensemble: ThermalEnsemble, pool: Pool, weights: NDArray[np.float64]) -> float:
    """Highest barrier in the middle of the well of a mode over the energy of the mode; 0 without any.

    Parameters
    ----------
    ensemble : ThermalEnsemble
        Of positive force constants.
    pool : Pool
    weights : ndarray
        float64 (n_pairs,), of the pool for the ensemble, sum 1.
    """
    modes = ensemble.modes
    roots = np.sqrt(modes.masses)[:, None]
    coordinates = (pool.displacements * roots).reshape(len(weights), -1) @ modes.vectors  # sm
    pulls = (pool.odd / roots).reshape(len(weights), -1) @ modes.vectors
    return max(
        barrier(coordinates[:, mode], pulls[:, mode], weights, float(eigenvalue))
        for mode, eigenvalue in enumerate(modes.eigenvalues)
    )
