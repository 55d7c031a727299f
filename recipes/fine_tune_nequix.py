"""Program of the recipe ``fine_tune.py`` that runs in Nequix's environment: its phonon trainer, on files of one folder.

    python fine_tune_nequix.py FOLDER          # reads FOLDER/settings.json and the structures beside it

It knows nothing of the project: it needs nequix (with jax, optax and torch) and ASE. The trainer is the package's own
``nequix.pft.train``; two things around it are replaced. It reports to a logging service on the network: here the same
calls write ``log.jsonl``. And it reads data in 32 processes that wait by spinning: here in its own process.

    start.nqx           the model to start from, with the sizes of these data     config.yaml    the trainer's input
    train.aselmdb, …         the trainer's data                                        state.pkl      where it goes on
    checkpoint.nqx      the best model, by the validation loss                    model.pt       the same for torch
"""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: the recipe's modules must not stand in for others

import ase.data
import ase.db
import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator


def prepare(folder: Path, settings: dict[str, Any]) -> None:
    """Write the starting model, the data and the configuration of the trainer."""
    import yaml
    from nequix.calculator import NequixCalculator
    from nequix.data import atomic_numbers_to_indices, preprocess_graph
    from nequix.model import load_model, save_model
    from nequix.torch_impl.model import save_model as save_torch
    from nequix.torch_impl.utils import convert_model_jax_to_torch

    model, about = load_model(settings["start"])
    known = atomic_numbers_to_indices(about["atomic_numbers"])
    given = {path.stem: ase.io.read(path, ":") for path in sorted(folder.glob("*.extxyz"))}
    strange = {symbol for cells in given.values() for atoms in cells for symbol in atoms.symbols}
    strange -= {atoms for atoms in strange if ase.data.atomic_numbers[atoms] in known}
    if strange:
        raise SystemExit(f"{settings['start']} does not know {', '.join(sorted(strange))}.")
    save_torch(folder / "before.pt", *convert_model_jax_to_torch(model, about, False))
    calculator = NequixCalculator(model_path=folder / "before.pt", backend="torch", use_kernel=False)
    constants = "ideal" in given
    for atoms in given.get("ideal", []):
        atoms.calc = SinglePointCalculator(atoms, forces=np.zeros((len(atoms), 3)))
    hessians = list(np.load(folder / "force_constants.npz").values()) if constants else []
    replay = given.get("replay", [])
    sets = {  # each in a file of its own: the trainer opens none twice
        "train": given["ideal" if constants else "train"],
        "valid": given["ideal" if constants else "valid"],
        "extra_train": [atoms for k, atoms in enumerate(replay) if k % 5] + (given["train"] if constants else []),
        "extra_valid": replay[::5] or given["valid"],
    }
    steps = 2 if constants and replay else int(bool(sets["extra_train"]))
    sets["extra_train"] = sets["extra_train"] or given["valid"]
    sizes: dict[str, list[tuple[int, int]]] = {}
    for name, cells in sets.items():
        (folder / f"{name}.aselmdb").unlink(missing_ok=True)
        with ase.db.connect(folder / f"{name}.aselmdb") as database:
            for k, atoms in enumerate(cells):
                label = completed(atoms, calculator)
                phonon = name == "valid" or (constants and name == "train")
                n = 3 * len(atoms)  # without weight in the loss, but the trainer wants one
                hessian = hessians[k] if constants and phonon else np.zeros((n, n), np.float32)
                database.write(label, data={"hessian": hessian} if phonon else {})
                graph = preprocess_graph(label, known, about["cutoff"], False)
                sizes.setdefault(name, []).append((len(atoms), int(graph["n_edge"][0])))
    others = sizes["extra_train"] + sizes["extra_valid"]
    save_model(folder / "start.nqx", model, about | batches(others, settings["replay_batch"]))
    config = configuration(settings, constants, steps) | batches(sizes["train"] + sizes["valid"], 1)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def completed(atoms: Atoms, calculator: Any) -> Atoms:
    """Give a copy with its forces, or those of the starting model, and energy and stress of the starting model."""
    copy = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    start = Atoms(copy, calculator=calculator)
    forces = start.get_forces() if atoms.calc is None else atoms.get_forces()
    copy.calc = SinglePointCalculator(
        copy, energy=start.get_potential_energy(), forces=forces, stress=start.get_stress()
    )
    return copy


