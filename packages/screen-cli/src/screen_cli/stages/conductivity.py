"""Lattice thermal conductivity of one crystal through a conductivity solver."""

from __future__ import annotations

import contextlib
import io
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from screen_cli.config import ConductivitySettings
from screen_cli.crystal.structure import given_axes
from screen_cli.crystal.supercell import Mesh, checked_mesh, choose_mesh, mesh_along_primitive_axes
from screen_cli.errors import ConfigError, PhysicsError
from screen_cli.physics.harmonic.lindemann import LARGEST_LINDEMANN_RATIO, lindemann_ratios
from screen_cli.physics.mesh_ladder import mesh_error, rungs
from screen_cli.plugins.manager import installed_plugins
from screen_cli.settings_file import settings_to_dict
from screen_cli.solvers.conductivity_arrays import OF_MODES, checked_arrays, count_imaginary_modes, largest_shares
from screen_cli.solvers.harmonic_modes import sample_displacements
from screen_cli.solvers.registered import make_conductivity_solver
from screen_cli.stages.displace import Displaced
from screen_cli.stages.force_constants import ForceConstants
from screen_cli.stages.phonon_objects import load_phono3py, load_phonopy
from screen_cli.stages.stage import Inputs, Stage, plugin_identity
from screen_cli.store.expression import evaluate
from screen_cli.store.record import Json, Record, TypedRecord, array, column, column_named

if TYPE_CHECKING:
    from phono3py import Phono3py

    from screen_cli.crystal.born import BornTensors
    from screen_cli.plugins.protocols import ConductivityArrays, ConductivitySolver

logger = logging.getLogger(__name__)

_REFERENCE_TEMPERATURE = 300.0
_LARGEST_SHARE = 0.5  # of κ_P in one mode and its equivalents; sound meshes of 9³ points have some 0.1
HIGHEST_KAPPA = 1e4
"""W/(m K): diamond has 2 to 3 thousand; more comes from modes that hardly anything scatters on the mesh."""


