"""The record of the property ``cohp``, whichever program the numbers come from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from screen_cli.store.record import TypedRecord, array


@dataclass(frozen=True, kw_only=True, eq=False)
class Bonding(TypedRecord):
    """Bonding and antibonding of a crystal, mean over its bonds; without LOBSTER's output every field is None.

    Parameters
    ----------
    cohp_source : str, optional
        Program and basis: ``"lobster"``, or ``"gpaw-lcao szp(dzp)"``. Values of two sources must not be compared.
    cohp_bonding_ev, cohp_antibonding_ev : float, optional
        Integrals of the curves over the occupied states, eV, spins summed; of LOBSTER from ``COHPCAR.lobster``.
    icohp_mean_ev, icohp_strongest_ev : float, optional
        Integral of the whole curve, eV, negative is bonding: mean over all bonds, and of the strongest; of LOBSTER from
        ``ICOHPLIST.lobster``.
    n_bonds : int, optional
        Pairs of atoms in ``COHPCAR.lobster``; from GPAW those in the nearest shells, per primitive cell.
    cohp_consistent : bool, optional
        LOBSTER: curves and list agree to 5 %; if not, the energy window of the curves is too small.
    cohp_gap_ev : float, optional
        GPAW: the gap above the energy zero, eV; 0 of a metal.
    cohp_spilling : float, optional
        GPAW: share of the electrons of a band that orbitals of free atoms do not hold, largest over the bands.
    bond_pairs : ndarray, optional
        GPAW: int64 (n_pairs, 2), atoms of the relaxed cell.
    bond_cells : ndarray, optional
        GPAW: int64 (n_pairs, 3), the second atom stands in this cell, the first in (0, 0, 0).
    bond_distances : ndarray, optional
        GPAW: float64 (n_pairs,), Å.
    bond_icohp_ev, bond_bonding_ev, bond_antibonding_ev : ndarray, optional
        GPAW: float64 (n_pairs,), eV, each bond's own.
    """

    cohp_source: str | None = None
    cohp_bonding_ev: float | None = None
    cohp_antibonding_ev: float | None = None
    icohp_mean_ev: float | None = None
    icohp_strongest_ev: float | None = None
    n_bonds: int | None = None
    cohp_consistent: bool | None = None
    cohp_gap_ev: float | None = None
    cohp_spilling: float | None = None
    bond_pairs: NDArray[np.int64] | None = array(np.int64, "n_pairs", 2, optional=True)
    bond_cells: NDArray[np.int64] | None = array(np.int64, "n_pairs", 3, optional=True)
    bond_distances: NDArray[np.float64] | None = array(np.float64, "n_pairs", optional=True)
    bond_icohp_ev: NDArray[np.float64] | None = array(np.float64, "n_pairs", optional=True)
    bond_bonding_ev: NDArray[np.float64] | None = array(np.float64, "n_pairs", optional=True)
    bond_antibonding_ev: NDArray[np.float64] | None = array(np.float64, "n_pairs", optional=True)
