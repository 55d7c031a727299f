"""Crystals that are unstable at 0 K, at a temperature: how many become stable, how many get κ, what it costs.

    python benchmarks/scripts/warm_crystals.py benchmarks/results/warm-crystals.json
    python benchmarks/scripts/warm_crystals.py benchmarks/results/warm-crystals.json --table

Each crystal is relaxed, fitted at 0 K and, where a mode is imaginary, searched for self-consistent force constants in
the supercell of its prototype; κ follows where the result is stable. What stands in the file is not computed again.
CPU time of this process, so run with one thread; the bundled weights unless --model names others.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections import Counter
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from ase.data import chemical_symbols
from sdnnff_calc import SDNNFF

from screen_cli import compute
from screen_cli.crystal.prototypes import build, guess_lattice_constant
from screen_cli.errors import ScreenError
from screen_cli.sources.decoration import Decoration, decorate

DIMS = {  # of the conventional cell: with the edge of the zone, and small
    "perovskite": [2, 2, 2],
    "elpasolite": [1, 1, 1],
    "cscl": [3, 3, 3],
    "cu3au": [2, 2, 2],
    "rocksalt": [2, 2, 2],
    "fluorite": [2, 2, 2],
    "zincblende": [2, 2, 2],
    "bif3": [1, 1, 1],
    "full-heusler": [1, 1, 1],
    "half-heusler": [1, 1, 1],
    "quaternary-heusler": [1, 1, 1],
}
KNOWN = {
    "perovskite": "SrTiO CaTiO BaTiO NaNbO SrZrO BaZrO CaZrO SrHfO SrSnO LaAlO CsPbCl CsPbBr CsPbI CsSnCl CsSnBr CsSnI "
    "CsGeCl RbPbCl RbPbI RbSnI CsCdBr CsCaCl CsCaBr RbCaF KCaF NaMgF CsSrBr RbCdF KMnF",
    "rocksalt": "GeTe GeSe AgI AgBr CuI ZnO",
    "fluorite": "ZrO HfO TiO SnO",
    "cscl": "AgI CuI NaCl CsF NiTi LiBr ZnTe AgBr",
    "elpasolite": "AgBiCsBr AgInCsCl NaYCsCl NaAlKF",
}
"""Crystals that somebody knows of, unstable at 0 K in an earlier count."""
DRAWN = {
    "half-heusler": 7,
    "full-heusler": 6,
    "quaternary-heusler": 4,
    "cu3au": 7,
    "bif3": 7,
    "zincblende": 5,
}
"""How many are drawn of the elements that the weights know, under charge balance."""


def pairs_of(text):
    """Elements of a name such as SrTiO."""
    from ase.formula import Formula

    return list(Formula(text))


def crystals():
    """Prototype and elements of every crystal."""
    for prototype, names in KNOWN.items():
        for name in names.split():
            yield prototype, pairs_of(name)
    known = tuple(chemical_symbols[number] for number in SDNNFF().model.elements)
    for prototype, number in DRAWN.items():
        for drawn in decorate(Decoration(known, (prototype,), limit=number, seed=1)):
            yield prototype, list(drawn[1])


def computed(prototype, elements, temperature, model):
    """One crystal: row of its results, with the CPU time."""
    atoms = build(prototype, elements, guess_lattice_constant(prototype, elements))
    start = time.process_time()
    try:
        result = compute(
            atoms,
            "sdnnff",
            calculator_options={"model": model} if model else {},
            relax={"max_volume_change": 1.0},
            displace={"dim": DIMS[prototype]},
            harmonic={"phase_space": False, "band_points": 11},
            renormalise={"enabled": True, "temperatures": [temperature], "max_supercells": 800, "error_thz": 0.1},
            conductivity={"mesh": [9, 9, 9]},
            gate={"before_third_order": True},
            progress=False,
        )
    except ScreenError as error:
        return {"failed": str(error), "cpu_s": time.process_time() - start}
    kept = ("stable", "min_frequency_thz", "volume_change", "n_atoms")
    front = (
        f"renormalise_{temperature}k_",
        f"harmonic_{temperature}k_",
        f"conductivity_{temperature}k_",
        "renormalise_s",
    )
    row = {name: value for name, value in result.row.items() if name in kept or name.startswith(front)}
    warm = result.records.get(f"renormalise_{temperature}k")
    if warm is not None and warm.steps:
        row["steps"] = [[step.n_pairs, step.min_frequency_thz, step.deviation, step.error_thz] for step in warm.steps]
    return row | {"cpu_s": time.process_time() - start, "seconds": dict(result.seconds)}


def table(rows, temperature):
    """Markdown: one line per crystal that is unstable at 0 K, and the sums."""
    lines = [
        "| elements | prototype | at 0 K, THz | state | lowest, THz | barrier | σ^A | κ_P, κ_C, W/(m K) | CPU, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    counts = Counter()
    for name, row in rows.items():
        prototype, formula = name.split("/")
        counts["all"] += 1
        if row.get("stable", True):
            counts["failed" if "failed" in row else "stable at 0 K"] += 1
            continue
        state = row.get(f"renormalise_{temperature}k_state", "")
        lowest = row.get(f"renormalise_{temperature}k_commensurate_min_thz")
        barrier = row.get(f"renormalise_{temperature}k_well_barrier")
        sigma = row.get(f"renormalise_{temperature}k_anharmonicity")
        kappa = [row.get(f"conductivity_{temperature}k_kappa_{part}_w_mk") for part in "pc"]
        counts[state] += 1
        counts["stable at T"] += bool(row.get(f"harmonic_{temperature}k_stable"))
        counts["κ"] += kappa[0] is not None
        shown = "" if kappa[0] is None else f"{kappa[0]:.2f}, {kappa[1] or 0:.2f}"
        numbers = ["" if value is None else f"{value:.2f}" for value in (lowest, barrier, sigma)]
        lines.append(
            f"| {formula} | {prototype} | {row['min_frequency_thz']:.2f} | {state.replace('_', ' ')} | {numbers[0]} | "
            f"{numbers[1]} | {numbers[2]} | {shown} | {row['cpu_s']:.0f} |"
        )
    return "\n".join(lines), counts


def main():
    """Compute what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--temperature", type=int, default=300)
    parser.add_argument("--model", default="")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    rows = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for prototype, elements in () if arguments.table else crystals():
        name = f"{prototype}/{''.join(elements)}"
        if name in rows:
            continue
        rows[name] = computed(prototype, elements, arguments.temperature, arguments.model)
        arguments.out.write_text(json.dumps(rows, indent=1))
        print(
            name, {key: value for key, value in rows[name].items() if key in ("stable", "cpu_s", "failed")}, flush=True
        )
    text, counts = table(rows, arguments.temperature)
    print(text, *(f"{key}: {count}" for key, count in counts.items()), sep="\n")


if __name__ == "__main__":
    main()
