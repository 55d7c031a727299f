"""A committee against labels: errors, by group, kind and element, disagreement and calibration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from al_committee.committee.calculator import CommitteeCalculator
from al_committee.committee.calibration import calibrate
from al_committee.committee.disagreement import committee_mean, force_deviation
from al_committee.labels.outcome import labelled_forces
from al_committee.loop.records import Comparison, GroupError

__all__ = ["compare_with_labels"]

FloatArray = NDArray[np.float64]
BATCH = 64


def compare_with_labels(
    committee: CommitteeCalculator, labelled: Iterable[Atoms]
) -> tuple[Comparison, FloatArray, FloatArray]:
    """Compare a committee with labels, on structures whose elements it knows.

    Parameters
    ----------
    committee : CommitteeCalculator
        The models.
    labelled : iterable of Atoms
        Structures with forces (eV/Å); read a batch at a time.

    Returns
    -------
    tuple
        A record; ε per atom, shape ``(n_atoms,)``, eV/Å; error of the mean force, shape ``(n_atoms, 3)``, eV/Å.

    Raises
    ------
    LabelMismatchError
        When a structure has no forces.
    """
    deviations: list[FloatArray] = []
    errors: list[FloatArray] = []
    sums: dict[str, list[tuple[int, float, float]]] = defaultdict(list)
    n_unseen = 0
    for batch in _batches(labelled):
        known = [a for a in batch if committee.elements is None or set(a.get_chemical_symbols()) <= committee.elements]
        n_unseen += len(batch) - len(known)
        for atoms, prediction in zip(known, committee.evaluate(known, energy=False), strict=True):
            forces = labelled_forces(atoms)
            error = committee_mean(prediction.forces) - forces
            deviations.append(force_deviation(prediction.forces))
            errors.append(error)
            for name in _groups(atoms):
                sums[name].append((error.size, float((error**2).sum()), float((forces**2).sum())))
    if not errors:
        return Comparison(0, n_unseen), np.zeros(0), np.zeros((0, 3))
    deviation, error = np.concatenate(deviations), np.concatenate(errors)
    rmse, mae = float(np.sqrt((error**2).mean())), float(np.abs(error).mean())
    groups = {name: _group_error(rows) for name, rows in sorted(sums.items())}
    try:
        found = Comparison(len(errors), n_unseen, rmse, mae, calibrate(deviation, error), groups=groups)
    except ValueError as problem:  # clones, or a committee without any error
        found = Comparison(len(errors), n_unseen, rmse, mae, uncalibrated=str(problem), groups=groups)
    return found, deviation, error


def _batches(labelled: Iterable[Atoms]) -> Iterator[list[Atoms]]:
    """Give some structures at a time."""
    held: list[Atoms] = []
    for atoms in labelled:
        held.append(atoms)
        if len(held) == BATCH:
            yield held
            held = []
    if held:
        yield held


def _groups(atoms: Atoms) -> list[str]:
    """Names under which a structure's error is counted."""
    named = [f"{what} {atoms.info[what]}" for what in ("group", "kind") if atoms.info.get(what)]
    return named + [f"element {symbol}" for symbol in sorted(set(atoms.get_chemical_symbols()))]


def _group_error(rows: Sequence[tuple[int, float, float]]) -> GroupError:
    """Error of one group."""
    size, error, force = (sum(column) for column in zip(*rows, strict=True))
    return GroupError(len(rows), float(np.sqrt(error / size)), float(np.sqrt(force / size)))
