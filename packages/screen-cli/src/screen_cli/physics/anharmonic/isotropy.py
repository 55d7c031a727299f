r"""Directions of a degenerate set of modes along which a crystal keeps as much of its symmetry as it can.

The space group acts on k degenerate modes by orthogonal matrices D(g). A direction that a subgroup leaves alone, and no
other direction does, is an order parameter that symmetry singles out: it spans the fixed space

.. math:: \mathrm{Fix}(g, h) = \ker(D(g) - 1) \cap \ker(D(h) - 1)

of one or two operations where that has one dimension (R point of a perovskite: tilts about one axis, two, or three).

References
----------
H. T. Stokes and D. M. Hatch, Isotropy Subgroups of the 230 Crystallographic Space Groups (World Scientific, 1988),
doi:10.1142/0751.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SAME = 1e-3


def representation(
    vectors: NDArray[np.float64], permutations: NDArray[np.int64], rotations: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Matrices of the space group on a set of modes, each of them once.

    Parameters
    ----------
    vectors : ndarray
        float64 (3 n_atoms, n_modes), orthonormal: a whole degenerate set.
    permutations : ndarray
        int64 (n_operations, n_atoms): operation g takes atom a to ``permutations[g, a]``.
    rotations : ndarray
        float64 (n_operations, 3, 3), Cartesian.

    Returns
    -------
    ndarray
        float64 (n_matrices, n_modes, n_modes).
    """
    n_modes = vectors.shape[1]
    fields = vectors.reshape(-1, 3, n_modes)
    found: list[NDArray[np.float64]] = []
    seen: set[bytes] = set()
    for permutation, rotation in zip(permutations, rotations, strict=True):
        moved = np.empty_like(fields)
        moved[permutation] = np.einsum("ab,ibm->iam", rotation, fields)
        matrix = vectors.T @ moved.reshape(-1, n_modes)
        key = (np.round(matrix, 3) + 0.0).tobytes()
        if key not in seen:
            seen.add(key)
            found.append(matrix)
    return np.array(found)


def order_parameters(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Directions that symmetry singles out, one of each set of equivalent ones.

    Parameters
    ----------
    matrices : ndarray
        float64 (n_matrices, n_modes, n_modes): :func:`representation`.

    Returns
    -------
    ndarray
        float64 (n_directions, n_modes), unit vectors; that of most symmetry first.
    """
    n_modes = matrices.shape[1]
    identity = np.eye(n_modes)
    if n_modes == 1:
        return identity
    found: list[NDArray[np.float64]] = []
    outside = identity - _fixed_spaces(matrices)
    for i, first in enumerate(outside):
        pairs = np.concatenate([np.broadcast_to(first, outside[i:].shape), outside[i:]], axis=1)
        directions = _fixed_directions(pairs)
        for known in found:
            directions = directions[~_equivalent(directions, known, matrices)]
        while len(directions) > 0:
            found.append(directions[0])
            directions = directions[~_equivalent(directions, directions[0], matrices)]
    kept = [int((np.abs(matrices @ direction - direction).max(axis=1) < _SAME).sum()) for direction in found]
    return np.array([found[index] for index in np.argsort(kept)[::-1]]) if found else identity[:1]


def _fixed_spaces(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find projectors on what each operation leaves alone, (n_spaces, n_modes, n_modes), each of them once."""
    identity = np.eye(matrices.shape[1])
    found: dict[bytes, NDArray[np.float64]] = {}
    for matrix in matrices:
        _, values, rows = np.linalg.svd(matrix - identity)
        kernel = rows[values < _SAME]
        if len(kernel) > 0:
            projector = kernel.T @ kernel
            found.setdefault((np.round(projector, 3) + 0.0).tobytes(), projector)
    return np.array(list(found.values())).reshape(-1, *identity.shape)


def _fixed_directions(stacked: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find the unit vectors, (n, n_modes), of those kernels that have one dimension."""
    _, values, rows = np.linalg.svd(stacked, full_matrices=False)
    return np.asarray(rows[(values < _SAME).sum(axis=1) == 1, -1])


def _equivalent(
    directions: NDArray[np.float64], other: NDArray[np.float64], matrices: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Say of each direction whether an operation takes another one to it, or to its negative."""
    return np.asarray(np.abs(directions @ (matrices @ other).T).max(axis=1) > 1 - _SAME)
