"""The phono3py variant ``wigner``: ``--tt wigner`` and ``transport_type="wigner"``.

phono3py calls :func:`register` through the entry-point group ``phono3py.conductivity``. Any exception there is
swallowed by phono3py, which then only says that ``wigner-rta`` is not implemented; ``phon-wigner doctor``
shows the real reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from phon_wigner.conductivity.postprocess import check_conductivity
from phon_wigner.phono3py_variant.components import WignerConductivity, WignerVelocitySolver

if TYPE_CHECKING:
    from phono3py.conductivity.build_components import VariantContext
    from phono3py.conductivity.collision_matrix_kernel import CollisionMatrixKernel
    from phono3py.conductivity.grid_point_data import GridPointAggregates, ScatteringResult

NAME = "wigner"
"""Registered name. ``wte`` belongs to the separate plugin phono3py-wte."""


class _WignerSolver:
    """What both solutions share: the conductivity of the coherences, the total, the table.

    Parameters
    ----------
    ctx : phono3py.conductivity.build_components.VariantContext
        Settings of the run.
    """

    printed: tuple[tuple[str, str], ...] = (("K_P", "kappa_P"), ("K_C", "kappa_C"), ("K_TOT", "kappa"))

    def __init__(self, ctx: VariantContext) -> None:
        self._conductivity = WignerConductivity(ctx)
        self._settings = ctx.kappa_settings
        self._log_level = ctx.log_level

    @property
    def kappa_P(self) -> NDArray[np.float64]:
        """Populations, shape (n_sigmas, n_temps, 6), W/(m K)."""
        return self._conductivity.kappa_P_RTA

    @property
    def kappa(self) -> NDArray[np.float64]:
        """κ_P + κ_C, shape (n_sigmas, n_temps, 6), W/(m K)."""
        return np.asarray(self.kappa_P + self._conductivity.kappa_C)

    @property
    def kappa_total(self) -> NDArray[np.float64]:
        """Same as ``kappa``."""
        return self.kappa

    def __getattr__(self, name: str) -> NDArray[np.float64]:
        """Offer kappa_C, mode_kappa_C, kappa_P_RTA, ... of the Wigner conductivity."""
        if name.startswith("_"):
            raise AttributeError(name)
        values: NDArray[np.float64] = getattr(self._conductivity, name)
        return values

    def _check(self) -> None:
        """Refuse a κ_P that is not finite or negative along some direction; κ_C was checked before."""
        for row in self.kappa_P.reshape(-1, 6):
            check_conductivity(row, "κ_P")

    def log_kappa(self, *_: object, **__: object) -> None:
        """Print the table that phono3py prints at the end of a run."""
        if not self._log_level:
            return
        for i, _sigma in enumerate(self._settings.sigmas):
            for label, name in self.printed:
                _print_rows(label, self._settings.temperatures, getattr(self, name)[i])


class WignerRTASolver(_WignerSolver):
    """Populations in the relaxation-time approximation plus coherences.

    Extra datasets of kappa-*.hdf5: ``kappa_P``, ``kappa_C``, ``kappa_total`` (n_temps, 6; W/(m K)),
    ``mode_kappa`` (populations, as in a standard run, so that phono3py-kaccum works), ``mode_kappa_C``
    (n_temps, n_qpoints, n_bands, 6). ``kappa`` is the total.
    """

    def finalize(self, aggregates: GridPointAggregates) -> None:
        """Compute the conductivity from all grid points."""
        self._conductivity.run(aggregates)
        self._check()

    @property
    def mode_kappa(self) -> NDArray[np.float64]:
        """Populations per mode, shape (n_sigmas, n_temps, n_grid_points, n_bands, 6)."""
        return self._conductivity.mode_kappa_P_RTA

    @property
    def kappa_TOT_RTA(self) -> NDArray[np.float64]:
        """Name that phono3py 3 used for the total."""
        return self.kappa

    def get_extra_kappa_output(self) -> dict[str, NDArray[np.float64] | None]:
        """Return the additional HDF5 datasets; the first axis of each is the smearing."""
        own = {"kappa_P": self.kappa_P, "kappa_total": self.kappa, "mode_kappa": self.mode_kappa}
        return own | self._conductivity.common_output()


class _KernelWithCoherences:
    """phono3py's collision-matrix kernel whose ``kappa`` includes the coherences."""

    def __init__(self, kernel: CollisionMatrixKernel, owner: WignerLBTESolver) -> None:
        self._kernel = kernel
        self._owner = owner

    @property
    def kappa(self) -> NDArray[np.float64]:
        """κ_P of the direct solution plus κ_C."""
        return self._owner.kappa

    @property
    def collision_matrix(self) -> NDArray[np.float64] | None:
        """The assembled collision matrix."""
        matrix: NDArray[np.float64] | None = self._kernel.collision_matrix
        return matrix

    @collision_matrix.setter
    def collision_matrix(self, value: NDArray[np.float64] | None) -> None:
        self._kernel.collision_matrix = value

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._kernel, name)


