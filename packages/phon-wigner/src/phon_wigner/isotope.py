"""Mass-disorder linewidths through the local density of states, in a fraction of the usual time.

Tamura's rate of mode (q, s) sums overlaps with every mode of the mesh. The overlaps factorise: they enter only
through the local density tensor of each atom k at the mode's own frequency ν::

    γ_qs   = (π/4) ν² Σ_k g_k  e_k*(qs) · A_k(ν) · e_k(qs)
    A_k(ν) = (1/N) Σ_q's' w_q's'(ν) Re[e_k(q's') ⊗ e_k*(q's')]

w are the tetrahedron weights of δ(ν - ν'). A_k does not depend on q, so one sweep over the *irreducible* q'
serves all modes at once; the rest of the star is restored by rotating A_k and permuting atoms. Real parts
suffice because q and -q always come together.

References
----------
S. Tamura, Phys. Rev. B 27, 858 (1983), Eq. 2.8, doi:10.1103/PhysRevB.27.858
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from phon_wigner.degeneracy import average_over_blocks, degenerate_blocks
from phon_wigner.dynamical_derivative import DynamicalMatrixDerivative
from phon_wigner.errors import GridMismatchError
from phon_wigner.harmonic import HarmonicCrystal
from phon_wigner.linewidths import Linewidths


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
) -> NDArray[np.float64]:
    """Return the isotope half widths at given q points.

    Parameters
    ----------
    crystal : HarmonicCrystal
    mesh : tuple of int
        Mesh numbers of the sum over q'.
    qpoints : NDArray[np.float64], shape (n_qpoints, 3)
        Where linewidths are wanted.
    mass_variances : NDArray[np.float64], shape (n_atoms,), optional
        Σ_i f_i (1 - m_i/m̄)² per atom of the primitive cell; default natural abundance.
    irreducible : bool
        Sweep one q' per star (fast). False sweeps the whole mesh, which reproduces phono3py to rounding: its 24
        tetrahedra are cut along one diagonal and break the symmetry a little.
    symmetrize_tetrahedra : bool
        Average the weights over rotated tetrahedra (phono3py >= 4.8); then both sweeps agree to rounding.
    average_degenerate : bool
        Average over degenerate bands, of the mode and of q', so that nothing depends on the eigenvector basis.
    cutoff_frequency : float
        Modes below it (THz) do not scatter.

    Returns
    -------
    NDArray[np.float64], shape (n_qpoints, n_bands), THz
        HWHM.
    """
    primitive = crystal.dynamical_matrix.primitive
    if mass_variances is None:
        from phono3py.other.isotope import get_mass_variances

        mass_variances = get_mass_variances(primitive)
    engine = DynamicalMatrixDerivative(crystal.dynamical_matrix)
    n_bands = 3 * len(primitive)
    frequencies = np.empty((len(qpoints), n_bands))
    vectors = np.empty((len(qpoints), n_bands, n_bands), dtype=np.complex128)
    for i, q in enumerate(qpoints):
        frequencies[i], vectors[i] = crystal.diagonalize(engine.run_with_matrix(q)[0])
    # degenerate modes ask for the density at one and the same frequency
    sampling, where = np.unique(np.round(frequencies.ravel(), 9), return_inverse=True)
    options = _SweepOptions(irreducible, symmetrize_tetrahedra, average_degenerate, cutoff_frequency)
    density = _local_density(crystal, engine, mesh, sampling, options)
    # e_k of every mode: (q, s, k, 3); A at the same modes: (q, s, k, 3, 3)
    displacement = vectors.transpose(0, 2, 1).reshape(*frequencies.shape, -1, 3)
    rows = where.reshape(frequencies.shape)
    tensors = density.reshape(len(sampling), -1, 3, 3)
    gamma = np.zeros_like(frequencies)
    for i in range(len(qpoints)):
        overlap = np.einsum("ska,skab,skb->sk", displacement[i].conj(), tensors[rows[i]], displacement[i]).real
        gamma[i] = np.pi / 4 * frequencies[i] ** 2 * (overlap @ np.asarray(mass_variances))
    if average_degenerate:
        gamma = average_over_blocks(gamma, degenerate_blocks(frequencies))
    return gamma


def add_isotopes(crystal: HarmonicCrystal, linewidths: Linewidths, **options: Any) -> Linewidths:
    """Return linewidths with natural (or given) isotope scattering added.

    Parameters
    ----------
    crystal : HarmonicCrystal
    linewidths : Linewidths
        With ``mesh`` known and no isotope part yet.
    **options
        Keywords of :func:`isotope_linewidths`.

    Raises
    ------
    GridMismatchError
        The mesh is unknown, or a temperature-independent part is already there.
    """
    if linewidths.mesh is None or len(linewidths.mesh) != 3:
        raise GridMismatchError(
            f"{linewidths.source} does not say its mesh (got {linewidths.mesh}, expected three numbers); isotope "
            "scattering needs it. Set Linewidths.mesh."
        )
    if np.any(linewidths.gamma_static > 0):
        raise GridMismatchError(
            f"{linewidths.source} already holds temperature-independent linewidths; adding isotopes would count "
            "them twice. Drop --isotope, or the stored part with --no-isotope."
        )
    gamma = isotope_linewidths(crystal, linewidths.mesh, linewidths.qpoints, **options)
    return replace(linewidths, gamma_static=np.maximum(gamma, 0.0))


class _SweepOptions(NamedTuple):
    """How the mesh is swept; see :func:`isotope_linewidths`."""

    irreducible: bool
    symmetrize_tetrahedra: bool
    average_degenerate: bool
    cutoff_frequency: float


def _local_density(
    crystal: HarmonicCrystal,
    engine: DynamicalMatrixDerivative,
    mesh: tuple[int, ...],
    points: NDArray[np.float64],
    options: _SweepOptions,
) -> NDArray[np.float64]:
    """Return A_k at sampling frequencies, shape (n_points, n_atoms * 9), 1/THz."""
    from phonopy.phonon.grid import BZGrid, get_ir_grid_points, get_qpoints_from_bz_grid_points
    from phonopy.phonon.tetrahedron_method import get_integration_weights
    from phonopy.structure.symmetry import Symmetry

    primitive = crystal.dynamical_matrix.primitive
    symmetry = Symmetry(primitive, crystal.symprec)
    grid = BZGrid(list(mesh), lattice=primitive.cell, symmetry_dataset=symmetry.dataset)
    ir, star_sizes, to_ir = get_ir_grid_points(grid)
    n_bands = 3 * len(primitive)
    on_mesh = np.empty((len(to_ir), n_bands))
    chosen = [int(g) for g in (ir if options.irreducible else range(len(to_ir)))]
    weights = dict(zip((int(g) for g in ir), star_sizes, strict=True))
    solved = {}
    for g in chosen:
        q = get_qpoints_from_bz_grid_points(grid.grg2bzg[g], grid)
        on_mesh[g], vectors = crystal.diagonalize(engine.run_with_matrix(q)[0])
        local = vectors.T.reshape(n_bands, -1, 3)
        tensor = np.einsum("ska,skb->skab", local, local.conj()).real.reshape(n_bands, -1)
        tensor[on_mesh[g] < options.cutoff_frequency] = 0
        if options.average_degenerate:  # the same as averaging the weights of degenerate bands
            blocks = degenerate_blocks(on_mesh[g])
            tensor = average_over_blocks(tensor.T[:, None, :], blocks[None])[:, 0, :].T
        solved[g] = tensor
    if options.irreducible:
        on_mesh[:] = on_mesh[to_ir]
    on_zone = np.ascontiguousarray(on_mesh[grid.bzg2grg])
    extra = {"symmetrize_tetrahedra": True} if options.symmetrize_tetrahedra else {}
    density = np.zeros((len(points), 9 * len(primitive)))
    for g, tensor in solved.items():
        grid_point = np.array([grid.grg2bzg[g]], dtype="int64")
        w = get_integration_weights(points, on_zone, grid, grid_points=grid_point, **extra)[0]
        density += (weights[g] if options.irreducible else 1) * (w @ tensor)
    density /= len(to_ir)
    return _restore_star(density, primitive, symmetry) if options.irreducible else density


def _restore_star(density: NDArray[np.float64], primitive: Any, symmetry: Any) -> NDArray[np.float64]:
    """Average the tensors over the space group: rotate them and permute the atoms."""
    lattice = np.asarray(primitive.cell).T
    positions = np.asarray(primitive.scaled_positions)
    operations = symmetry.symmetry_operations
    tensors = density.reshape(len(density), -1, 3, 3)
    result = np.zeros_like(tensors)
    for rotation, translation in zip(operations["rotations"], operations["translations"], strict=True):
        image = positions @ rotation.T + translation
        difference = image[:, None, :] - positions[None, :, :]
        target = np.abs(difference - np.rint(difference)).sum(axis=2).argmin(axis=1)
        cartesian = lattice @ rotation @ np.linalg.inv(lattice)
        result[:, target] += cartesian @ tensors @ cartesian.T
    return np.asarray(result.reshape(density.shape) / len(operations["rotations"]))
