"""How far the forces of a trained grid model jump where two neighbours exchange rank.

    python benchmarks/scripts/frame_ties.py run-grid/model.pt

Supercells of 64 or 96 atoms, all displaced by 0.03 Å at random. For 60 atoms the nearest neighbour is moved along its
bond to just before and just behind the place where it is as far as the next one (±1e-6 Å): the change of the atom's
force is the jump. A move of the same size that crosses no tie is the control. Then the ideal crystal, 20 times with
displacements of 1e-6 Å: what is left of a force that symmetry sets to zero.
"""

from __future__ import annotations

import argparse

import numpy as np
from ase import Atoms
from ase.build import bulk
from numpy.typing import NDArray

from sdnnff_calc import SDNNFF

STEP = 1e-6
CRYSTALS = (("NaCl", "rocksalt", 5.7), ("CaF2", "fluorite", 5.5), ("ZnS", "zincblende", 5.45))


def forces_of(calculator: SDNNFF, structures: list[Atoms]) -> NDArray[np.float64]:
    """Forces, shape (n_structures, n_atoms, 3), meV/Å."""
    return 1000.0 * np.array([result["forces"] for result in calculator.predict(structures)])


def at_ties(atoms: Atoms, chosen: NDArray[np.int64]) -> list[Atoms]:
    """Three structures per atom: twice before and once behind the tie of its two nearest neighbours."""
    distances = atoms.get_all_distances(mic=True)
    np.fill_diagonal(distances, np.inf)
    moved = []
    for i in chosen:
        j, k = np.argsort(distances[i])[:2]
        bond = atoms.get_distance(i, j, mic=True, vector=True) / distances[i, j]
        for step in (-2.0 * STEP, -STEP, STEP):
            moved.append(atoms.copy())
            moved[-1].positions[j] += (distances[i, k] - distances[i, j] + step) * bond
    return moved


def rms(vectors: NDArray[np.float64]) -> float:
    """Root mean square length, over all but the last axis."""
    return float(np.sqrt((vectors**2).sum(axis=-1).mean()))


def main() -> None:
    """Print one row per crystal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", help="a trained grid model; nothing is measured without one")
    arguments = parser.parse_args()
    if arguments.model is None:
        print("skipped: give a trained grid model, as from recipes/cubic_prototypes_grid.toml")
        return
    calculator = SDNNFF(arguments.model, dtype="float64")
    print("meV/Å     RMS force   jump: RMS  median  largest  control   ideal crystal: RMS")
    for symbols, lattice, a in CRYSTALS:
        ideal = bulk(symbols, lattice, a=a, cubic=True).repeat(2)
        all_forces, jumps, controls = [], [], []
        for seed in range(3):
            rng = np.random.default_rng(seed)
            atoms = ideal.copy()
            atoms.positions += rng.normal(scale=0.03 / np.sqrt(3.0), size=(len(atoms), 3))
            all_forces.append(forces_of(calculator, [atoms])[0])
            chosen = rng.choice(len(atoms), 20, replace=False)
            found = forces_of(calculator, at_ties(atoms, chosen)).reshape(20, 3, -1, 3)
            found = found[np.arange(20), :, chosen]  # i3x
            jumps.append(found[:, 2] - found[:, 1])
            controls.append(found[:, 1] - found[:, 0])
        nearly = [ideal.copy() for _ in range(20)]
        for seed, atoms in enumerate(nearly):
            atoms.rattle(STEP, seed=seed)
        jump, control = np.concatenate(jumps), np.concatenate(controls)
        length = np.linalg.norm(jump, axis=1)
        print(
            f"{symbols:6s} {rms(np.concatenate(all_forces)):10.1f} {rms(jump):14.1f} {np.median(length):7.1f} "
            f"{length.max():8.1f} {rms(control):8.4f} {rms(forces_of(calculator, nearly)):14.1f}"
        )


if __name__ == "__main__":
    main()
