r"""Weighted least squares for one order of force constants, in symfc's basis, with its statistical error.

For samples u with weights w the parameters p of order n minimise :math:`\sum_s w_s |F_s - X_s p|^2` with the design
matrix X of that order alone: ± pairs leave the odd part of the force to order 2 and the even part to order 3. Over
a normal distribution this is :math:`\Phi = \langle V'' \rangle` and, where the mean of the even part is taken off
both sides, :math:`\Phi_3 = \langle V''' \rangle` (Stein's identity): higher orders of the potential are averaged
in, not left out.

References
----------
C. Stein, Ann. Stat. 9, 1135 (1981), doi:10.1214/aos/1176345632.
A. Seko and A. Togo, Phys. Rev. B 110, 214302 (2024), doi:10.1103/PhysRevB.110.214302.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.linalg.blas import dsyrk

from screen_cli.errors import StructureError, UnderdeterminedFitError
from screen_cli.kinds.design import Design

if TYPE_CHECKING:
    from phonopy.structure.atoms import PhonopyAtoms
    from symfc.basis_sets import FCBasisSetBase

_PAIRS_AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class OrderBasis:
    """Symmetry-adapted basis of one order of force constants of a supercell.

    Parameters
    ----------
    basis : symfc.basis_sets.FCBasisSetBase
        Of symfc, computed.
    order : int
        2 or 3.
    translations : ndarray
        int64 (n_translations, n_atoms): where each lattice translation of the primitive cell takes the atoms.
    """

    basis: FCBasisSetBase
    order: int
    translations: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        supercell: PhonopyAtoms,
        translations: NDArray[np.int64],
        order: int,
        cutoff: float | None = None,
        *,
        symprec: float = 1e-5,
    ) -> OrderBasis:
        """Compute the basis of a supercell; pair distances up to ``cutoff`` Å where one is given.

        ``symprec`` is the distance tolerance of its symmetry, Å.

        Raises
        ------
        StructureError
            Symmetry, or the cutoff, leaves no force constant of this order.
        """
        from symfc import Symfc
        from symfc.utils.utils import SymfcAtoms

        cell = SymfcAtoms(cell=supercell.cell, scaled_positions=supercell.scaled_positions, numbers=supercell.numbers)
        symfc = Symfc(cell, cutoff=None if cutoff is None else {order: cutoff}, log_level=0, symprec=symprec)
        try:
            symfc.compute_basis_set(orders=[order])
        except (AssertionError, ValueError) as error:
            raise StructureError(
                f"symfc finds no force constant of order {order} in the supercell of {len(supercell)} atoms"
                f"{'' if cutoff is None else f' within {cutoff} Å'}. Take a larger supercell (renormalise.dim)."
            ) from error
        return cls(symfc.basis_set[order], order, np.asarray(translations))

    @property
    def n_parameters(self) -> int:
        """Free parameters."""
        return int(self.basis.blocked_basis_set.shape[1])

    def design(self, displacements: NDArray[np.float64]) -> NDArray[np.float64]:
        """Write the forces of this order as a matrix on the parameters.

        Parameters
        ----------
        displacements : ndarray
            float64 (n_samples, n_atoms, 3), Å.

        Returns
        -------
        ndarray
            float64 (n_samples, 3 n_atoms, n_parameters).
        """
        return self.linear.matrix(displacements)

    @cached_property
    def linear(self) -> Design:
        """The forces of displaced supercells as linear functions of the parameters."""
        return Design.of(self.basis, self.order)

    def parameters_of(self, fc2: NDArray[np.float64]) -> NDArray[np.float64]:
        """Find the parameters of second-order force constants that have every symmetry of the basis.

        Parameters
        ----------
        fc2 : ndarray
            float64 (n_atoms, n_atoms, 3, 3), eV/Å².

        Returns
        -------
        ndarray
            float64 (n_parameters,).
        """
        matrix = self._dense
        wanted = fc2[np.asarray(self.basis.p2s_map)].reshape(-1)
        return np.asarray(np.linalg.solve(matrix.T @ matrix, matrix.T @ wanted))

    @cached_property
    def _dense(self) -> NDArray[np.float64]:
        """Compact force constants of each parameter, (n_components, n_parameters)."""
        spread = self.basis.blocked_basis_set @ np.eye(self.n_parameters)
        return np.asarray(self.basis.compact_compression_matrix @ spread)

    def expand(self, parameters: NDArray[np.float64], atoms: NDArray[np.int64]) -> NDArray[np.float64]:
        """Force constants whose first atom is one of ``atoms``.

        Parameters
        ----------
        parameters : ndarray
            float64 (n_parameters,).
        atoms : ndarray
            int64 (n_rows,).

        Returns
        -------
        ndarray
            float64 (n_rows, n_atoms, 3, 3) eV/Å² or (n_rows, n_atoms, n_atoms, 3, 3, 3) eV/Å³.
        """
        n_atoms = self.translations.shape[1]
        rows = np.asarray(self.basis.p2s_map)
        dense = np.asarray(self.basis.compact_compression_matrix @ (self.basis.blocked_basis_set @ parameters))
        compact = dense.reshape(len(rows), *[n_atoms] * (self.order - 1), *[3] * self.order)
        row_of = {int(atom): row for row, atom in enumerate(rows)}
        result = np.empty((len(atoms), *compact.shape[1:]))
        for place, atom in enumerate(atoms):
            moved = next(moved for moved in self.translations if int(moved[atom]) in row_of)
            source = compact[row_of[int(moved[atom])]]
            result[place] = source[moved] if self.order == 2 else source[np.ix_(moved, moved)]
        return result


@dataclass(frozen=True, eq=False)
class LinearFit:
    """Parameters and how well the samples fix them.

    Parameters
    ----------
    parameters : ndarray
        float64 (n_parameters,).
    replicas : ndarray
        float64 (n_groups, n_parameters): fits without each group of samples in turn.
    """

    parameters: NDArray[np.float64]
    replicas: NDArray[np.float64]

    def standard_errors(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Estimate standard errors of what each replica gives, float64 (n_groups, …), by the jackknife."""
        n_groups = len(values)
        return np.asarray(np.sqrt((n_groups - 1) * values.var(axis=0)))


