"""What a linewidth is called elsewhere, and how to make it a half width in ordinary THz.

Codes disagree on what a linewidth is. Inside this package it is always the **half width at half maximum in
ordinary THz**, phono3py's ``gamma``. :func:`to_hwhm_thz` converts the usual alternatives:

=================  ===================================================  ==========================
convention         what the number is                                   HWHM in THz
=================  ===================================================  ==========================
``hwhm-thz``       half width, ordinary frequency (phono3py)            x
``fwhm-thz``       full width, ordinary frequency                       x / 2
``rate-per-ps``    scattering rate 1/τ in ps⁻¹ = full width, angular    x / 4π
                   (ShengBTE and FourPhonon ``BTE.w``)
``hwhm-rad-ps``    half width, angular, rad/ps (half of the rate)       x / 2π
``lifetime-ps``    lifetime τ in ps                                     1 / 4πx
``hwhm-cm``        half width in cm⁻¹                                   x c
``fwhm-cm``        full width in cm⁻¹                                   x c / 2
=================  ===================================================  ==========================

References
----------
J. Maradudin and A. Fein, Phys. Rev. 128, 2589 (1962), doi:10.1103/PhysRev.128.2589
"""

from __future__ import annotations

import difflib

import numpy as np
from numpy.typing import NDArray
from phonopy.physical_units import get_physical_units

from phon_wigner.errors import LinewidthError


def _conversion_factors() -> dict[str, float]:
    """Return the factor to HWHM in THz of each linear convention."""
    thz_per_cm = 1.0 / get_physical_units().THzToCm
    return {
        "hwhm-thz": 1.0,
        "fwhm-thz": 0.5,
        "rate-per-ps": 1.0 / (4 * np.pi),
        "hwhm-rad-ps": 1.0 / (2 * np.pi),
        "hwhm-cm": thz_per_cm,
        "fwhm-cm": thz_per_cm / 2,
    }


CONVENTIONS: tuple[str, ...] = (
    "hwhm-thz",
    "fwhm-thz",
    "rate-per-ps",
    "hwhm-rad-ps",
    "lifetime-ps",
    "hwhm-cm",
    "fwhm-cm",
)
"""Names that :func:`to_hwhm_thz` understands."""


def to_hwhm_thz(values: NDArray[np.float64], convention: str) -> NDArray[np.float64]:
    """Convert linewidths, rates or lifetimes to half widths in ordinary THz.

    Parameters
    ----------
    values : NDArray[np.float64], any shape
        Numbers in the stated convention.
    convention : str
        One of :data:`CONVENTIONS`; there is no default, because a wrong factor of 2 is silent.

    Returns
    -------
    NDArray[np.float64], the shape of ``values``, THz
        Infinite lifetimes become 0; a lifetime of 0 becomes infinity.

    Raises
    ------
    LinewidthError
        Unknown convention.
    """
    values = np.asarray(values, dtype=np.float64)
    if convention == "lifetime-ps":
        with np.errstate(divide="ignore"):
            return np.asarray(1.0 / (4 * np.pi * values))
    factors = _conversion_factors()
    if convention not in factors:
        near = difflib.get_close_matches(convention, CONVENTIONS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise LinewidthError(
            f"unknown linewidth convention {convention!r}; expected one of {', '.join(CONVENTIONS)}.{hint}"
        )
    return np.asarray(values * factors[convention])
