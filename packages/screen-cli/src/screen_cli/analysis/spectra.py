"""Two sets of frequencies of one crystal: error, slope, distance of their distributions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def frequency_error_percent(
    frequencies: NDArray[np.float64], reference: NDArray[np.float64], weights: NDArray[np.int64]
) -> float:
    """RMSE over q points (weighted) and bands, in per cent of the reference's frequency range.

    Parameters
    ----------
    frequencies, reference : ndarray
        float64 (n_irr, n_bands), THz, at the same q points.
    weights : ndarray
        int64 (n_irr,).
    """
    square = np.average(((frequencies - reference) ** 2).mean(axis=1), weights=weights)
    return float(100 * np.sqrt(square) / (reference.max() - reference.min()))


def frequency_slope(
    frequencies: NDArray[np.float64], reference: NDArray[np.float64], weights: NDArray[np.int64]
) -> float:
    """Slope through the origin of frequencies against the reference's, band by band: below 1 the model is soft.

    Parameters
    ----------
    frequencies, reference : ndarray
        float64 (n_irr, n_bands), THz, at the same q points.
    weights : ndarray
        int64 (n_irr,).
    """
    return float((weights @ (frequencies * reference)).sum() / (weights @ reference**2).sum())


def spectrum_distance_thz(
    frequencies: NDArray[np.float64],
    weights: NDArray[np.int64],
    reference: NDArray[np.float64],
    reference_weights: NDArray[np.int64],
) -> float:
    """Wasserstein distance of two frequency distributions, THz; the q points need not be the same."""
    from scipy.stats import wasserstein_distance

    n_bands, n_bands_reference = frequencies.shape[1], reference.shape[1]
    return float(
        wasserstein_distance(
            frequencies.ravel(),
            reference.ravel(),
            np.repeat(weights, n_bands),
            np.repeat(reference_weights, n_bands_reference),
        )
    )
