"""Forces that force constants predict for given displacements, to third order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def predict_forces(
    permutations: NDArray[np.int64],
    p2s_map: NDArray[np.int64],
    displacements: NDArray[np.float64],
    fc2: NDArray[np.float64],
    fc3: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Evaluate F_i = −Σ_j Φ_ij u_j − ½ Σ_jk Φ_ijk u_j u_k with compact force constants.

    Parameters
    ----------
    permutations : ndarray
        int64 (n_translations, n_atoms): where each lattice translation of the primitive cell takes the atoms of the
        supercell (``Primitive.atomic_permutations`` of phonopy).
    p2s_map : ndarray
        int64 (n_primitive,), atoms of the supercell that stand for those of the primitive cell.
    displacements : ndarray
        float64 (n_supercells, n_atoms, 3), Å, Cartesian.
    fc2, fc3 : ndarray
        Compact: (n_primitive, n_atoms, 3, 3) eV/Å² and (n_primitive, n_atoms, n_atoms, 3, 3, 3) eV/Å³.

    Returns
    -------
    ndarray
        float64 (n_supercells, n_atoms, 3), eV/Å.
    """
    n_supercells, n_atoms, _ = displacements.shape
    shifted = displacements[:, permutations].reshape(-1, 3 * n_atoms)  # (n_supercells · n_translations, 3n)
    forces = np.zeros_like(displacements)
    for index, atom in enumerate(p2s_map):
        linear = fc2[index].transpose(0, 2, 1).reshape(3 * n_atoms, 3)
        values = -shifted @ linear
        if fc3 is not None:
            for axis in range(3):
                matrix = fc3[index, :, :, axis].transpose(0, 2, 1, 3).reshape(3 * n_atoms, 3 * n_atoms)
                values[:, axis] -= 0.5 * np.einsum("ij,ij->i", shifted @ matrix, shifted)
        forces[:, permutations[:, atom]] = values.reshape(n_supercells, len(permutations), 3)
    return forces
