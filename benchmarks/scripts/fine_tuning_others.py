"""κ before and after fine-tuning another model, on the crystal it was tuned to and on five that it may have forgotten.

    SDNNFF_REFERENCE_DATA=... python benchmarks/scripts/fine_tuning_others.py --calculator nequix -o backend=jax \\
        -o trust=true --models before=start.nqx replay=fine-tune/nequix/checkpoint.nqx --crystals nacl KCl MgO

The first of ``--models`` is the one before. For ``nacl`` and ``si`` forces and κ are compared with DFT's on the same
supercells that were not trained on (NaCl: the last 20 of the order of ``fine_tuning.py``; Si: all 111, since κ needs
them, the 10 trained on left out of the force error). For the five others, with the first model's, in 20 supercells
whose atoms all moved by 0.03 Å. κ: 300 K, 11³, as in ``fine_tuning.py``. Rows already in the JSON are not repeated.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import fine_tuning
import numpy as np
from ase import Atoms
from ase.build import bulk
from phono3py import Phono3py
from phonopy.structure.atoms import PhonopyAtoms
from screen_cli.calculators.registered import make_calculator
from screen_cli.physics.random_displacements import random_displacements
from screen_cli.settings_file import parse_options
from screen_cli.solvers.force_constants.symfc import SymfcSolver

CELLS = 20
OTHERS = {
    "KCl": ("rocksalt", 6.38),
    "MgO": ("rocksalt", 4.25),
    "ZnS": ("zincblende", 5.45),
    "GaAs": ("zincblende", 5.75),
    "AlN": ("zincblende", 4.40),
}
"""Prototype and lattice constant, Å, near that of PBE."""


class Other(fine_tuning.Crystal):
    """A crystal without DFT: displaced supercells, labelled by the first model that is measured."""

    def __init__(self, name: str) -> None:
        prototype, a = OTHERS[name]
        atoms = bulk(name, prototype, a=a, cubic=True)
        cell = PhonopyAtoms(numbers=atoms.numbers, scaled_positions=atoms.get_scaled_positions(), cell=atoms.cell)
        self.small = Phono3py(cell, supercell_matrix=np.diag([2, 2, 2]), primitive_matrix="auto", log_level=0)
        ideal = self.small.supercell
        rng = np.random.default_rng(len(name) + ord(name[0]))
        moves = random_displacements(CELLS, len(ideal), 0.03, paired=False, rng=rng)
        self.small.dataset = {"displacements": moves}
        self.name, self.solver, self.forces = name, SymfcSolver(), None
        self.cells = [Atoms(ideal.symbols, ideal.positions + u, cell=ideal.cell, pbc=True) for u in moves]
        self.order = np.arange(CELLS)


def measure(crystal: fine_tuning.Crystal, calculator: Any) -> dict[str, float]:
    """Force error and κ of one model."""
    used = np.arange(len(crystal.cells)) if crystal.name == "si" else crystal.order[-CELLS:]
    forces = np.zeros((len(crystal.cells), len(crystal.cells[0]), 3))
    for k in used:
        forces[k] = calculator.get_forces(crystal.cells[k].copy())
    if crystal.forces is None:
        crystal.forces = forces
    unseen = np.setdiff1d(used, crystal.order[:10]) if crystal.name == "si" else used
    subset = None if len(used) == len(crystal.cells) else used
    kappa, reference = (crystal.kappas(f, subset=subset)["kappa"] for f in (forces, crystal.forces))
    return {
        "force_rmse_mev": 1000 * float(np.sqrt(np.mean((forces - crystal.forces)[unseen] ** 2))),
        "force_scale_mev": 1000 * float(np.sqrt(np.mean(crystal.forces[unseen] ** 2))),
        "kappa": kappa,
        "kappa_reference": reference,
        "kappa_error_percent": 100 * (kappa / reference - 1),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calculator", "-c", required=True)
    parser.add_argument("--option", "-o", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--environment", default="")
    parser.add_argument("--models", nargs="+", required=True, metavar="NAME=FILE", help="the first: before")
    parser.add_argument("--crystals", nargs="+", choices=["nacl", "si", *OTHERS], default=["nacl", "si", *OTHERS])
    parser.add_argument("--json", type=Path, default=Path("fine_tuning_others.json"))
    arguments = parser.parse_args(argv)
    files = dict(text.split("=", 1) for text in arguments.models)
    options = parse_options(arguments.option)
    rows: list[dict[str, Any]] = json.loads(arguments.json.read_text()) if arguments.json.exists() else []
    models: dict[str, Any] = {}
    for name in arguments.crystals:
        missing = [m for m in files if not any((r["crystal"], r["model"]) == (name, m) for r in rows)]
        if not missing:
            continue
        crystal = Other(name) if name in OTHERS else fine_tuning.Crystal(name, with_large=False)
        for model in dict.fromkeys([*([next(iter(files))] if name in OTHERS else []), *missing]):
            if model not in models:
                models[model] = make_calculator(
                    arguments.calculator, {**options, "path": files[model]}, environment=arguments.environment
                )
            begin = time.perf_counter()
            row = {"crystal": name, "model": model, **measure(crystal, models[model])}
            if model not in missing:
                continue
            rows.append(row)
            arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
            print(
                f"{name} {model:10s} {time.perf_counter() - begin:5.0f} s  RMSE {row['force_rmse_mev']:.2f} of "
                f"{row['force_scale_mev']:.0f} meV/Å  κ {row['kappa']:.2f} against {row['kappa_reference']:.2f} "
                f"({row['kappa_error_percent']:+.1f} %)",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