def fit_with_replicas(
    designs: NDArray[np.float64], forces: NDArray[np.float64], weights: NDArray[np.float64], n_groups: int
) -> LinearFit:
    """Fit second-order parameters, and again without each group of samples.

    Parameters
    ----------
    designs : ndarray
        float64 (n_samples, 3 n_atoms, n_parameters).
    forces : ndarray
        float64 (n_samples, 3 n_atoms), eV/Å: the odd part.
    weights : ndarray
        float64 (n_samples,), of sum 1.
    n_groups : int
        Groups of the jackknife; sample s belongs to group s modulo this.

    Raises
    ------
    UnderdeterminedFitError
        The samples do not determine the parameters.
    """
    n_parameters = designs.shape[2]
    group_of = np.arange(len(designs)) % n_groups
    matrices = np.zeros((n_groups, n_parameters, n_parameters))
    vectors = np.zeros((n_groups, n_parameters))
    for group in range(n_groups):
        chosen = group_of == group
        scaled = designs[chosen] * np.sqrt(weights[chosen])[:, None, None]
        flat = scaled.reshape(-1, n_parameters)
        matrices[group] = flat.T @ flat
        vectors[group] = flat.T @ (forces[chosen] * np.sqrt(weights[chosen])[:, None]).reshape(-1)
    matrix, vector = matrices.sum(axis=0), vectors.sum(axis=0)
    parameters = _solve(matrix, vector, 2)
    replicas = [_solve(matrix - matrices[group], vector - vectors[group], 2) for group in range(n_groups)]
    return LinearFit(parameters, np.array(replicas))


