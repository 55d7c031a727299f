"""The funnel: how many crystals reach each step, and where every other one went."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from screen_cli.report.gate import LOW_KAPPA
from screen_cli.store.row import Row, number, text

STEPS = ("candidates", "passed the filters", "stable", "with κ", f"κ < {LOW_KAPPA:g} W/mK")

_LOSSES = {
    # name: step it is lost before, wording, expression for the table of the page
    "filtered": (1, "filtered out", "state:filtered"),
    "unbound": (2, "held back after the relaxation", "state:skipped stable:none"),
    "failed_early": (2, "failed before stability was known", "!state:filtered,pending,running,skipped stable:none"),
    "pending_early": (2, "still to do", "state:pending,running stable:none"),
    "unstable": (2, "unstable", "stable=0 !state:filtered"),
    "gated": (3, "stable, not let past the gate", "state:skipped stable=1"),
    "failed_late": (3, "stable, failed in a later stage", "state:failed stable=1 kappa_total_w_mk:none"),
    "pending_late": (3, "stable, κ still to do", "state:pending,running stable=1 kappa_total_w_mk:none"),
    "no_kappa": (3, "stable, κ not asked for", "state:done stable=1 kappa_total_w_mk:none"),
    "high": (4, f"κ ≥ {LOW_KAPPA:g} W/mK", f"stable=1 !state:filtered kappa_total_w_mk>={LOW_KAPPA:g}"),
}


@dataclass(frozen=True)
class Loss:
    """Crystals that left the funnel between two steps.

    Parameters
    ----------
    name : str
    label : str
    count : int
    query : str
        Expression that shows them in the table of the page.
    reasons : list of (str, int)
        The three most frequent (:func:`group_reasons`).
    """

    name: str
    label: str
    count: int
    query: str
    reasons: list[tuple[str, int]]


@dataclass(frozen=True)
class Step:
    """One step of the funnel.

    Parameters
    ----------
    label : str
    count : int
    query : str
    losses : list of Loss
        Who was lost on the way to this step.
    """

    label: str
    count: int
    query: str
    losses: list[Loss]


def fate(row: Row) -> str:
    """Say where one crystal is in the funnel: a key of the losses, or ``"low"`` at its end."""
    state, kappa = row["state"], number(row, "kappa_total_w_mk")
    if state == "filtered":
        return "filtered"
    if row.get("stable") is None:
        return {"pending": "pending_early", "running": "pending_early", "skipped": "unbound"}.get(
            str(state), "failed_early"
        )
    if not row["stable"]:
        return "unstable"
    if kappa is not None:
        return "low" if kappa < LOW_KAPPA else "high"
    if state == "skipped":
        return "gated"
    if state == "failed":
        return "failed_late"
    return "no_kappa" if state == "done" else "pending_late"


def count_funnel(rows: Sequence[Row]) -> list[Step]:
    """Count every step; a crystal is counted lost exactly once, so steps and losses add up.

    The step of the filters is left out when nothing was filtered.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(fate(row), []).append(row)
    stable = "stable=1 !state:filtered"
    with_kappa = f"{stable} !kappa_total_w_mk:none"
    queries = ("", "!state:filtered", stable, with_kappa, f"{stable} kappa_total_w_mk<{LOW_KAPPA:g}")
    steps, remaining = [], len(rows)
    for place, (label, query) in enumerate(zip(STEPS, queries, strict=True)):
        losses = [
            Loss(name, wording, len(groups[name]), where, [group[2:] for group in group_reasons(groups[name])[:3]])
            for name, (step, wording, where) in _LOSSES.items()
            if step == place and name in groups
        ]
        remaining -= sum(loss.count for loss in losses)
        if place != 1 or losses:
            steps.append(Step(label, remaining, query, losses))
    return steps


def group_reasons(rows: Sequence[Row]) -> list[tuple[str, str, str, int]]:
    """Group what did not finish: (state, stage, reason, count), most frequent first.

    Reasons that differ in numbers only are one; where a number differs its range is given, as in
    "lowest frequency -1.2 to -0.03 THz".
    """
    groups: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        if row.get("reason"):
            reason = text(row, "reason").strip().splitlines()[0]
            groups.setdefault((text(row, "state"), text(row, "stage"), _NUMBER.sub("#", reason)), []).append(reason)
    found = [(state, stage, _common(reasons), len(reasons)) for (state, stage, _), reasons in groups.items()]
    return sorted(found, key=lambda group: -group[3])


_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w])")


def _common(reasons: Sequence[str]) -> str:
    """One wording for reasons that differ in numbers only."""
    columns = list(zip(*(_NUMBER.findall(reason) for reason in reasons), strict=True))
    ranges = iter(
        column[0] if len(set(column)) == 1 else f"{min(map(float, column)):g} to {max(map(float, column)):g}"
        for column in columns
    )
    return _NUMBER.sub(lambda match: next(ranges), reasons[0])
