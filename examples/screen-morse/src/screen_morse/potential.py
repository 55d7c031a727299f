"""Morse potentials of fcc metals."""

from __future__ import annotations

from ase.calculators.morse import MorsePotential

PARAMETERS = {
    # element: (depth D in eV, exponent alpha in 1/Å, distance r0 in Å); doi:10.1103/PhysRev.114.687, Table I
    "Al": (0.2703, 1.1646, 3.253),
    "Ag": (0.3323, 1.3690, 3.115),
    "Cu": (0.3429, 1.3588, 2.866),
    "Ni": (0.4205, 1.4199, 2.780),
    "Pb": (0.2348, 1.1836, 3.733),
}


def make_morse(element: str = "Cu", rcut1: float = 1.9, rcut2: float = 2.4) -> MorsePotential:
    """Make the calculator of one element; the cutoff function falls from rcut1·r0 to rcut2·r0."""
    if element not in PARAMETERS:
        raise ValueError(f"no Morse parameters for '{element}'. Known: {', '.join(PARAMETERS)}.")
    depth, alpha, distance = PARAMETERS[element]
    return MorsePotential(epsilon=depth, r0=distance, rho0=alpha * distance, rcut1=rcut1, rcut2=rcut2)
