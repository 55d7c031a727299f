"""From the records of a benchmark run to scores: what counts, what counts as failed, and what cannot be compared.

The rule of the published benchmark (Póta et al., arXiv:2408.00755): a material whose modes are imaginary, whose space
group broke, or for which the model gave no κ scores SRE 2 and SRME 2. What is no fault of the model (no reference,
another grid) is not scored and told.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screen_cli.bench.reference import Reference, pick_reference
from screen_cli.errors import MissingExtraError
from screen_cli.plugins.manager import installed_plugins
from screen_cli.store.record import Record
from screen_cli.store.run_directory import RunDirectory

logger = logging.getLogger(__name__)

FAILED = 2.0
METRIC = "srme"


@dataclass
class MaterialScore:
    """One material of a benchmark; ``None`` where there is no value.

    Parameters
    ----------
    id, name, prototype : str
    verdict : {"scored", "failed", "not scored", "pending"}
        "failed" by the model: SRE = SRME = 2.
    reason : str
        Why not "scored", one sentence.
    kappa, kappa_p, kappa_c, kappa_reference : float
        W/(m K), mean of xx, yy, zz.
    srd, sre, srme : float
        Symmetric relative difference, error, and mean error over modes.
    imaginary, symmetry_broken : bool
    min_frequency_thz : float
    frequency_error_percent : float
        RMSE over the same q points and bands, over the range of the reference's frequencies.
    spectrum_distance_thz : float
        Wasserstein distance of the two distributions of frequencies.
    n_force_calls, n_relax_steps : int
    seconds : float
        Wall time of all stages.
    trusted : bool
        What the fit says of itself; ``warning`` is its sentence.
    """

    id: str
    name: str
    prototype: str
    verdict: str = "pending"
    reason: str = ""
    kappa: float | None = None
    kappa_p: float | None = None
    kappa_c: float | None = None
    kappa_reference: float | None = None
    srd: float | None = None
    sre: float | None = None
    srme: float | None = None
    imaginary: bool | None = None
    symmetry_broken: bool | None = None
    min_frequency_thz: float | None = None
    frequency_error_percent: float | None = None
    spectrum_distance_thz: float | None = None
    n_force_calls: int | None = None
    n_relax_steps: int | None = None
    seconds: float | None = None
    trusted: bool | None = None
    warning: str = ""
    keys: dict[str, str] = field(default_factory=dict, repr=False)
    structure_id: str = ""


def score_run(run: RunDirectory, references: Mapping[str, Reference] | None) -> list[MaterialScore]:
    """Score every material of a run, in the order of the list; without references, κ alone.

    Raises
    ------
    MissingExtraError
        No plugin offers the metric.
    """
    scores = [_score(run, row, references) for row in run.rows()]
    return sorted(scores, key=lambda score: (score.prototype, score.name, score.id))


def unmatched_references(scores: Iterable[MaterialScore], references: Mapping[str, Reference]) -> list[str]:
    """Ids of references for which the list has no structure."""
    used = {getattr(pick_reference(references, score.id, score.name), "id", None) for score in scores}
    return sorted(set(references) - used)


def mode_conductivity(conductivity: Record, name: str, *, coherences: bool = True) -> dict[str, Any]:
    """Fields of one result as a metric takes them, from a conductivity record with modes.

    Parameters
    ----------
    conductivity : Record
    name : str
        For messages.
    coherences : bool
        Populations and coherences; else populations only.
    """
    arrays = conductivity.arrays
    modes = arrays["mode_kappa_p"][0]
    kappa = arrays["kappa_p"][0]
    if coherences and "mode_kappa_c" in arrays:
        modes, kappa = modes + arrays["mode_kappa_c"][0], arrays["kappa_total"][0]
    return {
        "name": name,
        "temperature": float(arrays["temperatures"][0]),
        "kappa": float(kappa[:3].mean()),
        "modes": modes[..., :3].mean(axis=-1),
        "weights": arrays["weights"],
        "qpoints": arrays["qpoints"],
        "frequencies": arrays["frequency"],
    }


def compare_modes(result: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, float]:
    """SRD, SRE and SRME by the registered metric.

    Raises
    ------
    MissingExtraError
        No plugin offers it.
    ValueError
        The two cannot be compared.
    """
    registry = installed_plugins()
    if METRIC not in registry.names("metrics"):
        raise MissingExtraError(f"the metric '{METRIC}' is not installed. Install it: pip install phon-wigner.")
    scores: dict[str, float] = registry.get("metrics", METRIC).load()(result, reference)
    return scores


def frequency_error_percent(
    frequencies: NDArray[np.float64], reference: NDArray[np.float64], weights: NDArray[np.int64]
) -> float:
    """RMSE over q points (weighted) and bands, in per cent of the reference's frequency range.

    Parameters
    ----------
    frequencies, reference : ndarray
        float64 (n_irr, n_bands), THz, at the same q points.
    weights : ndarray
        int64 (n_irr,).
    """
    square = np.average(((frequencies - reference) ** 2).mean(axis=1), weights=weights)
    return float(100 * np.sqrt(square) / (reference.max() - reference.min()))


def spectrum_distance_thz(
    frequencies: NDArray[np.float64],
    weights: NDArray[np.int64],
    reference: NDArray[np.float64],
    reference_weights: NDArray[np.int64],
) -> float:
    """Wasserstein distance of two frequency distributions, THz; the q points need not be the same."""
    from scipy.stats import wasserstein_distance

    n_bands, n_bands_reference = frequencies.shape[1], reference.shape[1]
    return float(
        wasserstein_distance(
            frequencies.ravel(),
            reference.ravel(),
            np.repeat(weights, n_bands),
            np.repeat(reference_weights, n_bands_reference),
        )
    )


def _score(run: RunDirectory, row: Mapping[str, Any], references: Mapping[str, Reference] | None) -> MaterialScore:
    """Score one row of the index."""
    material_id = row["provider_id"] or row["id"]
    score = MaterialScore(material_id, row["formula"] or material_id, "", structure_id=row["id"])
    if row["stage"] == "read" and row["state"] == "failed":
        score.verdict, score.reason = "not scored", row["reason"]
        return score
    metadata = run.store.read_structure(row["id"])["metadata"]
    score.name, score.prototype = metadata.get("name", score.name), metadata.get("prototype", "")
    score.keys = json.loads(row["keys"] or "{}")
    _costs(run, row, score)
    reference = None if references is None else pick_reference(references, score.id, score.name)
    score.kappa_reference = None if reference is None else reference.kappa
    if row["state"] in ("pending", "running"):
        score.reason = "not computed yet"
        return score
    if references is not None and reference is None:
        score.verdict, score.reason = "not scored", f"the reference has no {score.id}"
    if row["state"] == "done":
        _score_done(run, row, score, reference)
    else:
        _score_failed(run, row, score, reference)
    return score


def _costs(run: RunDirectory, row: Mapping[str, Any], score: MaterialScore) -> None:
    """Copy what the index knows of the cost and the harmonic crystal."""
    for name in ("min_frequency_thz", "n_force_calls", "n_relax_steps"):
        if row.get(name) is not None:
            setattr(score, name, row[name])
    if row.get("trusted") is not None:
        score.trusted, score.warning = bool(row["trusted"]), row.get("force_constants_warning") or ""
    if row.get("stable") is not None:
        score.imaginary = not row["stable"]
    if "relax" in score.keys:
        score.symmetry_broken = False
    stored = (run.store.find(row["id"], stage, key) for stage, key in score.keys.items())
    score.seconds = float(sum(item.seconds for item in stored if item is not None))


def _score_done(run: RunDirectory, row: Mapping[str, Any], score: MaterialScore, reference: Reference | None) -> None:
    """Score a material with κ."""
    record = run.store.read(row["id"], "conductivity", score.keys["conductivity"])
    if record is None or "mode_kappa_p" not in record.arrays:
        score.verdict, score.reason = "not scored", "the run kept no mode-resolved κ (conductivity.keep_modes)"
        return
    score.kappa = record.data["kappa_total_w_mk"]
    score.kappa_p, score.kappa_c = record.data["kappa_p_w_mk"], record.data.get("kappa_c_w_mk")
    if reference is None:
        score.verdict = "not scored"
        return
    result = mode_conductivity(record, score.id, coherences=reference.coherences)
    try:
        values = compare_modes(result, reference.as_mapping())
    except ValueError as error:
        score.verdict, score.reason = "not scored", str(error)
        return
    score.verdict = "scored"
    score.srd, score.sre, score.srme = (values[name] for name in ("srd", "sre", "srme"))
    if not reference.coherences:
        score.reason = "the reference holds no coherences: populations are compared"
        score.kappa = result["kappa"]
    score.frequency_error_percent = frequency_error_percent(
        result["frequencies"], reference.frequencies, reference.weights
    )
    score.spectrum_distance_thz = spectrum_distance_thz(
        result["frequencies"], result["weights"], reference.frequencies, reference.weights
    )


def _score_failed(run: RunDirectory, row: Mapping[str, Any], score: MaterialScore, reference: Reference | None) -> None:
    """Score a material for which the model gave no κ."""
    reason = row["reason"] or ""
    if row["state"] == "failed":
        score.symmetry_broken = reason.startswith("SymmetryLostError")
        reason = f"{row['stage']}: {reason.partition(': ')[2] or reason}"
    if reference is None:
        score.verdict, score.reason = "not scored", "; ".join(part for part in (reason, score.reason) if part)
        return
    score.verdict, score.reason = "failed", reason
    score.srd, score.sre, score.srme = -FAILED, FAILED, FAILED
    harmonic = run.store.read(row["id"], "harmonic", score.keys["harmonic"]) if "harmonic" in score.keys else None
    if harmonic is not None:
        arrays = harmonic.arrays
        score.spectrum_distance_thz = spectrum_distance_thz(
            arrays["frequencies"], arrays["weights"], reference.frequencies, reference.weights
        )


@dataclass(frozen=True)
class Summary:
    """Means over the materials that count (scored and failed).

    Parameters
    ----------
    n_materials, n_scored, n_failed : int
        Counted, with κ, and failed by the model.
    srd, sre, srme : float
        Means; 2 for each failure (−2 in ``srd``).
    srme_scored : float or None
        Mean over the materials with κ alone.
    imaginary_rate, symmetry_broken_rate : float
        Shares of the materials for which the model got that far.
    frequency_error_percent, spectrum_distance_thz : float or None
    """

    n_materials: int
    n_scored: int
    n_failed: int
    srd: float
    sre: float
    srme: float
    srme_scored: float | None
    imaginary_rate: float | None
    symmetry_broken_rate: float | None
    frequency_error_percent: float | None
    spectrum_distance_thz: float | None


def summarise(scores: Sequence[MaterialScore]) -> Summary | None:
    """Average over materials; None when nothing counts."""
    counted = [score for score in scores if score.verdict in ("scored", "failed")]
    if not counted:
        return None
    scored = [score for score in counted if score.verdict == "scored"]
    return Summary(
        n_materials=len(counted),
        n_scored=len(scored),
        n_failed=len(counted) - len(scored),
        srd=_mean(counted, "srd") or 0.0,
        sre=_mean(counted, "sre") or 0.0,
        srme=_mean(counted, "srme") or 0.0,
        srme_scored=_mean(scored, "srme"),
        imaginary_rate=_mean(counted, "imaginary"),
        symmetry_broken_rate=_mean(counted, "symmetry_broken"),
        frequency_error_percent=_mean(counted, "frequency_error_percent"),
        spectrum_distance_thz=_mean(counted, "spectrum_distance_thz"),
    )


def by_prototype(scores: Sequence[MaterialScore]) -> dict[str, Summary]:
    """Averages over the materials of each prototype."""
    names = sorted({score.prototype for score in scores if score.prototype})
    parts = {name: summarise([score for score in scores if score.prototype == name]) for name in names}
    return {name: summary for name, summary in parts.items() if summary is not None}


def _mean(scores: Sequence[MaterialScore], name: str) -> float | None:
    """Mean of an attribute over the scores that have it."""
    values = [getattr(score, name) for score in scores if getattr(score, name) is not None]
    return float(np.mean(values)) if values else None
