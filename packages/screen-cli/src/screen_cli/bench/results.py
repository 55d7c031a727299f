"""Results of a benchmark as files: JSON to compare, CSV to read, the published tables to submit."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from screen_cli.bench.score import MaterialScore, Summary, by_prototype, mode_conductivity, summarise
from screen_cli.errors import ConfigError
from screen_cli.settings_file import settings_to_dict
from screen_cli.store.atomic_write import write_bytes, write_text
from screen_cli.store.run_directory import RunDirectory, installed_versions

FORMAT = "screen-cli bench kappa 1"
_INTERNAL = ("keys", "structure_id")


@dataclass(frozen=True)
class BenchResult:
    """What :func:`read_result` found in a JSON file.

    Parameters
    ----------
    label : str
        Calculator, options and protocol.
    reference : dict
        ``file`` and ``sha256``; empty without one.
    scores : dict of str to dict
        Fields of :class:`screen_cli.bench.score.MaterialScore` by id.
    document : dict
        The whole file.
    """

    label: str
    reference: dict[str, str]
    scores: dict[str, dict[str, Any]]
    document: dict[str, Any]


def result_document(
    run: RunDirectory,
    protocol: str,
    temperature: float,
    scores: Sequence[MaterialScore],
    reference: Path | None,
    *,
    problems: Sequence[str],
    fast_error: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything that is written to ``bench.json``; the model's settings and versions included."""
    summary = summarise(scores)
    calculator = run.settings.calculator
    options = " ".join(f"{key}={value}" for key, value in sorted(calculator.options.items()))
    return {
        "format": FORMAT,
        "label": f"{calculator.name}{' ' + options if options else ''}, {protocol}",
        "calculator": {"name": calculator.name, "options": calculator.options},
        "protocol": protocol,
        "temperature_k": temperature,
        "reference": {} if reference is None else {"file": reference.name, "sha256": _checksum(reference)},
        "settings": settings_to_dict(run.settings),
        "versions": installed_versions(),
        "means": None if summary is None else dataclasses.asdict(summary),
        "by_prototype": {name: dataclasses.asdict(part) for name, part in by_prototype(scores).items()},
        "fast_error": None if fast_error is None else dict(fast_error),
        "problems": list(problems),
        "materials": [_public(score) for score in scores],
    }


