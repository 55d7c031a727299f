"""Predictions of a batch as ASE keeps results: one dictionary a structure, float64, Voigt order."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sdnnff_calc.errors import NonFiniteError
from sdnnff_calc.geometry.environments import Environments
from sdnnff_calc.models.heads import Prediction

__all__ = ["Result", "Results", "to_results", "voigt"]

Result: TypeAlias = "NDArray[np.float64] | float"
Results: TypeAlias = "dict[str, Result]"
"""What ASE's ``results`` hold, by name."""


def voigt(stress: NDArray[np.float64]) -> NDArray[np.float64]:
    """Order a symmetric tensor as xx, yy, zz, yz, xz, xy."""
    return stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


def to_results(prediction: Prediction, env: Environments) -> list[Results]:
    """Split a batch's results by structure, as float64 arrays in ASE's conventions."""
    forces = prediction.forces.detach().double().cpu().numpy()
    if not np.isfinite(forces).all():
        raise NonFiniteError(
            "the model gave forces that are not finite: the structure is far outside the training data, or "
            "the weights are damaged."
        )
    bounds = np.cumsum((0, *env.n_atoms_each))
    results: list[Results] = [{"forces": forces[lo:hi]} for lo, hi in pairwise(bounds)]
    if prediction.energies is None or prediction.atomic_energies is None or prediction.stresses is None:
        return results
    energies = prediction.energies.detach().cpu().numpy()
    atomic = prediction.atomic_energies.detach().cpu().numpy()
    stresses = prediction.stresses.detach().double().cpu().numpy()
    for index, result in enumerate(results):
        result["energy"] = result["free_energy"] = float(energies[index])
        result["energies"] = atomic[bounds[index] : bounds[index + 1]]
        if np.isfinite(stresses[index]).all():
            result["stress"] = voigt(stresses[index])
    return results
