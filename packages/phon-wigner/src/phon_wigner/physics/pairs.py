"""Pairs of modes and their velocity products: the part of the conductivity that knows no temperature and no linewidth.

Pairs inside one degenerate block (:mod:`phon_wigner.physics.degeneracy`) are populations, pairs between blocks
coherences. Pairs are stored once, s < s'.
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
