"""Thermal conductivity of a prepared Phono3py object, as typed arrays for a host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from phon_wigner.errors import ShapeError
from phon_wigner.phono3py_variant.components import effective_linewidth
from phon_wigner.phono3py_variant.doctor import require_variant
from phon_wigner.phono3py_variant.variant import NAME

if TYPE_CHECKING:
    from phono3py import Phono3py

    from phon_wigner.conductivity.result import WignerResult


class WignerArrays(TypedDict):
    """What the solver gives, with n_irr irreducible q points and components xx yy zz yz xz xy.

    Attributes
    ----------
    temperatures : NDArray[np.float64], shape (n_temps,), K
    kappa_p, kappa_c, kappa_total : NDArray[np.float64], shape (n_temps, 6), W/(m K)
        Populations, coherences and their sum.
    frequency : NDArray[np.float64], shape (n_irr, n_bands), THz
    gamma : NDArray[np.float64], shape (n_temps, n_irr, n_bands), THz
        HWHM of all scattering.
    mode_kappa_p, mode_kappa_c : NDArray[np.float64], shape (n_temps, n_irr, n_bands, 6), W/(m K)
        Their sum over q and bands is the number of mesh points times κ.
    weights : NDArray[np.int64], shape (n_irr,)
    qpoints : NDArray[np.float64], shape (n_irr, 3), fractional
    group_velocity : NDArray[np.float64], shape (n_irr, n_bands, 3), Å·THz
    heat_capacity : NDArray[np.float64], shape (n_temps, n_irr, n_bands), eV/K
    kappa_rta, gamma_isotope : NDArray[np.float64], shapes (n_temps, 6), (n_irr, n_bands)
        Not given: ``gamma`` holds all scattering, and the populations are those asked for.
    """

    temperatures: NDArray[np.float64]
    kappa_p: NDArray[np.float64]
    kappa_c: NDArray[np.float64]
    kappa_total: NDArray[np.float64]
    frequency: NDArray[np.float64]
    gamma: NDArray[np.float64]
    mode_kappa_p: NDArray[np.float64]
    mode_kappa_c: NDArray[np.float64]
    weights: NDArray[np.int64]
    qpoints: NDArray[np.float64]
    group_velocity: NDArray[np.float64]
    heat_capacity: NDArray[np.float64]
    kappa_rta: NotRequired[NDArray[np.float64]]
    gamma_isotope: NotRequired[NDArray[np.float64]]


class WignerSolver:
    """Run populations and coherences on a prepared :class:`phono3py.Phono3py` object.

    The object carries fc2, fc3, the mesh and, when wanted, NAC parameters.

    Parameters
    ----------
    scattering : {"auto", "products", "phono3py"}
        Who sums the three-phonon scattering: phono3py, or :mod:`phon_wigner.phonons.scattering`, the same numbers in a
        seventh of the time or less. "auto" takes the products wherever they can do the job: relaxation times, and fc3
        symmetric under exchange of its atoms.
    """

    coherences: ClassVar[bool] = True
    direct_solution: ClassVar[bool] = True

    def __init__(self, *, scattering: str = "auto") -> None:
        if scattering not in ("auto", "products", "phono3py"):
            raise ShapeError(f"scattering is {scattering!r}, expected 'auto', 'products' or 'phono3py'.")
        self.scattering = scattering

    def __call__(
        self,
        phono3py: Phono3py,
        temperatures: Sequence[float] | NDArray[np.float64],
        *,
        lbte: bool = False,
        isotope: bool = True,
        boundary_mfp: float | None = None,
    ) -> WignerArrays:
        """Return the conductivity.

        Parameters
        ----------
        phono3py : phono3py.Phono3py
            fc2, fc3 and mesh set.
        temperatures : sequence of float, K
        lbte : bool
            Direct solution of the linearised Boltzmann equation for the populations.
        isotope : bool
            Scattering by isotopes: the natural mixture, or none of a pure isotope, as the masses say.
        boundary_mfp : float, optional
            Boundary mean free path, micrometres.

        Returns
        -------
        WignerArrays

        Raises
        ------
        WignerError
            phono3py does not offer the variant; or ``scattering="products"`` was asked for the collision matrix, or
            with an fc3 that is not symmetric.
        """
        if self.scattering == "products" or (self.scattering == "auto" and not lbte and _is_symmetric(phono3py)):
            return _by_products(phono3py, temperatures, lbte=lbte, isotope=isotope, boundary_mfp=boundary_mfp)
        return _by_phono3py(phono3py, temperatures, lbte=lbte, isotope=isotope, boundary_mfp=boundary_mfp)


def _by_phono3py(
    phono3py: Phono3py,
    temperatures: Sequence[float] | NDArray[np.float64],
    *,
    lbte: bool,
    isotope: bool,
    boundary_mfp: float | None,
) -> WignerArrays:
    """Let phono3py sum the scattering, and its variant ``wigner`` the conductivity."""
    from phon_wigner.phonons.mass_variance import natural_mass_variances

    require_variant()
    phono3py.init_phph_interaction()
    phono3py.run_thermal_conductivity(
        is_LBTE=lbte,
        temperatures=np.asarray(temperatures, dtype=np.float64),
        is_isotope=isotope,
        mass_variances=natural_mass_variances(phono3py.primitive) if isotope else None,
        boundary_mfp=boundary_mfp,
        transport_type=NAME,
    )
    run = phono3py.thermal_conductivity
    frequencies = np.asarray(run.frequencies)
    gamma = effective_linewidth(run._build_grid_point_aggregates(), boundary_mfp, frequencies)[0]
    return {
        "temperatures": np.asarray(run.temperatures),
        "kappa_p": np.asarray(run.kappa_P)[0],
        "kappa_c": np.asarray(run.kappa_C)[0],
        "kappa_total": np.asarray(run.kappa_total)[0],
        "frequency": np.asarray(run.frequencies),
        "gamma": gamma,
        "mode_kappa_p": np.asarray(run.mode_kappa)[0],
        "mode_kappa_c": np.asarray(run.mode_kappa_C)[0],
        "weights": np.asarray(run.grid_weights),
        "qpoints": np.asarray(run.qpoints),
        "group_velocity": np.asarray(run.group_velocities),
        "heat_capacity": np.asarray(run.mode_heat_capacities),
    }


def _is_symmetric(phono3py: Phono3py) -> bool:
    """Whether fc3 does not depend on the order of its atoms, but for rounding."""
    from phon_wigner.phonons.scattering import asymmetry

    return asymmetry(phono3py.fc3, phono3py.primitive) < 1e-6


def _by_products(
    phono3py: Phono3py,
    temperatures: Sequence[float] | NDArray[np.float64],
    *,
    lbte: bool,
    isotope: bool,
    boundary_mfp: float | None,
) -> WignerArrays:
    """Linewidths of :mod:`phon_wigner.phonons.scattering`, then the analysis of known linewidths."""
    from phonopy.phonon.grid import get_ir_grid_points, get_qpoints_from_bz_grid_points

    from phon_wigner.conductivity.postprocess import AnalysisSettings, analyze
    from phon_wigner.phonons.harmonic import HarmonicCrystal
    from phon_wigner.phonons.linewidths import Linewidths
    from phon_wigner.phonons.scattering import three_phonon_linewidths

    if lbte:
        raise ShapeError("scattering='products' gives linewidths, no collision matrix; use it with method = 'rta'.")
    if not _is_symmetric(phono3py):
        raise ShapeError(
            "fc3 depends on the order of its atoms, expected one that does not. Call symmetrize_fc3() of phono3py, or "
            "leave the sum to it with scattering = 'phono3py'."
        )
    phono3py.init_phph_interaction()
    interaction = phono3py.phph_interaction
    grid = interaction.bz_grid
    irreducible, weights, _ = get_ir_grid_points(grid)
    points = grid.grg2bzg[irreducible]
    values = np.atleast_1d(np.asarray(temperatures, dtype=np.float64))
    gamma = three_phonon_linewidths(interaction, points, values)
    symmetry = phono3py.primitive_symmetry
    crystal = HarmonicCrystal(
        interaction.dynamical_matrix,
        np.asarray(symmetry.reciprocal_operations, dtype=np.int64),
        float(interaction.frequency_factor_to_THz),
        float(symmetry.tolerance),
    )
    qpoints = get_qpoints_from_bz_grid_points(points, grid)
    isotopes = _isotopes(phono3py, points) if isotope else None
    result = analyze(
        crystal,
        Linewidths(values, qpoints, np.asarray(weights, dtype=np.int64), gamma, isotopes, source="this crystal"),
        settings=AnalysisSettings(keep_modes=True, imaginary_tolerance=np.inf, boundary_mfp=boundary_mfp),
    )
    return _arrays_of(result)


def _arrays_of(result: WignerResult) -> WignerArrays:
    """Give what a host keeps of a result with its modes."""
    return {
        "temperatures": result.temperatures,
        "kappa_p": result.kappa_p,
        "kappa_c": result.kappa_c,
        "kappa_total": result.kappa_total,
        "frequency": result.frequency,
        "gamma": result.gamma,
        "mode_kappa_p": result.mode_kappa_p,
        "mode_kappa_c": result.mode_kappa_c,
        "weights": result.weights,
        "qpoints": result.qpoints,
        "group_velocity": result.group_velocity,
        "heat_capacity": result.heat_capacity,
    }


def _isotopes(phono3py: Phono3py, points: NDArray[np.int64]) -> NDArray[np.float64]:
    """Isotope half widths of phono3py's own phonons at grid points, shape (n_points, n_bands), THz."""
    from phon_wigner.phonons.isotope import isotope_linewidths_on_grid
    from phon_wigner.phonons.mass_variance import natural_mass_variances

    interaction = phono3py.phph_interaction
    return isotope_linewidths_on_grid(
        interaction.phonons.frequencies,
        interaction.phonons.eigenvectors,
        interaction.bz_grid,
        points,
        natural_mass_variances(phono3py.primitive),
        symmetrize_tetrahedra=interaction.symmetrize_tetrahedra,
    )
