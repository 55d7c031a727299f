"""The components that phono3py 4 assembles into a Wigner conductivity calculator.

phono3py hands one ``VariantContext`` to each factory; the velocity solver leaves its velocity products in a
:class:`PairStore` on that context, where the conductivity solver finds them. Everything physical happens in
:mod:`phon_wigner.physics.formula`; this module only translates phono3py's arrays.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from phon_wigner.conductivity.postprocess import check_conductivity
from phon_wigner.errors import ShapeError
from phon_wigner.phonons.dynamical_matrix import derivative_of
from phon_wigner.phonons.impossible_widths import possible_isotope_widths
from phon_wigner.physics.degeneracy import DEGENERACY_TOLERANCE_THZ
from phon_wigner.physics.formula import (
    ModeAverages,
    average_modes,
    coherence_by_mode,
    coherence_conductivity,
    own_weights,
    pair_matrix,
    pair_weights,
    population_conductivity,
    scattered,
)
from phon_wigner.physics.pairs import PairBlock, PairCollector
from phon_wigner.physics.velocity_operator import star_average, velocity_operator, velocity_products

if TYPE_CHECKING:
    from phono3py.conductivity.build_components import VariantContext
    from phono3py.conductivity.grid_point_data import GridPointAggregates, VelocityResult

logger = logging.getLogger(__name__)

PAIRS_VARIABLE = "PHON_WIGNER_PAIRS"
"""Environment variable: set to 1 to write the large pair-resolved array ``mode_kappa_C_pairs`` too."""


class PairStore:
    """Where the velocity solver leaves its products for the conductivity solver of the same run.

    Attributes
    ----------
    pairs : PairBlock or None
        Filled when the last grid point was computed.
    standard : NDArray[np.float64], shape (n_grid_points, n_bands, 6), (Å·THz)²
        phono3py's own v⊗v, summed over the star.
    """

    def __init__(self) -> None:
        self.pairs: PairBlock | None = None
        self.standard: NDArray[np.float64] = np.zeros((0, 0, 6))


def pair_store(ctx: VariantContext) -> PairStore:
    """Return the store that belongs to one phono3py VariantContext."""
    store: PairStore = ctx.__dict__.setdefault("phon_wigner_pairs", PairStore())
    return store


class WignerVelocitySolver:
    """phono3py's group velocities plus the Wigner velocity operator at each irreducible grid point.

    Parameters
    ----------
    ctx : phono3py.conductivity.build_components.VariantContext
        Interaction, grid and settings of the run.
    """

    produces_gv_by_gv: bool = True
    produces_vm_by_vm: bool = False

    def __init__(self, ctx: VariantContext) -> None:
        from phono3py.conductivity.velocity_solvers import GroupVelocitySolver

        settings = ctx.kappa_settings
        self._interaction = ctx.interaction
        self._grid = settings.bz_grid
        self._is_kappa_star = settings.is_kappa_star
        self._grid_points = np.asarray(settings.grid_points)
        self._frequencies, self._eigenvectors = (
            ctx.interaction.phonons.frequencies,
            ctx.interaction.phonons.eigenvectors,
        )
        n_bands = self._frequencies.shape[1]
        if len(settings.band_indices) != n_bands:
            raise ShapeError(
                f"the Wigner variant got {len(settings.band_indices)} of {n_bands} bands, but coherences "
                "couple all of them. Drop --bi (band_indices)."
            )
        volume = ctx.interaction.primitive.volume
        if volume <= 0:
            raise ShapeError(
                f"the primitive cell has the volume {volume:.4g} Å³: its vectors are left-handed, and every "
                "conductivity would "
                "be negative. Exchange two lattice vectors of the unit cell, with the coordinates, and start "
                "from the forces."
            )
        self._standard = GroupVelocitySolver(
            ctx.interaction,
            is_kappa_star=settings.is_kappa_star,
            gv_delta_q=settings.gv_delta_q,
            log_level=ctx.log_level,
        )
        self._derivative = derivative_of(ctx.interaction.dynamical_matrix)
        self._store = pair_store(ctx)
        rotations = settings.bz_grid.rotations_cartesian if settings.is_kappa_star else np.eye(3)[None]
        self._collector = PairCollector(
            len(self._grid_points),
            n_bands,
            star_average(np.asarray(rotations)),
            tolerance=DEGENERACY_TOLERANCE_THZ,
            cutoff_frequency=max(settings.cutoff_frequency, 0.0),
        )
        self._store.standard = np.zeros((len(self._grid_points), n_bands, 6))
        self._next = 0

    @property
    def gv_delta_q(self) -> float | None:
        """Finite-difference step of the *standard* group velocity; V itself is analytic."""
        step: float | None = self._standard.gv_delta_q
        return step

    def compute(self, grid_point: int) -> VelocityResult:
        """Return phono3py's VelocityResult; store the Wigner products on the side."""
        from phonopy.phonon.grid import get_qpoints_from_bz_grid_points

        result = self._standard.compute(grid_point)
        velocity = velocity_operator(
            self._derivative.run(get_qpoints_from_bz_grid_points(grid_point, self._grid)),
            self._eigenvectors[grid_point],
            self._frequencies[grid_point],
            self._interaction.frequency_factor_to_THz,
        )
        index = self._next
        self._collector.add(
            index, self._star_size(grid_point), self._frequencies[grid_point], velocity_products(velocity)
        )
        self._store.standard[index] = result.gv_by_gv
        self._next += 1
        if self._next == len(self._grid_points):
            self._store.pairs = self._collector.finish()
        return result

    def _star_size(self, grid_point: int) -> float:
        """Return the number of arms of the star of one grid point."""
        from phonopy.phonon.grid import get_grid_points_by_rotations

        if not self._is_kappa_star:
            return 1.0
        return float(len(np.unique(get_grid_points_by_rotations(grid_point, self._grid, with_surface=False))))


