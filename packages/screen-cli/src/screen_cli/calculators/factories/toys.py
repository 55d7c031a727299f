"""Factories of ASE's two toy potentials, for tests and teaching."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator


def make_emt(asap_cutoff: bool = False) -> BaseCalculator:
    """Make ASE's effective medium theory (Al Ni Cu Pd Ag Pt Au H C N O), for tests and teaching."""
    from ase.calculators.emt import EMT

    return EMT(asap_cutoff=asap_cutoff)


def make_lj(
    sigma: float = 3.405, epsilon: float = 0.01032, rc: float | None = None, smooth: bool = True
) -> BaseCalculator:
    """Make ASE's Lennard-Jones potential; the defaults are argon.

    Parameters
    ----------
    sigma : float
        Å.
    epsilon : float
        eV.
    rc : float, optional
        Cutoff, Å; default 2.5 sigma.
    smooth : bool
        Smooth cutoff, without which force constants have a step.
    """
    from ase.calculators.lj import LennardJones

    return LennardJones(sigma=sigma, epsilon=epsilon, rc=rc or 2.5 * sigma, smooth=smooth)
