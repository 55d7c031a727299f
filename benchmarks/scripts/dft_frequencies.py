"""Frequencies and stability of cubic crystals against real DFT: the phonopy files of phonondb.

    python benchmarks/scripts/dft_frequencies.py FOLDER --models default other.pt --out frequencies.json

FOLDER holds phonopy files with displacements and forces (``*.yaml.xz``). Each model gives the forces of the very same
displaced supercells, at the geometry of the files; force constants of both come from phonopy. The frequency error of a
crystal is the root mean square difference over a mesh over the range of DFT's frequencies. A crystal is stable when no
mode lies below -0.1 THz. No Born charges on either side. Crystals that every model knows are summed up apart.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import phonopy
from ase import Atoms

from sdnnff_calc import SDNNFF
from sdnnff_calc.errors import SdnnffError

STABLE = -0.1
"""THz, the lowest mode of a stable crystal."""


def ase_cell(cell: Any) -> Atoms:
    """Turn phonopy's cell into ASE's."""
    return Atoms(numbers=cell.numbers, positions=cell.positions, cell=cell.cell, pbc=True)


def mesh_frequencies(phonon: phonopy.Phonopy, forces: np.ndarray) -> np.ndarray:
    """Frequencies on a mesh, THz, shape (n_qpoints, n_bands)."""
    phonon.forces = forces
    phonon.produce_force_constants()
    phonon.symmetrize_force_constants()
    phonon.run_mesh([9, 9, 9])
    frequencies: np.ndarray = phonon.mesh.frequencies
    return frequencies


def compare(file: Path, calculators: dict[str, SDNNFF]) -> dict[str, Any]:
    """Compare one crystal."""
    phonon = phonopy.load(file, produce_fc=False, is_nac=False, log_level=0)
    forces = np.array(phonon.forces)
    reference = mesh_frequencies(phonon, forces)
    cells = [ase_cell(phonon.supercell), *(ase_cell(c) for c in phonon.supercells_with_displacements)]
    span = float(reference.max() - min(reference.min(), 0.0))
    row: dict[str, Any] = {
        "file": file.name,
        "formula": ase_cell(phonon.primitive).get_chemical_formula("metal", empirical=True),
        "elements": sorted(set(ase_cell(phonon.primitive).get_chemical_symbols())),
        "range_thz": span,
        "lowest_thz": float(reference.min()),
        "models": {},
    }
    for name, calculator in calculators.items():
        try:
            predicted = [p["forces"] for p in calculator.predict(cells)]
        except SdnnffError as error:
            row["models"][name] = {"reason": str(error).split(".")[0]}
            continue
        model_forces = np.array(predicted[1:]) - predicted[0]
        found = mesh_frequencies(phonon, model_forces)
        error = model_forces - forces
        row["models"][name] = {
            "frequency_error": float(np.sqrt(np.mean((found - reference) ** 2)) / span),
            "lowest_thz": float(found.min()),
            "force_error": float(np.linalg.norm(error) / np.linalg.norm(forces)),
            "slope": float(np.sum(model_forces * forces) / np.sum(forces**2)),
        }
    return row


def summary(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Mean (without outliers above 50 %), median and agreement on stability."""
    found = [(row, row["models"][name]) for row in rows if "frequency_error" in row["models"].get(name, {})]
    errors = np.array([m["frequency_error"] for _, m in found])
    if not len(errors):
        return {"crystals": 0}
    agree = [(m["lowest_thz"] > STABLE) == (row["lowest_thz"] > STABLE) for row, m in found]
    return {
        "crystals": len(errors),
        "mean_percent": 100 * float(errors[errors <= 0.5].mean()),
        "outliers": int((errors > 0.5).sum()),
        "median_percent": 100 * float(np.median(errors)),
        "stability_percent": 100 * float(np.mean(agree)),
        "median_force_error": float(np.median([m["force_error"] for _, m in found])),
        "median_slope": float(np.median([m["slope"] for _, m in found])),
    }


def main(argv: list[str] | None = None) -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", default=["default"], help="checkpoints, or default")
    parser.add_argument("--out", type=Path, help="write all rows as JSON")
    arguments = parser.parse_args(argv)
    calculators = {str(m): SDNNFF(None if m == "default" else m) for m in arguments.models}
    rows = [compare(file, calculators) for file in sorted(arguments.folder.glob("*.yaml.xz"))]
    common = [row for row in rows if all("frequency_error" in m for m in row["models"].values())]
    rest = [row for row in rows if row not in common]
    result = {
        part: {name: summary(chosen, name) for name in calculators}
        for part, chosen in (("all", rows), ("known to every model", common), ("the rest", rest))
    }
    print(json.dumps(result, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps({"summary": result, "crystals": rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
