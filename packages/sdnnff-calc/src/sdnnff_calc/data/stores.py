"""The data of a run: read, checked, split, and cached where that is asked for."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from sdnnff_calc.config import DataConfig, RunConfig
from sdnnff_calc.data.dft_outputs import find_outputs
from sdnnff_calc.data.sample_stores import MemoryStore, SampleStore, ShardedStore, SubsetStore
from sdnnff_calc.data.samples import Sample
from sdnnff_calc.data.structures import DataReport, check_labels, iterate_structures, split_groups
from sdnnff_calc.errors import DataError

__all__ = ["Stores", "load_replay", "load_stores", "log_report", "store_of"]

_log = logging.getLogger(__name__)

_READERS = 4
"""Raised when the readers find more in the same files than before: an older cache is then built anew."""


@dataclasses.dataclass
class Stores:
    """Training and validation samples, and the report on what was read."""

    train: SampleStore
    validation: SampleStore
    report: DataReport


def store_of(structures: Iterable[Atoms], cutoff: float) -> MemoryStore:
    """Make an in-memory store of labelled structures; what is left out is logged as a warning."""
    report = DataReport()
    checked = check_labels(structures, np.inf, report)
    store = MemoryStore(Sample.from_atoms(atoms, cutoff) for atoms in checked)
    log_report(report)
    return store


def log_report(report: DataReport) -> None:
    """Log what was read; as a warning when something was left out or not understood."""
    _log.log(logging.WARNING if report.rejected or report.unread else logging.INFO, "\n".join(report.lines()))


def _cache_of(names: Sequence[str], data: DataConfig, cutoff: float, dtype: str) -> Path:
    """Name the folder of a cache after all it depends on: files, their times and sizes, cutoff, checks, precision."""
    files = [Path(name) for name in names]
    read = [p for path in files for p in (find_outputs(path).files if path.is_dir() else [path]) if p.is_file()]
    stamps = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in read]
    text = json.dumps([_READERS, stamps, [str(p) for p in files], cutoff, data.max_force, dtype])
    return Path(data.cache) / hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(names: Sequence[str], config: RunConfig, report: DataReport) -> SampleStore:
    """Read and check files, into memory or, where one is asked for, into the cache; or open the cache."""
    data, cutoff, dtype = config.data, config.model.cutoff, config.training.dtype
    folder = _cache_of(names, data, cutoff, dtype) if data.cache else None
    if folder is not None and (folder / "index.json").is_file():
        store = ShardedStore(folder)
        report.n_structures += len(store)
        report.n_atoms += int(store.sizes.sum())
        report.n_cached += len(store)
        return store
    checked = check_labels(iterate_structures(names), data.max_force, report)
    stream = (Sample.from_atoms(atoms, cutoff) for atoms in checked)
    if folder is None:
        return MemoryStore(stream)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return ShardedStore.write(folder, stream, shard_atoms=data.shard_atoms, dtype=dtype)


def load_stores(config: RunConfig) -> Stores:
    """Read, check and split the data of a run; build or reuse the on-disk cache when one is asked for.

    Raises
    ------
    DataError
        For missing or broken data.
    """
    data = config.data
    if not data.train:
        raise DataError("[data] train names no file.")
    report = DataReport()
    train = validation = _read(data.train, config, report)
    if len(train) == 0:
        raise DataError("no training structure is left after the checks: " + "; ".join(report.rejected[:5]) + ".")
    if data.validation:
        validation = _read(data.validation, config, report)
        if len(validation) == 0:
            raise DataError("no structure of [data] validation is left: " + "; ".join(report.rejected[:5]) + ".")
    else:
        by_crystal = data.split_by == "structure"
        groups = train.crystals if by_crystal else [str(index) for index in range(len(train))]
        held = split_groups(groups, data.validation_fraction, config.training.seed)
        train, validation = (SubsetStore(train, np.flatnonzero(held == side)) for side in (False, True))
    return Stores(train, validation, report)


def load_replay(config: RunConfig) -> SampleStore:
    """Read the earlier data that fine-tuning holds on to; what is left out is logged."""
    report = DataReport()
    replay = _read(config.finetune.replay, config, report)
    log_report(report)
    if len(replay) == 0:
        raise DataError("[finetune] replay: no structure is left after the checks.")
    return replay
