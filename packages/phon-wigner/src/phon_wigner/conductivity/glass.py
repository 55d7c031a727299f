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

import os
from collections.abc import Sequence
from dataclasses import dataclass

import h5py
import numpy as np
from numpy.typing import NDArray

from phon_wigner.conductivity.postprocess import check_conductivity
from phon_wigner.conductivity.result import COMPONENTS
from phon_wigner.conductivity.tables import write_table
from phon_wigner.errors import LinewidthError, OptionError, TemperatureError
from phon_wigner.file_access.atomic_write import whole_file
from phon_wigner.phonons.harmonic import HarmonicCrystal
from phon_wigner.phonons.linewidths import Linewidths
from phon_wigner.phonons.units import conversion_to_w_mk, heat_capacities
from phon_wigner.physics.formula import (
    ModeAverages,
    average_modes,
    coherence_conductivity,
    pair_weights,
    population_conductivity,
)
from phon_wigner.physics.line_shape import line_shape
from phon_wigner.physics.pairs import PairBlock


def regularised_conductivity(pairs: PairBlock, modes: ModeAverages, broadening: float) -> NDArray[np.float64]:
    """Return the rWTE conductivity, all pairs together.

    Parameters
    ----------
    pairs : PairBlock
    modes : ModeAverages
        Linewidths of zero give the Allen-Feldman limit.
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
    if not broadening > 0 and not modes.linewidths.any():
        raise LinewidthError("linewidths and broadening are all zero; give a broadening > 0 THz (Allen-Feldman).")
    coherences = coherence_conductivity(pairs, pair_weights(pairs, modes, broadening))
    return np.asarray(coherences + population_conductivity(pairs, modes, broadening).sum(axis=(0, 1)))


def broadening_scan(pairs: PairBlock, modes: ModeAverages, broadenings: Sequence[float]) -> NDArray[np.float64]:
    """Return :func:`regularised_conductivity` for each broadening, shape (n_broadenings, 6).

    A plateau over η (in THz) marks the converged value; a steady fall or rise means the cell is too small.
    """
    return np.array([regularised_conductivity(pairs, modes, float(b)) for b in broadenings])


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
        components = [f"kappa_{name}_w_mk" for name in COMPONENTS]
        rows = (
            (temperature, eta, *kappa, slope)
            for i, temperature in enumerate(self.temperatures)
            for eta, kappa, slope in zip(self.broadenings, self.kappa[i], self.slope(i), strict=True)
        )
        write_table(path, ["temperature_k", "broadening_thz", *components, "dlnkappa_dlneta"], rows)

    def to_hdf5(self, path: str | os.PathLike[str]) -> None:
        """Write every array under its attribute name, its unit as attribute."""
        with whole_file(path) as temporary, h5py.File(temporary, "w") as handle:
            for name, unit in (("temperatures", "K"), ("broadenings", "THz"), ("kappa", "W/(m K)")):
                handle[name] = getattr(self, name)
                handle[name].attrs["unit"] = unit
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
    wanted = np.atleast_1d(np.asarray(temperatures, dtype=np.float64))
    if len(wanted) == 0 or not np.isfinite(wanted).all() or (wanted < 0).any():
        raise TemperatureError(f"temperatures must be given, finite and >= 0 K, got {wanted.tolist()}.")
    eta = None if broadenings is None else np.sort(np.asarray(broadenings, dtype=np.float64))
    if eta is not None and (len(eta) == 0 or not np.isfinite(eta).all() or eta[0] < 0):
        raise OptionError(f"broadenings must be given, finite and >= 0 THz, got {eta.tolist()}.")
    if isinstance(source, Linewidths):
        source.check_volume(crystal.volume)
        for temperature in wanted:  # fail before the phonons
            source.at(float(temperature))
        qpoints, weights = source.qpoints, source.weights
    else:
        qpoints, weights = crystal.irreducible_mesh(source)
    pairs, frequencies, _ = crystal.collect_pairs(qpoints, weights)
    if isinstance(source, Linewidths):
        source.check_frequencies(frequencies)
        source = source.without_impossible_isotopes(frequencies)
    spacing = float(frequencies.max()) / frequencies.shape[1]
    if eta is None:
        eta = np.sort(np.asarray(spacing * np.geomspace(0.25, 16, 13)))
    scale = conversion_to_w_mk(crystal.volume) / weights.sum()
    kappa = []
    for temperature in wanted:
        width = source.at(float(temperature)) if isinstance(source, Linewidths) else np.zeros_like(frequencies)
        capacity = heat_capacities(pairs.frequencies, float(temperature))
        modes = average_modes(pairs, linewidths=width, heat_capacities=capacity)
        kappa.append(broadening_scan(pairs, modes, list(eta)) * scale)
        for tensor in kappa[-1]:
            check_conductivity(tensor, f"κ at {temperature:g} K")
    return BroadeningScan(wanted, eta, np.array(kappa), spacing)


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
    weight = line_shape(frequency[first] - frequency[second], zero, broadening) / (2 * np.pi)
    weight *= pairs.coherence[:, :3].mean(axis=1) * (frequency[first] + frequency[second]) ** 2 / 4
    result = np.zeros(frequency.size)
    np.add.at(result, first, weight / frequency[first] ** 2)
    np.add.at(result, second, weight / frequency[second] ** 2)
    own = float(line_shape(np.zeros(1), np.zeros(1), broadening)[0]) / (2 * np.pi)
    return np.asarray(result.reshape(pairs.frequencies.shape) + own * pairs.population[:, :, :3].mean(axis=2))
