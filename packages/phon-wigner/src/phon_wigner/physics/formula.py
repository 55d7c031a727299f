"""The Wigner thermal conductivity of one set of modes, as arithmetic on arrays.

With ordinary frequencies ν and half widths γ (HWHM), both THz, and mode heat capacities C::

    κ^αβ = c/N Σ_q Σ_ss'  C_ss' P^αβ_ss' (γ_s + γ_s') / [(ν_s - ν_s')² + (γ_s + γ_s')²]
    C_ss' = (ν_s + ν_s')/4 (C_s/ν_s + C_s'/ν_s')
    P^αβ_ss' = Re V^α_ss' V^β_s's, summed over the star of q

which is Eq. 1 and 2 of Rodriguez et al. with Γ = 4πγ, ω = 2πν. For s = s' the summand is C v v/(2γ), the
Boltzmann term in the relaxation-time approximation; c converts eV/K · (Å·THz)² / THz per cell volume to W/(m K).

*Populations* κ_P are all pairs inside one degenerate block (:mod:`phon_wigner.physics.degeneracy`), *coherences* κ_C
all pairs between blocks. Pairs are stored once, s < s'; coherences count twice.

References
----------
M. Simoncelli, N. Marzari, F. Mauri, Nat. Phys. 15, 809 (2019), Eq. 7, doi:10.1038/s41567-019-0520-x
M. Simoncelli, N. Marzari, F. Mauri, Phys. Rev. X 12, 041011 (2022), Eq. 42, doi:10.1103/PhysRevX.12.041011
A. Rodriguez et al., Commun. Mater. (2023), Eq. 1-2, doi:10.1038/s43246-023-00390-3
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.constants import physical_constants

from phon_wigner.errors import ShapeError
from phon_wigner.physics.degeneracy import average_over_blocks
from phon_wigner.physics.line_shape import line_shape
from phon_wigner.physics.pairs import PairBlock

LEAST_LINEWIDTH = 1e-12
"""THz, of a mode with its classical heat capacity: a lifetime of 0.08 s, within which heat crosses any crystal."""

_BOLTZMANN = physical_constants["Boltzmann constant in eV/K"][0]


def scattered(linewidths: NDArray[np.float64], heat_capacities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell modes with a linewidth from those that nothing scatters on the mesh.

    Energy and momentum conservation leave some modes without a partner; what rounding gives them instead, 10⁻¹⁶ or
    10⁻⁴⁶ THz, would let single modes carry any heat. In the cold linewidths are small for a reason, and so is the heat
    capacity: the least linewidth falls with it.

    Parameters
    ----------
    linewidths : NDArray[np.float64], any shape, THz
        HWHM.
    heat_capacities : NDArray[np.float64], the same shape, eV/K

    Returns
    -------
    NDArray[np.bool_], the same shape
        False for NaN, infinite, negative, zero and immeasurably small linewidths.
    """
    least = LEAST_LINEWIDTH * np.minimum(heat_capacities / _BOLTZMANN, 1.0)
    return np.asarray(np.isfinite(linewidths) & (linewidths > 0) & (linewidths >= least))


@dataclass(frozen=True, kw_only=True)
class ModeAverages:
    """Linewidths and heat capacities at one temperature, averaged over degenerate blocks: κ then depends on no basis.

    Made once per temperature by :func:`average_modes`; every formula below takes this record.

    Attributes
    ----------
    linewidths : NDArray[np.float64], shape (n_qpoints, n_bands), THz
        HWHM of all scattering; 0 means unknown.
    heat_capacities : NDArray[np.float64], shape (n_qpoints, n_bands), eV/K
    """

    linewidths: NDArray[np.float64]
    heat_capacities: NDArray[np.float64]


def average_modes(
    pairs: PairBlock, *, linewidths: NDArray[np.float64], heat_capacities: NDArray[np.float64]
) -> ModeAverages:
    """Average over degenerate blocks, and set linewidths that carry no physics to zero.

    Parameters
    ----------
    pairs : PairBlock
        Blocks and active modes.
    linewidths : NDArray[np.float64], shape (n_qpoints, n_bands), THz
        HWHM as given. Where :func:`scattered` is false they are unknown: the mode neither conducts as a population nor
        adds its width to a coherence.
    heat_capacities : NDArray[np.float64], shape (n_qpoints, n_bands), eV/K

    Returns
    -------
    ModeAverages

    Raises
    ------
    ShapeError
        A shape is not that of the pairs.
    """
    for name, array in (("linewidths", linewidths), ("heat capacities", heat_capacities)):
        if array.shape != pairs.frequencies.shape:
            raise ShapeError(f"{name} have shape {array.shape}, expected {pairs.frequencies.shape} (q points, bands).")
    usable = scattered(linewidths, heat_capacities) & pairs.active
    return ModeAverages(
        linewidths=average_over_blocks(np.where(usable, linewidths, 0.0), pairs.blocks),
        heat_capacities=average_over_blocks(heat_capacities, pairs.blocks),
    )


