"""Which prototype a crystal is: occupied Wyckoff sites, whatever the origin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from screen_cli.crystal.prototypes import prototypes

Sites = tuple[str, ...]
"""Wyckoff letters of each element, sorted: ``("a", "b")`` is rocksalt, ``("a", "bc")`` BiF3."""

# Letters that change when the origin moves by a translation of the group's Euclidean normaliser, as cycles
# (International Tables A, 3.5): (¼,¼,¼) and the inversion for 216, (½,½,½) for the others.
_CYCLES = {
    216: ("acbd fg", "cd"),
    221: ("ab cd ef ij kl",),
    225: ("ab hi",),
    227: ("ab cd",),
}


def prototype_of(space_group: int, occupied: Iterable[tuple[int, str]]) -> str:
    """Name the prototype of a crystal.

    Parameters
    ----------
    space_group : int
        International number.
    occupied : iterable of (int, str)
        Atomic number and Wyckoff letter of each orbit.

    Returns
    -------
    str
        Name in the table of prototypes; empty when there is none. Free coordinates are not compared.
    """
    letters: dict[int, str] = {}
    for number, letter in occupied:
        letters[number] = letters.get(number, "") + letter
    return _names().get((space_group, _canonical(space_group, letters.values())), "")


def interchangeable(name: str) -> tuple[tuple[int, ...], ...]:
    """Permutations of a prototype's elements that give the same crystal from another origin.

    Returns
    -------
    tuple of tuple of int
        ``permutation[i]`` is the element whose place element ``i`` takes; the identity comes first.
    """
    entry = prototypes()[name]
    sites = _sites(name)
    found = {tuple(range(len(sites)))}
    for letters in _origins(entry["space_group"]):
        moved = [_moved(site, letters) for site in sites]
        if sorted(moved) == sorted(sites):
            found.add(tuple(sites.index(site) for site in moved))
    return tuple(sorted(found))


def _sites(name: str) -> list[str]:
    """Letters of each element of a prototype, in the order of its elements."""
    entry = prototypes()[name]
    letters = [site[-1] for site in entry["wyckoff"].split()]
    species: Sequence[int] = entry.get("species", range(len(letters)))
    return [
        "".join(sorted(letter for letter, owner in zip(letters, species, strict=True) if owner == index))
        for index in range(entry["elements"])
    ]


@cache
def _names() -> dict[tuple[int, Sites], str]:
    """Prototypes by space group and canonical sites."""
    return {
        (entry["space_group"], _canonical(entry["space_group"], _sites(name))): name
        for name, entry in prototypes().items()
    }


def _canonical(space_group: int, sites: Iterable[str]) -> Sites:
    """Smallest spelling of the occupied sites over the choices of origin, elements unnamed."""
    sites = list(sites)
    return min(tuple(sorted(_moved(site, letters) for site in sites)) for letters in _origins(space_group))


def _moved(site: str, letters: dict[str, str]) -> str:
    """Letters of an element after a change of origin."""
    return "".join(sorted(letters.get(letter, letter) for letter in site))


@cache
def _origins(space_group: int) -> list[dict[str, str]]:
    """All renamings of Wyckoff letters that a change of origin can bring: the group the cycles generate."""
    alphabet = "".join(chr(code) for code in range(ord("a"), ord("z") + 1))
    generators = [_as_mapping(cycles, alphabet) for cycles in _CYCLES.get(space_group, ())]
    group = [alphabet]
    for word in group:  # grows while it is walked
        for generator in generators:
            image = "".join(generator[letter] for letter in word)
            if image not in group:
                group.append(image)
    return [dict(zip(alphabet, word, strict=True)) for word in group]


def _as_mapping(cycles: str, alphabet: str) -> dict[str, str]:
    """Turn cycles into a mapping of every letter."""
    mapping = {letter: letter for letter in alphabet}
    for cycle in cycles.split():
        for position, letter in enumerate(cycle):
            mapping[letter] = cycle[(position + 1) % len(cycle)]
    return mapping
