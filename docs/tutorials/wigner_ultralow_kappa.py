"""Where waves carry more heat than particles: a half-Heusler with weak bonds, start to end.

From a crystal structure and an ASE calculator to κ_P, κ_C and the figure of relaxation times (the kind of Fig. 7 of
Rodriguez et al., Commun. Mater. 2023): relax, displace all atoms at random in ± pairs, fit force constants with symfc,
run phono3py with ``transport_type="wigner"``. The forces are SevenNet-0's, whose weights come inside its wheel.

Needs: pip install phon-wigner[plot] ase sevenn symfc. About five minutes on one core.

    python wigner_ultralow_kappa.py --symbols Na K As --output .
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.spacegroup import crystal
from phono3py import Phono3py
from phonopy.structure.atoms import PhonopyAtoms

from phon_wigner.crossover import crossover
from phon_wigner.linewidths import Linewidths
from phon_wigner.phono3py_files import crystal_from_phono3py
from phon_wigner.plots import plot_crossover
from phon_wigner.postprocess import AnalysisSettings, analyze


def half_heusler(symbols: tuple[str, str, str], a: float) -> Atoms:
    """Return the conventional cell: symbols on 4a, 4c, 4b of space group 216."""
    sites = [(0, 0, 0), (0.25, 0.25, 0.25), (0.5, 0.5, 0.5)]
    return crystal(symbols, sites, spacegroup=216, cellpar=[a, a, a, 90, 90, 90])


def vacancy_ordered_perovskite(symbols: tuple[str, str, str], a: float) -> Atoms:
    """Return the 9-atom primitive cell of A2BX6: symbols on 8c, 4a, 24e of space group 225."""
    sites = [(0.25, 0.25, 0.25), (0, 0, 0), (0.245, 0, 0)]
    return crystal(symbols, sites, spacegroup=225, cellpar=[a, a, a, 90, 90, 90], primitive_cell=True)


def relax(atoms: Atoms, calculator: object) -> Atoms:
    """Relax cell and positions with the symmetry kept."""
    atoms = atoms.copy()
    atoms.calc = calculator
    atoms.set_constraint(FixSymmetry(atoms))
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-3, steps=200)
    atoms.set_constraint()
    return atoms


def forces_of(cell: PhonopyAtoms, calculator: object) -> np.ndarray:
    """Return the forces on one supercell, eV/Å."""
    atoms = Atoms(cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True)
    atoms.calc = calculator
    forces = atoms.get_forces()
    return np.asarray(forces - forces.mean(axis=0))


def main(argv: list[str] | None = None) -> int:
    """Run the whole chain for one composition."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--symbols", nargs=3, default=["Na", "K", "As"])
    parser.add_argument("--prototype", choices=("half-heusler", "A2BX6"), default="half-heusler")
    parser.add_argument("--cutoff", type=float, help="cutoff of fc3, Å (default: none)")
    parser.add_argument("--as-given", action="store_true", help="keep the order 4a 4c 4b of --symbols")
    parser.add_argument("--lattice", type=float, default=7.2, help="first guess of the lattice constant, Å")
    parser.add_argument("--mesh", type=int, default=11)
    parser.add_argument("--n-cells", type=int, default=60, help="supercells for fc3, paired")
    parser.add_argument("--ts", type=float, default=300.0)
    parser.add_argument("--output", type=Path, default=Path())
    options = parser.parse_args(argv)
    from sevenn.calculator import SevenNetCalculator

    calculator = SevenNetCalculator("7net-0", device="cpu")
    # which of the three sits on 4c (the tetrahedral site) decides the energy; 4a and 4b are equivalent
    if options.prototype == "A2BX6":
        candidates = [vacancy_ordered_perovskite(tuple(options.symbols), options.lattice)]
    else:
        orders = [tuple(o) for o in permutations(options.symbols) if o[0] < o[2]]
        candidates = [
            half_heusler(order, options.lattice) for order in ([tuple(options.symbols)] if options.as_given else orders)
        ]
    relaxed = [relax(atoms, calculator) for atoms in candidates]
    best = min(relaxed, key=lambda atoms: atoms.get_potential_energy())
    print(best.get_chemical_formula(), best.get_chemical_symbols(), f"cell length {best.cell.lengths()[0]:.4f} Å")

    unitcell = PhonopyAtoms(
        best.get_chemical_symbols(), cell=best.cell[:], scaled_positions=best.get_scaled_positions()
    )
    axes = "P" if options.prototype == "A2BX6" else "F"
    phono3py = Phono3py(unitcell, supercell_matrix=np.eye(3, dtype=int) * 2, primitive_matrix=axes, log_level=0)
    phono3py.generate_displacements(
        distance=0.03, number_of_snapshots=options.n_cells // 2, is_plusminus=True, random_seed=1
    )
    phono3py.forces = [forces_of(cell, calculator) for cell in phono3py.supercells_with_displacements]
    phono3py.produce_fc3(
        fc_calculator="symfc",
        fc_calculator_options=None if options.cutoff is None else f"|cutoff = {options.cutoff}",
    )
    print(f"{len(phono3py.supercells_with_displacements)} supercells of {len(phono3py.supercell)} atoms")

    phono3py.mesh_numbers = [options.mesh] * 3
    phono3py.init_phph_interaction()
    phono3py.run_phonon_solver()
    run_options = {"temperatures": [options.ts], "is_isotope": True, "transport_type": "wigner"}
    phono3py.run_thermal_conductivity(**run_options)
    run = phono3py.thermal_conductivity
    print(f"lowest frequency on the mesh: {run.frequencies.min():.4f} THz")
    print(f"K_P = {run.kappa_P[0, 0, 0]:.4f}  K_C = {run.kappa_C[0, 0, 0]:.4f} W/(m K) at {options.ts:g} K")

    # the same from stored linewidths, with modes, for the figure
    linewidths = Linewidths.from_arrays(
        run.temperatures,
        run.qpoints,
        run.grid_weights,
        run.gamma[0],
        convention="hwhm-thz",
        gamma_static=run.gamma_isotope[0],
        frequencies=run.frequencies,
        source="".join(options.symbols),
    )
    result = analyze(crystal_from_phono3py(phono3py), linewidths, settings=AnalysisSettings(keep_modes=True))
    diagnosis = crossover(result)
    for name, share in diagnosis.counts.items():
        print(
            f"{name:10s} {share:6.1%} of modes, K_P {diagnosis.kappa_of_regime[name][0]:.4f}, "
            f"K_C {diagnosis.kappa_of_regime[name][1]:.4f} W/(m K)"
        )
    stem = "wigner_" + "".join(options.symbols)
    plot_crossover(diagnosis).figure.savefig(options.output / f"{stem}.png")
    summary = {
        "symbols": best.get_chemical_symbols(),
        "cell_length_angstrom": float(best.cell.lengths()[0]),
        "kappa_p": float(result.kappa_p[0, 0]),
        "kappa_c": float(result.kappa_c[0, 0]),
        "minimum_frequency_thz": float(run.frequencies.min()),
    }
    (options.output / f"{stem}.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
