"""What a campaign costs: a sample of the paper's 77,091 crystals through every stage, and the plain way beside it.

    python benchmarks/scripts/campaign_cost.py [--crystals 771] [--least 2] [--minutes 5] [--plain] [--output FILES]

The sample has the proportions of the paper's Table 1 (``--least`` crystals of each prototype at least), drawn from the
elements that the bundled weights know under charge balance. Each crystal goes through relaxation, fc2, harmonic
properties and gate; those that are stable, and one of each prototype in any case, through fc3 and κ too, on points as
dense as 11³ of rocksalt NaCl (``--mesh 11`` takes 11³ for all: larger cells then have a finer mesh). CPU
seconds of this process are counted, all overheads included; the first crystal of a kind that is not in the cache
pays for it, and is counted apart. Measured crystals stay in ``OUTPUT.jsonl``: with ``--minutes`` the script stops in
between, and the next call goes on. ``SCREEN_KINDS`` should name a folder of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import time
import warnings
from collections import defaultdict
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
import torch
from ase.data import chemical_symbols

from screen_cli.config import CalculatorSettings, settings_from_dict
from screen_cli.crystal.prototypes import prototypes
from screen_cli.crystal.standard_cell import standard_cell
from screen_cli.kinds.cache import shared_cache
from screen_cli.run.driver import resolve
from screen_cli.run.force_field import RegisteredForceField
from screen_cli.run.in_memory import run_in_memory
from screen_cli.sources.decoration import Decoration, decorate, decorated_structure

N_PAPER, N_KAPPA = 77_091, 27_059
PLAIN = {  # stable crystals that everybody knows, elements by site of the prototype
    "rocksalt": ("Na", "Cl"),
    "zincblende": ("Ga", "As"),
    "half-heusler": ("Ti", "Ni", "Sn"),
    "perovskite": ("K", "Mg", "F"),
}
KAPPA_STAGES = ("displace", "forces", "force_constants", "conductivity")
COLUMNS = ("n_atoms_supercell", "n_supercells", "kappa_p_w_mk", "kappa_total_w_mk", "heldout_error_even")
SETTINGS = {
    "calculator": {"name": "sdnnff"},
    "gate": {"before_third_order": True},
    "conductivity": {"q_spacing": 0.175},  # 1/Å: 11³ for NaCl, GaAs and TiNiSn, 7³ for an elpasolite
}


# -- the sample ------------------------------------------------------------------------------------


def pools():
    """Unexplored crystals of each prototype in the paper's Table 1."""
    return {name: entry["pool"] for name, entry in prototypes().items() if "pool" in entry}


def sample(n_crystals, least, elements, seed):
    """Prototype and elements of each crystal: in proportion, at least some of each, one of each first."""
    chosen = {}
    for name, pool in pools().items():
        wanted = max(least, round(n_crystals * pool / N_PAPER))
        chosen[name] = list(decorate(Decoration(tuple(elements), (name,), limit=wanted, seed=seed)))
    longest = max(map(len, chosen.values()))
    return [(k == 0, *crystals[k]) for k in range(longest) for crystals in chosen.values() if k < len(crystals)]


# -- measuring -------------------------------------------------------------------------------------


class StageClock:
    """CPU seconds by stage, without those that went into kinds made on the way."""

    def __init__(self):
        self.seconds = defaultdict(float)
        self.made = 0.0
        self._stage, self._since = "start", time.process_time()

    def starts(self, stage):
        now = time.process_time()
        self.seconds[self._stage] += now - self._since
        self._stage, self._since = stage, now

    def makes(self, seconds):
        self.made += seconds
        self.seconds[self._stage] -= seconds


def count_what_is_made(cache, clock_of_now):
    """Let the cache tell the clock how long the making of a kind took."""
    get_or_make = cache.get_or_make

    def timed(key, make):
        def making():
            start = time.process_time()
            result = make()
            clock_of_now[0].makes(time.process_time() - start)
            return result

        return get_or_make(key, making)

    cache.get_or_make = timed


