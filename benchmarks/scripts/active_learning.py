"""Committee selection against random selection, for real: SevenNet-l3i5 labels, sdnnff learns, unseen crystals judge.

The pool: real cubic compounds of ten prototypes (oxides, halides, chalcogenides, nitrides, semiconductors,
intermetallics), volumes relaxed by the teacher, in supercells of 16 to 40 atoms, every atom displaced by 0.03 Å
in a random direction. For each seed both strategies hold out the same crystals, start from the same labels (random
crystals that together hold every element), take the same number of labels per round, train from scratch for the same
number of epochs, and are judged by the force RMSE of the committee's mean on the held-out crystals. Labels are
shared through the cache, so a structure is computed once for all runs. An interrupted benchmark goes on where it
stopped.

    python benchmarks/scripts/active_learning.py --out al-benchmark          # the whole thing, half an hour on one core
    python benchmarks/scripts/active_learning.py --out al-quick --quick      # shows that it runs, proves nothing
    python benchmarks/scripts/active_learning.py --out al-cost --cost        # committee of five against one model

Writes results.json, table.txt and figure.png into the output folder. Needs sevenn (its weights are in the wheel).
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import spglib
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from al_committee.committee.calculator import CommitteeCalculator
from al_committee.labels.cache import LabelCache
from al_committee.labels.calculator_labeller import CalculatorLabeller
from al_committee.loop.campaign import ActiveLearningLoop, LoopParts
from al_committee.selection.crystal_index import Crystal
from al_committee.selection.pool import Pool
from al_committee.selection.rules import STRATEGIES
from al_committee.loop.run_directory import RunDirectory
from screen_cli.crystal.prototypes import build, guess_lattice_constant

logger = logging.getLogger("active-learning benchmark")

COMPOUNDS = {
    "rocksalt": "Li-F Li-Cl Li-Br Na-F Na-Cl Na-Br Na-I K-F K-Cl K-Br K-I Rb-Cl Rb-Br Rb-I Ag-Cl Ag-Br "
    "Mg-O Ca-O Sr-O Ba-O Mg-S Ca-S Sr-S Ba-S Ca-Se Sr-Se Ba-Se Pb-S Pb-Se Pb-Te Sn-Te "
    "Sc-N Y-N La-N Ti-N Zr-N Hf-N Ti-C Zr-C Hf-C Nb-C Ta-C",
    "zincblende": "B-N B-P Al-P Al-As Al-Sb Ga-N Ga-P Ga-As Ga-Sb In-P In-As In-Sb Zn-S Zn-Se Zn-Te Cd-S Cd-Te "
    "Cu-Cl Cu-Br Cu-I Si-C",
    "cscl": "Cs-Cl Cs-Br Cs-I Ni-Al Co-Al Ti-Ni Cu-Zn Ag-Mg Y-Cu Y-Ag Sc-Ag",
    "fluorite": "Ca-F Sr-F Ba-F Cd-F Pb-F Zr-O Hf-O",
    "antifluorite": "Li-O Na-O K-O Li-S Na-S K-S Li-Se Na-Se K-Se Mg-Si Mg-Ge Mg-Sn",
    "perovskite": "K-Mg-F K-Zn-F Rb-Ca-F Cs-Ca-F Sr-Ti-O Ba-Ti-O Ba-Zr-O Ba-Hf-O Sr-Hf-O Cs-Pb-Cl Cs-Pb-Br Cs-Sn-I",
    "half-heusler": "Ti-Ni-Sn Zr-Ni-Sn Hf-Ni-Sn Ti-Co-Sb Zr-Co-Sb Hf-Co-Sb Nb-Fe-Sb Ta-Fe-Sb Li-P-Zn Li-As-Zn",
    "cu3au": "Al-Ni Ga-Ni Au-Cu Sc-Al Y-In",
    "full-heusler": "Al-Ti-Ni Al-V-Fe Sn-Zr-Ni",
    "bif3": "Bi-K Sb-K",
}
"""Elements in the order of each prototype's sites."""