def write_result(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write ``bench.json`` and ``bench.csv``."""
    json_path, csv_path = folder / "bench.json", folder / "bench.csv"
    write_text(json_path, json.dumps(document, indent=1, allow_nan=False) + "\n")
    text = io.StringIO()
    names = [item.name for item in dataclasses.fields(MaterialScore) if item.name not in _INTERNAL]
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(document["materials"])
    write_text(csv_path, text.getvalue())
    return [json_path, csv_path]


def read_result(path: Path) -> BenchResult:
    """Read ``bench.json``, or that of a run directory.

    Raises
    ------
    ConfigError
        There is none, or it is another kind of file.
    """
    path = path / "bench.json" if path.is_dir() else path
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}). Make it with: screen-cli bench kappa.") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ConfigError(f"{path} is no result of 'screen-cli bench kappa' (its 'format' is not '{FORMAT}').")
    scores = {material["id"]: material for material in document["materials"]}
    return BenchResult(document["label"], document["reference"], scores, document)


def write_predictions(run: RunDirectory, scores: Sequence[MaterialScore], folder: Path) -> list[Path]:
    """Write the mode-resolved tables that others read, one row per material.

    ``predictions.json.gz`` has the columns of k_SRME and can be a ``--reference`` itself;
    ``predictions-matbench.json.gz`` those of Matbench Discovery. Both are pandas tables (column, then row).
    """
    rows = [_prediction(run, score) for score in scores if score.structure_id and score.verdict != "pending"]
    paths = [folder / "predictions.json.gz", folder / "predictions-matbench.json.gz"]
    for path, renamed in zip(paths, ({}, _MATBENCH), strict=True):
        columns = [name for name in _KSRME if not renamed or name in renamed]
        table = {
            renamed.get(name, name): {str(index): row.get(name) for index, row in enumerate(rows)} for name in columns
        }
        text = json.dumps(table, allow_nan=False, separators=(",", ":"))
        write_bytes(path, gzip.compress(text.encode(), mtime=0))
    return paths


_KSRME = (
    "mp_id",
    "name",
    "symm.no",
    "q_mesh",
    "temperatures",
    "qpoints",
    "weights",
    "frequencies",
    "heat_capacity",
    "kappa_TOT_RTA",
    "kappa_P_RTA",
    "kappa_C",
    "kappa_TOT_ave",
    "mode_kappa_TOT_ave",
    "imaginary_freqs",
    "initial_space_group_number",
    "relaxed_space_group_number",
    "errors",
    "SRD",
    "SRE",
    "SRME",
)
_MATBENCH = {
    "mp_id": "material_id",
    "name": "formula",
    "temperatures": "temperatures",
    "qpoints": "q_points",
    "weights": "mode_weights",
    "frequencies": "ph_freqs",
    "heat_capacity": "heat_capacity",
    "kappa_TOT_RTA": "kappa_tot_rta",
    "kappa_P_RTA": "kappa_p_rta",
    "kappa_C": "kappa_c",
    "kappa_TOT_ave": "kappa_tot_avg",
    "mode_kappa_TOT_ave": "mode_kappa_tot_avg",
    "imaginary_freqs": "has_imag_ph_modes",
    "initial_space_group_number": "init_spg_num",
    "relaxed_space_group_number": "final_spg_num",
    "errors": "errors",
}


def _prediction(run: RunDirectory, score: MaterialScore) -> dict[str, Any]:
    """One row of the mode-resolved table."""
    source = run.store.read_structure(score.structure_id)
    space_group = source["space_group"]
    row: dict[str, Any] = {
        "mp_id": score.id,
        "name": score.name,
        "symm.no": space_group,
        "imaginary_freqs": score.imaginary,
        "initial_space_group_number": space_group,
        "errors": [] if score.kappa is not None or score.imaginary else [score.reason],
        "SRD": score.srd,
        "SRE": score.sre,
        "SRME": score.srme,
    }
    relaxed = run.store.find(score.structure_id, "relax", score.keys.get("relax", ""))
    if relaxed is not None:
        row["relaxed_space_group_number"] = relaxed.data["space_group"]
    record = run.store.read(score.structure_id, "conductivity", score.keys.get("conductivity", ""))
    if record is not None and "mode_kappa_p" in record.arrays:
        arrays, modes = record.arrays, mode_conductivity(record, score.id)
        row |= {
            "q_mesh": arrays["mesh"].tolist(),
            "temperatures": arrays["temperatures"].tolist(),
            "qpoints": _rounded(arrays["qpoints"]),
            "weights": arrays["weights"].tolist(),
            "frequencies": _rounded(arrays["frequency"]),
            "heat_capacity": _rounded(arrays["heat_capacity"]),
            "kappa_TOT_RTA": _rounded(arrays["kappa_total"]),
            "kappa_P_RTA": _rounded(arrays["kappa_p"]),
            "kappa_C": _rounded(arrays["kappa_c"]) if "kappa_c" in arrays else None,
            "kappa_TOT_ave": [modes["kappa"]],
            "mode_kappa_TOT_ave": [_rounded(modes["modes"])],
        }
    return row


def _rounded(array: Any, digits: int = 10) -> Any:
    """Nested list with at most ``digits`` significant decimals after the point, as in the published tables."""
    return np.round(np.asarray(array, dtype=np.float64), digits).tolist()


def _public(score: MaterialScore) -> dict[str, Any]:
    """Fields of a score without what only the run needs; numbers that are not finite become null."""
    fields = dataclasses.asdict(score)
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in fields.items()
        if name not in _INTERNAL
    }


def _checksum(path: Path) -> str:
    """SHA-256 of a file, or of all HDF5 files of a folder."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(path.rglob("*.hdf5")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


__all__ = [
    "BenchResult",
    "Summary",
    "read_result",
    "result_document",
    "write_predictions",
    "write_result",
]
