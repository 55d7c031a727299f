"""CIF texts of crystals, written site by site as a database would."""

from __future__ import annotations

from collections import Counter

import numpy as np


def cif_text(atoms, *, name="", hall="", number=0, operations=(), claims=True, digits=12, more=""):
    """Text of a CIF of the first atom of each orbit of ``atoms``."""
    a, b, c, alpha, beta, gamma = atoms.cell.cellpar()
    lines = ["data_test"]
    if name:
        lines.append(f"_space_group_name_H-M_alt '{name}'")
    if hall:
        lines.append(f"_space_group_name_Hall '{hall}'")
    if number:
        lines.append(f"_space_group_IT_number {number}")
    if claims:
        counts = Counter(atoms.get_chemical_symbols())
        divisor = int(np.gcd.reduce(list(counts.values())))
        formula = " ".join(f"{symbol}{count // divisor}" for symbol, count in sorted(counts.items()))
        lines += [f"_chemical_formula_sum '{formula}'", f"_cell_formula_units_Z {divisor}"]
    lines += [f"_cell_length_{axis} {value:.12f}" for axis, value in zip("abc", (a, b, c), strict=True)]
    angles = zip(("alpha", "beta", "gamma"), (alpha, beta, gamma), strict=True)
    lines += [f"_cell_angle_{axis} {value:.12f}" for axis, value in angles]
    if operations:
        lines += ["loop_", "_space_group_symop_operation_xyz", *(f"'{operation}'" for operation in operations)]
    lines += [more] if more else []
    lines += ["loop_", "_atom_site_label", "_atom_site_type_symbol"]
    lines += [f"_atom_site_fract_{axis}" for axis in "xyz"] + ["_atom_site_symmetry_multiplicity"]
    orbits = atoms.arrays.get("orbit", np.arange(len(atoms)))
    scaled = atoms.get_scaled_positions(wrap=False)
    for orbit in np.unique(orbits):
        (members,) = np.nonzero(orbits == orbit)
        symbol = atoms.symbols[members[0]]
        x, y, z = (f"{value:.{digits}f}" for value in scaled[members[0]])
        lines.append(f"{symbol}{orbit + 1} {symbol} {x} {y} {z} {len(members) if claims else '?'}")
    return "\n".join(lines) + "\n"
