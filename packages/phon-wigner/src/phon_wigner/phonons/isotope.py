"""Mass-disorder linewidths through the local density of states, in a fraction of the usual time.

Tamura's rate of mode (q, s) sums overlaps with every mode of the mesh. The overlaps factorise: they enter only
through the local density tensor of each atom k at the mode's own frequency ν::

    γ_qs   = (π/4) ν² Σ_k g_k  e_k*(qs) · A_k(ν) · e_k(qs)
    A_k(ν) = (1/N) Σ_q's' w_q's'(ν) e_k(q's') ⊗ e_k*(q's')

w are the tetrahedron weights of δ(ν - ν'). A_k does not depend on q, so one sweep over the *irreducible* q'
serves all modes at once; the rest of the star is restored by rotating A_k and permuting atoms. Only the real part
matters then, because q and -q come together.

The weight of a linear tetrahedron jumps where ν meets corners of equal frequency, and on a symmetric mesh it always
does: ν itself is a corner. There the value hangs on the last bit of the frequencies; phono3py's own widths of single
modes move by a factor of two when its frequencies move by 1e-13 THz, while sums over modes hardly do.
:func:`isotope_linewidths` takes the mean of both sides of the jump, :data:`SIDE_STEP` apart from ν, and so has no such
accidents. :func:`isotope_linewidths_on_grid` takes phono3py's phonons as they are, and equals it on every mode.

References
----------
S. Tamura, Phys. Rev. B 27, 858 (1983), Eq. 2.8, doi:10.1103/PhysRevB.27.858
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from phon_wigner.errors import GridMismatchError
from phon_wigner.phonons.harmonic import HarmonicCrystal
from phon_wigner.phonons.linewidths import Linewidths
from phon_wigner.phonons.mass_variance import natural_mass_variances
from phon_wigner.physics.degeneracy import average_over_blocks, degenerate_blocks

if TYPE_CHECKING:
    from phonopy.phonon.grid import BZGrid
    from phonopy.structure.cells import Primitive

SIDE_STEP = 1e-6
"""Distance from a mode's frequency (THz) at which the two sides of a jump are evaluated."""

BATCH = 16
"""How many frequencies share one product of weights and overlaps."""


def isotope_linewidths(
    crystal: HarmonicCrystal,
    mesh: tuple[int, ...],
    qpoints: NDArray[np.float64],
    *,
    mass_variances: NDArray[np.float64] | None = None,
    irreducible: bool = True,
    symmetrize_tetrahedra: bool = False,
    average_degenerate: bool = False,
    cutoff_frequency: float = 1e-4,
    side_step: float = SIDE_STEP,
) -> NDArray[np.float64]:
    """Return the isotope half widths at given q points.

    Parameters
    ----------
    crystal : HarmonicCrystal
    mesh : tuple of int
        Three mesh numbers of the sum over q', or nine of a grid matrix.
    qpoints : NDArray[np.float64], shape (n_qpoints, 3)
        Where linewidths are wanted.
    mass_variances : NDArray[np.float64], shape (n_atoms,), optional
        Σ_i f_i (1 - m_i/m̄)² per atom of the primitive cell; default natural abundance.
    irreducible : bool
        Sweep one q' per star (fast). False sweeps the whole mesh: the 24 tetrahedra are cut along one diagonal and
        break the symmetry a little.
    symmetrize_tetrahedra : bool
        Average the weights over rotated tetrahedra (phono3py >= 4.8); then both sweeps agree to rounding.
    average_degenerate : bool
        Average over degenerate bands, of the mode and of q', so that nothing depends on the eigenvector basis.
    cutoff_frequency : float
        Modes below it (THz) do not scatter.
    side_step : float
        Weights are the mean of those at ν ± this (THz); 0 evaluates at ν itself.

    Returns
    -------
    NDArray[np.float64], shape (n_qpoints, n_bands), THz
        HWHM.
    """
    from phonopy.phonon.grid import get_ir_grid_points, get_qpoints_from_bz_grid_points

    primitive = crystal.dynamical_matrix.primitive
    if mass_variances is None:
        mass_variances = natural_mass_variances(primitive)
    grid = crystal.grid(mesh)
    ir, star_sizes, to_ir = get_ir_grid_points(grid)
    swept = np.asarray(ir if irreducible else np.arange(len(to_ir)), dtype=np.int64)
    swept_qpoints = [get_qpoints_from_bz_grid_points(grid.grg2bzg[g], grid) for g in swept]
    phonons = {int(g): crystal.phonons(q) for g, q in zip(swept, swept_qpoints, strict=True)}
    on_mesh = np.array([phonons[int(to_ir[g] if irreducible else g)][0] for g in range(len(to_ir))])
    sweep = _Sweep(grid, on_mesh[grid.bzg2grg], symmetrize_tetrahedra, average_degenerate, cutoff_frequency)
    known = {_key(point): phonons[int(g)] for g, point in zip(swept, swept_qpoints, strict=True)}
    modes = [known.get(_key(q)) or crystal.phonons(q) for q in qpoints]
    frequencies = np.array([m[0] for m in modes])
    # degenerate modes ask for the density at one and the same frequency
    points, where = np.unique(np.round(frequencies.ravel(), 9), return_inverse=True)
    weights = star_sizes if irreducible else np.ones(len(swept))
    corners = _Corners(grid.grg2bzg[swept], weights, np.array([phonons[int(g)][1] for g in swept]))
    density = sweep.local_density(points, corners, side_step).real
    if irreducible:
        density = _restore_star(density, primitive, crystal.symprec)
    tensors = density.reshape(len(points), -1, 3, 3)[where.reshape(frequencies.shape)]
    gamma = _contract(frequencies, [m[1] for m in modes], tensors, np.asarray(mass_variances))
    return average_over_blocks(gamma, degenerate_blocks(frequencies)) if average_degenerate else gamma


