"""Forces on the displaced supercells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from screen_cli.errors import CalculatorError
from screen_cli.model_errors import translate_calculator_errors
from screen_cli.record import Record
from screen_cli.settings import ForcesSettings
from screen_cli.stages.relax import check_forces, first_forces


def compute_forces(displace_record: Record, calculator: Any, settings: ForcesSettings) -> Record:
    """Evaluate the forces of every displaced supercell.

    A calculator with ``predict(list of Atoms)`` (as sdnnff-calc's) is asked for batches, any other for one
    supercell at a time.

    Parameters
    ----------
    displace_record : Record
        Of :func:`screen_cli.stages.displace.displace`.
    calculator : ase.calculators.calculator.Calculator
    settings : ForcesSettings

    Returns
    -------
    Record
        arrays: ``forces`` (n_supercells, n_atoms, 3) float64, eV/Å, in the order of the displacements, with the
        forces of the undisplaced supercell and each supercell's net force subtracted when asked;
        ``forces_fc2`` likewise when there are fc2 supercells.
        data: ``force_rms`` eV/Å, ``residual_force_max`` (largest force of the undisplaced supercell), eV/Å,
        ``n_force_calls``.

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
        perfect = _supercell(displace_record, suffix)
        residual = _forces([perfect], calculator, settings, f"the undisplaced supercell{suffix}")[0]
        supercells = [_displaced(perfect, vectors) for vectors in displacements]
        forces = _forces(supercells, calculator, settings, f"displacement{suffix}")
        data[f"residual_force_max{suffix}"] = float(np.abs(residual).max())
        data["n_force_calls"] += len(supercells) + 1
        if settings.subtract_residual:
            forces = forces - residual
            forces -= forces.mean(axis=1, keepdims=True)
        arrays[f"forces{suffix}"] = forces
        data[f"force_rms{suffix}"] = float(np.sqrt(np.mean(forces**2)))
    return Record(data, arrays)


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


def _forces(supercells: Sequence[Atoms], calculator: Any, settings: ForcesSettings, where: str) -> NDArray[np.float64]:
    """Forces (n, n_atoms, 3) of several supercells, checked."""
    rows: list[NDArray[np.float64]] = []
    for start in range(0, len(supercells), settings.batch_size):
        batch = supercells[start : start + settings.batch_size]
        for offset, forces in enumerate(_batch_forces(batch, calculator)):
            expected = (len(batch[offset]), 3)
            label = f"{where} {start + offset}" if len(supercells) > 1 else where
            if np.shape(forces) != expected:
                raise CalculatorError(
                    f"forces of {label} have shape {np.shape(forces)}, expected {expected}. The calculator returned "
                    "the forces of another structure."
                )
            check_forces(forces, settings.max_force, label)
            rows.append(np.array(forces, dtype=np.float64))
    return np.array(rows)


def _batch_forces(batch: Sequence[Atoms], calculator: Any) -> list[Any]:
    """Forces of a batch, in one call where the calculator can."""
    predict = getattr(calculator, "predict", None)
    if callable(predict):
        first = batch[0].copy()
        first.calc = calculator
        with translate_calculator_errors(first):
            return [result["forces"] for result in predict(list(batch))]
    forces = []
    for atoms in batch:
        atoms.calc = calculator
        forces.append(first_forces(atoms).copy())
        atoms.calc = None
    return forces
