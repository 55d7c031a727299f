r"""Crystal orbital Hamilton populations (COHP) of bonds from matrices in a basis of local orbitals.

With states :math:`\psi_{nk} = \sum_\mu c_{\mu nk} \chi_{\mu k}` of occupation :math:`f_{nk}` (2 for a full one, spins
alike), the bond of atom i in cell 0 with atom j in cell R has

.. math:: \mathrm{COHP}(E) = 2 \sum_{nk} w_k f_{nk} \, \delta(E - \varepsilon_{nk}) \,
          \mathrm{Re} \sum_{\mu \in i, \nu \in j} c^*_{\mu nk} (H - E_0 S)_{\mu\nu}(R) \, c_{\nu nk} e^{ikR}

where the 2 counts ij and ji, as LOBSTER does, and H(R) is the Fourier sum of H(k) over the mesh. In a basis that is not
orthogonal the value depends on the energy zero E₀: it is the Fermi level of a metal, and in an insulator the top of
its valence band. Negative is bonding; the sum over all bonds and atoms is :math:`\sum f (\varepsilon - E_0)`.

The states are projected on the orbitals marked as kept (those that free atoms fill) before: in a larger basis diffuse
functions sit on every neighbour, and populations follow the basis instead of the bond. The projection is
:math:`c' = S_{kk}^{-1} S_{k\cdot} c`, and what it loses of the electrons of a band is its spilling.

References
----------
R. Dronskowski, P. E. Blöchl, J. Phys. Chem. 97, 8617 (1993), doi:10.1021/j100135a014;
V. L. Deringer, A. L. Tchougréeff, R. Dronskowski, J. Phys. Chem. A 115, 5461 (2011), doi:10.1021/jp202489s
(projection).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from screen_cli.physics.bonding import integrate_bonding
from screen_cli.physics.bonds import Bonds

BROADENING = 0.1
"""Standard deviation (eV) of the Gaussian that stands for δ: bonding and antibonding states closer than that cancel."""
SMEARING = 0.1
"""Width of the Fermi-Dirac distribution of a metal, eV."""
LEAST_GAP = 0.05
"""Gap (eV) from which on bands are filled whole."""
_FEW = 0.2  # electrons in a band whose spilling counts
_STEP = 0.02
_TAIL = 6.0


@dataclass(frozen=True, eq=False)
class LocalMatrices:
    """Hamiltonian and overlap in Bloch sums of local orbitals, which must be real.

    Parameters
    ----------
    hamiltonians, overlaps : ndarray
        complex128 (n_kpoints, n_orbitals, n_orbitals), eV and no unit; Σ_R H(R) exp(ikR).
    kpoints : ndarray
        float64 (n_kpoints, 3), in units of the reciprocal cell; of k and −k one is enough.
    weights : ndarray
        float64 (n_kpoints,), sum 1.
    atoms : ndarray
        int64 (n_orbitals,): the atom of each orbital.
    kept : ndarray
        bool (n_orbitals,): the orbitals that states are projected on.
    n_electrons : float
        Per cell.
    """

    hamiltonians: NDArray[np.complex128]
    overlaps: NDArray[np.complex128]
    kpoints: NDArray[np.float64]
    weights: NDArray[np.float64]
    atoms: NDArray[np.int64]
    kept: NDArray[np.bool_]
    n_electrons: float


@dataclass(frozen=True, eq=False)
class Filling:
    """How electrons fill the bands.

    Parameters
    ----------
    occupations : ndarray
        float64 (n_kpoints, n_bands), 0 to 2.
    zero : float
        Fermi level of a metal, top of the valence band of an insulator, eV.
    gap : float
        eV; 0 of a metal, infinite where no band is empty.
    """

    occupations: NDArray[np.float64]
    zero: float
    gap: float


@dataclass(frozen=True, eq=False)
class BondPopulations:
    """Integrals of the COHP of bonds over the occupied states.

    Parameters
    ----------
    icohp, bonding, antibonding : ndarray
        float64 (n_bonds,), eV: the whole integral, negative is bonding, and its two parts, both positive.
    filling : Filling
    spilling : float
        Share of the electrons of a band that the projection loses, largest over the bands.
    """

    icohp: NDArray[np.float64]
    bonding: NDArray[np.float64]
    antibonding: NDArray[np.float64]
    filling: Filling
    spilling: float


def fill_bands(
    energies: NDArray[np.float64], weights: NDArray[np.float64], n_electrons: float, smearing: float = SMEARING
) -> Filling:
    """Fill bands with electrons, two to a state: whole bands where they leave a gap, by Fermi-Dirac elsewhere.

    Parameters
    ----------
    energies : ndarray
        float64 (n_kpoints, n_bands), eV, rising.
    weights : ndarray
        float64 (n_kpoints,), sum 1.
    n_electrons, smearing : float
        Per cell; eV.

    Raises
    ------
    ValueError
        There are no electrons, or more than the bands hold.
    """
    n_bands = energies.shape[1]
    if not 0 < n_electrons <= 2 * n_bands:
        raise ValueError(f"{n_electrons:g} electrons do not fit in {n_bands} bands")
    n_full = round(n_electrons / 2)
    if abs(n_electrons - 2 * n_full) < 1e-6:
        top = float(energies[:, :n_full].max())
        gap = float(energies[:, n_full:].min()) - top if n_full < n_bands else np.inf
        if gap > LEAST_GAP:
            return Filling(np.where(np.arange(n_bands) < n_full, 2.0, 0.0) + 0 * energies, top, float(gap))
    low, high = float(energies.min()) - 50 * smearing, float(energies.max()) + 50 * smearing
    for _ in range(100):
        level = (low + high) / 2
        occupations = 1 - np.tanh((energies - level) / (2 * smearing))
        if float(weights @ occupations.sum(axis=1)) > n_electrons:
            high = level
        else:
            low = level
    return Filling(occupations, level, 0.0)


def bond_populations(matrices: LocalMatrices, bonds: Bonds, broadening: float = BROADENING) -> BondPopulations:
    """Integrate the COHP of each bond over the occupied states.

    Parameters
    ----------
    matrices : LocalMatrices
    bonds : Bonds
        Within the crystal that the mesh stands for: as many cells along each axis as it has points.
    broadening : float
        eV.

    Raises
    ------
    ValueError
        Orbitals depend on one another, or the electrons do not fit.
    """
    try:
        energies, states = _diagonalise(matrices)
    except np.linalg.LinAlgError as error:
        raise ValueError(f"the orbitals of the basis depend on one another: {error}") from error
    filling = fill_bands(energies, matrices.weights, matrices.n_electrons)
    share = matrices.weights[:, None] * filling.occupations
    occupied = share.max(axis=0) > 1e-10
    share, energies = share[:, occupied], energies[:, occupied] - filling.zero
    coefficients, spilling = _project(matrices, states[:, :, occupied], share)
    found = np.array([
        _integrals(energies, share * values, broadening)
        for values in _bond_values(matrices, bonds, coefficients, filling.zero)
    ]).reshape(-1, 3)  # fmt: skip
    return BondPopulations(found[:, 0], found[:, 1], found[:, 2], filling, spilling)


def _diagonalise(matrices: LocalMatrices) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
    """Energies, (n_kpoints, n_bands), and coefficients, (n_kpoints, n_orbitals, n_bands), of H c = ε S c."""
    inverse = np.linalg.inv(np.linalg.cholesky(matrices.overlaps))
    adjoint = inverse.conj().swapaxes(1, 2)
    energies, vectors = np.linalg.eigh(inverse @ matrices.hamiltonians @ adjoint)
    return energies, adjoint @ vectors


def _project(
    matrices: LocalMatrices, states: NDArray[np.complex128], share: NDArray[np.float64]
) -> tuple[NDArray[np.complex128], float]:
    """Coefficients on the kept orbitals, (n_kpoints, n_kept, n_bands), and the spilling."""
    inner = matrices.overlaps[:, matrices.kept] @ states
    coefficients: NDArray[np.complex128] = np.linalg.solve(
        matrices.overlaps[:, matrices.kept][:, :, matrices.kept], inner
    ).astype(np.complex128, copy=False)
    norms = np.einsum("kmn,kmn->kn", coefficients.conj(), inner).real
    electrons = share.sum(axis=0)
    lost = 1 - (share * norms).sum(axis=0) / electrons
    return coefficients, float(lost[electrons >= min(_FEW, electrons.max())].max())


def _bond_values(
    matrices: LocalMatrices, bonds: Bonds, coefficients: NDArray[np.complex128], zero: float
) -> list[NDArray[np.float64]]:
    """Of each bond 2 Re Σ c* (H − E₀ S)(R) c exp(ikR), (n_kpoints, n_bands), eV."""
    atoms = matrices.atoms[matrices.kept]
    shifted = (matrices.hamiltonians - zero * matrices.overlaps)[:, matrices.kept][:, :, matrices.kept]
    found = []
    for (i, j), cell in zip(bonds.pairs, bonds.cells, strict=True):
        phases = np.exp(2j * np.pi * (matrices.kpoints @ cell))
        blocks = shifted[:, atoms == i][:, :, atoms == j]
        # H(R) of real orbitals is real: −k adds the complex conjugate of what k does
        block = np.einsum("k,kmn->mn", matrices.weights * phases.conj(), blocks).real
        left, right = coefficients[:, atoms == i].conj(), coefficients[:, atoms == j]
        found.append(2 * (phases[:, None] * (left * (block @ right)).sum(axis=1)).real)
    return found


def _integrals(
    energies: NDArray[np.float64], values: NDArray[np.float64], broadening: float
) -> tuple[float, float, float]:
    """ICOHP, bonding and antibonding of one bond from what each state gives, both (n_kpoints, n_bands), eV."""
    low = energies.min() - _TAIL * broadening - _STEP
    n_points = int((energies.max() + _TAIL * broadening + 2 * _STEP - low) / _STEP) + 2
    place = (energies.ravel() - low) / _STEP
    index = place.astype(np.int64)
    part = (place - index) * values.ravel()
    heights = np.bincount(index, values.ravel() - part, n_points) + np.bincount(index + 1, part, n_points)
    curve = gaussian_filter1d(heights / _STEP, broadening / _STEP, mode="constant", truncate=_TAIL)
    grid = _STEP * np.arange(1 - n_points, 1, dtype=np.float64)
    bonding, antibonding = integrate_bonding(grid, curve)
    return float(values.sum()), bonding, antibonding
