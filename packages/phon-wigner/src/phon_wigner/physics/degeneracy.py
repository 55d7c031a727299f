"""Group the bands at one q point into degenerate blocks.

The Wigner split into populations and coherences is unique only between *blocks* of degenerate bands:
inside a block every unitary rotation of the eigenvectors is allowed, so a pair of two different bands of
one block is as much a population as a band with itself. Bands belong to one block when consecutive sorted
frequencies differ by at most ``tolerance``.

References
----------
M. Simoncelli, N. Marzari, F. Mauri, Phys. Rev. X 12, 041011 (2022), Sec. III.C, doi:10.1103/PhysRevX.12.041011
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DEGENERACY_TOLERANCE_THZ = 1e-4
"""Default width of a degenerate block in THz, the value phono3py averages linewidths with."""


def degenerate_blocks(
    frequencies: NDArray[np.float64], tolerance: float = DEGENERACY_TOLERANCE_THZ
) -> NDArray[np.int64]:
    """Label the degenerate block of every band.

    Parameters
    ----------
    frequencies : NDArray[np.float64], shape (..., n_bands), THz
        Ordinary (not angular) frequencies. Any order of bands.
    tolerance : float
        Consecutive sorted frequencies closer than this (THz) share a block; 0 keeps exact ties only.

    Returns
    -------
    NDArray[np.int64], shape (..., n_bands)
        Block labels 0, 1, ... in order of rising frequency.
    """
    frequencies = np.asarray(frequencies, dtype=np.float64)
    order = np.argsort(frequencies, axis=-1, kind="stable")
    ordered = np.take_along_axis(frequencies, order, axis=-1)
    starts = np.zeros(frequencies.shape, dtype=np.int64)
    starts[..., 1:] = np.diff(ordered, axis=-1) > tolerance
    labels = np.empty_like(starts)
    np.put_along_axis(labels, order, np.cumsum(starts, axis=-1), axis=-1)
    return labels


def average_over_blocks(values: NDArray[np.float64], blocks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Replace each band's value by the mean over its degenerate block.

    Parameters
    ----------
    values : NDArray[np.float64], shape (n_stack, n_qpoints, n_bands) or (n_qpoints, n_bands)
        Any per-mode quantity.
    blocks : NDArray[np.int64], shape (n_qpoints, n_bands)
        Labels of :func:`degenerate_blocks`.

    Returns
    -------
    NDArray[np.float64], the shape of ``values``
        Block means; a trace over a block is unchanged.
    """
    n_bands = blocks.shape[-1]
    flat = (blocks + n_bands * np.arange(len(blocks))[:, None]).ravel()
    counts = np.bincount(flat, minlength=blocks.size)
    if len(counts) == np.count_nonzero(counts):
        return np.array(values, dtype=np.float64)
    stacked = np.asarray(values, dtype=np.float64).reshape(-1, blocks.size)
    out = np.empty_like(stacked)
    for row, averaged in zip(stacked, out, strict=True):
        sums = np.bincount(flat, weights=row, minlength=blocks.size)
        averaged[:] = sums[flat] / counts[flat]
    return out.reshape(np.shape(values))
