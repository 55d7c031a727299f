"""Recipe: from a few crystals to a better force field, and what it cost elsewhere. Five steps, each leaves files.

    python fine_tune.py supercells --structures relaxed.extxyz --number 10      # displaced supercells
    python fine_tune.py label   --calculator sevennet -o model=l3i5             # by any calculator that screen-cli has,
    python fine_tune.py label   --calculator vasp -o xc=pbe -o encut=500        # or folders of VASP or QE inputs
    python fine_tune.py tune    --model default                                 # sdnnff finetune; or a model of yours
    python fine_tune.py sevennet --replay old.extxyz                            # the same for SevenNet, by its trainer,
    python fine_tune.py nequix  --start nequix-oam-1-pft.nqx --replay old.extxyz   # for Nequix, in its environment,
    python fine_tune.py mace    --start mace.model --trust --replay old.extxyz     # for MACE, in its environment
    python fine_tune.py errors  --model default --elsewhere unseen.extxyz       # before, after, and what was forgotten

All steps work in one folder (``--out``, default ``fine-tune``) and can be killed and given again: what is there is not
done again. Every file is of a common format, so any step can be left out or done by other means:

    supercells/ID.yaml   phonopy: displaced supercells of a crystal      labelled/ID.yaml   the same with forces
    METHOD/tune.toml     input of ``sdnnff finetune``                    METHOD/model.pt    the model
    sevennet/input.yaml  input of ``sevenn train``                       sevennet/checkpoint_best.pth
    nequix/config.yaml   input of ``nequix.pft.train``                   nequix/model.pt
    mace/config.yaml     input of ``mace_run_train``                     mace/model.model
    errors.json          what the last step prints

Structures should be relaxed with the method that labels them. Crystals named by ``--leave-out`` are labelled but not
trained on: they tell whether the model got better on crystals like these, or only on these. What κ gains, tells

    screen-cli bench kappa -c sdnnff -S ... -r ... -d before
    screen-cli bench kappa -c sdnnff -o path=fine-tune/full/model.pt -S ... -r ... -d after
    screen-cli bench compare before after

Needs ``pip install screen-cli al-committee 'sdnnff-calc[phonopy]'`` and, for the step sevennet, sevenn; for
nequix and mace ``screen-cli env create NAME``, once.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fine_tune_trainers
import numpy as np
import phonopy
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from al_committee.labels.cache import LabelCache
from al_committee.labels.calculator_labeller import CalculatorLabeller, Labeller
from al_committee.labels.dft_formats import make_dft_format
from al_committee.labels.file_exchange import FileExchangeLabeller
from al_committee.labels.identity import structure_key
from al_committee.labels.obtain import label_through_cache
from al_committee.labels.outcome import LabelOutcome, LabelRequest
from screen_cli.calculators.registered import calculator_identity, make_calculator
from screen_cli.config import DisplaceSettings
from screen_cli.crystal.phonopy_cells import phonopy_cell
from screen_cli.crystal.structure import Structure
from screen_cli.crystal.supercell import choose_supercell
from screen_cli.errors import ScreenError, UnsupportedElementError
from screen_cli.physics.random_displacements import random_displacements
from screen_cli.settings_file import parse_options
from screen_cli.sources.files import iterate_files
from sdnnff_calc import SDNNFF
from sdnnff_calc.cli import main as sdnnff
from sdnnff_calc.data.structures import iterate_structures
from sdnnff_calc.errors import UnknownElementError
from sdnnff_calc.file_access.bundled_weights import bundled_models
from sdnnff_calc.training.evaluation import OneByOne, Predictor, evaluate_forces

_log = logging.getLogger("recipe")

CONFIG = """\
[data]
train = {train}
split_by = "supercell"
validation_fraction = {validation}

[training]
workdir = "."
epochs = {epochs}
batch_atoms = 64
learning_rate = {rate}
structure_scaling = 1.0
force_constant_weight = {weight}
force_constants = {force_constants}