def ideal_cell(prototype: str, elements: list[str]) -> Atoms:
    """Primitive cell with bonds from covalent radii."""
    name = prototype
    if prototype == "antifluorite":
        name, elements = "fluorite", elements[::-1]
    conventional = build(name, elements, guess_lattice_constant(name, elements))
    cell, positions, numbers = spglib.find_primitive(
        (conventional.cell.array, conventional.get_scaled_positions(), conventional.numbers)
    )
    return Atoms(numbers=numbers, scaled_positions=positions, cell=cell, pbc=True)


def relax_volume(atoms: Atoms, calculator: object, tolerance: float = 2e-4) -> Atoms:
    """Scale the cell to zero pressure (secant, eV/Å³); all sites of these prototypes are fixed by symmetry."""
    small = atoms.copy()
    small.calc = calculator
    reference = small.cell.array.copy()

    def pressure(scale: float) -> float:
        small.set_cell(reference * scale, scale_atoms=True)
        return float(-small.get_stress()[:3].mean())

    scale, value = 1.0, pressure(1.0)
    step = 0.02 * np.sign(value)
    for _ in range(15):
        if abs(value) < tolerance:
            break
        after = pressure(scale + step)
        slope = (after - value) / step
        scale, value = scale + step, after
        step = float(np.clip(-value / slope, -0.05, 0.05)) if slope < 0 else 0.04 * np.sign(value)
    relaxed = atoms.copy()
    relaxed.set_cell(atoms.cell.array * scale, scale_atoms=True)
    return relaxed


