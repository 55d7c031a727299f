"""Lattice thermal conductivity of one crystal through a conductivity solver."""

from __future__ import annotations

import contextlib
import io
import logging
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screen_cli.config import ConductivitySettings
from screen_cli.errors import ConfigError, PhysicsError
from screen_cli.stages.lattice import load_phono3py
from screen_cli.stages.mesh_ladder import mesh_error, rungs
from screen_cli.store.expression import evaluate
from screen_cli.store.record import Record

logger = logging.getLogger(__name__)

_REFERENCE_TEMPERATURE = 300.0
_MODE_ARRAYS = (
    "frequency",
    "gamma",
    "gamma_isotope",
    "group_velocity",
    "heat_capacity",
    "mode_kappa_p",
    "mode_kappa_c",
    "qpoints",
    "weights",
)
HIGHEST_KAPPA = 1e4
"""W/(m K): diamond has 2 to 3 thousand; more comes from modes that hardly anything scatters on the mesh."""
_IMAGINARY_THZ = -0.01


def compute_conductivity(
    displace_record: Record,
    force_constants: Record,
    settings: ConductivitySettings,
    solver: Any,
    *,
    born: str | None = None,
    nac_method: str = "gonze",
) -> Record:
    """Compute κ at every temperature.

    Parameters
    ----------
    displace_record, force_constants : Record
        Of those stages, with fc3.
    settings : ConductivitySettings
    solver : callable
        As in :class:`screen_cli.plugins.records.ConductivitySolverPlugin`.
    born : str, optional
        Text of a BORN file.
    nac_method : {"gonze", "wang"}

    Returns
    -------
    Record
        data: ``kappa_p_w_mk``, ``kappa_total_w_mk`` and, with coherences, ``kappa_c_w_mk``: a third of the trace
        at 300 K, or at the first temperature (``kappa_temperature_k``); ``kappa_mesh``; ``method``;
        ``n_imaginary_modes_ignored``; ``kappa_warnings`` (text, empty when there is none); ``kappa_trusted``;
        ``kappa_ladder``, κ at every temperature on each mesh that was tried; ``kappa_final_mesh`` and
        ``kappa_on_final_mesh``; with three meshes or more ``kappa_mesh_error`` (see
        :mod:`screen_cli.stages.mesh_ladder`).

        arrays: ``temperatures`` (n_temps,) K, ``kappa_p``, ``kappa_total`` and ``kappa_c`` (n_temps, 6) W/(m K),
        components xx yy zz yz xz xy; ``kappa``, the same as ``kappa_total``, for phono3py's tools;
        ``temperature`` likewise; ``mesh`` (3,); with ``keep_modes`` every mode-resolved array of the solver.

    Raises
    ------
    ConfigError
        Bad mesh, spacing or temperature, or no fc3.
    PhysicsError
        κ is NaN or infinite.
    """
    if "fc3" not in force_constants.arrays:
        raise ConfigError("κ needs fc3, but only fc2 was fitted. Set force_constants.third_order = true.")
    temperatures = _checked_temperatures(settings.temperatures)
    phono3py = load_phono3py(displace_record, force_constants=force_constants, born=born, nac_method=nac_method)
    final = choose_mesh(settings, np.asarray(phono3py.primitive.cell))
    meshes: list[list[int]] = []
    kappas: list[NDArray[np.float64]] = []
    for mesh in rungs(final, settings.ladder):
        phono3py.mesh_numbers = mesh
        try:
            record = _to_record(_solve(phono3py, temperatures, settings, solver), mesh, settings, force_constants)
        except PhysicsError:
            if mesh == final:
                raise
            continue  # too coarse for this crystal
        meshes.append(mesh)
        kappas.append(record.arrays["kappa_total"][:, :3].mean(axis=1))
        error = mesh_error(meshes, kappas, final)
        if error < settings.ladder_tolerance and not _matters(record.data, settings):
            break
    ladder = [{"mesh": mesh, "kappa_total_w_mk": kappa.tolist()} for mesh, kappa in zip(meshes, kappas, strict=True)]
    known = {"kappa_mesh_error": error} if math.isfinite(error) else {}
    on_mesh = {"kappa_ladder": ladder, "kappa_final_mesh": final, "kappa_on_final_mesh": mesh == final}
    return Record(record.data | known | on_mesh, record.arrays)


