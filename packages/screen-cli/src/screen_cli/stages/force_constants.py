"""Fit force constants to the forces on displaced supercells, and judge the fit.

For a ± pair the forces split exactly by parity,

    F_odd  = [F(u) − F(−u)] / 2 = −Φ₂ u + O(u³),      F_even = [F(u) + F(−u)] / 2 = −½ Φ₃ u u + O(u⁴),

so the residual of the even part, relative to its own size, judges fc3 alone, where the residual of the whole
force hides it: at 0.03 Å the even part is a few per cent of the force. A smooth potential leaves little of it
unexplained; a rough one, whose force has steps or noise, leaves much and κ cannot be trusted.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screen_cli.config import ForceConstantsSettings
from screen_cli.crystal.phonopy_cells import symmetry_action
from screen_cli.errors import PhysicsError
from screen_cli.physics.rank_guard import check_determined, count_free_parameters
from screen_cli.stages.lattice import load_phono3py, predict_forces, supercell_displacements
from screen_cli.store.record import Record

logger = logging.getLogger(__name__)


_REFIT_RATIO = 1.2  # KMgF3 with SevenNet-0: 36 % held-out error at a ratio of 1.03, 1.8 % at 2.9, κ 2 % apart


def fit_force_constants(
    displace_record: Record, forces_record: Record, settings: ForceConstantsSettings, solver: Any
) -> Record:
    """Fit fc2 and fc3, and say whether they can be trusted.

    Parameters
    ----------
    displace_record, forces_record : Record
        Of the stages displace and forces.
    settings : ForceConstantsSettings
    solver : object
        As in :mod:`screen_cli.solvers.force_constants`.

    Returns
    -------
    Record
        arrays (names of phono3py's own files): ``fc2`` (n_primitive, n_atoms_fc2, 3, 3) eV/Å²; ``fc3``
        (n_primitive, n_atoms, n_atoms, 3, 3, 3) eV/Å³ when fitted; ``p2s_map`` (n_primitive,) int64, of the
        supercell of fc2, and of fc3 where both are the same.

        data: ``residual`` ‖F_fit − F‖/‖F‖ over all supercells; ``residual_even`` the same for F_even (± pairs
        only); ``heldout_error``, ``heldout_error_even`` the same on supercells left out of a second fit;
        ``n_heldout``; ``residual_fc2_supercell`` that of the odd part in a separate fc2 supercell;
        ``fc2_change``, ``fc3_change`` relative change of the force constants in that fit;
        ``sum_rule_fc2``, ``sum_rule_fc3`` largest violation of Σ_j Φ = 0 over the largest element;
        ``force_scale`` rms force component, eV/Å; ``trusted``; ``force_constants_warning`` (empty when trusted).

    Raises
    ------
    UnderdeterminedFitError
        Fewer independent equations than free parameters.
    PhysicsError
        The solver returned values that are not finite.
    """
    phono3py = load_phono3py(displace_record)
    forces = forces_record.arrays.get("forces")
    forces_fc2 = forces_record.arrays.get("forces_fc2")
    paired = bool(displace_record.data.get("paired", False))
    random = displace_record.data.get("kind", "random") == "random"
    if paired and forces is not None and not settings.third_order:
        forces = _without_even_part(forces)  # fc2 cannot explain it, and does not depend on it
    n_params: dict[int, int] = {}
    if random:
        n_params = _count_parameters(phono3py, solver, third_order=settings.third_order)
        n_atoms = len(phono3py.supercell)
        if n_params:
            check_determined(len(phono3py.displacements), n_params, n_atoms, margin=1.0, paired=paired)

    fitted = solver.solve(phono3py, forces, forces_fc2, third_order=settings.third_order)
    for name, array in fitted.items():
        if not np.isfinite(array).all():
            raise PhysicsError(f"the solver returned {name} with values that are not finite. Check the forces.")
    data = _judge(phono3py, forces, forces_fc2, fitted, paired=paired)
    if random and settings.holdout > 0 and forces is not None and getattr(solver, "supports_subset", False):
        data |= _hold_out(phono3py, forces, forces_fc2, fitted, settings, solver, paired=paired, n_params=n_params)
    data |= _sum_rules(fitted)
    warning = _warning(data, settings)
    data["trusted"] = not warning
    data["force_constants_warning"] = warning
    if warning:
        logger.warning("%s", warning)
    arrays: dict[str, NDArray[Any]] = {"fc2": fitted["fc2"]}
    if settings.third_order:
        arrays["fc3"] = fitted["fc3"]
    same = phono3py.phonon_supercell_matrix is None or not settings.third_order
    if same or np.array_equal(phono3py.primitive.p2s_map, phono3py.phonon_primitive.p2s_map):
        arrays["p2s_map"] = np.array(phono3py.phonon_primitive.p2s_map, dtype=np.int64)
    return Record(data, arrays)


def _count_parameters(phono3py: Any, solver: Any, *, third_order: bool) -> dict[int, int]:
    """Free parameters of each fitted order; with cutoffs the solver has fewer and counts them itself."""
    if getattr(solver, "cutoff", None) or getattr(solver, "cutoffs", None):
        count = getattr(solver, "count_parameters", None)
        return count(phono3py, third_order=third_order) if count else {}
    counts = count_free_parameters(*symmetry_action(phono3py.supercell))
    return counts if third_order else {2: counts[2]}


def _judge(
    phono3py: Any,
    forces: NDArray[np.float64] | None,
    forces_fc2: NDArray[np.float64] | None,
    fitted: dict[str, NDArray[np.float64]],
    *,
    paired: bool,
) -> dict[str, Any]:
    """Compare the fitted forces with those given."""
    data: dict[str, Any] = {}
    # finite differences with a larger fc2 supercell know no fc2 of the fc3 supercell: nothing to predict forces with
    if forces is not None and len(forces) and _small_fc2(fitted).shape[1] == len(phono3py.supercell):
        predicted = _predict(phono3py, supercell_displacements(phono3py), fitted)
        data["force_scale"] = float(np.sqrt(np.mean(forces**2)))
        data["residual"] = _relative(predicted - forces, forces)
        if paired and "fc3" in fitted:
            even = _even_part(forces)
            data["residual_even"] = _relative(_even_part(predicted) - even, even)
    if forces_fc2 is not None and len(forces_fc2):
        displacements = np.asarray(phono3py.phonon_displacements)
        predicted = predict_forces(phono3py.phonon_primitive, displacements, fitted["fc2"])
        one_by_one = "displacements" not in phono3py.phonon_dataset
        if paired and not one_by_one:  # fc2 explains the odd part alone
            predicted, forces_fc2 = _odd_part(predicted), _odd_part(forces_fc2)
        data["residual_fc2_supercell"] = _relative(predicted - forces_fc2, forces_fc2)
        if not one_by_one:  # one-sided differences keep the even part, which is no fault of the fit
            data.setdefault("residual", data["residual_fc2_supercell"])
        data.setdefault("force_scale", float(np.sqrt(np.mean(forces_fc2**2))))
    return data


def _predict(
    phono3py: Any, displacements: NDArray[np.float64], fitted: dict[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Forces in the fc3 supercell; fc2 of that supercell where there are two."""
    fc2 = _small_fc2(fitted)
    if fc2.shape[1] != len(phono3py.supercell):
        fc2 = np.zeros((len(phono3py.primitive), len(phono3py.supercell), 3, 3))
    return predict_forces(phono3py.primitive, displacements, fc2, fitted.get("fc3"))


def _hold_out(
    phono3py: Any,
    forces: NDArray[np.float64],
    forces_fc2: NDArray[np.float64] | None,
    fitted: dict[str, NDArray[np.float64]],
    settings: ForceConstantsSettings,
    solver: Any,
    *,
    paired: bool,
    n_params: dict[int, int],
) -> dict[str, Any]:
    """Fit again without some supercells and predict those."""
    group = 2 if paired else 1
    n_groups = len(forces) // group
    wanted = max(1, round(settings.holdout * n_groups))
    if n_params:
        unknown = max(n_params.values()) if paired else sum(n_params.values())
        # close to one equation per parameter the refit itself is unstable, whatever the potential
        needed = math.ceil(_REFIT_RATIO * unknown / (3 * forces.shape[1]))
        wanted = min(wanted, n_groups - needed)
    if wanted < 1 or n_groups < 2 or not (settings.third_order or phono3py.phonon_supercell_matrix is None):
        return {"n_heldout": 0}
    n_kept = (n_groups - wanted) * group
    kept, left_out = np.arange(n_kept), np.arange(n_kept, n_groups * group)
    partial = solver.solve(phono3py, forces, forces_fc2, third_order=settings.third_order, subset=kept)
    predicted = _predict(phono3py, supercell_displacements(phono3py)[left_out], partial)
    data: dict[str, Any] = {
        "n_heldout": len(left_out),
        "heldout_error": _relative(predicted - forces[left_out], forces[left_out]),
        "fc2_change": _relative(_small_fc2(partial) - _small_fc2(fitted), _small_fc2(fitted)),
    }
    if settings.third_order:
        data["fc3_change"] = _relative(partial["fc3"] - fitted["fc3"], fitted["fc3"])
        if paired:
            even = _even_part(forces[left_out])
            data["heldout_error_even"] = _relative(_even_part(predicted) - even, even)
    return data


def _small_fc2(fitted: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return fc2 of the fc3 supercell."""
    return fitted.get("fc2_of_fc3_supercell", fitted["fc2"])


def _without_even_part(forces: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave [F(u) − F(−u)]/2 and its negative in neighbouring partners."""
    odd = forces.copy()
    odd[0::2] = 0.5 * (forces[0::2] - forces[1::2])
    odd[1::2] = -odd[0::2]
    return odd


def _even_part(forces: NDArray[np.float64]) -> NDArray[np.float64]:
    """[F(u) + F(−u)]/2 of neighbouring partners."""
    n_pairs = len(forces) // 2
    even: NDArray[np.float64] = 0.5 * (forces[0 : 2 * n_pairs : 2] + forces[1 : 2 * n_pairs : 2])
    return even


def _odd_part(forces: NDArray[np.float64]) -> NDArray[np.float64]:
    """[F(u) − F(−u)]/2 of neighbouring partners."""
    n_pairs = len(forces) // 2
    odd: NDArray[np.float64] = 0.5 * (forces[0 : 2 * n_pairs : 2] - forces[1 : 2 * n_pairs : 2])
    return odd


def _relative(difference: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Norm of a difference over the norm of its reference; 0 where both vanish."""
    scale = float(np.linalg.norm(reference))
    return float(np.linalg.norm(difference)) / scale if scale > 0 else float(np.linalg.norm(difference))


def _sum_rules(fitted: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    """Largest violation of the acoustic sum rule over the largest element, by order."""
    violations = {}
    for name in ("fc2", "fc3"):
        if name in fitted:
            array = fitted[name]
            n_atom_axes = 2 if name == "fc2" else 3
            worst = max(float(np.abs(array.sum(axis=axis)).max()) for axis in range(1, n_atom_axes))
            violations[f"sum_rule_{name}"] = worst / max(float(np.abs(array).max()), np.finfo(float).tiny)
    return violations


def _warning(data: dict[str, Any], settings: ForceConstantsSettings) -> str:
    """Say why the force constants should not be trusted; empty when they can be."""
    reasons = []
    residual = data.get("residual", 0.0)
    if residual > settings.warn_residual:
        reasons.append(f"the fit leaves {residual:.1%} of the force unexplained (limit {settings.warn_residual:.1%})")
    even = data.get("heldout_error_even", data.get("residual_even", 0.0))
    if even > settings.warn_residual_even:
        which = "held-out supercells" if "heldout_error_even" in data else "fit"
        reasons.append(
            f"{even:.0%} of the third-order force is unexplained on the {which} "
            f"(limit {settings.warn_residual_even:.0%})"
        )
    if not reasons:
        return ""
    return (
        f"κ is not trustworthy: {' and '.join(reasons)}. The potential is rough, or far from harmonic, at this "
        "displacement: use a smoother force field, a larger displace.distance, or more supercells."
    )
