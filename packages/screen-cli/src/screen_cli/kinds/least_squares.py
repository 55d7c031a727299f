r"""Least squares for fc2 and fc3 of a whole kind of crystal, in symfc's basis, solved once.

With ± pairs of displacements the forces split by parity,

.. math:: F^{odd} = \tfrac12[F(u) - F(-u)] = -\Phi_2 u, \qquad F^{even} = \tfrac12[F(u) + F(-u)] = -\tfrac12 \Phi_3 u u,

and the normal equations of symfc with them, exactly: the mixed block of :math:`X^T X` cancels between partners. For
each order, with displacements of unit length, design matrix :math:`X`, symfc's compression :math:`C` and basis
:math:`B`,

.. math:: \Phi = C\, B\, (X^T X)^{-1} X^T F = C\, D\, F,

where C (sparse) and D depend on the kind alone. A crystal costs the product with its forces; Φ₂ scales with 1/d, Φ₃
with 1/d² of the displacement d.

What a fit without pair s would predict for it needs no second fit: with the block :math:`H_{ss} = X_s (X^T X)^{-1}
X_s^T`, its residual is :math:`(1 - H_{ss})^{-1} r_s` (Allen, Technometrics 16, 125 (1974),
doi:10.1080/00401706.1974.10489157).

References
----------
A. Seko and A. Togo, Phys. Rev. B 110, 214302 (2024), doi:10.1103/PhysRevB.110.214302.
"""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.linalg.blas import dsyrk
from scipy.sparse import csr_array

from screen_cli.errors import UnderdeterminedFitError
from screen_cli.kinds.design import Design
from screen_cli.kinds.mapped_pages import let_go

if TYPE_CHECKING:
    from symfc import Symfc
    from symfc.basis_sets import FCBasisSetBase

_DESIGN_BYTES = 300_000_000  # of the design matrix that exist at a time


