"""What the properties of thermal expansion give: elastic constants, expansion by each route, the volume scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from screen_cli.store.record import Record, TypedRecord, array


@dataclass(frozen=True, kw_only=True, eq=False)
class ElasticConstants(TypedRecord):
    """Elastic constants of a crystal; Voigt notation, order xx yy zz yz xz xy, Cartesian frame of the cell.

    Parameters
    ----------
    stiffness_gpa, stiffness_clamped_gpa : ndarray
        float64 (6, 6), GPa: with relaxed ions, and with ions carried along by the strain.
    mechanically_stable : bool
        Whether all eigenvalues are positive.
    elastic_eigenvalue_min_gpa : float
        Smallest eigenvalue, GPa.
    elastic_asymmetry : float
        Part that symmetry forbids, relative: noise of the potential.
    residual_stress_gpa : float
        Largest component of the stress of the unstrained crystal, GPa.
    bulk_modulus_gpa, bulk_modulus_voigt_gpa, shear_modulus_gpa, young_modulus_gpa : float, optional
        Of a polycrystal (:class:`screen_cli.physics.elasticity.elastic.PolycrystalModuli`), GPa; absent when unstable.
    poisson_ratio, pugh_ratio, elastic_anisotropy : float, optional
        Likewise, without unit.
    """

    stiffness_gpa: NDArray[np.float64] = array(np.float64, 6, 6)
    stiffness_clamped_gpa: NDArray[np.float64] = array(np.float64, 6, 6)
    mechanically_stable: bool
    elastic_eigenvalue_min_gpa: float
    elastic_asymmetry: float
    residual_stress_gpa: float
    bulk_modulus_gpa: float | None = None
    bulk_modulus_voigt_gpa: float | None = None
    shear_modulus_gpa: float | None = None
    young_modulus_gpa: float | None = None
    poisson_ratio: float | None = None
    pugh_ratio: float | None = None
    elastic_anisotropy: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ThermalExpansion(TypedRecord):
    """Thermal expansion from mode Grüneisen tensors; what is at 300 K says so.

    Parameters
    ----------
    gamma_mean : float
        Mean Grüneisen parameter at 300 K, a third of the trace.
    alpha_linear_300k : float
        A third of the volumetric expansion, 1/K.
    alpha_a_300k, alpha_b_300k, alpha_c_300k : float
        Along the conventional axes, 1/K.
    gamma_mode_min, gamma_mode_max : float
        Of the volumetric Grüneisen parameters of the modes.
    gruneisen_mesh : tuple of int
    temperatures : ndarray
        float64 (n_temps,), K.
    alpha : ndarray
        float64 (n_temps, 3, 3), 1/K, Cartesian.
    beta : ndarray
        float64 (n_temps,), 1/K, volumetric.
    alpha_axes : ndarray
        float64 (n_temps, 3), 1/K, along the conventional axes.
    gamma : ndarray
        float64 (n_temps, 3, 3), Grüneisen tensor of the crystal.
    heat_capacity : ndarray
        float64 (n_temps,), eV/K per primitive cell.
    qpoints : ndarray
        float64 (n_irr, 3), fractional.
    weights : ndarray
        int64 (n_irr,).
    frequencies : ndarray
        float64 (n_irr, n_bands), THz.
    gruneisen : ndarray
        float64 (n_irr, n_bands), volumetric.
    gruneisen_tensor : ndarray
        float64 (n_irr, n_bands, 3, 3).
    """

    suffix: ClassVar[str] = ""
    """End of the names of the columns, which tells the routes apart."""
    gamma_mean: float
    alpha_linear_300k: float
    alpha_a_300k: float
    alpha_b_300k: float
    alpha_c_300k: float
    gamma_mode_min: float
    gamma_mode_max: float
    gruneisen_mesh: tuple[int, ...]
    temperatures: NDArray[np.float64] = array(np.float64, "n_temps")
    alpha: NDArray[np.float64] = array(np.float64, "n_temps", 3, 3)
    beta: NDArray[np.float64] = array(np.float64, "n_temps")
    alpha_axes: NDArray[np.float64] = array(np.float64, "n_temps", 3)
    gamma: NDArray[np.float64] = array(np.float64, "n_temps", 3, 3)
    heat_capacity: NDArray[np.float64] = array(np.float64, "n_temps")
    qpoints: NDArray[np.float64] = array(np.float64, "n_irr", 3)
    weights: NDArray[np.int64] = array(np.int64, "n_irr")
    frequencies: NDArray[np.float64] = array(np.float64, "n_irr", "n_bands")
    gruneisen: NDArray[np.float64] = array(np.float64, "n_irr", "n_bands")
    gruneisen_tensor: NDArray[np.float64] = array(np.float64, "n_irr", "n_bands", 3, 3)

    def to_storage(self) -> Record:
        """Spread the fields, each column with the suffix of the route."""
        stored = super().to_storage()
        return Record({f"{name}{self.suffix}": value for name, value in stored.data.items()}, stored.arrays)

    @classmethod
    def from_storage(cls, record: Record) -> Self:
        """Collect the fields from columns with the suffix of the route."""
        return super().from_storage(
            Record({name.removesuffix(cls.suffix): value for name, value in record.data.items()}, record.arrays)
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class ThermalExpansionFromStrains(ThermalExpansion):
    """The same from strained crystals."""

    suffix: ClassVar[str] = "_strain"


@dataclass(frozen=True, kw_only=True, eq=False)
class VolumeScan(TypedRecord):
    """Thermal expansion from a quasi-harmonic volume scan; what is at 300 K is absent when that was not reached.

    Parameters
    ----------
    qha_max_temperature_k : float
        Up to where the volume stays among those scanned, K.
    qha_unstable_volumes : int
        Volumes left out because of imaginary modes.
    qha_warning : str
        Why the scan should not be trusted; empty when there is no reason.
    qha_alpha_linear_300k : float, optional
        A third of β, 1/K.
    qha_bulk_modulus_300k_gpa : float, optional
        Isothermal, GPa.
    qha_gamma_300k : float, optional
        Thermodynamic Grüneisen parameter.
    qha_volume_ratio_300k : float, optional
        V(300 K)/V(static).
    temperatures : ndarray
        float64 (n_temps,), K.
    beta : ndarray
        float64 (n_temps,), 1/K.
    volume : ndarray
        float64 (n_temps,), Å³ per primitive cell.
    bulk_modulus_gpa : ndarray
        float64 (n_temps,), GPa.
    gamma : ndarray
        float64 (n_temps,), thermodynamic Grüneisen parameter.
    scan_volumes, scan_energies : ndarray
        float64 (n_volumes,), Å³ and eV per primitive cell.
    scan_gamma : ndarray
        float64 (n_intervals,), between neighbouring volumes.
    alpha_axes : ndarray, optional
        float64 (n_temps, 3), 1/K, along the conventional axes, where angles are fixed.
    """

    qha_max_temperature_k: float
    qha_unstable_volumes: int
    qha_warning: str
    qha_alpha_linear_300k: float | None = None
    qha_bulk_modulus_300k_gpa: float | None = None
    qha_gamma_300k: float | None = None
    qha_volume_ratio_300k: float | None = None
    temperatures: NDArray[np.float64] = array(np.float64, "n_temps")
    beta: NDArray[np.float64] = array(np.float64, "n_temps")
    volume: NDArray[np.float64] = array(np.float64, "n_temps")
    bulk_modulus_gpa: NDArray[np.float64] = array(np.float64, "n_temps")
    gamma: NDArray[np.float64] = array(np.float64, "n_temps")
    scan_volumes: NDArray[np.float64] = array(np.float64, "n_volumes")
    scan_energies: NDArray[np.float64] = array(np.float64, "n_volumes")
    scan_gamma: NDArray[np.float64] = array(np.float64, "n_intervals")
    alpha_axes: NDArray[np.float64] | None = array(np.float64, "n_temps", 3, optional=True)
