"""Hand phonopy's dynamical matrices, of every NAC method, to :mod:`phon_wigner.physics.dynamical_derivative`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from numpy.typing import NDArray

from phon_wigner.physics.dynamical_derivative import Charges, DynamicalMatrixDerivative, Springs

if TYPE_CHECKING:
    from phonopy.harmonic.dynamical_matrix import DynamicalMatrix, DynamicalMatrixGL, DynamicalMatrixNAC
    from phonopy.structure.cells import Primitive


def derivative_of(dynamical_matrix: DynamicalMatrix) -> DynamicalMatrixDerivative:
    """Return what evaluates a phonopy dynamical matrix and its derivatives.

    phonopy before 4.1 differentiates the Ewald sum by finite differences, hence our own.

    Parameters
    ----------
    dynamical_matrix : phonopy.harmonic.dynamical_matrix.DynamicalMatrix
        Plain, Wang or Gonze-Lee instance, with full or compact force constants.
    """
    method = getattr(dynamical_matrix, "nac_method", None)
    if method == "gonze":
        ewald = cast("DynamicalMatrixGL", dynamical_matrix)
        if getattr(ewald, "short_range_force_constants", None) is None:
            ewald.make_Gonze_nac_dataset()
        constants, at_gamma, _, vectors, width = ewald.Gonze_nac_dataset
        charges = _charges(ewald, np.asarray(vectors), float(width), np.asarray(at_gamma))
        return DynamicalMatrixDerivative(_springs(dynamical_matrix, np.asarray(constants)), charges)
    springs = _springs(dynamical_matrix, np.asarray(dynamical_matrix.force_constants))
    if method is None:
        return DynamicalMatrixDerivative(springs)
    nothing = np.zeros((0, 3, 3), dtype=np.complex128)
    charged = cast("DynamicalMatrixNAC", dynamical_matrix)
    return DynamicalMatrixDerivative(springs, _charges(charged, np.zeros((0, 3)), 0.0, nothing))


def _charges(
    dynamical_matrix: DynamicalMatrixNAC,
    vectors: NDArray[np.float64],
    width: float,
    at_gamma: NDArray[np.complex128],
) -> Charges:
    """Return the charges of a NAC matrix."""
    return Charges(
        method=cast('Literal["gonze", "wang"]', dynamical_matrix.nac_method),
        born=np.asarray(dynamical_matrix.born),
        dielectric=np.asarray(dynamical_matrix.dielectric_constant),
        factor=float(dynamical_matrix.nac_factor),
        positions=np.asarray(dynamical_matrix.primitive.positions),
        reciprocal_vectors=vectors,
        width=width,
        at_gamma=at_gamma,
    )


def _springs(dynamical_matrix: DynamicalMatrix, constants: NDArray[np.float64]) -> Springs:
    """Order supercell atoms by their primitive atom, so that the sum over images is one matrix product."""
    primitive = dynamical_matrix.primitive
    masses = np.asarray(getattr(dynamical_matrix, "normalization_masses", primitive.masses), dtype=np.float64)
    inverse = np.asarray(np.sqrt(1 / masses), dtype=np.float64)
    p2s, s2p, n_atoms = np.asarray(primitive.p2s_map), np.asarray(primitive.s2p_map), len(primitive)
    rows = p2s if constants.shape[0] == constants.shape[1] else np.arange(n_atoms)
    images = np.array([np.flatnonzero(s2p == s) for s in p2s])  # (n_atoms, n_cells)
    arranged = constants[rows][:, images.ravel()].reshape(n_atoms, n_atoms, images.shape[1], 9)
    vectors, multiplicity = _dense_vectors(primitive)
    counts = multiplicity[images.ravel()][:, :, 0].T.ravel()
    begins = multiplicity[images.ravel()][:, :, 1].T.ravel()
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    take = np.repeat(begins - starts, counts) + np.arange(counts.sum())
    return Springs(
        cell=np.asarray(primitive.cell),
        inverse_sqrt_masses=inverse,
        force_constants=np.ascontiguousarray(arranged * np.outer(inverse, inverse)[:, :, None, None]),
        vectors=vectors[take],
        starts=starts,
        counts=counts.astype(np.float64),
    )


def _dense_vectors(primitive: Primitive) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return phonopy's shortest vectors (n, 3) and their (count, first index) per atom pair."""
    vectors, multiplicity = primitive.get_smallest_vectors()
    if not primitive.store_dense_svecs:
        from phonopy.structure.cells import sparse_to_dense_svecs

        vectors, multiplicity = sparse_to_dense_svecs(vectors, multiplicity)
    return np.asarray(vectors), np.asarray(multiplicity)
