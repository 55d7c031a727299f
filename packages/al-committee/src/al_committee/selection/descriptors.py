"""One fixed-length vector per supercell: composition and radial structure, for diversity and duplicates."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

__all__ = ["DESCRIPTORS", "Descriptor", "describe_composition", "describe_radially"]

FloatArray = NDArray[np.float64]
Descriptor = Callable[[Atoms], FloatArray]

_NOBLE = np.array([0, 2, 10, 18, 36, 54, 86, 118])


def _element_features(numbers: NDArray[np.int64]) -> FloatArray:
    """Period, filling of the period (0 to 1) and covalent radius (Å), shape ``(n_atoms, 3)``."""
    period = np.searchsorted(_NOBLE, numbers)
    start = _NOBLE[period - 1]
    filling = (numbers - start) / (_NOBLE[period] - start)
    return np.stack([period / 7.0, filling, covalent_radii[numbers] / 2.5], axis=1)


def describe_composition(atoms: Atoms) -> FloatArray:
    """Describe the elements alone: mean, spread and extremes of period, filling and radius.

    Returns
    -------
    NDArray[np.float64]
        shape ``(12,)``, dimensionless.
    """
    features = _element_features(np.asarray(atoms.numbers))
    parts = [features.mean(0), features.std(0), features.min(0), features.max(0)]
    return np.concatenate(parts)


def describe_radially(atoms: Atoms, cutoff: float = 6.0, n_points: int = 24) -> FloatArray:
    """Describe composition and radial order: Gaussian-smeared pair density in four element channels.

    g_c(r) = (1/n_atoms) Σ_ij w_c(i, j) exp(−(r − r_ij)²/2σ²)/r_ij², σ one grid step, channels w = 1 and the
    products of the two atoms' period, filling and radius. Invariant to rotation, translation, the order of
    atoms and the choice of supercell.

    Returns
    -------
    NDArray[np.float64]
        shape ``(12 + 4·n_points,)``.
    """
    first, second, distance = neighbor_list("ijd", atoms, cutoff)
    features = _element_features(np.asarray(atoms.numbers))
    weights = np.concatenate([np.ones((len(first), 1)), features[first] * features[second]], axis=1)
    grid = np.linspace(1.0, cutoff, n_points)
    sigma = grid[1] - grid[0]
    smeared = np.exp(-((distance[:, None] - grid) ** 2) / (2 * sigma**2)) / distance[:, None] ** 2
    density = (weights.T @ smeared) / len(atoms)
    return np.concatenate([describe_composition(atoms), density.ravel()])


DESCRIPTORS: Mapping[str, Descriptor] = {"radial": describe_radially, "composition": describe_composition}
"""Functions ``Atoms -> vector`` of fixed length, by the name that a configuration gives them."""
