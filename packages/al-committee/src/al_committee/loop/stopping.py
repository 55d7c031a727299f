"""When the loop ends: the rules of ``[stop]`` on the records of the rounds."""

from __future__ import annotations

import itertools
from typing import Any

from al_committee.loop.run_directory import RunDirectory

__all__ = ["attempted_keys", "stop_reason"]


def attempted_keys(run: RunDirectory, before: int) -> list[str]:
    """Keys selected in the rounds before one, failed ones included."""
    keys = []
    for number in range(before):
        record = run.record(number, "selection") or {"selected": []}
        keys += [item["key"] for item in record["selected"]]
    return keys


def stop_reason(run: RunDirectory, number: int, selection: dict[str, Any]) -> str:
    """Say why to stop after looking at a round's selection; empty to go on."""
    stop, recommended = run.config.stop, selection["n_recommended"]
    threshold = run.config.selection.threshold
    if stop.below_threshold and recommended == 0:
        return f"no structure is recommended: all scores are at most {threshold:g} eV/Å"
    if stop.max_labels and len(attempted_keys(run, number)) >= stop.max_labels:
        return f"the budget of max_labels = {stop.max_labels} labels is spent"
    if not selection["selected"]:
        return f"{recommended} structures are recommended, but the round's budget admits none of them"
    if stop.constant_rounds > 0 and number > stop.constant_rounds:
        counts = [
            int((run.record(n, "selection") or {}).get("n_recommended") or 0)
            for n in range(number - stop.constant_rounds, number + 1)
        ]
        steps = [abs(after - before) for before, after in itertools.pairwise(counts)]
        if max(steps) <= stop.constant_tolerance * selection["n_structures"]:
            listed = ", ".join(str(count) for count in counts)
            return f"the number recommended is near constant: {listed}"
    return ""