def measure(structure, tables, force_field, clock_of_now):
    """One crystal: CPU seconds by stage, why it ended, and its sizes."""
    clock = clock_of_now[0] = StageClock()
    row = {"reason": ""}
    settings = resolve(settings_from_dict(tables, "benchmark"))
    try:
        passage = run_in_memory(structure, settings, force_field, starts=clock.starts)
        row["reason"] = passage.reason
        row |= {name: passage.scalars.get(name) for name in COLUMNS}
        if "conductivity" in passage.records:
            row["mesh"] = [int(n) for n in passage.records["conductivity"].mesh]
        if "displace" in passage.records:
            row["supercell_dim"] = list(passage.records["displace"].supercell_dim)
    except Exception as error:  # a bad crystal costs what it cost
        row["reason"] = f"{type(error).__name__}: {error}"
    clock.starts("end")
    return row | {
        "n_atoms": len(structure.atoms),
        "seconds": dict(clock.seconds),
        "made_seconds": clock.made,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }


def whole(row):
    """CPU seconds of a crystal without what its kind cost."""
    return sum(row["seconds"].values())


def of_kappa(row):
    """The part behind the gate."""
    return sum(row["seconds"].get(stage, 0.0) for stage in KAPPA_STAGES)


# -- the plain way ---------------------------------------------------------------------------------


def plain_way(atoms, calculator, dim, n_supercells, mesh, distance=0.03):
    """ASE, phono3py and symfc as in a script; give CPU seconds and κ."""
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS
    from phono3py import Phono3py
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    start = time.process_time()
    atoms = atoms.copy()
    atoms.calc = calculator
    atoms.set_constraint(FixSymmetry(atoms))
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-4, steps=500)
    cell = PhonopyAtoms(numbers=atoms.numbers, cell=atoms.cell.array, scaled_positions=atoms.get_scaled_positions())
    phono3py = Phono3py(cell, supercell_matrix=np.diag(dim), primitive_matrix="auto", log_level=0)
    phono3py.generate_displacements(
        distance=distance, number_of_snapshots=n_supercells // 2, is_plusminus=True, random_seed=0
    )
    forces = []
    for displaced in phono3py.supercells_with_displacements:
        supercell = atoms.__class__(numbers=displaced.numbers, positions=displaced.positions, cell=displaced.cell)
        supercell.pbc, supercell.calc = True, calculator
        forces.append(supercell.get_forces())
    phono3py.forces = np.array(forces)
    phono3py.produce_fc3(fc_calculator="symfc")
    phonopy = Phonopy(cell, supercell_matrix=np.diag(dim), primitive_matrix="auto")
    phonopy.force_constants = phono3py.fc2
    phonopy.run_mesh(60.0, with_eigenvectors=True)
    phonopy.run_thermal_properties(temperatures=[300.0])
    phonopy.auto_band_structure()
    phono3py.mesh_numbers = list(mesh)
    phono3py.init_phph_interaction()
    phono3py.run_thermal_conductivity(temperatures=[300.0], is_isotope=True)
    kappa = float(np.mean(phono3py.thermal_conductivity.kappa[0, 0, :3]))
    return time.process_time() - start, kappa


# -- what it comes to ------------------------------------------------------------------------------


def extrapolate(rows, rng, n_draws=2000):
    """Core hours of the paper's pool by prototype: mean and a 95 % interval of drawing the sample again."""
    by_name = defaultdict(list)
    for row in rows:
        by_name[row["prototype"]].append(row)
    totals = np.zeros(n_draws)
    mean = 0.0
    share = N_KAPPA / N_PAPER
    for name, pool in pools().items():
        found = by_name.get(name)
        if not found:
            continue
        front = np.array([whole(row) - of_kappa(row) for row in found])
        behind = np.array([of_kappa(row) for row in found if "conductivity" in row["seconds"]])
        mean += pool * (front.mean() + share * (behind.mean() if len(behind) else 0.0))
        draws = rng.choice(front, (n_draws, len(front))).mean(axis=1)
        if len(behind):
            draws = draws + share * rng.choice(behind, (n_draws, len(behind))).mean(axis=1)
        totals += pool * draws
    low, high = np.percentile(totals, [2.5, 97.5])
    return {"core_hours": mean / 3600, "low": low / 3600, "high": high / 3600}


