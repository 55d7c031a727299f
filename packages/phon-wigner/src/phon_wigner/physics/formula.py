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

from phon_wigner.errors import ShapeError
from phon_wigner.physics.degeneracy import DEGENERACY_TOLERANCE_THZ, average_over_blocks, degenerate_blocks


@dataclass(frozen=True)
class PairBlock:
    """The part of the conductivity sum that does not depend on temperature or linewidth.

    Attributes
    ----------
    frequencies : NDArray[np.float64], shape (n_qpoints, n_bands), THz
        Block averages of the ordinary frequencies.
    blocks : NDArray[np.int64], shape (n_qpoints, n_bands)
        Degenerate block of each band.
    active : NDArray[np.bool_], shape (n_qpoints, n_bands)
        False for modes at or below the cutoff frequency; they carry no heat.
    first, second : NDArray[np.int64], shape (n_pairs,)
        Flat mode indices q * n_bands + s of the pairs between different blocks, s < s'.
    coherence : NDArray[np.float64], shape (n_pairs, 6), (Å·THz)²
        P of these pairs, the sum over the star of q included.
    population : NDArray[np.float64], shape (n_qpoints, n_bands, 6), (Å·THz)²
        Σ over the bands s' of the block of s of P_ss', the diagonal included.
    diagonal : NDArray[np.float64], shape (n_qpoints, n_bands, 6), (Å·THz)²
        P_ss alone, in the given eigenvector basis.
    """

    frequencies: NDArray[np.float64]
    blocks: NDArray[np.int64]
    active: NDArray[np.bool_]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    coherence: NDArray[np.float64]
    population: NDArray[np.float64]
    diagonal: NDArray[np.float64]


class PairCollector:
    """Collect velocity products q point by q point and hand back one :class:`PairBlock`.

    Parameters
    ----------
    n_qpoints, n_bands : int
        Number of irreducible q points and of bands.
    star : NDArray[np.float64], shape (6, 6)
        Average over the point group, :func:`phon_wigner.physics.velocity_operator.star_average`.
    tolerance : float
        Width of a degenerate block in THz.
    cutoff_frequency : float
        Modes at or below it (THz) are left out.
    """

    def __init__(
        self,
        n_qpoints: int,
        n_bands: int,
        star: NDArray[np.float64],
        tolerance: float = DEGENERACY_TOLERANCE_THZ,
        cutoff_frequency: float = 1e-4,
    ) -> None:
        self._tolerance = tolerance
        self._cutoff = cutoff_frequency
        self._star = star
        self._blocks = np.zeros((n_qpoints, n_bands), dtype=np.int64)
        self._active = np.zeros((n_qpoints, n_bands), dtype=np.bool_)
        self._frequencies = np.zeros((n_qpoints, n_bands))
        self._upper = np.triu_indices(n_bands, 1)
        self._population = np.zeros((n_qpoints, n_bands, 6))
        self._diagonal = np.zeros((n_qpoints, n_bands, 6))
        self._pairs: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []

    def add(
        self,
        index: int,
        weight: float,
        frequencies: NDArray[np.float64],
        products: NDArray[np.float64],
    ) -> None:
        """Add one q point.

        Parameters
        ----------
        index : int
            Number of the q point, from 0.
        weight : float
            Arms of the star of q.
        frequencies : NDArray[np.float64], shape (n_bands,), THz
            Ordinary frequencies.
        products : NDArray[np.float64], shape (6, n_bands, n_bands), (Å·THz)²
            :func:`phon_wigner.physics.velocity_operator.velocity_products` at this q.
        """
        n_bands = self._frequencies.shape[1]
        if products.shape != (6, n_bands, n_bands) or frequencies.shape != (n_bands,):
            raise ShapeError(
                f"velocity products of q point {index} have shape {products.shape}, expected "
                f"{(6, n_bands, n_bands)}. Take frequencies and products from the same dynamical matrix."
            )
        self._blocks[index] = degenerate_blocks(frequencies, self._tolerance)
        self._active[index] = frequencies > self._cutoff
        self._frequencies[index] = average_over_blocks(frequencies[None], self._blocks[index : index + 1])[0]
        summed = (weight * self._star) @ products.reshape(6, -1)
        summed = summed.reshape(6, n_bands, n_bands)
        same = self._blocks[index][:, None] == self._blocks[index][None, :]
        self._diagonal[index] = summed[:, np.arange(n_bands), np.arange(n_bands)].T
        self._population[index] = np.where(same, summed, 0.0).sum(axis=2).T
        active = self._active[index]
        first, second = self._upper
        keep = ~same[first, second] & active[first] & active[second]
        first, second = first[keep], second[keep]
        offset = index * n_bands
        self._pairs.append((first + offset, second + offset, summed[:, first, second].T.copy()))

    def finish(self) -> PairBlock:
        """Return everything that was added."""
        first = [p[0] for p in self._pairs] or [np.zeros(0, dtype=np.int64)]
        second = [p[1] for p in self._pairs] or [np.zeros(0, dtype=np.int64)]
        coherence = np.empty((sum(len(f) for f in first), 6))
        position = 0
        for i, (_, _, values) in enumerate(self._pairs):
            coherence[position : position + len(values)] = values
            position += len(values)
            self._pairs[i] = (first[i], second[i], coherence[:0])  # frees the copy
        self._population *= self._active[:, :, None]
        return PairBlock(
            frequencies=self._frequencies,
            blocks=self._blocks,
            active=self._active,
            first=np.concatenate(first),
            second=np.concatenate(second),
            coherence=coherence,
            population=self._population,
            diagonal=self._diagonal,
        )


