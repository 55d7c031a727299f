"""Does a design of the displacements pay? Supercells chosen by A-optimal exchange, beside random ones.

    python benchmarks/scripts/pattern_design.py rocksalt Na,Cl 2 6
    python benchmarks/scripts/pattern_design.py half-heusler Ti,Ni,Sn 2 9 --candidates 16

The variance of the fitted fc3 is that of the forces times tr[(XᵀX)⁻¹]. From random candidates (directions of atoms
drawn on the sphere, as the product does) pairs are exchanged one by one for those that lower the trace most, until
none does (V. V. Fedorov, Theory of Optimal Experiments, 1972). Printed is the trace, relative to random pairs: of the
design, and of random sets with one and two pairs more, which is what it must be worth.
"""

from __future__ import annotations

import argparse
import os
import time

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
from symfc import Symfc
from symfc.utils.utils import SymfcAtoms

from screen_cli.crystal.standard_cell import standard_cell
from screen_cli.kinds.design import Design
from screen_cli.sources.decoration import decorated_structure


def information(prototype, elements, repeat, n_candidates, rng):
    """XᵀX of fc3 of each candidate pair, (n_candidates, n_parameters, n_parameters), and force components in a pair."""
    conventional = standard_cell(decorated_structure(prototype, elements).atoms, 1e-3, to_primitive=False).atoms
    supercell = conventional.repeat(repeat)
    symfc = Symfc(
        SymfcAtoms(
            cell=supercell.cell.array, scaled_positions=supercell.get_scaled_positions(), numbers=supercell.numbers
        ),
        log_level=0,
    )
    symfc.compute_basis_set(orders=[2, 3])
    directions = rng.standard_normal((n_candidates, len(supercell), 3))
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    design = Design.of(symfc.basis_set[3], 3).matrix(directions)
    return np.einsum("krp,krq->kpq", design, design, optimize=True), 3 * len(supercell)


def amplification(matrices):
    """Trace of the inverse of the sum; infinite where it is singular."""
    values = np.linalg.eigvalsh(sum(matrices))
    return float((1 / values).sum()) if values[0] > 1e-9 * values[-1] else np.inf


def exchanged(matrices, start):
    """Indices after exchanges that each lower the amplification, and the amplification."""
    chosen, best = list(start), amplification(matrices[list(start)])
    improved = True
    while improved:
        improved = False
        for place in range(len(chosen)):
            rest = chosen[:place] + chosen[place + 1 :]
            trials = {k: amplification(matrices[[*rest, k]]) for k in range(len(matrices)) if k not in chosen}
            k = min(trials, key=trials.get)
            if trials[k] < best * (1 - 1e-6):
                chosen[place], best, improved = k, trials[k], True
    return chosen, best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prototype")
    parser.add_argument("elements", help="of its sites, with commas")
    parser.add_argument("repeat", type=int, help="of the conventional cell")
    parser.add_argument("pairs", type=int)
    parser.add_argument("--candidates", type=int, default=20)
    arguments = parser.parse_args()
    rng, n_pairs = np.random.default_rng(0), arguments.pairs
    matrices, n_forces = information(
        arguments.prototype, arguments.elements.split(","), arguments.repeat, arguments.candidates, rng
    )
    n_parameters = matrices.shape[1]

    def random_sets(size, n=8):
        traces = [amplification(matrices[rng.choice(len(matrices), size, replace=False)]) for _ in range(n)]
        return float(np.mean(traces)), float(np.std(traces))

    mean, scatter = random_sets(n_pairs)
    start = time.process_time()
    _, best = exchanged(matrices, rng.choice(len(matrices), n_pairs, replace=False))
    print(f"{n_parameters} parameters, {n_pairs} pairs: {n_pairs * n_forces / n_parameters:.2f} equations for each")
    print(f"random sets scatter by {scatter / mean:.1%}; designed / random: {best / mean:.3f}", end=" ")
    print(f"({time.process_time() - start:.0f} s CPU)")
    for more in (1, 2):
        print(f"random with {more} more / random: {random_sets(n_pairs + more)[0] / mean:.3f}")


if __name__ == "__main__":
    main()
