"""Neighbour lists: vesin against matscipy, nvalchemi and ASE, same cells, same pairs, one core.

    python benchmarks/scripts/neighbours.py --json neighbours.json

Rattled NaCl of 8 to 4096 atoms as a cube, as a rod of one cell's section (thinner than the cutoff in two directions)
and as a cube of eight times the volume. Every library gives i, j, shift and vector of all directed pairs; a count
that differs from vesin's is an error. The time is the fastest of several calls. A library that is not installed is
left out; nvalchemi (nvalchemi-toolkit-ops) runs on the CPU through Warp. ``find_edges`` is what this package does:
vesin, sorting by centre and element, and the check for overlapping atoms.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import vesin
from ase import Atoms
from ase.build import bulk

from sdnnff_calc.geometry.neighbours import find_edges

Pairs = Callable[[Atoms, float], int]
"""List all pairs; give their number."""


def with_vesin(atoms: Atoms, cutoff: float) -> int:
    calculator = vesin.NeighborList(cutoff=cutoff, full_list=True, sorted=False, n_threads=1)
    cell, periodic = np.array(atoms.cell), [True] * 3
    return len(calculator.compute(points=atoms.positions, box=cell, periodic=periodic, quantities="ijSD")[0])


def with_find_edges(atoms: Atoms, cutoff: float) -> int:
    return len(find_edges(atoms, cutoff).centre)


def with_ase(atoms: Atoms, cutoff: float) -> int:
    from ase.neighborlist import neighbor_list

    return len(neighbor_list("ijSD", atoms, cutoff)[0])


def matscipy() -> Pairs:
    from matscipy.neighbours import neighbour_list

    return lambda atoms, cutoff: len(neighbour_list("ijSD", atoms, cutoff)[0])


def nvalchemi() -> Pairs:
    import torch
    import warp
    from nvalchemiops.torch.neighbors import neighbor_list

    warp.config.quiet = True

    def pairs(atoms: Atoms, cutoff: float) -> int:
        positions, cell = torch.from_numpy(atoms.positions), torch.from_numpy(atoms.cell.array)
        pbc = torch.ones(3, dtype=torch.bool)
        most = int(8 * cutoff**3 * len(atoms) / atoms.get_volume()) + 32
        result = neighbor_list(positions, cutoff, cell, pbc, return_neighbor_list=True, max_neighbors=most)
        (i, j), shift = result[0], result[-1]
        vector = positions[j.long()] - positions[i.long()] + shift.to(positions) @ cell
        return len(vector)

    return pairs


def libraries() -> dict[str, Pairs]:
    """Those that are installed."""
    found: dict[str, Pairs] = {"vesin": with_vesin, "find_edges": with_find_edges}
    for name, load in (("matscipy", matscipy), ("nvalchemi", nvalchemi)):
        try:
            found[name] = load()
        except ImportError:
            print(f"{name} is not installed: left out", file=sys.stderr)
    return {**found, "ase": with_ase}


def cells(n_atoms: int) -> dict[str, Atoms]:
    """NaCl of n atoms, n = 8·k³, as cube, rod and thin gas."""
    unit = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    k = round((n_atoms / 8) ** (1 / 3))
    cube = unit.repeat(k)
    sparse = cube.copy()
    sparse.set_cell(2 * cube.cell, scale_atoms=True)
    shapes = {"cube": cube, "rod": unit.repeat((1, 1, k**3)), "sparse": sparse}
    for atoms in shapes.values():
        atoms.rattle(0.05, seed=0)
    return shapes


def fastest(pairs: Pairs, atoms: Atoms, cutoff: float, seconds: float) -> tuple[float, int]:
    """Time of the fastest call, s, and the number of pairs; the first call warms up."""
    n_pairs, times = pairs(atoms, cutoff), []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        begin = time.perf_counter()
        pairs(atoms, cutoff)
        times.append(time.perf_counter() - begin)
    return min(times), n_pairs


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, nargs="+", default=[8, 64, 512, 4096], help="8 times a cube")
    parser.add_argument("--cutoff", type=float, default=6.0, help="Å")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each cell and library")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    peers = libraries()
    rows: list[dict[str, Any]] = []
    print(f"| cell | atoms | pairs | {' | '.join(f'{name} (µs/atom)' for name in peers)} |")
    print("|---" * (3 + len(peers)) + "|")
    for n_atoms in arguments.atoms:
        for shape, atoms in cells(n_atoms).items():
            row: dict[str, Any] = {"cell": shape, "atoms": len(atoms)}
            for name, pairs in peers.items():
                seconds, n_pairs = fastest(pairs, atoms, arguments.cutoff, arguments.seconds)
                if row.setdefault("pairs", n_pairs) != n_pairs:
                    raise RuntimeError(f"{name} found {n_pairs} pairs in {shape} of {n_atoms}, vesin {row['pairs']}")
                row[name] = 1e6 * seconds / len(atoms)
            rows.append(row)
            print(f"| {shape} | {len(atoms)} | {row['pairs']} |", *(f"{row[n]:.1f} |" for n in peers), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