def _solve(
    phono3py: Any, temperatures: NDArray[np.float64], settings: ConductivitySettings, solver: Any
) -> dict[str, NDArray[Any]]:
    """Run the solver on the mesh that is set; what it prints goes to the log."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        result: dict[str, NDArray[Any]] = solver(
            phono3py,
            temperatures,
            lbte=settings.method == "lbte",
            isotope=settings.isotope,
            boundary_mfp=settings.boundary_mfp,
        )
    if printed.getvalue():
        logger.debug("%s", printed.getvalue())
    return result


def _matters(data: dict[str, Any], settings: ConductivitySettings) -> bool:
    """Whether the crystal goes to the final mesh in any case."""
    return bool(settings.refine_where) and bool(evaluate(settings.refine_where, data))


def choose_mesh(settings: ConductivitySettings, cell: NDArray[np.float64]) -> list[int]:
    """Mesh as given, or the smallest odd one whose neighbouring points lie within ``q_spacing``.

    Parameters
    ----------
    settings : ConductivitySettings
        ``q_spacing`` in 1/Å with 2π: n_i ≥ |b_i| / q_spacing.
    cell : ndarray
        float64 (3, 3), rows are the primitive lattice vectors, Å.

    Raises
    ------
    ConfigError
        Not three positive whole numbers, or a spacing that is not positive.
    """
    if settings.mesh:
        if len(settings.mesh) != 3 or any(int(number) != number or number < 1 for number in settings.mesh):
            raise ConfigError(
                f"conductivity.mesh is {list(settings.mesh)}, expected three positive whole numbers, e.g. [11, 11, 11]."
            )
        return [int(number) for number in settings.mesh]
    if not settings.q_spacing > 0:
        raise ConfigError(f"conductivity.q_spacing is {settings.q_spacing}, expected a number above 0, in 1/Å.")
    lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(cell), axis=0)
    numbers = [max(1, math.ceil(length / settings.q_spacing - 1e-9)) for length in lengths]
    return [number + 1 - number % 2 for number in numbers]


def _to_record(
    result: dict[str, NDArray[Any]], mesh: list[int], settings: ConductivitySettings, force_constants: Record
) -> Record:
    """Check a solver's arrays and name the scalars."""
    for name in ("temperatures", "kappa_p"):
        if name not in result:
            raise PhysicsError(f"the conductivity solver returned no '{name}' (only {sorted(result)}).")
    coherences = "kappa_c" in result
    kappa: dict[str, NDArray[np.float64]] = {
        name: np.array(result[name]) for name in ("kappa_p", "kappa_c") if name in result
    }
    kappa["kappa_total"] = np.array(result["kappa_total"]) if "kappa_total" in result else kappa["kappa_p"]
    temperatures = np.array(result["temperatures"], dtype=np.float64)
    for name, tensor in kappa.items():
        if tensor.shape != (len(temperatures), 6) or not np.isfinite(tensor).all():
            raise PhysicsError(
                f"{name} has shape {tensor.shape} and {np.count_nonzero(~np.isfinite(tensor))} values that are not "
                f"finite, expected {(len(temperatures), 6)} finite ones. Imaginary modes or empty linewidths are "
                "the usual cause; look at min_frequency_thz."
            )
    index = int(np.argmin(np.abs(temperatures - _REFERENCE_TEMPERATURE)))
    if abs(temperatures[index] - _REFERENCE_TEMPERATURE) > 1e-6:
        index = 0
    data: dict[str, Any] = {f"{name}_w_mk": float(tensor[index, :3].mean()) for name, tensor in kappa.items()}
    data["kappa_temperature_k"] = float(temperatures[index])
    data["kappa_mesh"] = list(mesh)
    data["kappa_by_temperature"] = {
        name: [float(value) for value in tensor[:, :3].mean(axis=1)] for name, tensor in kappa.items()
    }
    if not coherences:
        data["kappa_c_w_mk"] = None
    data["method"] = settings.method
    imaginary = 0
    if "frequency" in result:
        n_imaginary = np.count_nonzero(np.asarray(result["frequency"]) < _IMAGINARY_THZ, axis=1)
        weights = np.asarray(result.get("weights", np.ones(len(n_imaginary))))
        imaginary = int(np.dot(n_imaginary, weights))
    data["n_imaginary_modes_ignored"] = imaginary
    warnings = list(_warnings(data, kappa, settings))
    data["kappa_warnings"] = " ".join(warnings)
    impossible = any(_impossibilities(data, kappa))
    data["kappa_trusted"] = bool(force_constants.data.get("trusted", True) and not imaginary and not impossible)
    for warning in warnings:
        logger.warning("%s", warning)
    arrays: dict[str, NDArray[Any]] = {"temperatures": temperatures, "temperature": temperatures, **kappa}
    arrays["kappa"] = kappa["kappa_total"]
    arrays["mesh"] = np.array(mesh, dtype=np.int64)
    if "kappa_rta" in result:
        arrays["kappa_rta"] = np.array(result["kappa_rta"])
    if settings.keep_modes:
        arrays |= {name: np.array(result[name]) for name in _MODE_ARRAYS if name in result}
    return Record(data, arrays)


def _warnings(data: dict[str, Any], kappa: dict[str, NDArray[np.float64]], settings: ConductivitySettings) -> Any:
    """Yield sentences about what weakens the result."""
    if settings.mesh and any(number % 2 == 0 for number in settings.mesh):
        yield (
            f"Mesh {settings.mesh} is even; κ converges along odd and even meshes differently, so compare only "
            "meshes of one parity."
        )
    if min(data["kappa_mesh"]) < 5:
        yield f"Mesh {data['kappa_mesh']} is coarse: κ may be off by tens of per cent."
    if data["n_imaginary_modes_ignored"]:
        yield f"{data['n_imaginary_modes_ignored']} imaginary modes of the mesh carry no heat here."
    yield from _impossibilities(data, kappa)


def _impossibilities(data: dict[str, Any], kappa: dict[str, NDArray[np.float64]]) -> Any:
    """Yield sentences about a κ that no crystal has."""
    if kappa["kappa_p"][:, :3].min() <= 0:
        yield f"κ_P is not positive ({kappa['kappa_p'][:, :3].min():.3g} W/(m K))."
    if data["kappa_total_w_mk"] > HIGHEST_KAPPA:
        yield f"κ = {data['kappa_total_w_mk']:.3g} W/(m K) is beyond any crystal: is the fit of fc3 determined?"


def _checked_temperatures(temperatures: list[float]) -> NDArray[np.float64]:
    """Validate a list of positive temperatures."""
    values = np.array(temperatures, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all() or values.min() <= 0:
        raise ConfigError(f"conductivity.temperatures is {temperatures}, expected a list of temperatures above 0 K.")
    return values
