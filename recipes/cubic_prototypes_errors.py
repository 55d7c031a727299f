r"""How sure the errors of the bundled weights are, what they are made of, and how they compare.

    python cubic_prototypes_errors.py --out data run/model.pt run-grid/model.pt chgnet --csv errors.csv

Force errors on the unseen crystals of ``data/test.extxyz`` (see cubic_prototypes.py), by kind of supercell. Brackets:
the central 68 % when whole crystals are drawn anew (bootstrap). Ratios: of the first model to each other. The static
share of the squared error is <e1.e2> / <e1.e1> over the atoms of the unstrained supercell (e1) and of the strained one
(e2): their displacements are independent, so what they share is a static force, an atom whose resting place is off.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.constraints import FixSymmetry
from cubic_prototypes import starting_guess
from numpy.typing import NDArray
from scipy.stats import bootstrap

from sdnnff_calc import SDNNFF
from sdnnff_calc.training.evaluation import OneByOne, Predictor

KINDS = {"none 0.03": "0.03 Å", "volume 0.03": "0.03 Å, strained", "shear 0.12": "0.12 Å, sheared"}
REST, STRAINED = "none 0.03", "volume 0.03"


@dataclass(frozen=True)
class Crystal:
    """An unseen crystal.

    Attributes
    ----------
    cells
        Its labelled supercells, by kind.
    errors
        By model and kind, predicted minus labelled forces, shape (n_atoms, 3), eV/Å.
    has_free_coordinate
        Whether symmetry leaves an atom of it somewhere to go.
    """

    cells: dict[str, Atoms]
    errors: dict[str, dict[str, NDArray[np.float64]]]
    has_free_coordinate: bool


def has_free_coordinate(ideal: Atoms) -> bool:
    """Tell whether any force survives symmetrisation."""
    forces = np.random.default_rng(0).normal(size=(len(ideal), 3))
    FixSymmetry(ideal).adjust_forces(ideal, forces)
    return bool(np.abs(forces).max() > 1e-6)


def predictor(model: str) -> Predictor:
    """Load a checkpoint, or CHGNet by its name."""
    if model != "chgnet":
        return SDNNFF(model)
    from chgnet.model.dynamics import CHGNetCalculator

    return OneByOne(CHGNetCalculator(use_device="cpu"))


def read_crystals(file: Path, models: list[str]) -> list[Crystal]:
    """Read the labels and predict them with every model."""
    structures = ase.io.read(file, ":")
    errors: dict[str, list[NDArray[np.float64]]] = {}
    for model in models:
        predicted = predictor(model).predict(structures)
        errors[model] = [p["forces"] - a.get_forces() for p, a in zip(predicted, structures, strict=True)]
    indices: dict[str, dict[str, int]] = {}
    for index, atoms in enumerate(structures):
        indices.setdefault(atoms.info["structure_id"], {})[atoms.info["kind"]] = index
    free: dict[str, bool] = {}
    crystals = []
    for by_kind in indices.values():
        cells = {kind: structures[i] for kind, i in by_kind.items()}
        prototype = cells[REST].info["prototype"]
        if prototype not in free:
            free[prototype] = has_free_coordinate(starting_guess(cells[REST]))
        of_models = {model: {kind: errors[model][i] for kind, i in by_kind.items()} for model in models}
        crystals.append(Crystal(cells, of_models, free[prototype]))
    return crystals


def with_interval(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> tuple[float, float, float]:
    """Root of a ratio of sums over crystals, with the central 68 % of its bootstrap."""

    def root(a: NDArray[np.float64], b: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        return np.sqrt(a.sum(axis=axis) / b.sum(axis=axis))

    low, high = bootstrap(
        (numerator, denominator),
        root,
        paired=True,
        confidence_level=0.68,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(root(numerator, denominator)), float(low), float(high)


def error_rows(crystals: list[Crystal], models: list[str]) -> list[dict[str, Any]]:
    """Give RMSE and median by kind of supercell and model, meV/Å, and what the first model's are of the others'."""
    rows = []
    groups = {label: [kind] for kind, label in KINDS.items()} | {"all three": list(KINDS)}
    for label, kinds in groups.items():
        forces = [np.concatenate([c.cells[kind].get_forces() for kind in kinds]) for c in crystals]
        n = np.array([f.size for f in forces])
        scale = np.sqrt(sum(np.sum(f**2) for f in forces) / n.sum())
        squares = {
            m: np.array([sum(np.sum(c.errors[m][kind] ** 2) for kind in kinds) for c in crystals]) for m in models
        }
        medians = {m: 1e3 * np.median(np.sqrt(squares[m] / n)) for m in models}
        for model in models:
            rmse, low, high = (1e3 * value for value in with_interval(squares[model], n))
            row = {"supercells": label, "model": model, "crystals": len(crystals), "scale": 1e3 * scale}
            row |= {"rmse": rmse, "rmse_low": low, "rmse_high": high, "median": medians[model]}
            if model != models[0]:
                ratio, low, high = with_interval(squares[models[0]], squares[model])
                row |= {"ratio": ratio, "ratio_low": low, "ratio_high": high}
                row["ratio_of_medians"] = medians[models[0]] / medians[model]
            rows.append(row)
    return rows


def group_rows(crystals: list[Crystal], models: list[str]) -> list[dict[str, Any]]:
    """Give the RMSE at rest, meV/Å, and the static share of its square, by kind of crystal."""
    groups = {
        "all": crystals,
        "with a free coordinate": [c for c in crystals if c.has_free_coordinate],
        "every atom fixed by symmetry": [c for c in crystals if not c.has_free_coordinate],
        "with oxygen": [c for c in crystals if "O" in c.cells[REST].symbols],
    }
    rows = []
    for label, group in groups.items():
        for model in models if group else []:
            first, second = (np.concatenate([c.errors[model][kind] for c in group]) for kind in (REST, STRAINED))
            static = np.sum(first * second) / np.sum(first**2)
            row = {"crystals": len(group), "group": label, "model": model}
            rows.append(row | {"rmse": 1e3 * np.sqrt(np.mean(first**2)), "static": static})
    return rows


def main(argv: list[str] | None = None) -> int:
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", help="checkpoints, or chgnet; the first is compared with the others")
    parser.add_argument("--out", type=Path, default=Path("data"), help="the folder with test.extxyz")
    parser.add_argument("--csv", type=Path, help="write the first table")
    arguments = parser.parse_args(argv)
    crystals = read_crystals(arguments.out / "test.extxyz", arguments.models)
    rows = error_rows(crystals, arguments.models)
    for row in rows:
        text = "{supercells:17s} {crystals:4d} crystals, scale {scale:6.1f}, {model}: "
        text += "{rmse:.1f} [{rmse_low:.1f}-{rmse_high:.1f}] median {median:.1f} meV/Å"
        if "ratio" in row:
            text += ", ratio {ratio:.2f} [{ratio_low:.2f}-{ratio_high:.2f}], of medians {ratio_of_medians:.2f}"
        print(text.format(**row))
    for row in group_rows(crystals, arguments.models):
        print("{crystals:4d} crystals, {group}, {model}: {rmse:.1f} meV/Å, static share {static:.2f}".format(**row))
    if arguments.csv:
        with arguments.csv.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(rows[-1]))
            writer.writeheader()
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
