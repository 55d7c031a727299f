"""Fine-tuning by the trainers of others: what each is given, and where it runs. Part of the recipe ``fine_tune.py``.

A trainer gets its data and its configuration as files of one folder; a configuration that is there already, changed by
hand perhaps, is kept. SevenNet's runs in this environment, Nequix's and MACE's in the one that ``--environment`` names
or ``screen-cli env create`` made. One supercell in five chooses the epoch. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import phonopy
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols

from screen_cli.calculators.environments.virtual import ModelEnvironment
from screen_cli.calculators.registered import calculator_environment, make_calculator
from sdnnff_calc.data.structures import iterate_structures

PROGRAMS = Path(__file__).parent


def write_divided(folder: Path, cells: list[Atoms]) -> int:
    """Write supercells to train on and one in five for validation; say how many to train on."""
    if len(cells) < 2:
        raise SystemExit(f"The trainer of {folder.name} needs a supercell for validation: label at least 2.")
    folder.mkdir(parents=True, exist_ok=True)
    n_held = max(1, len(cells) // 5)
    ase.io.write(folder / "train.extxyz", cells[n_held:])
    ase.io.write(folder / "valid.extxyz", cells[:n_held])
    return len(cells) - n_held


def place_of(name: str, arguments: argparse.Namespace, needed: tuple[str, ...]) -> ModelEnvironment:
    """Give the environment of a trainer, or say what it lacks."""
    found = calculator_environment(name, arguments.environment)
    if found is None:
        if find_spec(name) is None:
            raise SystemExit(f"{name} is not installed. Make it an environment: screen-cli env create {name}")
        found = ModelEnvironment("here", Path(sys.executable), {})
    missing = sorted(set(needed) - set(found.versions(needed)))
    if missing:
        raise SystemExit(f"The environment '{found.name}' lacks {', '.join(missing)}, which the trainer needs.")
    return found


def started(arguments: argparse.Namespace, suffixes: tuple[str, ...]) -> str:
    """Give the file of the model to start from."""
    start: Path = arguments.start
    if not start.is_file() or start.suffix not in suffixes:
        raise SystemExit(f"--start {start}: expected a file that ends in {' or '.join(suffixes)}.")
    return str(start.resolve())


def run(place: ModelEnvironment, command: list[str], folder: Path) -> None:
    """Run a trainer in its environment and folder."""
    done = subprocess.run([str(place.python), *command], cwd=folder, env=place.variables(), check=False)
    if done.returncode:
        raise SystemExit(f"{folder}: the trainer ended with exit code {done.returncode}; what it printed is above.")


# -- SevenNet --------------------------------------------------------------------------------------


def with_energies_of(calculator: Any, structures: list[Atoms]) -> list[Atoms]:
    """Give copies with their forces and the energies of the starting model: those of another method differ in zero."""
    copies = []
    for atoms in structures:
        copy = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
        energy = calculator.get_potential_energy(copy)
        copy.calc = SinglePointCalculator(copy, energy=energy, forces=atoms.get_forces())
        copies.append(copy)
    return copies


def sevennet(folder: Path, cells: list[Atoms], arguments: argparse.Namespace) -> None:
    """Fine-tune SevenNet; a broken run begins again."""
    import yaml
    from sevenn.calculator import SevenNetCalculator
    from sevenn.util import load_checkpoint

    if (folder / f"checkpoint_{arguments.epochs}.pth").exists():
        return
    calculator = SevenNetCalculator(arguments.start, device="auto")
    write_divided(folder, with_energies_of(calculator, cells))
    start = load_checkpoint(arguments.start).config
    keys = ["chemical_species", "cutoff", "channel", "is_parity", "lmax", "num_convolution_layer", "irreps_manual",
            "weight_nn_hidden_neurons", "radial_basis", "cutoff_function", "self_connection_type"]  # fmt: skip
    model = {key: start[key] for key in keys} | {"chemical_species": "Auto"}
    data: dict[str, Any] = {
        "batch_size": 1,
        "data_format_args": {"index": ":"},
        "load_trainset_path": ["train.extxyz"],
        "load_validset_path": ["valid.extxyz"],
    }
    if arguments.replay:
        replay = list(iterate_structures(arguments.replay))
        ase.io.write(folder / "replay.extxyz", with_energies_of(calculator, replay))
        data |= {"rehearsal": True, "load_memory_path": ["replay.extxyz"], "mem_batch_size": 1}
    training = {
        "random_seed": arguments.seed,
        "epoch": arguments.epochs,
        "is_train_stress": False,
        "loss": "Huber",
        "loss_param": {"delta": 0.01},
        "optimizer": "adam",
        "optim_param": {"lr": arguments.rate},
        "scheduler": "linearlr",
        "scheduler_param": {"start_factor": 1.0, "end_factor": 0.1, "total_iters": arguments.epochs},
        "force_loss_weight": 1.0,
        "per_epoch": 1,
        "error_record": [["Force", "RMSE"], ["TotalLoss", "None"]],
        "best_metric": "TotalLoss",
        "continue": {
            "checkpoint": arguments.start,
            "reset_optimizer": True,
            "reset_scheduler": True,
            "reset_epoch": True,
        },
    }
    content = {"model": model, "train": training, "data": data}
    (folder / "input.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    command = [str(Path(sys.executable).with_name("sevenn")), "train", "input.yaml", "-s"]
    subprocess.run(command, cwd=folder, check=True)


# -- Nequix ----------------------------------------------------------------------------------------


def nequix(folder: Path, cells: list[Atoms], phonons: list[phonopy.Phonopy], arguments: argparse.Namespace) -> None:
    """Fine-tune Nequix on forces, or, where phonons are given, on columns of their force constants as well."""
    if (folder / "model.pt").exists():
        return
    start = started(arguments, (".nqx",))
    place = place_of("nequix", arguments, ("nequix", "jax", "optax", "torch", "ase-db-backends"))
    n_train = write_divided(folder, cells)
    epochs = max(1, arguments.steps // (len(phonons) or n_train))
    if phonons:
        ideal = [phonon.supercell for phonon in phonons]
        ase.io.write(
            folder / "ideal.extxyz",
            [Atoms(numbers=c.numbers, positions=c.positions, cell=c.cell, pbc=True) for c in ideal],
        )
        np.savez(folder / "force_constants.npz", *[hessian(phonon) for phonon in phonons])
    if arguments.replay:
        ase.io.write(folder / "replay.extxyz", list(iterate_structures(arguments.replay)))
    settings = {
        "start": start,
        "environment": arguments.environment,
        "rate": arguments.rate,
        "epochs": epochs,
        "val_every": max(1, epochs // 5),
        "replay_batch": 2,
    }
    (folder / "settings.json").write_text(json.dumps(settings, indent=1))
    run(place, [str(PROGRAMS / "fine_tune_nequix.py"), str(folder.resolve())], folder)


def hessian(phonon: phonopy.Phonopy) -> np.ndarray:
    """Fit fc2 to the labelled supercells; as a matrix, (3 n_atoms, 3 n_atoms), eV/Å²."""
    phonon.produce_force_constants(fc_calculator="symfc")
    fc2 = np.asarray(phonon.force_constants)
    return fc2.transpose(0, 2, 1, 3).reshape(3 * len(fc2), -1).astype(np.float32)


# -- MACE ------------------------------------------------------------------------------------------


def mace(folder: Path, cells: list[Atoms], arguments: argparse.Namespace) -> None:
    """Fine-tune MACE on forces; replayed structures get a head of their own, as its authors recommend."""
    if (folder / "model.model").exists():
        return
    start = started(arguments, (".model", ".pt", ".pth"))
    if not arguments.trust:
        raise SystemExit(
            f"--start {start}: loading it may run code that is in it (pickle). If you trust who made it, add --trust."
        )
    place = place_of("mace", arguments, ("mace-torch",))
    replay = list(iterate_structures(arguments.replay))
    calculator = make_calculator("mace", {"path": start, "trust": True}, environment=arguments.environment)
    known = set(getattr(calculator, "supported_elements", None) or chemical_symbols)
    strange = {symbol for atoms in [*cells, *replay] for symbol in atoms.symbols} - known
    if strange:
        raise SystemExit(f"{start} does not know {', '.join(sorted(strange))}.")
    n_train = write_divided(folder, [with_reference_forces(atoms) for atoms in cells])
    settings = {"environment": arguments.environment, "start": start}
    (folder / "settings.json").write_text(json.dumps(settings, indent=1))
    content: dict[str, Any] = {
        "name": "model",
        "foundation_model": start,
        "foundation_model_elements": True,
        "E0s": "foundation",
        "train_file": "train.extxyz",
        "valid_file": "valid.extxyz",
        "multiheads_finetuning": bool(replay),
        "batch_size": 1,
        "valid_batch_size": 1,
        "max_num_epochs": max(1, arguments.steps // n_train),
        "lr": arguments.rate,
        "force_mh_ft_lr": True,
        "ema": True,
        "ema_decay": 0.99,
        "energy_weight": 1.0,
        "forces_weight": 100.0,
        "default_dtype": "float64",
        "device": arguments.device,
        "seed": arguments.seed,
        "plot": False,
        "restart_latest": True,
        "save_cpu": True,
    }
    if replay:
        if len(replay) < 2:
            raise SystemExit("MACE's trainer needs a replayed structure for validation: give at least 2.")
        old = [with_reference_forces(atoms, calculator) for atoms in replay]
        ase.io.write(folder / "replay_valid.extxyz", old[::5])
        ase.io.write(folder / "replay.extxyz", [atoms for k, atoms in enumerate(old) if k % 5])
        content |= {"pt_train_file": "replay.extxyz", "pt_valid_file": "replay_valid.extxyz"}
    config = folder / "config.yaml"
    if not config.exists():
        config.write_text(json.dumps(content, indent=1))  # JSON is YAML
    run(place, ["-m", "mace.cli.run_train", "--config", "config.yaml"], folder)


def with_reference_forces(atoms: Atoms, start: Calculator | None = None) -> Atoms:
    """Give a copy with its forces, or those of the starting model, by the name that MACE reads.

    It has no energy: those of another method differ in their zero.
    """
    copy = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    forces = start.get_forces(copy) if start is not None and atoms.calc is None else atoms.get_forces()
    copy.set_array("REF_forces", forces)
    return copy


# -- what came of it -------------------------------------------------------------------------------


def tuned(out: Path) -> Iterator[tuple[str, Calculator]]:
    """Give the models that were fine-tuned in environments of their own, each as it was and as it came out."""
    for folder in sorted([*out.glob("nequix*"), out / "mace"]):
        name = "mace" if folder.name == "mace" else "nequix"
        file = folder / ("model.model" if name == "mace" else "model.pt")
        if not file.exists():
            continue
        settings = json.loads((folder / "settings.json").read_text())
        before = Path(settings["start"]) if name == "mace" else folder / "before.pt"
        for title, path in ((f"{folder.name} before", before), (folder.name, file)):
            options = {"path": str(path), "trust": True}
            yield title, make_calculator(name, options, environment=settings["environment"])
