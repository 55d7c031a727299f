r"""Masses of the atoms where they are not those of the natural isotope mixture.

A crystal carries masses of its own in ``atoms.arrays["masses"]`` (ASE's place for them), u; without that array every
atom has its natural mass. The isotope scattering of an atom follows from its mass:

.. math:: g = \sum_i c_i \left(\frac{m_i - \bar m}{\bar m}\right)^2

with the natural concentrations for the natural mass, 0 for a pure isotope, and for a mass between two isotopes the
mixture of these two, the least variance that a mixture of that mean can have.

References
----------
S. Tamura, Phys. Rev. B 27, 858 (1983), eq. 2, doi:10.1103/PhysRevB.27.858.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, chemical_symbols
from numpy.typing import NDArray

NATURAL = 2e-3
"""Relative: a mass this close to the standard atomic weight is natural (tables differ by less)."""
DEUTERIUM, TRITIUM = 2.01410177811, 3.01604928199
"""u (AME2016, doi:10.1088/1674-1137/41/3/030003)."""
HYDROGEN_ISOTOPES = {"D": DEUTERIUM, "T": TRITIUM}
"""Symbols that name an isotope, and its mass in u."""


def has_own_masses(atoms: Atoms) -> bool:
    """Whether any atom's mass is not that of its natural isotope mixture."""
    return atoms.has("masses") and not bool(np.all(_are_natural(atoms)))


def without_natural_masses(atoms: Atoms) -> Atoms:
    """Return a copy that has the array ``masses`` only where an atom's mass is its own."""
    copy: Atoms = atoms.copy()
    if copy.has("masses") and not has_own_masses(copy):
        del copy.arrays["masses"]
    return copy


def species_of(atoms: Atoms) -> NDArray[np.int64]:
    """Return a number for each atom that differs between elements and between masses of one element.

    Returns
    -------
    ndarray
        int64 (n_atoms,); the atomic number for atoms of natural mass.
    """
    species: NDArray[np.int64] = atoms.numbers.astype(np.int64)
    if not has_own_masses(atoms):
        return species
    own = ~_are_natural(atoms)
    thousandths = np.round(atoms.get_masses() * 1000).astype(np.int64)
    for rank, mass in enumerate(np.unique(thousandths[own]), start=1):
        species[own & (thousandths == mass)] += 1000 * rank
    return species


def mass_variances(atoms: Atoms) -> NDArray[np.float64]:
    """Compute the mass-variance parameter of each atom for isotope scattering.

    Parameters
    ----------
    atoms : ase.Atoms
        With masses of its own or without.

    Returns
    -------
    ndarray
        float64 (n_atoms,), without unit.
    """
    natural = _are_natural(atoms)
    pairs = zip(atoms.numbers.tolist(), atoms.get_masses().tolist(), natural.tolist(), strict=True)
    return np.array([_natural_variance(n) if usual else _least_variance(n, mass) for n, mass, usual in pairs])


def _are_natural(atoms: Atoms) -> NDArray[np.bool_]:
    """Whether each atom has the mass of its natural isotope mixture."""
    standard = atomic_masses[atoms.numbers]
    result: NDArray[np.bool_] = np.abs(atoms.get_masses() / standard - 1.0) < NATURAL
    return result


@cache
def _isotopes(number: int) -> NDArray[np.float64]:
    """Masses (u) and natural concentrations of the isotopes of an element, float64 (n_isotopes, 2)."""
    from phonopy.structure.atomic_data import get_atomic_data

    table = get_atomic_data().isotope_data.get(chemical_symbols[number]) or ()
    return np.array([(mass, share) for _, mass, share in table]).reshape(-1, 2)


@cache
def _natural_variance(number: int) -> float:
    """Variance parameter of the natural mixture."""
    isotopes = _isotopes(number)
    if not len(isotopes):
        return 0.0
    mean = float(isotopes[:, 0] @ isotopes[:, 1])
    return float(isotopes[:, 1] @ (isotopes[:, 0] / mean - 1.0) ** 2)


def _least_variance(number: int, mean: float) -> float:
    """Variance parameter of the mixture of the two isotopes whose masses enclose ``mean`` (u)."""
    masses = np.sort(_isotopes(number)[:, 0]) if len(_isotopes(number)) else np.empty(0)
    below, above = masses[masses <= mean], masses[masses > mean]
    if not len(below) or not len(above):
        return 0.0
    return float((above[0] - mean) * (mean - below[-1]) / mean**2)
