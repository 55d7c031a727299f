"""Which supercells to label: the paper's rule, budgets, diversity, duplicates, and the baseline.

The rule of [1]_: per structure keep the supercell with the largest max_i ε_i; recommend it when that exceeds
50 meV/Å. Everything else is a choice by name: ``score``, ``strategy``, ``cost``.

References
----------
.. [1] Rodriguez et al., Commun. Mater. 4, 61 (2023), Methods, doi:10.1038/s43246-023-00390-3
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from al_committee.config import SelectionSettings
from al_committee.selection.diversity import cover_elements, farthest_points, standardise

__all__ = [
    "COSTS",
    "STRATEGIES",
    "Choice",
    "Cost",
    "Describe",
    "ScoredSupercell",
    "Selection",
    "Strategy",
    "recommend",
    "select_supercells",
    "within_budget",
]

logger = logging.getLogger(__name__)
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ScoredSupercell:
    """A supercell of the pool with its disagreement.

    Parameters
    ----------
    structure_id : str
        Its crystal.
    index : int
        Which of the crystal's supercells.
    key : str
        Content key.
    score : float
        max_i ε_i or a percentile of ε_i, eV/Å.
    n_atoms : int
        Atoms in it.
    unseen : bool
        It holds an element the committee was never trained on: no disagreement can be computed, and it is
        recommended first, whatever the upper bound.
    unknown : tuple of str
        Those elements.
    """

    structure_id: str
    index: int
    key: str
    score: float
    n_atoms: int
    unseen: bool = False
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selection:
    """What a round takes and why the rest stays.

    Parameters
    ----------
    selected : tuple of ScoredSupercell
        To label, in order of priority.
    recommended : tuple of ScoredSupercell
        All supercells that the rule recommends, largest score first; its length is the paper's measure of
        convergence.
    duplicates, absurd : tuple of ScoredSupercell
        Left out: content already labelled, or above the upper bound.
    """

    selected: tuple[ScoredSupercell, ...]
    recommended: tuple[ScoredSupercell, ...]
    duplicates: tuple[ScoredSupercell, ...] = ()
    absurd: tuple[ScoredSupercell, ...] = field(default=())


Describe = Callable[[Sequence[ScoredSupercell]], FloatArray]
Cost = Callable[[ScoredSupercell], float]


@dataclass(frozen=True)
class Choice:
    """What a strategy chooses from.

    Parameters
    ----------
    recommended : sequence of ScoredSupercell
        What the paper's rule recommends, largest score first.
    eligible : sequence of ScoredSupercell
        All supercells that may be taken.
    rng : numpy.random.Generator
        For random strategies.
    describe : Describe
        Supercells to descriptor vectors, shape ``(n, n_features)``.
    count : int
        About how many the budget admits; a strategy need not order more.
    """

    recommended: Sequence[ScoredSupercell]
    eligible: Sequence[ScoredSupercell]
    rng: np.random.Generator
    describe: Describe
    count: int


Strategy = Callable[[Choice], Sequence[ScoredSupercell]]
"""Gives supercells in order of priority; the budget cuts the list."""


def cost_labels(supercell: ScoredSupercell) -> float:
    """Count every label as 1."""
    return 1.0


def cost_atoms(supercell: ScoredSupercell) -> float:
    """Count atoms: a force field as source of labels."""
    return float(supercell.n_atoms)


def cost_atoms_cubed(supercell: ScoredSupercell) -> float:
    """Estimate DFT's cost: (n_atoms/64)³."""
    return (supercell.n_atoms / 64.0) ** 3


def order_worst_first(choice: Choice) -> Sequence[ScoredSupercell]:
    """Take the recommended in order of falling score."""
    return choice.recommended


def order_filling_budget(choice: Choice) -> Sequence[ScoredSupercell]:
    """Go on past the threshold with the worst supercell of each structure: the same labels in every round."""
    return recommend(choice.eligible, -np.inf)


def order_by_diversity(choice: Choice) -> Sequence[ScoredSupercell]:
    """Start with the worst, then always take the recommended one farthest from those taken."""
    recommended = choice.recommended
    if not recommended:
        return []
    vectors = standardise(choice.describe(recommended))
    order = farthest_points(vectors, min(choice.count, len(recommended)), first=0)
    taken = set(order)
    return [recommended[k] for k in [*order, *(k for k in range(len(recommended)) if k not in taken)]]


def order_randomly(choice: Choice) -> Sequence[ScoredSupercell]:
    """Ignore the committee: structures in random order, one random supercell each (the baseline)."""
    by_structure: dict[str, list[ScoredSupercell]] = {}
    for supercell in sorted(choice.eligible, key=lambda s: (s.structure_id, s.index)):
        by_structure.setdefault(supercell.structure_id, []).append(supercell)
    names, rng = list(by_structure), choice.rng
    return [by_structure[names[k]][int(rng.integers(len(by_structure[names[k]])))] for k in rng.permutation(len(names))]


