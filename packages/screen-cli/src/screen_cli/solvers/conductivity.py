"""Phono3py's own transport: relaxation times, and the direct solution of the linearised Boltzmann equation.

References
----------
A. Togo, L. Chaput, I. Tanaka, Phys. Rev. B 91, 094306 (2015), doi:10.1103/PhysRevB.91.094306;
L. Chaput, Phys. Rev. Lett. 110, 265506 (2013), doi:10.1103/PhysRevLett.110.265506.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from screen_cli.crystal.masses import has_own_masses, mass_variances
from screen_cli.crystal.phonopy_cells import ase_cell

if TYPE_CHECKING:
    from phono3py import Phono3py

    from screen_cli.plugins.protocols import ConductivityArrays


class StandardSolver:
    """Solve the phonon Boltzmann equation with phono3py; populations only, no coherences."""

    coherences: ClassVar[bool] = False
    direct_solution: ClassVar[bool] = True

    def __call__(
        self,
        phono3py: Phono3py,
        temperatures: Sequence[float] | NDArray[np.float64],
        *,
        lbte: bool = False,
        isotope: bool = True,
        boundary_mfp: float | None = None,
    ) -> ConductivityArrays:
        """Return the conductivity.

        Parameters
        ----------
        phono3py : phono3py.Phono3py
            fc2, fc3 and mesh set.
        temperatures : sequence of float, K
        lbte : bool
            Direct solution instead of the relaxation-time approximation.
        isotope : bool
            Scattering by isotopes: of the natural mixture, unless the masses of the primitive cell are others.
        boundary_mfp : float, optional
            Boundary mean free path, micrometres.

        Returns
        -------
        dict
            The arrays of :class:`screen_cli.plugins.protocols.ConductivityArrays`; with ``lbte`` also ``kappa_rta``.
        """
        crystal = ase_cell(phono3py.primitive)
        phono3py.init_phph_interaction()
        phono3py.run_thermal_conductivity(
            is_LBTE=lbte,
            temperatures=np.asarray(temperatures, dtype=np.float64),
            is_isotope=isotope,
            mass_variances=mass_variances(crystal) if isotope and has_own_masses(crystal) else None,
            boundary_mfp=boundary_mfp,
            log_level=0,
        )
        run = phono3py.thermal_conductivity
        velocities = np.asarray(run.group_velocities)
        gamma = np.array(run.gamma)[0]
        result: dict[str, NDArray[np.float64]] = {}
        if isotope and run.gamma_isotope is not None:
            result["gamma_isotope"] = np.array(run.gamma_isotope)[0]
            gamma = gamma + result["gamma_isotope"]
        if boundary_mfp is not None:
            gamma = gamma + _boundary_linewidth(velocities, boundary_mfp)
        if lbte:
            result["kappa_rta"] = np.array(run.kappa_RTA)[0]
        result |= {
            "temperatures": np.array(run.temperatures),
            "kappa_p": np.array(run.kappa)[0],
            "frequency": np.array(run.frequencies),
            "gamma": gamma,
            "weights": np.array(run.grid_weights),
            "qpoints": np.array(run.qpoints),
            "group_velocity": velocities,
            "heat_capacity": np.array(run.mode_heat_capacities),
            "mode_kappa_p": np.array(run.mode_kappa)[0],
        }
        return cast("ConductivityArrays", result)


def _boundary_linewidth(velocities: NDArray[np.float64], boundary_mfp: float) -> NDArray[np.float64]:
    """HWHM |v|/(4π L) in THz for velocities in Å·THz and L in μm."""
    from ase.units import Ang, m

    length = boundary_mfp * 1e-6 * m / Ang  # Å
    width: NDArray[np.float64] = np.linalg.norm(velocities, axis=-1) / (4 * np.pi * length)
    return width
