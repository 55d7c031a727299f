"""What a model takes from its training set before it is trained."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from sdnnff_calc.data.sample_stores import SampleStore
from sdnnff_calc.errors import DataError
from sdnnff_calc.geometry.closest_pairs import ClosestPairs
from sdnnff_calc.models.heads import Statistics
from sdnnff_calc.models.trained_labels import TrainedLabels

__all__ = ["MeasuredSet", "measure_statistics"]

_log = logging.getLogger(__name__)

_LEAST_SCALE, _SCALE_AT_REST = 1e-3, 0.1
"""eV/Å: below the first, forces are noise of crystals at rest; the second, that of 0.03 Å, then scales the errors."""


@dataclass(frozen=True)
class MeasuredSet:
    """What a training set tells.

    Attributes
    ----------
    statistics : Statistics
        What a model must know of it.
    elements : tuple of int
        Atomic numbers, sorted.
    labels : TrainedLabels
        How many samples have each label.
    """

    statistics: Statistics
    elements: tuple[int, ...]
    labels: TrainedLabels


def measure_statistics(store: SampleStore, with_energy: bool) -> MeasuredSet:
    """Measure force scale, neighbours, atomic energies, closest pairs, element set and labels of a training set.

    Parameters
    ----------
    store : SampleStore
        At least one sample.
    with_energy : bool
        Fit atomic energies by least squares over the samples with an energy label.

    Raises
    ------
    DataError
        For an empty set.
    """
    square = n_components = n_edges = n_atoms = 0.0
    elements: set[int] = set()
    normal, right = np.zeros((119, 119)), np.zeros(119)
    closest = ClosestPairs()
    n_energies = n_stresses = 0
    for index in range(len(store)):
        sample = store[index]
        square += float((np.asarray(sample.forces, dtype=np.float64) ** 2).sum())
        n_components += sample.forces.size
        n_edges += len(sample.edges.centre)
        n_atoms += sample.n_atoms
        closest.add(sample.edges)
        elements.update(int(z) for z in np.unique(sample.edges.numbers))
        n_energies += bool(np.isfinite(sample.energy))
        n_stresses += bool(np.isfinite(sample.stress).all() and np.isfinite(sample.edges.volume))
        if with_energy and np.isfinite(sample.energy):
            counts = np.bincount(sample.edges.numbers, minlength=119).astype(np.float64)
            normal += np.outer(counts, counts)
            right += counts * sample.energy
    if n_components == 0:
        raise DataError("the training set is empty.")
    scale = float(np.sqrt(square / n_components))
    if scale < _LEAST_SCALE:
        _log.warning(
            "the forces to learn from are %.1e eV/Å, nothing but noise: crystals at rest? Errors are measured by %g "
            "eV/Å. Displace the atoms for forces worth learning.", scale, _SCALE_AT_REST,
        )  # fmt: skip
        scale = _SCALE_AT_REST
    atomic = None
    known = sorted(elements)
    if with_energy and right.any():
        solution = np.linalg.lstsq(normal[np.ix_(known, known)], right[known], rcond=1e-10)[0]
        atomic = {z: float(e) for z, e in zip(known, solution, strict=True)}
    statistics = Statistics(scale, max(n_edges / n_atoms, 1.0), atomic, closest.found())
    return MeasuredSet(statistics, tuple(known), TrainedLabels(len(store), n_energies, n_stresses))
