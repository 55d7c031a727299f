"""Lattice and elastic constants of well-known cubic crystals: models against the teacher.

    python elastic.py --models default round-3/model.pt --out elastic.json

The teacher takes part where SIXTY_THREE_TEACHER names its weights. Constants from stresses at strains of ±0.5 %, ions
relaxed at each.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.optimize import BFGS
from ase.spacegroup import crystal
from ase.units import GPa

from screen_cli.config import RelaxSettings
from screen_cli.stages.relax import relax
from sdnnff_calc import SDNNFF

STRAIN = 0.005
CRYSTALS = (
    ("Si", "diamond", 5.49), ("Ge", "diamond", 5.78), ("C", "diamond", 3.58), ("Al", "fcc", 4.03), ("Cu", "fcc", 3.63),
    ("Ag", "fcc", 4.17), ("Na", "bcc", 4.21), ("W", "bcc", 3.19), ("Fe", "bcc", 2.87), ("Pt", "fcc", 3.98),
    ("NaCl", "rocksalt", 5.70), ("MgO", "rocksalt", 4.26), ("LiF", "rocksalt", 4.08), ("PbTe", "rocksalt", 6.57),
    ("GaAs", "zincblende", 5.77), ("ZnS", "zincblende", 5.44), ("CaF2", "fluorite", 5.52), ("TiN", "rocksalt", 4.25),
    ("NiAl", "cesiumchloride", 2.89),
)  # fmt: skip


def built(name: str, structure: str, a: float) -> Atoms:
    """Primitive cell."""
    if structure == "fluorite":
        sites = [(0, 0, 0), (0.25, 0.25, 0.25)]
        return crystal(["Ca", "F"], sites, spacegroup=225, cellpar=[a] * 3 + [90] * 3, primitive_cell=True)
    return bulk(name, structure, a=a)


def constants(atoms: Atoms, calculator: Calculator) -> list[float]:
    """Lattice constant (Å), C11, C12 and C44 (GPa)."""
    rest = relax(atoms, calculator, RelaxSettings(fmax=1e-3))
    found = []
    for row, column in ((0, 0), (1, 2)):
        stresses = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[row, column] += sign * STRAIN / (1 if row == column else 2)
            strain[column, row] = strain[row, column]
            cell = rest.atoms.copy()
            cell.set_cell(cell.cell.array @ strain, scale_atoms=True)
            cell.calc = calculator
            BFGS(cell, logfile=None).run(fmax=1e-3, steps=100)
            stresses.append(cell.get_stress(voigt=False))
        found.append((stresses[0] - stresses[1]) / (2 * STRAIN) / GPa)
    stretched, sheared = found
    c12 = 0.5 * (stretched[1, 1] + stretched[2, 2])
    return [rest.a, float(stretched[0, 0]), float(c12), float(sheared[1, 2])]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["default"])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    calculators: dict[str, Calculator] = {name: SDNNFF(name) for name in arguments.models}
    if "SIXTY_THREE_TEACHER" in os.environ:
        from nequix_teacher import NequixCalculator

        calculators = {"teacher": NequixCalculator(), **calculators}
    table: dict[str, dict[str, list[float]]] = {}
    for name, structure, a in CRYSTALS:
        atoms = built(name, structure, a)
        table[f"{name} {structure}"] = row = {label: constants(atoms, c) for label, c in calculators.items()}
        words = (f"{values[0]:.3f}; " + ", ".join(f"{value:.0f}" for value in values[1:]) for values in row.values())
        print(f"| {name} {structure} | {' | '.join(words)} |", flush=True)
    for label in arguments.models if "teacher" in calculators else ():
        relative = np.array([np.abs(np.divide(row[label], row["teacher"]) - 1) for row in table.values()])
        print(f"{label}: lattice constant {100 * relative[:, 0].mean():.2f} % (mean), ", end="")
        print(
            f"elastic constants {100 * np.median(relative[:, 1:]):.1f} % (median), {100 * relative[:, 1:].mean():.1f} %"
        )
    if arguments.out:
        arguments.out.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
