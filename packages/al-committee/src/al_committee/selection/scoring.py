"""Scoring the pool: the committee's disagreement on every supercell, in chunks that survive a kill."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from al_committee.atomic_file import read_json, write_json
from al_committee.committee.calculator import CommitteeCalculator
from al_committee.committee.disagreement import supercell_score
from al_committee.errors import CommitteeMemberError
from al_committee.selection.pool import Pool, PoolEntry
from al_committee.selection.selection import ScoredSupercell

__all__ = ["HISTOGRAM_EDGES", "ScoreTable", "score_pool"]

logger = logging.getLogger(__name__)
CHUNK = 16
HISTOGRAM_EDGES = np.logspace(-4, 2, 61)
"""Edges of the histogram of ε_i over all atoms of the pool, eV/Å; outliers count in the end bins."""


@dataclass(frozen=True)
class ScoreTable:
    """Scores of a whole pool.

    Parameters
    ----------
    supercells
        In the order of the pool.
    histogram
        Atoms per bin of :data:`HISTOGRAM_EDGES`.
    unscorable
        Structures the committee could not evaluate, with the reason.
    """

    supercells: list[ScoredSupercell]
    histogram: list[int]
    unscorable: dict[str, str] = field(default_factory=dict)


def score_pool(
    pool: Pool,
    structure_ids: Sequence[str],
    committee: CommitteeCalculator,
    *,
    folder: Path,
    percentile: float,
    pause: Callable[[], None],
    advance: Callable[[int], None] = lambda count: None,
) -> ScoreTable:
    """Score all supercells of some crystals, reading chunks that an earlier run has finished.

    Parameters
    ----------
    pool
        Makes the supercells.
    structure_ids
        Crystals to score.
    committee
        The models.
    folder
        Where chunks are kept.
    percentile
        Score of a supercell: percentile of its ε_i.
    pause
        Called between chunks; may raise to stop.
    advance
        Told how many crystals a chunk had.

    Raises
    ------
    CommitteeMemberError
        When not a single structure can be evaluated.
    """
    supercells: list[ScoredSupercell] = []
    histogram = np.zeros(len(HISTOGRAM_EDGES) - 1, dtype=int)
    unscorable: dict[str, str] = {}
    for start in range(0, len(structure_ids), CHUNK):
        path = folder / f"{start // CHUNK:05d}.json"
        if path.exists():
            record = read_json(path)
        else:
            pause()
            record = _score_chunk(pool, structure_ids[start : start + CHUNK], committee, percentile)
            write_json(path, record)
        advance(len(structure_ids[start : start + CHUNK]))
        supercells += [_supercell_of(row) for row in record["rows"]]
        histogram += np.asarray(record["histogram"], dtype=int)
        unscorable.update(record["unscorable"])
    if structure_ids and not supercells and unscorable:
        name, reason = next(iter(unscorable.items()))
        raise CommitteeMemberError(f"no structure of the pool can be scored; {name}: {reason}")
    return ScoreTable(supercells, [int(n) for n in histogram], unscorable)


def _score_chunk(
    pool: Pool, structure_ids: Sequence[str], committee: CommitteeCalculator, percentile: float
) -> dict[str, Any]:
    """Score some crystals; one that cannot be evaluated is left out with its reason."""
    rows: list[list[Any]] = []
    histogram = np.zeros(len(HISTOGRAM_EDGES) - 1, dtype=int)
    unscorable: dict[str, str] = {}
    unknown = {name: _unknown_elements(pool, name, committee) for name in structure_ids}
    for name in (name for name in structure_ids if unknown[name]):
        rows += [
            [e.structure_id, e.index, e.key, 0.0, len(e.atoms), True, unknown[name]] for e in pool.supercells([name])
        ]
    structure_ids = [name for name in structure_ids if not unknown[name]]
    entries = list(pool.supercells(structure_ids))
    try:
        scored = _evaluate(entries, committee)
    except Exception:
        scored = []
        for name in structure_ids:
            try:
                scored += _evaluate(list(pool.supercells([name])), committee)
            except Exception as error:
                unscorable[name] = f"{type(error).__name__}: {error}"
                logger.warning("%s cannot be scored: %s", name, unscorable[name])
    for entry, deviation in scored:
        rows.append(
            [
                entry.structure_id,
                entry.index,
                entry.key,
                supercell_score(deviation, percentile),
                len(entry.atoms),
            ]
        )
        clipped = np.clip(deviation, HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1] * (1 - 1e-12))
        histogram += np.histogram(clipped, HISTOGRAM_EDGES)[0]
    return json.loads(json.dumps({"rows": rows, "histogram": [int(n) for n in histogram], "unscorable": unscorable}))  # type: ignore[no-any-return]


def _supercell_of(row: Sequence[Any]) -> ScoredSupercell:
    """A row of a chunk; one that could not be scored ends with True and the elements that are not known."""
    structure_id, index, key, score, n_atoms, *unseen = row
    unknown = tuple(unseen[1]) if len(unseen) > 1 else ()
    return ScoredSupercell(structure_id, index, key, score, n_atoms, bool(unseen), unknown)


def _evaluate(
    entries: Sequence[PoolEntry], committee: CommitteeCalculator
) -> list[tuple[PoolEntry, NDArray[np.float64]]]:
    """Deviations of some supercells."""
    predictions = committee.evaluate([entry.atoms for entry in entries], energy=False)
    return [(entry, p.force_deviation) for entry, p in zip(entries, predictions, strict=True)]


def _unknown_elements(pool: Pool, structure_id: str, committee: CommitteeCalculator) -> list[str]:
    """Elements of a crystal that the committee says it does not know."""
    if committee.elements is None:
        return []
    return sorted(set(pool.supercell(structure_id, 0).atoms.get_chemical_symbols()) - committee.elements)