def isotope_linewidths_on_grid(
    frequencies: NDArray[np.float64],
    eigenvectors: NDArray[np.complex128],
    bz_grid: BZGrid,
    grid_points: NDArray[np.int64],
    mass_variances: NDArray[np.float64],
    *,
    symmetrize_tetrahedra: bool = False,
    average_degenerate: bool = False,
    cutoff_frequency: float = 0.0,
) -> NDArray[np.float64]:
    """Return the isotope half widths of phono3py's own phonons, mode by mode what its ``Isotope`` class gives.

    Parameters
    ----------
    frequencies : NDArray[np.float64], shape (n_bz_points, n_bands), THz
    eigenvectors : NDArray[np.complex128], shape (n_bz_points, n_bands, n_bands)
        On every point of ``bz_grid``; ``phono3py.get_phonon_data()`` or ``Isotope.phonons``.
    bz_grid : phonopy.phonon.grid.BZGrid
    grid_points : NDArray[np.int64], shape (n_qpoints,)
        Indices in ``bz_grid`` where linewidths are wanted.
    mass_variances : NDArray[np.float64], shape (n_atoms,)
    symmetrize_tetrahedra, average_degenerate, cutoff_frequency : bool, bool, float
        As in :func:`isotope_linewidths`; ``average_degenerate`` is phono3py's ``average_degenerate_weights``.

    Returns
    -------
    NDArray[np.float64], shape (n_qpoints, n_bands), THz
        HWHM.
    """
    sweep = _Sweep(bz_grid, frequencies, symmetrize_tetrahedra, average_degenerate, cutoff_frequency)
    wanted = frequencies[grid_points]
    points, where = np.unique(wanted.ravel(), return_inverse=True)
    regular = np.asarray(bz_grid.grg2bzg)
    density = sweep.local_density(points, _Corners(regular, np.ones(len(regular)), eigenvectors[regular]))
    tensors = density.reshape(len(points), -1, 3, 3)[where.reshape(wanted.shape)]
    if average_degenerate:  # of the weights at the mode, as phono3py does
        flat = tensors.reshape(*wanted.shape, -1)
        blocks = degenerate_blocks(wanted)
        parts = [average_over_blocks(np.moveaxis(part, 2, 0), blocks) for part in (flat.real, flat.imag)]
        tensors = np.moveaxis(parts[0] + 1j * parts[1], 0, 2).reshape(tensors.shape)
    gamma = _contract(wanted, list(eigenvectors[grid_points]), tensors, np.asarray(mass_variances))
    return average_over_blocks(gamma, degenerate_blocks(wanted)) if average_degenerate else gamma


