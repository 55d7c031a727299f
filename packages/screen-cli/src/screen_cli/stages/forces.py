"""Forces on the displaced supercells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from screen_cli.calculators.model_errors import translate_calculator_errors
from screen_cli.config import ForcesSettings
from screen_cli.errors import CalculatorError
from screen_cli.stages.relax import check_forces, first_forces
from screen_cli.store.record import Record

_KEPT = ("forces", "forces_committee", "force_deviation")


def compute_forces(
    displace_record: Record,
    calculator: Any,
    settings: ForcesSettings,
    *,
    known: tuple[Record, Record] | None = None,
) -> Record:
    """Evaluate the forces of every displaced supercell.

    A calculator with ``predict(list of Atoms)`` (as sdnnff-calc's) is asked for batches, any other for one
    supercell at a time. A committee, whose results also hold ``forces_committee`` (n_models, n_atoms, 3) and
    ``force_deviation`` (n_atoms,), has its members' forces kept.

    Parameters
    ----------
    displace_record : Record
        Of :func:`screen_cli.stages.displace.displace`.
    calculator : ase.calculators.calculator.Calculator
    settings : ForcesSettings
    known : (Record, Record), optional
        Displacements and forces of an earlier fit of fc2 alone: where its supercells are the fc2 supercells of this
        record, its forces are taken and no call is made for them.

    Returns
    -------
    Record
        arrays: ``forces`` (n_supercells, n_atoms, 3) float64, eV/Å, in the order of the displacements, with the
        forces of the undisplaced supercell and each supercell's net force subtracted when asked;
        ``forces_fc2`` likewise when there are fc2 supercells; of a committee also ``forces_committee``
        (n_models, n_supercells, n_atoms, 3), treated alike, and ``forces_committee_fc2``.
        data: ``force_rms`` eV/Å, ``residual_force_max`` (largest force of the undisplaced supercell), eV/Å,
        ``n_force_calls``; of a committee also ``n_models`` and ``force_deviation_max``, the largest disagreement
        on any atom of any displaced supercell, eV/Å.

    Raises
    ------
    CalculatorError
        NaN, exploded or wrongly shaped forces; names the displacement.
    """
    arrays: dict[str, NDArray[np.float64]] = {}
    data: dict[str, Any] = {"n_force_calls": 0}
    for suffix in ("", "_fc2"):
        displacements = displace_record.arrays.get(f"displacements{suffix}")
        if displacements is None or len(displacements) == 0:
            continue
        taken = _known_fc2(displace_record, *known) if known and suffix else None
        if taken is not None:
            arrays |= taken.arrays
            deviation = max(data.get("force_deviation_max", 0.0), taken.data.get("force_deviation_max", 0.0))
            data = taken.data | data | ({"force_deviation_max": deviation} if deviation else {})
            continue
        perfect = _supercell(displace_record, suffix)
        residual = _evaluate([perfect], calculator, settings, f"the undisplaced supercell{suffix}")
        supercells = [_displaced(perfect, vectors) for vectors in displacements]
        found = _evaluate(supercells, calculator, settings, f"displacement{suffix}")
        data[f"residual_force_max{suffix}"] = float(np.abs(residual["forces"]).max())
        data["n_force_calls"] += len(supercells) + 1
        if "force_deviation" in found:
            data["force_deviation_max"] = max(
                data.get("force_deviation_max", 0.0), float(found["force_deviation"].max())
            )
        forces = _without_residual(found["forces"], residual["forces"], settings)
        arrays[f"forces{suffix}"] = forces
        data[f"force_rms{suffix}"] = float(np.sqrt(np.mean(forces**2)))
        if "forces_committee" in found:
            members = _without_residual(found["forces_committee"], residual["forces_committee"], settings)
            arrays[f"forces_committee{suffix}"] = members.swapaxes(0, 1)
            data["n_models"] = members.shape[1]
    return Record(data, arrays)


def _known_fc2(record: Record, displaced: Record, forces: Record) -> Record | None:
    """Forces of an earlier fit under the names of fc2 forces; None where its supercells are others."""
    for suffix in ("", "_fc2"):
        if not len(displaced.arrays.get(f"displacements{suffix}", ())):
            continue
        names = ("displacements", "supercell_positions", "supercell_numbers", "supercell_cell")
        if not all(np.array_equal(displaced.arrays[f"{name}{suffix}"], record.arrays[f"{name}_fc2"]) for name in names):
            return None
        arrays = {f"{name.removesuffix('_fc2')}_fc2": array for name, array in forces.arrays.items()}
        renamed = {f"{name}_fc2": forces.data[f"{name}{suffix}"] for name in ("residual_force_max", "force_rms")}
        shared = {name: forces.data[name] for name in ("n_models", "force_deviation_max") if name in forces.data}
        return Record(renamed | shared, arrays)
    return None


def _without_residual(
    forces: NDArray[np.float64], residual: NDArray[np.float64], settings: ForcesSettings
) -> NDArray[np.float64]:
    """Subtract the undisplaced supercell's forces, then each net force, when asked; atoms on the last axis but one."""
    if not settings.subtract_residual:
        return forces
    forces = forces - residual
    return forces - forces.mean(axis=-2, keepdims=True)


def _supercell(record: Record, suffix: str) -> Atoms:
    """Undisplaced supercell of a displacement record."""
    return Atoms(
        numbers=record.arrays[f"supercell_numbers{suffix}"],
        positions=record.arrays[f"supercell_positions{suffix}"],
        cell=record.arrays[f"supercell_cell{suffix}"],
        pbc=True,
    )


def _displaced(perfect: Atoms, vectors: NDArray[np.float64]) -> Atoms:
    """Copy of a supercell with displaced atoms."""
    atoms = perfect.copy()
    atoms.positions += vectors
    return atoms


def _evaluate(
    supercells: Sequence[Atoms], calculator: Any, settings: ForcesSettings, where: str
) -> dict[str, NDArray[np.float64]]:
    """Forces (n, n_atoms, 3) of several supercells, checked, and what a committee adds, one row per supercell."""
    rows: dict[str, list[NDArray[np.float64]]] = {}
    for start in range(0, len(supercells), settings.batch_size):
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
    return {name: np.array(values) for name, values in rows.items()}


def _batch_results(batch: Sequence[Atoms], calculator: Any) -> list[Mapping[str, Any]]:
    """Results of a batch, in one call where the calculator can."""
    predict = getattr(calculator, "predict", None)
    if callable(predict):
        first = batch[0].copy()
        first.calc = calculator
        with translate_calculator_errors(first):
            return list(predict(list(batch)))
    found: list[Mapping[str, Any]] = []
    for atoms in batch:
        atoms.calc = calculator
        forces = first_forces(atoms).copy()
        found.append({**getattr(calculator, "results", {}), "forces": forces})
        atoms.calc = None
    return found
