"""Two runs on the same crystals, usually with two force fields: where they agree, and by how much they differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from screen_cli.analysis.spectra import frequency_error_percent
from screen_cli.stages.harmonic import Harmonic
from screen_cli.store.record import Json
from screen_cli.store.row import Row, number, text
from screen_cli.store.run_directory import RunDirectory

_KAPPA = "kappa_total_w_mk"
COMPARED = (
    _KAPPA,
    "kappa_p_w_mk",
    "kappa_c_w_mk",
    "min_frequency_thz",
    "max_frequency_thz",
    "max_msd",
    "vs_m_s",
    "cv_j_mol_k",
    "p3",
)
"""Columns that the joint table holds for both runs, as far as they have them."""

LOGARITHMIC = frozenset({_KAPPA, "kappa_p_w_mk", "kappa_c_w_mk", "max_msd"})
"""Columns that spread over decades: their R² is of the logarithms, as in the SDNNFF paper."""


@dataclass(frozen=True)
class Agreement:
    """Statistics of one column over the crystals both runs have it for.

    Parameters
    ----------
    column : str
    n : int
        Crystals with a positive value in both runs, that neither calls unstable (frequencies: of all).
    mean_log10_ratio : float
        Mean of log10(B/A): 0 without bias, 0.3 when B is twice A.
    mean_abs_log10_ratio : float
        Mean of its size: 0.254 is what the SDNNFF paper has against DFT (doi:10.1038/s43246-023-00390-3).
    rank_correlation : float or None
        Spearman's; None with fewer than three crystals.
    within_factor_2 : float
        Share of the crystals with 1/2 ≤ B/A ≤ 2.
    r_squared : float or None
        1 − Σ(b − a)²/Σ(a − ā)², of the logarithms for :data:`LOGARITHMIC`; None where A does not vary. 0.89 for κ in
        the SDNNFF paper.
    mean_abs_error : float
        Mean of |B − A|, in the unit of the column.
    """

    column: str
    n: int
    mean_log10_ratio: float
    mean_abs_log10_ratio: float
    rank_correlation: float | None
    within_factor_2: float
    r_squared: float | None
    mean_abs_error: float


@dataclass(frozen=True)
class PairedCrystal:
    """One crystal that both runs read.

    Parameters
    ----------
    a, b : mapping of str to value
        Its rows in the two runs.
    """

    a: Row
    b: Row

    @property
    def kappas(self) -> tuple[float, float]:
        """κ_total of both runs, W/(m K); 0 where there is none."""
        return float(number(self.a, _KAPPA) or 0.0), float(number(self.b, _KAPPA) or 0.0)

    @property
    def log10_ratio(self) -> float | None:
        """log10(κ_B/κ_A); None where one is missing."""
        first, second = self.kappas
        return math.log10(second / first) if first > 0 and second > 0 else None

    @property
    def kappa_mean(self) -> float | None:
        """Geometric mean of both κ, W/(m K)."""
        first, second = self.kappas
        return math.sqrt(first * second) if first > 0 and second > 0 else None

    @property
    def kappa_factor(self) -> float | None:
        """Both κ are the mean times and over it: what the models leave open, a lower bound of the error."""
        ratio = self.log10_ratio
        return None if ratio is None else math.sqrt(10 ** abs(ratio))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What else speaks against the number: disagreement about stability, a rough fit, κ in one run alone."""
        return tuple(self._warnings())

    def _warnings(self) -> Iterator[str]:
        """Find them one by one."""
        sides = (("A", self.a, self.b), ("B", self.b, self.a))
        for name, row, other in sides:
            if other.get("stable") and row.get("stable") in (False, 0):
                yield f"unstable in {name}"
        first, second = self.kappas
        if (first > 0) != (second > 0):
            yield f"no κ in {'B' if first > 0 else 'A'}"
        for (name, row, _), kappa in zip(sides, self.kappas, strict=True):
            if kappa > 0 and row.get("trusted") in (False, 0):
                yield f"rough fit in {name}"
            elif kappa > 0 and row.get("kappa_trusted") in (False, 0):
                yield f"κ not trusted in {name}"

    def as_row(self) -> Row:
        """Flat row: ``id formula space_group prototype``, the columns of both with ``_a`` and ``_b``, and of κ."""
        row = {name: self.a.get(name) for name in ("id", "formula", "space_group", "prototype")}
        for name in ("state", "stable", "trusted", "kappa_trusted", *COMPARED):
            row |= {f"{name}_a": self.a.get(name), f"{name}_b": self.b.get(name)}
        return row | {
            "log10_ratio": self.log10_ratio,
            "kappa_mean_w_mk": self.kappa_mean,
            "kappa_factor": self.kappa_factor,
            "warnings": ", ".join(self.warnings),
        }


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side.

    Parameters
    ----------
    crystals : tuple of PairedCrystal
        Each crystal that both runs read.
    only_a, only_b : int
        Crystals that one run alone has.
    frequency_errors : mapping of str to float
        For each crystal whose frequencies both runs have on the same mesh: RMSE of B's over q points and bands, in per
        cent of the range of A's (:func:`with_frequency_errors`).
    """

    crystals: tuple[PairedCrystal, ...]
    only_a: int
    only_b: int
    frequency_errors: Mapping[str, float] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        """Flat row of each crystal."""
        rows = [crystal.as_row() for crystal in self.crystals]
        return [{**row, "frequency_error_percent": self.frequency_errors.get(text(row, "id"))} for row in rows]

    @property
    def stable_frequency_errors(self) -> NDArray[np.float64]:
        """Frequency errors of the crystals that A calls stable, per cent, float64 (n,)."""
        stable = [text(crystal.a, "id") for crystal in self.crystals if crystal.a.get("stable")]
        return np.array([self.frequency_errors[name] for name in stable if name in self.frequency_errors])

    @property
    def stability(self) -> dict[str, int]:
        """Who calls a crystal stable, where both could tell: ``both``, ``only_a``, ``only_b``, ``neither``."""
        counts = {"both": 0, "only_a": 0, "only_b": 0, "neither": 0}
        for crystal in self.crystals:
            a, b = crystal.a.get("stable"), crystal.b.get("stable")
            if a is not None and b is not None:
                counts["both" if a and b else "only_a" if a else "only_b" if b else "neither"] += 1
        return counts

    @property
    def stability_agreement(self) -> float | None:
        """Share of the crystals on whose stability both agree; None when there is none."""
        counts = self.stability
        total = sum(counts.values())
        return (counts["both"] + counts["neither"]) / total if total else None

    @property
    def agreements(self) -> list[Agreement]:
        """Statistics of each compared column that has values; the lowest frequency of stable crystals is rounding."""
        columns = [column for column in COMPARED if column != "min_frequency_thz"]
        return [agreement for column in columns if (agreement := _agreement(column, self.pairs_of(column)))]

    @property
    def without_warnings(self) -> Agreement | None:
        """The same of κ over the crystals without warnings; None where there are none such, or nothing but such."""
        sound = Comparison(tuple(crystal for crystal in self.crystals if not crystal.warnings), 0, 0)
        pairs = sound.pairs_of(_KAPPA)
        return None if len(pairs) == len(self.pairs_of(_KAPPA)) else _agreement(_KAPPA, pairs)

    def pairs_of(self, column: str) -> NDArray[np.float64]:
        """Positive values of a column in both runs, float64 (n, 2).

        Only frequencies are those of every crystal: c_v, displacements and velocities leave imaginary modes out, and
        mean little where a run calls the crystal unstable.
        """
        meaningful = [
            crystal
            for crystal in self.crystals
            if column == "max_frequency_thz" or all(row.get("stable") in (None, True) for row in (crystal.a, crystal.b))
        ]
        values = [(number(crystal.a, column), number(crystal.b, column)) for crystal in meaningful]
        positive = [(a, b) for a, b in values if a is not None and b is not None and a > 0 and b > 0]
        return np.array(positive, dtype=np.float64).reshape(-1, 2)

    def to_dict(self) -> dict[str, Json]:
        """JSON-ready fields."""
        sound, errors = self.without_warnings, self.stable_frequency_errors
        return {
            "n_common": len(self.crystals),
            "only_a": self.only_a,
            "only_b": self.only_b,
            "stability": self.stability,
            "stability_agreement": self.stability_agreement,
            "agreements": [asdict(agreement) for agreement in self.agreements],
            "frequency_error_percent": {
                "n_stable": len(errors),
                "mean": float(errors.mean()),
                "median": float(np.median(errors)),
            }
            if len(errors)
            else None,
            "without_warnings": None if sound is None else asdict(sound),
            "rows": self.rows,
        }


def compare_rows(rows_a: Iterable[Row], rows_b: Iterable[Row]) -> Comparison:
    """Match the rows of two runs by the id of the crystal.

    Parameters
    ----------
    rows_a, rows_b : iterable of dict
        Rows of the index; those that a filter dropped or that could not be read do not take part.
    """
    first = {text(row, "id"): row for row in rows_a if _is_crystal(row)}
    second = {text(row, "id"): row for row in rows_b if _is_crystal(row)}
    joint = tuple(PairedCrystal(first[name], row) for name, row in second.items() if name in first)
    return Comparison(joint, len(first) - len(joint), len(second) - len(joint))


def with_frequency_errors(comparison: Comparison, first: RunDirectory, second: RunDirectory) -> Comparison:
    """Add the frequency error of each crystal whose harmonic record both runs have, on the same mesh."""
    errors = {}
    for crystal in comparison.crystals:
        records = first.record(crystal.a, "harmonic"), second.record(crystal.b, "harmonic")
        if records[0] is None or records[1] is None:
            continue
        a, b = Harmonic.from_storage(records[0]), Harmonic.from_storage(records[1])
        if (
            a.frequencies.shape == b.frequencies.shape
            and np.array_equal(a.weights, b.weights)
            and np.allclose(a.qpoints, b.qpoints, rtol=0, atol=1e-9)
        ):
            errors[text(crystal.a, "id")] = frequency_error_percent(b.frequencies, a.frequencies, a.weights)
    return replace(comparison, frequency_errors=errors)


def _is_crystal(row: Row) -> bool:
    """Whether a row stands for a crystal that took part."""
    return row.get("state") != "filtered" and row.get("formula") is not None


def _agreement(column: str, pairs: NDArray[np.float64]) -> Agreement | None:
    """Statistics of one column, if both runs have it anywhere."""
    from scipy.stats import spearmanr

    if not len(pairs):
        return None
    ratio = np.log10(pairs[:, 1] / pairs[:, 0])
    values = np.log10(pairs) if column in LOGARITHMIC else pairs
    spread = float(((values[:, 0] - values[:, 0].mean()) ** 2).sum())
    varied = len(pairs) >= 3 and np.ptp(pairs[:, 0]) > 0 and np.ptp(pairs[:, 1]) > 0
    return Agreement(
        column,
        len(pairs),
        float(ratio.mean()),
        float(np.abs(ratio).mean()),
        float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic) if varied else None,
        float(np.mean(np.abs(ratio) <= math.log10(2) + 1e-12)),
        1 - float(((values[:, 1] - values[:, 0]) ** 2).sum()) / spread if spread > 0 else None,
        float(np.abs(pairs[:, 1] - pairs[:, 0]).mean()),
    )
