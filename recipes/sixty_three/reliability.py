"""What ε of a committee is worth on crystals that no member has seen, by prototype and element.

    python reliability.py --models default members/1/model.pt ... --calibrate data/fresh.extxyz \\
        --test data/test.extxyz --out reliability.json

The factor s from ε to error is found on the first file and tried on the second, whose crystals must be others.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from scipy.stats import spearmanr

from al_committee.committee.calibration import calibrate, miscalibration_area, standardised_errors
from sdnnff_calc import SDNNFF, SDNNFFCommittee

KIND = "none 0.03"
"""Of the tables by prototype and element: all atoms displaced by 0.03 Å at rest."""


def crystals_of(structures: list[Atoms], committee: SDNNFFCommittee) -> list[dict[str, Any]]:
    """Give ε, errors and forces of every structure."""
    rows = []
    for atoms, found in zip(structures, committee.predict(structures), strict=True):
        rows.append(
            {
                "atoms": atoms,
                "deviation": found["force_deviation"],
                "error": found["forces"] - atoms.get_forces(),
                "outside": found["outside"],
            }
        )
    return rows


def summary(rows: list[dict[str, Any]], scale: float) -> dict[str, Any]:
    """Compare expected with true errors, per component in meV/Å, and say how often single components lie within."""
    deviation = np.concatenate([row["deviation"] for row in rows])
    error = np.concatenate([row["error"] for row in rows])
    expected = [scale * np.sqrt(np.mean(row["deviation"] ** 2) / 3) for row in rows]
    true = [np.sqrt(np.mean(row["error"] ** 2)) for row in rows]
    z = standardised_errors(deviation, error) / scale
    return {
        "crystals": len({row["atoms"].info["structure_id"] for row in rows}),
        "expected_rmse": round(1e3 * scale * float(np.sqrt(np.mean(deviation**2) / 3)), 1),
        "true_rmse": round(1e3 * float(np.sqrt(np.mean(error**2))), 1),
        "expected_median": round(1e3 * float(np.median(expected)), 1),
        "true_median": round(1e3 * float(np.median(true)), 1),
        "rank_correlation": round(float(spearmanr(expected, true).statistic), 3) if len(rows) > 4 else None,
        "within_one_sigma": round(float(np.mean(z < 1.0)), 3),
        "within_two_sigma": round(float(np.mean(z < 2.0)), 3),
        "area": round(miscalibration_area(standardised_errors(deviation, error), scale), 3),
    }


def by_size(rows: list[dict[str, Any]], scale: float, n_bins: int = 5) -> list[dict[str, float]]:
    """Sort structures by expected error into bins of equal number: expected and true error of each, meV/Å."""
    expected = np.array([scale * np.sqrt(np.mean(row["deviation"] ** 2) / 3) for row in rows])
    bins = np.array_split(np.argsort(expected), n_bins)
    return [
        {key: summary([rows[k] for k in part], scale)[key] for key in ("crystals", "expected_rmse", "true_rmse")}
        for part in bins
    ]


def main() -> None:
    """Print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", help="checkpoints; default: the bundled committee")
    parser.add_argument("--calibrate", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    fresh, test = (ase.io.read(path, ":") for path in (arguments.calibrate, arguments.test))
    shared = {a.info["structure_id"] for a in fresh} & {a.info["structure_id"] for a in test}
    if shared:
        raise SystemExit(f"{len(shared)} crystals are in both files, {sorted(shared)[0]} among them: they must differ.")
    rows = crystals_of(fresh, SDNNFF.committee(arguments.models, scale=1.0))
    found = calibrate(np.concatenate([r["deviation"] for r in rows]), np.concatenate([r["error"] for r in rows]))
    scale = found.scale
    rows = crystals_of(test, SDNNFF.committee(arguments.models, scale=scale))
    kinds = sorted({row["atoms"].info["kind"] for row in rows})
    at_rest = [row for row in rows if row["atoms"].info["kind"] == KIND]
    groups: dict[str, dict[str, list[dict[str, Any]]]] = {"prototype": defaultdict(list), "element": defaultdict(list)}
    for row in at_rest:
        groups["prototype"][row["atoms"].info["prototype"]].append(row)
        for symbol in set(row["atoms"].get_chemical_symbols()):
            groups["element"][symbol].append(row)
    result = {
        "scale": scale,
        "calibrated_on": {"crystals": len({a.info["structure_id"] for a in fresh}), **found.to_dict()},
        "by_kind": {kind: summary([r for r in rows if r["atoms"].info["kind"] == kind], scale) for kind in kinds},
        "by_expected_error": by_size(at_rest, scale),
        "by_prototype": {name: summary(part, scale) for name, part in sorted(groups["prototype"].items())},
        "by_element": {name: summary(part, scale) for name, part in sorted(groups["element"].items())},
        "outside": {
            label: summary(part, scale)
            for label, part in (
                ("said", [r for r in at_rest if r["outside"]]),
                ("not said", [r for r in at_rest if not r["outside"]]),
            )
            if part
        },
    }
    print(json.dumps(result, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