class WignerConductivity:
    """κ_P and κ_C of all smearings and temperatures from phono3py's aggregated arrays.

    Attributes
    ----------
    kappa_P_RTA, kappa_C : NDArray[np.float64], shape (n_sigmas, n_temps, 6), W/(m K)
        Populations (relaxation-time approximation, whole degenerate blocks) and coherences; xx yy zz yz xz xy.
    mode_kappa_P_RTA, mode_kappa_C : NDArray[np.float64], shape (n_sigmas, n_temps, n_grid_points, n_bands, 6)
        Their shares per mode; the sum over grid points and bands divided by the number of mesh points is κ.
    kappa_block : NDArray[np.float64], shape (n_sigmas, n_temps, 6), W/(m K)
        The part of ``kappa_P_RTA`` that phono3py's standard RTA, which knows only the diagonal, leaves out.
    """

    def __init__(self, ctx: VariantContext) -> None:
        self._settings = ctx.kappa_settings
        self._store = pair_store(ctx)
        self.kappa_P_RTA: NDArray[np.float64] = np.zeros((0, 0, 6))
        self.kappa_C: NDArray[np.float64] = np.zeros((0, 0, 6))
        self.kappa_block: NDArray[np.float64] = np.zeros((0, 0, 6))
        self.mode_kappa_P_RTA: NDArray[np.float64] = np.zeros((0, 0, 0, 0, 6))
        self.mode_kappa_C: NDArray[np.float64] = np.zeros((0, 0, 0, 0, 6))
        self.pairs: NDArray[np.float64] | None = None

    def run(self, aggregates: GridPointAggregates) -> None:
        """Fill every attribute from phono3py's GridPointAggregates."""
        pairs = self._store.pairs
        if pairs is None:
            raise ShapeError(
                "the velocity products are incomplete. Let phono3py run the velocity step over all grid points."
            )
        gamma = effective_linewidth(aggregates, self._settings.boundary_mfp, pairs.frequencies)
        capacities = aggregates.mode_heat_capacities
        n_sigmas, n_temps, n_points, n_bands = gamma.shape
        scale = self._settings.conversion_factor
        mesh = float(np.prod(self._settings.mesh_numbers))
        self.kappa_C = np.zeros((n_sigmas, n_temps, 6))
        self.kappa_block = np.zeros((n_sigmas, n_temps, 6))
        self.mode_kappa_P_RTA = np.zeros((n_sigmas, n_temps, n_points, n_bands, 6))
        self.mode_kappa_C = np.zeros((n_sigmas, n_temps, n_points, n_bands, 6))
        if os.environ.get(PAIRS_VARIABLE, "0") not in ("", "0"):
            self.pairs = np.zeros((n_sigmas, n_temps, n_points, n_bands, n_bands, 6))
        for i in range(n_sigmas):
            _report_unknown(gamma[i], capacities, pairs)
            for j in range(n_temps):
                averages = average_modes(pairs, linewidths=gamma[i, j], heat_capacities=capacities[j])
                weights = pair_weights(pairs, averages)
                modes = population_conductivity(pairs, averages) * scale
                self.mode_kappa_P_RTA[i, j] = modes
                self.mode_kappa_C[i, j] = coherence_by_mode(pairs, averages, weights) * scale
                self.kappa_C[i, j] = coherence_conductivity(pairs, weights) * scale / mesh
                check_conductivity(self.kappa_C[i, j], "κ_C")
                standard = _standard_populations(self._store.standard, pairs, averages) * scale
                self.kappa_block[i, j] = (modes - standard).sum(axis=(0, 1)) / mesh
                if self.pairs is not None:
                    self.pairs[i, j] = pair_matrix(pairs, weights) * scale
        self.kappa_P_RTA = self.mode_kappa_P_RTA.sum(axis=(2, 3)) / mesh

    def common_output(self) -> dict[str, NDArray[np.float64] | None]:
        """Return the HDF5 datasets that RTA and direct solution share."""
        return {"kappa_C": self.kappa_C, "mode_kappa_C": self.mode_kappa_C, "mode_kappa_C_pairs": self.pairs}


