"""Differentiate phonopy's dynamical matrix with respect to q, analytically, for every NAC method.

Without NAC (Wallace phases, r from atom to atom)::

    D[iα, jβ](q) = Σ_k Φ[iα, kβ] <exp(2πi q·r_ik)> / sqrt(m_i m_j)      k over the images of j
    ∂D/∂q_γ      = the same with <2πi r_ik,γ exp(2πi q·r_ik)>

where <> averages the equivalent shortest vectors. Wang's correction adds a q-dependent constant to Φ,
Gonze and Lee's an Ewald sum over reciprocal vectors whose derivative is taken term by term. phonopy before
4.1 differentiates the latter by finite differences, hence this module.

q_cart is in 1/Å without 2π, so ∂D/∂q_cart carries the unit of D times Å/(2π) times 2π: velocities made from
it come out in Å·THz when frequencies are ordinary THz, phonopy's convention.

References
----------
X. Gonze and C. Lee, Phys. Rev. B 55, 10355 (1997), Eq. 71-76, doi:10.1103/PhysRevB.55.10355
Y. Wang et al., J. Phys.: Condens. Matter 22, 202201 (2010), doi:10.1088/0953-8984/22/20/202201
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from phonopy.harmonic.dynamical_matrix import DynamicalMatrix
    from phonopy.structure.cells import Primitive

GAMMA_TOLERANCE = 1e-5
"""|q| in 1/Å below which a q point is Gamma and the direction-dependent NAC terms are left out."""


class _Neighbours(NamedTuple):
    """Flattened shortest vectors, grouped by (atom i, supercell atom k)."""

    vectors: NDArray[np.float64]  # (n_vectors, 3), fractional, primitive basis
    vectors_cart: NDArray[np.float64]  # (n_vectors, 3), Å
    starts: NDArray[np.int64]  # (n_atoms * n_satoms,)
    counts: NDArray[np.float64]  # (n_atoms * n_satoms,)


class DynamicalMatrixDerivative:
    """Evaluate D and ∂D/∂q of a phonopy dynamical matrix at one q point.

    Parameters
    ----------
    dynamical_matrix : phonopy.harmonic.dynamical_matrix.DynamicalMatrix
        Plain, Wang or Gonze-Lee instance, with full or compact force constants.
    """

    def __init__(self, dynamical_matrix: DynamicalMatrix) -> None:
        self._dm = dynamical_matrix
        primitive = dynamical_matrix.primitive
        self._cell: NDArray[np.float64] = np.asarray(primitive.cell)
        self._reciprocal: NDArray[np.float64] = np.asarray(np.linalg.inv(self._cell))  # columns, 1/Å
        self._n_atoms = len(primitive)
        masses = getattr(dynamical_matrix, "normalization_masses", primitive.masses)
        self._inv_sqrt_m: NDArray[np.float64] = np.asarray(
            np.sqrt(1 / np.asarray(masses, dtype=np.float64)), dtype=np.float64
        )
        self._method = getattr(dynamical_matrix, "nac_method", None)
        if self._method == "gonze":
            if getattr(dynamical_matrix, "short_range_force_constants", None) is None:
                dynamical_matrix.make_Gonze_nac_dataset()
            fc, at_gamma, _, self._g_list, self._lambda = dynamical_matrix.Gonze_nac_dataset
            self._dipole_at_gamma = self._mass_weighted_blocks(np.asarray(at_gamma))
        else:
            fc = dynamical_matrix.force_constants
        self._set_force_constants(np.asarray(fc), primitive)

    def _mass_weighted_blocks(self, blocks: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Place the q = 0 sum of each atom on the block diagonal: the acoustic sum rule of the dipoles."""
        n = self._n_atoms
        full = np.zeros((n, 3, n, 3), dtype=np.complex128)
        index = np.arange(n)
        full[index, :, index, :] = blocks * (self._dm.nac_factor * self._inv_sqrt_m**2)[:, None, None]
        return full.reshape(3 * n, 3 * n)

    def _set_force_constants(self, fc: NDArray[np.float64], primitive: Primitive) -> None:
        """Order supercell atoms by their primitive atom so that the image sum is one matrix product."""
        p2s = np.asarray(primitive.p2s_map)
        s2p = np.asarray(primitive.s2p_map)
        rows = p2s if fc.shape[0] == fc.shape[1] else np.arange(self._n_atoms)
        images = np.array([np.flatnonzero(s2p == s) for s in p2s])  # (n_atoms, n_cells)
        self._n_cells = images.shape[1]
        # fc arranged as (i, j, cell, alpha * beta), mass weighted
        arranged = fc[rows][:, images.ravel()].reshape(self._n_atoms, self._n_atoms, self._n_cells, 9)
        weight = np.outer(self._inv_sqrt_m, self._inv_sqrt_m)
        self._fc = np.ascontiguousarray(arranged * weight[:, :, None, None])
        vectors, multiplicity = _dense_vectors(primitive)
        counts = multiplicity[images.ravel()][:, :, 0].T.ravel()
        begins = multiplicity[images.ravel()][:, :, 1].T.ravel()
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        take = np.repeat(begins - starts, counts) + np.arange(counts.sum())
        chosen = vectors[take]
        self._neighbours = _Neighbours(chosen, chosen @ self._cell, starts, counts.astype(np.float64))

    def run(self, q: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return the three Cartesian derivatives at q.

        Parameters
        ----------
        q : NDArray[np.float64], shape (3,)
            Fractional coordinates in the reciprocal basis of the primitive cell, without 2π.

        Returns
        -------
        NDArray[np.complex128], shape (3, 3 * n_atoms, 3 * n_atoms)
            Hermitian ∂D/∂q_α, α = x, y, z; q_cart in 1/Å without 2π.
        """
        return self._evaluate(np.asarray(q, dtype=np.float64))[1:]

    def run_with_matrix(self, q: NDArray[np.float64]) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """Return D itself, (n_bands, n_bands), and its derivatives, (3, n_bands, n_bands), at q.

        One pass over the phases serves both; D equals phonopy's.
        """
        both = self._evaluate(np.asarray(q, dtype=np.float64))
        return both[0], both[1:]

    def _evaluate(self, q: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return D and ∂D/∂q, stacked: shape (4, n_bands, n_bands)."""
        q_cart = self._reciprocal @ q
        at_gamma = bool(np.linalg.norm(q_cart) < GAMMA_TOLERANCE)
        n = self._n_atoms
        phases = self._phases(q).reshape(4, n, n, self._n_cells)
        fc = self._fc
        wang = self._method == "wang" and not at_gamma
        if wang:
            charge, d_charge = self._wang_terms(q_cart)
            fc = fc + charge[:, :, None, :]
        # real and imaginary parts of the four phases, (i, j, 8, cell) @ (i, j, cell, 9)
        parts = np.concatenate([phases.real, phases.imag]).transpose(1, 2, 0, 3)
        product = np.matmul(parts, fc).transpose(2, 0, 1, 3)
        result = product[:4] + 1j * product[4:]
        if wang:
            result[1:] += d_charge * phases[0].sum(axis=2)[None, :, :, None]
        result = result.reshape(4, n, n, 3, 3).transpose(0, 1, 3, 2, 4).reshape(4, 3 * n, 3 * n)
        if self._method == "gonze":
            result = result + self._gonze_terms(q_cart)
        return np.asarray((result + result.conj().transpose(0, 2, 1)) / 2)

    def _phases(self, q: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return mean exp(2πi q·r) and mean 2πi r exp(2πi q·r), shape (4, n_atoms * n_satoms)."""
        near = self._neighbours
        phase = np.exp(2j * np.pi * (near.vectors @ q))
        stacked = np.empty((4, len(phase)), dtype=np.complex128)
        stacked[0] = phase
        stacked[1:] = 2j * np.pi * near.vectors_cart.T * phase
        return np.asarray(np.add.reduceat(stacked, near.starts, axis=1) / near.counts)

    def _wang_terms(self, q_cart: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return Wang's force-constant correction (n, n, 9) and its derivative (3, n, n, 9)."""
        born = np.asarray(self._dm.born)
        dielectric = np.asarray(self._dm.dielectric_constant)
        a = np.einsum("a,iab->ib", q_cart, born)
        b = q_cart @ dielectric @ q_cart
        d_b = 2 * dielectric @ q_cart
        weight = self._dm.nac_factor / self._n_cells * np.outer(self._inv_sqrt_m, self._inv_sqrt_m)
        n = self._n_atoms
        value = np.einsum("ia,jb->ijab", a, a) / b
        cross = np.einsum("ica,jb->cijab", born, a)
        d_value = (cross + np.einsum("ia,jcb->cijab", a, born)) / b
        d_value -= value[None] * d_b[:, None, None, None, None] / b
        return (
            np.asarray((value * weight[:, :, None, None]).reshape(n, n, 9)),
            np.asarray((d_value * weight[None, :, :, None, None]).reshape(3, n, n, 9)),
        )

    def _gonze_terms(self, q_cart: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return the reciprocal dipole-dipole sum and its derivatives; (4, 3n, 3n), mass weighted."""
        born = np.asarray(self._dm.born)  # (n, beta, alpha)
        dielectric = np.asarray(self._dm.dielectric_constant)
        total = self._g_list + q_cart
        keep = np.linalg.norm(total, axis=1) > GAMMA_TOLERANCE
        g, total = self._g_list[keep], total[keep]
        v = total @ dielectric
        b = np.einsum("ga,ga->g", v, total)
        damping = np.exp(-b / (4 * self._lambda**2))
        slope = v * (2 / b**2 + 1 / (2 * self._lambda**2 * b))[:, None]
        positions = np.asarray(self._dm.primitive.positions)
        phase = np.exp(2j * np.pi * (g @ positions.T)) * self._inv_sqrt_m  # (g, n)
        n3 = 3 * self._n_atoms
        dipole = (np.einsum("gc,ica->gia", total, born) * phase[:, :, None]).reshape(-1, n3)
        right = (dipole * (self._dm.nac_factor * damping)[:, None]).conj()
        result = np.empty((4, n3, n3), dtype=np.complex128)
        result[0] = (dipole / b[:, None]).T @ right - self._dipole_at_gamma
        for axis in range(3):
            bare = (born[None, :, axis, :] * phase[:, :, None]).reshape(-1, n3)
            half = (bare / b[:, None] - dipole * (slope[:, axis] / 2)[:, None]).T @ right
            result[axis + 1] = half + half.conj().T
        return result


def _dense_vectors(primitive: Primitive) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return phonopy's shortest vectors (n, 3) and their (count, first index) per atom pair."""
    vectors, multiplicity = primitive.get_smallest_vectors()
    if not primitive.store_dense_svecs:
        from phonopy.structure.cells import sparse_to_dense_svecs

        vectors, multiplicity = sparse_to_dense_svecs(vectors, multiplicity)
    return np.asarray(vectors), np.asarray(multiplicity)