STRATEGIES: Mapping[str, Strategy] = {
    "worst-first": order_worst_first,
    "diverse": order_by_diversity,
    "fill-budget": order_filling_budget,
    "random": order_randomly,
}
"""By the name that a configuration gives them."""

COSTS: Mapping[str, Cost] = {"labels": cost_labels, "atoms": cost_atoms, "atoms-cubed": cost_atoms_cubed}
"""By the name that a configuration gives them."""


def recommend(scored: Sequence[ScoredSupercell], threshold: float, per_structure: int = 1) -> list[ScoredSupercell]:
    """Apply the paper's rule: the worst supercell of each structure, when above the threshold.

    Parameters
    ----------
    scored : sequence of ScoredSupercell
        Supercells with scores, eV/Å.
    threshold : float, eV/Å
        A score equal to it is not recommended.
    per_structure : int
        How many of a structure's supercells to keep.

    Returns
    -------
    list of ScoredSupercell
        Crystals with unknown elements, those first that together hold all of them; then the largest score first.
        Ties in the order of structure and index.
    """
    ordered = sorted(scored, key=lambda s: (not s.unseen, -s.score, s.structure_id, s.index))
    n_unseen = sum(s.unseen for s in ordered)
    covering = cover_elements([set(s.unknown) for s in ordered[:n_unseen]], n_unseen)
    ordered = [*(ordered[k] for k in covering), *ordered[n_unseen:]]
    taken: dict[str, int] = {}
    kept = []
    for supercell in ordered:
        count = taken.get(supercell.structure_id, 0)
        if (supercell.unseen or supercell.score > threshold) and count < per_structure:
            taken[supercell.structure_id] = count + 1
            kept.append(supercell)
    return kept


def _check_choice(ordered: Sequence[ScoredSupercell], eligible: Sequence[ScoredSupercell]) -> None:
    """Hold a strategy to what it may choose: nothing twice, nothing that was left out."""
    keys, allowed = [supercell.key for supercell in ordered], {supercell.key for supercell in eligible}
    if len(keys) != len(set(keys)) or not allowed.issuperset(keys):
        raise ValueError("the strategy chose a supercell twice, or one that may not be labelled again.")


def within_budget(
    ordered: Sequence[ScoredSupercell], budget: float, cost: Callable[[ScoredSupercell], float]
) -> list[ScoredSupercell]:
    """Take from the front while the cost lasts; a supercell that is too dear is passed over."""
    taken, spent = [], 0.0
    for supercell in ordered:
        price = cost(supercell)
        if spent + price <= budget * (1 + 1e-12):
            taken.append(supercell)
            spent += price
    return taken


def select_supercells(
    scored: Sequence[ScoredSupercell],
    settings: SelectionSettings,
    *,
    known_keys: Collection[str],
    rng: np.random.Generator,
    describe: Describe,
    strategy: Strategy = order_worst_first,
    cost: Cost = cost_labels,
) -> Selection:
    """Choose what to label in one round.

    Parameters
    ----------
    scored : sequence of ScoredSupercell
        The pool with its scores.
    settings : SelectionSettings
        Rule and budget.
    known_keys : collection of str
        Content keys already labelled, failed or in a test set.
    rng : numpy.random.Generator
        For random strategies.
    describe : Describe
        Supercells to descriptor vectors, shape ``(n, n_features)``; called only by strategies that need it.
    strategy, cost : Strategy, Cost
        What orders them, and what each is worth.

    Raises
    ------
    ValueError
        When a score is not finite, or a strategy chooses what it may not.
    """
    bad = [s for s in scored if not np.isfinite(s.score)]
    if bad:
        raise ValueError(f"score of {bad[0].structure_id}/{bad[0].index} is {bad[0].score}, expected a number.")
    known, seen = set(known_keys), set()
    duplicates, absurd, eligible = [], [], []
    for supercell in scored:
        if supercell.key in known or supercell.key in seen:
            duplicates.append(supercell)
        elif settings.upper_bound > 0 and supercell.score > settings.upper_bound and not supercell.unseen:
            absurd.append(supercell)
        else:
            eligible.append(supercell)
        seen.add(supercell.key)
    recommended = recommend(eligible, settings.threshold, settings.per_structure)
    cheapest = min((cost(supercell) for supercell in eligible), default=1.0)
    count = int(settings.budget / cheapest) + 1 if cheapest > 0 else len(eligible)
    ordered = strategy(Choice(recommended, eligible, rng, describe, count))
    _check_choice(ordered, eligible)
    selected = within_budget(ordered, settings.budget, cost)
    if absurd:
        logger.warning(
            "%d supercells above the upper bound of %g eV/Å are set aside, the first is %s/%d (%.3g eV/Å)",
            len(absurd),
            settings.upper_bound,
            absurd[0].structure_id,
            absurd[0].index,
            absurd[0].score,
        )
    return Selection(tuple(selected), tuple(recommended), tuple(duplicates), tuple(absurd))
