"""What the fast protocol costs in accuracy and saves in work, on the materials that were also run exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from screen_cli.bench.results import BenchResult
from screen_cli.bench.score import MaterialScore


def fast_error(scores: Sequence[MaterialScore], exact: BenchResult) -> dict[str, Any]:
    """Compare fast scores with exact ones of the same model.

    Returns
    -------
    dict
        ``materials``: a row each with ``kappa_error_percent``, ``srme_error`` and the savings
        ``force_calls_ratio`` and ``seconds_ratio`` (exact over fast); ``kappa_error_percent_rms``,
        ``srme_error_max``, ``force_calls_ratio``, ``seconds_ratio`` over all of them; ``problems``.
    """
    problems: list[str] = []
    rows = []
    for score in scores:
        other = exact.scores.get(score.id)
        if other is None or other["kappa"] is None or score.kappa is None:
            if score.kappa is not None or (other is not None and other["kappa"] is not None):
                problems.append(f"{score.name}: only one of the protocols gave κ.")
            continue
        rows.append(_row(score, other))
    summary: dict[str, Any] = {
        "against": exact.label,
        "n_materials": len(rows),
        "materials": rows,
        "problems": problems,
    }
    if rows:
        summary["kappa_error_percent_rms"] = float(np.sqrt(np.mean([row["kappa_error_percent"] ** 2 for row in rows])))
        summary["kappa_error_percent_max"] = max(abs(row["kappa_error_percent"]) for row in rows)
        errors = [abs(row["srme_error"]) for row in rows if row["srme_error"] is not None]
        summary["srme_error_max"] = max(errors) if errors else None
        for name in ("force_calls_ratio", "seconds_ratio"):
            summary[name] = min(row[name] for row in rows)
    return summary


def _row(score: MaterialScore, other: Mapping[str, Any]) -> dict[str, Any]:
    """One material in both protocols."""
    assert score.kappa is not None
    both = score.srme is not None and other["srme"] is not None
    return {
        "id": score.id,
        "name": score.name,
        "kappa_fast": score.kappa,
        "kappa_exact": other["kappa"],
        "kappa_error_percent": 100 * (score.kappa / other["kappa"] - 1),
        "srme_fast": score.srme,
        "srme_exact": other["srme"],
        "srme_error": score.srme - other["srme"] if both and score.srme is not None else None,
        "force_calls_ratio": other["n_force_calls"] / max(score.n_force_calls or 1, 1),
        "seconds_ratio": other["seconds"] / max(score.seconds or 1.0, 1e-9),
        "trusted": score.trusted,
    }
