r"""Three-phonon linewidths on phono3py's grid, with the interaction strength as matrix products.

For the triplets (q, q', q'') of one q the interaction in phonon coordinates is

.. math::

    V = \sum e_1 e_2 e_3 \tilde\Phi / \sqrt{m_1 m_2 m_3}, \qquad
    \tilde\Phi_{\kappa\kappa'\kappa''}(q', q'') = \sum_{jk} \Phi_{0\kappa, j, k}\, f_{j\kappa}(q')\, f_{k\kappa}(q''),

with :math:`f_{j\kappa}(q)` the mean of :math:`e^{iq \cdot r}` over the shortest vectors from atom κ to the images of j.
phono3py sums the pairs (j, k) anew for each triplet, N² terms, and that is most of its time; and it averages the
three choices of the origin (``make_r0_average``). Here the sum over one index is done once, by matrix products, and
shared, so that a triplet costs N terms. With the origin on the second or third atom one of the two phases is that of
the *fixed* q, which all its triplets share. With the origin on the first atom neither is; but each q' stands in
triplets of many q, so that part is made for many q together, as far as ``MEMORY`` reaches. Sums run in single
precision: linewidths are phono3py's to 1e-6 of each mode, κ to some 1e-7. Grid and triplets are phono3py's own; the
mode of q joins in :func:`phon_wigner.phonons.tetrahedra.conserved_sums`, which knows where energy is conserved.

References
----------
A. Togo, L. Chaput, I. Tanaka, Phys. Rev. B 91, 094306 (2015), Eq. 9-11, doi:10.1103/PhysRevB.91.094306
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from phon_wigner.phonons.tetrahedra import TripletTetrahedra, compiled, conserved_sums

if TYPE_CHECKING:
    from phono3py.phonon3.interaction import Interaction
    from phonopy.structure.cells import Primitive

MEMORY = 512 * 2**20
"""Bytes for the part of Φ that is made for many q together; a q that does not fit stands alone."""
_BLOCK_MEMORY = 2**21  # bytes of one array in a block of points or triplets: what a cache holds
_LEAST_POINTS, _LEAST_TRIPLETS = 4, 8


def asymmetry(fc3: NDArray[np.float64], primitive: Primitive) -> float:
    """How far fc3 is from Φ_{ij} = Φ_{ji} for its three atoms: norm of the change by symmetrisation over its norm.

    phono3py reads Φ the same way round for each choice of the origin; the products agree with it when this is zero.

    Parameters
    ----------
    fc3 : NDArray[np.float64], shape (n_primitive or n_atoms, n_atoms, n_atoms, 3, 3, 3)
    primitive : phonopy.structure.cells.Primitive
    """
    from phono3py.phonon3.fc3 import set_permutation_symmetry_compact_fc3

    rows = np.asarray(primitive.p2s_map)
    compact = np.array(fc3 if len(fc3) == len(rows) else fc3[rows], dtype=np.float64, order="C")
    symmetric = compact.copy()
    set_permutation_symmetry_compact_fc3(symmetric, primitive)
    return float(np.linalg.norm(symmetric - compact) / np.linalg.norm(compact))


class PhaseTable:
    """Lattice phases f of every point of the grid, and fc3 laid out for matrix products.

    Parameters
    ----------
    interaction : phono3py.phonon3.interaction.Interaction
        With grid, and fc3 that is symmetric under exchange of its atoms; see :func:`asymmetry`.
    """

    def __init__(self, interaction: Interaction) -> None:
        primitive, grid = interaction.primitive, interaction.bz_grid
        vectors, multiplicity = primitive.get_smallest_vectors()
        n_atoms, n_primitive = multiplicity.shape[:2]
        self.n_primitive = n_primitive
        qpoints = np.asarray(grid.addresses) @ np.asarray(grid.QDinv).T
        images = np.exp(2j * np.pi * (qpoints @ np.asarray(vectors).T))  # (n_grid, n_vectors)
        counts = multiplicity.reshape(-1, 2)
        phases = np.add.reduceat(images, counts[:, 1], axis=1) / counts[:, 0]
        phases = phases.reshape(len(qpoints), n_atoms, n_primitive).astype(np.complex64)  # gjκ
        self.qpoints = qpoints
        self.keys = np.asarray(grid.addresses) @ (4 * int(np.max(grid.D_diag)) + 1) ** np.arange(3)  # of -q: negative
        self.positions = np.asarray(primitive.scaled_positions)
        s2p, p2s = np.asarray(primitive.s2p_map), np.asarray(primitive.p2s_map)
        members = [np.flatnonzero(s2p == atom) for atom in p2s]
        self.n_images = len(members[0])
        order = np.concatenate(members)  # images of one primitive atom side by side: every block is contiguous
        fc3 = np.asarray(interaction.fc3, dtype=np.float32)
        fc3 = fc3 if len(fc3) == n_primitive else fc3[p2s]
        # images of the second atom b first: (n_images, c, n_images, 27) of each origin κ and b
        self.fc3 = np.stack(
            [[fc3[k][np.ix_(middle, order)].reshape(len(middle), -1) for middle in members] for k in range(n_primitive)]
        )
        self.phases = np.ascontiguousarray(
            phases[:, order].reshape(-1, n_primitive, self.n_images, n_primitive).transpose(3, 1, 0, 2)
        )  # κcgm

    def half_sums(self, points: NDArray[np.int64]) -> NDArray[np.complex64]:
        """Sum over the images of the second atom b, shape (n_points, κ, c, n_images, b * 27)."""
        n, m = self.n_primitive, self.n_images
        phases = self.phases[:, :, points]
        summed = np.empty((n, n, len(points), n * m * 27), dtype=np.complex64)
        summed.real = np.ascontiguousarray(phases.real) @ self.fc3
        summed.imag = np.ascontiguousarray(phases.imag) @ self.fc3
        parts = summed.reshape(n, n, len(points), n, m, 27).transpose(2, 0, 3, 4, 1, 5)
        return np.ascontiguousarray(parts).reshape(len(points), n, n, m, n * 27)

    def origin_first(self, second: NDArray[np.int64], third: NDArray[np.int64]) -> NDArray[np.complex64]:
        """Φ with the origin on the first atom, shape (n_triplets, κ, κ'', κ', 27).

        The triplets may belong to many q: those with the same second point, or its negative, share its half-done sum,
        and the more there are of them the better.
        """
        n = self.n_primitive
        result = np.empty((len(second), n, n, n * 27), dtype=np.complex64)
        keys = self.keys[second]
        order = np.argsort(np.abs(keys), kind="stable")
        _, starts = np.unique(np.abs(keys)[order], return_index=True)
        bounds = np.append(starts, len(second))
        for block in _blocks(np.arange(len(starts)), 8 * 27 * n**3 * self.n_images, _LEAST_POINTS):
            for index, half in zip(block, self.half_sums(second[order[starts[block]]]), strict=True):
                rows = order[bounds[index] : bounds[index + 1]]
                phases = self.phases[:, :, third[rows]]
                mirrored = keys[rows] != keys[rows[0]]  # Φ is real: its sum at -q is the conjugate
                np.conjugate(phases, out=phases, where=mirrored[:, None])
                product = np.matmul(phases, half)
                np.conjugate(product, out=product, where=mirrored[:, None])
                result[rows] = product.transpose(2, 0, 1, 3)
        return result.reshape(-1, n, n, n, 27)

    def origin_shared(self, half: NDArray[np.complex64], running: NDArray[np.int64]) -> NDArray[np.complex64]:
        """Φ with the origin on the atom of the eliminated q, shape (κ, c, n_triplets, b, 27).

        ``half`` is :meth:`half_sums` of the fixed q; b is the atom of that, c that of the running q, κ the origin.
        """
        n = self.n_primitive
        return np.asarray(np.matmul(self.phases[:, :, running], half).reshape(n, n, len(running), n, 27))

    def home_phase(self, triplets: NDArray[np.int64]) -> NDArray[np.complex64]:
        """Phase of the origin's own position, e^{iG·r}, shape (n_triplets, n_primitive)."""
        umklapp = self.qpoints[triplets].sum(axis=1)
        return np.asarray(np.exp(2j * np.pi * (umklapp @ self.positions.T)), dtype=np.complex64)


def _blocks(rows: NDArray[np.int64], bytes_per_row: int, least: int) -> list[NDArray[np.int64]]:
    """Cut rows into blocks of bounded memory, of at least ``least`` rows each but the last."""
    size = max(least, _BLOCK_MEMORY // bytes_per_row)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def interaction_amplitudes(
    interaction: Interaction,
    table: PhaseTable,
    triplets: NDArray[np.int64],
    *,
    half: NDArray[np.complex64] | None = None,
    origin_first: NDArray[np.complex64] | None = None,
) -> NDArray[np.complex64]:
    """Interaction of triplets of one q, as far as it does not depend on the mode of q.

    Parameters
    ----------
    interaction : phono3py.phonon3.interaction.Interaction
        Phonons solved on the grid.
    table : PhaseTable
    triplets : NDArray[np.int64], shape (n_triplets, 3)
        Grid points; the first column is one point.
    half : NDArray[np.complex64], shape (n, n, n_images, n * 27), optional
        :meth:`PhaseTable.half_sums` of that point, where it is known.
    origin_first : NDArray[np.complex64], shape (n_triplets, n, n, n, 27), optional
        :meth:`PhaseTable.origin_first` of these triplets, where it is known.

    Returns
    -------
    NDArray[np.complex64], shape (n_triplets, n_bands, n_bands, n_bands)
        By j', j'' and component of j. Times :func:`own_eigenvectors`, squared: the interaction strength of phono3py.
    """
    first, second, third = triplets.T
    if origin_first is None:
        origin_first = table.origin_first(second, third)
    if half is None:
        (half,) = table.half_sums(first[:1])
    middle, last = table.origin_shared(half, third), table.origin_shared(half, second)
    n_bands = 3 * table.n_primitive
    matrix = np.empty((len(triplets), n_bands, n_bands, n_bands), dtype=np.complex64)  # t(κ'β)(κ''γ)(κα)
    _add_origins(origin_first, middle, last, table.home_phase(triplets), matrix)
    vectors = [_scaled_eigenvectors(interaction, points).transpose(0, 2, 1) for points in (second, third)]
    matrix = np.matmul(vectors[0], matrix.reshape(len(triplets), n_bands, -1)).reshape(matrix.shape)
    return np.asarray(np.matmul(vectors[1][:, None], matrix))


def own_eigenvectors(interaction: Interaction, point: int) -> NDArray[np.complex64]:
    """Give what :func:`interaction_amplitudes` lacks to be squared, shape (component, n_bands); in the unit of eV."""
    scale = np.sqrt(interaction.unit_conversion_factor) / 3
    return np.asarray(_scaled_eigenvectors(interaction, np.array([point]))[0] * scale, dtype=np.complex64)


def _scaled_eigenvectors(interaction: Interaction, points: NDArray[np.int64]) -> NDArray[np.complex64]:
    """Eigenvectors over root of mass and frequency, shape (n_points, component, n_bands); modes left out are zero."""
    frequencies = interaction.phonons.frequencies[points]
    counted = frequencies > interaction.cutoff_frequency
    carried = np.where(counted, np.where(counted, frequencies, 1.0) ** -0.5, 0.0)
    scale = np.repeat(np.asarray(interaction.primitive.masses) ** -0.5, 3)
    vectors = interaction.phonons.eigenvectors[points] * scale[:, None] * carried[:, None, :]
    return np.asarray(vectors, dtype=np.complex64)


@compiled
def _add_origins(
    first: NDArray[np.complex64],
    middle: NDArray[np.complex64],
    last: NDArray[np.complex64],
    home: NDArray[np.complex64],
    result: NDArray[np.complex64],
) -> None:
    """Sum of Φ over the three choices of the origin, one by one in other order, as t(κ'β)(κ''γ)(κα)."""
    n = home.shape[1]
    for t in range(len(home)):
        for k1 in range(n):
            for k2 in range(n):
                for k in range(n):
                    of_first, of_middle, of_last = first[t, k, k2, k1], middle[k1, k2, t, k], last[k2, k1, t, k]
                    for a in range(3):
                        for b in range(3):
                            for c in range(3):
                                result[t, 3 * k1 + b, 3 * k2 + c, 3 * k + a] = (
                                    home[t, k] * of_first[9 * a + 3 * b + c]
                                    + home[t, k1] * of_middle[9 * b + 3 * a + c]
                                    + home[t, k2] * of_last[9 * c + 3 * a + b]
                                )


def three_phonon_linewidths(
    interaction: Interaction,
    grid_points: NDArray[np.int64],
    temperatures: Sequence[float] | NDArray[np.float64],
    *,
    on_qpoint: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """Half widths from phonon-phonon scattering at grid points.

    Parameters
    ----------
    interaction : phono3py.phonon3.interaction.Interaction
        As ``Phono3py.init_phph_interaction`` makes it; phonons are solved here.
    grid_points : NDArray[np.int64], shape (n_qpoints,)
        BZ grid points.
    temperatures : sequence of float, K
    on_qpoint : callable, optional
        Called with the index of each finished point.

    Returns
    -------
    NDArray[np.float64], shape (n_temps, n_points, n_bands), THz
        HWHM, averaged over degenerate bands as phono3py does.
    """
    from phono3py.phonon3.imag_self_energy import ImagSelfEnergy, average_by_degeneracy

    interaction.run_phonon_solver()
    table = PhaseTable(interaction)
    tetrahedra = TripletTetrahedra(interaction.bz_grid, symmetrize=interaction.symmetrize_tetrahedra)
    frequencies, degenerate = interaction.phonons.frequencies, interaction.phonons.degenerate_ids
    occupations = np.stack([_occupations(frequencies, float(kelvin)) for kelvin in temperatures])
    factors = np.broadcast_to(_LINEWIDTH_FACTORS, (len(temperatures), 3, 3))
    unit = ImagSelfEnergy(interaction).unit_conversion_factor
    n_bands = 3 * table.n_primitive
    bands = np.arange(n_bands)
    gamma = np.zeros((len(temperatures), len(grid_points), n_bands))
    found = [_triplets(interaction, point) for point in grid_points]
    for group in _groups([triplets for triplets, _ in found], MEMORY // (8 * n_bands**3)):
        together = np.concatenate(list(group.values()))
        ends = np.cumsum([len(triplets) for triplets in group.values()])
        shared = table.origin_first(*together[:, 1:].T) if len(group) > 1 else None
        for (index, triplets), end in zip(group.items(), ends, strict=True):
            own = None if shared is None else shared[end - len(triplets) : end]
            for image in np.unique(triplets[:, 0]):  # a q on the zone boundary stands in for its images
                (half,) = table.half_sums(np.array([image]))
                eigenvectors = own_eigenvectors(interaction, int(image))
                for rows in _blocks(np.flatnonzero(triplets[:, 0] == image), 8 * n_bands**3, _LEAST_TRIPLETS):
                    gamma[:, index] += conserved_sums(
                        tetrahedra,
                        frequencies[grid_points[index]],
                        frequencies,
                        triplets[rows],
                        found[index][1][rows] * unit,
                        factors=factors,
                        occupations=occupations,
                        amplitudes=interaction_amplitudes(
                            interaction,
                            table,
                            triplets[rows],
                            half=half,
                            origin_first=None if own is None else own[rows],
                        ),
                        eigenvectors=eigenvectors,
                        above=interaction.cutoff_frequency,
                    )
            for row in gamma:
                row[index] = average_by_degeneracy(row[index], bands, degenerate[grid_points[index]])
            if on_qpoint is not None:
                on_qpoint(index)
    return gamma


_LINEWIDTH_FACTORS = np.array([[1.0, 1.0, 1.0], [0.0, 1.0, -1.0], [0.0, -1.0, 1.0]])
"""n' + n'' + 1, n' - n'' and n'' - n' of the three deltas."""


def _occupations(frequencies: NDArray[np.float64], kelvin: float) -> NDArray[np.float64]:
    """Bose-Einstein occupations; zero of what is no vibration, which nothing scatters by.

    phonopy's own stands in one module in 4.8 and in another in 4.10.
    """
    from phonopy.physical_units import get_physical_units

    if kelvin <= 0:
        return np.zeros_like(frequencies)
    units = get_physical_units()
    energy = np.where(frequencies > 0, frequencies, np.inf) * units.THzToEv / (units.KB * kelvin)
    with np.errstate(over="ignore"):
        return np.asarray(1 / np.expm1(energy))


def _triplets(interaction: Interaction, point: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Triplets of one q and their weights, as phono3py finds them."""
    from phono3py.phonon3.triplets import get_nosym_triplets_at_q, get_triplets_at_q

    find = get_triplets_at_q if interaction.is_mesh_symmetry else get_nosym_triplets_at_q
    triplets, weights = find(int(point), interaction.bz_grid)[:2]
    return np.asarray(triplets), np.asarray(weights)


def _groups(triplets: Sequence[NDArray[np.int64]], limit: int) -> Iterator[dict[int, NDArray[np.int64]]]:
    """Cut the points of the grid, by the number of their triplets, into groups of at most ``limit``, or of one."""
    group: dict[int, NDArray[np.int64]] = {}
    for index, own in enumerate(triplets):
        if group and sum(map(len, group.values())) + len(own) > limit:
            yield group
            group = {}
        group[index] = own
    if group:
        yield group
