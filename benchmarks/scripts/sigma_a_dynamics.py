"""σ^A of simple crystals from one-shot samples, as in the property ``anharmonicity``, and from molecular dynamics.

    python benchmarks/scripts/sigma_a_dynamics.py [--calculator sdnnff] [--kelvin 300] [--picoseconds 12] [NAME ...]

Knoop et al. (doi:10.1103/PhysRevMaterials.4.083809) define σ^A over the thermal ensemble, and take samples of the
harmonic one where dynamics cost too much. Both with the same force field and the same fc2: Langevin dynamics of the
supercell, a sample every 60 fs after a sixth of the time, the error from eight blocks.
"""

from __future__ import annotations

import argparse
import os
import time

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.md.langevin import Langevin
from ase.constraints import FixCom
from screen_cli import compute
from screen_cli.calculators.registered import make_calculator
from screen_cli.stages.phonon_objects import full_force_constants, load_phonopy

CRYSTALS = {
    "NaCl": ("rocksalt", 5.64),
    "MgO": ("rocksalt", 4.25),
    "KCl": ("rocksalt", 6.38),
    "Si": ("diamond", 5.47),
    "GaAs": ("zincblende", 5.75),
}


def from_dynamics(supercell, fc2, calculator, kelvin, picoseconds):
    """σ^A and its standard error."""
    ideal = supercell.positions.copy()
    atoms = supercell.copy()
    atoms.calc = calculator
    rng = np.random.default_rng(0)
    widths = np.sqrt(atoms.get_masses() * units.kB * 2 * kelvin)  # half of it becomes potential energy
    atoms.set_momenta(widths[:, None] * rng.standard_normal((len(atoms), 3)))
    atoms.set_constraint(FixCom())
    dynamics = Langevin(atoms, 2 * units.fs, temperature_K=kelvin, friction=0.002 / units.fs, fixcm=False, rng=rng)
    left, whole = [], []

    def look():
        moves = atoms.positions - ideal
        moves -= np.average(moves, axis=0, weights=atoms.get_masses())
        forces = atoms.get_forces(apply_constraint=False)
        harmonic = -np.einsum("ijab,jb->ia", fc2, moves)
        left.append(np.square(forces - harmonic).sum())
        whole.append(np.square(forces).sum())

    steps = int(picoseconds * 500)
    dynamics.run(steps // 6)
    dynamics.attach(look, interval=30)
    dynamics.run(steps - steps // 6)
    parts = zip(np.array_split(left, 8), np.array_split(whole, 8), strict=True)
    blocks = [np.sqrt(np.sum(a) / np.sum(b)) for a, b in parts]
    return np.sqrt(np.sum(left) / np.sum(whole)), np.std(blocks, ddof=1) / np.sqrt(len(blocks))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["NaCl", "Si"], metavar="NAME", help=", ".join(CRYSTALS))
    parser.add_argument("--calculator", default="sdnnff")
    parser.add_argument("--kelvin", type=float, default=300.0)
    parser.add_argument("--picoseconds", type=float, default=12.0)
    arguments = parser.parse_args()
    calculator = make_calculator(arguments.calculator, {})
    print("crystal  one-shot  dynamics  CPU s")
    for name in arguments.names:
        start = time.process_time()
        prototype, a = CRYSTALS[name]
        result = compute(
            bulk(name, prototype, a=a, cubic=True),
            arguments.calculator,
            progress=False,
            displace={"dim": [2, 2, 2]},
            mesh=[3, 3, 3],
            properties={
                "names": ["anharmonicity"],
                "options": {"anharmonicity": {"temperatures": [int(arguments.kelvin)], "n_supercells": 40}},
            },
        )
        shot = [result.row[f"sigma_a_{arguments.kelvin:.0f}k{part}"] for part in ("", "_error")]
        phonopy = load_phonopy(result.displaced, result.force_constants)
        ideal = phonopy.supercell
        supercell = Atoms(ideal.symbols, ideal.positions, cell=ideal.cell, pbc=True)
        moved = from_dynamics(
            supercell, full_force_constants(phonopy), calculator, arguments.kelvin, arguments.picoseconds
        )
        values = f"{shot[0]:.3f} ± {shot[1]:.3f}  {moved[0]:.3f} ± {moved[1]:.3f}"
        print(f"{name:8} {values}  {time.process_time() - start:.0f}", flush=True)


if __name__ == "__main__":
    main()
