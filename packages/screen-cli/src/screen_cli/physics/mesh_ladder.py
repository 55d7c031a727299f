"""Which q meshes to try before the final one, and how far κ of the last of them may be off.

The cost of κ grows with the sixth power of the mesh (irreducible points times triplets), so three coarse meshes
together cost a fraction of the final one. κ(N) approaches its limit as κ + c/N, since the excluded neighbourhood of Γ
shrinks with the mesh, with a scatter from the tetrahedron sum on top. The error of a rung is therefore the largest of

    |κ_n − κ_{n−1}|,   |p_n − κ_n|,   |p_n − p_{n−1}|,    p_n: κ at the final mesh, from the last two rungs and c/N

over κ_n: a trend shows in the second, scatter in the third. From fewer than three rungs nothing is concluded: κ of
NaCl on 7³ and 11³ agrees to 0.1 %, and is 4 % off 19³.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import ConfigError


def rungs(final: Sequence[int], shares: Sequence[float]) -> list[list[int]]:
    """Meshes to try in turn, the final one last.

    Parameters
    ----------
    final : sequence of int, shape (3,)
    shares : sequence of float
        Ascending, between 0 and 1. Each number of points is rounded to the nearest of the parity of the final one
        (κ converges along odd and even meshes differently), and is at least 3 (2 when even).

    Raises
    ------
    ConfigError
        Shares that are not ascending between 0 and 1.
    """
    values = [0.0, *shares, 1.0]
    if any(low >= high for low, high in itertools.pairwise(values)):
        raise ConfigError(f"conductivity.ladder is {list(shares)}, expected ascending shares, e.g. [0.5, 0.6, 0.75].")
    meshes: list[list[int]] = []
    for share in (*shares, 1.0):
        mesh = [_like(share * number, number) for number in final]
        if not meshes or mesh != meshes[-1]:
            meshes.append(mesh)
    return meshes


def mesh_error(meshes: Sequence[Sequence[int]], kappas: Sequence[NDArray[np.float64]], final: Sequence[int]) -> float:
    """Estimate the relative error of the last κ against the final mesh.

    Parameters
    ----------
    meshes : sequence of meshes
        Those done, coarse to fine.
    kappas : sequence of ndarray
        float64 (n_temps,), W/(m K), of each.
    final : sequence of int, shape (3,)

    Returns
    -------
    float
        Largest over the temperatures; inf from fewer than three meshes, of which two may agree by chance.
    """
    if len(kappas) < 3:
        return float("inf")
    spacing = [1.0 / np.prod(mesh) ** (1 / 3) for mesh in (*meshes, final)]

    def predicted(n: int) -> NDArray[np.float64]:
        slope = (kappas[n] - kappas[n - 1]) / (spacing[n] - spacing[n - 1])
        value: NDArray[np.float64] = kappas[n] + slope * (spacing[-1] - spacing[n])
        return value

    last = len(kappas) - 1
    errors = [
        kappas[last] - kappas[last - 1],
        predicted(last) - kappas[last],
        predicted(last) - predicted(last - 1),
    ]
    return float(np.max(np.abs(errors) / np.abs(kappas[last])))


def _like(number: float, final: int) -> int:
    """Nearest whole number with the parity of ``final``, not above it."""
    parity = final % 2
    nearest = 2 * round((number - parity) / 2) + parity
    return min(max(nearest, 2 + parity), final)