@dataclass(frozen=True)
class FactoredOrder:
    """One order of force constants, ready for forces.

    Parameters
    ----------
    order : int
        2 or 3.
    solution : ndarray
        float64 (n_pairs, n_compressed, 3 n_atoms): D, from force components over unit displacements to compressed force
        constants.
    leverage : ndarray
        float64 (n_pairs, 3 n_atoms, 3 n_atoms): H_ss.
    expansion : scipy.sparse.csr_array
        float64 (n_rows · 3^order n_atoms^(order-1), n_compressed): C, to the compact tensor of the ``n_rows`` atoms.
    rows : ndarray
        int64 (n_rows,): canonical atoms that are first in the compact tensor.
    n_parameters : int
        Free parameters.
    """

    order: int
    solution: NDArray[np.float64]
    leverage: NDArray[np.float64]
    expansion: csr_array
    rows: NDArray[np.int64]
    n_parameters: int

    def fit(self, forces: NDArray[np.float64], distance: float) -> NDArray[np.float64]:
        """Fit compact force constants.

        Parameters
        ----------
        forces : ndarray
            float64 (n_pairs, n_atoms, 3), eV/Å, canonical atoms: the odd part for order 2, the even part for order 3.
        distance : float
            Length of the displacements, Å.

        Returns
        -------
        ndarray
            float64 (n_rows, n_atoms, 3, 3) eV/Å² or (n_rows, n_atoms, n_atoms, 3, 3, 3) eV/Å³.
        """
        n_atoms = forces.shape[1]
        compressed = np.zeros(self.solution.shape[1])
        for rows, components in zip(self.solution, forces.reshape(len(forces), -1), strict=True):
            compressed += rows @ components
        let_go(self.solution)
        dense = self.expansion @ compressed / distance ** (self.order - 1)
        return np.asarray(dense).reshape(len(self.rows), *[n_atoms] * (self.order - 1), *[3] * self.order)

    def left_out(self, residuals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn the residuals of the fit into those of each pair predicted by a fit to all others.

        Parameters
        ----------
        residuals : ndarray
            float64 (n_pairs, n_atoms, 3), eV/Å, canonical atoms.
        """
        flat = residuals.reshape(len(residuals), -1)
        solved = np.linalg.solve(np.eye(flat.shape[1]) - self.leverage, flat[:, :, None])
        return np.asarray(solved, dtype=np.float64).reshape(residuals.shape)


def factor_orders(
    symfc: Symfc, directions: NDArray[np.float64], orders: tuple[int, ...], scratch: Path | None = None
) -> dict[int, FactoredOrder]:
    """Solve the least-squares problem of a kind.

    Parameters
    ----------
    symfc : symfc.Symfc
        With its basis of the orders, for a supercell in canonical order.
    directions : ndarray
        float64 (n_pairs, n_atoms, 3): one partner of each pair, divided by the length of the displacements.
    orders : tuple of int
        Of 2 and 3.
    scratch : Path, optional
        Folder where the solutions grow in files without a name and are mapped from; else they stand in memory.

    Raises
    ------
    UnderdeterminedFitError
        The displacements do not determine the force constants.
    OSError
        The disk of ``scratch`` is full.
    """
    return {order: _factor(symfc.basis_set[order], directions, order, scratch) for order in orders}


def _factor(basis: FCBasisSetBase, directions: NDArray[np.float64], order: int, scratch: Path | None) -> FactoredOrder:
    """Solve one order; of the design matrix a few pairs exist at a time, and the factor is what is large in memory."""
    n_pairs, n_atoms = directions.shape[:2]
    design = Design.of(basis, order)
    n_parameters = design.n_parameters
    step = max(1, _DESIGN_BYTES // (24 * n_atoms * n_parameters))
    starts = range(0, n_pairs, step)

    @functools.lru_cache(maxsize=1)  # where one piece is all, it is made once
    def piece(start: int) -> NDArray[np.float64]:
        return design.matrix(directions[start : start + step])

    normal = np.zeros((n_parameters, n_parameters), order="F")
    for start in starts:  # XᵀX, the lower triangle
        normal = dsyrk(1.0, piece(start).reshape(-1, n_parameters).T, beta=1.0, c=normal, lower=1, overwrite_c=1)
    try:
        factor = cho_factor(normal, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError as error:
        raise UnderdeterminedFitError(
            f"{n_pairs} pairs of displacements of {n_atoms} atoms do not determine the {n_parameters} free "
            f"parameters of fc{order}. Raise displace.n_supercells or leave it empty."
        ) from error
    compression = basis.compact_compression_matrix
    solution = _Growing((n_pairs, compression.shape[1], 3 * n_atoms), scratch)
    leverage = np.empty((n_pairs, 3 * n_atoms, 3 * n_atoms))
    for pair, rows in enumerate(rows for start in starts for rows in piece(start)):
        inverse = cho_solve(factor, rows.T, check_finite=False)  # n_parameters, 3 n_atoms
        leverage[pair] = rows @ inverse
        solution.append(np.asarray(design.blocks @ inverse))
    atoms = np.asarray(basis.p2s_map, dtype=np.int64)
    del factor, normal
    return FactoredOrder(order, solution.whole(), leverage, csr_array(compression), atoms, n_parameters)


class _Growing:
    """An array that grows by its first axis, in a file without a name where there is a folder for it."""

    def __init__(self, shape: tuple[int, ...], scratch: Path | None) -> None:
        self.shape = shape
        self.file = None if scratch is None else tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115
        self.array = np.empty(shape if self.file is None else 0)
        self.length = 0

    def append(self, part: NDArray[np.float64]) -> None:
        """Add the next part, float64 ``shape[1:]``."""
        if self.file is None:
            self.array[self.length] = part
        else:
            self.file.write(np.ascontiguousarray(part).data)
        self.length += 1

    def whole(self) -> NDArray[np.float64]:
        """Give the array, float64 ``shape``."""
        if self.file is None:
            return self.array
        self.file.flush()
        with self.file:
            return np.memmap(self.file, dtype=np.float64, mode="r", shape=self.shape)
