"""Scoring the pool: the committee's disagreement on every supercell, in chunks that survive a kill.

A chunk's file holds the scores of some crystals, where the committee says that they rest, and why the others could not
be scored. Crystals and predictions are in memory a chunk at a time, scores of all supercells at the end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from al_committee.committee.calculator import CommitteeCalculator
from al_committee.committee.disagreement import supercell_score
from al_committee.config import RestSettings
from al_committee.errors import CommitteeMemberError
from al_committee.file_access.atomic_write import read_json, write_json
from al_committee.labels.identity import decode_structure, encode_structure
from al_committee.selection.pool import Pool, PoolEntry
from al_committee.selection.rest import find_rest
from al_committee.selection.rules import ScoredSupercell

__all__ = ["HISTOGRAM_EDGES", "ScoreTable", "Scoring", "chunk_path", "rest_of", "score_pool"]

logger = logging.getLogger(__name__)
CHUNK = 32
HISTOGRAM_EDGES = np.logspace(-4, 2, 61)
"""Edges of the histogram of ε_i over all atoms of the pool, eV/Å; outliers count in the end bins."""


@dataclass(frozen=True)
class ScoreTable:
    """Scores of a whole pool.

    Parameters
    ----------
    supercells : list of ScoredSupercell
        In the order of the pool.
    histogram : list of int
        Atoms per bin of :data:`HISTOGRAM_EDGES`.
    unscorable : dict of str to str
        Structures the committee could not evaluate, with the reason.
    n_at_rest : int
        Crystals at rest where the committee believes it.
    not_at_rest : dict of str to int
        Reasons why others are not, and how often.
    """

    supercells: list[ScoredSupercell]
    histogram: list[int]
    unscorable: dict[str, str] = field(default_factory=dict)
    n_at_rest: int = 0
    not_at_rest: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Scoring:
    """How a pool is scored.

    Parameters
    ----------
    percentile : float
        Score of a supercell: percentile of its ε_i.
    batch_atoms : int
        Atoms that the committee is asked about together.
    rest : RestSettings, optional
        Whether and how crystals are relaxed first; None for not.
    """

    percentile: float = 100.0
    batch_atoms: int = 2048
    rest: RestSettings | None = None


def score_pool(
    pool: Pool,
    structure_ids: Sequence[str],
    committee: CommitteeCalculator,
    *,
    folder: Path,
    how: Scoring,
    pause: Callable[[], None],
    advance: Callable[[int], None] = lambda count: None,
) -> ScoreTable:
    """Score all supercells of some crystals, reading chunks that an earlier run has finished.

    Parameters
    ----------
    pool : Pool
        Makes the supercells.
    structure_ids : sequence of str
        Crystals to score.
    committee : CommitteeCalculator
        The models.
    folder : Path
        Where chunks are kept.
    how : Scoring
        What a score is.
    pause : callable
        Called between chunks; may raise to stop.
    advance : callable
        Told how many crystals a chunk had.

    Raises
    ------
    CommitteeMemberError
        When not a single structure can be evaluated.
    """
    supercells: list[ScoredSupercell] = []
    histogram = np.zeros(len(HISTOGRAM_EDGES) - 1, dtype=int)
    unscorable: dict[str, str] = {}
    n_at_rest, not_at_rest = 0, dict[str, int]()
    for start in range(0, len(structure_ids), CHUNK):
        names = structure_ids[start : start + CHUNK]
        path = chunk_path(folder, start // CHUNK)
        if not path.exists():
            pause()
            write_json(path, _score_chunk(pool, names, committee, how))
        record = cast("_Chunk", read_json(path))
        advance(len(names))
        supercells += [_supercell_of(row) for row in record["rows"]]
        histogram += np.asarray(record["histogram"], dtype=int)
        unscorable.update(record["unscorable"])
        n_at_rest += len(record["rest"])
        for reason in record["not_at_rest"].values():
            kind = reason.split(":")[0][:60]
            not_at_rest[kind] = not_at_rest.get(kind, 0) + 1
    if structure_ids and not supercells and unscorable:
        name, reason = next(iter(unscorable.items()))
        raise CommitteeMemberError(f"no structure of the pool can be scored; {name}: {reason}")
    return ScoreTable(supercells, [int(n) for n in histogram], unscorable, n_at_rest, not_at_rest)


def chunk_path(folder: Path, number: int) -> Path:
    """File of a chunk."""
    return folder / f"{number:05d}.json"


def rest_of(folder: Path, structure_ids: Sequence[str], wanted: Sequence[str]) -> dict[str, Atoms]:
    """Give the relaxed cells of some crystals that a scoring has found.

    Parameters
    ----------
    folder : Path
        Of the chunks.
    structure_ids : sequence of str
        Crystals as they were scored.
    wanted : sequence of str
        Some of them; those not at rest are left out.
    """
    places = {name: k // CHUNK for k, name in enumerate(structure_ids)}
    found: dict[str, Atoms] = {}
    for number in sorted({places[name] for name in wanted if name in places}):
        rest = cast("_Chunk", read_json(chunk_path(folder, number)))["rest"]
        found.update({name: decode_structure(rest[name]) for name in wanted if name in rest})
    return found


class _Chunk(TypedDict):
    """What is written of some crystals: rows of :func:`_supercell_of`, and crystals by how they fared."""

    rows: list[list[Any]]
    histogram: list[int]
    unscorable: dict[str, str]
    rest: dict[str, str]
    not_at_rest: dict[str, str]


def _score_chunk(pool: Pool, structure_ids: Sequence[str], committee: CommitteeCalculator, how: Scoring) -> _Chunk:
    """Score some crystals; one that cannot be evaluated is left out with its reason."""
    rows: list[list[Any]] = []
    unscorable: dict[str, str] = {}
    histogram = np.zeros(len(HISTOGRAM_EDGES) - 1, dtype=int)
    known = []
    for name in structure_ids:
        unknown = _unknown_elements(pool, name, committee)
        if not unknown:
            known.append(name)
            continue
        rows += [[e.structure_id, e.index, e.key, 0.0, len(e.atoms), True, unknown] for e in pool.supercells([name])]
    rest, not_at_rest = _relax(pool, known, committee, how.rest)
    for entry, deviation in _evaluate_each(pool, known, rest, committee, how, unscorable):
        score = supercell_score(deviation, how.percentile)
        rows.append([entry.structure_id, entry.index, entry.key, score, len(entry.atoms)])
        clipped = np.clip(deviation, HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1] * (1 - 1e-12))
        histogram += np.histogram(clipped, HISTOGRAM_EDGES)[0]
    return {
        "rows": rows,
        "histogram": [int(n) for n in histogram],
        "unscorable": unscorable,
        "rest": {name: encode_structure(atoms) for name, atoms in rest.items()},
        "not_at_rest": not_at_rest,
    }


def _relax(
    pool: Pool, names: Sequence[str], committee: CommitteeCalculator, settings: RestSettings | None
) -> tuple[dict[str, Atoms], dict[str, str]]:
    """Relax crystals where that is asked for: cells at rest, and reasons of the others."""
    at_rest: dict[str, Atoms] = {}
    reasons: dict[str, str] = {}
    if settings is None or not settings.enabled:
        return at_rest, reasons
    for name in names:
        found = find_rest(pool.index.crystal(name).atoms, committee, settings)
        if found.atoms is None:
            reasons[name] = found.reason
        else:  # as it will be read again
            at_rest[name] = decode_structure(encode_structure(found.atoms))
    return at_rest, reasons


def _evaluate_each(
    pool: Pool,
    names: Sequence[str],
    rest: dict[str, Atoms],
    committee: CommitteeCalculator,
    how: Scoring,
    unscorable: dict[str, str],
) -> Iterator[tuple[PoolEntry, NDArray[np.float64]]]:
    """Deviations of all supercells, many at a time; where that fails, crystal by crystal."""
    held: list[PoolEntry] = []
    for name in names:
        own = [pool.supercell(name, index, rest.get(name)) for index in range(pool.n_per_crystal)]
        if held and sum(len(entry.atoms) for entry in [*held, *own]) > how.batch_atoms:
            yield from _evaluate(held, committee, unscorable)
            held = []
        held += own
    if held:
        yield from _evaluate(held, committee, unscorable)


def _evaluate(
    entries: Sequence[PoolEntry], committee: CommitteeCalculator, unscorable: dict[str, str]
) -> Iterator[tuple[PoolEntry, NDArray[np.float64]]]:
    """Deviations of some supercells together; a crystal that makes them fail is found and left out."""
    names = list(dict.fromkeys(entry.structure_id for entry in entries))
    try:
        predictions = committee.evaluate([entry.atoms for entry in entries], energy=False)
    except Exception as error:
        if len(names) > 1:
            for name in names:
                yield from _evaluate([e for e in entries if e.structure_id == name], committee, unscorable)
            return
        unscorable[names[0]] = f"{type(error).__name__}: {error}"
        logger.warning("%s cannot be scored: %s", names[0], unscorable[names[0]])
        return
    for entry, prediction in zip(entries, predictions, strict=True):
        yield entry, prediction.force_deviation


def _supercell_of(row: Sequence[Any]) -> ScoredSupercell:
    """Give a row of a chunk; one that could not be scored ends with True and the elements that are not known."""
    structure_id, index, key, score, n_atoms, *unseen = row
    unknown = tuple(unseen[1]) if len(unseen) > 1 else ()
    return ScoredSupercell(structure_id, index, key, score, n_atoms, bool(unseen), unknown)


def _unknown_elements(pool: Pool, structure_id: str, committee: CommitteeCalculator) -> list[str]:
    """Elements of a crystal that the committee says it does not know."""
    return [] if committee.elements is None else sorted(pool.index.elements(structure_id) - committee.elements)
