"""A committee against labels: errors, disagreement and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from al_committee.committee.calculator import CommitteeCalculator
from al_committee.committee.calibration import calibrate
from al_committee.committee.disagreement import committee_mean, force_deviation
from al_committee.labels.outcome import labelled_forces

__all__ = ["compare_with_labels"]


def compare_with_labels(
    committee: CommitteeCalculator, labelled: Sequence[Atoms]
) -> tuple[dict[str, Any], NDArray[np.float64], NDArray[np.float64]]:
    """Compare a committee with labels, on structures whose elements it knows.

    Parameters
    ----------
    committee
        The models.
    labelled
        Structures with forces (eV/Å).

    Returns
    -------
    tuple
        A record (counts, errors in eV/Å, calibration where it can be had); ε per atom, shape ``(n_atoms,)``,
        eV/Å; error of the mean force, shape ``(n_atoms, 3)``, eV/Å.
    """
    known = [
        atoms
        for atoms in labelled
        if committee.elements is None or set(atoms.get_chemical_symbols()) <= committee.elements
    ]
    record: dict[str, Any] = {"n_structures": len(known), "n_unseen": len(labelled) - len(known)}
    if not known:
        return record, np.zeros(0), np.zeros((0, 3))
    predictions = committee.evaluate(known, energy=False)
    deviation = np.concatenate([force_deviation(p.forces) for p in predictions])
    errors = [committee_mean(p.forces) - labelled_forces(atoms) for p, atoms in zip(predictions, known, strict=True)]
    error = np.concatenate(errors)
    try:
        record.update(calibrate(deviation, error).to_dict())
    except ValueError as problem:  # clones, or a committee without any error
        record.update({"force_rmse": float(np.sqrt((error**2).mean())), "uncalibrated": str(problem)})
    return record, deviation, error
