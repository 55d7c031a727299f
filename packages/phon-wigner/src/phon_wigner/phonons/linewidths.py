"""Linewidths from anywhere, in one documented record.

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
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from phonopy.physical_units import get_physical_units

from phon_wigner.errors import GridMismatchError, LinewidthError, ShapeError, TemperatureError


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


@dataclass(frozen=True)
class Linewidths:
    """Phonon linewidths on the irreducible q points of one mesh.

    Attributes
    ----------
    temperatures : NDArray[np.float64], shape (n_temps,), K
    qpoints : NDArray[np.float64], shape (n_qpoints, 3)
        Fractional, in the reciprocal basis of the primitive cell.
    weights : NDArray[np.int64], shape (n_qpoints,)
        Arms of the star of each q; they sum to the number of mesh points.
    gamma : NDArray[np.float64] or h5py.Dataset, shape (n_temps, n_qpoints, n_bands), THz
        HWHM that depends on temperature (phonon-phonon, electron-phonon). Bands by rising frequency.
    gamma_static : NDArray[np.float64], shape (n_qpoints, n_bands), THz
        HWHM that does not (isotopes, boundaries); zeros when there is none.
    frequencies : NDArray[np.float64], shape (n_qpoints, n_bands), THz, or None
        Frequencies stored beside the widths, to check against the dynamical matrix.
    mesh : tuple[int, int, int] or None
        Mesh numbers, for messages.
    source : str
        Where the numbers came from.
    """

    temperatures: NDArray[np.float64]
    qpoints: NDArray[np.float64]
    weights: NDArray[np.int64]
    gamma: NDArray[np.float64]
    gamma_static: NDArray[np.float64]
    frequencies: NDArray[np.float64] | None = None
    mesh: tuple[int, ...] | None = None
    source: str = "arrays"

    @classmethod
    def from_arrays(
        cls,
        temperatures: NDArray[np.float64],
        qpoints: NDArray[np.float64],
        weights: NDArray[np.int64],
        values: NDArray[np.float64],
        *,
        convention: str,
        gamma_static: NDArray[np.float64] | None = None,
        frequencies: NDArray[np.float64] | None = None,
        source: str = "arrays",
    ) -> Linewidths:
        """Build the record from plain arrays of any code.

        Parameters
        ----------
        temperatures, qpoints, weights
            As the attributes of the class.
        values : NDArray[np.float64], shape (n_temps, n_qpoints, n_bands)
            Linewidths, rates or lifetimes in ``convention`` (:func:`to_hwhm_thz`). Four-phonon rates are simply
            added to three-phonon ones before.
        convention : str
            Stated convention of ``values`` and ``gamma_static``.
        gamma_static : NDArray[np.float64], shape (n_qpoints, n_bands), optional
            Temperature-independent part, same convention (not ``lifetime-ps``).
        frequencies : NDArray[np.float64], shape (n_qpoints, n_bands), optional, THz
            Checked against the dynamical matrix when given.
        source : str
            A name for messages.

        Returns
        -------
        Linewidths

        Raises
        ------
        ShapeError, LinewidthError
            Shapes disagree; a width is negative or not finite.
        """
        values = np.atleast_3d(np.asarray(values, dtype=np.float64))
        static = (
            np.zeros(values.shape[1:]) if gamma_static is None else to_hwhm_thz(np.asarray(gamma_static), convention)
        )
        record = cls(
            temperatures=np.atleast_1d(np.asarray(temperatures, dtype=np.float64)),
            qpoints=np.asarray(qpoints, dtype=np.float64),
            weights=np.asarray(weights, dtype=np.int64),
            gamma=to_hwhm_thz(values, convention),
            gamma_static=static,
            frequencies=None if frequencies is None else np.asarray(frequencies, dtype=np.float64),
            source=source,
        )
        return record.checked()

    def checked(self) -> Linewidths:
        """Return self after checking every shape and sign.

        Raises
        ------
        ShapeError
            Axes disagree.
        LinewidthError
            Negative or non-finite widths.
        """
        expected = (len(self.temperatures), len(self.qpoints), self.gamma_static.shape[-1])
        for name, got, want in (
            ("linewidths", self.gamma.shape, expected),
            ("temperature-independent linewidths", self.gamma_static.shape, expected[1:]),
            ("weights", self.weights.shape, expected[1:2]),
            ("q points", self.qpoints.shape, (expected[1], 3)),
        ):
            if tuple(got) != tuple(want):
                raise ShapeError(
                    f"{self.source}: {name} have shape {tuple(got)}, expected {tuple(want)} "
                    "(temperatures, q points, bands). Take all arrays from one run."
                )
        _check_values(np.asarray(self.gamma_static), "gamma_isotope", self.source)
        if isinstance(self.gamma, np.ndarray):
            _check_values(self.gamma, "gamma", self.source)
        return self

    @property
    def total(self) -> NDArray[np.float64]:
        """All scattering, shape (n_temps, n_qpoints, n_bands), THz."""
        return np.asarray(self.gamma[:] + self.gamma_static)

    def without_static(self) -> Linewidths:
        """Return a copy without the temperature-independent part (isotopes)."""
        return replace(self, gamma_static=np.zeros_like(self.gamma_static))

    def at(self, temperature: float, interpolate: bool = False) -> NDArray[np.float64]:
        """Return all scattering at one temperature, shape (n_qpoints, n_bands), THz.

        Parameters
        ----------
        temperature : float, K
        interpolate : bool
            Linear in T between the two nearest stored temperatures (exact in the classical limit, where γ ∝ T).
            Never extrapolates.

        Raises
        ------
        TemperatureError
            The temperature is not stored (``interpolate=False``) or out of range.
        """
        stored = self.temperatures
        hit = np.flatnonzero(np.isclose(stored, temperature, rtol=0, atol=1e-6))
        if len(hit):
            return self._row(int(hit[0])) + self.gamma_static
        listing = ", ".join(f"{t:g}" for t in stored[:12]) + (", ..." if len(stored) > 12 else "")
        if not interpolate:
            raise TemperatureError(
                f"{self.source} has no linewidths at {temperature:g} K; stored: {listing} K. Choose one of "
                "these, or allow interpolation (--interpolate, interpolate=True)."
            )
        if not stored.min() < temperature < stored.max():
            raise TemperatureError(
                f"{temperature:g} K is outside the stored range {stored.min():g}-{stored.max():g} K of "
                f"{self.source}; linewidths are never extrapolated. Run phono3py at this temperature."
            )
        order = np.argsort(stored)
        right = order[np.searchsorted(stored[order], temperature)]
        left = order[np.searchsorted(stored[order], temperature) - 1]
        share = (temperature - stored[left]) / (stored[right] - stored[left])
        mixed = (1 - share) * self._row(int(left)) + share * self._row(int(right))
        return np.asarray(mixed + self.gamma_static)

    def _row(self, index: int) -> NDArray[np.float64]:
        """Return the temperature-dependent widths of one stored temperature, checked."""
        row = np.asarray(self.gamma[index], dtype=np.float64)
        _check_values(row, f"gamma at {self.temperatures[index]:g} K", self.source)
        return row

    def check_frequencies(self, frequencies: NDArray[np.float64], tolerance: float = 0.02) -> None:
        """Compare the stored frequencies with those of the dynamical matrix.

        Parameters
        ----------
        frequencies : NDArray[np.float64], shape (n_qpoints, n_bands), THz
            From the force constants at hand.
        tolerance : float
            Largest accepted difference, THz; Gamma is left out, where LO-TO conventions differ.

        Raises
        ------
        GridMismatchError
            Bands or frequencies disagree: wrong mesh, cell, fc2 or NAC.
        """
        if self.gamma.shape[-1] != frequencies.shape[-1]:
            raise GridMismatchError(
                f"{self.source} has {self.gamma.shape[-1]} bands, the primitive cell of the force constants "
                f"{frequencies.shape[-1]}. Give the cell and --pa that made the linewidths."
            )
        if self.frequencies is None:
            return
        away = np.linalg.norm(self.qpoints - np.rint(self.qpoints), axis=1) > 1e-6
        difference = np.abs(self.frequencies - frequencies)[away]
        if difference.size and difference.max() > tolerance:
            worst = np.flatnonzero(away)[int(difference.max(axis=1).argmax())]
            _refuse_other_unit(self.frequencies[away], frequencies[away], self.source)
            raise GridMismatchError(
                f"the frequencies stored in {self.source} differ from those of the force constants by up to "
                f"{difference.max():.3g} THz (q point {worst}, {self.qpoints[worst]}), more than {tolerance} THz. "
                "Use the fc2, cell, --dim-fc2 and NAC (--born or --nonac) of the run that made the linewidths."
            )


def _refuse_other_unit(stored: NDArray[np.float64], expected: NDArray[np.float64], source: str) -> None:
    """Raise when frequencies differ by a known unit: then linewidths of the same source are suspect too."""
    moving = expected > 0.1 * expected.max()
    ratio = float(np.median(stored[moving] / expected[moving]))
    known = {"angular (rad/ps)": 2 * np.pi, "in cm⁻¹": get_physical_units().THzToCm, "in meV": 1e3 * _thz_to_ev()}
    for name, factor in known.items():
        if abs(ratio / factor - 1) < 1e-3:
            raise LinewidthError(
                f"the frequencies of {source} are {name}, expected ordinary THz: {ratio:.4g} times those of the "
                f"force constants. Divide them by {factor:.6g}, and check the convention of the linewidths too."
            )


def _thz_to_ev() -> float:
    """Return the energy of 1 THz in eV."""
    return float(get_physical_units().THzToEv)


def _check_values(array: NDArray[np.float64], name: str, source: str) -> None:
    """Refuse negative and non-finite half widths."""
    if not np.isfinite(array).all():
        raise LinewidthError(
            f"{source}: {int((~np.isfinite(array)).sum())} of {array.size} values of {name} are not finite. "
            "Remove modes of zero lifetime before converting, or re-run them."
        )
    if (array < 0).any():
        raise LinewidthError(
            f"{source}: {int((array < 0).sum())} of {array.size} values of {name} are negative (lowest "
            f"{array.min():.3g} THz), expected half widths >= 0. They come from a failed interpolation or a "
            "damaged collision matrix: re-run these q points, or set them to zero to leave the modes out."
        )