def add_isotopes(
    crystal: HarmonicCrystal,
    linewidths: Linewidths,
    *,
    mass_variances: NDArray[np.float64] | None = None,
    symmetrize_tetrahedra: bool = False,
    average_degenerate: bool = False,
) -> Linewidths:
    """Return linewidths with natural (or given) isotope scattering added.

    Parameters
    ----------
    crystal : HarmonicCrystal
    linewidths : Linewidths
        With ``mesh`` known and no isotope part yet.
    mass_variances : NDArray[np.float64], shape (n_atoms,), optional
        As in :func:`isotope_linewidths`.
    symmetrize_tetrahedra, average_degenerate : bool
        As in :func:`isotope_linewidths`.

    Raises
    ------
    GridMismatchError
        The mesh is unknown, or an isotope part is already there.
    """
    if linewidths.mesh is None or len(linewidths.mesh) not in (3, 9):
        raise GridMismatchError(
            f"{linewidths.source} does not say its mesh (got {linewidths.mesh}, expected three numbers, or nine of a "
            "generalised grid); isotope scattering needs it. Set Linewidths.mesh."
        )
    if linewidths.gamma_isotope is not None and np.any(linewidths.gamma_isotope > 0):
        raise GridMismatchError(
            f"{linewidths.source} already holds isotope linewidths; adding isotopes would count them twice. Drop "
            "--isotope."
        )
    gamma = isotope_linewidths(
        crystal,
        linewidths.mesh,
        linewidths.qpoints,
        mass_variances=mass_variances,
        symmetrize_tetrahedra=symmetrize_tetrahedra,
        average_degenerate=average_degenerate,
    )
    return replace(linewidths, gamma_isotope=np.maximum(gamma, 0.0))


@dataclass(frozen=True)
class _Corners:
    """The points q' of a sum: indices in the grid (n_corners,), their weights, and eigenvectors as columns."""

    grid_points: NDArray[np.int64]
    weights: NDArray[np.int64] | NDArray[np.float64]
    eigenvectors: NDArray[np.complex128]


