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
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from screen_cli.config import ForceConstantsSettings, RunSettings
from screen_cli.crystal.phonopy_cells import known_action
from screen_cli.errors import PhysicsError
from screen_cli.physics.force_expansion import predict_forces
from screen_cli.physics.rank_guard import check_determined, count_free_parameters
from screen_cli.plugins.manager import installed_plugins
from screen_cli.settings_file import settings_to_dict
from screen_cli.solvers.force_constants import supercell_displacements
from screen_cli.solvers.registered import make_force_constant_solver
from screen_cli.stages.displace import Displaced
from screen_cli.stages.forces import Forces
from screen_cli.stages.phonon_objects import load_phono3py
from screen_cli.stages.stage import Inputs, Stage, plugin_identity
from screen_cli.store.record import Json, TypedRecord, array

if TYPE_CHECKING:
    from phono3py import Phono3py

    from screen_cli.plugins.protocols import ForceConstantArrays, ForceConstantSolver, PredictsLeftOut

logger = logging.getLogger(__name__)

_REFIT_RATIO = 1.2  # KMgF3 with SevenNet-0: 36 % held-out error at a ratio of 1.03, 1.8 % at 2.9, κ 2 % apart


@dataclass(frozen=True, kw_only=True)
class FitQuality:
    """How well force constants explain the forces; None where it could not be judged.

    Parameters
    ----------
    residual : float, optional
        ‖F_fit − F‖/‖F‖ over all supercells.
    residual_even : float, optional
        The same for the even part of the forces (± pairs only).
    residual_fc2_supercell : float, optional
        The same for the odd part in a separate fc2 supercell.
    heldout_error, heldout_error_even : float, optional
        As the residuals, on supercells left out: each ± pair of a fit to all others where the solver can tell, else
        some of a second fit.
    n_heldout : int, optional
        How many supercells were predicted so.
    fc2_change, fc3_change : float, optional
        Relative change of the force constants in a second fit; None where there was none.
    fc3_error : float, optional
        ‖δΦ₃‖/‖Φ₃‖ that a rough potential leaves: of fc3 fitted to noise as large as what the fit leaves of the even
        part of the forces, by the degrees of freedom that it has left.
    sum_rule_fc2, sum_rule_fc3 : float, optional
        Largest violation of Σ_j Φ = 0 over the largest element.
    force_scale : float, optional
        Root mean square force component, eV/Å.
    """

    residual: float | None = None
    residual_even: float | None = None
    residual_fc2_supercell: float | None = None
    heldout_error: float | None = None
    heldout_error_even: float | None = None
    n_heldout: int | None = None
    fc2_change: float | None = None
    fc3_change: float | None = None
    fc3_error: float | None = None
    sum_rule_fc2: float | None = None
    sum_rule_fc3: float | None = None
    force_scale: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ForceConstants(FitQuality, TypedRecord):
    """Force constants of one crystal, compact, and whether they can be trusted; the fit's quality stands beside them.

    Parameters
    ----------
    fc2 : ndarray
        float64 (n_primitive, n_atoms_fc2, 3, 3), eV/Å².
    fc3 : ndarray, optional
        float64 (n_primitive, n_atoms, n_atoms, 3, 3, 3), eV/Å³.
    p2s_map : ndarray, optional
        int64 (n_primitive,), atoms of the supercell of fc2, and of fc3 where both are the same, that stand for those
        of the primitive cell.
    trusted : bool
        No reason for doubt was found.
    force_constants_warning : str
        The reason; empty when trusted.
    fc3_cutoff : float, optional
        Å: triples of atoms with a longer distance have no fc3. As the settings say, or because a supercell has more
        free parameters than memory allows; the held-out error tells what that costs.
    """

    fc2: NDArray[np.float64] = array(np.float64, "n_primitive", "n_atoms_fc2", 3, 3)
    fc3: NDArray[np.float64] | None = array(np.float64, "n_primitive", "n_atoms", "n_atoms", 3, 3, 3, optional=True)
    p2s_map: NDArray[np.int64] | None = array(np.int64, "n_primitive", optional=True)
    trusted: bool
    force_constants_warning: str
    fc3_cutoff: float | None = None


