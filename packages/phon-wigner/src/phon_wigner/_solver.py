"""Thermal conductivity of a prepared Phono3py object as a dictionary of documented arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phon_wigner.doctor import require_variant
from phon_wigner.phono3py_components import effective_linewidth
from phon_wigner.variant import NAME


class WignerSolver:
    """Run populations and coherences on a prepared :class:`phono3py.Phono3py` object.

    The object carries fc2, fc3, the mesh and, when wanted, NAC parameters.
    """

    def __call__(
        self,
        phono3py: Any,
        temperatures: Sequence[float] | NDArray[np.float64],
        *,
        lbte: bool = False,
        isotope: bool = True,
        boundary_mfp: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Return the conductivity.

        Parameters
        ----------
        phono3py : phono3py.Phono3py
            fc2, fc3 and mesh set.
        temperatures : sequence of float, K
        lbte : bool
            Direct solution of the linearised Boltzmann equation for the populations.
        isotope : bool
            Natural isotope scattering.
        boundary_mfp : float, optional
            Boundary mean free path, micrometres.

        Returns
        -------
        dict[str, NDArray]
            ``temperatures`` (n_temps,; K);
            ``kappa_p``, ``kappa_c``, ``kappa_total`` (n_temps, 6; W/(m K); xx yy zz yz xz xy);
            ``frequency`` (n_irr, n_bands; THz); ``gamma`` (n_temps, n_irr, n_bands; HWHM, THz, all scattering);
            ``mode_kappa_p``, ``mode_kappa_c`` (n_temps, n_irr, n_bands, 6; the sum over q and bands is the number
            of mesh points times κ); ``weights`` (n_irr,); ``qpoints`` (n_irr, 3; fractional);
            ``group_velocity`` (n_irr, n_bands, 3; Å·THz); ``heat_capacity`` (n_temps, n_irr, n_bands; eV/K).

        Raises
        ------
        WignerError
            phono3py does not offer the variant.
        """
        require_variant()
        phono3py.init_phph_interaction()
        phono3py.run_thermal_conductivity(
            is_LBTE=lbte,
            temperatures=np.asarray(temperatures, dtype=np.float64),
            is_isotope=isotope,
            boundary_mfp=boundary_mfp,
            transport_type=NAME,
        )
        run = phono3py.thermal_conductivity
        gamma = effective_linewidth(run._build_grid_point_aggregates(), boundary_mfp)[0]
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