def pair_lineshape(
    pairs: PairBlock, heat_capacity: NDArray[np.float64], linewidth: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return C_ss' (γ+γ')/[(ν-ν')² + (γ+γ')²] of every stored pair at one temperature.

    Parameters
    ----------
    pairs : PairBlock
        Frequencies and pair indices.
    heat_capacity : NDArray[np.float64], shape (n_qpoints, n_bands)
        Mode heat capacities, eV/K.
    linewidth : NDArray[np.float64], shape (n_qpoints, n_bands), THz
        HWHM, all scattering included.

    Returns
    -------
    NDArray[np.float64], shape (n_pairs,), eV/(K·THz)
        Zero where both linewidths vanish.
    """
    frequency = pairs.frequencies.ravel()
    ratio = np.divide(heat_capacity.ravel(), frequency, out=np.zeros(frequency.size), where=frequency > 0)
    width = linewidth.ravel()
    first, second = pairs.first, pairs.second
    f1, f2 = frequency[first], frequency[second]
    gamma = width[first] + width[second]
    capacity = (f1 + f2) * (ratio[first] + ratio[second])
    capacity *= 0.25
    denominator = np.subtract(f1, f2, out=f1)
    denominator *= denominator
    denominator += gamma * gamma
    capacity *= gamma
    return np.divide(capacity, denominator, out=np.zeros_like(capacity), where=denominator > 0)


def clean_linewidths(pairs: PairBlock, linewidth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average linewidths over degenerate blocks and set what carries no physics to zero.

    Parameters
    ----------
    pairs : PairBlock
        Blocks and active modes.
    linewidth : NDArray[np.float64], shape (n_temps, n_qpoints, n_bands), THz
        HWHM as given. Zero, negative or non-finite entries mean "unknown": the mode neither conducts as a
        population nor adds its width to a coherence.

    Returns
    -------
    NDArray[np.float64], shape (n_temps, n_qpoints, n_bands), THz
        Non-negative; equal inside a block, so that κ is independent of the eigenvector basis.
    """
    usable = np.isfinite(linewidth) & (linewidth > 0) & pairs.active
    return average_over_blocks(np.where(usable, linewidth, 0.0), pairs.blocks)


