"""Results in the layout of the public leaderboards.

Matbench Discovery keeps one YAML record per model, with its metrics under ``metrics.phonons.kappa_103``, and the
mode-resolved table beside it. ml-peg reads ``outputs/<model>/kappas.json.gz`` of its benchmark
``bulk_crystal/thermal_conductivity``: the same table with other names of the space groups.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import yaml

from screen_cli.bench.results import BenchResult
from screen_cli.errors import ConfigError
from screen_cli.store.atomic_write import write_bytes, write_text
from screen_cli.store.reading import parse_json

PREDICTIONS = "predictions-matbench.json.gz"
_ML_PEG = {"init_spg_num": "initial_spg_num"}
_PUBLISHED = 103
"""Materials of the published benchmark."""


def write_leaderboards(results: Sequence[tuple[Path, BenchResult]], folder: Path) -> list[Path]:
    """Write ``matbench-discovery/`` and ``ml-peg/`` for results whose predictions are at hand.

    Parameters
    ----------
    results : sequence of (pathlib.Path, BenchResult)
        Each with the run directory, or the ``bench.json``, that it was read from.
    folder : pathlib.Path

    Returns
    -------
    list of pathlib.Path
        What was written.

    Raises
    ------
    ConfigError
        A file of predictions cannot be read.
    """
    written = []
    for path, result in results:
        predictions = (path if path.is_dir() else path.parent) / PREDICTIONS
        if not predictions.exists():
            continue
        name = _model_name(result)
        table = _read(predictions)
        peg = {_ML_PEG.get(column, column): values for column, values in table.items()}
        record = folder / "matbench-discovery" / f"{name}.yml"
        for target, content in (
            (folder / "matbench-discovery" / f"{name}-kappa-103.json.gz", table),
            (folder / "ml-peg" / name / "kappas.json.gz", peg),
        ):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(target, gzip.compress(json.dumps(content, separators=(",", ":")).encode(), mtime=0))
            written.append(target)
        write_text(record, matbench_record(result, f"{name}-kappa-103.json.gz"))
        written.append(record)
    return written


def matbench_record(result: BenchResult, predictions: str) -> str:
    """Give the part of a model's record in Matbench Discovery that this benchmark decides, as YAML.

    Parameters
    ----------
    result : BenchResult
    predictions : str
        Name of the file with the mode-resolved table.
    """
    counted = 0 if result.means is None else result.means.n_materials
    values = {} if result.means is None else {"κ_SRME": round(result.means.srme, 4)}
    record = {
        "model_name": _model_name(result),
        "hyperparams": {"protocol": result.protocol},
        "metrics": {"phonons": {"kappa_103": {**values, "pred_file": predictions}}},
    }
    note = "" if counted == _PUBLISHED else f"# over {counted} of the {_PUBLISHED} materials: no number to submit\n"
    text: str = yaml.safe_dump(record, allow_unicode=True, sort_keys=False)
    return note + text


def _model_name(result: BenchResult) -> str:
    """Name a model by its calculator and what tells it from others: of a path, its last part."""
    words = [result.calculator.name, *result.calculator.told.values()]
    return re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(words)).strip("-")


def _read(path: Path) -> dict[str, dict[str, object]]:
    """Read a table of predictions."""
    try:
        return cast("dict[str, dict[str, object]]", parse_json(gzip.decompress(path.read_bytes())))
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}). Make it again with: screen-cli bench kappa --score-only."
        ) from error
