"""The cell at a temperature: where the stress of the moving atoms vanishes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from screen_cli.calculators.model_errors import translate_calculator_errors
from screen_cli.crystal.phonopy_cells import cartesian_rotations
from screen_cli.errors import CalculatorError, PhysicsError, StructureError, UnderdeterminedFitError
from screen_cli.physics.anharmonic.density_matrix import ThermalEnsemble
from screen_cli.physics.anharmonic.thermal_stress import kinetic_stress
from screen_cli.physics.random_displacements import seeded_generator
from screen_cli.stages.displace import Displaced, SupercellSet
from screen_cli.stages.force_constants import ForceConstants
from screen_cli.stages.phonon_objects import full_force_constants, load_phonopy
from screen_cli.stages.relax import Relaxed
from screen_cli.stages.stage import Inputs, Stage
from screen_cli.stages.warm.supercell import WarmSupercell, identity_of_samples
from screen_cli.store.record import Json

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator
    from phonopy import Phonopy
    from phonopy.structure.cells import Primitive

_ROUNDS = 4
_PAIRS = 16  # of the stress
_COARSER = 3.0  # than the search for the force constants themselves
_SMALL = 2e-4  # strain at which the cell stands still, or
_WITHIN = 2.0  # standard errors
_STEP = 0.005  # strain, for the elastic constants
_LARGEST = 0.05  # strain of one round
_FARTHEST = 0.25  # change of the volume; crystals melt before they expand by half of it
_GOES_ON = ("converged", "moves")
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class WarmCell(Relaxed):
    """The crystal in the cell of a temperature; coordinates within the cell are those of the relaxed one.

    Parameters
    ----------
    temperature_k : int
    state : {"converged", "moves", "runs_away", "not_converged", "melts", "unstable", "force_field"}
        The cell stands still, still moved in the last round, left what any crystal survives; or how the search for
        the force constants in the cell so far ended, which is the one given then.
    reason : str
        Why it is not the cell of the temperature; empty when converged.
    thermal_strain : float
        Trace of the strain from the relaxed cell.
    thermal_strain_error : float, optional
        Its standard error, from the scatter of the stress over the samples of the last round.
    pressure_gpa : float, optional
        Of the last round, before its step. None, as the error, where not even one round came to its end.
    """

    temperature_k: int
    state: str
    reason: str
    thermal_strain: float
    thermal_strain_error: float | None
    pressure_gpa: float | None


@dataclass(frozen=True)
class ThermalCell(Stage[WarmCell]):
    """The stage: relaxed crystal in, crystal in the cell of a temperature out.

    Rounds of a coarse search for self-consistent force constants, the mean stress over their ensemble, and one step
    with the elastic constants of the undisplaced crystal (clamped ions), until a step is small or lies within its own
    statistical error. Where the search in a round does not converge, the force field fails or the cell runs away, the
    temperature ends here with the reason; where the rounds were not enough, it goes on in the cell so far.
    ``relax_converged`` is true in no such case.

    Parameters
    ----------
    temperature : int
        K.
    displaced, start : str
        Stages that gave the supercell of the relaxed crystal, and the force constants to start from.
    """

    name: str
    temperature: int
    displaced: str = "displace"
    start: str = "force_constants"
    branch: str = "renormalise"
    prefixes_columns: bool = True
    version: int = 4  # a search that does not converge, and a cell that runs away, end the temperature
    record_class: ClassVar[type[WarmCell]] = WarmCell

    @property
    def needs(self) -> tuple[str, ...]:
        """The crystal, the selection, the supercell and where to start."""
        return ("relax", "renormalise", self.displaced, self.start)

    def depends(self, inputs: Inputs) -> Json:
        """Give what the samples are drawn with."""
        return [*identity_of_samples(inputs), self.temperature]

    def run(self, inputs: Inputs) -> WarmCell:
        """Find the cell."""
        relaxed, displaced = inputs.record("relax", Relaxed), inputs.record(self.displaced, Displaced)
        rounds = _Rounds(self.temperature, load_phonopy(displaced, inputs.record(self.start, ForceConstants)), inputs)
        rounds.go()
        turn = np.eye(3) if displaced.unitcell_rotation is None else displaced.unitcell_rotation  # v there is turn @ v
        cell = relaxed.cell @ (turn.T @ rounds.deformation @ turn)
        atoms = relaxed.atoms
        atoms.set_cell(cell, scale_atoms=True)
        lengths = dict(zip("abc", map(float, atoms.cell.lengths()), strict=True))
        changed = {
            **{field.name: getattr(relaxed, field.name) for field in dataclasses.fields(Relaxed)},
            **lengths,
            "cell": atoms.cell.array.copy(),
            "positions": atoms.positions.copy(),
            "volume": float(atoms.get_volume()),
            "volume_change": float(atoms.get_volume()) / relaxed.volume - 1,
            "n_relax_steps": rounds.count,
            "relax_converged": rounds.state == "converged",
            "energy_ev_per_atom": None,
        }
        strains, stresses = rounds.strains, rounds.stresses
        return WarmCell(
            **changed,
            temperature_k=self.temperature,
            state=rounds.state,
            reason=rounds.sentence(),
            thermal_strain=float(np.trace(rounds.deformation)) - 3,
            thermal_strain_error=None if strains is None else float(standard_error(np.trace(strains.T))),
            pressure_gpa=None if stresses is None else -float(np.trace(stresses.mean(axis=0))) / 3 / units.GPa,
        )

    def reason_to_stop(self, data: Mapping[str, Json]) -> str:
        """Why there is no cell at this temperature to search in."""
        return "" if data["state"] in _GOES_ON else str(data["reason"])


class _Rounds:
    """The rounds of one crystal at one temperature, and how they ended."""

    def __init__(self, temperature: int, phonopy: Phonopy, inputs: Inputs) -> None:
        self.temperature, self.phonopy = temperature, phonopy
        self.warm = WarmSupercell.of(phonopy, inputs)
        self.calculator = inputs.force_field.calculator
        self.rng = seeded_generator(inputs.settings.renormalise.seed, f"{inputs.structure.id}/cell/{temperature}")
        self.deformation, self.count = np.eye(3), 0
        self.strains: NDArray[np.float64] | None = None
        self.stresses: NDArray[np.float64] | None = None
        self.state, self.reason = "moves", ""

    def go(self) -> None:
        """Go from cell to cell; what a calculator or a search raises is a state."""
        try:
            self.state, self.reason = self._go()
        except CalculatorError as error:
            self.state, self.reason = "force_field", f"forces or stresses on thermal displacements failed: {error}"
        except (PhysicsError, StructureError, UnderdeterminedFitError) as error:
            self.state, self.reason = "not_converged", str(error)

    def sentence(self) -> str:
        """Say why there is no cell of the temperature, and in which round; empty where there is one."""
        if not self.reason:
            return ""
        return f"{self.state.replace('_', ' ')} at {self.temperature} K, cell after {self.count} rounds: {self.reason}"

    def _go(self) -> tuple[str, str]:
        """Go from cell to cell; give state and reason."""
        primitive, n_clipped = self.phonopy.primitive, 0
        compliance = np.asarray(np.linalg.pinv(_elastic_constants(primitive, self.calculator)), dtype=np.float64)
        rotations = cartesian_rotations(primitive, self.phonopy.symmetry.tolerance)
        fc2 = full_force_constants(self.phonopy)
        while self.count < _ROUNDS:
            found = self.warm.search(self.temperature, self.rng, coarser=_COARSER).run(fc2)
            if found.state != "converged":
                return found.state, found.reason
            self.stresses = _stresses(self.warm, found.ensemble, self.calculator, self.rng)
            self.strains = relieving_strains(self.stresses, compliance, rotations)
            wanted = self.strains.mean(axis=0)
            strain = np.clip(wanted, -_LARGEST, _LARGEST)
            is_clipped = bool((strain != wanted).any())
            n_clipped += is_clipped
            self.warm, fc2 = self.warm.strained(strain), found.fc2
            self.deformation, self.count = self.deformation @ (np.eye(3) + strain), self.count + 1
            change = float(np.linalg.det(self.deformation)) - 1
            if abs(change) > _FARTHEST:
                return "runs_away", f"the volume has changed by {change:+.0%} (limit {_FARTHEST:.0%})"
            errors = standard_error(self.strains)
            if not is_clipped and (np.abs(strain) <= np.maximum(_SMALL, _WITHIN * errors)).all():
                return "converged", ""
        if n_clipped == _ROUNDS:
            return "runs_away", f"in every round the stress asked for a strain beyond {_LARGEST:.0%}"
        largest = np.unravel_index(int(np.abs(strain).argmax()), strain.shape)
        return "moves", f"the last strain was {strain[largest]:.1e} (standard error {errors[largest]:.1e})"


def relieving_strains(
    stresses: NDArray[np.float64], compliance: NDArray[np.float64], rotations: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Strains that stresses ask for, made symmetric under the crystal's rotations.

    Parameters
    ----------
    stresses : ndarray
        float64 (n_samples, 3, 3), eV/Å³, positive under tension.
    compliance : ndarray
        float64 (6, 6), Å³/eV, on shear strains that count once.
    rotations : ndarray
        float64 (n_rotations, 3, 3), Cartesian, a group.

    Returns
    -------
    ndarray
        float64 (n_samples, 3, 3).
    """
    strains = np.array([-_matrix(compliance @ _vector(stress)) for stress in stresses])
    return np.asarray(np.mean([turn @ strains @ turn.T for turn in rotations], axis=0))


