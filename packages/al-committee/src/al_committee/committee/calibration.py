"""Calibration: how far the committee's ε is from an error bar, and the factor that makes it one (pure maths).

Reading: every Cartesian component of the true error is normal with σ_i = s·ε_i/√3 (ε_i² is a sum over three
components). The standardised errors are z = (f̄ − f)·√3/ε. For each probability p, the share of components
with |z| below the normal quantile is compared with p; the miscalibration area is the mean |share(p) − p|,
0 for a perfect error bar and at most 0.5 [1]_. The scale s is the one with the smallest area, which a few
wild atoms cannot spoil; the maximum-likelihood scale √⟨z²⟩, which they can, is given beside it.

References
----------
.. [1] Tran et al., Mach. Learn.: Sci. Technol. 1, 025006 (2020), doi:10.1088/2632-2153/ab7e1a
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import erf

__all__ = ["Calibration", "calibrate", "confidence_curve", "miscalibration_area", "standardised_errors"]

FloatArray = NDArray[np.float64]
LEVELS = np.linspace(0.01, 0.99, 99)


@dataclass(frozen=True)
class Calibration:
    """What ε says about the error, on atoms with known forces.

    Parameters
    ----------
    n_atoms : int
        Atoms compared; atoms whose ε and error both vanish (fixed by symmetry) are left out.
    force_rmse, force_mae : float
        Of the mean force, per component, eV/Å.
    mean_deviation : float
        Mean ε, eV/Å.
    scale : float
        s: s·ε/√3 is the best error bar per force component.
    scale_likelihood : float
        √⟨z²⟩, the maximum-likelihood scale.
    area : float
        Miscalibration area of ε as it is (s = 1).
    area_scaled : float
        Miscalibration area with `scale`.
    rank_correlation : float
        Spearman's coefficient between ε_i and the length of the error vector.
    """

    n_atoms: int
    force_rmse: float
    force_mae: float
    mean_deviation: float
    scale: float
    scale_likelihood: float
    area: float
    area_scaled: float
    rank_correlation: float

    def to_dict(self) -> dict[str, float]:
        """JSON-like record."""
        return asdict(self)


def standardised_errors(deviation: ArrayLike, errors: ArrayLike) -> FloatArray:
    """Divide each error component by ε/√3.

    Parameters
    ----------
    deviation : ArrayLike, shape (n_atoms,), eV/Å
    errors : ArrayLike
        Mean force minus true force, shape ``(n_atoms, 3)``, eV/Å.

    Returns
    -------
    NDArray[np.float64]
        |z|, shape ``(n_kept, 3)``; atoms with neither spread nor error are left out, atoms with error but no
        spread give infinity.

    Raises
    ------
    ValueError
        When the shapes do not fit.
    """
    spread, error = np.asarray(deviation, dtype=float), np.asarray(errors, dtype=float)
    if error.shape != (*spread.shape, 3) or spread.ndim != 1:
        raise ValueError(f"deviations {spread.shape} and errors {error.shape}: expected (n,) and (n, 3).")
    kept = (spread > 1e-12) | (np.linalg.norm(error, axis=1) > 1e-12)
    sigma = spread[kept, None] / np.sqrt(3.0)
    magnitude = np.abs(error[kept])
    scores: NDArray[np.float64] = np.where(magnitude > 0, np.inf, 0.0)
    np.divide(magnitude, sigma, out=scores, where=sigma > 1e-12)
    return scores


def confidence_curve(z: FloatArray, scale: float = 1.0) -> FloatArray:
    """Observed share of |z|/s inside the central normal interval, at the levels 0.01 … 0.99.

    Returns
    -------
    NDArray[np.float64]
        shape ``(99,)``; equal to the levels for a perfect error bar, below them for an overconfident one.
    """
    inside = np.sort(erf(z.ravel() / (scale * np.sqrt(2.0))))
    return np.searchsorted(inside, LEVELS, side="right") / inside.size


def miscalibration_area(z: FloatArray, scale: float = 1.0) -> float:
    """Mean |observed − expected| over the levels: 0 is perfect, 0.5 is the worst."""
    return float(np.abs(confidence_curve(z, scale) - LEVELS).mean())


def calibrate(deviation: ArrayLike, errors: ArrayLike) -> Calibration:
    """Compare ε with true errors and fit the scale factor.

    Parameters
    ----------
    deviation : ArrayLike
        ε_i, shape ``(n_atoms,)``, eV/Å.
    errors : ArrayLike
        Mean force minus true force, shape ``(n_atoms, 3)``, eV/Å.

    Returns
    -------
    Calibration
        The record.

    Raises
    ------
    ValueError
        When the shapes do not fit, or no atom has any spread.
    """
    z = standardised_errors(deviation, errors)
    finite = np.isfinite(z)
    if not finite.any() or not (z[finite] > 0).any():
        raise ValueError("no atom has both spread and error: nothing to calibrate (is this a committee of clones?)")
    spread, error = np.asarray(deviation, dtype=float), np.asarray(errors, dtype=float)
    likelihood = float(np.sqrt((z[finite] ** 2).mean()))
    centre = np.log(max(float(np.median(z[finite])) / 0.6745, 1e-6))  # median |z| of a unit normal
    grid = centre + np.linspace(-1.5, 1.5, 31)
    coarse = grid[int(np.argmin([miscalibration_area(z, float(np.exp(g))) for g in grid]))]
    best = minimize_scalar(
        lambda g: miscalibration_area(z, float(np.exp(g))),
        bounds=(coarse - 0.1, coarse + 0.1),
        method="bounded",
    )
    candidates = [float(np.exp(coarse)), float(np.exp(best.x))]
    scale = min(candidates, key=lambda s: miscalibration_area(z, s))
    return Calibration(
        n_atoms=len(z),
        force_rmse=float(np.sqrt((error**2).mean())),
        force_mae=float(np.abs(error).mean()),
        mean_deviation=float(spread.mean()),
        scale=scale,
        scale_likelihood=likelihood,
        area=miscalibration_area(z),
        area_scaled=miscalibration_area(z, scale),
        rank_correlation=_rank_correlation(spread, np.linalg.norm(error, axis=1)),
    )


def _ranks(values: FloatArray) -> FloatArray:
    """Ranks from 1, equal values sharing their mean rank: scipy.stats.rankdata, without the import of scipy.stats."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - 0.5 * (counts - 1))[places]


def _rank_correlation(first: FloatArray, second: FloatArray) -> float:
    """Spearman's coefficient; 0 when one side is constant."""
    a, b = _ranks(first), _ranks(second)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / norm) if norm > 0 else 0.0
