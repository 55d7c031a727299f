"""Any number of benchmark results in one table: ranked, with intervals and paired differences from the best.

All rows are means over the same materials, those that every result counts; a model is not ranked by what another one
left out. Intervals are bootstrap intervals over the materials (:mod:`screen_cli.bench.comparison`).
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from screen_cli.bench.accuracy import FastError
from screen_cli.bench.comparison import FEW, bootstrap_interval
from screen_cli.bench.results import BenchResult
from screen_cli.bench.score import MaterialScore, mean_of
from screen_cli.errors import ConfigError


@dataclass(frozen=True)
class LeagueRow:
    """One model in the league.

    Parameters
    ----------
    rank : int
        By SRME, 1 the best.
    label : str
    n_materials, n_failed : int
        Common materials, and those of them where the model failed (SRME 2).
    srme : float
        Mean over the common materials; 0 perfect, 2 nothing in common.
    srme_low, srme_high : float
        95 % bootstrap interval of it.
    behind : float
        Mean of this model's SRME minus the best one's, on the same materials.
    behind_low, behind_high : float
        95 % bootstrap interval of that difference.
    is_clearly_behind : bool
        Whether that interval lies above zero, over enough materials for an interval.
    srd, sre : float
        Means of the symmetric relative difference (negative: κ too low) and error.
    frequency_error_percent, spectrum_distance_thz : float or None
        Means over the materials that have them.
    frequency_slope : float or None
        Mean slope of the model's frequencies against the reference's; below 1: soft.
    gruneisen_mean, thermal_expansion_per_mk : float or None
        Means at 300 K over the materials where every result has them; expansion in 10⁻⁶/K.
    n_force_calls, peak_mb, seconds : float or None
        Means per material: evaluations of the model, most memory a stage held (10⁶ bytes), wall time of all stages.
    n_exact : int
        Materials on which the protocol ``fast`` was compared with ``exact`` (``bench kappa --exact``).
    fast_kappa_error_percent, fast_srme_error : float or None
        What ``fast`` costs there: root mean square error of κ, and largest change of SRME.
    """

    rank: int
    label: str
    n_materials: int
    n_failed: int
    srme: float
    srme_low: float
    srme_high: float
    behind: float
    behind_low: float
    behind_high: float
    is_clearly_behind: bool
    srd: float
    sre: float
    frequency_error_percent: float | None
    spectrum_distance_thz: float | None
    frequency_slope: float | None
    gruneisen_mean: float | None
    thermal_expansion_per_mk: float | None
    n_force_calls: float | None
    peak_mb: float | None
    seconds: float | None
    n_exact: int = 0
    fast_kappa_error_percent: float | None = None
    fast_srme_error: float | None = None


def make_league(results: Sequence[BenchResult], seed: int = 0) -> tuple[list[LeagueRow], list[str]]:
    """Rank results by their mean SRME over the materials that all of them count.

    Parameters
    ----------
    results : sequence of BenchResult
        Each with another label.
    seed : int
        Of the bootstrap.

    Returns
    -------
    rows : list of LeagueRow
        The best first.
    problems : list of str
        What weakens the comparison, a sentence each.

    Raises
    ------
    ConfigError
        Fewer than two results, two of one label, other references, or no common material.
    """
    _check(results)
    counted = [_counted(result) for result in results]
    common = common_materials(results)
    if not common:
        raise ConfigError(
            f"no material is scored in all of {', '.join(repr(result.label) for result in results)}. Run all of them "
            "on one list, against one reference."
        )
    problems = [
        f"{len(scores) - len(common)} materials of '{result.label}' are not in all others and left out."
        for result, scores in zip(results, counted, strict=True)
        if len(scores) > len(common)
    ]
    if len({result.protocol for result in results}) > 1:
        problems.append("the protocols differ; 'fast' has an error of its own.")
    if len(common) < FEW:
        problems.append(f"only {len(common)} common materials: intervals need at least {FEW} to mean anything.")
    for result, scores in zip(results, counted, strict=True):
        doubtful = sum(scores[key].trusted is False for key in common)
        if doubtful:
            problems.append(
                f"the fits of {doubtful} of {len(common)} materials of '{result.label}' are not trusted: its energy "
                "surface is rough, and the score may be the fit's. Judge it by the protocol 'exact'."
            )
    values = np.array([[scores[key].srme for key in common] for scores in counted], dtype=np.float64)
    expanding = [key for key in common if all(scores[key].gruneisen_mean is not None for scores in counted)]
    order = np.argsort(values.mean(axis=1), kind="stable")
    rows = [
        _completed(
            _row(
                rank,
                results[index].label,
                [counted[index][key] for key in common],
                values[index] - values[order[0]],
                seed,
            ),
            [counted[index][key] for key in expanding],
            results[index].fast_error,
        )
        for rank, index in enumerate(order, 1)
    ]
    return rows, problems


def common_materials(results: Sequence[BenchResult]) -> list[str]:
    """Give the ids of the materials that all results count, sorted."""
    return sorted(set.intersection(*(set(_counted(result)) for result in results)))


def league_csv(rows: Sequence[LeagueRow]) -> str:
    """Write the league as CSV, one row per model."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in dataclasses.fields(LeagueRow)])
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in rows)
    return text.getvalue()


