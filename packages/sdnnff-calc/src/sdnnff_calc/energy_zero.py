"""The zero of energy of new labels: every code and functional has its own, a constant per atom of each element."""

from __future__ import annotations

import dataclasses

import numpy as np

from sdnnff_calc.checkpoint import Model
from sdnnff_calc.heads import evaluate
from sdnnff_calc.samples import MemoryStore, Sample, SampleStore, batch_indices, collate_samples

__all__ = ["follow_zero", "measure_shift"]


def measure_shift(model: Model, store: SampleStore, batch_atoms: int = 2048) -> dict[int, float]:
    """Fit constants to label minus prediction.

    Parameters
    ----------
    model
        With an energy.
    store
        Samples without an energy label do not count.
    batch_atoms
        Of one batch.

    Returns
    -------
    dict of int to float
        eV per atom by atomic number, of all elements in labelled samples: the shortest of the least-squares solutions.
        Empty without labels.
    """
    counts, residuals = [], []
    for chosen in batch_indices(store.sizes, batch_atoms):
        samples = [sample for sample in (store[k] for k in chosen) if np.isfinite(sample.energy)]
        if not samples:
            continue
        batch = collate_samples(samples, model.dtype, next(model.network.parameters()).device)
        energies = evaluate(model.network, batch.env, model.statistics, model.config.head).energies
        assert energies is not None  # the caller has a conservative head
        sizes = np.array([s.n_atoms for s in samples])
        residuals.append((batch.energies - energies).detach().cpu().numpy() / sizes)
        counts += [np.bincount(s.edges.numbers, minlength=119) / s.n_atoms for s in samples]
    if not counts:
        return {}
    known = np.flatnonzero(np.sum(counts, axis=0))
    solution = np.linalg.lstsq(np.array(counts)[:, known], np.concatenate(residuals), rcond=1e-8)[0]
    return {int(z): float(energy) for z, energy in zip(known, solution, strict=True)}


def follow_zero(model: Model, new: SampleStore, replay: SampleStore | None) -> SampleStore | None:
    """Move a model's atomic energies to the zero of new labels, and the labels of replayed samples from theirs.

    Parameters
    ----------
    model
        Changed in place. One trained on forces alone has an arbitrary zero.
    new
        Samples of the new data.
    replay
        Samples of earlier data, with any zero of their own.

    Returns
    -------
    SampleStore or None
        The replayed samples with the new zero.
    """
    shift = measure_shift(model, new)
    own = {} if replay is None else measure_shift(model, replay)
    atomic = dict(model.statistics.atomic_energies or {})
    for number, energy in shift.items():
        atomic[number] = atomic.get(number, 0.0) + energy
    model.statistics = dataclasses.replace(model.statistics, atomic_energies=atomic or None)
    if replay is None:
        return None

    def moved(sample: Sample) -> Sample:
        added = sum(shift.get(int(z), 0.0) - own.get(int(z), 0.0) for z in sample.edges.numbers)
        return dataclasses.replace(sample, energy=sample.energy + added)

    return MemoryStore(moved(replay[k]) for k in range(len(replay)))