class WignerLBTESolver(_WignerSolver):
    """Populations from phono3py's direct solution plus coherences from its diagonal linewidths.

    κ_P is phono3py's direct solution plus ``kappa_block``, the pairs inside degenerate blocks that a diagonal
    group velocity leaves out (in the relaxation-time approximation). Datasets as in :class:`WignerRTASolver`;
    ``mode_kappa`` is the direct solution per mode and ``kappa_RTA`` phono3py's own.

    Parameters
    ----------
    ctx : phono3py.conductivity.build_components.VariantContext
        Settings of the run, collision-matrix kernel included.
    """

    printed = (("K_P", "kappa_P"), ("K_P_RTA", "kappa_P_RTA"), ("K_C", "kappa_C"), ("K_TOT", "kappa"))

    def __init__(self, ctx: VariantContext) -> None:
        super().__init__(ctx)
        self._kernel = ctx.collision_matrix_kernel
        self.solver = _KernelWithCoherences(self._kernel, self)

    def store(self, i_gp: int, collision_result: ScatteringResult) -> None:
        """Hand one row of the collision matrix to phono3py's kernel."""
        self._kernel.store(i_gp, collision_result)

    def finalize(self, aggregates: GridPointAggregates) -> None:
        """Solve the collision matrix, then add the coherences."""
        for _ in self._kernel.solve_iter(aggregates):
            pass
        self._conductivity.run(aggregates)
        self._check()
        self.log_kappa()

    @property
    def kappa_P(self) -> NDArray[np.float64]:
        """Direct solution, shape (n_sigmas, n_temps, 6), W/(m K)."""
        return np.asarray(self._kernel.kappa + self._conductivity.kappa_block)

    @property
    def kappa_P_exact(self) -> NDArray[np.float64]:
        """Name that phono3py 3 used for the populations of the direct solution."""
        return self.kappa_P

    def get_extra_kappa_output(self) -> dict[str, NDArray[np.float64] | None]:
        """Return the additional HDF5 datasets; the first axis of each is the smearing."""
        own = {
            "kappa_P": self.kappa_P,
            "kappa_P_RTA": self._conductivity.kappa_P_RTA,
            "kappa_total": self.kappa,
            "mode_kappa": self._kernel.mode_kappa,
        }
        return own | self._conductivity.common_output()


def _print_rows(label: str, temperatures: NDArray[np.float64], kappa: NDArray[np.float64]) -> None:
    """Write one block of phono3py's conductivity table (its own convention for log_level >= 1)."""
    print(f"#{label:8s} T(K)        xx         yy         zz         yz         xz         xy")
    for temperature, row in zip(temperatures, kappa, strict=True):
        print(f"{label:9s}{temperature:7.1f} " + "".join(f" {value:10.3f}" for value in row))
    print("", flush=True)


def register() -> None:
    """Tell phono3py about the variant; called by its entry-point loader."""
    from phono3py.conductivity.factory import register_variant

    register_variant(
        NAME,
        make_velocity_solver=WignerVelocitySolver,
        make_rta_kappa_solver=WignerRTASolver,
        make_lbte_kappa_solver=WignerLBTESolver,
    )