@dataclass(frozen=True)
class Rung:
    """κ on one mesh.

    Parameters
    ----------
    mesh : tuple of int
    kappa_total_w_mk : tuple of float
        Mean of xx, yy, zz at each temperature, W/(m K).
    """

    mesh: Mesh
    kappa_total_w_mk: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Conductivity(TypedRecord):
    """Lattice thermal conductivity; tensors have the components xx yy zz yz xz xy.

    Columns are a third of the trace at 300 K, or at the first temperature where 300 K is not among them.

    Parameters
    ----------
    temperatures : ndarray
        float64 (n_temps,), K.
    kappa_p, kappa_total : ndarray
        float64 (n_temps, 6), W/(m K): populations, and all.
    kappa_c : ndarray, optional
        float64 (n_temps, 6), W/(m K): coherences, where the solver has them.
    kappa_rta : ndarray, optional
        float64 (n_temps, 6), W/(m K): in relaxation-time approximation, beside the direct solution.
    mesh : ndarray
        int64 (3,).
    frequency : ndarray, optional
        float64 (n_irr, n_bands), THz; this and what follows are kept with ``keep_modes``.
    gamma : ndarray, optional
        float64 (n_temps, n_irr, n_bands), THz, half width at half maximum of all scattering.
    gamma_isotope : ndarray, optional
        float64 (n_irr, n_bands), THz.
    group_velocity : ndarray, optional
        float64 (n_irr, n_bands, 3), Å·THz.
    heat_capacity : ndarray, optional
        float64 (n_temps, n_irr, n_bands), eV/K.
    mode_kappa_p, mode_kappa_c : ndarray, optional
        float64 (n_temps, n_irr, n_bands, 6), W/(m K) times the number of mesh points.
    qpoints : ndarray, optional
        float64 (n_irr, 3), fractional.
    weights : ndarray, optional
        int64 (n_irr,).
    method : {"rta", "lbte"}
    n_imaginary_modes_ignored : int
        On the full mesh; they carry no heat.
    kappa_warnings : str
        Sentences about what weakens the result; empty when there is none.
    kappa_trusted : bool
        Force constants are trusted, no mode is imaginary, atoms move as far as crystals hold, and κ is possible.
    kappa_ladder : tuple of Rung
        κ on each mesh that was tried.
    kappa_final_mesh : tuple of int
    kappa_on_final_mesh : bool
    kappa_mesh_error : float, optional
        Estimated relative error of the mesh (:mod:`screen_cli.physics.mesh_ladder`), from three meshes on.
    kappa_mesh_axes : {"standard", "file"}
        Axes that ``conductivity.mesh`` counted: of the standardised primitive cell, or of the file; ``mesh`` itself
        always counts the former.
    lindemann_ratio : float, optional
        Largest root mean square displacement of an atom over the distance of its nearest neighbour, at the temperature
        of the columns (:mod:`screen_cli.physics.harmonic.lindemann`).
    """

    temperatures: NDArray[np.float64] = array(np.float64, "n_temps", copies=("temperature",))
    kappa_p: NDArray[np.float64] = array(np.float64, "n_temps", 6)
    kappa_total: NDArray[np.float64] = array(np.float64, "n_temps", 6, copies=("kappa",))
    kappa_c: NDArray[np.float64] | None = array(np.float64, "n_temps", 6, optional=True)
    kappa_rta: NDArray[np.float64] | None = array(np.float64, "n_temps", 6, optional=True)
    mesh: NDArray[np.int64] = array(np.int64, 3)
    frequency: NDArray[np.float64] | None = array(np.float64, "n_irr", "n_bands", optional=True)
    gamma: NDArray[np.float64] | None = array(np.float64, "n_temps", "n_irr", "n_bands", optional=True)
    gamma_isotope: NDArray[np.float64] | None = array(np.float64, "n_irr", "n_bands", optional=True)
    group_velocity: NDArray[np.float64] | None = array(np.float64, "n_irr", "n_bands", 3, optional=True)
    heat_capacity: NDArray[np.float64] | None = array(np.float64, "n_temps", "n_irr", "n_bands", optional=True)
    mode_kappa_p: NDArray[np.float64] | None = array(np.float64, "n_temps", "n_irr", "n_bands", 6, optional=True)
    mode_kappa_c: NDArray[np.float64] | None = array(np.float64, "n_temps", "n_irr", "n_bands", 6, optional=True)
    qpoints: NDArray[np.float64] | None = array(np.float64, "n_irr", 3, optional=True)
    weights: NDArray[np.int64] | None = array(np.int64, "n_irr", optional=True)
    method: str
    n_imaginary_modes_ignored: int
    kappa_warnings: str
    kappa_trusted: bool
    kappa_ladder: tuple[Rung, ...]
    kappa_final_mesh: Mesh
    kappa_on_final_mesh: bool
    kappa_mesh_error: float | None = None
    kappa_mesh_axes: Literal["standard", "file"] = "standard"
    lindemann_ratio: float | None = None

    @column
    def kappa_temperature_k(self) -> float:
        """Temperature of the columns, K."""
        return float(self.temperatures[self.row])

    @column
    def kappa_p_w_mk(self) -> float:
        """κ of the populations, W/(m K)."""
        return float(self.kappa_p[self.row, :3].mean())

    @column_named(nullable=True)
    def kappa_c_w_mk(self) -> float | None:
        """κ of the coherences, W/(m K); None where the solver has none."""
        return None if self.kappa_c is None else float(self.kappa_c[self.row, :3].mean())

    @column
    def kappa_total_w_mk(self) -> float:
        """κ, W/(m K)."""
        return float(self.kappa_total[self.row, :3].mean())

    @column
    def kappa_mesh(self) -> list[int]:
        """Give the mesh as a list."""
        return [int(number) for number in self.mesh]

    @column
    def kappa_by_temperature(self) -> dict[str, list[float]]:
        """Mean of xx, yy, zz at every temperature, W/(m K), of ``kappa_p``, ``kappa_c`` and ``kappa_total``."""
        tensors = {"kappa_p": self.kappa_p, "kappa_c": self.kappa_c, "kappa_total": self.kappa_total}
        return {
            name: [float(value) for value in tensor[:, :3].mean(axis=1)]
            for name, tensor in tensors.items()
            if tensor is not None
        }

    @property
    def row(self) -> int:
        """Row of the temperature of the columns in ``temperatures``."""
        row = int(np.argmin(np.abs(self.temperatures - _REFERENCE_TEMPERATURE)))
        return row if abs(self.temperatures[row] - _REFERENCE_TEMPERATURE) <= 1e-6 else 0


