"""mlearn (Zuo et al. 2020): e-sdnnff on the official training and test sets of Si and Li.

    SDNNFF_REFERENCE_DATA=... python benchmarks/scripts/force_field_mlearn.py --elements Si Li --json mlearn.json

A twentieth of the training set chooses the epoch; the test set is read once, at the end. Data: Y. Zuo et al.,
J. Phys. Chem. A 124, 731 (2020), doi:10.1021/acs.jpca.9b08723.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from sdnnff_calc import SDNNFF
from sdnnff_calc.config import DataConfig, EquivariantConfig, RunConfig, TrainingConfig
from sdnnff_calc.data.structures import DataReport, split_groups
from sdnnff_calc.training.evaluation import evaluate_forces
from sdnnff_calc.training.runs import train_committee
from sdnnff_calc.data.stores import Stores, store_of

MODELS = {
    "Si": EquivariantConfig(cutoff=4.8, n_layers=2, n_element_channels=2, n_channels=24),
    "Li": EquivariantConfig(cutoff=5.0, n_layers=1),
}
TRAINING: dict[str, dict[str, Any]] = {
    "Si": {"optimiser": "muon", "learning_rate": 2e-3, "warmup_steps": 200, "weight_decay": 0.1},
    "Li": {"learning_rate": 4e-3, "weight_decay": 1e-2},
}
TARGETS_MEV = {"Si": 80.0, "Li": 20.0}


def read(path: Path) -> list[Atoms]:
    """Read one gzipped JSON list of pymatgen structures with energies (eV) and forces (eV/Å)."""
    structures = []
    for entry in json.loads(gzip.decompress(path.read_bytes())):
        crystal = entry["structure"]
        atoms = Atoms(
            [site["species"][0]["element"] for site in crystal["sites"]],
            positions=[site["xyz"] for site in crystal["sites"]],
            cell=crystal["lattice"]["matrix"],
            pbc=True,
        )
        forces = np.array(entry["outputs"]["forces"])
        atoms.calc = SinglePointCalculator(atoms, energy=entry["outputs"]["energy"], forces=forces)
        structures.append(atoms)
    return structures


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--elements", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    root = Path(os.environ["SDNNFF_REFERENCE_DATA"]) / "mlearn"
    rows: list[dict[str, Any]] = []
    for element in arguments.elements:
        config = MODELS[element]
        structures, test = (read(root / element / f"{part}.json.gz") for part in ("training", "test"))
        held = split_groups([str(k) for k in range(len(structures))], 0.05, arguments.seed)
        parts = ([a for a, h in zip(structures, held, strict=True) if h == side] for side in (False, True))
        train, validation = (store_of(part, config.cutoff) for part in parts)
        training = TrainingConfig(
            workdir=tempfile.mkdtemp(),
            epochs=400,
            max_minutes=arguments.minutes,
            batch_atoms=128,
            energy_weight=1.0,
            seed=arguments.seed,
            **TRAINING[element],
        )
        run = RunConfig(model=config, data=DataConfig(), training=training)
        (path,) = train_committee(run, Stores(train, validation, DataReport()))
        report = evaluate_forces(SDNNFF(path, device="cpu"), test)
        rows.append({"element": element, "target_mev": TARGETS_MEV[element], **report.as_dict()})
        print(f"{element}: {1000 * report.rmse:.1f} meV/Å on {len(test)} test structures", flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
