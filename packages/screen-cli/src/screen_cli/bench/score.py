"""From the records of a benchmark run to scores: what counts, what counts as failed, and what cannot be compared.

The rule of the published benchmark (Póta et al., arXiv:2408.00755): a material whose modes are imaginary, whose space
group broke, or for which the model gave no κ scores SRE 2 and SRME 2. What is no fault of the model (no reference,
another grid) is not scored and told.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from screen_cli.analysis.spectra import frequency_error_percent, frequency_slope, spectrum_distance_thz
from screen_cli.bench.reference import Reference, pick_reference
from screen_cli.errors import MissingExtraError
from screen_cli.plugins.manager import installed_plugins
from screen_cli.plugins.protocols import ModeConductivity
from screen_cli.stages.conductivity import Conductivity
from screen_cli.stages.harmonic import Harmonic
from screen_cli.store.row import Row, flag, number, stage_keys, text, whole_number
from screen_cli.store.run_directory import RunDirectory

logger = logging.getLogger(__name__)

FAILED = 2.0
METRIC = "srme"


@dataclass(frozen=True)
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
    frequency_slope : float
        Of the model's frequencies against the reference's at the same q points, through the origin; below 1: soft.
    gruneisen_mean, thermal_expansion_per_mk : float
        At 300 K: mean Grüneisen parameter, and linear expansion in 10⁻⁶/K; where the run computes the property
        ``expansion``.
    n_force_calls, n_relax_steps : int
    peak_mb : float
        Most memory a stage held, in 10⁶ bytes, the model's server included.
    seconds : float
        Wall time of all stages.
    trusted : bool
        What the fit says of itself; ``warning`` is its sentence.
    keys : dict of str to str
        Content keys of its records, by stage.
    structure_id : str
        Of the crystal in the run directory.
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
    frequency_slope: float | None = None
    gruneisen_mean: float | None = None
    thermal_expansion_per_mk: float | None = None
    n_force_calls: int | None = None
    n_relax_steps: int | None = None
    peak_mb: float | None = None
    seconds: float | None = None
    trusted: bool | None = None
    warning: str = ""
    keys: dict[str, str] = field(default_factory=dict, repr=False)
    structure_id: str = ""

    @property
    def counts(self) -> bool:
        """Whether it enters the means: scored, or failed by the model."""
        return self.verdict in ("scored", "failed")


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


def mode_conductivity(conductivity: Conductivity, name: str, *, coherences: bool = True) -> ModeConductivity:
    """Fields of one result as a metric takes them, at the first temperature.

    Parameters
    ----------
    conductivity : Conductivity
        With modes.
    name : str
        For messages.
    coherences : bool
        Populations and coherences; else populations only.

    Raises
    ------
    ValueError
        The modes were not kept.
    """
    modes, weights = conductivity.mode_kappa_p, conductivity.weights
    qpoints, frequencies = conductivity.qpoints, conductivity.frequency
    if modes is None or weights is None or qpoints is None or frequencies is None:
        raise ValueError(f"{name} has no mode-resolved κ. Compute it with conductivity.keep_modes = true.")
    at_first, kappa = modes[0], conductivity.kappa_p[0]
    if coherences and conductivity.mode_kappa_c is not None:
        at_first, kappa = at_first + conductivity.mode_kappa_c[0], conductivity.kappa_total[0]
    return {
        "name": name,
        "temperature": float(conductivity.temperatures[0]),
        "kappa": float(kappa[:3].mean()),
        "modes": at_first[..., :3].mean(axis=-1),
        "weights": weights,
        "qpoints": qpoints,
        "frequencies": frequencies,
    }


def compare_modes(result: ModeConductivity, reference: ModeConductivity) -> Mapping[str, float]:
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
    return registry.get("metrics", METRIC).load()(result, reference)


def _score(run: RunDirectory, row: Row, references: Mapping[str, Reference] | None) -> MaterialScore:
    """Score one row of the index."""
    material_id = text(row, "provider_id") or text(row, "id")
    score = MaterialScore(material_id, text(row, "formula") or material_id, "", structure_id=text(row, "id"))
    if row["stage"] == "read" and row["state"] == "failed":
        return replace(score, structure_id="", verdict="not scored", reason=text(row, "reason"))  # it has no files
    metadata = run.store.read_structure(score.structure_id)["metadata"]
    name, prototype = str(metadata.get("name", score.name)), str(metadata.get("prototype", ""))
    reference = None if references is None else pick_reference(references, score.id, name)
    score = _with_costs(
        run,
        row,
        replace(
            score,
            name=name,
            prototype=prototype,
            keys=stage_keys(row),
            kappa_reference=None if reference is None else reference.kappa,
        ),
    )
    if row["state"] in ("pending", "running"):
        return replace(score, reason="not computed yet")
    if references is not None and reference is None:
        score = replace(score, verdict="not scored", reason=f"the reference has no {score.id}")
    after_kappa = text(row, "stage").startswith("property_") and "conductivity" in score.keys
    if row["state"] == "done" or after_kappa:  # a property that fails takes no κ away
        return _score_done(run, score, reference)
    return _score_failed(run, row, score, reference)


def _with_costs(run: RunDirectory, row: Row, score: MaterialScore) -> MaterialScore:
    """Add what the index knows of the cost and the harmonic crystal."""
    trusted, stable = flag(row, "trusted"), flag(row, "stable")
    found = (run.store.find(score.structure_id, stage, key) for stage, key in score.keys.items())
    stored = [item for item in found if item is not None]
    return replace(
        score,
        min_frequency_thz=number(row, "min_frequency_thz"),
        gruneisen_mean=number(row, "gamma_mean"),
        thermal_expansion_per_mk=None if (alpha := number(row, "alpha_linear_300k")) is None else 1e6 * alpha,
        n_force_calls=whole_number(row, "n_force_calls"),
        n_relax_steps=whole_number(row, "n_relax_steps"),
        trusted=trusted,
        warning="" if trusted is None else text(row, "force_constants_warning"),
        imaginary=None if stable is None else not stable,
        symmetry_broken=False if "relax" in score.keys else None,
        peak_mb=max((item.peak_mb for item in stored if item.peak_mb is not None), default=None),
        seconds=float(sum(item.seconds for item in stored)),
    )


def _score_done(run: RunDirectory, score: MaterialScore, reference: Reference | None) -> MaterialScore:
    """Score a material with κ."""
    record = run.store.read(score.structure_id, "conductivity", score.keys["conductivity"])
    if record is None or "mode_kappa_p" not in record.arrays:
        reason = "the run kept no mode-resolved κ (conductivity.keep_modes)"
        return replace(score, verdict="not scored", reason=reason)
    found = Conductivity.from_storage(record)
    score = replace(score, kappa=found.kappa_total_w_mk, kappa_p=found.kappa_p_w_mk, kappa_c=found.kappa_c_w_mk)
    if reference is None:
        return replace(score, verdict="not scored")
    result = mode_conductivity(found, score.id, coherences=reference.coherences)
    try:
        values = compare_modes(result, reference.as_mapping())
    except ValueError as error:
        return replace(score, verdict="not scored", reason=str(error))
    if not reference.coherences:
        reason = "the reference holds no coherences: populations are compared"
        score = replace(score, reason=reason, kappa=result["kappa"])
    frequencies, weights = result["frequencies"], result["weights"]
    return replace(
        score,
        verdict="scored",
        srd=values["srd"],
        sre=values["sre"],
        srme=values["srme"],
        frequency_error_percent=frequency_error_percent(frequencies, reference.frequencies, reference.weights),
        frequency_slope=frequency_slope(frequencies, reference.frequencies, reference.weights),
        spectrum_distance_thz=spectrum_distance_thz(frequencies, weights, reference.frequencies, reference.weights),
    )


def _score_failed(run: RunDirectory, row: Row, score: MaterialScore, reference: Reference | None) -> MaterialScore:
    """Score a material for which the model gave no κ."""
    reason = text(row, "reason")
    if row["state"] == "failed":
        score = replace(score, symmetry_broken=reason.startswith("SymmetryLostError"))
        reason = f"{row['stage']}: {reason.partition(': ')[2] or reason}"
    if reference is None:
        return replace(score, verdict="not scored", reason="; ".join(part for part in (reason, score.reason) if part))
    record = run.record(row, "harmonic")
    distance = None
    if record is not None:
        found = Harmonic.from_storage(record)
        distance = spectrum_distance_thz(found.frequencies, found.weights, reference.frequencies, reference.weights)
    return replace(
        score,
        verdict="failed",
        reason=reason,
        srd=-FAILED,
        sre=FAILED,
        srme=FAILED,
        spectrum_distance_thz=distance,
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
    counted = [score for score in scores if score.counts]
    if not counted:
        return None
    scored = [score for score in counted if score.verdict == "scored"]
    return Summary(
        n_materials=len(counted),
        n_scored=len(scored),
        n_failed=len(counted) - len(scored),
        srd=mean_of(counted, "srd") or 0.0,
        sre=mean_of(counted, "sre") or 0.0,
        srme=mean_of(counted, "srme") or 0.0,
        srme_scored=mean_of(scored, "srme"),
        imaginary_rate=mean_of(counted, "imaginary"),
        symmetry_broken_rate=mean_of(counted, "symmetry_broken"),
        frequency_error_percent=mean_of(counted, "frequency_error_percent"),
        spectrum_distance_thz=mean_of(counted, "spectrum_distance_thz"),
    )


def by_prototype(scores: Sequence[MaterialScore]) -> dict[str, Summary]:
    """Averages over the materials of each prototype."""
    names = sorted({score.prototype for score in scores if score.prototype})
    parts = {name: summarise([score for score in scores if score.prototype == name]) for name in names}
    return {name: summary for name, summary in parts.items() if summary is not None}


def mean_of(scores: Sequence[MaterialScore], name: str) -> float | None:
    """Average an attribute over the scores that have it; None where none has."""
    values = [getattr(score, name) for score in scores if getattr(score, name) is not None]
    return float(np.mean(values)) if values else None