@dataclass(frozen=True)
class ComputeConductivity(Stage[Conductivity]):
    """The stage: force constants in, κ out.

    Parameters
    ----------
    displaced, force_constants : str
        Stages that displaced the supercells and fitted fc2 and fc3.
    fc3_of : str
        Stage whose fc3 is taken instead, in the same supercell; empty: none.
    """

    name: str = "conductivity"
    displaced: str = "displace"
    force_constants: str = "force_constants"
    fc3_of: str = ""
    version: int = 4  # κ is not trusted where atoms move farther than any crystal holds
    prefixes_columns: bool = False
    record_class: ClassVar[type[Conductivity]] = Conductivity

    @property
    def needs(self) -> tuple[str, ...]:
        """Supercells and force constants."""
        return (self.displaced, self.force_constants, *([self.fc3_of] if self.fc3_of else []))

    def depends(self, inputs: Inputs) -> Json:
        """Give the settings, solver and Born charges."""
        settings = inputs.settings.conductivity
        plugin = installed_plugins().get("conductivity_solvers", settings.solver)
        counted = given_axes(inputs.structure) if settings.mesh else []
        return [settings_to_dict(settings), plugin_identity(plugin), inputs.born_dependence(), *counted]

    def run(self, inputs: Inputs) -> Conductivity:
        """Compute κ."""
        settings = inputs.settings.conductivity
        force_constants = inputs.record(self.force_constants, ForceConstants)
        if self.fc3_of:
            force_constants = replace(force_constants, fc3=inputs.record(self.fc3_of, ForceConstants).fc3)
        return compute_conductivity(
            inputs.record(self.displaced, Displaced),
            force_constants,
            settings,
            make_conductivity_solver(settings.solver, settings.options),
            born=inputs.born,
            nac_method=inputs.settings.nac.method,
            given_cell=None if inputs.structure.given is None else inputs.structure.given.cell,
        )


def compute_conductivity(
    displaced: Displaced,
    force_constants: ForceConstants,
    settings: ConductivitySettings,
    solver: ConductivitySolver,
    *,
    born: BornTensors | None = None,
    nac_method: str = "gonze",
    given_cell: NDArray[np.float64] | None = None,
) -> Conductivity:
    """Compute κ at every temperature.

    Parameters
    ----------
    displaced : Displaced
    force_constants : ForceConstants
        With fc3.
    settings : ConductivitySettings
    solver : ConductivitySolver
    born : BornTensors, optional
        In the frame and order of the relaxed crystal.
    nac_method : {"gonze", "wang"}
    given_cell : ndarray, optional
        float64 (3, 3), Å: cell of the file (``Given.cell``), where its axes,
        which ``settings.mesh`` counts, are in another order.

    Raises
    ------
    ConfigError
        Bad mesh, spacing or temperature, no fc3, or a direct solution that the solver has not.
    PhysicsError
        κ is NaN or infinite.
    """
    if force_constants.fc3 is None:
        raise ConfigError("κ needs fc3, but only fc2 was fitted. Set force_constants.third_order = true.")
    if settings.method == "lbte" and not solver.direct_solution:
        raise ConfigError(
            f"solver '{settings.solver}' has no direct solution of the Boltzmann equation. Set conductivity.method = "
            '"rta", or another solver.'
        )
    temperatures = _checked_temperatures(settings.temperatures)
    phono3py = load_phono3py(displaced, force_constants=force_constants, born=born, nac_method=nac_method)
    primitive = np.asarray(phono3py.primitive.cell)
    final = choose_mesh(settings, primitive)
    axes: Literal["standard", "file"] = "standard"
    if settings.mesh:
        along, axes = mesh_along_primitive_axes(list(final), given_cell, displaced.unitcell_rotation, primitive)
        final = checked_mesh(along)
    phonopy = load_phonopy(displaced, force_constants, born=born, nac_method=nac_method)
    squares = sample_displacements(phonopy, final, temperatures)
    lindemann = lindemann_ratios(squares, primitive, np.asarray(phonopy.primitive.scaled_positions))
    trusted = force_constants.trusted
    meshes: list[list[int]] = []
    kappas: list[NDArray[np.float64]] = []
    for rung in rungs(list(final), settings.ladder):
        mesh = checked_mesh(rung)
        phono3py.mesh_numbers = list(mesh)
        try:
            found = _judged(_solve(phono3py, temperatures, settings, solver), mesh, settings, trusted, lindemann)
        except PhysicsError:
            if mesh == final:
                raise
            continue  # too coarse for this crystal
        meshes.append(list(mesh))
        kappas.append(found.kappa_total[:, :3].mean(axis=1))
        error = mesh_error(meshes, kappas, list(final))
        if error < settings.ladder_tolerance and not _matters(found, settings):
            break
    ladder = (Rung(checked_mesh(mesh), tuple(kappa.tolist())) for mesh, kappa in zip(meshes, kappas, strict=True))
    return replace(
        found,
        kappa_ladder=tuple(ladder),
        kappa_final_mesh=final,
        kappa_on_final_mesh=mesh == final,
        kappa_mesh_error=error if math.isfinite(error) else None,
        kappa_mesh_axes=axes,
    )


