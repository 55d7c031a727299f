"""The start set: what to label in round 0, before there is any committee.

By name: ``representative`` (principal components and k-means, as the paper recommends), ``random`` (as the paper
did), or ``elements`` (at random, but first crystals that together hold every element of the pool: a committee can
disagree only about elements that it knows).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from al_committee.config import PoolSettings
from al_committee.selection.descriptors import Descriptor
from al_committee.selection.diversity import cover_elements, representative_points
from al_committee.selection.pool import Pool
from al_committee.selection.rules import ScoredSupercell

__all__ = ["choose_start_set"]

LOOKED_AT = 5000
"""Supercells that are described for a representative choice; of larger pools a random part is."""


def choose_start_set(
    pool: Pool, structure_ids: Sequence[str], settings: PoolSettings, *, descriptor: Descriptor, seed: int
) -> list[ScoredSupercell]:
    """Choose the supercells of round 0.

    Parameters
    ----------
    pool : Pool
        Makes the supercells.
    structure_ids : sequence of str
        Crystals to choose from.
    settings : PoolSettings
        Method and number.
    descriptor : Descriptor
        For ``representative``.
    seed : int
        Of every random choice.

    Returns
    -------
    list of ScoredSupercell
        With scores of zero; one supercell per crystal unless more are asked for than there are crystals.
    """
    count = settings.start_labels
    indices = range(pool.n_per_crystal if count > len(structure_ids) else 1)
    candidates = [(name, index) for name in structure_ids for index in indices]
    rng = np.random.default_rng(seed)
    if settings.start_method == "representative":
        looked_at = sorted(int(k) for k in rng.permutation(len(candidates))[: max(LOOKED_AT, 4 * count)])
        vectors = np.array([descriptor(pool.supercell(*candidates[k]).atoms) for k in looked_at])
        picked = [looked_at[k] for k in representative_points(vectors, count, seed)]
    else:
        picked = [int(k) for k in rng.permutation(len(candidates))]
        if settings.start_method == "elements":
            elements = [set(pool.index.elements(candidates[k][0])) for k in picked]
            picked = [picked[k] for k in cover_elements(elements, count)]
    entries = [pool.supercell(*candidates[k]) for k in picked[:count]]
    return [ScoredSupercell(e.structure_id, e.index, e.key, 0.0, len(e.atoms)) for e in entries]
