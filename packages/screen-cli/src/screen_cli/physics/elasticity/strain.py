r"""Strains, their symmetry, and tensors as vectors.

A symmetric tensor is written as the vector (xx, yy, zz, √2 yz, √2 xz, √2 xy) of Mandel, in which a rotation is an
orthogonal matrix, the product of two vectors is the full contraction of their tensors, and the eigenvalues of the
6 × 6 matrix of a stiffness are those of the tensor. Voigt's notation appears at the surface only.

References
----------
J. F. Nye, Physical Properties of Crystals (Oxford, 1985), chapters I, III and VIII.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_FACTORS: NDArray[np.float64] = np.sqrt([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
_ROWS, _COLUMNS = (np.array(indices) for indices in zip(*_PAIRS, strict=True))


def to_mandel(tensors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors (..., 6) of the symmetric parts of tensors (..., 3, 3)."""
    symmetric = 0.5 * (tensors + np.swapaxes(tensors, -1, -2))
    vectors: NDArray[np.float64] = symmetric[..., _ROWS, _COLUMNS] * _FACTORS
    return vectors


def from_mandel(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Symmetric tensors (..., 3, 3) of vectors (..., 6)."""
    tensors = np.zeros((*vectors.shape[:-1], 3, 3))
    tensors[..., _ROWS, _COLUMNS] = vectors / _FACTORS
    tensors[..., _COLUMNS, _ROWS] = vectors / _FACTORS
    return tensors


def stiffness_to_voigt(mandel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Stiffness matrix in Voigt's notation (engineering shear strain), same unit, from Mandel's."""
    return mandel / np.outer(_FACTORS, _FACTORS)


def stiffness_from_voigt(voigt: NDArray[np.float64]) -> NDArray[np.float64]:
    """Stiffness matrix in Mandel's notation, same unit, from Voigt's."""
    return voigt * np.outer(_FACTORS, _FACTORS)


def rotate_mandel(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthogonal matrices (n, 6, 6) that turn Mandel vectors as rotations (n, 3, 3) turn tensors."""
    basis = from_mandel(np.eye(6))
    turned = np.einsum("nij,ajk,nlk->nail", rotations, basis, rotations)
    return np.swapaxes(to_mandel(turned), 1, 2)


def invariant_strains(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal strains that keep the whole point group: one for cubic, two for uniaxial, six for triclinic.

    The thermal expansion is their combination, so the response to them is all that it needs.

    Parameters
    ----------
    rotations : ndarray
        float64 (n_operations, 3, 3).

    Returns
    -------
    ndarray
        float64 (n_strains, 3, 3), Σ_kl B_kl B'_kl = δ.
    """
    projector = rotate_mandel(rotations).mean(axis=0)
    basis: list[NDArray[np.float64]] = []
    for vector in projector.T:  # the projections of xx, yy, ... in turn: the basis looks as a person would choose it
        rest = vector - sum((np.dot(vector, known) * known for known in basis), np.zeros(6))
        norm = float(np.linalg.norm(rest))
        if norm > 1e-6:
            basis.append(np.where(np.abs(rest) > 1e-12 * norm, rest, 0.0) / norm)
    return from_mandel(np.array(basis))


def unit_strains() -> NDArray[np.float64]:
    """Six orthonormal strains: three along the axes, three shears. float64 (6, 3, 3)."""
    return from_mandel(np.eye(6))


def symmetrise(tensor: NDArray[np.float64], rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average symmetric tensors (..., 3, 3) over a point group (n_operations, 3, 3)."""
    projector = rotate_mandel(rotations).mean(axis=0)
    return from_mandel(to_mandel(tensor) @ projector.T)
