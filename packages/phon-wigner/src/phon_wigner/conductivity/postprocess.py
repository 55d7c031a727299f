"""Coherences from stored linewidths, without any scattering calculation.

Only irreducible q points are visited; the velocity products are made once and every further temperature costs
one pass over the pairs. Linewidths are read one temperature at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from phon_wigner.conductivity.result import WignerResult
from phon_wigner.conductivity.spectra import frequency_edges
from phon_wigner.errors import ConductivityError, GridMismatchError, LinewidthError, OptionError, TemperatureError
from phon_wigner.phonons.harmonic import HarmonicCrystal, Sweep
from phon_wigner.phonons.linewidths import Linewidths
from phon_wigner.phonons.units import conversion_to_w_mk, heat_capacities
from phon_wigner.physics.degeneracy import DEGENERACY_TOLERANCE_THZ
from phon_wigner.physics.formula import (
    ModeAverages,
    average_modes,
    coherence_by_mode,
    coherence_conductivity,
    coherence_map,
    pair_weights,
    population_conductivity,
    scattered,
)
from phon_wigner.physics.pairs import PairBlock

logger = logging.getLogger(__name__)

ZERO_SHARE_LIMIT = 0.05
"""Share of heat-carrying modes without a linewidth above which a result would be meaningless."""

MAX_MAP_BINS = 2000
"""Most bins of the map on one axis; its memory grows with the square, for each temperature."""

VACUUM_GAP = 8.0
"""Width of an empty slab (Å) from which a cell is taken for a layer or a molecule in vacuum."""


@dataclass(frozen=True)
class AnalysisSettings:
    """Numerical choices of :func:`analyze`.

    Attributes
    ----------
    degeneracy_tolerance : float
        Width of a degenerate block, THz.
    cutoff_frequency : float
        Modes at or below it (THz) carry no heat.
    imaginary_tolerance : float
        Modes below minus this (THz) are an error.
    interpolate : bool
        Allow temperatures between stored ones.
    isotopes : bool
        Use the isotope linewidths stored beside ``gamma``.
    boundary_mfp : float, µm, or None
        Add boundary scattering ``|v|/(4πL)`` with this mean free path, from the velocities of the same sweep.
    keep_modes : bool
        Keep mode-resolved arrays for every temperature (memory grows with the number of temperatures).
    map_bins : int
        Keep κ_C(ω₁, ω₂) of every temperature on this many frequency bins; 0 keeps none.
    """

    degeneracy_tolerance: float = DEGENERACY_TOLERANCE_THZ
    cutoff_frequency: float = 1e-4
    imaginary_tolerance: float = 0.01
    interpolate: bool = False
    isotopes: bool = True
    boundary_mfp: float | None = None
    keep_modes: bool = False
    map_bins: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers without meaning."""
        for name in ("degeneracy_tolerance", "cutoff_frequency"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise OptionError(f"{name} is {value:g} THz, expected a finite number >= 0.")
        if np.isnan(self.imaginary_tolerance) or self.imaginary_tolerance < 0:
            raise OptionError(f"imaginary_tolerance is {self.imaginary_tolerance:g} THz, expected a number >= 0.")
        if self.boundary_mfp is not None and not (np.isfinite(self.boundary_mfp) and self.boundary_mfp > 0):
            raise OptionError(f"boundary_mfp is {self.boundary_mfp:g} µm, expected a finite length > 0.")
        if not 0 <= self.map_bins <= MAX_MAP_BINS:
            raise OptionError(f"map_bins is {self.map_bins}, expected 0 to {MAX_MAP_BINS}.")


def vacuum_gap(crystal: HarmonicCrystal) -> float:
    """Return the widest slab of the primitive cell without atoms, Å, along any lattice plane normal."""
    primitive = crystal.dynamical_matrix.primitive
    heights = 1 / np.linalg.norm(np.linalg.inv(np.asarray(primitive.cell)), axis=0)
    widest = 0.0
    for axis, height in enumerate(heights):
        levels = np.sort(np.asarray(primitive.scaled_positions)[:, axis] % 1)
        gaps = np.diff(np.append(levels, levels[0] + 1))
        widest = max(widest, float(gaps.max() * height))
    return widest


def analyze(
    crystal: HarmonicCrystal,
    linewidths: Linewidths,
    temperatures: Sequence[float] | NDArray[np.float64] | None = None,
    settings: AnalysisSettings | None = None,
    on_qpoint: Callable[[int], None] | None = None,
) -> WignerResult:
    """Return populations and coherences of a crystal with known linewidths.

    Parameters
    ----------
    crystal : HarmonicCrystal
        Dynamical matrix and point group.
    linewidths : Linewidths
        On the irreducible q points of one mesh.
    temperatures : sequence of float, optional, K
        Default: all stored ones.
    settings : AnalysisSettings, optional
        Numerical choices.
    on_qpoint : callable, optional
        Progress callback.

    Returns
    -------
    WignerResult

    Raises
    ------
    GridMismatchError
        Linewidths and force constants belong to different crystals or meshes.
    ImaginaryModeError
        The crystal is unstable.
    LinewidthError
        Negative widths, or too many modes without one.
    ConductivityError
        A conductivity is not finite or negative along some direction.
    TemperatureError
        A temperature is not available.
    """
    settings = settings or AnalysisSettings()
    if not settings.isotopes:
        linewidths = linewidths.without_isotopes()
    wanted = np.atleast_1d(
        np.asarray(linewidths.temperatures if temperatures is None else temperatures, dtype=np.float64)
    )
    if len(wanted) == 0 or not np.isfinite(wanted).all() or (wanted < 0).any():
        raise TemperatureError(f"temperatures must be given, finite and >= 0 K, got {wanted.tolist()}.")
    linewidths.check_volume(crystal.volume)
    gap = vacuum_gap(crystal)
    if gap > VACUUM_GAP:
        logger.warning(
            "the cell has a vacuum gap of %.1f Å: conductivities are per volume of the whole cell. For a layer, "
            "multiply by the cell height over the layer thickness.",
            gap,
        )
    for temperature in wanted:  # fail before the phonons
        linewidths.at(float(temperature), settings.interpolate)
    sweep = crystal.collect_pairs(
        linewidths.qpoints,
        linewidths.weights,
        tolerance=settings.degeneracy_tolerance,
        cutoff_frequency=settings.cutoff_frequency,
        imaginary_tolerance=settings.imaginary_tolerance,
        on_qpoint=on_qpoint,
    )
    linewidths.check_frequencies(sweep.frequencies)
    linewidths = linewidths.without_impossible_isotopes(sweep.frequencies)
    if settings.boundary_mfp is not None:
        linewidths = _with_boundary(linewidths, sweep.group_velocities, settings.boundary_mfp)
    return _evaluate(crystal.volume, linewidths, wanted, settings, sweep)


def _with_boundary(linewidths: Linewidths, velocities: NDArray[np.float64], length: float) -> Linewidths:
    """Add boundary scattering with a mean free path in µm."""
    from phono3py.conductivity.scattering_solvers import compute_bulk_boundary_scattering

    if linewidths.gamma_boundary is not None:
        raise GridMismatchError(
            f"{linewidths.source} already holds boundary scattering; it would count twice. Drop boundary_mfp."
        )
    return replace(linewidths, gamma_boundary=np.asarray(compute_bulk_boundary_scattering(velocities, length)))


def _evaluate(
    volume: float,
    linewidths: Linewidths,
    temperatures: NDArray[np.float64],
    settings: AnalysisSettings,
    sweep: Sweep,
) -> WignerResult:
    """Go through the temperatures over ready velocity products."""
    pairs, frequencies, group = sweep
    scale = conversion_to_w_mk(volume)
    n_mesh = float(linewidths.weights.sum())
    n_temps, shape, n_bins = len(temperatures), frequencies.shape, settings.map_bins
    n_kept, n_maps = n_temps * settings.keep_modes, n_temps * bool(n_bins)
    kappa = np.zeros((2, n_temps, 6))
    modes = np.zeros((2, n_kept, *shape, 6))
    gamma, capacities = np.zeros((2, n_kept, *shape))
    edges = frequency_edges(frequencies, n_bins) if n_bins else np.zeros(0)
    maps = np.zeros((n_maps, n_bins, n_bins))
    for i, temperature in enumerate(temperatures):
        averages = _averages(linewidths, float(temperature), settings, pairs)
        population = population_conductivity(pairs, averages)
        weights = pair_weights(pairs, averages)
        kappa[0, i] = population.sum(axis=(0, 1)) * scale / n_mesh
        kappa[1, i] = coherence_conductivity(pairs, weights) * scale / n_mesh
        for name, tensor in zip(("κ_P", "κ_C"), kappa[:, i], strict=True):
            check_conductivity(tensor, f"{name} of {linewidths.source} at {temperature:g} K")
        if n_kept:
            modes[0, i] = population * scale
            modes[1, i] = coherence_by_mode(pairs, averages, weights) * scale
            gamma[i] = averages.linewidths
            capacities[i] = heat_capacities(pairs.frequencies, float(temperature), settings.cutoff_frequency)
        if n_maps:
            maps[i] = coherence_map(pairs, weights, edges) * scale / n_mesh
    return WignerResult(
        temperatures=temperatures,
        kappa_p=kappa[0],
        kappa_c=kappa[1],
        frequency=frequencies,
        gamma=gamma,
        heat_capacity=capacities,
        group_velocity=group,
        qpoints=linewidths.qpoints,
        weights=linewidths.weights,
        mode_kappa_p=modes[0],
        mode_kappa_c=modes[1],
        volume=volume,
        mesh=linewidths.mesh,
        coherence_map=maps,
        map_edges=edges,
        metadata=_metadata(linewidths, settings),
    )


def _averages(linewidths: Linewidths, temperature: float, settings: AnalysisSettings, pairs: PairBlock) -> ModeAverages:
    """Return linewidths and heat capacities at one temperature, averaged once."""
    raw = linewidths.at(temperature, settings.interpolate)
    capacity = heat_capacities(pairs.frequencies, temperature, settings.cutoff_frequency)
    _check_zeros(raw, capacity, pairs, temperature, linewidths.source)
    return average_modes(pairs, linewidths=raw, heat_capacities=capacity)


def _metadata(linewidths: Linewidths, settings: AnalysisSettings) -> dict[str, str | float | bool]:
    """Return what a file of the result says about its making."""
    isotopes, boundary = linewidths.gamma_isotope, linewidths.gamma_boundary
    return {
        "source": linewidths.source,
        "isotopes": isotopes is not None and bool(np.any(isotopes > 0)),
        "boundary": boundary is not None,
        "degeneracy_tolerance_thz": settings.degeneracy_tolerance,
        "cutoff_frequency_thz": settings.cutoff_frequency,
    }


def check_conductivity(tensor: NDArray[np.float64], name: str) -> None:
    """Refuse a conductivity that no crystal has.

    Parameters
    ----------
    tensor : NDArray[np.float64], shape (6,), W/(m K)
        xx yy zz yz xz xy.
    name : str
        For the message.

    Raises
    ------
    ConductivityError
        It is not finite, or negative along some direction (beyond rounding).
    """
    if not np.isfinite(tensor).all():
        raise ConductivityError(f"{name} is not finite: {tensor.tolist()}. Check linewidths and force constants.")
    xx, yy, zz, yz, xz, xy = tensor
    eigenvalues = np.linalg.eigvalsh(np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]))
    if eigenvalues[0] < -1e-8 * max(1.0, float(np.abs(eigenvalues).max())):
        raise ConductivityError(
            f"{name} is {eigenvalues[0]:.4g} W/(m K) along one direction, expected >= 0. Its inputs do not belong "
            "to one "
            "crystal: check cell, weights and velocities."
        )


def _check_zeros(
    width: NDArray[np.float64],
    capacity: NDArray[np.float64],
    pairs: PairBlock,
    temperature: float,
    source: str,
) -> None:
    """Warn about, or refuse, heat-carrying modes without a linewidth."""
    carrying = pairs.active & (capacity > 0)
    missing = carrying & ~scattered(width, capacity)
    if not missing.any():
        return
    share = missing.sum() / carrying.sum()
    text = (
        f"{source}: {int(missing.sum())} of {int(carrying.sum())} heat-carrying modes have zero linewidth at "
        f"{temperature:g} K"
    )
    if share > ZERO_SHARE_LIMIT:
        raise LinewidthError(
            f"{text}, more than {ZERO_SHARE_LIMIT:.0%}; their infinite lifetimes would be dropped and "
            "κ_P be too small. "
            "The run is incomplete or its mesh too coarse: check that gamma was written for every grid point."
        )
    logger.warning("%s; they are left out of the populations.", text)