def _solve(
    phono3py: Phono3py, temperatures: NDArray[np.float64], settings: ConductivitySettings, solver: ConductivitySolver
) -> ConductivityArrays:
    """Run the solver on the mesh that is set; what it prints goes to the log."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        result = solver(
            phono3py,
            temperatures,
            lbte=settings.method == "lbte",
            isotope=settings.isotope,
            boundary_mfp=settings.boundary_mfp,
        )
    if printed.getvalue():
        logger.debug("%s", printed.getvalue())
    return result


def _matters(found: Conductivity, settings: ConductivitySettings) -> bool:
    """Whether the crystal goes to the final mesh in any case."""
    return bool(settings.refine_where) and bool(evaluate(settings.refine_where, found.to_storage().data))


def _judged(
    result: ConductivityArrays,
    mesh: Mesh,
    settings: ConductivitySettings,
    trusted: bool,
    lindemann: NDArray[np.float64],
) -> Conductivity:
    """Check a solver's arrays, and say what weakens them; of Lindemann ratios there is one at each temperature."""
    fields = checked_arrays(result)
    imaginary = count_imaginary_modes(fields)
    shares = largest_shares(fields)
    if not settings.keep_modes:
        fields = {name: values for name, values in fields.items() if name not in OF_MODES}
    found = Conductivity.from_storage(
        Record(
            {
                "method": settings.method,
                "n_imaginary_modes_ignored": imaginary,
                "kappa_warnings": "",
                "kappa_trusted": False,
                "kappa_ladder": [],
                "kappa_final_mesh": mesh,
                "kappa_on_final_mesh": True,
            },
            {**fields, "mesh": np.array(mesh, dtype=np.int64)},
        )
    )
    found = replace(found, lindemann_ratio=float(lindemann[found.row]))
    faults = list(_faults(found, shares))
    warnings = [*_warnings(found, settings, shares), *faults]
    for warning in warnings:
        logger.warning("%s", warning)
    return replace(found, kappa_warnings=" ".join(warnings), kappa_trusted=trusted and not imaginary and not faults)


def _warnings(found: Conductivity, settings: ConductivitySettings, shares: NDArray[np.float64]) -> Iterator[str]:
    """Yield sentences about what weakens the result."""
    if settings.mesh and any(number % 2 == 0 for number in settings.mesh):
        yield (
            f"Mesh {settings.mesh} is even; κ converges along odd and even meshes differently, so compare only "
            "meshes of one parity."
        )
    if min(found.kappa_mesh) < 5:
        yield f"Mesh {found.kappa_mesh} is coarse: κ may be off by tens of per cent."
    if found.n_imaginary_modes_ignored:
        yield f"{found.n_imaginary_modes_ignored} imaginary modes of the mesh carry no heat here."
    elsewhere = [f"{t:g}" for t, share in zip(found.temperatures, shares, strict=True) if share > _LARGEST_SHARE]
    if elsewhere and shares[found.row] <= _LARGEST_SHARE:
        yield f"At {', '.join(elsewhere)} K a single mode carries most of κ_P: these temperatures need a finer mesh."


def _faults(found: Conductivity, shares: NDArray[np.float64]) -> Iterator[str]:
    """Yield sentences about a κ that no crystal has, or that hangs on one mode of the mesh."""
    if found.kappa_p[:, :3].min() <= 0:
        yield "κ_P is zero along an axis: no heat flows there."
    if found.kappa_total_w_mk > HIGHEST_KAPPA:
        yield f"κ = {found.kappa_total_w_mk:.3g} W/(m K) is beyond any crystal: is the fit of fc3 determined?"
    if shares[found.row] > _LARGEST_SHARE:
        yield (
            f"A single mode carries {shares[found.row]:.0%} of κ_P: hardly anything scatters it on this mesh, or "
            "nothing else is excited. Take a finer one."
        )
    if found.lindemann_ratio is not None and found.lindemann_ratio > LARGEST_LINDEMANN_RATIO:
        yield (
            f"At {found.kappa_temperature_k:g} K an atom moves by {found.lindemann_ratio:.0%} of the distance of its "
            "nearest neighbour, and crystals melt at 10 to 15 %: harmonic phonons mean nothing here."
        )


def _checked_temperatures(temperatures: list[float]) -> NDArray[np.float64]:
    """Validate a list of positive temperatures."""
    values = np.array(temperatures, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all() or values.min() <= 0:
        raise ConfigError(f"conductivity.temperatures is {temperatures}, expected a list of temperatures above 0 K.")
    return values