def pair_weights(pairs: PairBlock, modes: ModeAverages, broadening: float = 0.0) -> NDArray[np.float64]:
    """Return C_ss' (γ+γ')/[(ν-ν')² + (γ+γ')²] of every stored pair, or its Voigt form, at one temperature.

    The crystal and the glass use it alike: without broadening it is the Wigner line shape, with broadening that of the
    regularised equation and, for vanishing linewidths, of Allen and Feldman.

    Parameters
    ----------
    pairs : PairBlock
        Frequencies and pair indices.
    modes : ModeAverages
    broadening : float, THz
        η of :func:`phon_wigner.physics.line_shape.line_shape`.

    Returns
    -------
    NDArray[np.float64], shape (n_pairs,), eV/(K·THz)
        Zero where both linewidths vanish and there is no broadening.
    """
    frequency = pairs.frequencies.ravel()
    capacity = modes.heat_capacities.ravel()
    ratio = np.divide(capacity, frequency, out=np.zeros(frequency.size), where=frequency > 0)
    width = modes.linewidths.ravel()
    first, second = pairs.first, pairs.second
    f1, f2 = frequency[first], frequency[second]
    weights = (f1 + f2) * (ratio[first] + ratio[second])
    weights *= 0.25
    weights *= line_shape(f1 - f2, width[first] + width[second], broadening)
    return np.asarray(weights)


def population_conductivity(pairs: PairBlock, modes: ModeAverages, broadening: float = 0.0) -> NDArray[np.float64]:
    """Return the mode-resolved particle-like conductivity at one temperature.

    Parameters
    ----------
    pairs : PairBlock
        Velocity products.
    modes : ModeAverages
    broadening : float, THz
        As in :func:`pair_weights`; 0 gives C v v/(2γ).

    Returns
    -------
    NDArray[np.float64], shape (n_qpoints, n_bands, 6)
        Not yet multiplied by the conversion to W/(m K), nor divided by the number of mesh points.
    """
    return np.asarray(pairs.population * own_weights(modes, broadening)[:, :, None])


def own_weights(modes: ModeAverages, broadening: float = 0.0) -> NDArray[np.float64]:
    """Return C/(2γ), or its Voigt form, of each mode with itself, shape (n_qpoints, n_bands), eV/(K·THz)."""
    width = modes.linewidths
    if broadening > 0:
        return np.asarray(modes.heat_capacities * line_shape(np.zeros_like(width), 2 * width, broadening))
    return np.divide(modes.heat_capacities, 2 * width, out=np.zeros_like(width), where=width > 0)


def coherence_conductivity(pairs: PairBlock, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the total wave-like conductivity at one temperature, shape (6,).

    Parameters
    ----------
    pairs : PairBlock
    weights : NDArray[np.float64], shape (n_pairs,)
        :func:`pair_weights`.

    Returns
    -------
    NDArray[np.float64], shape (6,)
        Unit as in :func:`population_conductivity`; both orders of every pair are counted.
    """
    return np.asarray(2 * (weights @ pairs.coherence))


def coherence_by_mode(pairs: PairBlock, modes: ModeAverages, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share the wave-like conductivity out to modes, in proportion to their heat capacities.

    Mode s takes C_s/(C_s + C_s') of the two equal terms of the pair (s, s'), so the sum over modes is κ_C.

    Parameters
    ----------
    pairs : PairBlock
    modes : ModeAverages
    weights : NDArray[np.float64], shape (n_pairs,)
        :func:`pair_weights`.

    Returns
    -------
    NDArray[np.float64], shape (n_qpoints, n_bands, 6)

    References
    ----------
    M. Simoncelli, N. Marzari, F. Mauri, Phys. Rev. X 12, 041011 (2022), Eq. 48
    """
    shape = 2 * weights
    flat = modes.heat_capacities.ravel()
    c1, c2 = flat[pairs.first], flat[pairs.second]
    share = np.divide(c1, c1 + c2, out=np.full(len(c1), 0.5), where=(c1 + c2) > 0)
    result = np.empty((flat.size, 6))
    weight_first, weight_second = shape * share, shape * (1 - share)
    for i in range(6):
        column = pairs.coherence[:, i]
        result[:, i] = np.bincount(pairs.first, weights=weight_first * column, minlength=flat.size)
        result[:, i] += np.bincount(pairs.second, weights=weight_second * column, minlength=flat.size)
    return result.reshape(*pairs.frequencies.shape, 6)


def coherence_map(pairs: PairBlock, weights: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return κ_C(ω₁, ω₂): how much heat tunnels between which frequencies.

    Parameters
    ----------
    pairs : PairBlock
    weights : NDArray[np.float64], shape (n_pairs,)
        :func:`pair_weights`.
    edges : NDArray[np.float64], shape (n_bins + 1,), THz
        Bin edges of both axes.

    Returns
    -------
    NDArray[np.float64], shape (n_bins, n_bins)
        Symmetric, mean of xx, yy, zz, per THz²; the integral is the mean of :func:`coherence_conductivity` when the
        edges span every frequency.
    """
    values = weights * pairs.coherence[:, :3].mean(axis=1)
    frequency = pairs.frequencies.ravel()
    histogram, _, _ = np.histogram2d(
        frequency[pairs.first], frequency[pairs.second], bins=(edges, edges), weights=values
    )
    return np.asarray((histogram + histogram.T) / np.outer(np.diff(edges), np.diff(edges)))


def pair_matrix(pairs: PairBlock, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the coherences as a symmetric matrix over bands, shape (n_qpoints, n_bands, n_bands, 6)."""
    n_points, n_bands = pairs.frequencies.shape
    values = weights[:, None] * pairs.coherence
    matrix = np.zeros((n_points, n_bands, n_bands, 6))
    point, first = np.divmod(pairs.first, n_bands)
    second = pairs.second % n_bands
    matrix[point, first, second] = values
    matrix[point, second, first] = values
    return matrix
