"""Fine-tuning to DFT: learning curves over 1 to 20 supercells, ways to fine-tune, and what is forgotten.

    SDNNFF_REFERENCE_DATA=... python benchmarks/scripts/fine_tuning.py --model general.pt --replay train.extxyz \\
        --left-out test.extxyz --json fine_tuning.json [--crystals nacl si] [--methods full head] [--train 5 10]

A general model (what ``recipes/cubic_prototypes.py`` labels is enough to train one) is fine-tuned on N DFT supercells
of one crystal. Measured are the force error on the DFT supercells that were not trained on, κ at 300 K against κ from
the DFT forces of the same supercells (symfc, RTA with coherences, isotopes, no NAC, 11³; fc2 of the 64-atom supercell,
and for NaCl also of the 512-atom one, by the model and by DFT), and the force error on ``--left-out``, crystals that
neither the general model nor the fine-tuning has seen. One in five of the N supercells chooses the epoch (none of 1 or
2). Rows already in the JSON are not repeated, so the work can be cut into pieces; with ``--json`` alone the table is
printed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from phon_wigner.screening.solver import WignerSolver
from screen_cli.calculators.registered import make_calculator
from screen_cli.solvers.force_constants.symfc import SymfcSolver

from sdnnff_calc import SDNNFF, load_model
from sdnnff_calc.config import DataConfig, FinetuneConfig, RunConfig, TrainingConfig
from sdnnff_calc.data.structures import DataReport, iterate_structures
from sdnnff_calc.training.evaluation import evaluate_forces
from sdnnff_calc.training.finetuning.finetune import finetune
from sdnnff_calc.training.runs import train_committee
from sdnnff_calc.data.stores import Stores, store_of

MESH = 11
METHODS: dict[str, dict[str, Any]] = {
    "scratch": {},
    "full": {"method": "full"},
    "head": {"method": "head"},
    "adapters": {"method": "adapters"},
    "full, replay": {"method": "full", "replay": True},
    "adapters, replay": {"method": "adapters", "replay": True},
    "full, fc2": {"method": "full", "fc2": True},
    "full, replay, fc2": {"method": "full", "replay": True, "fc2": True},
}
"""``fc2``: the force-constant loss, with fc2 fitted to the same N supercells; it costs no further DFT."""
LEARNING_RATE = {"scratch": 5e-3, "full": 1e-3, "head": 3e-3, "adapters": 3e-3}
SCRATCH_STEPS = 800


class Crystal:
    """The DFT supercells of one crystal, in a fixed random order, and what κ needs."""

    def __init__(self, name: str, with_large: bool = True) -> None:
        import phono3py
        from phono3py import Phono3py

        folder = Path(os.environ["SDNNFF_REFERENCE_DATA"]) / f"{name}-dft"
        if name == "nacl":
            self.phono3py = phono3py.load(folder / "phono3py_params_NaCl.yaml.xz", produce_fc=False, log_level=0)
        else:
            self.phono3py = phono3py.load(
                folder / "phono3py_disp.yaml",
                forces_fc3_filename=folder / "FORCES_FC3.xz",
                produce_fc=False,
                log_level=0,
            )
        self.phono3py.nac_params = None
        self.name = name
        self.solver = SymfcSolver()
        self.cells = [_atoms(cell) for cell in self.phono3py.supercells_with_displacements]
        forces = self.phono3py.forces
        if "first_atoms" in self.phono3py.dataset:  # symfc wants displacements of all atoms
            ideal = self.phono3py.supercell.positions
            moved = np.array([cell.positions - ideal for cell in self.cells])
            self.phono3py.dataset = {"displacements": moved, "forces": np.array(forces)}
        self.forces = np.array(forces)
        with_large = with_large and self.phono3py.phonon_supercell_matrix is not None
        large = self.phono3py.phonon_supercells_with_displacements if with_large else None
        self.large = [_atoms(cell) for cell in large or []]
        self.large_forces = np.array(self.phono3py.phonon_forces) if self.large else None
        for cell, label in zip(self.cells, self.forces, strict=True):
            cell.calc = SinglePointCalculator(cell, forces=label)
        self.order = np.random.default_rng(0).permutation(len(self.cells))
        self.small = Phono3py(
            self.phono3py.unitcell,
            supercell_matrix=self.phono3py.supercell_matrix,
            primitive_matrix=self.phono3py.primitive_matrix,
            log_level=0,
        )
        self.small.dataset = {"displacements": np.array(self.phono3py.displacements), "forces": self.forces}
        self.large_fc2_dft = self._large_fc2(self.large_forces) if self.large else None
        self.kappas_dft = self.kappas(self.forces, self.large_forces)

    def chosen(self, n: int) -> tuple[list[Atoms], list[Atoms]]:
        """The first n supercells of the order, and all the others."""
        return [self.cells[k] for k in self.order[:n]], [self.cells[k] for k in self.order[n:]]

    def kappas(self, forces: Any, large_forces: Any = None, subset: Any = None) -> dict[str, float]:
        """κ at 300 K, W/(m K), from the forces of all supercells, or of a subset.

        ``kappa``: fc2 and fc3 from the small supercells. ``kappa_large``: fc2 from the large ones, by the model, too.
        ``kappa_large_dft``: fc2 from the large ones, by DFT.
        """
        fitted = self.solver.solve(self.small, forces, subset=subset)
        found = {"kappa": self._kappa(self.small, fitted["fc2"], fitted["fc3"])}
        if large_forces is not None:
            found["kappa_large"] = self._kappa(self.phono3py, self._large_fc2(large_forces), fitted["fc3"])
            found["kappa_large_dft"] = self._kappa(self.phono3py, self.large_fc2_dft, fitted["fc3"])
        return found

    def _large_fc2(self, forces: Any) -> Any:
        """fc2 of the large supercell."""
        return self.solver.solve(self.phono3py, None, forces, third_order=False)["fc2"]

    def _kappa(self, phono3py: Any, fc2: Any, fc3: Any) -> float:
        """κ at 300 K, W/(m K)."""
        phono3py.fc2, phono3py.fc3 = fc2, fc3
        phono3py.mesh_numbers = [MESH] * 3
        found = WignerSolver(scattering="products")(phono3py, [300.0])
        return float(found["kappa_total"][0, :3].mean())

    def kappas_of(self, calculator: SDNNFF) -> dict[str, float]:
        """κ of a model."""
        large = np.array([r["forces"] for r in calculator.predict(self.large)]) if self.large else None
        return self.kappas(np.array([r["forces"] for r in calculator.predict(self.cells)]), large)

    def write_phonopy(self, n: int, path: Path) -> str:
        """Write the first n supercells with forces as phonopy's file: its reader fits fc2, the recipe trains on it."""
        from phonopy import Phonopy

        chosen = self.order[:n]
        phonon = Phonopy(self.phono3py.unitcell, self.phono3py.supercell_matrix, primitive_matrix="P", log_level=0)
        displacements = np.asarray(self.phono3py.displacements)[chosen]
        phonon.dataset = {"displacements": displacements, "forces": self.forces[chosen]}
        phonon.save(path, settings={"force_sets": True, "displacements": True})
        return str(path)


