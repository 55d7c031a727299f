r"""Averages over one ensemble from samples of others.

Samples drawn from several normal distributions :math:`p_k`, :math:`n_k` of each, stand for a distribution p with
weights

.. math:: w_s \propto \frac{p(u_s)}{\sum_k n_k\, p_k(u_s)}, \qquad \sum_s w_s = 1,

the balance heuristic: no weight exceeds the largest ratio of p to the densest of its sources. How many independent
samples the weighted set is worth is :math:`n_\mathrm{eff} = 1 / \sum_s w_s^2`. From a few samples this is too good
where p is wider than its sources, whose tails they miss. Between two normal distributions it is known beforehand:
with :math:`s_i` the eigenvalues of :math:`\Sigma_k^{-1} \Sigma`,

.. math:: \frac{n_\mathrm{eff}}{n_k} = \prod_i \sqrt{s_i (2 - s_i)}, \qquad 0 \text{ where an } s_i \ge 2.

References
----------
E. Veach and L. Guibas, SIGGRAPH '95, 419 (1995), doi:10.1145/218380.218498.
I. Errea, M. Calandra and F. Mauri, Phys. Rev. B 89, 064302 (2014), Eqs. 33-35, doi:10.1103/PhysRevB.89.064302.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from screen_cli.physics.anharmonic.density_matrix import ThermalEnsemble


def balance_weights(
    log_target: NDArray[np.float64], log_sources: NDArray[np.float64], counts: Sequence[int]
) -> NDArray[np.float64]:
    """Weights of samples of several ensembles for another one.

    Parameters
    ----------
    log_target : ndarray
        float64 (n_samples,), logarithm of the density wanted.
    log_sources : ndarray
        float64 (n_sources, n_samples), logarithms of the densities drawn from, up to the same constant.
    counts : sequence of int
        How many of the samples each source gave.

    Returns
    -------
    ndarray
        float64 (n_samples,), sum 1.
    """
    mixture = logsumexp(log_sources, axis=0, b=np.asarray(counts, dtype=np.float64)[:, None])
    logarithms = log_target - mixture
    return np.asarray(np.exp(logarithms - logsumexp(logarithms)))


def effective_sample_size(weights: NDArray[np.float64]) -> float:
    """Count the equally weighted samples that weights (n_samples,) are worth."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def overlap(target: ThermalEnsemble, source: ThermalEnsemble) -> float:
    """Share of the samples of one ensemble that they are worth for another, from 0 to 1."""
    scaled = source.modes.vectors.T @ target.modes.vectors * np.sqrt(target.variances)
    scaled /= np.sqrt(source.variances)[:, None]
    ratios = np.linalg.eigvalsh(scaled @ scaled.T)
    if ratios[-1] >= 2:
        return 0.0
    return float(np.exp(0.5 * np.log(np.maximum(ratios * (2 - ratios), np.finfo(float).tiny)).sum()))
