r"""Refit the last linear layer of a conservative model by least squares on forces.

The energy is linear in the weights w of the readout's last layer and of the skip connection,
E = Σ_i Σ_p w_p φ_p(i), so the forces are too, F = −Σ_p w_p ∂φ_p/∂x. Gradient descent leaves the small, stiff
directions of w unfinished; these carry the anharmonic forces, a few per cent of the whole at 0.03 Å. The refit
minimises

.. math:: |F^* − F(w)|² + λ |w − w_0|²

from the trained w₀, with λ chosen on the validation set; it is kept only where that set improves. In fine-tuning
the penalty is the mean square change of the forces on earlier data instead,

.. math:: |F^* − F(w)|² + λ (n/n_0) |F_0(w) − F_0(w_0)|²

with the largest λ that costs at most 5 % on the validation set, and at least 10⁻²: the forces on earlier data then
change by at most 10 times what the error on the new data falls.
This step is our own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdnnff_calc.config import TrainingConfig
from sdnnff_calc.data.sample_stores import MemoryStore, SampleStore
from sdnnff_calc.data.samples import batch_indices, collate_samples
from sdnnff_calc.data.stores import Stores
from sdnnff_calc.models.checkpoint import Model
from sdnnff_calc.models.heads import conservative_forces

__all__ = ["refit_readout", "refit_where_possible"]

_log = logging.getLogger(__name__)

_RIDGES = tuple(10.0**k for k in range(-12, 1))
_RIDGES_EARLIER = tuple(10.0**k for k in range(-2, 3))
_TOLERANCE = 1.05
"""Validation error, over the smallest one, that is accepted to leave earlier data as they were."""


@dataclass
class _NormalEquations:
    """Sums over force components: AᵀA, Aᵀe, eᵀe and their number, for forces in units of the force scale."""

    matrix: NDArray[np.float64]
    vector: NDArray[np.float64]
    square: float
    count: int

    def error(self, change: NDArray[np.float64]) -> float:
        """Root mean square force error after a change of the weights."""
        total = float(self.square - 2.0 * change @ self.vector + change @ self.matrix @ change)
        return float(np.sqrt(max(total, 0.0) / self.count))


def _normal_equations(model: Model, store: SampleStore, batch_atoms: int) -> _NormalEquations:
    """Sum the normal equations of the force residuals over a store."""
    network = model.network
    weights = _weights(network.linear_readout())
    n = len(weights)
    result = _NormalEquations(np.zeros((n, n)), np.zeros(n), 0.0, 0)
    device = next(network.parameters()).device
    for chosen in batch_indices(store.sizes, batch_atoms):
        batch = collate_samples([store[k] for k in chosen], model.dtype, device)
        vector = batch.env.vector.detach().requires_grad_(True)
        env = batch.env.with_vector(vector)
        with torch.enable_grad():
            features = network.linear_features(env)
            columns = []
            for p in range(n):
                (gradient,) = torch.autograd.grad(features[:, p].sum(), vector, retain_graph=True)
                columns.append(conservative_forces(gradient, env).reshape(-1))
        a = torch.stack(columns, dim=1).double().cpu().numpy()
        error = batch.forces.reshape(-1).double().cpu().numpy() / model.statistics.force_scale - a @ weights
        result.matrix += a.T @ a
        result.vector += a.T @ error
        result.square += float(error @ error)
        result.count += len(error)
    return result


def _weights(readout: Sequence[Tensor]) -> NDArray[np.float64]:
    """Join w."""
    joined: NDArray[np.float64] = torch.cat([w.detach().reshape(-1) for w in readout]).double().cpu().numpy()
    return joined


def refit_readout(
    model: Model,
    train: SampleStore,
    validation: SampleStore,
    batch_atoms: int = 512,
    earlier: SampleStore | None = None,
) -> float:
    """Solve for the readout's last layer; keep the result where the validation error falls.

    Parameters
    ----------
    model : Model
        Changed in place, where its energy is linear in its last weights (``e-sdnnff`` with a conservative head).
    train, validation : SampleStore
        Labelled samples.
    batch_atoms : int
        Atoms per batch.
    earlier : SampleStore, optional
        Samples whose predicted forces should change as little as possible; their labels are not used.

    Returns
    -------
    float
        Force RMSE on the validation set after the refit, eV/Å; NaN for a model of another kind (unchanged).
    """
    network = model.network
    readout = network.linear_readout()
    if not readout or not len(validation):
        return float("nan")
    network.eval()
    fit = _normal_equations(model, train, batch_atoms)
    check = _normal_equations(model, validation, batch_atoms)
    n = len(fit.vector)
    diagonal = np.sqrt(np.diag(fit.matrix)) + 1e-30
    scaled = fit.matrix / np.outer(diagonal, diagonal)
    penalty = np.eye(n)
    if earlier is not None:
        before = _normal_equations(model, earlier, batch_atoms)
        penalty = before.matrix / np.outer(diagonal, diagonal) * fit.count / before.count
    start = check.error(np.zeros(n))
    found = []
    for ridge in _RIDGES if earlier is None else _RIDGES_EARLIER:
        change = np.linalg.solve(scaled + ridge * penalty + 1e-12 * np.eye(n), fit.vector / diagonal) / diagonal
        found.append((check.error(change), change))
    smallest = min(error for error, _ in found)
    accepted = smallest if earlier is None else _TOLERANCE * smallest
    error, best = next((e, c) for e, c in reversed(found) if e <= accepted)
    if error >= start:
        error, best = start, np.zeros(n)
    scale = model.statistics.force_scale
    _log.info("readout refit: validation RMSE %.4g -> %.4g meV/Å", 1e3 * scale * start, 1e3 * scale * error)
    changes = torch.from_numpy(best).to(readout[0]).split([weight.numel() for weight in readout])
    with torch.no_grad():
        for weight, part in zip(readout, changes, strict=True):
            weight.add_(part.view_as(weight))
    return scale * error


def refit_where_possible(
    model: Model, stores: Stores, training: TrainingConfig, replay: SampleStore | None = None
) -> None:
    """Solve for the readout's last layer, where forces are all that is trained on."""
    others = (training.energy_weight, training.stress_weight, training.force_constant_weight)
    if training.refit_atoms == 0 or max(others) > 0.0:
        return
    earlier = None if replay is None else _subset(replay, training)
    train = _subset(stores.train, training)
    rmse = refit_readout(model, train, stores.validation, earlier=earlier)
    if np.isfinite(rmse):
        model.card["validation_force_rmse_ev_per_angstrom"] = float(rmse)


def _subset(store: SampleStore, training: TrainingConfig) -> MemoryStore:
    """Draw samples until they hold the atoms of the refit; at least one."""
    order = np.random.default_rng(training.seed).permutation(len(store))
    count = int(np.searchsorted(np.cumsum(store.sizes[order]), training.refit_atoms, side="right"))
    return MemoryStore(store[int(k)] for k in order[: max(1, count)])