def _atoms(cell: Any) -> Atoms:
    """phonopy's cell as ASE's."""
    return Atoms(numbers=cell.numbers, positions=cell.positions, cell=cell.cell, pbc=True)


def train(crystal: Crystal, method: str, n: int, model: Path, replay: Path, steps: int, seed: int) -> Path:
    """Train on n supercells; the checkpoint."""
    settings = METHODS[method]
    general = load_model(model)
    train_cells, _ = crystal.chosen(n)
    n_held = n // 5
    cutoff = general.config.cutoff
    stores = Stores(store_of(train_cells[n_held:], cutoff), store_of(train_cells[:n_held], cutoff), DataReport())
    workdir = Path(tempfile.mkdtemp())
    training = TrainingConfig(
        workdir=str(workdir),
        epochs=math.ceil((SCRATCH_STEPS if method == "scratch" else steps) / (n - n_held)),
        batch_atoms=64,
        ema_decay=0.99,
        structure_scaling=1.0,
        refit_atoms=1000,
        learning_rate=LEARNING_RATE[settings.get("method", "scratch")],
        force_constant_weight=0.3 if settings.get("fc2") else 0.0,
        force_constants=(crystal.write_phonopy(n, workdir / "fc2.yaml"),) if settings.get("fc2") else (),
        seed=seed,
        device="cpu",
    )
    if method == "scratch":
        (path,) = train_committee(RunConfig(model=general.config, data=DataConfig(), training=training), stores)
        return path
    tuned = FinetuneConfig(
        model=str(model),
        method=settings["method"],
        replay=(str(replay),) if settings.get("replay") else (),
        replay_fraction=2.0,
    )
    return finetune(RunConfig(data=DataConfig(), training=training, finetune=tuned), stores)


