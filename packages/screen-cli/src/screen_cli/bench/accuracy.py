"""What the fast protocol costs in accuracy and saves in work, on the materials that were also run exactly."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from screen_cli.bench.score import MaterialScore
from screen_cli.store.record import Json

_OVER_ALL = (
    "kappa_error_percent_rms",
    "kappa_error_percent_max",
    "srme_error_max",
    "force_calls_ratio",
    "seconds_ratio",
)


@dataclass(frozen=True)
class BothProtocols:
    """One material in both protocols.

    Parameters
    ----------
    id, name : str
    kappa_fast, kappa_exact : float
        W/(m K), mean of xx, yy, zz.
    kappa_error_percent : float
        Of the fast protocol.
    srme_fast, srme_exact, srme_error : float or None
        Mean error over modes against the reference, and the difference.
    force_calls_ratio, seconds_ratio : float
        Work saved: exact over fast.
    trusted : bool or None
        What the fast fit says of itself.
    """

    id: str
    name: str
    kappa_fast: float
    kappa_exact: float
    kappa_error_percent: float
    srme_fast: float | None
    srme_exact: float | None
    srme_error: float | None
    force_calls_ratio: float
    seconds_ratio: float
    trusted: bool | None


@dataclass(frozen=True)
class FastError:
    """What the fast protocol costs and saves over all materials; None where no material has κ in both.

    Parameters
    ----------
    against : str
        Label of the exact result.
    n_materials : int
    materials : tuple of BothProtocols
    problems : tuple of str
        A sentence for each material that only one of the protocols gave κ.
    kappa_error_percent_rms, kappa_error_percent_max : float or None
        Root mean square and largest size.
    srme_error_max : float or None
        Largest size.
    force_calls_ratio, seconds_ratio : float or None
        Smallest.
    """

    against: str
    n_materials: int
    materials: tuple[BothProtocols, ...]
    problems: tuple[str, ...]
    kappa_error_percent_rms: float | None = None
    kappa_error_percent_max: float | None = None
    srme_error_max: float | None = None
    force_calls_ratio: float | None = None
    seconds_ratio: float | None = None

    def to_json(self) -> dict[str, Json]:
        """Fields as they are written; what is over all materials only where there are some."""
        fields: dict[str, Json] = dataclasses.asdict(self)
        return {name: value for name, value in fields.items() if self.materials or name not in _OVER_ALL}


def fast_error(scores: Sequence[MaterialScore], exact: Sequence[MaterialScore], label: str) -> FastError:
    """Compare fast scores with exact ones of the same model.

    Parameters
    ----------
    scores, exact : sequence of MaterialScore
        Of the two protocols.
    label : str
        Of the exact result.
    """
    by_id = {score.id: score for score in exact}
    problems: list[str] = []
    rows: list[BothProtocols] = []
    n_alone = 0
    for score in scores:
        other = by_id.get(score.id)
        if other is None or other.verdict == "pending":
            n_alone += 1
            continue
        if other.kappa is None or score.kappa is None:
            if score.kappa is not None or other.kappa is not None:
                problems.append(f"{score.name}: only one of the protocols gave κ.")
            continue
        rows.append(_both(score, score.kappa, other, other.kappa))
    if n_alone:
        problems.append(f"{n_alone} of {len(scores)} materials were not run with the exact protocol.")
    if not rows:
        return FastError(label, 0, (), tuple(problems))
    srme_errors = [abs(row.srme_error) for row in rows if row.srme_error is not None]
    return FastError(
        label,
        len(rows),
        tuple(rows),
        tuple(problems),
        kappa_error_percent_rms=float(np.sqrt(np.mean([row.kappa_error_percent**2 for row in rows]))),
        kappa_error_percent_max=max(abs(row.kappa_error_percent) for row in rows),
        srme_error_max=max(srme_errors) if srme_errors else None,
        force_calls_ratio=min(row.force_calls_ratio for row in rows),
        seconds_ratio=min(row.seconds_ratio for row in rows),
    )


def _both(fast: MaterialScore, kappa_fast: float, exact: MaterialScore, kappa_exact: float) -> BothProtocols:
    """One material in both protocols."""
    srme_error = None if fast.srme is None or exact.srme is None else fast.srme - exact.srme
    return BothProtocols(
        id=fast.id,
        name=fast.name,
        kappa_fast=kappa_fast,
        kappa_exact=kappa_exact,
        kappa_error_percent=100 * (kappa_fast / kappa_exact - 1),
        srme_fast=fast.srme,
        srme_exact=exact.srme,
        srme_error=srme_error,
        force_calls_ratio=(exact.n_force_calls or 0) / max(fast.n_force_calls or 1, 1),
        seconds_ratio=(exact.seconds or 0.0) / max(fast.seconds or 1.0, 1e-9),
        trusted=fast.trusted,
    )