def fitted_power(rows, size, cost):
    """Exponent and prefactor of cost = c · size^p over the crystals that reached κ."""
    pairs = [(row[size], cost(row)) for row in rows if "conductivity" in row["seconds"] and cost(row) > 0]
    sizes, costs = np.log(np.array(pairs, dtype=float).T)
    if np.ptp(sizes) == 0:
        return None
    exponent, offset = np.polyfit(sizes, costs, 1)
    scatter = float(np.std(costs - exponent * sizes - offset))
    return {"exponent": float(exponent), "prefactor_s": float(np.exp(offset)), "scatter": scatter}


def summary(rows, plain):
    """Everything that is printed and kept."""
    by_name = {}
    for name, pool in pools().items():
        found = [row for row in rows if row["prototype"] == name]
        if not found:
            continue
        kappa = [row for row in found if "conductivity" in row["seconds"]]
        by_name[name] = {
            "pool": pool,
            "n": len(found),
            "n_kappa": len(kappa),
            "candidate_s": float(np.mean([whole(row) - of_kappa(row) for row in found])),
            "kappa_s": float(np.mean([of_kappa(row) for row in kappa])) if kappa else None,
            "kind_s": float(sum(row["made_seconds"] for row in found)),
            "n_atoms_supercell": next((row["n_atoms_supercell"] for row in kappa), None),
            "n_supercells": next((row["n_supercells"] for row in kappa), None),
            "mesh": "×".join(map(str, kappa[0]["mesh"])) if kappa and kappa[0].get("mesh") else None,
        }
    stages = defaultdict(list)
    for row in rows:
        for stage, seconds in row["seconds"].items():
            stages[stage].append(seconds)
    return {
        "n_crystals": len(rows),
        "machine": {"processor": platform.processor() or platform.machine(), "load": os.getloadavg()},
        "date": time.strftime("%Y-%m-%d"),
        "prototypes": by_name,
        "stages_s": {stage: float(np.mean(values)) for stage, values in stages.items()},
        "extrapolated": extrapolate(rows, np.random.default_rng(0)),
        "by_atoms": fitted_power(rows, "n_atoms", whole),
        "by_supercell": fitted_power(rows, "n_atoms_supercell", whole),
        "memory_mb": max(row["memory_mb"] for row in rows),
        "plain": plain,
    }


