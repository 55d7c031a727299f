"""The SDNNFF paper's numbers about low κ, and the fits that are compared with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PAPER = "Rodriguez et al., Commun. Mater. 4, 61 (2023), doi:10.1038/s43246-023-00390-3"
"""The SDNNFF paper: 77,091 cubic crystals, 25,901 of them with κ at 300 K."""

GATE_MSD = 0.076
"""Å² at 300 K, largest over the atoms (:data:`PAPER`, p. 5)."""

LOW_KAPPA = 1.0
"""W/(m K): what counts as low κ."""

PAPER_PRECISION, PAPER_RECALL, PAPER_PASSED, PAPER_KAPPA_AT_GATE = 0.954, 0.66, 9306 / 25901, 1.795
"""From 9,306 crystals past the gate, 8,873 of them among the 13,461 of 25,901 below 1 W/(m K)."""

PAPER_STEPS = {"stable": 27059 / 77091, "with κ": 25901 / 27059, f"κ < {LOW_KAPPA:g} W/mK": 13461 / 25901}
"""Shares of each step of the paper's funnel in the step before."""

PAPER_RATIOS = (("κ_P < 1", 2.59), ("1 ≤ κ_P ≤ 10", 0.0502), ("κ_P > 10", 0.00435))
"""Mean κ_C/κ_P of the paper by class of κ_P in W/(m K)."""


@dataclass(frozen=True)
class PowerLaw:
    """Least-squares line ln y = intercept + slope · ln x.

    Parameters
    ----------
    slope, intercept : float
    slope_error : float
        Standard error of the slope.
    correlation : float
        Pearson's r of the logarithms.
    """

    slope: float
    intercept: float
    slope_error: float
    correlation: float

    def at(self, x: float) -> float:
        """Value of the line at ``x``."""
        return float(np.exp(self.intercept + self.slope * np.log(x)))


def fit_power_law(x: NDArray[np.float64], y: NDArray[np.float64]) -> PowerLaw | None:
    """Fit a line in doubly logarithmic axes.

    Parameters
    ----------
    x, y : ndarray
        float64 (n_points,), positive.

    Returns
    -------
    PowerLaw or None
        ``None`` with fewer than four points, or when x spans less than 10 %.
    """
    if len(x) < 4 or np.ptp(np.log(x)) < 0.1:
        return None
    coefficients, covariance = np.polyfit(np.log(x), np.log(y), 1, cov=True)
    correlation = float(np.corrcoef(np.log(x), np.log(y))[0, 1]) if np.ptp(np.log(y)) > 0 else 0.0
    return PowerLaw(
        float(coefficients[0]), float(coefficients[1]), float(np.sqrt(max(covariance[0, 0], 0.0))), correlation
    )


def coherence_ratios(kappa_p: NDArray[np.float64], kappa_c: NDArray[np.float64]) -> list[tuple[str, float, int]]:
    """Mean κ_C/κ_P for low (< 1), medium (1 to 10) and high (> 10 W/(m K)) κ_P.

    Returns
    -------
    list of (str, float, int)
        Class, mean ratio, number of crystals; classes without crystals are left out.
    """
    classes = (kappa_p < 1, (kappa_p >= 1) & (kappa_p <= 10), kappa_p > 10)
    return [
        (name, float(np.mean(kappa_c[chosen] / kappa_p[chosen])), int(chosen.sum()))
        for (name, _), chosen in zip(PAPER_RATIOS, classes, strict=True)
        if chosen.any()
    ]
