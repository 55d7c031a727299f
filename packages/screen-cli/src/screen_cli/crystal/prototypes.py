"""The table of prototypes (the 16 of the SDNNFF paper's Table 1, and a few more), and cells built from it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple, NotRequired, TypedDict, cast

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols, covalent_radii

from screen_cli.errors import StructureError, unknown_name


class PrototypeEntry(TypedDict):
    """One prototype of the table; the head of ``prototypes.toml`` explains the fields."""

    type: str
    atoms: int
    wyckoff: str
    space_group: int
    elements: int
    sites: list[list[float | str]]
    stated: bool
    anions: NotRequired[list[int]]
    pool: NotRequired[int]
    stable: NotRequired[int]
    species: NotRequired[list[int]]
    parameters: NotRequired[dict[str, float]]


@cache
def prototypes() -> dict[str, PrototypeEntry]:
    """Return the table of prototypes by name."""
    text = files("screen_cli.crystal").joinpath("prototypes.toml").read_text(encoding="utf-8")
    return cast("dict[str, PrototypeEntry]", tomllib.loads(text))


def build(name: str, elements: Sequence[str], a: float, **parameters: float) -> Atoms:
    """Build the conventional cell of a prototype.

    Parameters
    ----------
    name : str
        E.g. ``"rocksalt"``.
    elements : sequence of str
        In the order of the prototype's sites.
    a : float
        Lattice constant, Å.
    **parameters : float
        Free coordinates, e.g. ``x=0.24``.

    Raises
    ------
    UnknownNameError, StructureError
        Unknown prototype, or the wrong number of elements.
    """
    from ase.spacegroup import crystal

    table = prototypes()
    if name not in table:
        raise unknown_name("prototype", name, table)
    entry = table[name]
    unknown = [element for element in elements if element not in atomic_numbers]
    if len(elements) != entry["elements"] or unknown:
        raise StructureError(
            f"{name} takes {entry['elements']} elements, got {list(elements)}"
            + (f"; {unknown} are no chemical symbols" if unknown else "")
            + "."
        )
    free = {**entry.get("parameters", {}), **parameters}
    sites = [[free[x] if isinstance(x, str) else x for x in site] for site in entry["sites"]]
    species = entry.get("species", range(len(sites)))
    return crystal(
        [elements[index] for index in species],
        basis=sites,
        spacegroup=entry["space_group"],
        setting=2 if entry["space_group"] == 227 else 1,
        cellpar=[a, a, a, 90, 90, 90],
    )


class ElementSites(NamedTuple):
    """The sites that one element of a prototype takes.

    Parameters
    ----------
    letter : str
        ``"A"``, ``"B"``, ... in the order of the prototype's elements.
    wyckoff : str
        Multiplicities and Wyckoff letters, e.g. ``"1a"`` or ``"4b 4d"``.
    n_atoms : int
        In the conventional cell.
    """

    letter: str
    wyckoff: str
    n_atoms: int


@cache
def element_sites(name: str) -> tuple[ElementSites, ...]:
    """List the sites of each element of a prototype, in the order in which :func:`build` takes the elements."""
    entry = prototypes()[name]
    words = entry["wyckoff"].split()
    species = entry.get("species", range(len(words)))
    found = []
    for index in range(entry["elements"]):
        own = [word for word, owner in zip(words, species, strict=True) if owner == index]
        count = sum(int(word[:-1]) for word in own)
        found.append(ElementSites(chr(ord("A") + index), " ".join(own), count))
    return tuple(found)


def guess_lattice_constant(name: str, elements: Sequence[str], **parameters: float) -> float:
    """Guess the lattice constant from covalent radii: the closest contact of every site touches.

    Good to some 10 %, enough to start a relaxation.

    Parameters
    ----------
    name, elements, **parameters : str, sequence of str, float
        As :func:`build` takes them.

    Returns
    -------
    float
        Å: the largest (r_i + r_j)/d_ij over the nearest neighbours of the sites, d_ij in units of the cell
        (radii of doi:10.1039/b801115j).
    """
    build(name, elements, 10.0, **parameters)  # refuses what does not fit
    radius = [covalent_radii[atomic_numbers[element]] for element in elements]
    touching = contacts(name, tuple(sorted(parameters.items())))
    return float(max((radius[i] + radius[j]) / distance for i, j, distance in touching))


@cache
def contacts(name: str, parameters: tuple[tuple[str, float], ...] = ()) -> tuple[tuple[int, int, float], ...]:
    """Nearest neighbours of every site of a prototype.

    Returns
    -------
    tuple of (int, int, float)
        Two elements (positions in the prototype's list) and their distance in units of the lattice constant.
    """
    placeholders = chemical_symbols[1 : 1 + prototypes()[name]["elements"]]
    unit = build(name, placeholders, 1.0, **dict(parameters))
    distance = unit.get_all_distances(mic=True)
    np.fill_diagonal(distance, 1.0)  # the atom's own image
    rows, columns = np.nonzero(distance <= 1.01 * distance.min(axis=1)[:, None])
    species = unit.numbers - 1
    pairs = {
        (int(species[i]), int(species[j]), round(float(distance[i, j]), 6)) for i, j in zip(rows, columns, strict=True)
    }
    return tuple(sorted(pairs))