[finetune]
model = {model}
method = "{method}"
replay = {replay}
replay_fraction = 2.0
"""
RATES = {"full": 1e-3, "head": 3e-3, "adapters": 3e-3}


# -- displaced supercells --------------------------------------------------------------------------


def supercells(arguments: argparse.Namespace) -> None:
    """Displace all atoms of supercells; one phonopy file per crystal."""
    folder = arguments.out / "supercells"
    folder.mkdir(parents=True, exist_ok=True)
    settings = DisplaceSettings(max_atoms=arguments.max_atoms)
    for crystal in iterate_files([str(path) for path in arguments.structures]):
        if not isinstance(crystal, Structure):
            _log.warning("%s: %s", crystal.provider_id, crystal.reason)
            continue
        file = folder / f"{crystal.atoms.get_chemical_formula(empirical=True)}-{crystal.id[:8]}.yaml"
        if file.exists():
            continue
        unitcell, _, dim = choose_supercell(crystal.atoms, settings)
        phonon = phonopy.Phonopy(phonopy_cell(unitcell), np.diag(dim), primitive_matrix="P", log_level=0)
        rng = np.random.default_rng([arguments.seed, int(crystal.id[:8], 16)])
        size = arguments.number, len(phonon.supercell)
        moves = random_displacements(*size, arguments.distance, paired=False, rng=rng)
        phonon.dataset = {"displacements": moves}
        save(phonon, file)
        print(f"{file}: {size[0]} supercells of {size[1]} atoms")


def save(phonon: phonopy.Phonopy, file: Path) -> None:
    """Write a phonopy file in one go."""
    temporary = file.with_suffix(".tmp")
    phonon.save(temporary, settings={"force_sets": True, "displacements": True})
    os.replace(temporary, file)


def displaced(file: Path) -> tuple[phonopy.Phonopy, list[Atoms]]:
    """Read a phonopy file and its displaced supercells."""
    phonon = phonopy.load(file, produce_fc=False, log_level=0)
    ideal = phonon.supercell
    return phonon, [
        Atoms(numbers=ideal.numbers, positions=ideal.positions + u, cell=ideal.cell, pbc=True)
        for u in np.asarray(phonon.dataset["displacements"])
    ]


# -- labels ----------------------------------------------------------------------------------------


def labeller_of(name: str, options: dict[str, Any], out: Path) -> Labeller:
    """Any calculator of screen-cli, or input files for VASP or Quantum ESPRESSO."""
    if name in ("vasp", "espresso"):
        return FileExchangeLabeller(out / "dft", make_dft_format(name, options))
    return CalculatorLabeller(make_calculator(name, options), calculator_identity(name, options))


def label(arguments: argparse.Namespace) -> None:
    """Label all supercells; every label is kept the moment it exists."""
    options = json.loads(arguments.input.read_text()) if arguments.input else parse_options(arguments.option)
    labeller = labeller_of(arguments.calculator, options, arguments.out)
    cache = LabelCache(arguments.out / "labels", labeller.settings)
    (arguments.out / "labelled").mkdir(parents=True, exist_ok=True)

    def say(outcome: LabelOutcome) -> None:
        _log.warning("a label failed: %s", outcome.reason)

    for file in files(arguments.out, "supercells"):
        target = arguments.out / "labelled" / file.name
        if target.exists():
            continue
        phonon, cells = displaced(file)
        requests = [LabelRequest(structure_key(a), a, f"{file.stem}-{k}") for k, a in enumerate(cells)]
        found = {o.key: o.atoms for o in label_through_cache(requests, labeller, cache, on_failure=say)}
        labelled = [found.get(request.key) for request in requests]
        if any(atoms is None for atoms in labelled):
            print(
                f"{file.stem}: {sum(a is not None for a in labelled)} of {len(labelled)} labels; give this step again"
            )
            continue
        phonon.forces = np.array([atoms.get_forces() for atoms in labelled if atoms is not None])
        save(phonon, target)
        print(target)


def files(out: Path, folder: str) -> list[Path]:
    """Crystals of one step, or a sentence on what to do first."""
    found = sorted((out / folder).glob("*.yaml"))
    if not found:
        raise SystemExit(f"{out / folder} holds no crystal yet: run the step before this one.")
    return found


# -- sdnnff ----------------------------------------------------------------------------------------


def chosen(arguments: argparse.Namespace) -> tuple[list[Path], list[Path]]:
    """Labelled crystals to train on, and those left out."""
    found = files(arguments.out, "labelled")
    wrong = [name for name in arguments.leave_out if not any(file.stem.startswith(name) for file in found)]
    if wrong:
        raise SystemExit(f"--leave-out {wrong[0]} is no labelled crystal: {', '.join(f.stem for f in found)}.")
    out = [file for file in found if any(file.stem.startswith(name) for name in arguments.leave_out)]
    return [file for file in found if file not in out], out


def tune(arguments: argparse.Namespace) -> None:
    """Write the input of ``sdnnff finetune`` for each method and run it."""
    train, _ = chosen(arguments)
    n_cells = sum(1 for _ in iterate_structures(train))
    general = arguments.model if str(arguments.model) in bundled_models() else arguments.model.resolve()
    for name in arguments.methods:
        method, *extras = name.split("-")
        folder = arguments.out / name
        if (folder / "model.pt").exists():
            continue
        if method not in RATES or set(extras) - {"replay", "fc2"}:
            raise SystemExit(f"{name} is no method. Write full, head or adapters, then -replay, -fc2 or both.")
        if "replay" in extras and not arguments.replay:
            raise SystemExit(f"{name} needs --replay, labelled structures of the model's own training.")
        paths = [str(file.resolve()) for file in train]
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "tune.toml"
        if not config.exists():  # one that was changed by hand is kept
            config.write_text(
                CONFIG.format(
                    train=json.dumps(paths),
                    validation=0.2 if n_cells > 2 else 0.0,
                    epochs=max(1, arguments.steps // n_cells),
                    rate=RATES[method],
                    weight=0.3 if "fc2" in extras else 0.0,
                    force_constants=json.dumps(paths if "fc2" in extras else []),
                    model=json.dumps(str(general)),
                    method=method,
                    replay=json.dumps([str(p.resolve()) for p in arguments.replay] if "replay" in extras else []),
                )
            )
        if sdnnff(["finetune", str(config)]) != 0:
            raise SystemExit(f"{config}: fine-tuning failed.")


# -- models of others, each by its own trainer -------------------------------------------------------


def labelled(arguments: argparse.Namespace) -> list[Atoms]:
    """Labelled supercells to train on."""
    return list(iterate_structures(chosen(arguments)[0]))


def sevennet(arguments: argparse.Namespace) -> None:
    """Write the data and input.yaml of ``sevenn train`` and run it; a broken run begins again."""
    fine_tune_trainers.sevennet(arguments.out / "sevennet", labelled(arguments), arguments)


def nequix(arguments: argparse.Namespace) -> None:
    """Write the data and configuration of Nequix's phonon trainer and run it in its environment; it goes on."""
    phonons = [displaced(file)[0] for file in chosen(arguments)[0]] if arguments.force_constants else []
    folder = arguments.out / ("nequix-fc2" if arguments.force_constants else "nequix")
    fine_tune_trainers.nequix(folder, labelled(arguments), phonons, arguments)