def measure(crystal: Crystal, calculator: SDNNFF, n: int, left_out: list[Atoms]) -> dict[str, float]:
    """All numbers of one model."""
    _, unseen = crystal.chosen(n)
    own = evaluate_forces(calculator, unseen)
    row: dict[str, float] = {"force_rmse_mev": 1000 * own.rmse, "force_scale_mev": 1000 * own.scale}
    if left_out:
        elsewhere = evaluate_forces(calculator, left_out)
        row |= {
            "left_out_rmse_mev": 1000 * elsewhere.rmse,
            "left_out_median_mev": 1000 * float(np.median(elsewhere.by_structure)),
        }
    for key, value in crystal.kappas_of(calculator).items():
        row |= {
            key: value,
            f"{key}_reference": crystal.kappas_dft[key],
            f"{key}_error_percent": 100 * (value / crystal.kappas_dft[key] - 1),
        }
    return row


SEVENNET_CELLS = 20


def measure_sevennet(crystal: Crystal, checkpoint: str) -> dict[str, float]:
    """Force error and κ of a SevenNet model on the last supercells of the order, against DFT on the same ones."""
    calculator = make_calculator("sevennet", {"model": checkpoint, "device": "cpu"})
    subset = crystal.order[-SEVENNET_CELLS:]
    forces = np.zeros_like(crystal.forces)
    for k in subset:
        forces[k] = calculator.get_forces(crystal.cells[k].copy())
    kappa, reference = (crystal.kappas(f, subset=subset)["kappa"] for f in (forces, crystal.forces))
    return {
        "force_rmse_mev": 1000 * float(np.sqrt(np.mean((forces - crystal.forces)[subset] ** 2))),
        "kappa": kappa,
        "kappa_reference": reference,
        "kappa_error_percent": 100 * (kappa / reference - 1),
    }


