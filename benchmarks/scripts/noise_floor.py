"""What two equally right calculations of one force field differ by: the floor under differences of SRME between models.

    python benchmarks/scripts/noise_floor.py structures.extxyz --only NaCl MgO --output noise_floor.json
    python benchmarks/scripts/noise_floor.py structures.extxyz --references kappas_noNAC.json.gz kappas_NAC.json.gz

Every variant changes one choice of the protocol and is scored against the crystal's own base calculation (κ at 300 K,
mode by mode). The base is the fast protocol on a coarser mesh, with a supercell of 3 × 3 × 3 cells for fc2, so that
many variants are affordable; on other meshes κ alone can be compared. The second command compares two published
references (with and without non-analytical correction) material by material, without any calculation. What has been
computed is kept in the output file and not computed again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import statistics
import sys
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from ase.io import read

from screen_cli import compute
from screen_cli.bench.protocol import merge_tables, protocol_tables
from screen_cli.bench.reference import read_references
from screen_cli.bench.score import compare_modes, mode_conductivity
from screen_cli.errors import ScreenError
from screen_cli.plugins.manager import installed_plugins
from screen_cli.stages.conductivity import compute_conductivity
from sdnnff_calc import SDNNFF

MESH = 11
OTHER_MESHES = (9, 13, 19)
CELLS = {
    "displace": {"dim": [2, 2, 2], "dim_fc2": [3, 3, 3]},
    "harmonic": {"mesh": [MESH] * 3},
    "properties": {"names": []},  # the protocols add thermal expansion, which asks for multiples of the fc3 supercell
}
DOUBLE = "forces in double precision"
VARIANTS = {
    "other random displacements": ("fast", {"displace": {"seed": 1}}),
    "displacements of 0.01 Å": ("fast", {"displace": {"distance": 0.01}}),
    "displacements of 0.05 Å": ("fast", {"displace": {"distance": 0.05}}),
    "symmetry within 1e-3 Å": ("fast", {"read": {"symprec": 1e-3}}),
    "fc2 from 4 × 4 × 4 cells": ("fast", {"displace": {"dim_fc2": [4, 4, 4]}}),
    "exact protocol": ("exact", {}),
    DOUBLE: ("fast", {}),
}


def calculate(atoms, calculator, protocol, changes):
    """One crystal with one set of choices."""
    tables = merge_tables(protocol_tables(protocol), CELLS, changes)
    return compute(atoms, calculator, mesh=[MESH] * 3, progress=False, **tables)


def score(variant, base):
    """SRD, SRE and SRME of one conductivity against another."""
    return dict(compare_modes(mode_conductivity(variant, "variant"), mode_conductivity(base, "base")))


def on_mesh(result, mesh):
    """κ from the same force constants on another mesh, W/(m K)."""
    settings = dataclasses.replace(result.settings.conductivity, mesh=[mesh] * 3, keep_modes=False)
    solver = installed_plugins().get("conductivity_solvers", settings.solver).load()(**settings.options)
    return compute_conductivity(result.displaced, result.force_constants, settings, solver).kappa_total_w_mk


def one_crystal(atoms, calculator, known, save):
    """Fill in what is missing of one crystal."""
    base = calculate(atoms, calculator, "fast", {})
    if base.reason:
        known["skipped"] = base.reason
        return
    known["kappa"] = base.conductivity.kappa_total_w_mk
    for name, (protocol, changes) in VARIANTS.items():
        if name not in known and (name != DOUBLE or calculator == "sdnnff"):
            start = time.process_time()
            chosen = SDNNFF(dtype="float64") if name == DOUBLE else calculator
            variant = calculate(atoms, chosen, protocol, changes)
            found = {"reason": variant.reason} if variant.reason else score(variant.conductivity, base.conductivity)
            known[name] = {**found, "cpu_s": time.process_time() - start}
            save()
    for mesh in OTHER_MESHES:
        name = f"mesh of {mesh}³"
        if name not in known:
            kappa = on_mesh(base, mesh)
            srd = 2 * (kappa - known["kappa"]) / (kappa + known["kappa"])
            known[name] = {"srd": srd, "sre": abs(srd)}
            save()


def compare_references(files):
    """Score two tables of references against one another, material by material."""
    first, second = (read_references(file, 300.0)[0] for file in files)
    return {
        key: dict(compare_modes(second[key].as_mapping(), first[key].as_mapping()))
        for key in sorted(set(first) & set(second))
    }


def summary(known):
    """Rows (choice, materials, mean and largest SRE and SRME)."""
    crystals = [values for values in known["crystals"].values() if "skipped" not in values]
    names = [*VARIANTS, *(f"mesh of {mesh}³" for mesh in OTHER_MESHES)]
    groups = {name: [values[name] for values in crystals if "sre" in values.get(name, {})] for name in names}
    if known["references"]:
        groups["non-analytical correction (published DFT)"] = list(known["references"].values())
    rows = []
    for name, scores in groups.items():
        row = {"choice": name, "n": len(scores)}
        for quantity in ("sre", "srme"):
            values = [item[quantity] for item in scores if quantity in item]
            if values:
                row |= {f"{quantity}_median": statistics.median(values), f"{quantity}_mean": statistics.fmean(values)}
                row[f"{quantity}_max"] = max(values)
        rows.append(row)
    return [row for row in rows if row["n"]]


def table(rows):
    """The summary as Markdown."""
    lines = ["| choice | n | SRE mean | SRE max | SRME mean | SRME max |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = [
            f"{row[name]:.4f}" if name in row else "–" for name in ("sre_mean", "sre_max", "srme_mean", "srme_max")
        ]
        lines.append(f"| {row['choice']} | {row['n']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("structures", type=Path)
    parser.add_argument("--calculator", default="sdnnff")
    parser.add_argument("--only", nargs="*", default=[], help="names of materials to compute")
    parser.add_argument("--references", nargs=2, type=Path, help="two tables of references to compare")
    parser.add_argument("--output", type=Path, default=Path("noise_floor.json"))
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    known = {"crystals": {}, "references": {}}
    if arguments.output.exists():
        known = json.loads(arguments.output.read_text())

    def save():
        known["summary"] = summary(known)
        arguments.output.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")

    if arguments.references:
        known["references"] = compare_references(arguments.references)
        save()
    for atoms in read(arguments.structures, ":"):
        name = f"{atoms.info['name']} {atoms.info['mp_id']}"
        if atoms.info["name"] in arguments.only and len(atoms) == 8:
            print(name, flush=True)
            try:
                one_crystal(atoms, arguments.calculator, known["crystals"].setdefault(name, {}), save)
            except ScreenError as error:
                known["crystals"][name]["skipped"] = str(error)
            save()
    print(table(known["summary"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
