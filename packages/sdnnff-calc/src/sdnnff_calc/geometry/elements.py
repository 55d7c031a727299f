"""Chemical elements as tabulated numbers: group, period, electronegativity, covalent radius."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from numpy.typing import NDArray

from sdnnff_calc.errors import UnknownElementError

__all__ = ["N_ELEMENTS", "check_elements", "element_properties", "period_and_group", "radius_table"]

N_ELEMENTS = 119
"""Length of every table indexed by atomic number; row 0 is unused."""

_NOBLE_GASES = (0, 2, 10, 18, 36, 54, 86, 118)

# Pauling's scale, as tabulated in the CRC Handbook; elements without a value take their period's mean.
_PAULING = {
    "H": 2.20, "Li": 0.98, "Be": 1.57, "B": 2.04, "C": 2.55, "N": 3.04, "O": 3.44, "F": 3.98,
    "Na": 0.93, "Mg": 1.31, "Al": 1.61, "Si": 1.90, "P": 2.19, "S": 2.58, "Cl": 3.16,
    "K": 0.82, "Ca": 1.00, "Sc": 1.36, "Ti": 1.54, "V": 1.63, "Cr": 1.66, "Mn": 1.55, "Fe": 1.83,
    "Co": 1.88, "Ni": 1.91, "Cu": 1.90, "Zn": 1.65, "Ga": 1.81, "Ge": 2.01, "As": 2.18, "Se": 2.55,
    "Br": 2.96, "Kr": 3.00, "Rb": 0.82, "Sr": 0.95, "Y": 1.22, "Zr": 1.33, "Nb": 1.60, "Mo": 2.16,
    "Tc": 1.90, "Ru": 2.20, "Rh": 2.28, "Pd": 2.20, "Ag": 1.93, "Cd": 1.69, "In": 1.78, "Sn": 1.96,
    "Sb": 2.05, "Te": 2.10, "I": 2.66, "Xe": 2.60, "Cs": 0.79, "Ba": 0.89, "La": 1.10, "Ce": 1.12,
    "Pr": 1.13, "Nd": 1.14, "Sm": 1.17, "Gd": 1.20, "Dy": 1.22, "Ho": 1.23, "Er": 1.24, "Tm": 1.25,
    "Lu": 1.27, "Hf": 1.30, "Ta": 1.50, "W": 2.36, "Re": 1.90, "Os": 2.20, "Ir": 2.20, "Pt": 2.28,
    "Au": 2.54, "Hg": 2.00, "Tl": 1.62, "Pb": 2.33, "Bi": 2.02, "Po": 2.00, "At": 2.20, "Ra": 0.90,
    "Ac": 1.10, "Th": 1.30, "Pa": 1.50, "U": 1.38, "Np": 1.36, "Pu": 1.28,
}  # fmt: skip


def period_and_group(number: int) -> tuple[int, int]:
    """Give the row and the column of an element; f elements stand in group 3.

    Parameters
    ----------
    number : int
        Atomic number, 1 to 118.

    Returns
    -------
    tuple of int
        Period (1 to 7) and group (1 to 18).
    """
    period = next(p for p in range(1, 8) if number <= _NOBLE_GASES[p])
    offset = number - _NOBLE_GASES[period - 1]
    length = _NOBLE_GASES[period] - _NOBLE_GASES[period - 1]
    from_end = length - offset
    if period == 1:
        return 1, 1 if offset == 1 else 18
    if offset <= 2:
        return period, offset
    return period, max(3, 18 - from_end)


def radius_table() -> NDArray[np.float64]:
    """Tabulate covalent radii (doi:10.1039/b801115j), Å, shape (119,); 1.6 where none is known."""
    return np.array([covalent_radii[z] if z < len(covalent_radii) else 1.6 for z in range(N_ELEMENTS)])


def element_properties() -> NDArray[np.float64]:
    """Tabulate four properties of every element, each scaled to mean 0 and deviation 1.

    Returns
    -------
    ndarray, float64, shape (119, 4)
        Group, period, Pauling electronegativity, covalent radius; dimensionless. Row 0 is zero.
    """
    table = np.zeros((N_ELEMENTS, 4))
    radii = radius_table()
    for number in range(1, N_ELEMENTS):
        period, group = period_and_group(number)
        symbol = chemical_symbols[number]
        table[number] = group, period, _PAULING.get(symbol, np.nan), radii[number]
    for period in range(1, 8):
        row = table[1:, 1] == period
        values = table[1:][row, 2]
        known = values[~np.isnan(values)]
        values[np.isnan(values)] = known.mean()
        table[1:, 2][row] = values
    table[1:] = (table[1:] - table[1:].mean(axis=0)) / table[1:].std(axis=0)
    return table


def check_elements(numbers: Iterable[int], known: Iterable[int]) -> None:
    """Refuse a structure with an element the model has never seen.

    Raises
    ------
    UnknownElementError
        When an atomic number is not among ``known``.
    """
    known_set = set(known)
    missing = sorted({int(z) for z in numbers} - known_set)
    if missing:
        got = ", ".join(chemical_symbols[z] if 0 < z < N_ELEMENTS else f"Z={z}" for z in missing)
        have = ", ".join(chemical_symbols[z] for z in sorted(known_set))
        raise UnknownElementError(
            f"the model was not trained on {got}; it knows {have}. "
            "Fine-tune it on structures with these elements ('sdnnff finetune') or choose another model."
        )