def make_crystals(out: Path, count: int, calculator: object) -> list[Crystal]:
    """Relax the crystals with the teacher, once; kept in an ASE database."""
    database = connect(out / "crystals.db")
    chosen = [(prototype, item) for prototype, items in COMPOUNDS.items() for item in items.split()]
    chosen = chosen[:: max(1, len(chosen) // count)] if count else chosen
    known = {row.crystal: row.toatoms() for row in database.select()}
    crystals = []
    for prototype, compound in chosen:
        name = f"{compound}-{prototype}"
        if name not in known:
            known[name] = relax_volume(ideal_cell(prototype, compound.split("-")), calculator)
            database.write(known[name], crystal=name, prototype=prototype)
            logger.info("%s relaxed, %.2f Å³ per atom", name, known[name].get_volume() / len(known[name]))
        crystals.append(Crystal(name, known[name]))
    return crystals


CONFIG = """
seed = {seed}
[pool]
source = "unused: the benchmark passes objects"
test_structures = {n_test}
start_labels = {start}
start_method = "elements"
[supercells]
n_supercells = {cells}
min_length = {length}
max_atoms = 40
displacement = 0.03
[selection]
strategy = "{strategy}"
budget = {budget}
[labels]
factory = "unused:unused"
[training]
trainer = "unused:unused"
n_members = {members}
warm_start = {warm}
[stop]
max_rounds = {rounds}
max_labels = {most}
constant_rounds = 0
below_threshold = false
"""


def write_run(
    folder: Path, strategy: str, seed: int, options: argparse.Namespace, budget: int, rounds: int, most: int
) -> RunDirectory:
    """Make or open a run directory; other budgets and limits than before continue a finished run."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.toml"
    config.write_text(
        CONFIG.format(
            seed=seed,
            n_test=options.test,
            start=options.start,
            cells=options.supercells,
            length=options.min_length,
            strategy=strategy,
            budget=budget,
            members=options.members,
            rounds=rounds,
            most=most,
            warm=str(options.warm_start).lower(),
        )
    )
    run = RunDirectory.create(folder, config) if not (folder / "manifest.json").exists() else RunDirectory(folder)
    run.check_config(accept_changes=True)
    return run


def run_one(out: Path, strategy: str, seed: int, crystals: list[Crystal], options: argparse.Namespace) -> dict:
    """One loop to its end, then one large round; returns its rounds."""
    folder = out / f"{strategy}-{seed}"
    labels = options.start + options.rounds * options.budget
    run = write_run(folder, strategy, seed, options, options.budget, options.rounds, 0)
    labeller = CalculatorLabeller(options.teacher, {"model": "7net-l3i5", "package": "sevenn"})
    cache = LabelCache(out / "labels", labeller.settings)

    def drive(run: RunDirectory) -> None:
        pool = Pool(crystals, run.config.supercells)
        with run.locked():
            parts = LoopParts(pool, labeller, make_trainer(options), cache, STRATEGIES[run.config.selection.strategy])
            ActiveLearningLoop(run, parts).drive()

    if not (folder / f"rounds/{options.rounds + 1:03d}").exists():
        drive(run)
    if options.last:
        most = labels + options.last  # the loop scores the pool once more, then finds its budget spent
        drive(write_run(folder, strategy, seed, options, options.last, options.rounds + 2, most))
        run = RunDirectory(folder)
    return {"strategy": strategy, "seed": seed, "rounds": [asdict(run.rounds.summary(n)) for n in run.rounds.numbers()]}


def make_trainer(options: argparse.Namespace):
    """The learner: e-sdnnff in a small size (or the grid model), forces only."""
    from sdnnff_calc.training.trainer import Trainer
    from sdnnff_calc.config import EquivariantConfig, GridConfig

    small = EquivariantConfig(head=options.head, cutoff=5.0, n_radial=6, n_channels=16)
    model = GridConfig() if options.learner == "sdnnff" else small
    return Trainer(model, device=options.device, epochs=options.epochs, batch_atoms=options.batch_atoms)


def make_teacher(device: str):
    """SevenNet-l3i5; its weights ship in the wheel."""
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator("7net-l3i5", device="cpu" if device == "auto" else device)


def summarise(results: list[dict]) -> tuple[str, dict]:
    """Mean and spread over seeds of the RMSE after each round, and of the number its committee recommends."""
    lines, numbers = [f"{'strategy':12s} {'labels':>6s} {'RMSE meV/Å':>18s} {'recommended':>12s}  seeds"], {}
    for strategy in dict.fromkeys(r["strategy"] for r in results):
        own = [r["rounds"] for r in results if r["strategy"] == strategy]
        for n, rows in enumerate(zip(*own, strict=False)):
            if any(row["force_rmse"] is None for row in rows):
                continue
            rmse = 1e3 * np.array([row["force_rmse"] for row in rows])
            after = [rounds[n + 1]["recommended"] for rounds in own if len(rounds) > n + 1]
            labels = int(np.mean([row["training_labels"] for row in rows]))
            numbers.setdefault(strategy, []).append({"labels": labels, "rmse_mev": rmse.tolist(), "recommended": after})
            mean = f"{np.mean(after):12.1f}" if after else " " * 11 + "–"
            lines.append(f"{strategy:12s} {labels:6d} {rmse.mean():10.1f} ± {rmse.std():5.1f} {mean}  {len(rows)}")
    return "\n".join(lines), numbers


def draw(numbers: dict, path: Path) -> None:
    """Error and number recommended against labels: thin lines are seeds, which share test set and start."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for colour, (strategy, rows) in zip(("tab:blue", "tab:gray"), numbers.items(), strict=False):
        labels = [row["labels"] for row in rows]
        name = "random" if strategy == "random" else "committee"
        left.plot(labels, [row["rmse_mev"] for row in rows], color=colour, lw=0.6, alpha=0.6)
        left.plot(labels, [np.mean(row["rmse_mev"]) for row in rows], "o-", color=colour, label=name)
        asked = [row for row in rows if len(row["recommended"]) == len(row["rmse_mev"])]
        if asked:
            labels = [row["labels"] for row in asked]
            right.plot(labels, [row["recommended"] for row in asked], color=colour, lw=0.6, alpha=0.6)
            right.plot(labels, [np.mean(row["recommended"]) for row in asked], "o-", color=colour, label=name)
    left.set(xlabel="labels", ylabel="force RMSE, unseen crystals (meV/Å)")
    right.set(xlabel="labels", ylabel="crystals recommended (ε > 50 meV/Å)", ylim=(0, None))
    left.legend(frameon=False)
    figure.savefig(path, dpi=100)


def measure_cost(out: Path, options: argparse.Namespace) -> dict:
    """Time one model and a committee of five on 64 displaced atoms, batched and one after the other."""
    from sdnnff_calc.calculators.sdnnff import SDNNFF

    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (2, 2, 2)
    atoms.positions += 0.03 * rng.normal(size=(64, 3))
    atoms.calc = SinglePointCalculator(atoms, forces=rng.normal(size=(64, 3)), energy=0.0)
    trainer = make_trainer(options)
    trainer.training["epochs"] = 1
    paths = trainer.train([atoms], [atoms], workdir=out / "cost", seed=0, warm_start=None, n_members=5)
    members = [SDNNFF(path, device=options.device) for path in paths]
    bare = atoms.copy()

    def clock(calculator: CommitteeCalculator) -> float:
        times = []
        for k in range(options.repeats + 2):
            moved = bare.copy()
            moved.positions += 1e-4 * k
            start = time.perf_counter()
            calculator.evaluate([moved], energy=False)
            times.append(time.perf_counter() - start)
        return float(np.median(times[2:]))

    batched, sequential = CommitteeCalculator(members), CommitteeCalculator(members, batch=False)
    one = clock(CommitteeCalculator(members[:1]))
    result = {
        "learner": options.learner,
        "one_model_s": one,
        "batched_five_ratio": clock(batched) / one,
        "sequential_five_ratio": clock(sequential) / one,
        "is_batched": batched.batched,
        "largest_difference_ev_ang": float(
            np.abs(batched.evaluate([bare])[0].forces - sequential.evaluate([bare])[0].forces).max()
        ),
    }
    (out / "cost.json").write_text(json.dumps(result, indent=1))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="a miniature: runs in minutes, proves nothing")
    parser.add_argument("--cost", action="store_true", help="time of a committee of five against one model")
    parser.add_argument("--crystals", type=int, default=0, help="0: all")
    parser.add_argument("--test", type=int, default=25, help="crystals held out")
    parser.add_argument("--supercells", type=int, default=2)
    parser.add_argument("--min-length", type=float, default=7.0, help="of supercell edges, Å (40 atoms at most)")
    parser.add_argument("--start", type=int, default=28)
    parser.add_argument("--budget", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--last", type=int, default=40, help="labels of one large round at the end; 0: none")
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-atoms", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--strategies", nargs="+", default=["fill-budget", "random"])
    parser.add_argument("--learner", choices=("e-sdnnff", "sdnnff"), default="e-sdnnff")
    parser.add_argument("--head", choices=("direct", "conservative"), default="direct")
    parser.add_argument("--warm-start", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if options.cost:
        print(json.dumps(measure_cost(options.out, options), indent=1))
        return
    if options.quick:
        options.crystals, options.test, options.supercells, options.min_length = 14, 3, 2, 0.0
        options.start, options.budget, options.rounds, options.last = 4, 2, 2, 2
        options.members, options.epochs, options.seeds = 3, 15, 1
    options.out.mkdir(parents=True, exist_ok=True)
    options.teacher = make_teacher(options.device)
    crystals = make_crystals(options.out, options.crystals, options.teacher)
    results = []
    for seed in range(options.seeds):
        for strategy in options.strategies:
            results.append(run_one(options.out, strategy, seed, crystals, options))
            table, numbers = summarise(results)
            settings = {k: v for k, v in vars(options).items() if k not in ("teacher", "out")}
            text = json.dumps({"settings": settings, "runs": results, "summary": numbers}, indent=1)
            (options.out / "results.json").write_text(text)
            (options.out / "table.txt").write_text(table + "\n")
            draw(numbers, options.out / "figure.png")
    print(table)


if __name__ == "__main__":
    main()
