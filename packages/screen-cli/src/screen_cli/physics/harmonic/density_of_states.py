"""Phonon density of states, element by element."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class DensityOfStates:
    """States per frequency and primitive cell; the integral over all frequencies is 3 n_atoms.

    Parameters
    ----------
    frequencies : ndarray
        float64 (n_frequencies,), THz, rising, evenly spaced.
    by_element : ndarray
        float64 (n_elements, n_frequencies), states/THz.
    elements : ndarray
        int64 (n_elements,), atomic numbers.
    """

    frequencies: NDArray[np.float64]
    by_element: NDArray[np.float64]
    elements: NDArray[np.int64]

    @property
    def total(self) -> NDArray[np.float64]:
        """Sum over the elements, float64 (n_frequencies,), states/THz."""
        total: NDArray[np.float64] = self.by_element.sum(axis=0)
        return total
