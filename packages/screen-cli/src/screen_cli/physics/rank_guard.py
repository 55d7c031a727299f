r"""Count free force-constant parameters and the force equations that must outnumber them.

Force constants of order :math:`n` that obey the index symmetry and the acoustic sum rule are the symmetric
forms of degree :math:`n` on :math:`U = \mathbb{R}^{3N} / \mathbb{R}^3`, the displacements of the supercell
modulo uniform translations. Those invariant under the supercell's space group :math:`G` (lattice
translations included) are counted by Burnside's formula, without building a basis:

.. math::

    n_2 = \frac{1}{|G|} \sum_g \frac{\chi(g)^2 + \chi(g^2)}{2}, \qquad
    n_3 = \frac{1}{|G|} \sum_g \frac{\chi(g)^3 + 3 \chi(g) \chi(g^2) + 2 \chi(g^3)}{6}, \qquad
    \chi(g) = [\mathrm{fix}(g) - 1] \, \mathrm{tr} R_g

with :math:`\mathrm{fix}(g)` the number of atoms that :math:`g` leaves in place. The numbers are exact and
equal the sizes of symfc's basis sets without cutoff.

An underdetermined fit does not fail by itself: it returns fc3 near zero and a huge κ, hence this guard.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import StructureError, UnderdeterminedFitError

_IMAGES = 4_000_000  # components of displacements that are held at once


def count_free_parameters(permutations: NDArray[np.int64], rotations: NDArray[np.float64]) -> dict[int, int]:
    """Count the independent second- and third-order force constants of a supercell.

    Parameters
    ----------
    permutations : ndarray
        int64 (n_operations, n_atoms): the space group of the supercell, lattice translations included.
    rotations : ndarray
        float64 (n_operations, 3, 3), of the same operations, in any basis.

    Returns
    -------
    dict of int to int
        ``{2: n_params_fc2, 3: n_params_fc3}``, without cutoff.

    Raises
    ------
    StructureError
        The operations do not form a group.
    """
    identity = np.arange(permutations.shape[1])
    characters = []
    power, rotation = permutations, rotations
    for _ in range(3):
        fixed = np.count_nonzero(power == identity, axis=1)
        traces = np.rint(np.trace(rotation, axis1=1, axis2=2)).astype(np.int64)  # whole for every crystallographic R
        characters.append((fixed - 1) * traces)
        power = np.take_along_axis(permutations, power, axis=1)
        rotation = rotation @ rotations
    first, square, cube = (values.astype(object) for values in characters)  # exact integers
    n_operations = len(rotations)
    second_order = sum((first**2 + square).tolist())
    third_order = sum((first**3 + 3 * first * square + 2 * cube).tolist())
    if second_order % (2 * n_operations) or third_order % (6 * n_operations):
        raise StructureError(
            "the symmetry operations of the supercell do not form a group (the number of invariants is not "
            "whole). Standardise the cell, or change the symmetry tolerance."
        )
    return {2: int(second_order // (2 * n_operations)), 3: int(third_order // (6 * n_operations))}


def n_independent_supercells(n_supercells: int, *, paired: bool) -> int:
    """Give the number of supercells that give independent equations for one parity of the orders.

    In a ± pair (u, −u) the half sum of the forces holds the even powers of u (fc3) and the half difference
    the odd ones (fc2): two supercells, one set of equations for each order.
    """
    return n_supercells // 2 if paired else n_supercells


def required_supercells(
    n_params: dict[int, int], n_atoms: int, *, margin: float, paired: bool, min_pairs: int = 1
) -> int:
    """Smallest number of supercells that fixes every parameter with a margin.

    Demands ``n_independent · 3 · n_atoms ≥ margin · n_params``, per order when paired, for all orders together
    when not.

    Parameters
    ----------
    n_params : dict of int to int
        Free parameters of each order that is fitted.
    n_atoms : int
        Of the supercell.
    margin : float
        Equations over parameters, at least 1.
    paired : bool
        Whether supercells come as (u, −u).
    min_pairs : int
        At least this many pairs (supercells when not paired).

    Returns
    -------
    int
        Number of supercells, both partners counted.
    """
    n_unknown = max(n_params.values()) if paired else sum(n_params.values())
    n_independent = max(math.ceil(margin * n_unknown / (3 * n_atoms)), min_pairs, 1)
    return 2 * n_independent if paired else n_independent


def equations_ratio(n_supercells: int, n_params: dict[int, int], n_atoms: int, *, paired: bool) -> float:
    """Independent force equations over free parameters, for the order that has the least."""
    n_unknown = max(n_params.values()) if paired else sum(n_params.values())
    return n_independent_supercells(n_supercells, paired=paired) * 3 * n_atoms / max(n_unknown, 1)


def check_determined(
    n_supercells: int, n_params: dict[int, int], n_atoms: int, *, margin: float, paired: bool
) -> float:
    """Refuse a fit with fewer equations than the margin demands.

    Returns
    -------
    float
        The ratio of equations to parameters.

    Raises
    ------
    UnderdeterminedFitError
        The ratio is below ``margin``; the message says how many supercells are enough.
    """
    ratio = equations_ratio(n_supercells, n_params, n_atoms, paired=paired)
    if ratio < margin:
        enough = required_supercells(n_params, n_atoms, margin=margin, paired=paired)
        unknowns = ", ".join(f"{count} of fc{order}" for order, count in sorted(n_params.items()))
        kind = "paired supercells" if paired else "supercells"
        raise UnderdeterminedFitError(
            f"{n_supercells} {kind} of {n_atoms} atoms give {ratio:.2f} independent equations per free parameter "
            f"({unknowns}), at least {margin:g} are needed: the fit would return force constants near zero. Use "
            f"displace.n_supercells = {enough} or more, or leave it empty."
        )
    return ratio


def displacements_span(
    permutations: NDArray[np.int64], rotations: NDArray[np.float64], displacements: NDArray[np.float64]
) -> bool:
    r"""Whether displacements determine second-order force constants, beyond the count of equations.

    A symmetric, invariant :math:`\Phi` with :math:`\Phi u_i = 0` also vanishes on every symmetry image of the
    :math:`u_i` and on translations. Such a :math:`\Phi \neq 0` exists, the projector onto what is left, exactly when
    these do not span :math:`\mathbb{R}^{3N}`. In low symmetry two pairs may leave a direction out although equations
    outnumber parameters: least squares then invents imaginary modes.

    Parameters
    ----------
    permutations : ndarray
        int64 (n_operations, n_atoms): the space group of the supercell, lattice translations included.
    rotations : ndarray
        float64 (n_operations, 3, 3), orthogonal, Cartesian.
    displacements : ndarray
        float64 (n_supercells, n_atoms, 3), Å, Cartesian.
    """
    n_operations, n_atoms = permutations.shape
    scale = float(np.abs(displacements).max()) or 1.0
    scaled = displacements / scale
    gram = np.kron(np.ones((n_atoms, n_atoms)), np.eye(3)) / n_atoms
    largest = 1.0 + n_operations * float(np.sum(scaled**2))  # no eigenvalue of the whole sum is above its trace
    start, step = 0, -(-3 * n_atoms // max(1, len(displacements)))
    while start < n_operations:  # each image only adds: what spans already needs no more of them
        chosen = slice(start, start + step)
        images = np.empty((len(permutations[chosen]), *displacements.shape))
        for image, permutation, rotation in zip(images, permutations[chosen], rotations[chosen], strict=True):
            image[:, permutation] = scaled @ rotation.T
        rows = images.reshape(-1, 3 * n_atoms)
        gram += rows.T @ rows
        start, step = start + step, max(1, min(2 * step, _IMAGES // displacements.size))
        values = np.linalg.eigvalsh(gram)
        if values[0] > 1e-8 * largest:
            return True
    return bool(values[0] > 1e-8 * values[-1])