def effective_linewidth(
    aggregates: GridPointAggregates, boundary_mfp: float | None, frequencies: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sum phonon-phonon, isotope, electron-phonon and boundary half widths.

    phono3py's direct solution handles the boundary inside its collision matrix and passes no
    ``gamma_boundary``; coherences still need it, so it is made here from the group velocities then. Isotope widths
    above the frequency of their mode are left out.

    Parameters
    ----------
    aggregates : phono3py.conductivity.grid_point_data.GridPointAggregates
    boundary_mfp : float, µm, or None
    frequencies : NDArray[np.float64], shape (n_points, n_bands), THz

    Returns
    -------
    NDArray[np.float64], shape (n_sigmas, n_temps, n_points, n_bands), THz
    """
    from phono3py.conductivity.grid_point_data import compute_effective_gamma

    if aggregates.gamma_isotope is not None:
        possible = possible_isotope_widths(np.asarray(aggregates.gamma_isotope), frequencies, "this run")
        aggregates = replace(aggregates, gamma_isotope=possible)
    gamma: NDArray[np.float64] = compute_effective_gamma(aggregates)
    if boundary_mfp is not None and aggregates.gamma_boundary is None:
        from phono3py.conductivity.scattering_solvers import compute_bulk_boundary_scattering

        gamma = gamma + compute_bulk_boundary_scattering(aggregates.group_velocities, boundary_mfp)
    return gamma


def _standard_populations(
    products: NDArray[np.float64], pairs: PairBlock, averages: ModeAverages
) -> NDArray[np.float64]:
    """Return C v⊗v/(2γ) with phono3py's own v⊗v, shape (n_points, n_bands, 6)."""
    return np.asarray(products * (own_weights(averages) * pairs.active)[:, :, None])


def _report_unknown(gamma: NDArray[np.float64], capacities: NDArray[np.float64], pairs: PairBlock) -> None:
    """Log once how many heat-carrying modes nothing scatters."""
    missing = ~scattered(gamma, capacities) & pairs.active & (capacities > 0)
    if missing.any():
        logger.warning(
            "%d of %d modes have no linewidth, nothing scatters them; they carry no population heat. "
            "A denser mesh or a broader --sigma removes them.",
            int(missing.sum()),
            missing.size,
        )
