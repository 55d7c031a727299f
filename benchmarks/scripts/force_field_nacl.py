"""NaCl (PBEsol): train on N of 100 DFT supercells; force error on the others, and the conductivity.

    export SDNNFF_REFERENCE_DATA=folder
    python benchmarks/scripts/force_field_nacl.py --train 5 10 20 50 --seeds 0 1 2 --json nacl.json

The first N supercells of 64 atoms train the model (a tenth of them chooses the epoch); the other 100 − N are
never seen. For κ the model labels supercells, symfc fits force constants, and κ is compared with the one from
the DFT forces of the same supercells on the same mesh, three times: ``kappa_64`` from the 100 supercells of 64
atoms alone, ``kappa`` with fc2 from those of 512 atoms, which no training cell can teach, and
``kappa_dft_fc2`` with DFT's fc2 of those.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from sdnnff_calc import SDNNFF
from sdnnff_calc.config import DataConfig, EquivariantConfig, GridConfig, ModelConfig, RunConfig, TrainingConfig
from sdnnff_calc.data.structures import DataReport, iterate_structures
from sdnnff_calc.training.evaluation import evaluate_forces
from sdnnff_calc.training.runs import train_committee
from sdnnff_calc.data.stores import Stores, store_of

MODELS: dict[str, ModelConfig] = {
    "e-sdnnff": EquivariantConfig(n_layers=2),
    "e-sdnnff-1-layer": EquivariantConfig(cutoff=8.0, n_element_channels=2),
    "e-sdnnff-direct": EquivariantConfig(cutoff=8.0, n_element_channels=2, head="direct"),
    "sdnnff": GridConfig(cutoff=8.0, n_grid=13, sigma=0.85),
    "sdnnff-1-frame": GridConfig(cutoff=8.0, n_grid=13, sigma=0.85, n_frames=1),
}
ERRORS = ("kappa_64", "kappa", "kappa_dft_fc2")
PEER = "pypolymlp"
"""phono3py's own polynomial potential with its default settings, fitted to the same forces and energies."""


class Pypolymlp:
    """What ``phono3py --pypolymlp`` fits: ``develop_mlp`` on N supercells, a tenth of them its own test set."""

    def __init__(self, yaml: Path, n_train: int) -> None:
        import phono3py
        from phonopy.interface.mlp import PhonopyMLP

        ph3 = phono3py.load(yaml, produce_fc=False, log_level=0)
        dataset = {key: ph3.dataset[key][:n_train] for key in ("displacements", "forces", "supercell_energies")}
        self._mlp = PhonopyMLP()
        self._mlp.develop(dataset, ph3.supercell, test_size=max(0.1, 1 / n_train))

    def predict(self, structures: list[Atoms], *, memory_gb: float = 1.0) -> list[dict[str, Any]]:
        """As :meth:`SDNNFF.predict`; all in one call whatever the limit."""
        from phonopy.structure.atoms import PhonopyAtoms

        cells = [PhonopyAtoms(symbols=a.symbols, cell=a.cell.array, positions=a.positions) for a in structures]
        return [{"forces": forces} for forces in self._mlp.evaluate(cells)[1]]


