"""Disordered solids: Voigt-regularised Wigner conductivity (rWTE) and the Allen-Feldman limit.

In a glass modelled by a finite cell, vibrational levels are an artificial distance apart. The rWTE replaces the
Lorentzian of each pair, whose half width is γ + γ', by a Voigt profile: the convolution with a Gaussian of width η
of the order of that level spacing. With vanishing linewidths only the Gaussian is left: the Allen-Feldman
conductivity. κ is physical where it no longer depends on η; :func:`broadening_scan` shows the plateau.

::

    κ = c/N Σ_q Σ_ss' C_ss' P_ss' π V(ν_s - ν_s'; η, γ_s + γ_s')

V is the Voigt profile normalised to one in ordinary THz, so that η = 0 gives back the Lorentzian
(γ+γ')/[(ν-ν')² + (γ+γ')²] = π L. All pairs count here, populations included: a glass knows no bands.

References
----------
M. Simoncelli, F. Mauri, N. Marzari, npj Comput. Mater. 9, 106 (2023), Eq. 5, doi:10.1038/s41524-023-01033-4
P. B. Allen and J. L. Feldman, Phys. Rev. B 48, 12581 (1993), Eq. 1-3, doi:10.1103/PhysRevB.48.12581
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass

import h5py
import numpy as np
from numpy.typing import NDArray

from phon_wigner.conductivity.postprocess import conversion_to_w_mk
from phon_wigner.errors import LinewidthError
from phon_wigner.phonons.harmonic import HarmonicCrystal
from phon_wigner.phonons.linewidths import Linewidths
from phon_wigner.physics.degeneracy import average_over_blocks
from phon_wigner.physics.formula import PairBlock, clean_linewidths
from phon_wigner.physics.heat_capacity import mode_heat_capacity


def voigt_profile(
    detuning: NDArray[np.float64], gaussian: float, lorentzian: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the Voigt profile, normalised to one over the detuning.

    Parameters
    ----------
    detuning : NDArray[np.float64], THz
    gaussian : float
        Standard deviation η of the Gaussian part, THz; 0 gives the Lorentzian.
    lorentzian : NDArray[np.float64], THz
        Half width of the Lorentzian part; 0 gives the Gaussian.

    Returns
    -------
    NDArray[np.float64], 1/THz

    Raises
    ------
    LinewidthError
        A width is negative.
    """
    if gaussian < 0 or np.any(np.asarray(lorentzian) < 0):
        raise LinewidthError(f"Voigt widths must be >= 0, got gaussian {gaussian:g} THz. Give a positive broadening.")
    if gaussian == 0:
        square = detuning**2 + lorentzian**2
        return np.divide(lorentzian / np.pi, square, out=np.zeros_like(square), where=square > 0)
    from scipy.special import voigt_profile as voigt

    return np.asarray(voigt(detuning, gaussian, lorentzian))


def regularised_conductivity(
    pairs: PairBlock,
    heat_capacity: NDArray[np.float64],
    linewidth: NDArray[np.float64],
    broadening: float,
) -> NDArray[np.float64]:
    """Return the rWTE conductivity, all pairs together.

    Parameters
    ----------
    pairs : PairBlock
    heat_capacity : NDArray[np.float64], shape (n_qpoints, n_bands), eV/K
    linewidth : NDArray[np.float64], shape (n_qpoints, n_bands), THz
        HWHM; zeros give the Allen-Feldman limit.
    broadening : float
        η, standard deviation in THz.

    Returns
    -------
    NDArray[np.float64], shape (6,)
        Not yet multiplied by the conversion to W/(m K), nor divided by the number of mesh points.

    Raises
    ------
    LinewidthError
        Neither widths nor broadening: the sum would diverge.
    """
    capacity = average_over_blocks(heat_capacity, pairs.blocks)
    width = clean_linewidths(pairs, linewidth[None])[0]
    if broadening <= 0 and not width.any():
        raise LinewidthError("linewidths and broadening are all zero; give a broadening > 0 THz (Allen-Feldman).")
    frequency = pairs.frequencies.ravel()
    ratio = np.divide(capacity.ravel(), frequency, out=np.zeros(frequency.size), where=frequency > 0)
    first, second = pairs.first, pairs.second
    flat = width.ravel()
    shape = (frequency[first] + frequency[second]) * (ratio[first] + ratio[second]) / 4
    detuning = frequency[first] - frequency[second]
    shape *= np.pi * voigt_profile(detuning, broadening, flat[first] + flat[second])
    own = np.pi * voigt_profile(np.zeros_like(flat), broadening, 2 * flat).reshape(capacity.shape)
    inside = np.einsum("qs,qsi->i", capacity * own, pairs.population)
    return np.asarray(2 * (shape @ pairs.coherence) + inside)


def broadening_scan(
    pairs: PairBlock,
    heat_capacity: NDArray[np.float64],
    linewidth: NDArray[np.float64],
    broadenings: Sequence[float],
) -> NDArray[np.float64]:
    """Return :func:`regularised_conductivity` for each broadening, shape (n_broadenings, 6).

    A plateau over η (in THz) marks the converged value; a steady fall or rise means the cell is too small.
    """
    return np.array([regularised_conductivity(pairs, heat_capacity, linewidth, float(b)) for b in broadenings])


