"""Crystals at a temperature by another force field, on the samples of the first: is the first one right about them?

    python benchmarks/scripts/warm_other_model.py benchmarks/results/warm-other-model.json \
        --calculator nequix --environment nequix --option path=nequix-oam-1-pft.pt --option trust=true
    python benchmarks/scripts/warm_other_model.py benchmarks/results/warm-other-model.json --table

The bundled weights find the force constants at the temperature; pairs drawn from their ensemble, in their cell, are
then computed by both force fields, and fc2 and fc3 fitted to each. This is not a second search: where the two disagree,
the other would go on to an ensemble of its own. What stands in the file is not computed again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from dataclasses import replace
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
from sdnnff_calc import SDNNFF
from warm_crystals import DIMS, pairs_of

from screen_cli import compute
from screen_cli.calculators import foreign
from screen_cli.config import ConductivitySettings, ForcesSettings
from screen_cli.crystal.prototypes import build, guess_lattice_constant
from screen_cli.physics.anharmonic.anharmonicity import anharmonicity
from screen_cli.physics.anharmonic.density_matrix import THZ, normal_modes, thermal_ensemble
from screen_cli.settings_file import parse_options
from screen_cli.solvers.registered import make_conductivity_solver
from screen_cli.solvers.self_consistent.linear_fit import OrderBasis, fit_even_part, fit_with_replicas
from screen_cli.solvers.self_consistent.samples import Pool, SampledForces, draw_population
from screen_cli.solvers.self_consistent.wells import highest_barrier
from screen_cli.stages.conductivity import compute_conductivity
from screen_cli.stages.displace import SupercellSet
from screen_cli.stages.forces import compute_force_set
from screen_cli.stages.phonon_objects import full_force_constants, load_phonopy
from screen_cli.stages.warm.supercell import shortest_bond

CRYSTALS = (
    "perovskite/SrTiO",
    "rocksalt/GeTe",
    "perovskite/CsPbBr",
    "perovskite/BaZrO",
    "cscl/NaCl",
    "perovskite/CsSnBr",
    "rocksalt/AgI",
    "perovskite/CsCaCl",
    "rocksalt/GeSe",
)
PAIRS = 12


def found_by(calculator, phonopy, ensemble, warm, displaced, kelvin):
    """Lowest frequency, its error, barrier, σ^A and κ from one population by one force field."""
    supercell, masses = phonopy.supercell, np.asarray(phonopy.supercell.masses)
    translations = np.asarray(phonopy.primitive.atomic_permutations)
    second, third = (OrderBasis.of(supercell, translations, order) for order in (2, 3))
    n_pairs = max(PAIRS, 2 + int(1.5 * third.n_parameters / (3 * len(masses))))

    def evaluate(displacements):
        return SampledForces(
            compute_force_set(SupercellSet.of(supercell, displacements), calculator, ForcesSettings())[0].forces
        )

    population = draw_population(ensemble, n_pairs, evaluate, second, np.random.default_rng(0))
    weights = np.full(n_pairs, 1 / n_pairs)
    fit = fit_with_replicas(population.designs, population.odd.reshape(n_pairs, -1), weights, 6)
    everywhere = np.arange(len(masses))
    fc2 = second.expand(fit.parameters, everywhere)
    modes = normal_modes(fc2, masses)
    squares = np.array([modes.project(second.expand(replica, everywhere))[0] for replica in fit.replicas])
    soft = max(abs(float(modes.eigenvalues[0])), float(fit.standard_errors(squares)))
    row = {
        "lowest_thz": float(modes.frequencies_thz[0]),
        "error_thz": float(fit.standard_errors(squares)) / (2 * np.sqrt(soft)) * THZ,
        "highest_thz": float(modes.frequencies_thz[-1]),
        "barrier": highest_barrier(ensemble, Pool([population]), weights),
        "forces": [population.odd.tolist(), population.even.tolist()],
    }
    harmonic = -np.einsum("ijab,sjb->sia", fc2, population.displacements)
    row["sigma_a"] = anharmonicity(population.odd + population.even, harmonic)
    if modes.eigenvalues[0] > 0:
        even = fit_even_part(third, population.displacements, population.even, weights)
        first = np.asarray(phonopy.primitive.p2s_map)
        record = replace(warm, fc2=np.ascontiguousarray(fc2[first]), fc3=third.expand(even.parameters, first))
        settings = ConductivitySettings(mesh=[9, 9, 9], temperatures=[float(kelvin)], keep_modes=False)
        kappa = compute_conductivity(displaced, record, settings, make_conductivity_solver("standard", {}))
        row |= {"kappa_p_w_mk": float(kappa.kappa_total_w_mk), "fc3_error": even.relative_error}
    return row


def computed(name, kelvin, other):
    """One crystal by both."""
    prototype, formula = name.split("/")
    elements = pairs_of(formula)
    result = compute(
        build(prototype, elements, guess_lattice_constant(prototype, elements)),
        "sdnnff",
        relax={"max_volume_change": 1.0},
        displace={"dim": DIMS[prototype]},
        harmonic={"phase_space": False, "band_points": 3, "mesh": [3, 3, 3]},
        conductivity={"enabled": False},
        renormalise={
            "enabled": True,
            "select": "all",
            "temperatures": [kelvin],
            "max_supercells": 800,
            "error_thz": 0.15,
        },
        progress=False,
    )
    warm, displaced = result.records[f"renormalise_{kelvin}k"], result.displaced
    phonopy = load_phonopy(displaced, warm)
    modes = normal_modes(full_force_constants(phonopy), np.asarray(phonopy.supercell.masses))
    perfect = SupercellSet.of(phonopy.supercell, np.zeros((0, len(phonopy.supercell), 3))).perfect
    ensemble = thermal_ensemble(modes, float(kelvin), floor_thz=0.1).limited(0.25 * shortest_bond(perfect))
    rows = {}
    for label, calculator in (("bundled", SDNNFF()), ("other", other)):
        start = time.process_time()
        rows[label] = found_by(calculator, phonopy, ensemble, warm, displaced, kelvin)
        rows[label]["cpu_s"] = time.process_time() - start
    ours, theirs = (np.array(rows[label].pop("forces")) for label in ("bundled", "other"))
    difference = float(np.sqrt(((ours - theirs) ** 2).mean() / (theirs**2).mean()))
    a = float(result.records["relax"].a)
    return {"state": warm.state, "relaxed_a": a, "force_difference": difference} | rows


def table(rows):
    """Markdown."""
    lines = [
        "| crystal | state | lowest, THz: bundled, other | barrier | σ^A | κ, W/(m K) | forces differ by |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        both = [row["bundled"], row["other"]]
        shown = [
            ", ".join(f"{one[key]:.2f}" if key in one else "none" for one in both)
            for key in ("barrier", "sigma_a", "kappa_p_w_mk")
        ]
        low = ", ".join(f"{one['lowest_thz']:.2f} ± {one['error_thz']:.2f}" for one in both)
        lines.append(f"| {name} | {row['state']} | {low} | {' | '.join(shown)} | {row['force_difference']:.0%} |")
    return "\n".join(lines)


def main():
    """Compute what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--calculator", default="nequix")
    parser.add_argument("--environment", default="")
    parser.add_argument("--option", action="append", default=[], help="of the calculator, KEY=VALUE; repeatable")
    parser.add_argument("--temperature", type=int, default=300)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    rows = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    missing = [] if arguments.table else [name for name in CRYSTALS if name not in rows]
    other = None
    if missing:
        other = foreign(arguments.calculator, environment=arguments.environment, **parse_options(arguments.option))
    for name in missing:
        rows[name] = computed(name, arguments.temperature, other)
        arguments.out.write_text(json.dumps(rows, indent=1))
        print(name, rows[name], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