def train(config: ModelConfig, structures: list[Atoms], minutes: float, seed: int) -> SDNNFF:
    """Train on structures, a tenth of which (at least one) chooses the epoch."""
    n_held = max(1, len(structures) // 10)
    training = TrainingConfig(
        workdir=tempfile.mkdtemp(),
        epochs=100_000,
        max_minutes=minutes,
        batch_atoms=64,
        ema_decay=0.995,
        learning_rate=5e-3 if config.kind == "e-sdnnff" else 1e-3,
        seed=seed,
    )
    stores = Stores(
        store_of(structures[:-n_held], config.cutoff), store_of(structures[-n_held:], config.cutoff), DataReport()
    )
    (path,) = train_committee(RunConfig(model=config, data=DataConfig(), training=training), stores)
    return SDNNFF(path, device="cpu")


def conductivity(yaml: Path, forces: Any, phonon_forces: Any, mesh: int, *, small_only: bool = False) -> float:
    """κ_xx at 300 K, RTA, W/(m·K); None keeps the DFT forces, ``small_only`` fits fc2 to those of the fc3 supercell."""
    import phono3py

    ph3 = phono3py.load(yaml, produce_fc=False, log_level=0)
    if small_only:
        full = ph3
        ph3 = phono3py.Phono3py(full.unitcell, full.supercell_matrix, full.primitive_matrix, log_level=0)
        ph3.dataset, ph3.nac_params = full.dataset, full.nac_params
    if forces is not None:
        ph3.forces = forces
    if phonon_forces is not None:
        ph3.phonon_forces = phonon_forces
    ph3.produce_fc3(fc_calculator="symfc")
    if not small_only:
        ph3.produce_fc2(fc_calculator="symfc")
    ph3.mesh_numbers = [mesh] * 3
    ph3.init_phph_interaction()
    ph3.run_thermal_conductivity(temperatures=[300])
    return float(np.ravel(ph3.thermal_conductivity.kappa)[0])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, nargs="+", default=[20])
    parser.add_argument("--models", nargs="+", choices=[*MODELS, PEER], default=["e-sdnnff"])
    parser.add_argument("--minutes", type=float, default=1.2)
    parser.add_argument("--mesh", type=int, default=11)
    parser.add_argument("--no-kappa", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    yaml = Path(os.environ["SDNNFF_REFERENCE_DATA"]) / "nacl-dft" / "phono3py_params_NaCl.yaml.xz"
    structures = list(iterate_structures([yaml]))
    small = [a for a in structures if len(a) == 64]
    large = [a for a in structures if len(a) != 64]
    rows: list[dict[str, Any]] = []
    reference: dict[str, float] = {}
    if not arguments.no_kappa:
        with_512 = conductivity(yaml, None, None, arguments.mesh)
        alone = conductivity(yaml, None, None, arguments.mesh, small_only=True)
        reference = {"kappa_64": alone, "kappa": with_512, "kappa_dft_fc2": with_512}
        print(f"kappa from all DFT forces, mesh {arguments.mesh} (W/mK):", reference, flush=True)
    for name, n, seed in itertools.product(arguments.models, arguments.train, arguments.seeds):
        begin = time.monotonic()
        calculator: Any
        calculator = Pypolymlp(yaml, n) if name == PEER else train(MODELS[name], small[:n], arguments.minutes, seed)
        seconds = time.monotonic() - begin
        report = evaluate_forces(calculator, small[n:])
        row: dict[str, Any] = {
            "model": name,
            "config": {} if name == PEER else dataclasses.asdict(MODELS[name]),
            "n_train": n,
            "n_test": len(small) - n,
            "seed": seed,
            "seconds": seconds,
            "force_rmse_mev": 1000 * report.rmse,
            "force_scale_mev": 1000 * report.scale,
        }
        text = f"{name:16s} N={n:3d} seed {seed}  RMSE {row['force_rmse_mev']:.3f} meV/Å on {row['n_test']} supercells"
        if reference:
            forces = np.array([r["forces"] for r in calculator.predict(small)])
            phonon_forces = np.array([r["forces"] for r in calculator.predict(large)])
            row["kappa_reference"] = reference
            row["kappa_64"] = conductivity(yaml, forces, None, arguments.mesh, small_only=True)
            row["kappa"] = conductivity(yaml, forces, phonon_forces, arguments.mesh)
            row["kappa_dft_fc2"] = conductivity(yaml, forces, None, arguments.mesh)
            text += "".join(f"  {key} {100 * (row[key] / reference[key] - 1):+.2f} %" for key in ERRORS)
        print(text, flush=True)
        rows.append(row)
        if arguments.json:
            arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
