"""What is refused before symmetry is asked for: no ordered, three-dimensional crystal with lengths in Å."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, chemical_symbols
from ase.neighborlist import neighbor_list

from screen_cli.errors import StructureError

VOLUME_PER_ATOM = (2.0, 500.0)
"""Å³: what lies outside was not written in Å."""

MASS_RATIO = (0.4, 3.2)
"""Of a mass to the standard weight of its element: what lies outside is in another unit (T, the furthest, has 2.99)."""


def check_atoms(atoms: Atoms, min_distance: float = 0.5) -> None:
    """Refuse what is no ordered three-dimensional crystal.

    Parameters
    ----------
    atoms : ase.Atoms
    min_distance : float
        Atoms closer than this overlap, Å; periodic images count.

    Raises
    ------
    StructureError
        No atoms, no finite periodic cell, NaN positions or masses, unknown species, partial occupancy, or atoms that
        overlap under periodic boundary conditions.
    """
    if len(atoms) == 0:
        raise StructureError("the structure has no atoms; check that the file was written completely.")
    cell = atoms.cell.array
    if not np.isfinite(cell).all() or not np.isfinite(atoms.positions).all():
        raise StructureError("cell or positions hold NaN or infinity; expected finite lengths in Å.")
    if not atoms.pbc.all():
        raise StructureError(
            f"periodic directions are {atoms.pbc.tolist()}, expected all three. Give a crystal with its cell."
        )
    edges = np.linalg.norm(cell, axis=1)
    if atoms.cell.volume < 1e-3 * max(1.0, float(np.abs(cell).max())) ** 2:
        raise StructureError(
            f"the cell volume is {atoms.cell.volume:.3g} Å³; the three cell vectors must span a volume."
        )
    if float(edges.max()) > 1e4:
        raise StructureError(f"a cell edge is {edges.max():.3g} Å long, at most 10000 Å accepted. Give lengths in Å.")
    if (atoms.numbers < 1).any() or (atoms.numbers >= len(chemical_symbols)).any():
        raise StructureError("the structure has atoms of no element (dummy 'X'); name an element on every site.")
    masses = atoms.get_masses()
    if not (np.isfinite(masses).all() and (masses > 0).all()):
        raise StructureError("masses hold NaN, infinity, zero or less; expected atomic mass units above zero.")
    ratios = masses / atomic_masses[atoms.numbers]
    odd = int(np.argmax(np.abs(np.log(ratios))))
    if not MASS_RATIO[0] < ratios[odd] < MASS_RATIO[1]:
        raise StructureError(
            f"the mass of atom {odd} ({atoms.symbols[odd]}) is {masses[odd]:.4g} u, no isotope's: the element has "
            f"{atomic_masses[atoms.numbers[odd]]:.4g} u. Give masses in atomic mass units."
        )
    _check_occupancy(atoms)
    _check_distances(atoms, min_distance)


def check_units(atoms: Atoms) -> None:
    """Refuse a crystal whose lengths cannot be in Å.

    Raises
    ------
    StructureError
        Less or more volume per atom than any solid has.
    """
    volume = atoms.cell.volume / max(len(atoms), 1)
    if volume > 0 and not VOLUME_PER_ATOM[0] < volume < VOLUME_PER_ATOM[1]:
        raise StructureError(
            f"{volume:.3g} Å³ per atom is no solid, expected {VOLUME_PER_ATOM[0]:g} to {VOLUME_PER_ATOM[1]:g}. Give "
            "lengths in Å."
        )


def _check_distances(atoms: Atoms, min_distance: float) -> None:
    """Refuse atoms closer than ``min_distance`` (Å)."""
    first, second, distances = neighbor_list("ijd", atoms, float(min_distance))
    if len(distances):
        nearest = int(np.argmin(distances))
        i, j = int(first[nearest]), int(second[nearest])
        raise StructureError(
            f"atoms {i} ({atoms.symbols[i]}) and {j} ({atoms.symbols[j]}) overlap: {distances[nearest]:.3f} Å "
            f"apart with periodic images, at least {min_distance} Å expected. Remove duplicate sites or lower "
            "read.min_distance."
        )


def _check_occupancy(atoms: Atoms) -> None:
    """Refuse partial or mixed site occupancy, which ASE keeps in ``atoms.info['occupancy']``."""
    occupancy = atoms.info.get("occupancy") or {}
    if not isinstance(occupancy, dict):
        return
    for site, species in occupancy.items():
        if not isinstance(species, dict):
            continue
        if len(species) > 1 or any(abs(float(value) - 1.0) > 1e-3 for value in species.values()):
            mix = ", ".join(f"{symbol} {float(value):g}" for symbol, value in species.items())
            raise StructureError(
                f"site {site} has partial occupancy ({mix}); phonons need an ordered crystal. Give an ordered "
                "approximant or supercell."
            )