@dataclass(frozen=True, eq=False)
class EvenFit:
    """Third-order parameters.

    Parameters
    ----------
    parameters : ndarray
        float64 (n_parameters,).
    relative_error : float
        Standard error of the parameters, as a share of their norm, from the scatter between the samples (of higher
        orders of the potential, which is no white noise).
    residual : float
        ‖F − F_fit‖/‖F‖ of the even part, its mean taken off.
    """

    parameters: NDArray[np.float64]
    relative_error: float
    residual: float


def fit_even_part(
    basis: OrderBasis,
    displacements: NDArray[np.float64],
    forces: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> EvenFit:
    """Fit third-order parameters to the even part of the force, means taken off.

    Their error is that of H. White, Econometrica 48, 817 (1980), doi:10.2307/1912934.

    Parameters
    ----------
    basis : OrderBasis
        Of order 3.
    displacements : ndarray
        float64 (n_samples, n_atoms, 3), Å: one of each pair.
    forces : ndarray
        float64 (n_samples, n_atoms, 3), eV/Å: [F(u) + F(−u)]/2.
    weights : ndarray
        float64 (n_samples,), of sum 1.

    Raises
    ------
    UnderdeterminedFitError
        The samples do not determine the parameters.
    """
    n_samples, n_atoms = displacements.shape[:2]
    flat = forces.reshape(n_samples, -1)
    flat = flat - weights @ flat
    size = basis.n_parameters
    chunks = [slice(start, start + _PAIRS_AT_ONCE) for start in range(0, n_samples, _PAIRS_AT_ONCE)]
    matrix, vector = np.zeros((size, size), order="F"), np.zeros(size)
    mean = np.zeros((3 * n_atoms, size))
    for rows in chunks:
        design = basis.design(displacements[rows])
        mean += np.einsum("s,scp->cp", weights[rows], design)
        design *= np.sqrt(weights[rows])[:, None, None]
        scaled = design.reshape(-1, size)
        matrix = dsyrk(1.0, scaled.T, beta=1.0, c=matrix, lower=1, overwrite_c=1)
        vector += scaled.T @ (flat[rows] * np.sqrt(weights[rows])[:, None]).reshape(-1)
    # of the weighted samples about their mean, that of the forces is zero; the lower triangle, as Cholesky's
    matrix = dsyrk(-1.0, mean.T, beta=1.0, c=matrix, lower=1, overwrite_c=1)
    parameters = _solve(matrix, vector, 3)
    total = float(weights @ (flat**2).sum(axis=1))
    left = max(total - float(parameters @ vector), 0.0)
    residuals, pulls = basis.linear.pulls(displacements, flat + mean @ parameters, parameters)
    moved = cho_solve(cho_factor(matrix, lower=True), (weights[:, None] * (pulls - residuals @ mean)).T)
    equations = 3 * n_atoms * (1 / float((weights**2).sum()) - 1)
    inflation = equations / max(equations - size, 1.0)
    norm = float(np.linalg.norm(parameters)) or 1.0
    error = float(np.sqrt(inflation) * np.linalg.norm(moved)) / norm
    return EvenFit(parameters, error, float(np.sqrt(left / total)) if total else 0.0)


def _solve(matrix: NDArray[np.float64], vector: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """Solve normal equations, refusing those that leave parameters open."""
    scale = np.sqrt(np.maximum(np.diag(matrix), np.finfo(float).tiny))
    try:
        factor = cho_factor(matrix / (scale[:, None] * scale), lower=True)
        smallest = float(np.abs(np.diag(factor[0])).min())
    except LinAlgError:
        smallest = 0.0
    if smallest < 1e-6:
        raise UnderdeterminedFitError(
            f"the samples do not determine the {len(vector)} free parameters of fc{order}. Raise "
            "renormalise.n_pairs or renormalise.max_supercells."
        )
    return np.asarray(cho_solve(factor, vector / scale) / scale)
