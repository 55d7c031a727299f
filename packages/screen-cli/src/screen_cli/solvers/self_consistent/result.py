"""What a search for self-consistent force constants found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from screen_cli.physics.anharmonic.density_matrix import NormalModes, ThermalEnsemble
from screen_cli.solvers.self_consistent.samples import Pool

State = Literal["converged", "not_converged", "melts", "unstable", "force_field"]


@dataclass(frozen=True)
class Step:
    """One population of a search.

    Parameters
    ----------
    n_pairs : int
    min_frequency_thz : float
        Lowest commensurate frequency of the mean curvature after it, THz, imaginary ones negative.
    deviation : float
        How far the population's own fit is from the force constants it was drawn from: root mean square over the
        frequencies, in standard errors.
    error_thz : float
        Largest standard error of a frequency, all samples together, in units of what is small enough for it times
        ``error_thz``: THz for all but the highest frequencies.
    effective_pairs : float
        What all samples are worth for the latest force constants.
    """

    n_pairs: int
    min_frequency_thz: float
    deviation: float
    error_thz: float
    effective_pairs: float


@dataclass(frozen=True, eq=False)
class SelfConsistent:
    """How a search ended.

    Parameters
    ----------
    state : str
    reason : str
        A sentence; empty when converged.
    fc2 : ndarray
        float64 (n_atoms, n_atoms, 3, 3), eV/Å²: the latest.
    modes : NormalModes
        Of ``fc2``.
    errors_thz : ndarray
        float64 (n_modes,), standard errors of their frequencies, THz.
    ensemble : ThermalEnsemble
    pool : Pool
        All samples.
    weights : ndarray
        float64 (n_pairs,), of the pool for ``ensemble``, sum 1; for the latest population where the search did not come
        to rest.
    steps : tuple of Step
    barrier : float, optional
        Highest in the middle of the well of a mode, in its thermal energies; None where the search did not get so far.
    """

    state: State
    reason: str
    fc2: NDArray[np.float64]
    modes: NormalModes
    errors_thz: NDArray[np.float64]
    ensemble: ThermalEnsemble
    pool: Pool
    weights: NDArray[np.float64]
    steps: tuple[Step, ...]
    barrier: float | None
