r"""Three-phonon linewidths on phono3py's grid, with the interaction strength as matrix products.

For the triplets (q, q', q'') of one q the interaction in phonon coordinates is

.. math::

    V = \sum e_1 e_2 e_3 \tilde\Phi / \sqrt{m_1 m_2 m_3}, \qquad
    \tilde\Phi_{\kappa\kappa'\kappa''}(q', q'') = \sum_{jk} \Phi_{0\kappa, j, k}\, f_{j\kappa}(q')\, f_{k\kappa}(q''),

with :math:`f_{j\kappa}(q)` the mean of :math:`e^{iq \cdot r}` over the shortest vectors from atom κ to the images of j.
phono3py sums the pairs (j, k) anew for each triplet, N² terms, and that is most of its time. Here the sum over one
index is done once, by matrix products, and shared: with the origin on the second or third atom one of the two phases
is that of the *fixed* q, so a triplet costs N terms instead of N². phono3py averages the three choices of the origin
(``make_r0_average``). The first alone still needs N² terms, so the default here is the mean of the other two; it
differs by the pairs that see more than one shortest image (κ of NaCl in 64 atoms by 0.1 %, of ZnS and Si by 2 to 3 %).
Grid, triplets, tetrahedron weights and the final sum are phono3py's own.

References
----------
A. Togo, L. Chaput, I. Tanaka, Phys. Rev. B 91, 094306 (2015), Eq. 9-11, doi:10.1103/PhysRevB.91.094306
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 128  # triplets per matrix product: the intermediate of the first origin stays in the cache


class PhaseTable:
    """Lattice phases f of every point of the grid, and fc3 laid out for matrix products.

    Parameters
    ----------
    interaction : phono3py.phonon3.interaction.Interaction
        With grid, and fc3 that is symmetric under exchange of its atoms (every solver here makes it so).
    """

    def __init__(self, interaction: Any) -> None:
        primitive, grid = interaction.primitive, interaction.bz_grid
        vectors, multiplicity = primitive.get_smallest_vectors()
        n_atoms, n_primitive = multiplicity.shape[:2]
        self.n_primitive = n_primitive
        qpoints = np.asarray(grid.addresses) @ np.asarray(grid.QDinv).T
        images = np.exp(2j * np.pi * (qpoints @ np.asarray(vectors).T))  # (n_grid, n_vectors)
        counts = multiplicity.reshape(-1, 2)
        phases = np.add.reduceat(images, counts[:, 1], axis=1) / counts[:, 0]
        phases = phases.reshape(len(qpoints), n_atoms, n_primitive)  # gjκ
        self.qpoints = qpoints
        self.positions = np.asarray(primitive.scaled_positions)
        s2p, p2s = np.asarray(primitive.s2p_map), np.asarray(primitive.p2s_map)
        members = [np.flatnonzero(s2p == atom) for atom in p2s]
        self.n_images = len(members[0])
        order = np.concatenate(members)  # images of one primitive atom side by side: every block is contiguous
        fc3 = np.asarray(interaction.fc3)
        fc3 = fc3 if len(fc3) == n_primitive else fc3[p2s]
        # [origin κ][atom c]: phases (n_grid, n_images), and fc3 with the images of c first, (n_images, n_atoms * 27)
        self.phases = [[np.ascontiguousarray(phases[:, last, k]) for last in members] for k in range(n_primitive)]
        self.fc3 = [
            [np.ascontiguousarray(fc3[k][np.ix_(middle, order)]).reshape(len(middle), -1) for middle in members]
            for k in range(n_primitive)
        ]

    def origin_first(self, second: NDArray[np.int64], third: NDArray[np.int64]) -> NDArray[np.complex128]:
        """Φ with the origin on the first atom, shape (n_triplets, κ, κ', κ'', 3, 3, 3)."""
        n, m = self.n_primitive, self.n_images
        result = np.empty((len(second), n, n, n, 27), dtype=np.complex128)
        for kappa in range(n):
            for b in range(n):
                for start in range(0, len(second), _BLOCK):
                    rows = slice(start, start + _BLOCK)
                    weights = self.phases[kappa][b][second[rows]]
                    inner = _real_product(weights, self.fc3[kappa][b]).reshape(len(weights), n, m, 27)
                    for c in range(n):
                        phases = self.phases[kappa][c][third[rows]]
                        result[rows, kappa, b, c] = np.matmul(phases[:, None], inner[:, c])[:, 0]
        return result.reshape(-1, n, n, n, 3, 3, 3)

    def origin_shared(self, fixed: int, *running: NDArray[np.int64]) -> list[NDArray[np.complex128]]:
        """Φ with the origin on the atom of the eliminated q, each (n_triplets, κ, κ', κ'', 3, 3, 3).

        First index the origin, second the atom of the fixed q, third that of the running q. The sum over the
        images of the fixed atom is done once for all sets of running points.
        """
        n, m = self.n_primitive, self.n_images
        points = np.concatenate(running)
        result = np.empty((len(points), n, n, n, 27), dtype=np.complex128)
        for kappa in range(n):
            rows = [_real_product(self.phases[kappa][b][fixed][None], self.fc3[kappa][b])[0] for b in range(n)]
            shared = np.stack(rows).reshape(n, n, m, 27)  # bckx
            for c in range(n):
                table = np.ascontiguousarray(shared[:, c].transpose(1, 0, 2)).reshape(m, -1)
                result[:, kappa, :, c] = (self.phases[kappa][c][points] @ table).reshape(-1, n, 27)
        result = result.reshape(-1, n, n, n, 3, 3, 3)
        return np.split(result, np.cumsum([len(part) for part in running])[:-1])

    def home_phase(self, triplets: NDArray[np.int64]) -> NDArray[np.complex128]:
        """Phase of the origin's own position, e^{iG·r}, shape (n_triplets, n_primitive)."""
        umklapp = self.qpoints[triplets].sum(axis=1)
        return np.asarray(np.exp(2j * np.pi * (umklapp @ self.positions.T)))


def _real_product(phases: NDArray[np.complex128], table: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Complex rows times a real matrix, without a complex copy of the matrix."""
    product = np.vstack([phases.real, phases.imag]) @ table
    return np.asarray(product[: len(phases)] + 1j * product[len(phases) :])


def interaction_strength(
    interaction: Any, table: PhaseTable, triplets: NDArray[np.int64], *, all_origins: bool = False
) -> NDArray[np.float64]:
    """Squared interaction of every triplet of one q, in phono3py's unit (eV²).

    Parameters
    ----------
    interaction : phono3py.phonon3.interaction.Interaction
        Phonons solved on the grid.
    table : PhaseTable
    triplets : NDArray[np.int64], shape (n_triplets, 3)
        Grid points; the first column is q, or one of its images in other zones.
    all_origins : bool
        Average over the three origins as phono3py does; else over the two that cost N terms.

    Returns
    -------
    NDArray[np.float64], shape (n_triplets, n_bands, n_bands, n_bands)
    """
    images = np.unique(triplets[:, 0])  # a q on the zone boundary stands in for its images
    if len(images) > 1:
        n_bands = 3 * table.n_primitive
        strength = np.empty((len(triplets), n_bands, n_bands, n_bands))
        for image in images:
            rows = triplets[:, 0] == image
            strength[rows] = interaction_strength(interaction, table, triplets[rows], all_origins=all_origins)
        return strength
    first, second, third = triplets.T
    home = table.home_phase(triplets)
    middle, last = table.origin_shared(int(first[0]), third, second)
    middle *= home[:, :, None, None, None, None, None]
    last *= home[:, :, None, None, None, None, None]
    # tκ'κκ''βαγ and tκ''κκ'γαβ to tκκ'κ''αβγ
    total = middle.transpose(0, 2, 1, 3, 5, 4, 6) + last.transpose(0, 2, 3, 1, 5, 6, 4)
    if all_origins:
        total = total + table.origin_first(second, third) * home[:, :, None, None, None, None, None]
    total /= 3 if all_origins else 2
    n_bands = 3 * table.n_primitive
    matrix = total.transpose(0, 1, 4, 2, 5, 3, 6).reshape(len(triplets), n_bands, n_bands, n_bands)
    phonons = interaction.phonons
    scale = np.repeat(np.asarray(interaction.primitive.masses) ** -0.5, 3)
    vectors = [phonons.eigenvectors[points] * scale[:, None] for points in (first, second, third)]  # t(κα)s
    matrix = np.matmul(vectors[0][0].T, matrix.reshape(len(triplets), n_bands, -1)).reshape(matrix.shape)
    matrix = np.matmul(vectors[1].transpose(0, 2, 1)[:, None], matrix)
    matrix = np.matmul(matrix, vectors[2][:, None])
    frequencies = [phonons.frequencies[points] for points in (first, second, third)]
    carried = [np.where(values > interaction.cutoff_frequency, 1 / values, 0.0) for values in frequencies]
    strength = (matrix.real**2 + matrix.imag**2) * interaction.unit_conversion_factor
    return np.ascontiguousarray(
        strength * carried[0][:, :, None, None] * carried[1][:, None, :, None] * carried[2][:, None, None, :]
    )


def three_phonon_linewidths(
    interaction: Any,
    grid_points: NDArray[np.int64],
    temperatures: Sequence[float] | NDArray[np.float64],
    *,
    all_origins: bool = False,
    on_qpoint: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """Half widths from phonon-phonon scattering at grid points.

    Parameters
    ----------
    interaction : phono3py.phonon3.interaction.Interaction
        As ``Phono3py.init_phph_interaction`` makes it; phonons are solved here.
    grid_points : NDArray[np.int64]
        BZ grid points.
    temperatures : sequence of float, K
    all_origins : bool
        See :func:`interaction_strength`.
    on_qpoint : callable, optional
        Called with the index of each finished point.

    Returns
    -------
    NDArray[np.float64], shape (n_temps, n_points, n_bands), THz
        HWHM, averaged over degenerate bands as phono3py does.
    """
    from phono3py.phonon3.imag_self_energy import ImagSelfEnergy

    interaction.run_phonon_solver()
    table = PhaseTable(interaction)
    collision = ImagSelfEnergy(interaction)
    n_bands = 3 * table.n_primitive
    gamma = np.zeros((len(temperatures), len(grid_points), n_bands))
    for index, point in enumerate(grid_points):
        collision.set_grid_point(int(point))
        collision.run_integration_weights()
        triplets = np.asarray(interaction.get_triplets_at_q()[0])
        collision.set_interaction_strength(interaction_strength(interaction, table, triplets, all_origins=all_origins))
        for row, temperature in enumerate(temperatures):
            collision.temperature = float(temperature)
            collision.run()
            gamma[row, index] = collision.imag_self_energy
        if on_qpoint is not None:
            on_qpoint(index)
    return gamma
