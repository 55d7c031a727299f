"""Forces on the displaced supercells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from screen_cli.calculators.model_errors import translate_calculator_errors
from screen_cli.config import ForcesSettings
from screen_cli.errors import CalculatorError
from screen_cli.settings_file import settings_to_dict
from screen_cli.stages.displace import Displaced, SupercellSet
from screen_cli.stages.relax import check_forces, first_forces
from screen_cli.stages.stage import Inputs, Stage
from screen_cli.store.record import Json, TypedRecord, array, part

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator

    from screen_cli.store.interim import Interim

_KEPT = ("forces", "forces_committee", "force_deviation")


@dataclass(frozen=True, kw_only=True, eq=False)
class ForceSet(TypedRecord):
    """Forces on one set of displaced supercells.

    Parameters
    ----------
    forces : ndarray
        float64 (n_supercells, n_atoms, 3), eV/Å, in the order of the displacements; the forces of the undisplaced
        supercell and each net force subtracted when asked.
    forces_committee : ndarray, optional
        float64 (n_models, n_supercells, n_atoms, 3), eV/Å: of each member of a committee, treated alike.
    residual_force_max : float
        Largest force component in the undisplaced supercell, eV/Å.
    force_rms : float
        Root mean square force component, eV/Å.
    """

    forces: NDArray[np.float64] = array(np.float64, "n_supercells", "n_atoms", 3)
    forces_committee: NDArray[np.float64] | None = array(
        np.float64, "n_models", "n_supercells", "n_atoms", 3, optional=True
    )
    residual_force_max: float
    force_rms: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Forces(TypedRecord):
    """Forces on the displaced supercells of one crystal.

    Parameters
    ----------
    supercells : ForceSet, optional
        Of the fc3 supercells, where any is displaced.
    supercells_fc2 : ForceSet, optional
        Of the fc2 supercells, where there are such (names on disk end in ``_fc2``).
    n_force_calls : int
        Supercells evaluated here.
    n_models : int, optional
        Members of the committee.
    force_deviation_max : float, optional
        Largest disagreement of the committee on any atom of any displaced supercell, eV/Å.
    """

    supercells: ForceSet | None = part(ForceSet, optional=True)
    supercells_fc2: ForceSet | None = part(ForceSet, "_fc2", optional=True)
    n_force_calls: int
    n_models: int | None = None
    force_deviation_max: float | None = None

    @classmethod
    def of_arrays(cls, forces: Mapping[str, NDArray[np.float64]]) -> Forces:
        """Take forces from elsewhere, under the names ``forces`` and ``forces_fc2``."""
        sets = {name: _force_set(forces[name], 0.0) for name in ("forces", "forces_fc2") if name in forces}
        return cls(supercells=sets.get("forces"), supercells_fc2=sets.get("forces_fc2"), n_force_calls=0)

    @property
    def fc3_forces(self) -> NDArray[np.float64] | None:
        """Forces on the fc3 supercells, float64 (n_supercells, n_atoms, 3), eV/Å."""
        return None if self.supercells is None else self.supercells.forces

    @property
    def fc2_forces(self) -> NDArray[np.float64] | None:
        """Forces on the separate fc2 supercells, float64 (n_supercells_fc2, n_atoms_fc2, 3), eV/Å."""
        return None if self.supercells_fc2 is None else self.supercells_fc2.forces


@dataclass(frozen=True)
class ComputeForces(Stage[Forces]):
    """The stage: displaced supercells in, forces out.

    Parameters
    ----------
    displaced : str
        Stage that displaced the supercells.
    known : tuple of str
        Stages with displacements and forces of an earlier fit of fc2 alone, which are not computed again.
    """

    name: str = "forces"
    displaced: str = "displace"
    known: tuple[str, str] | None = None
    version: int = 1
    prefixes_columns: bool = False
    record_class: ClassVar[type[Forces]] = Forces

    @property
    def needs(self) -> tuple[str, ...]:
        """The displaced supercells, and forces that are known."""
        return (self.displaced, *(self.known or ()))

    def depends(self, inputs: Inputs) -> Json:
        """Give the settings and force field; how many supercells go into one call changes nothing."""
        settings = settings_to_dict(inputs.settings.forces)
        settings.pop("batch_size")
        return [settings, inputs.force_field.identity()]

    def run(self, inputs: Inputs) -> Forces:
        """Evaluate the forces."""
        known = None
        if self.known:
            known = inputs.record(self.known[0], Displaced), inputs.record(self.known[1], Forces)
        displaced = inputs.record(self.displaced, Displaced)
        calculator, settings = inputs.force_field.calculator, inputs.settings.forces
        return compute_forces(displaced, calculator, settings, known=known, interim=inputs.interim)


def compute_forces(
    displaced: Displaced,
    calculator: BaseCalculator,
    settings: ForcesSettings,
    *,
    known: tuple[Displaced, Forces] | None = None,
    interim: Interim | None = None,
) -> Forces:
    """Evaluate the forces of every displaced supercell.

    A calculator with ``predict(list of Atoms)`` (as sdnnff-calc's) is asked for batches, any other for one
    supercell at a time. A committee, whose results also hold ``forces_committee`` (n_models, n_atoms, 3) and
    ``force_deviation`` (n_atoms,), has its members' forces kept.

    Parameters
    ----------
    displaced : Displaced
    calculator : ase.calculators.calculator.BaseCalculator
    settings : ForcesSettings
    known : (Displaced, Forces), optional
        Of an earlier fit of fc2 alone: where its supercells are the fc2 supercells of this one, its forces are taken
        and no call is made for them.
    interim : Interim, optional
        Keeps the results so far; what it holds of a run that was stopped is not computed again.

    Raises
    ------
    CalculatorError
        NaN, exploded or wrongly shaped forces; names the displacement.
    """
    sets: dict[str, ForceSet] = {}
    evaluated = _Evaluated(interim)
    deviations: list[float] = []
    n_calls = 0
    for suffix, supercells in (("", displaced.supercells), ("_fc2", displaced.supercells_fc2)):
        if supercells is None or not len(supercells.displacements):
            continue
        taken = _known_forces(supercells, *known) if known and suffix else None
        if taken is not None and known is not None:
            sets[suffix] = taken
            deviations += [value for value in (known[1].force_deviation_max,) if value is not None]
            continue
        sets[suffix], deviation = _force_set_of(supercells, calculator, settings, suffix, evaluated)
        deviations += [] if deviation is None else [deviation]
        n_calls += len(supercells.displacements) + 1
    committees = [item.forces_committee for item in sets.values() if item.forces_committee is not None]
    return Forces(
        supercells=sets.get(""),
        supercells_fc2=sets.get("_fc2"),
        n_force_calls=n_calls,
        n_models=len(committees[0]) if committees else None,
        force_deviation_max=max(deviations) if deviations else None,
    )


def compute_force_set(
    supercells: SupercellSet, calculator: BaseCalculator, settings: ForcesSettings, suffix: str = ""
) -> tuple[ForceSet, float | None]:
    """Evaluate one set of supercells.

    Parameters
    ----------
    suffix : str
        Of the set's name in error messages.

    Returns
    -------
    ForceSet
    float or None
        Largest disagreement of a committee, eV/Å.

    Raises
    ------
    CalculatorError
        As :func:`compute_forces`.
    """
    return _force_set_of(supercells, calculator, settings, suffix, _Evaluated(None))


def _force_set_of(
    supercells: SupercellSet, calculator: BaseCalculator, settings: ForcesSettings, suffix: str, evaluated: _Evaluated
) -> tuple[ForceSet, float | None]:
    """Evaluate what is missing of one set of supercells (see :func:`compute_force_set`)."""
    perfect = supercells.perfect
    moved = [_displaced(perfect, vectors) for vectors in supercells.displacements]
    todo = {
        f"residual{suffix}": ([perfect], f"the undisplaced supercell{suffix}"),
        f"displaced{suffix}": (moved, f"displacement{suffix}"),
    }
    residual, found = (
        _evaluate(cells, calculator, settings, where, evaluated.part(part, cells), evaluated.keep)
        for part, (cells, where) in todo.items()
    )
    forces = _force_set(
        _without_residual(found["forces"], residual["forces"], settings), float(np.abs(residual["forces"]).max())
    )
    if "forces_committee" in found:
        members = _without_residual(found["forces_committee"], residual["forces_committee"], settings)
        forces = replace(forces, forces_committee=members.swapaxes(0, 1))
    deviation = found.get("force_deviation")
    return forces, None if deviation is None else float(deviation.max())


_Rows = dict[str, list[NDArray[np.float64]]]
"""Results by name, one row per supercell."""


class _Evaluated:
    """Results of the supercells so far, those of a run that was stopped among them."""

    def __init__(self, interim: Interim | None) -> None:
        self._interim = interim
        self._left = {} if interim is None else interim.read()
        self._parts: dict[str, _Rows] = {}

    def part(self, part: str, supercells: Sequence[Atoms]) -> _Rows:
        """Give the rows of some supercells, to be completed; those left by another run where they fit."""
        left = {name: self._left[f"{name}_{part}"] for name in _KEPT if f"{name}_{part}" in self._left}
        forces = left.get("forces", np.zeros(0))
        fits = forces.shape[1:] == (len(supercells[0]), 3) and len(forces) <= len(supercells)
        fits = fits and all(values.shape[:1] == forces.shape[:1] for values in left.values())
        rows: _Rows = (
            {name: list(np.asarray(values, dtype=np.float64)) for name, values in left.items()} if fits else {}
        )
        self._parts[part] = rows
        return rows

    def keep(self) -> None:
        """Keep what there is, if it is time."""
        if self._interim is not None and self._interim.is_due:
            self._interim.write(
                {
                    f"{name}_{part}": np.array(values)
                    for part, rows in self._parts.items()
                    for name, values in rows.items()
                }
            )


def _force_set(forces: NDArray[np.float64], residual_max: float) -> ForceSet:
    """Give the forces with their root mean square."""
    return ForceSet(
        forces=forces, residual_force_max=residual_max, force_rms=float(np.sqrt(np.mean(np.asarray(forces) ** 2)))
    )


def _known_forces(supercells: SupercellSet, displaced: Displaced, forces: Forces) -> ForceSet | None:
    """Give the forces of an earlier fit; None where its supercells are others."""
    for earlier, found in (
        (displaced.supercells, forces.supercells),
        (displaced.supercells_fc2, forces.supercells_fc2),
    ):
        if earlier is not None and len(earlier.displacements):
            return found if supercells.has_same_supercells(earlier) else None
    return None


def _without_residual(
    forces: NDArray[np.float64], residual: NDArray[np.float64], settings: ForcesSettings
) -> NDArray[np.float64]:
    """Subtract the undisplaced supercell's forces, then each net force, when asked; atoms on the last axis but one."""
    if not settings.subtract_residual:
        return forces
    forces = forces - residual
    net: NDArray[np.float64] = forces.mean(axis=-2, keepdims=True)
    return forces - net


def _displaced(perfect: Atoms, vectors: NDArray[np.float64]) -> Atoms:
    """Copy of a supercell with displaced atoms."""
    atoms: Atoms = perfect.copy()
    atoms.positions += vectors
    return atoms


def _evaluate(
    supercells: Sequence[Atoms],
    calculator: BaseCalculator,
    settings: ForcesSettings,
    where: str,
    rows: _Rows,
    keep: Callable[[], None],
) -> dict[str, NDArray[np.float64]]:
    """Give checked forces (n, n_atoms, 3) of several supercells and what a committee adds; completes ``rows``."""
    for start in range(len(rows.get("forces", [])), len(supercells), settings.batch_size):
        batch = supercells[start : start + settings.batch_size]
        for offset, results in enumerate(_batch_results(batch, calculator)):
            n_atoms = len(batch[offset])
            label = f"{where} {start + offset}" if len(supercells) > 1 else where
            shape = np.shape(results["forces"])
            if shape != (n_atoms, 3):
                raise CalculatorError(
                    f"forces of {label} have shape {shape}, expected {(n_atoms, 3)}. The calculator returned "
                    "the forces of another structure."
                )
            for name in _KEPT:
                if results.get(name) is None:
                    continue
                values = np.array(results[name], dtype=np.float64)
                check_forces(values.reshape(-1, values.shape[-1]), settings.max_force, label)
                rows.setdefault(name, []).append(values)
            keep()
    return {name: np.array(values) for name, values in rows.items()}


def _batch_results(batch: Sequence[Atoms], calculator: BaseCalculator) -> Iterator[Mapping[str, Any]]:
    """Results of a batch, in one call where the calculator can."""
    predict = getattr(calculator, "predict", None)  # of the calculators that have it; ASE's own have not
    if callable(predict):
        first = batch[0].copy()
        first.calc = calculator
        with translate_calculator_errors(first):
            yield from list(predict(list(batch)))
        return
    for atoms in batch:
        atoms.calc = calculator
        forces = first_forces(atoms).copy()
        yield {**getattr(calculator, "results", {}), "forces": forces}
        atoms.calc = None
