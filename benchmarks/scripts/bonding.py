"""Bonding and antibonding by GPAW: next to LOBSTER's published values, and whether weak bonds mark low κ in a run.

    screen-cli env create gpaw
    python benchmarks/scripts/bonding.py table [--basis dzp] [--crystals Si NaCl] --out bonding.json
    screen-cli export RUN all.extxyz --filter "stable and kappa_total_w_mk > 0"
    python benchmarks/scripts/bonding.py choose all.extxyz --n 160 --out chosen.extxyz
    screen-cli run CONFIG --run-dir bonding -s source.name=files \
        -s source.options='{ paths = ["chosen.extxyz"], all_frames = true }' \
        -s properties.names='["cohp"]' -s properties.options='{ cohp = { source = "gpaw" } }'
    screen-cli export bonding bonding.csv && python benchmarks/scripts/bonding.py claim bonding.csv

Seconds are those of the processors, of GPAW's process and this one. `choose` takes prototypes in turns, and of each
crystals evenly over their κ. `claim` splits at the medians of bonding and antibonding.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
from collections import defaultdict

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal
from scipy.stats import spearmanr

from screen_cli.properties.cohp.lcao import GpawSettings, compute_bonding


def _cubic(symbols, sites, space_group, a):
    return crystal(symbols, sites, spacegroup=space_group, cellpar=[a] * 3 + [90] * 3, primitive_cell=True)


PEROVSKITE = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
CRYSTALS = {
    "C": bulk("C", a=3.567),
    "Si": bulk("Si", a=5.431),
    "GaAs": bulk("GaAs", "zincblende", 5.653),
    "Al": bulk("Al", a=4.05),
    "NaCl": bulk("NaCl", "rocksalt", 5.69),
    "CsCl": bulk("CsCl", "cesiumchloride", 4.12),
    "CdF2": _cubic(["Cd", "F"], [(0, 0, 0), (0.25, 0.25, 0.25)], 225, 5.46),
    "BaTiO3": Atoms("BaTiO3", scaled_positions=PEROVSKITE, cell=[4.03] * 3, pbc=True),
    "K3Sb": _cubic(["K", "K", "Sb"], [(0.25, 0.25, 0.25), (0.5, 0.5, 0.5), (0, 0, 0)], 225, 8.49),
}
LOBSTER = {("C", "C-C"): -9.59, ("NaCl", "Cl-Na"): -0.57, ("CdF2", "Cd-F"): -0.62, ("BaTiO3", "O-Ti"): -3.54}
LOBSTER |= {("K3Sb", "K-Sb"): -0.36, ("K3Sb", "K-K"): -0.37}
"""ICOHP (eV) in the test files of LobsterPy (repository JaGeo/LobsterPy): VASP, and LOBSTER's minimal basis."""


def seconds():
    """Processor time so far, with that of processes that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)


def table(names, basis, environment, out):
    """Compute the crystals, print a row for each kind of bond."""
    rows = []
    for name in names:
        atoms, start = CRYSTALS[name], seconds()
        found = compute_bonding(atoms, GpawSettings(basis=basis, environment=environment))
        spent = seconds() - start
        kinds = defaultdict(list)
        for k, (i, j) in enumerate(found.bond_pairs):
            kinds["-".join(sorted((atoms.symbols[i], atoms.symbols[j])))].append(k)
        for kind, where in kinds.items():
            means = [v[where].mean() for v in (found.bond_icohp_ev, found.bond_bonding_ev, found.bond_antibonding_ev)]
            distance, spread = found.bond_distances[where].mean(), np.ptp(found.bond_icohp_ev[where])
            row = dict(zip(("icohp", "bonding", "antibonding"), map(float, means), strict=True))
            row |= {"crystal": name, "bond": kind, "n": len(where), "distance": distance, "spread": float(spread)}
            row |= {"lobster": LOBSTER.get((name, kind)), "gap": found.cohp_gap_ev, "spilling": found.cohp_spilling}
            row |= {"seconds": spent, "basis": basis}
            rows.append(row)
            print(
                f"{name:7s} {kind:6s} {len(where):3d} {distance:5.2f} Å  ICOHP {means[0]:8.3f}  B {means[1]:7.3f}  "
                f"A {means[2]:6.3f} eV  LOBSTER {row['lobster'] or '–'}  spilling {found.cohp_spilling:.3f}  "
                f"{spent:.1f} s",
                flush=True,
            )
    if out:
        with open(out, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


def choose(path, n, out):
    """Take crystals of each prototype in turns, evenly over their κ."""
    queues = defaultdict(list)
    for atoms in ase.io.iread(path, ":"):
        queues[atoms.info.get("prototype") or "none"].append(atoms)
    for name, crystals in queues.items():
        crystals.sort(key=lambda atoms: atoms.info["kappa_total_w_mk"])
        order = np.argsort(
            [int(f"{k:020b}"[::-1], 2) for k in range(len(crystals))]
        )  # the middle, then the halves' ...
        queues[name] = [crystals[k] for k in order]
    chosen = []
    while len(chosen) < n and any(queues.values()):
        for name in sorted(queues):
            if queues[name] and len(chosen) < n:
                chosen.append(queues[name].pop(0))
    ase.io.write(out, chosen, format="extxyz")
    counts = defaultdict(int)
    for atoms in chosen:
        counts[atoms.info.get("prototype") or "none"] += 1
    print(f"{len(chosen)} crystals: {dict(counts)}")


def claim(path):
    """Compare κ of weakly bonding, strongly antibonding crystals with that of the others."""
    with open(path, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kappa_name = next(name for name in rows[0] if name.startswith("kappa_total"))
    for source in sorted({row["cohp_source"] for row in rows if row.get("cohp_source")}):
        own = [row for row in rows if row["cohp_source"] == source and row[kappa_name] and row["cohp_bonding_ev"]]
        kappa, bonding, antibonding = (
            np.array([float(row[name]) for row in own])
            for name in (kappa_name, "cohp_bonding_ev", "cohp_antibonding_ev")
        )
        corner = (bonding < np.median(bonding)) & (antibonding > np.median(antibonding))
        print(f"{source}: {len(own)} crystals, {np.mean(kappa < 3):.0%} below 3 W/mK")
        for label, where in (("weak bonding, strong antibonding", corner), ("the others", ~corner)):
            if where.any():
                print(
                    f"  {label}: {where.sum()} crystals, {np.mean(kappa[where] < 3):.0%} below 3 W/mK, "
                    f"median κ {np.median(kappa[where]):.2f}, largest {kappa[where].max():.1f}"
                )
        for label, values in (("bonding", bonding), ("antibonding", antibonding)):
            result = spearmanr(values, kappa)
            print(f"  rank correlation of κ with {label}: {result.statistic:.2f} (p = {result.pvalue:.1e})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("table")
    one.add_argument("--basis", default="szp(dzp)")
    one.add_argument("--environment", default="")
    one.add_argument("--crystals", nargs="*", default=list(CRYSTALS))
    one.add_argument("--out")
    two = commands.add_parser("choose")
    two.add_argument("path")
    two.add_argument("--n", type=int, default=160)
    two.add_argument("--out", required=True)
    three = commands.add_parser("claim")
    three.add_argument("path")
    given = parser.parse_args()
    if given.command == "table":
        table(given.crystals, given.basis, given.environment, given.out)
    elif given.command == "choose":
        choose(given.path, given.n, given.out)
    else:
        claim(given.path)


if __name__ == "__main__":
    main()
