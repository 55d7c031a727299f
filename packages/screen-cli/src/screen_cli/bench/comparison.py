"""Two benchmark results side by side: differences on the same materials, with what they are worth.

SRME over some tens of crystals scatters; the scatter of the *difference* on the same crystals is smaller. Intervals are
bootstrap intervals over the crystals (percentiles; materials drawn with replacement, the pair kept together).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from screen_cli.bench.results import BenchResult
from screen_cli.bench.score import MaterialScore
from screen_cli.errors import ConfigError

N_RESAMPLES = 20_000
FEW = 5
"""Below so many materials a bootstrap interval says nothing."""
QUANTITIES = ("srme", "sre", "frequency_error_percent", "spectrum_distance_thz")


@dataclass(frozen=True)
class PairedDifference:
    """One quantity of two models on the same materials.

    Parameters
    ----------
    quantity : str
    group : str
        A prototype, or ``"all"``.
    n : int
        Materials that both have.
    mean_a, mean_b : float
    interval_a, interval_b : tuple of float
        95 % bootstrap intervals of the means.
    difference : float
        Mean of b − a; negative: b is better.
    interval : tuple of float
        95 % bootstrap interval of the difference.
    share_b_better : float
        Share of the resamples in which b is better.
    """

    quantity: str
    group: str
    n: int
    mean_a: float
    mean_b: float
    interval_a: tuple[float, float]
    interval_b: tuple[float, float]
    difference: float
    interval: tuple[float, float]
    share_b_better: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval of the difference leaves out zero, over enough materials for an interval."""
        return self.n >= FEW and (self.interval[0] > 0 or self.interval[1] < 0)


def compare_results(a: BenchResult, b: BenchResult, seed: int = 0) -> tuple[list[PairedDifference], list[str]]:
    """Compare two results.

    Parameters
    ----------
    a, b : BenchResult
    seed : int
        Of the bootstrap.

    Returns
    -------
    differences : list of PairedDifference
        For each quantity: over all materials, and by prototype where at least two are common.
    problems : list of str
        What weakens the comparison, a sentence each.

    Raises
    ------
    ConfigError
        No material is counted in both.
    """
    scores = a.scores, b.scores
    counted = [{key for key, score in side.items() if score.counts} for side in scores]
    common = sorted(counted[0] & counted[1])
    if not common:
        raise ConfigError(
            f"no material is scored in both '{a.label}' ({len(counted[0])}) and '{b.label}' ({len(counted[1])}). Run "
            "both on the same list, against a reference."
        )
    problems = []
    if a.reference.get("sha256") != b.reference.get("sha256"):
        problems.append(
            f"the references differ ({a.reference.get('file')} and {b.reference.get('file')}): scores do not compare."
        )
    if a.protocol != b.protocol:
        problems.append(f"the protocols differ ({a.protocol} and {b.protocol}).")
    for side, other, keys in ((a, b, counted[0] - counted[1]), (b, a, counted[1] - counted[0])):
        if keys:
            problems.append(f"{len(keys)} materials of '{side.label}' are not in '{other.label}' and left out.")
    if len(common) < FEW:
        problems.append(f"only {len(common)} common materials: intervals need at least {FEW} to mean anything.")
    groups = {"all": common}
    for key in common:
        groups.setdefault(scores[0][key].prototype, []).append(key)
    differences = [
        paired
        for quantity in QUANTITIES
        for group, keys in groups.items()
        if group == "all" or (len(keys) > 1 and len(groups) > 2)
        for paired in [_paired(*scores, quantity, group, keys, seed)]
        if paired is not None
    ]
    return differences, problems


def bootstrap_interval(
    values: NDArray[np.float64], seed: int = 0, level: float = 0.95
) -> tuple[tuple[float, float], NDArray[np.float64]]:
    """Percentile interval of the mean over materials, and the resampled means.

    Parameters
    ----------
    values : ndarray
        float64 (n_materials,).

    Returns
    -------
    interval : tuple of float
    means : ndarray
        float64 (N_RESAMPLES,).
    """
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(values), (N_RESAMPLES, len(values)))
    means = values[draws].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return (float(low), float(high)), means


def _paired(
    a: Mapping[str, MaterialScore],
    b: Mapping[str, MaterialScore],
    quantity: str,
    group: str,
    keys: Sequence[str],
    seed: int,
) -> PairedDifference | None:
    """Compare one quantity over one group."""
    pairs = [(getattr(a[key], quantity), getattr(b[key], quantity)) for key in keys]
    both = np.array([pair for pair in pairs if None not in pair], dtype=np.float64)
    if not len(both):
        return None
    interval_a, _ = bootstrap_interval(both[:, 0], seed)
    interval_b, _ = bootstrap_interval(both[:, 1], seed)
    interval, means = bootstrap_interval(both[:, 1] - both[:, 0], seed)
    return PairedDifference(
        quantity=quantity,
        group=group,
        n=len(both),
        mean_a=float(both[:, 0].mean()),
        mean_b=float(both[:, 1].mean()),
        interval_a=interval_a,
        interval_b=interval_b,
        difference=float((both[:, 1] - both[:, 0]).mean()),
        interval=interval,
        share_b_better=float((means < 0).mean()),
    )