def standard_error(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimate the standard error of the mean of independent samples, (n_samples, …)."""
    return np.asarray(samples.std(axis=0, ddof=1) / np.sqrt(len(samples)))


def _stresses(
    warm: WarmSupercell, ensemble: ThermalEnsemble, calculator: BaseCalculator, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Stress of an ensemble by its ± pairs, float64 (n_pairs, 3, 3), eV/Å³."""
    drawn = ensemble.draw(_PAIRS, rng)
    samples = [warm.perfect.copy() for _ in range(2 * _PAIRS)]
    for atoms, vectors in zip(samples, np.concatenate([drawn, -drawn]), strict=True):
        atoms.positions += vectors
    static = np.array([_stress(atoms, calculator) for atoms in samples]).reshape(2, _PAIRS, 3, 3).mean(axis=0)
    return np.asarray(static + kinetic_stress(ensemble, float(warm.perfect.get_volume())))


def _stress(atoms: Atoms, calculator: BaseCalculator) -> NDArray[np.float64]:
    """Compute the static stress, float64 (3, 3), eV/Å³."""
    copy = atoms.copy()
    copy.calc = calculator
    with translate_calculator_errors(copy):
        stress = np.asarray(copy.get_stress(voigt=False), dtype=np.float64)
    if not np.isfinite(stress).all():
        raise CalculatorError(f"the stress of {copy.get_chemical_formula()} is NaN or infinite.")
    return stress


def _elastic_constants(primitive: Primitive, calculator: BaseCalculator) -> NDArray[np.float64]:
    """Elastic constants with clamped ions, float64 (6, 6), eV/Å³, on shear strains that count once."""
    atoms = SupercellSet.of(primitive, np.zeros((0, len(primitive), 3))).perfect
    columns = []
    for first, second in _VOIGT:
        strain = np.zeros((3, 3))
        strain[first, second] = strain[second, first] = _STEP
        ends = []
        for sign in (1, -1):
            deformed = atoms.copy()
            deformed.set_cell(atoms.cell.array @ (np.eye(3) + sign * strain), scale_atoms=True)
            ends.append(_vector(_stress(deformed, calculator)))
        columns.append((ends[0] - ends[1]) / (2 * _STEP))
    return np.array(columns).T


def _vector(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Write a symmetric matrix as six numbers."""
    return np.array([matrix[pair] for pair in _VOIGT])


def _matrix(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Write six numbers as a symmetric matrix."""
    result = np.empty((3, 3))
    for (first, second), value in zip(_VOIGT, vector, strict=True):
        result[first, second] = result[second, first] = value
    return result