def mace(arguments: argparse.Namespace) -> None:
    """Write the data and configuration of ``mace_run_train`` and run it in its environment; it goes on."""
    fine_tune_trainers.mace(arguments.out / "mace", labelled(arguments), arguments)


# -- what came of it -------------------------------------------------------------------------------


def models(arguments: argparse.Namespace) -> Iterator[tuple[str, Predictor]]:
    """Give the model before fine-tuning and all that came of it."""
    if arguments.model is not None:
        yield "before", SDNNFF(arguments.model)
    for path in sorted(arguments.out.glob("*/tune.toml")):
        if (path.parent / "model.pt").exists():
            yield path.parent.name, SDNNFF(path.parent / "model.pt")
    best = arguments.out / "sevennet" / "checkpoint_best.pth"
    if best.exists():
        yield "sevennet before", OneByOne(make_calculator("sevennet", {}))
        yield "sevennet", OneByOne(make_calculator("sevennet", {"model": str(best), "trust": True}))
    for title, calculator in fine_tune_trainers.tuned(arguments.out):
        yield title, OneByOne(calculator)


def errors_of(model: Predictor, structures: list[Atoms]) -> dict[str, Any] | None:
    """Force errors; None when the model does not know an element."""
    try:
        return evaluate_forces(model, structures).as_dict()
    except (UnknownElementError, UnsupportedElementError) as error:
        _log.info("%s", error)
        return None


def labelled_by(start: Predictor | None, structures: list[Atoms]) -> list[Atoms]:
    """Give structures without forces those of the model before fine-tuning: what it forgot, then."""
    bare = [atoms for atoms in structures if atoms.calc is None]
    if bare and start is None:
        raise SystemExit("Structures without forces are compared with the model before fine-tuning: give --model.")
    found = iter(start.predict(bare) if bare and start is not None else [])
    given = []
    for atoms in structures:
        copy = atoms.copy()
        copy.calc = atoms.calc or SinglePointCalculator(copy, forces=next(found)["forces"])
        given.append(copy)
    return given


