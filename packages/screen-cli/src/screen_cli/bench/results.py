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

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from screen_cli.bench.accuracy import FastError
from screen_cli.bench.score import MaterialScore, Summary, by_prototype, mode_conductivity, summarise
from screen_cli.errors import ConfigError
from screen_cli.settings_file import settings_to_dict
from screen_cli.stages.conductivity import Conductivity
from screen_cli.store.atomic_write import write_bytes, write_text
from screen_cli.store.reading import parse_json
from screen_cli.store.record import Json, Scalar
from screen_cli.store.run_directory import RunDirectory, installed_versions

FORMAT = "screen-cli bench kappa 1"
_INTERNAL = ("keys",)


@dataclass(frozen=True)
class BenchCalculator:
    """The force field of a benchmark.

    Parameters
    ----------
    name : str
    options : mapping of str to value
    """

    name: str
    options: Mapping[str, object]

    @property
    def told(self) -> dict[str, str]:
        """What tells it from others of its name: its options as text, of a path the last part."""
        return {key: Path(str(value)).name for key, value in sorted(self.options.items()) if key != "trust"}


@dataclass(frozen=True)
class BenchResult:
    """Everything that stands in ``bench.json``.

    Parameters
    ----------
    label : str
        Calculator, options and protocol.
    calculator : BenchCalculator
    protocol : {"exact", "fast"}
    temperature_k : float
    reference : mapping of str to str
        ``file`` and ``sha256``; empty without one.
    settings : mapping
        Of the run, as nested tables.
    versions : mapping of str to str
        Of the distributions, by name.
    means : Summary or None
        None when nothing counts.
    by_prototype : mapping of str to Summary
    fast_error : FastError or None
        Against an exact result.
    problems : tuple of str
        What weakens the result, a sentence each.
    materials : tuple of MaterialScore
    """

    label: str
    calculator: BenchCalculator
    protocol: str
    temperature_k: float
    reference: Mapping[str, str]
    settings: Mapping[str, object]
    versions: Mapping[str, str]
    means: Summary | None
    by_prototype: Mapping[str, Summary]
    fast_error: FastError | None
    problems: tuple[str, ...]
    materials: tuple[MaterialScore, ...]

    @property
    def scores(self) -> dict[str, MaterialScore]:
        """Materials by id."""
        return {score.id: score for score in self.materials}

    def to_json(self) -> dict[str, object]:
        """Content of ``bench.json``."""
        fields: dict[str, object] = dataclasses.asdict(self)
        fields["fast_error"] = None if self.fast_error is None else self.fast_error.to_json()
        fields["materials"] = [public_fields(score) for score in self.materials]
        return {"format": FORMAT, **fields}


def collect_result(
    run: RunDirectory,
    protocol: str,
    temperature: float,
    scores: Sequence[MaterialScore],
    reference: Path | None,
    *,
    problems: Sequence[str],
    fast_error: FastError | None = None,
) -> BenchResult:
    """Put a result together: scores, means, and the model's settings and versions."""
    calculator = BenchCalculator(run.settings.calculator.name, run.settings.calculator.options)
    words = [calculator.name, *(f"{key}={value}" for key, value in calculator.told.items())]
    return BenchResult(
        label=f"{' '.join(words)}, {protocol}",
        calculator=calculator,
        protocol=protocol,
        temperature_k=temperature,
        reference={} if reference is None else {"file": reference.name, "sha256": _checksum(reference)},
        settings=settings_to_dict(run.settings),
        versions=installed_versions(),
        means=summarise(scores),
        by_prototype=by_prototype(scores),
        fast_error=fast_error,
        problems=tuple(problems),
        materials=tuple(scores),
    )


def write_result(result: BenchResult, folder: Path) -> list[Path]:
    """Write ``bench.json`` and ``bench.csv``."""
    json_path, csv_path = folder / "bench.json", folder / "bench.csv"
    write_text(json_path, json.dumps(result.to_json(), indent=1, allow_nan=False) + "\n")
    text = io.StringIO()
    names = [item.name for item in dataclasses.fields(MaterialScore) if item.name not in _INTERNAL]
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(public_fields(score) for score in result.materials)
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
        document = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}). Make it with: screen-cli bench kappa.") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ConfigError(f"{path} is no result of 'screen-cli bench kappa' (its 'format' is not '{FORMAT}').")
    try:
        return TypeAdapter(BenchResult).validate_python(document)
    except ValidationError as error:
        fault = error.errors()[0]
        raise ConfigError(
            f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg'].lower()}. Make it again with: screen-cli bench "
            "kappa --score-only."
        ) from error


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


def _prediction(run: RunDirectory, score: MaterialScore) -> dict[str, Json]:
    """One row of the mode-resolved table."""
    source = run.store.read_structure(score.structure_id)
    space_group = source["space_group"]
    row: dict[str, Json] = {
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
    key = score.keys.get("relax")
    relaxed = None if key is None else run.store.find(score.structure_id, "relax", key)
    if relaxed is not None:
        row["relaxed_space_group_number"] = relaxed.data["space_group"]
    key = score.keys.get("conductivity")
    record = None if key is None else run.store.read(score.structure_id, "conductivity", key)
    if record is not None and "mode_kappa_p" in record.arrays:
        found = Conductivity.from_storage(record)
        modes = mode_conductivity(found, score.id)
        row |= {
            "q_mesh": found.mesh.tolist(),
            "temperatures": found.temperatures.tolist(),
            "qpoints": _rounded(modes["qpoints"]),
            "weights": modes["weights"].tolist(),
            "frequencies": _rounded(modes["frequencies"]),
            "heat_capacity": None if found.heat_capacity is None else _rounded(found.heat_capacity),
            "kappa_TOT_RTA": _rounded(found.kappa_total),
            "kappa_P_RTA": _rounded(found.kappa_p),
            "kappa_C": None if found.kappa_c is None else _rounded(found.kappa_c),
            "kappa_TOT_ave": [modes["kappa"]],
            "mode_kappa_TOT_ave": [_rounded(modes["modes"])],
        }
    return row


def _rounded(array: NDArray[np.float64], digits: int = 10) -> list[Json]:
    """Nested list with at most ``digits`` significant decimals after the point, as in the published tables."""
    rounded: list[Json] = np.round(array, digits).tolist()
    return rounded


def public_fields(score: MaterialScore) -> dict[str, Scalar | None]:
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
    "BenchCalculator",
    "BenchResult",
    "Summary",
    "collect_result",
    "public_fields",
    "read_result",
    "write_predictions",
    "write_result",
]