@dataclass(frozen=True)
class FitForceConstants(Stage[ForceConstants]):
    """The stage: displacements and forces in, force constants out.

    Parameters
    ----------
    displaced, forces : str
        Stages that displaced the supercells and computed the forces.
    only_fc2 : bool
        Fit fc2 alone, whatever the settings say of fc3.
    """

    name: str = "force_constants"
    displaced: str = "displace"
    forces: str = "forces"
    only_fc2: bool = False
    version: int = 1
    prefixes_columns: bool = False
    record_class: ClassVar[type[ForceConstants]] = ForceConstants

    @property
    def needs(self) -> tuple[str, ...]:
        """Displacements and forces."""
        return (self.displaced, self.forces)

    def depends(self, inputs: Inputs) -> Json:
        """Give the settings and solver."""
        settings = inputs.settings.force_constants
        plugin = installed_plugins().get("force_constant_solvers", settings.solver)
        return [settings_to_dict(settings), plugin_identity(plugin)]

    def run(self, inputs: Inputs) -> ForceConstants:
        """Fit."""
        settings = inputs.settings.force_constants
        return fit_force_constants(
            inputs.record(self.displaced, Displaced),
            inputs.record(self.forces, Forces),
            settings,
            make_force_constant_solver(settings.solver, settings.options),
            third_order=settings.third_order and not self.only_fc2,
        )

    def keeps_arrays(self, settings: RunSettings) -> bool:
        """As the settings say."""
        return settings.force_constants.keep


def fit_force_constants(
    displaced: Displaced,
    forces: Forces,
    settings: ForceConstantsSettings,
    solver: ForceConstantSolver,
    *,
    third_order: bool | None = None,
) -> ForceConstants:
    """Fit fc2 and fc3, and say whether they can be trusted.

    Parameters
    ----------
    displaced : Displaced
    forces : Forces
    settings : ForceConstantsSettings
    solver : ForceConstantSolver
    third_order : bool, optional
        Default: as the settings say.

    Raises
    ------
    UnderdeterminedFitError
        Fewer independent equations than free parameters.
    PhysicsError
        The solver returned values that are not finite.
    """
    third_order = settings.third_order if third_order is None else third_order
    fit = _Fit(load_phono3py(displaced), displaced, forces, solver, third_order=third_order)
    fitted = fit.solve()
    quality = fit.judge(fitted)
    if displaced.kind == "random" and settings.holdout > 0 and fit.forces is not None and solver.supports_subset:
        quality = fit.hold_out(fitted, quality, settings.holdout)
    quality = replace(quality, sum_rule_fc2=_sum_rule(fitted["fc2"]), sum_rule_fc3=_sum_rule(fitted.get("fc3")))
    warning = _warning(quality, settings)
    if warning:
        logger.warning("%s", warning)
    return ForceConstants(
        fc2=fitted["fc2"],
        fc3=fitted["fc3"] if third_order else None,
        p2s_map=fit.shared_map(),
        trusted=not warning,
        force_constants_warning=warning,
        fc3_cutoff=fitted.get("fc3_cutoff"),
        **vars(quality),
    )


