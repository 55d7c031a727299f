"""Errors of models on held-out crystals, by kind of supercell, prototype and element.

python errors.py OUT/test.extxyz OUT/test-earlier.extxyz --models default OUT/run-2/model.pt --out errors.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from sdnnff_calc import SDNNFF

KINDS = ("none 0.03", "volume 0.03", "shear 0.12")


def interval(squares: np.ndarray, counts: np.ndarray) -> list[float]:
    """Root mean square with the central 68 % when whole crystals are drawn anew, meV/Å."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(counts), size=(1000, len(counts)))
    roots = np.sqrt(squares[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    low, high = np.quantile(roots, [0.16, 0.84])
    return [round(1e3 * float(v), 2) for v in (np.sqrt(squares.sum() / counts.sum()), low, high)]


def table(structures: list[Atoms], predicted: list[dict[str, Any]]) -> dict[str, Any]:
    """Errors of one model on one set."""
    result: dict[str, Any] = {}
    by_prototype: dict[str, list[float]] = defaultdict(list)
    by_element: dict[str, list[float]] = defaultdict(list)
    for kind in KINDS:
        squares, counts, shares, scales = [], [], [], []
        for atoms, found in zip(structures, predicted, strict=True):
            if atoms.info["kind"] != kind:
                continue
            forces = atoms.get_forces()
            error = found["forces"] - forces
            squares.append(float(np.sum(error**2)))
            counts.append(error.size)
            scales.append(float(np.sum(forces**2)))
            shares.append(float(np.linalg.norm(error) / np.linalg.norm(forces)))
            if kind == KINDS[0]:
                by_prototype[atoms.info["prototype"]].append(squares[-1] / counts[-1])
                for symbol in set(atoms.get_chemical_symbols()):
                    by_element[symbol].append(squares[-1] / counts[-1])
        square, count = np.array(squares), np.array(counts)
        result[kind] = {
            "crystals": len(counts),
            "scale": round(1e3 * float(np.sqrt(np.sum(scales) / count.sum())), 1),
            "rmse_and_interval": interval(square, count),
            "median_crystal": round(1e3 * float(np.median(np.sqrt(square / count))), 2),
            "median_share_of_force": round(float(np.median(shares)), 4),
        }
    energies = [
        (found["energy"] - atoms.get_potential_energy()) / len(atoms)
        for atoms, found in zip(structures, predicted, strict=True)
    ]
    stresses = [
        np.mean(np.abs(found["stress"] - atoms.get_stress()))
        for atoms, found in zip(structures, predicted, strict=True)
    ]
    result["energy_mae_mev_per_atom"] = round(1e3 * float(np.mean(np.abs(energies))), 2)
    result["stress_mae_gpa"] = round(160.21766 * float(np.mean(stresses)), 3)
    for name, groups in (("by_prototype", by_prototype), ("by_element", by_element)):
        result[name] = {
            key: {"crystals": len(v), "rmse": round(1e3 * float(np.sqrt(np.mean(v))), 1),
                  "median": round(1e3 * float(np.median(np.sqrt(v))), 1)}
            for key, v in sorted(groups.items())
        }  # fmt: skip
    return result


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--models", nargs="+", default=["default"], help="checkpoints, or default")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args(argv)
    results: dict[str, Any] = {}
    for file in arguments.files:
        structures = ase.io.read(file, ":")
        for name in arguments.models:
            model = SDNNFF(None if name == "default" else name)
            known = {chemical_symbols[z] for z in model.model.elements}
            chosen = [a for a in structures if set(a.get_chemical_symbols()) <= known]
            if not chosen:
                continue
            found = table(chosen, model.predict(chosen))
            results[f"{file.stem} | {name}"] = found
            energy, stress = found["energy_mae_mev_per_atom"], found["stress_mae_gpa"]
            print(f"{file.stem} | {name}: energy {energy} meV/atom, stress {stress} GPa")
            for kind in KINDS:
                print("   ", kind, json.dumps(found[kind]))
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
