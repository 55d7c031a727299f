"""Build the Wigner velocity operator and its symmetry-averaged products.

::

    V^α_ss' = <e_s| ∂D/∂q_α |e_s'> / (ω_s + ω_s')

This is the matrix element of ∂ sqrt(D)/∂q in the eigenbasis of D: analytic, Hermitian, and equal to the group
velocity for s = s'. The operator ``<∂D>/(2 sqrt(ω ω'))`` of other formulations is larger by
(ω + ω')/(2 sqrt(ω ω')) off the diagonal.

The conductivity needs V only through Re(V^α_ss' V^β_s's), summed over the star of q. Because it is a rank-two
tensor, the sum over the arms of the star is one 6 × 6 matrix in Voigt space, the same for every q.

References
----------
M. Simoncelli, N. Marzari, F. Mauri, Phys. Rev. X 12, 041011 (2022), Eq. 36 and App. B,
doi:10.1103/PhysRevX.12.041011
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

VOIGT: tuple[tuple[int, int], ...] = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Cartesian index pairs of the six stored components: xx yy zz yz xz xy."""


def velocity_operator(
    derivative: NDArray[np.complex128],
    eigenvectors: NDArray[np.complex128],
    frequencies: NDArray[np.float64],
    factor: float,
    cutoff_frequency: float = 1e-4,
) -> NDArray[np.complex128]:
    """Return the Wigner velocity operator at one q point.

    Parameters
    ----------
    derivative : NDArray[np.complex128], shape (3, n_bands, n_bands)
        ∂D/∂q_α, Hermitian, in the unit of the dynamical matrix times Å.
    eigenvectors : NDArray[np.complex128], shape (n_bands, n_bands)
        Columns are the eigenvectors of D.
    frequencies : NDArray[np.float64], shape (n_bands,), THz
        Ordinary frequencies, sqrt(eigenvalue) * factor.
    factor : float
        Conversion from sqrt of the unit of D to THz (phonopy's ``frequency_factor_to_THz``).
    cutoff_frequency : float
        Rows and columns of modes at or below this frequency (THz) are zero.

    Returns
    -------
    NDArray[np.complex128], shape (3, n_bands, n_bands), Å·THz
        Hermitian in the band indices; 1 Å·THz = 100 m/s.
    """
    elements = eigenvectors.conj().T @ derivative @ eigenvectors
    active = frequencies > cutoff_frequency
    safe = np.where(active, frequencies, 1.0)
    sums = np.where(np.logical_and.outer(active, active), np.add.outer(safe, safe), np.inf)
    velocity = elements * (factor**2 / sums)
    return np.asarray((velocity + velocity.conj().transpose(0, 2, 1)) / 2)


def velocity_products(velocity: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Return Re(V^α_ss' V^β_s's) for the six Voigt components.

    Parameters
    ----------
    velocity : NDArray[np.complex128], shape (3, n_bands, n_bands)
        Hermitian velocity operator.

    Returns
    -------
    NDArray[np.float64], shape (6, n_bands, n_bands), the square of the unit of ``velocity``
        Symmetric in the band indices; components xx yy zz yz xz xy.
    """
    real, imag = velocity.real, velocity.imag
    return np.stack([real[a] * real[b] + imag[a] * imag[b] for a, b in VOIGT])


def star_average(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 6 × 6 matrix that averages a symmetric tensor over Cartesian rotations.

    Parameters
    ----------
    rotations : NDArray[np.float64], shape (n_rotations, 3, 3)
        Cartesian matrices of the point group (improper ones included, time reversal folded in).

    Returns
    -------
    NDArray[np.float64], shape (6, 6)
        A with ``averaged[i] = Σ_j A[i, j] tensor[j]``, Voigt order xx yy zz yz xz xy.
    """
    matrix = np.zeros((6, 6))
    for j, (c, d) in enumerate(VOIGT):
        unit = np.zeros((3, 3))
        unit[c, d] = unit[d, c] = 1.0
        rotated = np.einsum("rac,cd,rbd->ab", rotations, unit, rotations) / len(rotations)
        matrix[:, j] = [rotated[a, b] for a, b in VOIGT]
    return matrix
