"""Isotope widths that no phonon has: accidents of the tetrahedron method, recognised and left out."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)


def possible_isotope_widths(
    widths: NDArray[np.float64], frequencies: NDArray[np.float64], source: str, cutoff_frequency: float = 1e-4
) -> NDArray[np.float64]:
    """Set to zero the isotope widths that exceed the frequency of their own mode, and warn.

    A tetrahedron whose corners have equal frequencies, as on a symmetric coarse mesh, has no gradient; the density of
    states at a mode in it, and with it Tamura's rate, then hangs on the last bit of the frequencies and may come out at
    hundreds of THz. No phonon is wider than its frequency; such a number is an accident of the integration.

    Parameters
    ----------
    widths : NDArray[np.float64], shape (..., n_qpoints, n_bands), THz
        HWHM of isotope scattering alone.
    frequencies : NDArray[np.float64], shape (n_qpoints, n_bands), THz
    source : str
        Where they come from, for the warning.
    cutoff_frequency : float
        Modes at or below it (THz) do not count.

    Returns
    -------
    NDArray[np.float64], the shape of ``widths``, THz
    """
    impossible = (widths > frequencies) & (frequencies > cutoff_frequency)
    if not impossible.any():
        return widths
    logger.warning(
        "%s: %d of %d isotope linewidths exceed the frequency of their mode (the widest is %.4g THz, the highest "
        "frequency "
        "%.4g THz). They come from tetrahedra with corners of equal frequency on a symmetric coarse mesh, not "
        "from a phonon, "
        "and are left out of populations and coherences. Use a denser mesh, or `analyze --isotope` on a run "
        "without them, "
        "which has no such accidents.",
        source,
        int(impossible.sum()),
        impossible.size,
        float(widths.max()),
        float(frequencies.max()),
    )
    return np.where(impossible, 0.0, widths)