@dataclass(frozen=True)
class BroadeningScan:
    """κ of a disordered solid against the broadening.

    Attributes
    ----------
    temperatures : NDArray[np.float64], shape (n_temps,), K
    broadenings : NDArray[np.float64], shape (n_broadenings,), THz
        η, standard deviation of the Gaussian, rising.
    kappa : NDArray[np.float64], shape (n_temps, n_broadenings, 6), W/(m K)
        xx yy zz yz xz xy.
    level_spacing : float, THz
        Highest frequency over the number of modes: the scale that η has to exceed.
    """

    temperatures: NDArray[np.float64]
    broadenings: NDArray[np.float64]
    kappa: NDArray[np.float64]
    level_spacing: float

    @property
    def scalar(self) -> NDArray[np.float64]:
        """Mean of xx, yy, zz, shape (n_temps, n_broadenings)."""
        return np.asarray(self.kappa[:, :, :3].mean(axis=2))

    def slope(self, index: int) -> NDArray[np.float64]:
        """Return d ln κ / d ln η at one temperature, shape (n_broadenings,); 0 on a plateau, NaN for one point."""
        if len(self.broadenings) < 2:
            return np.full(len(self.broadenings), np.nan)
        logarithm = np.log(np.maximum(self.scalar[index], 1e-300))
        return np.asarray(np.gradient(logarithm, np.log(np.maximum(self.broadenings, 1e-300))))

    def plateau(self, index: int) -> int:
        """Return where κ depends least on η, among η >= the level spacing when there are any."""
        steep = np.nan_to_num(np.abs(self.slope(index)))
        return int(
            np.argmin(np.where(self.broadenings >= min(self.level_spacing, self.broadenings[-1]), steep, np.inf))
        )

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one row per temperature and broadening."""
        with open(path, "w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            writer.writerow(["temperature_k", "broadening_thz", "xx", "yy", "zz", "yz", "xz", "xy", "slope"])
            for i, temperature in enumerate(self.temperatures):
                for eta, row, slope in zip(self.broadenings, self.kappa[i], self.slope(i), strict=True):
                    writer.writerow([f"{x:.8g}" for x in (temperature, eta, *row, slope)])

    def to_hdf5(self, path: str | os.PathLike[str]) -> None:
        """Write every array under its attribute name."""
        with h5py.File(path, "w") as handle:
            for name in ("temperatures", "broadenings", "kappa"):
                handle[name] = getattr(self, name)
            handle.attrs["level_spacing_thz"] = self.level_spacing


def scan_crystal(
    crystal: HarmonicCrystal,
    source: Linewidths | Sequence[int],
    temperatures: Sequence[float],
    broadenings: Sequence[float] | None = None,
) -> BroadeningScan:
    """Return κ of a cell against the broadening: rWTE with linewidths, Allen-Feldman without.

    Parameters
    ----------
    crystal : HarmonicCrystal
    source : Linewidths or three mesh numbers
        Linewidths on the irreducible q points of one mesh; or a mesh, where all linewidths are zero.
    temperatures : sequence of float, K
    broadenings : sequence of float, optional, THz
        Default: 1/4 to 16 times the level spacing.

    Returns
    -------
    BroadeningScan
    """
    if isinstance(source, Linewidths):
        qpoints, weights = source.qpoints, source.weights
    else:
        qpoints, weights = crystal.irreducible_mesh(source)
    pairs, frequencies, _ = crystal.collect_pairs(qpoints, weights)
    if isinstance(source, Linewidths):
        source.check_frequencies(frequencies)
    spacing = float(frequencies.max()) / frequencies.shape[1]
    eta = np.sort(np.asarray(spacing * np.geomspace(0.25, 16, 13) if broadenings is None else broadenings, dtype=float))
    scale = conversion_to_w_mk(crystal.volume) / weights.sum()
    kappa = []
    for temperature in temperatures:
        width = source.at(temperature) if isinstance(source, Linewidths) else np.zeros_like(frequencies)
        capacity = mode_heat_capacity(pairs.frequencies, float(temperature))
        kappa.append(broadening_scan(pairs, capacity, width, list(eta)) * scale)
    return BroadeningScan(np.asarray(temperatures, dtype=np.float64), eta, np.array(kappa), spacing)


def diffusivities(pairs: PairBlock, broadening: float) -> NDArray[np.float64]:
    """Return the Allen-Feldman diffusivity of every mode.

    D_s = π Σ_s' P_ss' (ν_s + ν_s')²/(4 ν_s²) G(ν_s - ν_s'; η)/(2π), in Å²·THz per q-star weight; sum with C_s to κ.

    Parameters
    ----------
    pairs : PairBlock
    broadening : float
        η in THz, > 0.

    Returns
    -------
    NDArray[np.float64], shape (n_qpoints, n_bands), Å²·THz
        Mean over the three directions.
    """
    if broadening <= 0:
        raise LinewidthError(f"diffusivities need a broadening > 0 THz, got {broadening:g}.")
    frequency = pairs.frequencies.ravel()
    first, second = pairs.first, pairs.second
    zero = np.zeros(len(first))
    weight = voigt_profile(frequency[first] - frequency[second], broadening, zero) / 2
    weight *= pairs.coherence[:, :3].mean(axis=1) * (frequency[first] + frequency[second]) ** 2 / 4
    result = np.zeros(frequency.size)
    np.add.at(result, first, weight / frequency[first] ** 2)
    np.add.at(result, second, weight / frequency[second] ** 2)
    own = float(voigt_profile(np.zeros(1), broadening, np.zeros(1))[0]) / 2
    return np.asarray(result.reshape(pairs.frequencies.shape) + own * pairs.population[:, :, :3].mean(axis=2))
