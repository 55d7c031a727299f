"""Committee selection against random selection, for real: SevenNet-l3i5 labels, sdnnff learns, unseen crystals judge.

For each seed both strategies start from the same random labels, take the same number of labels per round and are
judged by the force RMSE of the committee's mean on crystals that are in neither pool. Labels are shared through the
cache, so a structure is computed once for all runs. An interrupted benchmark goes on where it stopped.

    python benchmarks/active_learning.py --out al-benchmark              # the whole thing, hours on a CPU
    python benchmarks/active_learning.py --out al-quick --quick          # minutes: shows that it runs, proves nothing
    python benchmarks/active_learning.py --out al-cost --cost            # committee of five against one model

Writes results.json, table.txt and figure.png into the output folder.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import covalent_radii
from ase.db import connect
from ase.spacegroup import crystal

from al_committee.committee import CommitteeCalculator
from al_committee.label_cache import LabelCache
from al_committee.labelling import CalculatorLabeller
from al_committee.loop import ActiveLearningLoop
from al_committee.pool import Crystal, Pool
from al_committee.run_directory import RunDirectory

logger = logging.getLogger("active-learning benchmark")

ALKALI, EARTH, HALOGEN, CHALCOGEN = ("Li", "Na", "K"), ("Mg", "Ca", "Sr"), ("F", "Cl", "Br"), ("O", "S", "Se")


def decorations() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Prototype and elements of every crystal: 9 + 9 + 9 + 9 + 9 + 9 + 9 = 63 crystals of seven prototypes."""
    for pair in itertools.product(ALKALI, HALOGEN):
        yield "rocksalt", f"{pair[0]}{pair[1]}-rocksalt", pair
        yield "cesiumchloride", f"{pair[0]}{pair[1]}-CsCl", pair
    for pair in itertools.product(EARTH, CHALCOGEN):
        yield "rocksalt", f"{pair[0]}{pair[1]}-rocksalt", pair
        yield "zincblende", f"{pair[0]}{pair[1]}-zincblende", pair
    for pair in itertools.product(EARTH, HALOGEN):
        yield "fluorite", f"{pair[0]}{pair[1]}2-fluorite", pair
    for pair in itertools.product(ALKALI, CHALCOGEN):
        yield "antifluorite", f"{pair[0]}2{pair[1]}-antifluorite", pair
    for alkali, earth in itertools.product(ALKALI, EARTH):
        yield "perovskite", f"{alkali}{earth}F3-perovskite", (alkali, earth, "F")


