"""Force constants at a temperature: the search, and third order from the same samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from screen_cli.config import RenormaliseSettings, RunSettings
from screen_cli.errors import CalculatorError, PhysicsError, StructureError, UnderdeterminedFitError
from screen_cli.physics.anharmonic.anharmonicity import anharmonicity
from screen_cli.physics.random_displacements import seeded_generator
from screen_cli.solvers.self_consistent.linear_fit import OrderBasis
from screen_cli.solvers.self_consistent.result import SelfConsistent, Step
from screen_cli.solvers.self_consistent.third_order import ThirdOrder, fit_third_order, lowest_curvature
from screen_cli.stages.displace import Displaced
from screen_cli.stages.force_constants import ForceConstants
from screen_cli.stages.phonon_objects import full_force_constants, load_phonopy
from screen_cli.stages.stage import Inputs, Stage
from screen_cli.stages.warm.cell import WarmCell
from screen_cli.stages.warm.supercell import WarmSupercell, identity_of_samples
from screen_cli.store.record import Json, array, column

if TYPE_CHECKING:
    from phonopy import Phonopy


@dataclass(frozen=True, kw_only=True, eq=False)
class Renormalised(ForceConstants):
    """Force constants of one crystal at one temperature, with the samples' statistics.

    Parameters
    ----------
    temperature_k : int
    state : {"converged", "not_converged", "melts", "unstable", "force_field"}
    reason : str
        Why the crystal goes no further; empty when converged.
    commensurate_frequencies, commensurate_errors : ndarray
        float64 (n_modes,), THz: frequencies of the supercell's own wave vectors and their standard errors.
    steps : tuple of Step
        Populations, in order.
    n_supercells : int
        Force evaluations, of all populations.
    effective_pairs : float
        What all pairs are worth for the final ensemble.
    frequency_error_thz : float
        Largest standard error of a commensurate frequency.
    fc3_error : float, optional
        Standard error of fc3 over its norm.
    curvature_min_thz : float, optional
        Lowest curvature of the free energy along the softest modes, as a frequency; imaginary ones negative.
    well_barrier : float, optional
        Highest barrier in the middle of the well that a mode moves in, the others averaged, over the thermal (or
        zero-point) energy of the mode; 0: one minimum each.
    anharmonicity : float
        σ^A of the samples with these force constants.
    displacement_share : float
        Largest root mean square displacement of an atom over the shortest bond.
    """

    temperature_k: int
    state: str
    reason: str
    commensurate_frequencies: NDArray[np.float64] | None = array(np.float64, "n_modes", optional=True)
    commensurate_errors: NDArray[np.float64] | None = array(np.float64, "n_modes", optional=True)
    steps: tuple[Step, ...] = ()
    n_supercells: int = 0
    effective_pairs: float | None = None
    frequency_error_thz: float | None = None
    fc3_error: float | None = None
    curvature_min_thz: float | None = None
    well_barrier: float | None = None
    anharmonicity: float | None = None
    displacement_share: float | None = None

    @column
    def commensurate_min_thz(self) -> float | None:
        """Lowest commensurate frequency, THz; imaginary ones count negative."""
        return None if self.commensurate_frequencies is None else float(self.commensurate_frequencies.min())


@dataclass(frozen=True)
class Renormalise(Stage[Renormalised]):
    """The stage: force constants of 0 K in, those of a temperature out.

    Parameters
    ----------
    temperature : int
        K.
    displaced, start : str
        Stages that gave the supercell, and the force constants to start from.
    cell : str
        Stage that gave the cell of the temperature; empty: the cell is that of 0 K.
    """

    name: str
    temperature: int
    displaced: str = "displace"
    start: str = "force_constants"
    cell: str = ""
    branch: str = "renormalise"
    prefixes_columns: bool = True
    version: int = 6  # disagreement about samples for fc3 alone, and a cell that still moved, count
    record_class: ClassVar[type[Renormalised]] = Renormalised

    @property
    def needs(self) -> tuple[str, ...]:
        """The selection, the supercell, where to start, and the cell."""
        return ("renormalise", self.displaced, self.start, *([self.cell] if self.cell else []))

    def depends(self, inputs: Inputs) -> Json:
        """Give settings, force field, and what the samples are drawn with."""
        return [*identity_of_samples(inputs), third_order_cutoff(inputs), self.temperature]

    def run(self, inputs: Inputs) -> Renormalised:
        """Search."""
        start = inputs.record(self.start, ForceConstants)
        phonopy = load_phonopy(inputs.record(self.displaced, Displaced), start)
        cell_reason = inputs.record(self.cell, WarmCell).reason if self.cell else ""
        warm = _Warm(self.temperature, phonopy, inputs, cell_reason)
        try:
            return warm.search()
        except CalculatorError as error:
            return warm.failed(start, "force_field", f"forces on thermal displacements failed: {error}")
        except (PhysicsError, StructureError, UnderdeterminedFitError) as error:
            return warm.failed(start, "not_converged", str(error))

    def reason_to_stop(self, data: Mapping[str, Json]) -> str:
        """Why it goes no further at this temperature."""
        return str(data["reason"])

    def keeps_arrays(self, settings: RunSettings) -> bool:
        """As the settings of the fit say."""
        return settings.force_constants.keep


class _Warm:
    """One crystal at one temperature."""

    def __init__(self, temperature: int, phonopy: Phonopy, inputs: Inputs, cell_reason: str) -> None:
        self.temperature, self.phonopy, self.cell_reason = temperature, phonopy, cell_reason
        self.settings: RenormaliseSettings = inputs.settings.renormalise
        self.warm = WarmSupercell.of(phonopy, inputs)
        self.primitive_atoms = np.asarray(phonopy.primitive.p2s_map, dtype=np.int64)
        self.rng = seeded_generator(self.settings.seed, f"{inputs.structure.id}/{temperature}")
        self.cutoff = third_order_cutoff(inputs)

    def search(self) -> Renormalised:
        """Find fc2, then fc3 from its samples."""
        settings, warm = self.settings, self.warm
        search = warm.search(self.temperature, self.rng)
        found = search.run(full_force_constants(self.phonopy))
        third = None
        if found.state == "converged" and settings.third_order:
            symprec = self.phonopy.symmetry.tolerance
            basis = OrderBasis.of(warm.supercell, warm.translations, 3, self.cutoff, symprec=symprec)
            left = settings.max_supercells // 2
            try:
                third = fit_third_order(search, found, basis, settings.third_order_error, left)
            except CalculatorError as error:
                found = replace(found, state="force_field", reason=f"on further samples for fc3, {error}")
        return self._record(found, third, search.n_supercells)

    def failed(self, start: ForceConstants, state: str, reason: str) -> Renormalised:
        """Record of a search that broke off, with the force constants it started from."""
        return Renormalised(
            fc2=start.fc2,
            p2s_map=start.p2s_map,
            trusted=False,
            force_constants_warning=reason,
            temperature_k=self.temperature,
            state=state,
            reason=f"{state.replace('_', ' ')} at {self.temperature} K: {reason}",
        )

    def _record(self, found: SelfConsistent, third: ThirdOrder | None, n_supercells: int) -> Renormalised:
        """Collect the result."""
        harmonic = -np.einsum("ijab,sjb->sia", found.fc2, found.pool.displacements)
        forces = np.concatenate([found.pool.odd + found.pool.even, found.pool.even - found.pool.odd])
        curvature = None
        if third is not None:
            curvature = lowest_curvature(found, third, self.temperature, self.warm.translations, self.primitive_atoms)
        warning = self._warning(third, curvature)
        return Renormalised(
            fc2=np.ascontiguousarray(found.fc2[self.primitive_atoms]),
            fc3=None if third is None else third.fc3(self.primitive_atoms),
            p2s_map=self.primitive_atoms,
            trusted=found.state == "converged" and not warning,
            force_constants_warning=warning,
            temperature_k=self.temperature,
            state=found.state,
            reason=f"{found.reason}, at {self.temperature} K" if found.reason else "",
            commensurate_frequencies=found.modes.frequencies_thz,
            commensurate_errors=found.errors_thz,
            steps=found.steps,
            n_supercells=n_supercells,
            effective_pairs=found.steps[-1].effective_pairs if found.steps else None,
            frequency_error_thz=float(found.errors_thz.max()),
            fc3_error=None if third is None else third.fit.relative_error,
            residual_even=None if third is None else third.fit.residual,
            curvature_min_thz=curvature,
            well_barrier=found.barrier,
            anharmonicity=anharmonicity(forces, np.concatenate([harmonic, -harmonic])),
            displacement_share=float(found.ensemble.root_mean_squares().max()) / self.warm.bond,
        )

    def _warning(self, third: ThirdOrder | None, curvature: float | None) -> str:
        """Say what weakens the result."""
        reasons = [f"The cell is not that of the temperature ({self.cell_reason})."] if self.cell_reason else []
        if third is not None and third.fit.relative_error > self.settings.third_order_error:
            reasons.append(
                f"fc3 is known to {third.fit.relative_error:.0%} (wanted {self.settings.third_order_error:.0%}): raise "
                "renormalise.max_supercells."
            )
        if curvature is not None and curvature < 0:
            reasons.append(
                f"the free energy curves downwards along a mode ({curvature:.2f} THz): the crystal may fall to a lower "
                f"symmetry at {self.temperature} K."
            )
        return " ".join(reasons)


def third_order_cutoff(inputs: Inputs) -> float | None:
    """Give the pair distance beyond which fc3 vanishes, Å, where the fit at 0 K has one."""
    cutoff = inputs.settings.force_constants.options.get("cutoff")
    return float(cutoff) if isinstance(cutoff, (int, float)) else None
