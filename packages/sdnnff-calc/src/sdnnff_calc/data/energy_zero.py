"""The zero of energy of new labels: every code and functional has its own, a constant per atom of each element."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray

from sdnnff_calc.data.sample_stores import SampleStore
from sdnnff_calc.data.samples import Sample, batch_indices, collate_samples
from sdnnff_calc.models.checkpoint import Model
from sdnnff_calc.models.heads import atomic_energies, sum_by_structure

__all__ = ["follow_zero", "measure_shift"]

_log = logging.getLogger(__name__)


def measure_shift(model: Model, *stores: SampleStore, batch_atoms: int = 2048) -> dict[int, float]:
    """Fit constants to label minus prediction.

    Parameters
    ----------
    model : Model
        With an energy.
    *stores : SampleStore
        Samples without an energy label do not count.
    batch_atoms : int
        Of one batch.

    Returns
    -------
    dict of int to float
        eV per atom by atomic number, of all elements in labelled samples: the shortest of the least-squares solutions.
        Empty without labels.
    """
    counts, residuals = [], []
    chosen = ((store, k) for store in stores for k in batch_indices(store.sizes, batch_atoms))
    for store, indices in chosen:
        samples = [sample for sample in (store[k] for k in indices) if np.isfinite(sample.energy)]
        if not samples:
            continue
        batch = collate_samples(samples, model.dtype, next(model.network.parameters()).device)
        with torch.no_grad():
            atomic = atomic_energies(model.network(batch.env), batch.env, model.statistics)
            energies = sum_by_structure(atomic, batch.env)
        sizes = np.array([s.n_atoms for s in samples])
        residuals.append((batch.energies - energies).cpu().numpy() / sizes)
        counts += [np.bincount(s.edges.numbers, minlength=119) / s.n_atoms for s in samples]
    if not counts:
        return {}
    known = np.flatnonzero(np.sum(counts, axis=0))
    solution = np.linalg.lstsq(np.array(counts)[:, known], np.concatenate(residuals), rcond=1e-8)[0]
    return {int(z): float(energy) for z, energy in zip(known, solution, strict=True)}


def follow_zero(
    model: Model, new: SampleStore, replay: SampleStore | None, *, same_zero: bool = False
) -> SampleStore | None:
    """Move a model's atomic energies to the zero of new labels, and the labels of replayed samples from theirs.

    Parameters
    ----------
    model : Model
        Changed in place. One trained on forces alone has an arbitrary zero.
    new : SampleStore
        Samples of the new data.
    replay : SampleStore or None
        Samples of earlier data, with any zero of their own.
    same_zero : bool
        Both count from one zero: the replayed labels stay as they are. Without it an error of the model that is
        constant per element is taken for a difference of zeros, and what replay could teach about it is lost.

    Returns
    -------
    SampleStore or None
        The replayed samples with the new zero.
    """
    shift = measure_shift(model, new) if replay is None or not same_zero else measure_shift(model, new, replay)
    own = {} if replay is None or same_zero else measure_shift(model, replay)
    atomic = dict(model.statistics.atomic_energies or {})
    for number, energy in shift.items():
        atomic[number] = atomic.get(number, 0.0) + energy
    model.statistics = dataclasses.replace(model.statistics, atomic_energies=atomic or None)
    moves = ", ".join(f"{chemical_symbols[number]} {energy:+.3f}" for number, energy in shift.items())
    _log.info("zero of energy, eV per atom: %s", moves or "no energies to follow")
    if replay is None or same_zero:
        return replay

    return _Moved(replay, {z: shift.get(z, 0.0) - own.get(z, 0.0) for z in {*shift, *own}})


class _Moved:
    """A store whose energies count from another zero: ``added`` (eV) for each atom by atomic number."""

    def __init__(self, store: SampleStore, added: dict[int, float]) -> None:
        self._store, self._added = store, added

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, index: int) -> Sample:
        sample = self._store[index]
        added = sum(self._added.get(int(z), 0.0) for z in sample.edges.numbers)
        return dataclasses.replace(sample, energy=sample.energy + added)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Atoms of each sample."""
        return self._store.sizes

    @property
    def crystals(self) -> Sequence[str]:
        """Crystal of each sample."""
        return self._store.crystals

    @property
    def digest(self) -> str:
        """Hash of the samples as they were and of the move."""
        return f"{self._store.digest} {sorted(self._added.items())}"
