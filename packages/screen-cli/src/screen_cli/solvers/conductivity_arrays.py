"""What a conductivity solver returned, checked: names, dtypes, shapes, finite and positive tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import PhysicsError

if TYPE_CHECKING:
    from screen_cli.plugins.protocols import ConductivityArrays

OF_MODES = (
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
"""Arrays of the modes, which are large."""
_SOLVED = ("temperatures", "kappa_p", "kappa_c", "kappa_total", "kappa_rta", *OF_MODES)
_ROUNDING = 1e-3  # relative to the largest value: symmetry of the mesh holds to this
_IMAGINARY_THZ = -0.01


def checked_arrays(result: ConductivityArrays) -> dict[str, NDArray[np.generic]]:
    """Give the arrays of a solver by name, in the dtypes of the record; κ_total is κ_P where it has none.

    Parameters
    ----------
    result : ConductivityArrays

    Returns
    -------
    dict of str to ndarray
        ``weights`` int64, all others float64; shapes and units as the solver declares them.

    Raises
    ------
    PhysicsError
        An array is missing or of another shape or kind, κ is not finite, or negative along some direction.
    """
    for name in ("temperatures", "kappa_p"):
        if name not in result:
            raise PhysicsError(f"the conductivity solver returned no '{name}' (only {sorted(result)}).")
    given: Mapping[str, object] = {**result}
    fields = {name: _taken(name, given[name]) for name in _SOLVED if name in given}
    fields.setdefault("kappa_total", fields["kappa_p"])
    n_temps = len(fields["temperatures"])
    for name in ("kappa_p", "kappa_c", "kappa_total"):
        if name not in fields:
            continue
        tensor = np.asarray(fields[name], dtype=np.float64)
        if tensor.shape != (n_temps, 6) or not np.isfinite(tensor).all():
            raise PhysicsError(
                f"{name} has shape {tensor.shape} and {np.count_nonzero(~np.isfinite(tensor))} values that are not "
                f"finite, expected {(n_temps, 6)} finite ones. Imaginary modes or empty linewidths are "
                "the usual cause; look at min_frequency_thz."
            )
        _refuse_negative(name, tensor)
    return fields


def count_imaginary_modes(fields: Mapping[str, NDArray[np.generic]]) -> int:
    """Count the imaginary modes of the full mesh, by ``frequency`` and ``weights``; 0 where there are none of these."""
    if "frequency" not in fields:
        return 0
    n_imaginary = np.count_nonzero(np.asarray(fields["frequency"], dtype=np.float64) < _IMAGINARY_THZ, axis=1)
    return int(np.dot(n_imaginary, np.asarray(fields.get("weights", np.ones(len(n_imaginary))))))


def largest_shares(fields: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float64]:
    """Give the largest share that one mode and its equivalents have in κ_P, float64 (n_temps,).

    Zero where the solver does not tell modes apart. By ``mode_kappa_p``, whose sum over q and bands is proportional to
    κ_P.
    """
    if "mode_kappa_p" not in fields:
        return np.zeros(len(fields["temperatures"]))
    by_mode = np.asarray(fields["mode_kappa_p"], dtype=np.float64)
    traces = by_mode[..., :3].sum(axis=-1).reshape(len(by_mode), -1)
    totals = traces.sum(axis=1)
    return np.asarray(np.divide(traces.max(axis=1), totals, out=np.zeros_like(totals), where=totals > 0))


def _taken(name: str, values: object) -> NDArray[np.generic]:
    """Copy an array of the solver in the record's dtype; whole numbers stay whole."""
    wanted = np.dtype(np.int64 if name == "weights" else np.float64)
    copy: NDArray[np.generic] = np.array(values)
    if not np.can_cast(copy.dtype, wanted, casting="same_kind"):
        raise PhysicsError(f"the conductivity solver returned {name} as {copy.dtype}, expected {wanted}.")
    return copy.astype(wanted, copy=False)


def _refuse_negative(name: str, tensors: NDArray[np.float64]) -> None:
    """Refuse a conductivity (n_temps, 6) that is negative along some direction: heat would flow to the hotter side.

    Raises
    ------
    PhysicsError
    """
    values = np.linalg.eigvalsh(tensors[:, [[0, 5, 4], [5, 1, 3], [4, 3, 2]]])
    lowest, largest = float(values.min()), float(np.abs(values).max())
    if lowest < -_ROUNDING * max(largest, 1e-3):
        raise PhysicsError(
            f"{name} is {lowest:.4g} W/(m K) along some direction, expected zero or more. A mesh that breaks the "
            "symmetry, a left-handed cell or a direct solution that did not converge are the usual causes."
        )
