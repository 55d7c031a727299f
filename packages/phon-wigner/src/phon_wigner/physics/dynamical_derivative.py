"""Differentiate the dynamical matrix with respect to q, analytically, for every NAC method.

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

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

GAMMA_TOLERANCE = 1e-5
"""|q| in 1/Å below which a q point is Gamma and the direction-dependent NAC terms are left out."""


@dataclass(frozen=True)
class Springs:
    """The short-range part of a dynamical matrix: force constants and the vectors between atoms.

    Attributes
    ----------
    cell : NDArray[np.float64], shape (3, 3), Å
        Lattice vectors of the primitive cell as rows.
    inverse_sqrt_masses : NDArray[np.float64], shape (n_atoms,), u^(-1/2)
    force_constants : NDArray[np.float64], shape (n_atoms, n_atoms, n_cells, 9), eV/(Å² u)
        Mass weighted; the supercell atoms are ordered by their primitive atom, then by cell.
    vectors : NDArray[np.float64], shape (n_vectors, 3)
        Shortest vectors from atom i to the supercell atoms, fractional, grouped by pair.
    starts : NDArray[np.int64], shape (n_atoms * n_atoms * n_cells,)
        First vector of each pair.
    counts : NDArray[np.float64], shape (n_atoms * n_atoms * n_cells,)
        Number of equivalent shortest vectors of each pair.
    """

    cell: NDArray[np.float64]
    inverse_sqrt_masses: NDArray[np.float64]
    force_constants: NDArray[np.float64]
    vectors: NDArray[np.float64]
    starts: NDArray[np.int64]
    counts: NDArray[np.float64]

    @property
    def n_cells(self) -> int:
        """Number of primitive cells in the supercell."""
        return int(self.force_constants.shape[2])


@dataclass(frozen=True)
class Charges:
    """The non-analytical part of a dynamical matrix.

    Attributes
    ----------
    method : {"wang", "gonze"}
    born : NDArray[np.float64], shape (n_atoms, 3, 3), e
    dielectric : NDArray[np.float64], shape (3, 3)
    factor : float, eV/Å²
        4π e²/(4πε₀ V).
    positions : NDArray[np.float64], shape (n_atoms, 3), Å
        For "gonze", as all below.
    reciprocal_vectors : NDArray[np.float64], shape (n_vectors, 3), 1/Å
        Of the Ewald sum, without 2π.
    width : float, 1/Å
        Λ of the damping.
    at_gamma : NDArray[np.complex128], shape (n_atoms, 3, 3)
        Sum at q = 0, subtracted from the diagonal blocks: the acoustic sum rule of the dipoles.
    """

    method: Literal["wang", "gonze"]
    born: NDArray[np.float64]
    dielectric: NDArray[np.float64]
    factor: float
    positions: NDArray[np.float64]
    reciprocal_vectors: NDArray[np.float64]
    width: float
    at_gamma: NDArray[np.complex128]


class DynamicalMatrixDerivative:
    """Evaluate D and ∂D/∂q at one q point.

    Parameters
    ----------
    springs : Springs
    charges : Charges, optional
    """

    def __init__(self, springs: Springs, charges: Charges | None = None) -> None:
        self._springs = springs
        self._charges = charges
        self._reciprocal: NDArray[np.float64] = np.asarray(np.linalg.inv(springs.cell))  # columns, 1/Å
        self._n_atoms = len(springs.inverse_sqrt_masses)
        self._vectors_cart = springs.vectors @ springs.cell
        if charges is not None and charges.method == "gonze":
            self._dipole_at_gamma = self._mass_weighted_blocks(charges)

    def _mass_weighted_blocks(self, charges: Charges) -> NDArray[np.complex128]:
        """Place the q = 0 sum of each atom on the block diagonal."""
        n = self._n_atoms
        full = np.zeros((n, 3, n, 3), dtype=np.complex128)
        index = np.arange(n)
        weight = charges.factor * self._springs.inverse_sqrt_masses**2
        full[index, :, index, :] = charges.at_gamma * weight[:, None, None]
        return full.reshape(3 * n, 3 * n)

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
        n, springs, charges = self._n_atoms, self._springs, self._charges
        phases = self._phases(q).reshape(4, n, n, springs.n_cells)
        fc = springs.force_constants
        wang = charges is not None and charges.method == "wang" and not at_gamma
        if charges is not None and wang:
            charge, d_charge = self._wang_terms(charges, q_cart)
            fc = fc + charge[:, :, None, :]
        # real and imaginary parts of the four phases, (i, j, 8, cell) @ (i, j, cell, 9)
        parts = np.concatenate([phases.real, phases.imag]).transpose(1, 2, 0, 3)
        product = np.matmul(parts, fc).transpose(2, 0, 1, 3)
        result = product[:4] + 1j * product[4:]
        if wang:
            result[1:] += d_charge * phases[0].sum(axis=2)[None, :, :, None]
        result = result.reshape(4, n, n, 3, 3).transpose(0, 1, 3, 2, 4).reshape(4, 3 * n, 3 * n)
        if charges is not None and charges.method == "gonze":
            result = result + self._gonze_terms(charges, q_cart)
        return np.asarray((result + result.conj().transpose(0, 2, 1)) / 2)

    def _phases(self, q: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return mean exp(2πi q·r) and mean 2πi r exp(2πi q·r), shape (4, n_atoms * n_satoms)."""
        near = self._springs
        phase = np.exp(2j * np.pi * (near.vectors @ q))
        stacked = np.empty((4, len(phase)), dtype=np.complex128)
        stacked[0] = phase
        stacked[1:] = 2j * np.pi * self._vectors_cart.T * phase
        return np.asarray(np.add.reduceat(stacked, near.starts, axis=1) / near.counts)

    def _wang_terms(
        self, charges: Charges, q_cart: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return Wang's force-constant correction (n, n, 9) and its derivative (3, n, n, 9)."""
        born, dielectric, masses = charges.born, charges.dielectric, self._springs.inverse_sqrt_masses
        a = np.einsum("a,iab->ib", q_cart, born)
        b = q_cart @ dielectric @ q_cart
        d_b = 2 * dielectric @ q_cart
        weight = charges.factor / self._springs.n_cells * np.outer(masses, masses)
        n = self._n_atoms
        value = np.einsum("ia,jb->ijab", a, a) / b
        cross = np.einsum("ica,jb->cijab", born, a)
        d_value = (cross + np.einsum("ia,jcb->cijab", a, born)) / b
        d_value -= value[None] * d_b[:, None, None, None, None] / b
        return (
            np.asarray((value * weight[:, :, None, None]).reshape(n, n, 9)),
            np.asarray((d_value * weight[None, :, :, None, None]).reshape(3, n, n, 9)),
        )

    def _gonze_terms(self, charges: Charges, q_cart: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return the reciprocal dipole-dipole sum and its derivatives; (4, 3n, 3n), mass weighted."""
        born, dielectric = charges.born, charges.dielectric
        total = charges.reciprocal_vectors + q_cart
        keep = np.linalg.norm(total, axis=1) > GAMMA_TOLERANCE
        g, total = charges.reciprocal_vectors[keep], total[keep]
        v = total @ dielectric
        b = np.einsum("ga,ga->g", v, total)
        damping = np.exp(-b / (4 * charges.width**2))
        slope = v * (2 / b**2 + 1 / (2 * charges.width**2 * b))[:, None]
        phase = np.exp(2j * np.pi * (g @ charges.positions.T)) * self._springs.inverse_sqrt_masses  # (g, n)
        n3 = 3 * self._n_atoms
        dipole = (np.einsum("gc,ica->gia", total, born) * phase[:, :, None]).reshape(-1, n3)
        right = (dipole * (charges.factor * damping)[:, None]).conj()
        result = np.empty((4, n3, n3), dtype=np.complex128)
        result[0] = (dipole / b[:, None]).T @ right - self._dipole_at_gamma
        for axis in range(3):
            bare = (born[None, :, axis, :] * phase[:, :, None]).reshape(-1, n3)
            half = (bare / b[:, None] - dipole * (slope[:, axis] / 2)[:, None]).T @ right
            result[axis + 1] = half + half.conj().T
        return result
