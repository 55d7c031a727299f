"""One entry of an OPTIMADE answer, validated on its own: a bad one is one reason, whatever it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from screen_cli.crystal.checks import VOLUME_PER_ATOM
from screen_cli.errors import StructureError
from screen_cli.sources.readers.text import printable

STRUCTURE_FIELDS = (
    "lattice_vectors",
    "cartesian_site_positions",
    "species_at_sites",
    "species",
    "nsites",
    "nperiodic_dimensions",
    "dimension_types",
    "structure_features",
)
"""Fields that every query asks for."""

_NO_CRYSTAL = {"disorder", "implicit_atoms", "assemblies", "unknown_positions"}
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Vector = tuple[_Finite, _Finite, _Finite]


def _as_list(value: object) -> object:
    """Give a mass alone, as OPTIMADE 1.0 has it, as a list."""
    return [value] if isinstance(value, (int, float)) else value


class Species(BaseModel):
    """What stands on a site (OPTIMADE 1.2, section 7.2.14)."""

    model_config = ConfigDict(extra="ignore")
    name: str
    chemical_symbols: list[str]
    concentration: list[_Finite] | None = None
    mass: Annotated[list[_Finite | None] | None, BeforeValidator(_as_list)] = None
    attached: list[str] | None = None


class Attributes(BaseModel):
    """What a crystal needs of an entry's attributes; fields of the provider's own are left alone."""

    model_config = ConfigDict(extra="ignore")
    lattice_vectors: tuple[_Vector, _Vector, _Vector]
    cartesian_site_positions: list[_Vector]
    species_at_sites: list[str]
    species: list[Species] | None = None
    nsites: int | None = None
    nperiodic_dimensions: int | None = None
    dimension_types: tuple[int, int, int] | None = None
    structure_features: list[str] | None = None


def atoms_of(attributes: Mapping[str, object], length: float, max_atoms: int) -> Atoms:
    """Build the crystal of an entry's attributes.

    Parameters
    ----------
    attributes : mapping
        As the provider sent them.
    length : float
        The provider's unit of length, Å.
    max_atoms : int
        Entries with more sites are refused.

    Raises
    ------
    StructureError
        No valid entry, or no ordered crystal.
    """
    entry = _validated(attributes)
    n_sites = len(entry.species_at_sites)
    if n_sites > max_atoms:
        raise StructureError(f"it has {n_sites} sites, at most {max_atoms} are read.")
    features = set(entry.structure_features or ()) & _NO_CRYSTAL
    if features:
        raise StructureError(f"it is no ordered crystal: {', '.join(sorted(features))}. Give an ordered approximant.")
    directions = entry.nperiodic_dimensions if entry.dimension_types is None else sum(entry.dimension_types)
    for count in (directions, entry.nperiodic_dimensions):
        if count not in (None, 3):
            raise StructureError(f"it is periodic in {count} directions, expected 3.")
    n_positions, n_said = len(entry.cartesian_site_positions), n_sites if entry.nsites is None else entry.nsites
    if not n_sites or n_positions != n_sites or n_said != n_sites:
        raise StructureError(
            f"it is incomplete: nsites {n_said}, species_at_sites {n_sites}, cartesian_site_positions {n_positions}."
        )
    known = {species.name: species for species in entry.species or ()}
    symbols, masses = zip(*(_element(name, known.get(name)) for name in entry.species_at_sites), strict=True)
    strange = sorted({symbol for symbol in symbols if symbol not in chemical_symbols[1:]})
    if strange:
        shown = ", ".join(printable(symbol, 40) for symbol in strange[:5])
        raise StructureError(f"its sites hold {shown}, expected one element each.")
    cell = np.array(entry.lattice_vectors) * length
    volume = abs(float(np.linalg.det(cell))) / n_sites
    if volume > 0 and not VOLUME_PER_ATOM[0] < volume < VOLUME_PER_ATOM[1]:
        raise StructureError(f"{volume:.3g} Å³ per atom is no solid; OPTIMADE lengths are in Å, these seem not to be.")
    atoms = Atoms(symbols, positions=np.array(entry.cartesian_site_positions) * length, cell=cell, pbc=True)
    if any(mass is not None for mass in masses):
        natural = atoms.get_masses().tolist()
        atoms.set_masses([usual if mass is None else mass for mass, usual in zip(masses, natural, strict=True)])
    return atoms


def _validated(attributes: Mapping[str, object]) -> Attributes:
    """Attributes of the right types."""
    try:
        return Attributes.model_validate(attributes)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        told = "; ".join(f"{'.'.join(map(str, item['loc']))[:60]}: {item['msg']}" for item in problems[:3])
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise StructureError(f"it is no valid entry: {printable(told, 250)}{more}.") from None


def _element(name: str, species: Species | None) -> tuple[str, float | None]:
    """Symbol and mass (u) of a site; a description of the mixture when it is not one element."""
    if species is None:
        return name, None
    symbols = species.chemical_symbols
    concentration = species.concentration or [1.0] * len(symbols)
    full = len(concentration) == 1 and abs(concentration[0] - 1.0) < 1e-3
    if len(symbols) == 1 and full and not species.attached:
        return symbols[0], species.mass[0] if species.mass else None
    return "+".join(f"{symbol} {x:g}" for symbol, x in zip(symbols, concentration, strict=False)) or "nothing", None