@dataclass
class _Fit:
    """One fit: what goes in, solved once for all supercells and once without some of them."""

    phono3py: Phono3py
    displaced: Displaced
    given: Forces
    solver: ForceConstantSolver
    third_order: bool = field(kw_only=True)

    def __post_init__(self) -> None:
        self.paired = self.displaced.paired
        self.forces = self.given.fc3_forces
        self.forces_fc2 = self.given.fc2_forces
        if self.paired and self.forces is not None and not self.third_order:
            self.forces = _without_even_part(self.forces)  # fc2 cannot explain it, and does not depend on it
        self.n_params: dict[int, int] = {}
        if self.displaced.kind == "random":
            self.n_params = self._count_parameters()

    def _count_parameters(self) -> dict[int, int]:
        """Free parameters of each fitted order; with cutoffs the solver has fewer and counts them itself."""
        if self.solver.has_cutoff:
            return self.solver.count_parameters(self.phono3py, third_order=self.third_order) or {}
        counts = count_free_parameters(*known_action(self.phono3py.symmetry, self.phono3py.supercell.cell))
        return counts if self.third_order else {2: counts[2]}

    def solve(self) -> ForceConstantArrays:
        """Fit to all supercells."""
        if self.n_params:
            n_atoms = len(self.phono3py.supercell)
            check_determined(len(self.phono3py.displacements), self.n_params, n_atoms, margin=1.0, paired=self.paired)
        fitted = self.solver.solve(self.phono3py, self.forces, self.forces_fc2, third_order=self.third_order)
        for name in fitted:
            if not np.isfinite(fitted[name]).all():  # type: ignore[literal-required]
                raise PhysicsError(f"the solver returned {name} with values that are not finite. Check the forces.")
        return fitted

    def judge(self, fitted: ForceConstantArrays) -> FitQuality:
        """Compare the fitted forces with those given."""
        found: dict[str, float] = {}
        phono3py, forces, forces_fc2 = self.phono3py, self.forces, self.forces_fc2
        # finite differences with a larger fc2 supercell know no fc2 of the fc3 supercell: nothing to predict with
        if forces is not None and len(forces) and _small_fc2(fitted).shape[1] == len(phono3py.supercell):
            predicted = self._predict(supercell_displacements(phono3py), fitted)
            found["force_scale"] = float(np.sqrt(np.mean(forces**2)))
            found["residual"] = _relative(predicted - forces, forces)
            if self.paired and "fc3" in fitted:
                left = _even_part(forces - predicted)
                found["residual_even"] = _relative(left, _even_part(forces))
                error = self._fc3_error(left, fitted["fc3"])
                if error is not None:
                    found["fc3_error"] = error
        if forces_fc2 is not None and len(forces_fc2):
            displacements = np.asarray(phono3py.phonon_displacements)
            primitive = phono3py.phonon_primitive
            predicted = predict_forces(
                np.asarray(primitive.atomic_permutations), primitive.p2s_map, displacements, fitted["fc2"]
            )
            one_by_one = "displacements" not in phono3py.phonon_dataset
            if self.paired and not one_by_one:  # fc2 explains the odd part alone
                predicted, forces_fc2 = _odd_part(predicted), _odd_part(forces_fc2)
            found["residual_fc2_supercell"] = _relative(predicted - forces_fc2, forces_fc2)
            if not one_by_one:  # one-sided differences keep the even part, which is no fault of the fit
                found.setdefault("residual", found["residual_fc2_supercell"])
            found.setdefault("force_scale", float(np.sqrt(np.mean(forces_fc2**2))))
        return FitQuality(**found)  # type: ignore[arg-type]

    def hold_out(self, fitted: ForceConstantArrays, quality: FitQuality, share: float) -> FitQuality:
        """Fit again without some supercells and predict those."""
        forces = self.forces
        assert forces is not None  # the caller asked
        group = 2 if self.paired else 1
        n_groups = len(forces) // group
        wanted = max(1, round(share * n_groups))
        if self.n_params:
            unknown = max(self.n_params.values()) if self.paired else sum(self.n_params.values())
            # close to one equation per parameter the refit itself is unstable, whatever the potential
            needed = math.ceil(_REFIT_RATIO * unknown / (3 * forces.shape[1]))
            wanted = min(wanted, n_groups - needed)
        serves = self.third_order or self.phono3py.phonon_supercell_matrix is None
        if serves and self.paired and wanted >= 1 and self.solver.predicts_left_out:
            predicted = self._leave_each_out(fitted, forces)
            if predicted is not None:
                even = _even_part(forces)
                error_even = _relative(_even_part(predicted) - even, even) if self.third_order else None
                error = _relative(predicted - forces, forces)
                return replace(quality, n_heldout=len(forces), heldout_error=error, heldout_error_even=error_even)
        if wanted < 1 or n_groups < 2 or not serves:
            return replace(quality, n_heldout=0)
        n_kept = (n_groups - wanted) * group
        kept, left_out = np.arange(n_kept), np.arange(n_kept, n_groups * group)
        partial = self.solver.solve(self.phono3py, forces, self.forces_fc2, third_order=self.third_order, subset=kept)
        predicted = self._predict(supercell_displacements(self.phono3py)[left_out], partial)
        quality = replace(
            quality,
            n_heldout=len(left_out),
            heldout_error=_relative(predicted - forces[left_out], forces[left_out]),
            fc2_change=_relative(_small_fc2(partial) - _small_fc2(fitted), _small_fc2(fitted)),
        )
        if self.third_order:
            quality = replace(quality, fc3_change=_relative(partial["fc3"] - fitted["fc3"], fitted["fc3"]))
            if self.paired:
                even = _even_part(forces[left_out])
                quality = replace(quality, heldout_error_even=_relative(_even_part(predicted) - even, even))
        return quality

    def _leave_each_out(self, fitted: ForceConstantArrays, forces: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Give the forces of each pair as a fit to all others predicts them; None where the solver cannot tell."""
        predicted = self._predict(supercell_displacements(self.phono3py), fitted)
        solver = cast("PredictsLeftOut", self.solver)
        left_out = solver.left_out_residuals(self.phono3py, forces - predicted, third_order=self.third_order)
        return None if left_out is None else forces - left_out

    def _fc3_error(self, residuals: NDArray[np.float64], fc3: NDArray[np.float64]) -> float | None:
        """Give ‖δΦ₃‖/‖Φ₃‖ from the even residuals, shape (n_pairs, n_atoms, 3), eV/Å; None where nothing tells it.

        One draw of noise stands for all: fc3 has hundreds of parameters, so its norm hardly depends on the draw.
        """
        if not self.solver.predicts_left_out:
            return None
        solver = cast("PredictsLeftOut", self.solver)
        drawn = np.random.default_rng(0).normal(size=residuals.shape)
        drawn -= drawn.mean(axis=1, keepdims=True)  # forces of a supercell have no sum, nor have their residuals
        answer = solver.fc3_of(self.phono3py, np.repeat(drawn, 2, axis=0))
        if answer is None:
            return None
        of_noise, n_parameters = answer
        n_left = residuals.size - 3 * len(residuals) - n_parameters
        if n_left <= 0:
            return None
        noise = float(np.linalg.norm(residuals)) / math.sqrt(n_left)
        return noise * _relative(of_noise, fc3)

    def shared_map(self) -> NDArray[np.int64] | None:
        """``p2s_map`` where the supercells of fc2 and fc3 share it."""
        phono3py = self.phono3py
        same = phono3py.phonon_supercell_matrix is None or not self.third_order
        if same or np.array_equal(phono3py.primitive.p2s_map, phono3py.phonon_primitive.p2s_map):
            return np.array(phono3py.phonon_primitive.p2s_map, dtype=np.int64)
        return None

    def _predict(self, displacements: NDArray[np.float64], fitted: ForceConstantArrays) -> NDArray[np.float64]:
        """Give the forces in the fc3 supercell; fc2 of that supercell where there are two."""
        primitive, n_atoms = self.phono3py.primitive, len(self.phono3py.supercell)
        fc2 = _small_fc2(fitted)
        if fc2.shape[1] != n_atoms:
            fc2 = np.zeros((len(primitive), n_atoms, 3, 3))
        permutations = np.asarray(primitive.atomic_permutations)
        return predict_forces(permutations, primitive.p2s_map, displacements, fc2, fitted.get("fc3"))


def _small_fc2(fitted: ForceConstantArrays) -> NDArray[np.float64]:
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


def _sum_rule(constants: NDArray[np.float64] | None) -> float | None:
    """Largest violation of the acoustic sum rule over the largest element."""
    if constants is None:
        return None
    n_atom_axes = constants.ndim // 2
    worst = max(float(np.abs(constants.sum(axis=axis)).max()) for axis in range(1, n_atom_axes))
    return worst / max(float(np.abs(constants).max()), np.finfo(float).tiny)


def _warning(quality: FitQuality, settings: ForceConstantsSettings) -> str:
    """Say why the force constants should not be trusted; empty when they can be."""
    reasons = []
    residual = quality.residual or 0.0
    if residual > settings.warn_residual:
        reasons.append(f"the fit leaves {residual:.1%} of the force unexplained (limit {settings.warn_residual:.1%})")
    held_out = quality.heldout_error_even is not None
    even = (quality.heldout_error_even if held_out else quality.residual_even) or 0.0
    if even > settings.warn_residual_even:
        which = "held-out supercells" if held_out else "fit"
        reasons.append(
            f"{even:.0%} of the third-order force is unexplained on the {which} "
            f"(limit {settings.warn_residual_even:.0%})"
        )
    if (quality.fc3_error or 0.0) > settings.warn_fc3_error:
        reasons.append(
            f"what the fit leaves of it makes fc3 uncertain by {quality.fc3_error:.0%} "
            f"(limit {settings.warn_fc3_error:.0%})"
        )
    if not reasons:
        return ""
    return (
        f"κ is not trustworthy: {' and '.join(reasons)}. The potential is rough, or far from harmonic, at this "
        "displacement: use a smoother force field, a larger displace.distance, or more supercells."
    )
