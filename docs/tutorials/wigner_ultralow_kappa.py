"""Where waves carry more heat than particles: an ultralow-κ crystal from its structure to the mode figure.

Relax, displace every atom at random in ± pairs, fit force constants with symfc, run phono3py with
``transport_type="wigner"``, and draw relaxation times (the kind of Fig. 7 of Rodriguez et al., Commun. Mater. 2023).
Forces are SevenNet-0's, whose weights come inside its wheel; they are kept, so that a second call starts from them.

    pip install 'phon-wigner[plot]' ase sevenn symfc
    python wigner_ultralow_kappa.py --prototype elpasolite --symbols Cs Li In Br --lattice 11.1

Every option that takes several values is scanned with the others at their first value; the figure uses the last ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.io import read, write
from ase.optimize import BFGS
from ase.spacegroup import crystal
from phono3py import Phono3py
from phonopy.structure.atoms import PhonopyAtoms
from symfc import Symfc
from symfc.utils.utils import SymfcAtoms

from phon_wigner import AnalysisSettings, Linewidths, WignerResult, analyze, crystal_from_phono3py
from phon_wigner.conductivity.crossover import crossover
from phon_wigner.conductivity.plots import plot_crossover

PROTOTYPES = {
    "half-heusler": (216, [(0, 0, 0), (0.25, 0.25, 0.25), (0.5, 0.5, 0.5)]),
    "elpasolite": (225, [(0.25, 0.25, 0.25), (0.5, 0.5, 0.5), (0, 0, 0), (0.24, 0, 0)]),
    "A2BX6": (225, [(0.25, 0.25, 0.25), (0, 0, 0), (0.24, 0, 0)]),
}
"""Space group and sites, one per symbol."""


def relaxed(prototype: str, symbols: list[str], a: float, calculator: object) -> Atoms:
    """Return the primitive cell with cell and positions relaxed, symmetry kept."""
    group, sites = PROTOTYPES[prototype]
    atoms = crystal(symbols, sites, spacegroup=group, cellpar=[a, a, a, 90, 90, 90], primitive_cell=True)
    atoms.calc = calculator
    atoms.set_constraint(FixSymmetry(atoms))
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=2e-4, steps=200)
    atoms.set_constraint()
    return atoms


def displacements(n_pairs: int, n_atoms: int, distance: float = 0.03) -> np.ndarray:
    """Return u, -u, u', -u', ...: all atoms moved by one distance (Å) in random directions."""
    u = np.random.default_rng(1).normal(size=(n_pairs, n_atoms, 3))
    u *= distance / np.linalg.norm(u, axis=2, keepdims=True)
    return np.stack([u, -u], axis=1).reshape(-1, n_atoms, 3)


def forces_of(supercell: PhonopyAtoms, moves: np.ndarray, calculator: object) -> np.ndarray:
    """Return the forces on every displaced supercell without their net part, eV/Å."""
    atoms = Atoms(supercell.symbols, cell=supercell.cell, scaled_positions=supercell.scaled_positions, pbc=True)
    atoms.calc = calculator
    still, forces = atoms.positions.copy(), []
    for i, move in enumerate(moves):
        atoms.positions = still + move
        forces.append(atoms.get_forces())
        sys.stderr.write(f"\rforces {i + 1}/{len(moves)}")
    sys.stderr.write("\n")
    return np.array(forces) - np.mean(forces, axis=1, keepdims=True)


def fit(phono3py: Phono3py, moves: np.ndarray, forces: np.ndarray, cutoff: float) -> str:
    """Fit fc2 (no cutoff) and fc3 (pair cutoff, Å), refuse what is not determined; return the counts."""
    cell = phono3py.supercell
    symfc = Symfc(
        SymfcAtoms(cell=cell.cell, scaled_positions=cell.scaled_positions, numbers=cell.numbers),
        spacegroup_operations=phono3py.symmetry.symmetry_operations,
        cutoff={3: cutoff},
        log_level=0,
    )
    symfc.compute_basis_set(orders=[2, 3])
    n_free = symfc.basis_set[3].blocked_basis_set.shape[1]
    n_equations = moves[::2].size  # -u adds nothing to the odd orders
    if n_equations < 1.3 * n_free:
        raise SystemExit(f"{n_equations} equations for {n_free} parameters: give more --pairs or a shorter --cutoff.")
    symfc.displacements, symfc.forces = moves, forces
    symfc.solve(orders=[2, 3], is_compact_fc=False)
    phono3py.fc2, phono3py.fc3 = (np.array(symfc.force_constants[n], order="C") for n in (2, 3))
    return f"{n_free} parameters, {n_equations} equations"


def conductivity(phono3py: Phono3py, mesh: int, temperature: float) -> WignerResult:
    """Run phono3py on one mesh; the result keeps the modes."""
    phono3py.mesh_numbers = [mesh] * 3
    phono3py.init_phph_interaction()
    phono3py.run_thermal_conductivity(temperatures=[temperature], is_isotope=True, transport_type="wigner")
    run = phono3py.thermal_conductivity
    widths = Linewidths.from_arrays(
        run.temperatures,
        run.qpoints,
        run.grid_weights,
        run.gamma[0],
        convention="hwhm-thz",
        gamma_isotope=run.gamma_isotope[0],
        frequencies=run.frequencies,
    )
    return analyze(crystal_from_phono3py(phono3py), widths, settings=AnalysisSettings(keep_modes=True, map_bins=60))


def main(argv: list[str] | None = None) -> int:
    """Run the whole chain for one composition."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--symbols", nargs="+", default=["Cs", "Li", "In", "Br"])
    parser.add_argument("--prototype", choices=sorted(PROTOTYPES), default="elpasolite")
    parser.add_argument("--lattice", type=float, default=11.1, help="first guess of the lattice constant, Å")
    parser.add_argument("--pairs", type=int, nargs="+", default=[12, 24], help="± pairs of displaced supercells")
    parser.add_argument("--cutoff", type=float, nargs="+", default=[6.2, 7.2], help="pair cutoff of fc3, Å")
    parser.add_argument("--mesh", type=int, nargs="+", default=[5, 7])
    parser.add_argument("--ts", type=float, default=300.0)
    parser.add_argument("--output", type=Path, default=Path())
    options = parser.parse_args(argv)
    stem = options.output / ("wigner_" + "".join(options.symbols))
    kept, structure = stem.with_suffix(".npz"), stem.with_suffix(".extxyz")
    if not kept.exists():
        from sevenn.calculator import SevenNetCalculator

        calculator = SevenNetCalculator("7net-0", device="cpu")
        atoms = relaxed(options.prototype, options.symbols, options.lattice, calculator)
        write(structure, Atoms(atoms.get_chemical_symbols(), atoms.positions, cell=atoms.cell, pbc=True))
    atoms = read(structure)
    print(atoms.get_chemical_formula(), f"volume {atoms.get_volume():.2f} Å³, edge {atoms.cell.lengths()[0]:.4f} Å")
    unitcell = PhonopyAtoms(
        atoms.get_chemical_symbols(), cell=atoms.cell[:], scaled_positions=atoms.get_scaled_positions()
    )
    phono3py = Phono3py(unitcell, supercell_matrix=np.eye(3, dtype=int) * 2, primitive_matrix="P", log_level=0)
    moves = displacements(max(options.pairs), len(phono3py.supercell))
    if not kept.exists():
        np.savez(kept, forces=forces_of(phono3py.supercell, moves, calculator))
    forces = np.load(kept)["forces"]

    first = (options.pairs[0], options.cutoff[0], options.mesh[0])
    last = (options.pairs[-1], options.cutoff[-1], options.mesh[-1])
    scan = [(p, *first[1:]) for p in options.pairs] + [(first[0], c, first[2]) for c in options.cutoff]
    scan += [(*first[:2], m) for m in options.mesh]
    print("pairs  cutoff  mesh   K_P     K_C   W/(m K)  lowest THz")
    fitted = None
    for pairs, cutoff, mesh in dict.fromkeys([*scan, last]):
        if fitted != (pairs, cutoff):
            counts, fitted = fit(phono3py, moves[: 2 * pairs], forces[: 2 * pairs], cutoff), (pairs, cutoff)
        result = conductivity(phono3py, mesh, options.ts)
        print(
            f"{pairs:5d} {cutoff:7.1f} {mesh:5d} {result.kappa_p[0, 0]:7.4f} {result.kappa_c[0, 0]:7.4f} "
            f"{result.frequency.min():18.4f}   ({counts})",
            flush=True,
        )

    diagnosis = crossover(result)
    for name, share in diagnosis.counts.items():
        kappa = diagnosis.kappa_of_regime[name]
        print(f"{name:10s} {share:6.1%} of modes, K_P {kappa[0]:.4f}, K_C {kappa[1]:.4f} W/(m K)")
    plot_crossover(diagnosis).figure.savefig(stem.with_suffix(".png"))
    result.to_hdf5(stem.with_suffix(".hdf5"))
    summary = {
        "symbols": options.symbols,
        "kappa_p": float(result.kappa_p[0, 0]),
        "kappa_c": float(result.kappa_c[0, 0]),
        "lowest_frequency_thz": float(result.frequency.min()),
    }
    stem.with_suffix(".json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