def errors(arguments: argparse.Namespace) -> None:
    """Measure force errors on the new crystals, on those left out, and elsewhere."""
    train, left_out = chosen(arguments)
    sets = {"new crystals": train, "left out": left_out, "elsewhere": arguments.elsewhere}
    structures = {title: list(iterate_structures(paths)) for title, paths in sets.items() if paths}
    result: dict[str, Any] = {}
    print("| force RMSE, meV/Å | " + " | ".join(structures) + " |\n|---" + "|---" * len(structures) + "|")
    given: dict[str, list[Atoms]] = {}
    for name, model in models(arguments):
        before = name.endswith("before")
        if before or not given:
            given = {title: labelled_by(model if before else None, found) for title, found in structures.items()}
        row = {title: errors_of(model, found) for title, found in given.items()}
        result[name] = row
        cells = [f"{1000 * e['force_rmse_ev_per_angstrom']:.2f}" if e else "unknown element" for e in row.values()]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    (arguments.out / "errors.json").write_text(json.dumps(result, indent=1))


def main(argv: list[str] | None = None) -> int:
    """Run one step of the recipe."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")

    def add(function: Any) -> argparse.ArgumentParser:
        text = function.__doc__
        step = steps.add_parser(function.__name__, help=text[0].lower() + text[1:-1], description=text)
        step.add_argument("--out", type=Path, default=Path("fine-tune"), help="folder of all steps")
        step.set_defaults(function=function)
        return step

    step = add(supercells)
    step.add_argument("--structures", type=Path, nargs="+", required=True, help="relaxed crystals, any files ASE reads")
    step.add_argument("--number", type=int, default=10, help="supercells per crystal (default 10)")
    step.add_argument("--distance", type=float, default=0.03, help="displacement of every atom, Å (default 0.03)")
    step.add_argument("--max-atoms", type=int, default=200, help="largest supercell")
    step.add_argument("--seed", type=int, default=0)

    step = add(label)
    step.add_argument("--calculator", "-c", required=True, help="of screen-cli, ase:module.Class, vasp or espresso")
    step.add_argument("--option", "-o", action="append", default=[], metavar="KEY=VALUE", help="of the calculator")
    step.add_argument("--input", type=Path, help="options as a JSON file instead, for nested ones")

    for function in (tune, sevennet, nequix, mace, errors):
        step = add(function)
        step.add_argument("--leave-out", nargs="+", default=[], metavar="ID", help="labelled crystals not to train on")
        if function in (tune, errors):
            step.add_argument("--model", type=Path, required=function is tune, help="to start from: a file, or default")
        if function is not errors:
            step.add_argument("--replay", type=Path, nargs="+", default=[], help="labelled data of its own training")
        if function is tune:
            text = "full (default), head or adapters (low rank), then -replay, -fc2 (force-constant loss) or both"
            step.add_argument("--methods", nargs="+", default=["full"], metavar="METHOD", help=text)
            step.add_argument("--steps", type=int, default=400, help="optimiser steps on new supercells (default 400)")
        if function is sevennet:
            step.add_argument("--start", default="7net-0", help="checkpoint or name known to sevenn (default 7net-0)")
            step.add_argument("--epochs", type=int, default=10)
            step.add_argument("--rate", type=float, default=4e-4, help="learning rate at the start")
            step.add_argument("--seed", type=int, default=0)
        if function in (nequix, mace):
            suffix = ".nqx" if function is nequix else ".model"
            step.add_argument("--start", type=Path, required=True, help=f"{suffix} file of the model to start from")
            text = "name, folder or interpreter; default: this one, or that of screen-cli env create"
            step.add_argument("--environment", default="", help=text)
            step.add_argument("--steps", type=int, default=100, help="optimiser steps on new supercells (default 100)")
            step.add_argument("--rate", type=float, default=5e-5, help="learning rate (default 5e-5)")
        if function is nequix:
            step.add_argument("--force-constants", action="store_true", help="fit fc2 of the supercells as well")
        if function is mace:
            step.add_argument("--device", default="cpu", help="cpu (default) or cuda")
            step.add_argument("--seed", type=int, default=0)
            step.add_argument("--trust", action="store_true", help="the file may run code when it is loaded: trust it")
        if function is errors:
            step.add_argument(
                "--elsewhere",
                type=Path,
                nargs="+",
                default=[],
                help="other structures; those without forces get the model's before",
            )

    arguments = parser.parse_args(argv)
    try:
        arguments.function(arguments)
    except ScreenError as error:
        raise SystemExit(str(error)) from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
