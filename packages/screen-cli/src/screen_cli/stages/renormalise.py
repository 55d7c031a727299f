"""Force constants at a temperature: which crystals, the search, and third order from the same samples."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

from screen_cli.config import RenormaliseSettings, RunSettings
from screen_cli.errors import CalculatorError, PhysicsError, StructureError, UnderdeterminedFitError
from screen_cli.physics.anharmonic.anharmonicity import anharmonicity
from screen_cli.physics.anharmonic.double_well import DISPLACED_IS_LOWER
from screen_cli.physics.random_displacements import seeded_generator
from screen_cli.settings_file import settings_to_dict
from screen_cli.solvers.self_consistent.linear_fit import OrderBasis
from screen_cli.solvers.self_consistent.result import SelfConsistent, Step
from screen_cli.solvers.self_consistent.samples import Evaluate, SampledForces
from screen_cli.solvers.self_consistent.search import Search, SearchOptions
from screen_cli.solvers.self_consistent.third_order import ThirdOrder, fit_third_order, lowest_curvature
from screen_cli.stages.displace import Displaced, SupercellSet
from screen_cli.stages.force_constants import ForceConstants
from screen_cli.stages.forces import compute_force_set
from screen_cli.stages.phonon_objects import load_phonopy
from screen_cli.stages.stage import Inputs, Stage
from screen_cli.store.expression import evaluate as evaluate_expression
from screen_cli.store.record import Json, TypedRecord, array, column

if TYPE_CHECKING:
    from phonopy import Phonopy

logger = logging.getLogger(__name__)

_LEAST_PAIRS = 10
_EQUATIONS_PER_PARAMETER = 4
_REACH = 6.0  # Å, for the shortest bond


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection(TypedRecord):
    """Whether the force constants of a crystal are sought at temperatures.

    Parameters
    ----------
    selected : bool
    reason : str
        Why not; empty where they are.
    """

    selected: bool
    reason: str


@dataclass(frozen=True)
class SelectWarm(Stage[Selection]):
    """The stage: columns in, decision out.

    Parameters
    ----------
    sees : tuple of str
        Stages whose columns its expression may name.
    """

    name: str = "renormalise"
    sees: tuple[str, ...] = ("relax", "displace", "force_constants", "harmonic")
    branch: str = "renormalise"
    prefixes_columns: bool = True
    record_class: ClassVar[type[Selection]] = Selection

    @property
    def needs(self) -> tuple[str, ...]:
        """The stages whose columns it sees."""
        return self.sees

    def depends(self, inputs: Inputs) -> Json:
        """Give the choice."""
        return inputs.settings.renormalise.select

    def run(self, inputs: Inputs) -> Selection:
        """Decide."""
        wanted = inputs.settings.renormalise.select
        if wanted == "all":
            return Selection(selected=True, reason="")
        if wanted == "unstable":
            selected = not inputs.scalars["stable"]
            return Selection(selected=selected, reason="" if selected else "stable at 0 K")
        selected = evaluate_expression(wanted, inputs.scalars)
        return Selection(selected=selected, reason="" if selected else f"not ({wanted})")

    def reason_to_stop(self, data: Mapping[str, Json]) -> str:
        """Why it is not selected."""
        return str(data["reason"])


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
        Force evaluations.
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
    """

    name: str
    temperature: int
    displaced: str = "displace"
    start: str = "force_constants"
    branch: str = "renormalise"
    prefixes_columns: bool = True
    version: int = 2  # 2: deep wells are filled to their walls
    record_class: ClassVar[type[Renormalised]] = Renormalised

    @property
    def needs(self) -> tuple[str, ...]:
        """The selection, the supercell and where to start."""
        return ("renormalise", self.displaced, self.start)

    def depends(self, inputs: Inputs) -> Json:
        """Give settings, force field, and what the samples are drawn with."""
        settings = settings_to_dict(inputs.settings.renormalise)
        for name in ("enabled", "temperatures", "select", "dim", "compare"):  # they say which stages there are
            settings.pop(name)
        forces = settings_to_dict(inputs.settings.forces)
        forces.pop("batch_size")
        return [settings, forces, third_order_cutoff(inputs), self.temperature, inputs.force_field.identity()]

    def run(self, inputs: Inputs) -> Renormalised:
        """Search."""
        start = inputs.record(self.start, ForceConstants)
        phonopy = load_phonopy(inputs.record(self.displaced, Displaced), start)
        warm = _Warm(self.temperature, phonopy, inputs)
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

    def __init__(self, temperature: int, phonopy: Phonopy, inputs: Inputs) -> None:
        self.temperature, self.phonopy = temperature, phonopy
        self.settings: RenormaliseSettings = inputs.settings.renormalise
        self.masses = np.asarray(phonopy.supercell.masses, dtype=np.float64)
        self.translations = np.asarray(phonopy.primitive.atomic_permutations)
        self.primitive_atoms = np.asarray(phonopy.primitive.p2s_map, dtype=np.int64)
        self.perfect = SupercellSet.of(phonopy.supercell, np.zeros((0, len(self.masses), 3)))
        self.bond = shortest_bond(self.perfect.perfect)
        self.evaluate = self._evaluator(inputs)
        self.rng = seeded_generator(self.settings.seed, f"{inputs.structure.id}/{temperature}")
        self.cutoff = third_order_cutoff(inputs)

    def search(self) -> Renormalised:
        """Find fc2, then fc3 from its samples."""
        from phonopy.harmonic.force_constants import compact_fc_to_full_fc

        settings = self.settings
        symprec = self.phonopy.symmetry.tolerance
        second = OrderBasis.of(self.phonopy.supercell, self.translations, 2, symprec=symprec)
        options = SearchOptions(
            temperature=self.temperature,
            classical=settings.classical,
            n_pairs=settings.n_pairs or self._pairs_for(second.n_parameters),
            max_iterations=settings.max_iterations,
            max_supercells=settings.max_supercells,
            damping=settings.damping,
            error_thz=settings.error_thz,
            largest_displacement=settings.melting_share * self.bond,
            largest_disagreement=settings.max_disagreement,
            highest_barrier=DISPLACED_IS_LOWER,
        )
        start = compact_fc_to_full_fc(self.phonopy.primitive, np.asarray(self.phonopy.force_constants))
        search = Search(second, self.masses, self.evaluate, options, self.rng)
        found = search.run(np.asarray(start))
        third = None
        if found.state == "converged" and settings.third_order:
            basis = OrderBasis.of(self.phonopy.supercell, self.translations, 3, self.cutoff, symprec=symprec)
            left = settings.max_supercells // 2
            third = fit_third_order(search, found, basis, settings.third_order_error, left)
        return self._record(found, third)

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

    def _record(self, found: SelfConsistent, third: ThirdOrder | None) -> Renormalised:
        """Collect the result."""
        pool = found.pool if third is None else third.pool
        harmonic = -np.einsum("ijab,sjb->sia", found.fc2, found.pool.displacements)
        forces = np.concatenate([found.pool.odd + found.pool.even, found.pool.even - found.pool.odd])
        curvature = None
        if third is not None:
            curvature = lowest_curvature(found, third, self.temperature, self.translations, self.primitive_atoms)
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
            n_supercells=2 * sum(len(population) for population in pool.populations),
            effective_pairs=found.steps[-1].effective_pairs if found.steps else None,
            frequency_error_thz=float(found.errors_thz.max()),
            fc3_error=None if third is None else third.fit.relative_error,
            residual_even=None if third is None else third.fit.residual,
            curvature_min_thz=curvature,
            well_barrier=found.barrier,
            anharmonicity=anharmonicity(forces, np.concatenate([harmonic, -harmonic])),
            displacement_share=float(found.ensemble.root_mean_squares().max()) / self.bond,
        )

    def _warning(self, third: ThirdOrder | None, curvature: float | None) -> str:
        """Say what weakens the result."""
        reasons = []
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

    def _pairs_for(self, n_parameters: int) -> int:
        """Pairs of a population: equations for every parameter with a margin, also without a group of the jackknife."""
        return max(_LEAST_PAIRS, math.ceil(_EQUATIONS_PER_PARAMETER * n_parameters / (3 * len(self.masses))))

    def _evaluator(self, inputs: Inputs) -> Evaluate:
        """Give a function that computes forces with the run's force field."""

        def evaluate(displacements: NDArray[np.float64]) -> SampledForces:
            supercells = SupercellSet.of(self.phonopy.supercell, displacements)
            found, _ = compute_force_set(supercells, inputs.force_field.calculator, inputs.settings.forces)
            if found.forces_committee is None:
                return SampledForces(found.forces)
            spread = float(np.sqrt(found.forces_committee.var(axis=0).mean()))
            return SampledForces(found.forces, spread / max(found.force_rms, np.finfo(float).tiny))

        return evaluate


def third_order_cutoff(inputs: Inputs) -> float | None:
    """Give the pair distance beyond which fc3 vanishes, Å, where the fit at 0 K has one."""
    cutoff = inputs.settings.force_constants.options.get("cutoff")
    return float(cutoff) if isinstance(cutoff, (int, float)) else None


def shortest_bond(atoms: Atoms) -> float:
    """Shortest distance between two atoms of a crystal, Å."""
    reach = _REACH
    while not len(distances := neighbor_list("d", atoms, reach)):
        reach *= 1.5
    return float(distances.min())