def population_conductivity(
    pairs: PairBlock, heat_capacity: NDArray[np.float64], linewidth: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the mode-resolved particle-like conductivity at one temperature.

    Parameters
    ----------
    pairs : PairBlock
        Velocity products.
    heat_capacity : NDArray[np.float64], shape (n_qpoints, n_bands), eV/K
    linewidth : NDArray[np.float64], shape (n_qpoints, n_bands), THz
        HWHM from :func:`clean_linewidths`.

    Returns
    -------
    NDArray[np.float64], shape (n_qpoints, n_bands, 6)
        Not yet multiplied by the conversion to W/(m K), nor divided by the number of mesh points.
    """
    capacity = average_over_blocks(heat_capacity, pairs.blocks)
    lifetime = np.divide(capacity, 2 * linewidth, out=np.zeros_like(capacity), where=linewidth > 0)
    return np.asarray(pairs.population * lifetime[:, :, None])


def coherence_conductivity(
    pairs: PairBlock, heat_capacity: NDArray[np.float64], linewidth: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the total wave-like conductivity at one temperature, shape (6,).

    Parameters and unit as in :func:`population_conductivity`; both orders of every pair are counted.
    """
    capacity = average_over_blocks(heat_capacity, pairs.blocks)
    return np.asarray(2 * (pair_lineshape(pairs, capacity, linewidth) @ pairs.coherence))


def coherence_by_mode(
    pairs: PairBlock, heat_capacity: NDArray[np.float64], linewidth: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share the wave-like conductivity out to modes, in proportion to their heat capacities.

    Mode s takes C_s/(C_s + C_s') of the two equal terms of the pair (s, s'), so the sum over modes is κ_C.

    Parameters as in :func:`population_conductivity`.

    Returns
    -------
    NDArray[np.float64], shape (n_qpoints, n_bands, 6)

    References
    ----------
    M. Simoncelli, N. Marzari, F. Mauri, Phys. Rev. X 12, 041011 (2022), Eq. 48
    """
    capacity = average_over_blocks(heat_capacity, pairs.blocks)
    shape = 2 * pair_lineshape(pairs, capacity, linewidth)
    flat = capacity.ravel()
    c1, c2 = flat[pairs.first], flat[pairs.second]
    share = np.divide(c1, c1 + c2, out=np.full(len(c1), 0.5), where=(c1 + c2) > 0)
    result = np.empty((capacity.size, 6))
    weight_first, weight_second = shape * share, shape * (1 - share)
    for i in range(6):
        column = pairs.coherence[:, i]
        result[:, i] = np.bincount(pairs.first, weights=weight_first * column, minlength=capacity.size)
        result[:, i] += np.bincount(pairs.second, weights=weight_second * column, minlength=capacity.size)
    return result.reshape(*capacity.shape, 6)


def coherence_map(
    pairs: PairBlock,
    linewidth: NDArray[np.float64],
    heat_capacity: NDArray[np.float64],
    edges: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return κ_C(ω₁, ω₂): how much heat tunnels between which frequencies.

    Parameters
    ----------
    pairs, linewidth, heat_capacity
        As in :func:`population_conductivity`.
    edges : NDArray[np.float64], shape (n_bins + 1,), THz
        Bin edges of both axes.

    Returns
    -------
    NDArray[np.float64], shape (n_bins, n_bins)
        Symmetric, mean of xx, yy, zz, per THz²; the integral is the mean of :func:`coherence_conductivity` when the
        edges span every frequency.
    """
    capacity = average_over_blocks(heat_capacity, pairs.blocks)
    values = pair_lineshape(pairs, capacity, linewidth) * pairs.coherence[:, :3].mean(axis=1)
    frequency = pairs.frequencies.ravel()
    histogram, _, _ = np.histogram2d(
        frequency[pairs.first], frequency[pairs.second], bins=(edges, edges), weights=values
    )
    return np.asarray((histogram + histogram.T) / np.outer(np.diff(edges), np.diff(edges)))
