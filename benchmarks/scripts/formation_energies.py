"""Formation energies of binary crystals by a registered force field, beside measured enthalpies of formation.

    python benchmarks/scripts/formation_energies.py [--calculator sdnnff]

Enthalpies at 298 K, kJ/mol of formula: W. M. Haynes (ed.), CRC Handbook of Chemistry and Physics, 95th ed. (2014); TiN:
NIST-JANAF Thermochemical Tables, 4th ed. (1998). Zero-point energy and temperature are in the measured ones only.
"""

from __future__ import annotations

import argparse

import numpy as np

from screen_cli.calculators.registered import make_calculator
from screen_cli.config import RelaxSettings
from screen_cli.crystal.prototypes import build, guess_lattice_constant
from screen_cli.properties.formation_energy import formation_energy
from screen_cli.stages.relax import relax

KJ_MOL = 1 / 96.485
"""eV."""
MEASURED = (
    *(("rocksalt", "Na", "Cl", -411.2), ("rocksalt", "Li", "F", -616.0), ("rocksalt", "Mg", "O", -601.6)),
    *(("rocksalt", "Ca", "O", -634.9), ("rocksalt", "K", "Br", -393.8), ("cscl", "Cs", "I", -346.6)),
    *(("zincblende", "Zn", "S", -206.0), ("zincblende", "Ga", "As", -71.0), ("zincblende", "In", "Sb", -30.5)),
    *(("rocksalt", "Mg", "S", -346.0), ("rocksalt", "Pb", "S", -100.4), ("rocksalt", "Pb", "Te", -70.7)),
    *(("rocksalt", "Ag", "Cl", -127.0), ("zincblende", "Cu", "Cl", -137.2), ("zincblende", "Cu", "Br", -104.6)),
    *(("zincblende", "Al", "P", -166.5), ("rocksalt", "Li", "H", -90.5), ("rocksalt", "Ti", "N", -337.7)),
    ("rocksalt", "Sr", "Se", -385.8),
)


def main() -> None:
    """Print a row for each crystal, and the deviations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calculator", default="sdnnff")
    calculator = make_calculator(parser.parse_args().calculator, {})
    settings = RelaxSettings(fmax=1e-3, max_volume_change=2.0)
    deviations = []
    print("| crystal | computed (eV/atom) | measured | difference |\n|---|---|---|---|")
    for prototype, cation, anion, enthalpy in MEASURED:
        elements = [cation, anion]
        atoms = build(prototype, elements, guess_lattice_constant(prototype, elements))
        found = formation_energy({"relax": relax(atoms, calculator, settings)}, calculator=calculator)
        measured = 0.5 * enthalpy * KJ_MOL
        deviations.append(found.formation_energy_model_ev_atom - measured)
        numbers = f"{found.formation_energy_model_ev_atom:.2f} | {measured:.2f} | {deviations[-1]:+.2f}"
        print(f"| {cation}{anion} {prototype} | {numbers} |")
    print(f"\nmean {np.mean(deviations):+.2f}, mean size {np.mean(np.abs(deviations)):.2f} eV/atom")


if __name__ == "__main__":
    main()