def tables(rows: list[dict[str, Any]]) -> str:
    """Markdown: per crystal, one line per method, one column per N."""
    lines = []
    for crystal in dict.fromkeys(row["crystal"] for row in rows):
        own = [row for row in rows if row["crystal"] == crystal]
        before = next(row for row in own if row["method"] == "before")
        numbers = sorted({row["n"] for row in own} - {0})
        lines += [
            f"\n{crystal}: before fine-tuning force RMSE {before['force_rmse_mev']:.1f} of "
            f"{before['force_scale_mev']:.1f} meV/Å, κ {before['kappa']:.2f} against "
            f"{before['kappa_reference']:.2f} W/mK ({before['kappa_error_percent']:+.0f} %)"
        ]
        for title, key, form in (
            ("force RMSE, unseen supercells (meV/Å)", "force_rmse_mev", "{:.2f}"),
            ("κ error (%)", "kappa_error_percent", "{:+.1f}"),
            ("κ error, DFT's fc2 of the large supercell (%)", "kappa_large_dft_error_percent", "{:+.1f}"),
            ("κ error, model's fc2 of the large supercell (%)", "kappa_large_error_percent", "{:+.1f}"),
            ("force RMSE, left-out crystals (meV/Å)", "left_out_rmse_mev", "{:.1f}"),
            ("the same, median over their supercells (meV/Å)", "left_out_median_mev", "{:.1f}"),
        ):
            if key not in before:
                continue
            head = " | ".join(f"N = {n}" for n in numbers)
            lines += ["", f"| {title} | {head} |", "|---" * (len(numbers) + 1) + "|"]
            for method in METHODS:
                found = {row["n"]: row[key] for row in own if row["method"] == method and key in row}
                if found:
                    cells = [form.format(found[n]) if n in found else "" for n in numbers]
                    lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="the general model, a checkpoint")
    parser.add_argument("--replay", type=Path, help="labelled structures of its training")
    parser.add_argument("--left-out", type=Path, help="labelled crystals that it has not seen, to measure forgetting")
    parser.add_argument("--export", type=Path, help="write the first --train supercells for the recipe and stop")
    parser.add_argument("--sevennet", nargs="+", default=[], help="measure checkpoints of SevenNet, nothing else")
    parser.add_argument("--crystals", nargs="+", choices=["nacl", "si"], default=["nacl", "si"])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--train", type=int, nargs="+", default=[1, 2, 5, 10, 20])
    parser.add_argument("--steps", type=int, default=400, help="of fine-tuning; another number, another --json")
    parser.add_argument("--no-large", action="store_true", help="leave out κ with fc2 of NaCl's 512-atom supercell")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no further row after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=Path("fine_tuning.json"))
    arguments = parser.parse_args(argv)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if arguments.export:
        print(Crystal(arguments.crystals[0], with_large=False).write_phonopy(arguments.train[0], arguments.export))
        return 0
    for checkpoint in arguments.sevennet:
        print(
            checkpoint,
            json.dumps(measure_sevennet(Crystal(arguments.crystals[0], with_large=False), checkpoint)),
            flush=True,
        )
    if arguments.sevennet:
        return 0
    rows: list[dict[str, Any]] = json.loads(arguments.json.read_text()) if arguments.json.exists() else []
    if arguments.model is not None:
        if arguments.replay is None and any(METHODS[name].get("replay") for name in arguments.methods):
            parser.error("methods with replay need --replay; choose others with --methods.")
        end = time.monotonic() + 60 * arguments.minutes
        left_out = list(iterate_structures([arguments.left_out])) if arguments.left_out else []
        for name in arguments.crystals:
            wanted = [("before", 0), *((m, n) for n in arguments.train for m in arguments.methods)]
            done = {(row["crystal"], row["method"], row["n"]) for row in rows}
            missing = [(m, n) for m, n in wanted if (name, m, n) not in done]
            if not missing:
                continue
            crystal = Crystal(name, not arguments.no_large)
            for method, n in missing:
                if time.monotonic() > end:
                    return 0
                begin = time.process_time()
                path = arguments.model
                if method != "before":
                    path = train(crystal, method, n, arguments.model, arguments.replay, arguments.steps, arguments.seed)
                seconds = time.process_time() - begin
                row = {"crystal": name, "method": method, "n": n, "cpu_seconds": seconds}
                row |= measure(crystal, SDNNFF(path, device="cpu"), n, [] if method == "scratch" else left_out)
                rows.append(row)
                arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
                print(
                    f"{name} {method:18s} N={n:2d} {seconds:5.1f} s  RMSE {row['force_rmse_mev']:.3f} meV/Å  κ "
                    f"{row['kappa_error_percent']:+.1f} %  left out {row.get('left_out_rmse_mev', math.nan):.0f} meV/Å",
                    flush=True,
                )
    print(tables(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