def batches(sizes: list[tuple[int, int]], batch: int) -> dict[str, Any]:
    """Sizes of padded batches: of a few structures each, no larger than these data need."""
    nodes, edges = np.array(sizes).T
    return {
        "batch_size": batch,
        "max_n_nodes": int(nodes.max()),
        "max_n_edges": int(edges.max()),
        "avg_n_nodes": float(nodes.mean()),
        "avg_n_edges": float(edges.mean()),
    }


def configuration(settings: dict[str, Any], constants: bool, extra_steps: int) -> dict[str, Any]:
    """Input of the trainer: on forces (its «displacement»), or on columns of the Hessian with forces beside them."""
    return {
        "finetune_from": "start.nqx",
        "kernel": False,
        "optimizer": "adam",
        "learning_rate": settings["rate"],
        "weight_decay": 1e-3,  # as published
        "grad_clip_norm": 100.0,
        "ema_decay": 0.99,
        "displacement": not constants,
        "train_path": "train.aselmdb",
        "val_path": "valid.aselmdb",
        "extra_train_path": "extra_train.aselmdb",
        "extra_val_path": "extra_valid.aselmdb",
        "extra_train_steps": extra_steps,
        "energy_weight": 1.0,
        "force_weight": 20.0,
        "stress_weight": 0.0,
        "hessian_weight": 100.0 if constants else 0.0,
        "extra_energy_weight": 1.0,
        "extra_force_weight": 20.0,
        "extra_stress_weight": 0.0,
        "checkpoint_grad_energy": False,
        "n_epochs": settings["epochs"],
        "val_every": settings["val_every"],
        "log_every": 1,
        "state_path": "state.pkl",
        "resume_from": "state.pkl",
    }


class Log:
    """Stands in for the client of a logging service: a run that writes lines into the folder."""

    def __init__(self, folder: Path) -> None:
        self.dir, self.id, self.summary = str(folder), "local", {}
        self._file = folder / "log.jsonl"

    def log(self, row: dict[str, Any], step: Any = None) -> None:
        """Append one line."""
        with self._file.open("a") as file:
            file.write(json.dumps({"step": int(step), **{key: float(value) for key, value in row.items()}}) + "\n")


def stand_in(folder: Path) -> None:
    """Put the log in the place of the client that the trainer imports."""
    client, hook, hooks = types.ModuleType("wandb"), types.ModuleType("wandb_osh"), types.ModuleType("wandb_osh.hooks")
    run = Log(folder)
    client.__dict__.update(run=run, log=run.log, init=lambda **_: run)
    hooks.__dict__.update(TriggerWandbSyncHook=lambda: lambda: None)
    sys.modules |= {"wandb": client, "wandb_osh": hook, "wandb_osh.hooks": hooks}


def read_here() -> None:
    """Make the trainer's loader read structures in its own process."""
    from nequix.data import DataLoader

    def structures(loader: Any) -> Iterator[Any]:
        while loader.idx < len(loader.dataset):
            yield loader.dataset[loader.idxs[loader.idx]]
            loader.idx += 1

    DataLoader._start_workers = lambda _: None
    DataLoader.make_generator = structures


def main(folder: Path) -> None:
    """Prepare once, train or go on, and convert the best model."""
    settings = json.loads((folder / "settings.json").read_text())
    if not (folder / "config.yaml").exists():  # one that was changed by hand is kept
        prepare(folder, settings)
    stand_in(folder)
    read_here()
    from nequix.model import load_model
    from nequix.pft.train import train
    from nequix.torch_impl.model import save_model
    from nequix.torch_impl.utils import convert_model_jax_to_torch

    os.chdir(folder)
    train("config.yaml")
    save_model("model.tmp", *convert_model_jax_to_torch(*load_model("checkpoint.nqx"), False))
    os.replace("model.tmp", "model.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
