"""How strongly the isotopes of a crystal scatter: the variance of its masses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from phon_wigner.errors import GridMismatchError

if TYPE_CHECKING:
    from phonopy.structure.atoms import PhonopyAtoms

MASS_TOLERANCE = 1e-3
"""Relative difference up to which a mass may be the natural mean, or lie outside the isotopes."""

PURE_TOLERANCE = 2e-4
"""Relative difference up to which a mass is that of one isotope."""


def natural_mass_variances(primitive: PhonopyAtoms) -> NDArray[np.float64]:
    """Return Σ_i f_i (1 - m_i/m̄)² of every atom, shape (n_atoms,).

    Natural abundance where the mass of an atom is nearest to the natural mean; else the least that its mass allows,
    which is none for a pure isotope and that of the two isotopes around it for a mixture. Elements without natural
    isotopes scatter nothing.

    Raises
    ------
    GridMismatchError
        A mass lies outside those of all isotopes of its element.
    """
    return np.array([_mass_variance(*atom) for atom in zip(primitive.symbols, primitive.masses, strict=True)])


def _mass_variance(symbol: str, mass: float) -> float:
    """Return the variance parameter of one atom."""
    from phonopy.structure.atomic_data import get_atomic_data

    table = np.array([(m, share) for _, m, share in get_atomic_data().isotope_data.get(symbol) or ()]).reshape(-1, 2)
    if not len(table):
        return 0.0
    masses, shares = table[np.argsort(table[:, 0])].T
    natural = float(masses @ shares)
    if abs(mass - natural) <= min(MASS_TOLERANCE * natural, float(np.abs(mass - masses).min())):
        return float(shares @ (1 - masses / natural) ** 2)
    low, high = masses[0] * (1 - MASS_TOLERANCE), masses[-1] * (1 + MASS_TOLERANCE)
    if not low < mass < high:
        raise GridMismatchError(
            f"the mass {mass:g} u of {symbol} lies outside those of its isotopes, {masses[0]:.4f} to "
            f"{masses[-1]:.4f} u. "
            "Drop --isotope, correct the mass, or give mass_variances."
        )
    if np.abs(mass - masses).min() < PURE_TOLERANCE * mass:
        return 0.0
    upper = int(np.clip(np.searchsorted(masses, mass), 1, len(masses) - 1))
    return max(float((masses[upper] - mass) * (mass - masses[upper - 1])), 0.0) / mass**2
