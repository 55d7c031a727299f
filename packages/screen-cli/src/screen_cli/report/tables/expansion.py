"""Thermal expansion of a crystal as files: α(T) as CSV, everything as JSON, figures; and the columns of its table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from screen_cli.report.tables.terminal import Column
from screen_cli.run.expansion import ROUTES
from screen_cli.store.atomic_write import write_text
from screen_cli.store.record import Json, Record
from screen_cli.store.row import Row, number, text
from screen_cli.store.run_directory import RunDirectory

_AGREEMENT = 0.05
COLUMNS = (
    Column("formula", "crystal", ""),
    Column("space_group", "SG", "d"),
    Column("state", "state", ""),
    Column("bulk_modulus_gpa", "B\nGPa", ".1f"),
    Column("shear_modulus_gpa", "G\nGPa", ".1f"),
    Column("gamma_mean", "γ mean\nfc3", ".3f"),
    Column("gamma_mean_strain", "γ mean\nstrain", ".3f"),
    Column("qha_gamma_300k", "γ\nQHA", ".3f"),
    Column("alpha_linear_300k", "α 300 K\nfc3, 1/K", ".3e"),
    Column("alpha_linear_300k_strain", "α 300 K\nstrain, 1/K", ".3e"),
    Column("qha_alpha_linear_300k", "α 300 K\nQHA, 1/K", ".3e"),
    Column("alpha_a_300k", "α_a\nfc3, 1/K", ".3e"),
    Column("alpha_c_300k", "α_c\nfc3, 1/K", ".3e"),
    Column("trusted", "fit", ""),
    Column("reason", "why", ""),
)


def expansion_records(run: RunDirectory, row: Row) -> dict[str, Record]:
    """Give records of elastic constants and of each route that a crystal of a run has."""
    records = {name: run.record(row, f"property_{name}") for name in ("elastic", *ROUTES)}
    return {name: record for name, record in records.items() if record is not None}


def disagreement(row: Row) -> str:
    """Say that the two routes differ by more than they should; empty when they agree or only one was taken."""
    first, second = number(row, "gamma_mean"), number(row, "gamma_mean_strain")
    if first is None or second is None or abs(first - second) <= _AGREEMENT * abs(second):
        return ""
    return (
        f"{row['formula']}: the mean Grüneisen parameter is {first:.3f} from fc3 and {second:.3f} from strained "
        "crystals. Often the supercell is too small for the range of the model: try a larger displace.supercell_length "
        "and displace.max_atoms, or displace.dim. A shell of neighbours within 0.1 Å of the model's cutoff does it "
        "too; and where modes of both signs cancel (silicon), trust neither."
    )


def write_results(run: RunDirectory, row: Row, folder: Path) -> Iterator[Path]:
    """Write α(T) as CSV, everything as JSON, and the figures of one crystal; yield each path.

    Parameters
    ----------
    run : RunDirectory
    row : mapping
        Of the index.
    folder : Path
    """
    from screen_cli.report.figures.crystal.expansion import plot_expansion, plot_gruneisen, plot_volume_scan
    from screen_cli.report.figures.style import save_figure

    records = expansion_records(run, row)
    if not any(name in records for name in ROUTES):
        return
    folder.mkdir(parents=True, exist_ok=True)
    formula = text(row, "formula")
    stem = f"{formula}-{text(row, 'id')[:8]}"
    path = folder / f"{stem}-expansion.json"
    write_text(path, json.dumps(results_as_json(row, records), indent=1, allow_nan=False) + "\n")
    yield path
    path = folder / f"{stem}-expansion.csv"
    write_text(path, results_as_csv(records))
    yield path
    drawings = {"expansion": plot_expansion(records, title=formula)}
    if records.keys() & set(ROUTES[:2]):
        drawings["gruneisen"] = plot_gruneisen(records, title=formula)
    if "quasi_harmonic" in records:
        drawings["volume-scan"] = plot_volume_scan(records["quasi_harmonic"], title=formula)
    for name, figure in drawings.items():
        yield from save_figure(figure, folder / f"{stem}-{name}")


def results_as_json(row: Row, records: Mapping[str, Record]) -> dict[str, Json]:
    """Return all scalars, and the arrays over temperature; mode-resolved arrays stay in the store."""
    mode_arrays = {"qpoints", "weights", "frequencies", "gruneisen", "gruneisen_tensor"}
    return {
        "id": row["id"],
        "formula": row["formula"],
        "space_group": row["space_group"],
        "units": "K, 1/K, GPa; tensors in the Cartesian frame of the standardised cell, Voigt order xx yy zz yz xz xy",
        **{
            name: {
                **record.data,
                **{key: value.tolist() for key, value in record.arrays.items() if key not in mode_arrays},
            }
            for name, record in records.items()
        },
    }


def results_as_csv(records: Mapping[str, Record]) -> str:
    """Return temperatures and, by route, volumetric and axial expansion and mean Grüneisen parameter."""
    kelvin: NDArray[np.float64] = np.unique(
        np.concatenate([r.floats("temperatures") for r in _routes(records).values()])
    )
    columns: dict[str, NDArray[np.float64]] = {"temperature_k": kelvin}
    for name, record in _routes(records).items():
        gamma = record.floats("gamma")
        curves = {
            "beta_per_k": record.floats("beta"),
            "gamma": gamma if gamma.ndim == 1 else np.trace(gamma, 0, 1, 2) / 3,
        }
        if "alpha_axes" in record.arrays:
            along = record.floats("alpha_axes")
            curves |= {f"alpha_{axis}_per_k": along[:, i] for i, axis in enumerate("abc")}
        rows = np.searchsorted(kelvin, record.floats("temperatures"))
        for quantity, values in curves.items():
            column = np.full(len(kelvin), np.nan)
            column[rows] = values
            columns[f"{name}_{quantity}"] = column
    lines = [",".join(columns)]
    lines += [
        ",".join("" if np.isnan(value) else f"{value:.6g}" for value in values)
        for values in zip(*columns.values(), strict=True)
    ]
    return "\n".join(lines) + "\n"


def _routes(records: Mapping[str, Record]) -> dict[str, Record]:
    """Return the records with an expansion."""
    return {name: record for name, record in records.items() if name in ROUTES}
