"""Linewidths from anywhere, in one documented record.

Inside this package a linewidth is always the half width at half maximum in ordinary THz, phono3py's ``gamma``;
:mod:`phon_wigner.phonons.conventions` converts others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from phonopy.physical_units import get_physical_units

from phon_wigner.errors import GridMismatchError, LinewidthError, ShapeError, TemperatureError
from phon_wigner.phonons.conventions import to_hwhm_thz
from phon_wigner.phonons.impossible_widths import possible_isotope_widths


class Rows(Protocol):
    """Linewidths of shape (n_temps, n_qpoints, n_bands) of which one temperature is taken at a time."""

    shape: tuple[int, ...]

    def __getitem__(self, key: int, /) -> NDArray[np.float64]:
        """Return one temperature, shape (n_qpoints, n_bands), THz."""


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
    gamma : NDArray[np.float64] or rows on disk, shape (n_temps, n_qpoints, n_bands), THz
        HWHM that depends on temperature (phonon-phonon, electron-phonon). Bands by rising frequency.
    gamma_isotope : NDArray[np.float64], shape (n_qpoints, n_bands), THz, or None
        HWHM of isotope scattering.
    gamma_boundary : NDArray[np.float64], shape (n_qpoints, n_bands), THz, or None
        HWHM of boundary scattering.
    frequencies : NDArray[np.float64], shape (n_qpoints, n_bands), THz, or None
        Frequencies stored beside the widths, to check against the dynamical matrix.
    mesh : tuple of int or None
        Three mesh numbers, or the nine of the matrix of a generalised grid.
    volume : float, Å³, or None
        Of the primitive cell that the widths belong to, to check against the crystal.
    source : str
        Where the numbers came from.
    """

    temperatures: NDArray[np.float64]
    qpoints: NDArray[np.float64]
    weights: NDArray[np.int64]
    gamma: NDArray[np.float64] | Rows
    gamma_isotope: NDArray[np.float64] | None = None
    gamma_boundary: NDArray[np.float64] | None = None
    frequencies: NDArray[np.float64] | None = None
    mesh: tuple[int, ...] | None = None
    volume: float | None = None
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
        gamma_isotope: NDArray[np.float64] | None = None,
        frequencies: NDArray[np.float64] | None = None,
        source: str = "arrays",
    ) -> Linewidths:
        """Build the record from plain arrays of any code.

        Parameters
        ----------
        temperatures, qpoints, weights : NDArray[np.float64], shapes (n_temps,), (n_qpoints, 3), (n_qpoints,)
            As the attributes of the class.
        values : NDArray[np.float64], shape (n_temps, n_qpoints, n_bands)
            Linewidths, rates or lifetimes in ``convention`` (:mod:`phon_wigner.phonons.conventions`). Four-phonon rates
            are simply added to three-phonon ones before.
        convention : str
            Stated convention of ``values`` and ``gamma_isotope``.
        gamma_isotope : NDArray[np.float64], shape (n_qpoints, n_bands), optional
            Isotope scattering beside ``values``, same convention.
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
        record = cls(
            temperatures=np.atleast_1d(np.asarray(temperatures, dtype=np.float64)),
            qpoints=np.asarray(qpoints, dtype=np.float64),
            weights=np.asarray(weights, dtype=np.int64),
            gamma=to_hwhm_thz(values, convention),
            gamma_isotope=None if gamma_isotope is None else to_hwhm_thz(gamma_isotope, convention),
            frequencies=None if frequencies is None else np.asarray(frequencies, dtype=np.float64),
            source=source,
        )
        return record.checked()

    def checked(self) -> Linewidths:
        """Return self after checking every shape, sign and number.

        Raises
        ------
        ShapeError
            Axes disagree.
        LinewidthError
            Negative or non-finite widths.
        TemperatureError
            A temperature is negative, not finite, or stands there twice.
        GridMismatchError
            A q point or a frequency is not finite, or a weight is below one.
        """
        shape = tuple(self.gamma.shape)
        expected = (len(self.temperatures), len(self.qpoints), shape[-1])
        for name, got, want in (
            ("linewidths", shape, expected),
            ("isotope linewidths", _shape(self.gamma_isotope), expected[1:]),
            ("boundary linewidths", _shape(self.gamma_boundary), expected[1:]),
            ("frequencies", _shape(self.frequencies), expected[1:]),
            ("weights", self.weights.shape, expected[1:2]),
            ("q points", self.qpoints.shape, (expected[1], 3)),
        ):
            if got is not None and tuple(got) != tuple(want):
                raise ShapeError(
                    f"{self.source}: {name} have shape {tuple(got)}, expected {tuple(want)} "
                    "(temperatures, q points, bands). Take all arrays from one run."
                )
        self._check_axes()
        for name, part in (("gamma_isotope", self.gamma_isotope), ("the boundary widths", self.gamma_boundary)):
            if part is not None:
                _check_values(part, name, self.source)
        if isinstance(self.gamma, np.ndarray):
            _check_values(self.gamma, "gamma", self.source)
        return self

    def _check_axes(self) -> None:
        """Refuse temperatures, q points, weights and frequencies that are none."""
        stored = self.temperatures
        if not np.isfinite(stored).all() or (stored < 0).any() or len(np.unique(stored)) != len(stored):
            raise TemperatureError(
                f"{self.source}: the temperatures {stored.tolist()[:12]} K are not all different, finite and >= 0."
            )
        if (self.weights < 1).any():
            raise GridMismatchError(f"{self.source}: q point {int(np.argmin(self.weights))} has a weight below 1.")
        for name, values in (("q points", self.qpoints), ("frequencies", self.frequencies)):
            if values is not None and not np.isfinite(values).all():
                raise GridMismatchError(f"{self.source}: the {name} are not all finite. Run phono3py again.")

    @property
    def gamma_static(self) -> NDArray[np.float64]:
        """HWHM that does not depend on temperature, shape (n_qpoints, n_bands), THz."""
        total = np.zeros(tuple(self.gamma.shape)[1:])
        for part in (self.gamma_isotope, self.gamma_boundary):
            if part is not None:
                total = total + part
        return total

    def without_isotopes(self) -> Linewidths:
        """Return a copy without isotope scattering; boundaries stay."""
        return replace(self, gamma_isotope=None)

    def without_impossible_isotopes(self, frequencies: NDArray[np.float64]) -> Linewidths:
        """Return a copy in which isotope widths above their mode's own frequency are left out; a warning names them.

        Parameters
        ----------
        frequencies : NDArray[np.float64], shape (n_qpoints, n_bands), THz
            Of the crystal.
        """
        if self.gamma_isotope is None:
            return self
        return replace(self, gamma_isotope=possible_isotope_widths(self.gamma_isotope, frequencies, self.source))

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
        row = np.asarray(self.gamma[index], dtype=np.float64)  # one temperature at a time: it may be on disk
        _check_values(row, f"gamma at {self.temperatures[index]:g} K", self.source)
        return row

    def check_volume(self, volume: float, tolerance: float = 5e-3) -> None:
        """Compare the cell volume of the run that made the widths with that of the crystal, Å³.

        Raises
        ------
        GridMismatchError
            They differ: another cell, or lengths in another unit. κ would be wrong by this ratio.
        """
        if self.volume is None or abs(self.volume / volume - 1) < tolerance:
            return
        bohr = get_physical_units().Bohr
        hint = ""
        for factor, text in ((bohr, "Å taken for bohr"), (1 / bohr, "bohr taken for Å")):
            if abs((volume / self.volume) ** (1 / 3) / factor - 1) < 0.01:
                hint = f" The lengths of the crystal look like {text}: check the option for its program, e.g. --qe."
        raise GridMismatchError(
            f"the primitive cell of the force constants has {volume:.4f} Å³, that of {self.source} "
            f"{self.volume:.4f} Å³."
            f"{hint or ' Give the cell, --pa and unit of the run that made the linewidths.'}"
        )

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
        n_bands = tuple(self.gamma.shape)[-1]
        if n_bands != frequencies.shape[-1]:
            raise GridMismatchError(
                f"{self.source} has {n_bands} bands, the primitive cell of the force constants "
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


def _shape(array: NDArray[np.float64] | None) -> tuple[int, ...] | None:
    """Return the shape of an array that may be missing."""
    return None if array is None else np.shape(array)


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