def table(result):
    """The same as Markdown."""
    lines = [
        "# What a campaign costs",
        "",
        f"`python benchmarks/scripts/campaign_cost.py`, {result['date']}, {result['n_crystals']} crystals; "
        f"CPU seconds of one core; load of the machine when it ended: {result['machine']['load'][0]:.1f}.",
        "",
        "| prototype | pool | crystals (with κ) | supercell, displaced, mesh | candidate | + fc3 and κ | kind, once |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in result["prototypes"].items():
        kappa = "" if row["kappa_s"] is None else f"{row['kappa_s']:.1f}"
        cells = f"{row['n_atoms_supercell'] or ''}, {row['n_supercells'] or ''}, {row['mesh'] or ''}"
        counts, candidate = f"{row['n']} ({row['n_kappa']})", f"{row['candidate_s']:.2f}"
        columns = (name, str(row["pool"]), counts, cells, candidate, kappa, f"{row['kind_s']:.0f}")
        lines.append(f"| {' | '.join(columns)} |")
    found = result["extrapolated"]
    lines += [
        "",
        f"{N_PAPER:,} candidates, {N_KAPPA:,} with κ: {found['core_hours']:.0f} core hours (95 %: {found['low']:.0f} "
        f"to {found['high']:.0f}). Memory of the worker: {result['memory_mb'] / 1000:.1f} GB at most.",
    ]
    missing = [name for name in pools() if name not in result["prototypes"]]
    if missing:
        share = sum(pools()[name] for name in missing) / N_PAPER
        lines.append(f"Not in it: {', '.join(missing)} ({share:.1%} of the candidates).")
    lines.append("")
    for name, fit in (("atoms in the primitive cell", "by_atoms"), ("atoms in the supercell", "by_supercell")):
        if result[fit]:
            power = f"{result[fit]['prefactor_s']:.3g} s · n^{result[fit]['exponent']:.2f}"
            lines.append(f"Cost with κ over {name} n: {power} (scatter of the logarithm {result[fit]['scatter']:.2f}).")
    if result["plain"]:
        lines += [
            "",
            "| | ASE, phono3py, symfc: CPU s | here, kind warm | its candidate | its fit | ratio | κ_P there, here |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['formula']}, {row['prototype']} | {row['plain_s']:.1f} | {row['ours_s']:.1f} | "
            f"{row['candidate_s']:.2f} | {row['stages_s']['force_constants']:.2f} | "
            f"{row['plain_s'] / row['ours_s']:.1f} | {row['kappa_plain']:.3g}, {row['kappa']:.3g} |"
            for row in result["plain"]
        ]
    return "\n".join(lines) + "\n"


def compare_with_plain(tables, force_field, clock_of_now):
    """Known crystals, both ways in this process; ours twice, so that the kind is warm."""
    rows = []
    for name, symbols in PLAIN.items():
        structure = decorated_structure(name, symbols)
        measure(structure, tables, force_field, clock_of_now)
        ours = measure(structure, tables, force_field, clock_of_now)
        conventional = standard_cell(structure.atoms, 1e-3, to_primitive=False).atoms
        seconds, kappa = plain_way(
            conventional, force_field.calculator, ours["supercell_dim"], ours["n_supercells"], ours["mesh"]
        )
        rows.append(
            {
                "prototype": name,
                "formula": structure.formula,
                "mesh": ours["mesh"],
                "plain_s": seconds,
                "ours_s": whole(ours),
                "candidate_s": whole(ours) - of_kappa(ours),
                "stages_s": ours["seconds"],
                "kappa_plain": kappa,
                "kappa": ours["kappa_p_w_mk"],
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crystals", type=int, default=771)
    parser.add_argument("--least", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mesh", type=int, help="the same mesh for all, instead of one as dense for all")
    parser.add_argument("--skip", nargs="*", default=[], help="prototypes left out, and said so")
    parser.add_argument("--minutes", type=float, default=np.inf)
    parser.add_argument("--plain", action="store_true", help="compare with the plain way too")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/campaign-cost"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = SETTINGS | ({"conductivity": {"mesh": [arguments.mesh] * 3}} if arguments.mesh else {})
    warnings.filterwarnings("ignore")
    deadline = time.monotonic() + 60 * arguments.minutes
    force_field = RegisteredForceField(CalculatorSettings(name="sdnnff"))
    elements = [chemical_symbols[number] for number in force_field.calculator.model.elements]
    journal = arguments.output.with_suffix(".jsonl")
    rows = [json.loads(line) for line in journal.read_text().splitlines()] if journal.is_file() else []
    known = {(row["prototype"], tuple(row["elements"])) for row in rows}
    clock_of_now = [StageClock()]
    cache = shared_cache()
    if cache is not None:
        count_what_is_made(cache, clock_of_now)
    for is_first, name, symbols in sample(arguments.crystals, arguments.least, elements, arguments.seed):
        if time.monotonic() > deadline:
            break
        if (name, tuple(symbols)) in known or name in arguments.skip:
            continue
        tables = settings | {"gate": {"before_third_order": True, "require_stable": not is_first}}
        row = measure(decorated_structure(name, symbols), tables, force_field, clock_of_now)
        rows.append({"prototype": name, "elements": list(symbols), **row})
        with journal.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        print(
            name,
            "".join(symbols),
            f"{whole(row):.1f} s, kind {row['made_seconds']:.0f} s",
            row["reason"][:80],
            flush=True,
        )
    plain_file = arguments.output.with_suffix(".plain.json")
    if arguments.plain:
        tables = settings | {"gate": {"before_third_order": True}}
        plain_file.write_text(json.dumps(compare_with_plain(tables, force_field, clock_of_now)))
    plain = json.loads(plain_file.read_text()) if plain_file.is_file() else []
    result = summary(rows, plain)
    arguments.output.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    arguments.output.with_suffix(".md").write_text(table(result))
    print(table(result))


if __name__ == "__main__":
    main()