# -- parts ----------------------------------------------------------------------------------------------------


def _check(results: Sequence[BenchResult]) -> None:
    """Refuse results that cannot stand in one table."""
    labels = [result.label for result in results]
    if len(labels) < 2:
        raise ConfigError("a league needs at least two results.")
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ConfigError(f"two results are both called {twice[0]!r}. Give each model once.")
    if len({result.reference.get("sha256") for result in results}) > 1:
        files = ", ".join(sorted({str(result.reference.get("file")) for result in results}))
        raise ConfigError(f"the results were scored against other references ({files}): scores do not compare.")
    if len({result.temperature_k for result in results}) > 1:
        raise ConfigError("the results are of different temperatures.")


def _counted(result: BenchResult) -> dict[str, MaterialScore]:
    """Materials of a result that count, by id."""
    return {key: score for key, score in result.scores.items() if score.counts and score.srme is not None}


def _row(rank: int, label: str, scores: Sequence[MaterialScore], behind: np.ndarray, seed: int) -> LeagueRow:
    """Average one model."""
    srme = np.array([score.srme for score in scores], dtype=np.float64)
    (low, high), _ = bootstrap_interval(srme, seed)
    (behind_low, behind_high), _ = bootstrap_interval(behind, seed)
    return LeagueRow(
        rank=rank,
        label=label,
        n_materials=len(scores),
        n_failed=sum(score.verdict == "failed" for score in scores),
        srme=float(srme.mean()),
        srme_low=low,
        srme_high=high,
        behind=float(behind.mean()),
        behind_low=behind_low,
        behind_high=behind_high,
        is_clearly_behind=len(scores) >= FEW and behind_low > 0,
        srd=mean_of(scores, "srd") or 0.0,
        sre=mean_of(scores, "sre") or 0.0,
        frequency_error_percent=mean_of(scores, "frequency_error_percent"),
        spectrum_distance_thz=mean_of(scores, "spectrum_distance_thz"),
        frequency_slope=mean_of(scores, "frequency_slope"),
        gruneisen_mean=None,
        thermal_expansion_per_mk=None,
        n_force_calls=mean_of(scores, "n_force_calls"),
        peak_mb=mean_of(scores, "peak_mb"),
        seconds=mean_of(scores, "seconds"),
    )


def _completed(row: LeagueRow, expanding: Sequence[MaterialScore], error: FastError | None) -> LeagueRow:
    """Add the means of what only some materials have, and what the fast protocol cost where it was compared."""
    row = dataclasses.replace(
        row,
        gruneisen_mean=mean_of(expanding, "gruneisen_mean"),
        thermal_expansion_per_mk=mean_of(expanding, "thermal_expansion_per_mk"),
    )
    if error is None:
        return row
    return dataclasses.replace(
        row,
        n_exact=error.n_materials,
        fast_kappa_error_percent=error.kappa_error_percent_rms,
        fast_srme_error=error.srme_error_max,
    )
