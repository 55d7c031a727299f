"""The line shape of a pair of modes: Lorentzian, Gaussian, and the Voigt profile between them.

::

    L(Δ; γ) = γ/(Δ² + γ²),    V(Δ; η, γ) = ∫ dx L(Δ - x; γ) exp(-x²/2η²)/(η sqrt(2π))

Both are π times a profile normalised to one, so that a Voigt shape with η = 0 is the Lorentzian of a crystal, and one
with γ = 0 the Gaussian of Allen and Feldman.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phon_wigner.errors import LinewidthError


def line_shape(
    detuning: NDArray[np.float64], width: NDArray[np.float64], broadening: float = 0.0
) -> NDArray[np.float64]:
    """Return π times the Voigt profile of a pair.

    Parameters
    ----------
    detuning : NDArray[np.float64], any shape, THz
        Difference of the two ordinary frequencies.
    width : NDArray[np.float64], the same shape, THz
        Sum of the two half widths (HWHM).
    broadening : float, THz
        Standard deviation η of the Gaussian; 0 gives the Lorentzian.

    Returns
    -------
    NDArray[np.float64], the shape of ``detuning``, 1/THz
        Zero where detuning and width vanish and there is no broadening.

    Raises
    ------
    LinewidthError
        A width or the broadening is negative.
    """
    if not broadening >= 0 or (width < 0).any():
        raise LinewidthError(
            f"widths must be >= 0, got a broadening of {broadening:g} THz and widths from {width.min():g}."
        )
    if broadening > 0:
        from scipy.special import voigt_profile

        return np.asarray(np.pi * voigt_profile(detuning, broadening, width))
    denominator = detuning * detuning
    denominator += width * width
    return np.divide(width, denominator, out=np.zeros_like(denominator), where=denominator > 0)