@dataclass(frozen=True)
class _Sweep:
    """The sum over q': a grid, its frequencies (n_bz_points, n_bands; THz) and how weights are taken."""

    grid: BZGrid
    frequencies: NDArray[np.float64]
    symmetrize_tetrahedra: bool
    average_degenerate: bool
    cutoff_frequency: float

    def local_density(
        self, points: NDArray[np.float64], corners: _Corners, side_step: float = 0.0
    ) -> NDArray[np.complex128]:
        """Return A_k at rising frequencies, shape (n_points, n_atoms * 9), 1/THz.

        A band has weight only between the lowest and highest corner of its own tetrahedra: about one frequency in a
        hundred. So a few frequencies are asked at a time, of those q' whose tetrahedra may hold them. With a side
        step each weight is the mean of both sides: where no corner is met that changes nothing.
        """
        n_bands = self.frequencies.shape[1]
        steps = (-side_step, side_step) if side_step else (0.0,)
        near = self.frequencies[self._neighbours(corners.grid_points)]
        lowest, highest = near.min(axis=1) - side_step, near.max(axis=1) + side_step  # corners, bands
        lowest[self.frequencies[corners.grid_points] < self.cutoff_frequency] = np.inf
        scale = corners.weights / (len(self.grid.grg2bzg) * len(steps))
        density = np.zeros((len(points), 3 * n_bands), dtype=np.complex128)
        for band in range(n_bands):
            overlaps = self._overlaps(corners, band) * scale[:, None]
            column = np.ascontiguousarray(self.frequencies[:, band : band + 1])
            for start in range(0, len(points), BATCH):
                asked = points[start : start + BATCH]
                held = np.flatnonzero((lowest[:, band] <= asked[-1]) & (highest[:, band] >= asked[0]))
                if len(held):
                    for step in steps:
                        weights = self._weights(asked + step, column, corners.grid_points[held])
                        density[start : start + BATCH] += weights.T @ overlaps[held]
        return density

    def _weights(
        self, points: NDArray[np.float64], column: NDArray[np.float64], grid_points: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the tetrahedron weights of one band, shape (n_grid_points, n_points)."""
        from phonopy.phonon.tetrahedron_method import get_integration_weights

        weigh = get_integration_weights
        if self.symmetrize_tetrahedra:
            weigh = functools.partial(weigh, symmetrize_tetrahedra=True)  # which older ones lack
        return weigh(points, column, self.grid, grid_points=grid_points)[:, :, 0]

    def _overlaps(self, corners: _Corners, band: int) -> NDArray[np.complex128]:
        """Return e_k ⊗ e_k* of one band at every q', shape (n_corners, n_atoms * 9)."""
        vectors = corners.eigenvectors
        local = vectors.transpose(0, 2, 1).reshape(len(vectors), vectors.shape[2], -1, 3)  # corners, bands, atoms, xyz
        if self.average_degenerate:  # the same as averaging the weights of degenerate bands
            labels = degenerate_blocks(self.frequencies[corners.grid_points])
            share = (labels == labels[:, band : band + 1]).astype(np.float64)
            share /= share.sum(axis=1, keepdims=True)
            tensors = np.einsum("gs,gska,gskb->gkab", share, local, local.conj(), optimize=True)
        else:
            tensors = local[:, band, :, :, None] * local[:, band, :, None, :].conj()
        return np.asarray(tensors.reshape(len(vectors), -1))

    def _neighbours(self, grid_points: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the corners of the tetrahedra around points, and a few more: (n_grid_points, n_neighbours)."""
        step = np.array(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij")).reshape(3, -1).T @ self.grid.P.T
        if self.symmetrize_tetrahedra:
            step = np.unique((step @ np.swapaxes(self.grid.rotations, 1, 2)).reshape(-1, 3), axis=0)
        address = (self.grid.addresses[grid_points][:, None] + step) % self.grid.D_diag
        index = address @ np.array([1, self.grid.D_diag[0], self.grid.D_diag[0] * self.grid.D_diag[1]])
        return np.asarray(self.grid.grg2bzg[index])


def _key(qpoint: NDArray[np.float64]) -> tuple[int, ...]:
    """Return what equal q points share, reciprocal lattice vectors aside."""
    steps = 10**8
    return tuple(int(x) % steps for x in np.rint(np.asarray(qpoint) * steps))


def _contract(
    frequencies: NDArray[np.float64],
    vectors: list[NDArray[np.complex128]],
    tensors: NDArray[np.float64] | NDArray[np.complex128],
    mass_variances: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return γ from A_k at every mode, tensors of shape (n_qpoints, n_bands, n_atoms, 3, 3)."""
    gamma = np.zeros_like(frequencies)
    for i, eigenvectors in enumerate(vectors):
        e = eigenvectors.T.reshape(len(eigenvectors), -1, 3)
        overlap = np.einsum("ska,skab,skb->sk", e.conj(), tensors[i], e).real
        gamma[i] = np.pi / 4 * frequencies[i] ** 2 * (overlap @ mass_variances)
    return gamma


def _restore_star(density: NDArray[np.float64], primitive: Primitive, symprec: float) -> NDArray[np.float64]:
    """Average the tensors over the space group: rotate them and permute the atoms."""
    from phonopy.structure.symmetry import Symmetry

    lattice = np.asarray(primitive.cell).T
    positions = np.asarray(primitive.scaled_positions)
    operations = Symmetry(primitive, symprec).symmetry_operations
    n_atoms = len(primitive)
    average = np.zeros((n_atoms, 9, n_atoms, 9))
    for rotation, translation in zip(operations["rotations"], operations["translations"], strict=True):
        image = positions @ rotation.T + translation
        difference = image[:, None, :] - positions[None, :, :]
        target = np.abs(difference - np.rint(difference)).sum(axis=2).argmin(axis=1)
        cartesian = lattice @ rotation @ np.linalg.inv(lattice)
        average[np.arange(n_atoms), :, target] += np.kron(cartesian, cartesian).T  # R A R^T of every atom
    return np.asarray(density @ average.reshape(9 * n_atoms, -1) / len(operations["rotations"]))
