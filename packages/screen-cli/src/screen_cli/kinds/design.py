r"""Forces of displaced supercells as linear functions of one order of force constants, in symfc's basis.

Of the compact tensor only the rows of the primitive cell's atoms p are needed: under a lattice translation t

.. math:: F_{t(p)} = -\sum_j \Phi_{pj} u_{t(j)}, \qquad F_{t(p)} = -\tfrac12 \sum_{jk} \Phi_{pjk} u_{t(j)} u_{t(k)},

so one sparse matrix for each p, from the products of displacements (each pair once) to symfc's compressed force
constants, gives the forces on all atoms, from displacements permuted by t.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

if TYPE_CHECKING:
    from symfc.basis_sets import FCBasisSetBase
    from symfc.eig_solvers.matrix import BlockMatrixNode

_COLUMNS = 128  # samples times translations at a time: what the caches of a processor hold


@dataclass(frozen=True, eq=False)
class Design:
    """Design matrix of one order, made piece by piece.

    Parameters
    ----------
    order : int
        2 or 3.
    maps : list of scipy.sparse.csr_array
        For each atom of the primitive cell, float64 (3 n_compressed, n_products): Cartesian axis of the force and
        compressed force constant, from products of displacements.
    blocks : symfc.eig_solvers.matrix.BlockMatrixNode
        (n_compressed, n_parameters): symfc's basis of the compressed force constants.
    translations : ndarray
        int64 (n_translations, n_atoms): where lattice translations take the atoms.
    primitive_atoms : ndarray
        int64 (n_primitive,).
    """

    order: int
    maps: list[csr_array]
    blocks: BlockMatrixNode
    translations: NDArray[np.int64]
    primitive_atoms: NDArray[np.int64]

    @classmethod
    def of(cls, basis: FCBasisSetBase, order: int) -> Design:
        """Take symfc's basis apart; ``basis`` is computed."""
        translations, primitive_atoms = np.asarray(basis.translation_permutations), np.asarray(basis.p2s_map)
        compression = basis.compact_compression_matrix.tocoo()
        n_components, n_compressed = 3 * translations.shape[1], compression.shape[1]
        shape = (len(primitive_atoms), *[translations.shape[1]] * (order - 1), *[3] * order)
        atom, *places = np.unravel_index(compression.row.astype(np.int64), shape)
        axis, moved = places[order - 1], [3 * j + b for j, b in zip(places, places[order:], strict=False)]
        if order == 2:
            product, values, n_products = moved[0], -compression.data, n_components
        else:
            low, high = np.minimum(*moved), np.maximum(*moved)
            product = low * n_components - low * (low - 1) // 2 + high - low  # place in the upper triangle
            values, n_products = -0.5 * compression.data, n_components * (n_components + 1) // 2
        target = axis * n_compressed + compression.col
        maps = []
        for number in range(len(primitive_atoms)):
            chosen = atom == number
            entries = (values[chosen], (target[chosen], product[chosen]))
            maps.append(csr_array(entries, shape=(3 * n_compressed, n_products)))
        blocks = basis.blocked_basis_set
        assert blocks is not None  # computed
        return cls(order, maps, blocks, translations, primitive_atoms)

    @property
    def n_parameters(self) -> int:
        """Free parameters."""
        return int(self.blocks.shape[1])

    def matrix(self, displacements: NDArray[np.float64]) -> NDArray[np.float64]:
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
        n_samples, n_atoms = displacements.shape[:2]
        result = np.empty((n_samples, n_atoms, 3, self.n_parameters))
        for samples, pieces in self._pieces(displacements):
            for atoms, compressed in pieces:
                columns = compressed.transpose(1, 0, 2, 3)
                spread = self.blocks.T @ columns.reshape(len(columns), -1)
                result[samples, atoms] = spread.reshape(-1, *columns.shape[1:]).transpose(2, 3, 1, 0)
        return result.reshape(n_samples, 3 * n_atoms, self.n_parameters)

    def pulls(
        self, displacements: NDArray[np.float64], forces: NDArray[np.float64], parameters: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give what is left of forces, and how it pulls at the parameters, without the design matrix.

        Parameters
        ----------
        displacements : ndarray
            float64 (n_samples, n_atoms, 3), Å.
        forces : ndarray
            float64 (n_samples, 3 n_atoms), eV/Å.
        parameters : ndarray
            float64 (n_parameters,).

        Returns
        -------
        residuals : ndarray
            float64 (n_samples, 3 n_atoms), eV/Å: r = F − X p.
        pulls : ndarray
            float64 (n_samples, n_parameters): Xᵀ r of each sample.
        """
        coefficients = np.asarray(self.blocks @ parameters)
        residuals = forces.reshape(displacements.shape).copy()
        gradients = np.empty((len(coefficients), len(displacements)))
        for samples, pieces in self._pieces(displacements):
            gradient = np.zeros((len(coefficients), samples.stop - samples.start))
            for atoms, compressed in pieces:
                predicted = np.tensordot(coefficients, compressed, axes=(0, 1))  # 3, samples, translations
                residuals[samples, atoms] -= predicted.transpose(1, 2, 0)
                left = residuals[samples, atoms]
                gradient += np.einsum("acst,sta->cs", compressed, left, optimize=True)
            gradients[:, samples] = gradient
        return residuals.reshape(len(displacements), -1), np.asarray((self.blocks.T @ gradients).T)

    def _pieces(
        self, displacements: NDArray[np.float64]
    ) -> Iterator[tuple[slice, Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]]]:
        """Yield some samples; of each primitive atom, its images and (3, n_compressed, n_samples, n_translations)."""
        n_samples, n_atoms = displacements.shape[:2]
        n_translations = len(self.translations)
        pairs = np.triu_indices(3 * n_atoms) if self.order == 3 else None
        step = max(1, _COLUMNS // n_translations)
        for start in range(0, n_samples, step):
            chosen = displacements[start : start + step]
            products = np.ascontiguousarray(chosen[:, self.translations].reshape(-1, 3 * n_atoms).T)
            if pairs is not None:
                products = products[pairs[0]] * products[pairs[1]]
            shape = (3, -1, len(chosen), n_translations)
            images = (self.translations[:, atom] for atom in self.primitive_atoms)
            pieces = (
                (atoms, np.asarray(rows @ products).reshape(shape))
                for atoms, rows in zip(images, self.maps, strict=True)
            )
            yield slice(start, start + len(chosen)), pieces