def ideal_cell(prototype: str, elements: tuple[str, ...]) -> Atoms:
    """Conventional cubic cell with bonds of 1.1 times the sum of covalent radii."""
    radius = {symbol: covalent_radii[Atoms(symbol).numbers[0]] for symbol in elements}
    bond = 1.1 * (radius[elements[0]] + radius[elements[-1]])
    if prototype == "rocksalt":
        return bulk("".join(elements), "rocksalt", a=2 * bond, cubic=True)
    if prototype == "cesiumchloride":
        return bulk("".join(elements), "cesiumchloride", a=2 * bond / 3**0.5, cubic=True)
    if prototype == "zincblende":
        return bulk("".join(elements), "zincblende", a=4 * bond / 3**0.5, cubic=True)
    if prototype == "fluorite":
        return crystal(elements, [(0, 0, 0), (0.25,) * 3], spacegroup=225, cellpar=[4 * bond / 3**0.5] * 3 + [90] * 3)
    if prototype == "antifluorite":
        return crystal(elements, [(0.25,) * 3, (0, 0, 0)], spacegroup=225, cellpar=[4 * bond / 3**0.5] * 3 + [90] * 3)
    side = 2.2 * (radius[elements[1]] + radius["F"])
    return crystal(elements, [(0.5,) * 3, (0, 0, 0), (0.5, 0, 0)], spacegroup=221, cellpar=[side] * 3 + [90] * 3)


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
    chosen = list(decorations())
    chosen = chosen[:: max(1, len(chosen) // count)][:count]
    known = {row.name: row.toatoms() for row in database.select()}
    crystals = []
    for prototype, name, elements in chosen:
        if name not in known:
            known[name] = relax_volume(ideal_cell(prototype, elements), calculator)
            database.write(known[name], name=name, prototype=prototype)
            logger.info("%s relaxed, a = %.3f Å", name, known[name].cell.lengths()[0])
        crystals.append(Crystal(name, known[name]))
    return crystals


CONFIG = """
seed = {seed}
[pool]
source = "unused: the benchmark passes objects"
test_structures = {n_test}
start_labels = {start}
start_method = "random"
[supercells]
n_supercells = {cells}
min_length = {length}
max_atoms = 64
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
constant_rounds = 0
below_threshold = false
"""


def run_one(out: Path, strategy: str, seed: int, crystals: list[Crystal], options: argparse.Namespace) -> dict:
    """One loop to its end; returns its rounds."""
    folder = out / f"{strategy}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder.with_suffix(".toml")
    config.write_text(
        CONFIG.format(
            seed=seed,
            n_test=options.test,
            start=options.start,
            cells=options.supercells,
            length=options.min_length,
            strategy=strategy,
            budget=options.budget,
            members=options.members,
            rounds=options.rounds,
            warm=str(options.warm_start).lower(),
        )
    )
    run = RunDirectory.create(folder, config)
    labeller = CalculatorLabeller(options.teacher, {"model": "7net-l3i5", "package": "sevenn"})
    loop = ActiveLearningLoop(
        run,
        Pool(crystals, run.config.supercells),
        labeller,
        make_trainer(options),
        LabelCache(out / "labels", labeller.settings),
    )
    with run.locked():
        loop.drive()
    return {"strategy": strategy, "seed": seed, "rounds": [run.summary(n) for n in run.rounds()]}


def make_trainer(options: argparse.Namespace):
    """The learner."""
    from sdnnff_calc.committee import Trainer
    from sdnnff_calc.config import EquivariantConfig, GridConfig

    model = GridConfig() if options.learner == "sdnnff" else EquivariantConfig()
    return Trainer(model, device=options.device, epochs=options.epochs)


def make_teacher(device: str):
    """SevenNet-l3i5; its weights ship in the wheel."""
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator("7net-l3i5", device="cpu" if device == "auto" else device)


def summarise(results: list[dict]) -> tuple[str, dict]:
    """Mean and spread over seeds of the RMSE at each number of labels, and of the number recommended."""
    lines, numbers = [f"{'strategy':12s} {'labels':>6s} {'RMSE meV/Å':>18s} {'recommended':>12s}  seeds"], {}
    for strategy in dict.fromkeys(r["strategy"] for r in results):
        own = [r["rounds"] for r in results if r["strategy"] == strategy]
        for rows in zip(*own, strict=False):
            if any(row["force_rmse"] is None for row in rows):
                continue
            rmse = 1e3 * np.array([row["force_rmse"] for row in rows])
            asked = [row["recommended"] for row in rows if row["recommended"] is not None]
            labels = int(np.mean([row["training_labels"] for row in rows]))
            numbers.setdefault(strategy, []).append({"labels": labels, "rmse_mev": rmse.tolist(), "recommended": asked})
            mean = f"{np.mean(asked):12.1f}" if asked else " " * 11 + "–"
            lines.append(f"{strategy:12s} {labels:6d} {rmse.mean():10.1f} ± {rmse.std():5.1f} {mean}  {len(rows)}")
    return "\n".join(lines), numbers


def draw(numbers: dict, path: Path) -> None:
    """Error and number recommended against labels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for strategy, rows in numbers.items():
        labels = [row["labels"] for row in rows]
        rmse = np.array([row["rmse_mev"] for row in rows])
        left.errorbar(labels, rmse.mean(1), rmse.std(1), marker="o", capsize=3, label=strategy)
        asked = [(row["labels"], np.mean(row["recommended"])) for row in rows if row["recommended"]]
        right.plot(*zip(*asked, strict=True), "o-", label=strategy) if asked else None
    left.set(xlabel="labels", ylabel="force RMSE on unseen crystals (meV/Å)", yscale="log")
    right.set(xlabel="labels", ylabel="structures recommended (ε > 50 meV/Å)")
    left.legend()
    figure.savefig(path, dpi=120)


def measure_cost(out: Path, options: argparse.Namespace) -> dict:
    """Time one model and a committee of five on 64 displaced atoms, batched and one after the other."""
    from sdnnff_calc.calculator import SDNNFF

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
    parser.add_argument("--crystals", type=int, default=63)
    parser.add_argument("--test", type=int, default=15, help="crystals held out")
    parser.add_argument("--supercells", type=int, default=3)
    parser.add_argument("--min-length", type=float, default=8.0, help="of supercell edges, Å (64 atoms at most)")
    parser.add_argument("--start", type=int, default=12)
    parser.add_argument("--budget", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--strategies", nargs="+", default=["fill-budget", "random"])
    parser.add_argument("--learner", choices=("e-sdnnff", "sdnnff"), default="e-sdnnff")
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
        options.start, options.budget, options.rounds = 4, 2, 2
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
