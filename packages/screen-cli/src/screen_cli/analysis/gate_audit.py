"""What a gate costs and misses, from a random share of the crystals it holds back that is computed all the same.

With TP crystals past the gate that meet the target, and m of the a drawn among the N held back, the gate misses
m + (N − a)·m/a crystals, of which m are known; recall = TP/(TP + misses), precision = TP/(crystals past the gate).
Intervals are Wilson's for a binomial share (doi:10.1080/01621459.1927.10502953); that of the recall carries the
interval of m/a through to the crystals that were not drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

from screen_cli.errors import MissingValueError
from screen_cli.store.expression import evaluate
from screen_cli.store.row import Row

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Share:
    """An estimated share with its 95 % interval; ``None`` where nothing was seen."""

    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.value is None or self.low is None or self.high is None:
            return "unknown"
        return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f} %)"


@dataclass(frozen=True)
class GateAudit:
    """Counts and estimates of one gate.

    Parameters
    ----------
    target : str
        What the gate is meant to find.
    n_passed, n_passed_hits : int
        Crystals past the gate whose target is known, and those that meet it.
    n_held_back : int
        Stable crystals the gate's expression holds back, drawn ones included.
    n_audited, n_audited_hits : int
        Drawn ones whose target is known, and those that meet it.
    n_unknown : int
        Let past or drawn, without a result (failed, pending).
    precision, recall : Share
    missed : float or None
        Estimated crystals that meet the target and are held back (drawn ones included).
    seconds_saved, seconds_spent : float or None
        Work that the crystals not computed would have cost, and that the drawn ones did cost.
    """

    target: str
    n_passed: int
    n_passed_hits: int
    n_held_back: int
    n_audited: int
    n_audited_hits: int
    n_unknown: int
    precision: Share
    recall: Share
    missed: float | None
    seconds_saved: float | None
    seconds_spent: float | None


def audit_gate(
    rows: Iterable[Row], target: str, *, expression: str = "", seconds_per_crystal: float | None = None
) -> GateAudit:
    """Count what a gate keeps and estimate what it misses.

    Parameters
    ----------
    rows : iterable of dict
        Rows of the index.
    target : str
        Condition on results, e.g. ``"kappa_total_w_mk < 1"``.
    expression : str
        Another gate to try on the crystals that have results; empty: the gate of the run. Where the run had a gate of
        its own, only its drawn crystals stand for those it held back, each for as many as were not drawn.
    seconds_per_crystal : float, optional
        Mean cost of what comes behind the gate.

    Raises
    ------
    FilterError
        Bad expression or unknown column.
    """
    passed = [0.0, 0.0]  # all, hits
    held, drawn = 0, [0, 0]
    tried_held = [0.0, 0.0]
    unknown = 0
    stable = [row for row in rows if row.get("passed_gate") is not None and row.get("stable")]
    n_held = sum(1 for row in stable if row.get("gate_audited") or not row["passed_gate"])
    n_drawn_known = sum(1 for row in stable if row.get("gate_audited") and _meets(row, target) is not None)
    for row in stable:
        audited = bool(row.get("gate_audited"))
        if not row["passed_gate"]:
            held += 1
            continue
        hit = _meets(row, target)
        if hit is None:
            unknown += 1
            held += audited
            continue
        if expression:
            weight = n_held / n_drawn_known if audited else 1.0
            chosen = passed if _meets(row, expression) else tried_held
            chosen[0] += weight
            chosen[1] += weight * hit
        elif audited:
            held += 1
            drawn[0] += 1
            drawn[1] += hit
        else:
            passed[0] += 1
            passed[1] += hit
    if expression:
        return _audit_of_trial(target, passed, tried_held, unknown, seconds_per_crystal)
    n_passed, hits = int(passed[0]), int(passed[1])
    share = share_of(drawn[1], drawn[0])
    missed, recall = _recall(hits, held, drawn, share)
    left_out = held - drawn[0]
    return GateAudit(
        target,
        n_passed,
        hits,
        held,
        drawn[0],
        drawn[1],
        unknown,
        share_of(hits, n_passed),
        recall,
        missed,
        None if seconds_per_crystal is None else left_out * seconds_per_crystal,
        None if seconds_per_crystal is None else drawn[0] * seconds_per_crystal,
    )


def _recall(hits: int, held: int, drawn: list[int], share: Share) -> tuple[float | None, Share]:
    """Estimated misses, and the recall with the interval of the crystals that were not drawn."""
    if held == 0:
        return 0.0, Share(1.0, 1.0, 1.0) if hits else Share(None, None, None)
    if share.value is None or share.low is None or share.high is None:
        return None, Share(None, None, None)
    left_out = held - drawn[0]
    missed, most, least = (drawn[1] + left_out * value for value in (share.value, share.high, share.low))
    if hits + missed == 0:
        return missed, Share(None, None, None)
    return missed, Share(hits / (hits + missed), hits / (hits + most) if hits + most else None, _ratio(hits, least))


def _ratio(hits: float, missed: float) -> float:
    """Hits over hits and misses; 1 when there are none of either."""
    return hits / (hits + missed) if hits + missed else 1.0


def _audit_of_trial(
    target: str, passed: list[float], held: list[float], unknown: int, seconds_per_crystal: float | None
) -> GateAudit:
    """Audit of a gate tried on results, where everything it would hold back is known (or weighted)."""
    hits = passed[1] + held[1]
    return GateAudit(
        target,
        round(passed[0]),
        round(passed[1]),
        round(held[0]),
        round(held[0]),
        round(held[1]),
        unknown,
        share_of(round(passed[1]), round(passed[0])),
        share_of(round(passed[1]), round(hits)),
        held[1],
        None if seconds_per_crystal is None else held[0] * seconds_per_crystal,
        None,
    )


def share_of(hits: int, n: int) -> Share:
    """Share with Wilson's interval: as scipy.stats.binomtest gives it, whose import takes longer than a report."""
    if n == 0:
        return Share(None, None, None)
    z = NormalDist().inv_cdf(0.5 + 0.5 * CONFIDENCE)
    middle = (2 * hits + z**2) / (2 * (n + z**2))
    half = z * math.sqrt(4 * hits * (1 - hits / n) + z**2) / (2 * (n + z**2))
    return Share(hits / n, middle - half if hits else 0.0, middle + half if hits < n else 1.0)


def _meets(row: Row, condition: str) -> bool | None:
    """Whether a row meets a condition; None when it has no value for it."""
    try:
        return evaluate(condition, row)
    except MissingValueError:
        return None
