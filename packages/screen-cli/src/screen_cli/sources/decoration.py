"""Prototypes decorated with lists of elements: every chemistry once, in a reproducible order, one at a time.

Of the orders of elements that describe one crystal from different origins (rocksalt NaCl and ClNa) one is kept.
The candidates of each prototype come in a pseudo-random order fixed by the seed, and the prototypes take turns, so
that any number of crystals taken from the front is an even sample, and a larger sample begins with the smaller one.
"""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files as package_files
from typing import TypedDict, cast

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from numpy.typing import NDArray

from screen_cli.crystal.metadata import Json
from screen_cli.crystal.prototypes import PrototypeEntry, build, contacts, prototypes
from screen_cli.crystal.standard_cell import Symmetry
from screen_cli.crystal.structure import Structure
from screen_cli.crystal.wyckoff import interchangeable
from screen_cli.errors import ConfigError, unknown_name

RULES = ("none", "charge-balance", "electronegativity")
SHARES = ("equal", "paper")
MIN_DIFFERENCE = 0.2
"""Smallest Pauling difference between anions and cations that the rule "electronegativity" accepts by default."""
_CHUNK = 4096


@dataclass(frozen=True)
class Decoration:
    """What to put on which prototypes.

    Parameters
    ----------
    elements : tuple of str, or tuple of tuples of str
        Chemical symbols for every site; or one list for each element of the prototype.
    prototypes : tuple of str
        Names; empty: the sixteen of the paper (those with as many elements, when there is a list for each).
    rule : {"none", "charge-balance", "electronegativity"}
        See :func:`is_charge_balanced` and :func:`has_electronegative_anions`.
    limit : int
        At most this many crystals; 0: all.
    shares : {"equal", "paper"}
        How a limit is split: evenly, or in the proportions of the 77,091 structures of the paper's Table 1.
    seed : int
        Of the order.
    min_difference : float
        Pauling units, for the rule "electronegativity".
    """

    elements: tuple[str | tuple[str, ...], ...]
    prototypes: tuple[str, ...] = ()
    rule: str = "charge-balance"
    limit: int = 0
    shares: str = "equal"
    seed: int = 0
    min_difference: float = MIN_DIFFERENCE

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise unknown_name("rule", self.rule, RULES)
        if self.shares not in SHARES:
            raise unknown_name("shares", self.shares, SHARES)
        for name in self.prototypes:
            if name not in prototypes():
                raise unknown_name("prototype", name, prototypes())
        if not self.elements:
            raise ConfigError("source 'prototypes': elements is empty; list chemical symbols, e.g. ['Na', 'K', 'Cl'].")
        if any(isinstance(item, str) for item in self.elements) != all(isinstance(item, str) for item in self.elements):
            raise ConfigError("source 'prototypes': elements mixes symbols and lists; give one list, or one per site.")
        for symbol in self.symbols:
            if symbol not in atomic_numbers or symbol == "X":
                raise ConfigError(f"source 'prototypes': '{symbol}' is no chemical symbol.")
            if self.rule != "none" and symbol not in _element_data():
                raise ConfigError(
                    f"source 'prototypes': no electronegativity and oxidation states are tabulated for {symbol}, which "
                    f"rule '{self.rule}' needs. Leave it out or use rule = \"none\"."
                )
        self.names  # noqa: B018  (raises when nothing fits)

    @property
    def per_site(self) -> bool:
        """Whether each element of the prototype has a list of its own."""
        return not isinstance(self.elements[0], str)

    @property
    def symbols(self) -> list[str]:
        """Every symbol used, once."""
        lists = [(item,) if isinstance(item, str) else item for item in self.elements]
        return list(dict.fromkeys(itertools.chain.from_iterable(lists)))

    @property
    def names(self) -> list[str]:
        """Prototypes to decorate."""
        wanted = list(self.prototypes) or [name for name, entry in prototypes().items() if "pool" in entry]
        if not self.per_site:
            return wanted
        fitting = [name for name in wanted if prototypes()[name]["elements"] == len(self.elements)]
        if not fitting or (self.prototypes and fitting != wanted):
            takes = ", ".join(f"{name} takes {prototypes()[name]['elements']}" for name in wanted)
            raise ConfigError(
                f"source 'prototypes': elements has {len(self.elements)} lists, but {takes}. Give one list for each "
                "element of the prototype, or one flat list of symbols."
            )
        return fitting


def decoration_from_options(options: Mapping[str, object]) -> Decoration:
    """Read the options of the source ``prototypes``.

    Raises
    ------
    ConfigError, UnknownNameError
        Unknown option, wrong type, or values that contradict each other.
    """
    from pydantic import TypeAdapter, ValidationError

    known = [field.name for field in fields(Decoration)]
    for key in options:
        if key not in known:
            raise ConfigError(f"source 'prototypes': {unknown_name('option', key, ['entries', *known])}")
    if "elements" not in options:
        raise ConfigError("source 'prototypes': give elements = [...] to decorate with, or entries = [...].")
    lists = options["elements"]
    if not isinstance(lists, Sequence) or isinstance(lists, str) or isinstance(options.get("prototypes"), str):
        raise ConfigError('source \'prototypes\': elements and prototypes are lists, e.g. elements = ["Na", "Cl"].')
    elements = tuple(item if isinstance(item, str) else tuple(item) for item in lists)
    try:
        return TypeAdapter(Decoration).validate_python({**options, "elements": elements})
    except ValidationError as error:
        for item in error.errors():
            if item["type"] == "value_error":  # raised on purpose by Decoration
                raise item["ctx"]["error"] from None
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}".strip(": ") for item in error.errors())
        raise ConfigError(f"source 'prototypes': {problems}.") from error


def decorate(decoration: Decoration) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Iterate over (prototype, elements), prototypes taking turns.

    Memory does not grow with the number of candidates.
    """
    quotas = _quotas(decoration)
    streams = {name: itertools.islice(_elements_of(name, decoration), quotas[name]) for name in decoration.names}
    count = 0
    while streams:
        for name in list(streams):
            elements = next(streams[name], None)
            if elements is None:
                del streams[name]
                continue
            yield name, elements
            count += 1
            if count == decoration.limit:
                return


def decorated_structure(name: str, elements: Sequence[str]) -> Structure:
    """Build the primitive cell of a decorated prototype, lattice constant guessed from covalent radii.

    The symmetry is that of the prototype, so spglib is not asked again.
    """
    template = _template(name)
    numbers = np.array([atomic_numbers[symbol] for symbol in elements])
    radii = covalent_radii[numbers]
    a = max((radii[i] + radii[j]) / distance for i, j, distance in template.contacts)
    atoms = Atoms(
        numbers=numbers[template.species], cell=a * template.cell, scaled_positions=template.positions, pbc=True
    )
    symmetry = Symmetry(
        template.symmetry.space_group,
        a * template.symmetry.edges,
        template.symmetry.equivalent_atoms,
        template.symmetry.wyckoffs,
    )
    metadata: dict[str, Json] = {"prototype": name, "elements": list(elements), "lattice_constant_guess": float(a)}
    return Structure(atoms, "prototypes", f"{name}-{''.join(elements)}", metadata, symmetry)


def is_charge_balanced(numbers: NDArray[np.int64], counts: Sequence[int]) -> NDArray[np.bool_]:
    """Tell which compositions common oxidation states can make neutral.

    Every negative element must also be more electronegative than every positive one.

    Parameters
    ----------
    numbers : ndarray
        Atomic numbers, int (n_candidates, n_elements).
    counts : sequence of int
        Atoms of each element in the formula.

    Returns
    -------
    ndarray
        bool (n_candidates,).
    """
    chi, states = _element_arrays()
    balanced = np.zeros(len(numbers), dtype=bool)
    for choice in itertools.product(range(states.shape[1]), repeat=len(counts)):
        charge = np.stack([states[numbers[:, i], state] for i, state in enumerate(choice)], axis=1)
        neutral = charge @ np.array(counts, dtype=float) == 0  # NaN: no such state, never neutral
        if neutral.any():
            lowest_anion = np.where(charge < 0, chi[numbers], np.inf).min(axis=1)
            highest_cation = np.where(charge > 0, chi[numbers], -np.inf).max(axis=1)
            balanced |= neutral & (lowest_anion > highest_cation)
    return balanced


def has_electronegative_anions(
    numbers: NDArray[np.int64], anions: Sequence[int], min_difference: float = MIN_DIFFERENCE
) -> NDArray[np.bool_]:
    """Tell where the elements on the anion sites are the more electronegative ones.

    Parameters
    ----------
    numbers : ndarray
        Atomic numbers, int (n_candidates, n_elements).
    anions : sequence of int
        Elements on anion sites; without any (intermetallic prototypes) everything passes.
    min_difference : float
        Least difference in Pauling's scale between the lowest anion and the highest cation.
    """
    if not anions:
        return np.ones(len(numbers), dtype=bool)
    chi = _element_arrays()[0][numbers]
    cations = [index for index in range(numbers.shape[1]) if index not in anions]
    return np.asarray(chi[:, list(anions)].min(axis=1) - chi[:, cations].max(axis=1) >= min_difference)


def _quotas(decoration: Decoration) -> dict[str, int | None]:
    """Most crystals of each prototype: None where only the limit counts."""
    if decoration.shares == "equal":
        return dict.fromkeys(decoration.names)
    pools = {name: prototypes()[name].get("pool", 0) for name in decoration.names}
    total = sum(pools.values())
    if not decoration.limit:
        return dict(pools)
    exact = {name: decoration.limit * pool / total for name, pool in pools.items()}
    quotas = {name: math.floor(share) for name, share in exact.items()}
    for name in sorted(exact, key=lambda name: quotas[name] - exact[name])[: decoration.limit - sum(quotas.values())]:
        quotas[name] += 1
    return dict(quotas)


def _elements_of(name: str, decoration: Decoration) -> Iterator[tuple[str, ...]]:
    """Elements for one prototype, each chemistry once, in the seed's order."""
    entry = prototypes()[name]
    n = entry["elements"]
    flat = tuple(item for item in decoration.elements if isinstance(item, str))
    lists = [item for item in decoration.elements if not isinstance(item, str)] or [flat] * n
    pools = [np.array(sorted({atomic_numbers[symbol] for symbol in symbols})) for symbols in lists]
    counts = _counts(entry)
    total = math.prod(len(pool) for pool in pools)
    for indices in _shuffled(total, f"{decoration.seed}-{name}"):
        digits = np.unravel_index(indices, [len(pool) for pool in pools])
        numbers = np.stack([pool[digit] for pool, digit in zip(pools, digits, strict=True)], axis=1)
        numbers = numbers[(np.diff(np.sort(numbers, axis=1), axis=1) > 0).all(axis=1)]
        numbers = numbers[_is_first_of_its_kind(numbers, name, pools)]
        if decoration.rule == "charge-balance":
            numbers = numbers[is_charge_balanced(numbers, counts)]
        elif decoration.rule == "electronegativity":
            numbers = numbers[has_electronegative_anions(numbers, entry.get("anions", []), decoration.min_difference)]
        for row in numbers:
            yield tuple(chemical_symbols[number] for number in row)


def _is_first_of_its_kind(
    numbers: NDArray[np.int64], name: str, pools: Sequence[NDArray[np.int64]]
) -> NDArray[np.bool_]:
    """Keep one order of the elements among those that are the same crystal from another origin.

    It is the one that begins with the least electronegative element, as formulas do.
    """
    first = np.ones(len(numbers), dtype=bool)
    weights = 256 ** np.arange(numbers.shape[1])[::-1]
    place = np.argsort(np.argsort(_element_arrays()[0], kind="stable"))  # without a tabulated value: last
    rank = place[numbers] @ weights
    for permutation in interchangeable(name)[1:]:
        other = np.empty_like(numbers)
        other[:, permutation] = numbers
        offered = np.stack([np.isin(other[:, i], pool) for i, pool in enumerate(pools)], axis=1).all(axis=1)
        first &= ~offered | (rank <= place[other] @ weights)
    return first


def _shuffled(total: int, seed: str) -> Iterator[NDArray[np.int64]]:
    """Yield range(total) in a pseudo-random order, in chunks, without holding it: a Feistel network.

    The network permutes numbers of an even count of bits; those outside the range are left out.
    """
    import random

    half = max(1, (max(total - 1, 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    generator = random.Random(seed)
    keys = [(generator.getrandbits(31) | 1, generator.getrandbits(31)) for _ in range(6)]
    for start in range(0, 1 << (2 * half), _CHUNK):
        value = np.arange(start, min(start + _CHUNK, 1 << (2 * half)), dtype=np.int64)
        left, right = value >> half, value & mask
        for factor, offset in keys:
            mixed = (right * factor + offset) & 0xFFFFFFFF
            left, right = right, left ^ (((mixed ^ (mixed >> 15)) * 0x2C1B3C6D >> 7) & mask)
        value = (left << half) | right
        yield value[value < total]


def _counts(entry: PrototypeEntry) -> list[int]:
    """Atoms of each element in the formula, from the multiplicities of its sites."""
    multiplicity = [int(site[:-1]) for site in entry["wyckoff"].split()]
    species: Sequence[int] = entry.get("species", range(len(multiplicity)))
    counts = [0] * entry["elements"]
    for owner, number in zip(species, multiplicity, strict=True):
        counts[owner] += number
    divisor = math.gcd(*counts)
    return [count // divisor for count in counts]


@dataclass(frozen=True)
class _Template:
    """A prototype with lattice constant 1: primitive cell, element of each atom, touching neighbours."""

    cell: NDArray[np.float64]
    positions: NDArray[np.float64]
    species: NDArray[np.int64]
    contacts: tuple[tuple[int, int, float], ...]
    symmetry: Symmetry


@cache
def _template(name: str) -> _Template:
    """Standardise a prototype once, with placeholder elements."""
    scale = 10.0
    placeholders = chemical_symbols[1 : 1 + prototypes()[name]["elements"]]
    structure = Structure.from_atoms(build(name, placeholders, scale), provider="prototypes", provider_id=name)
    symmetry = structure.symmetry
    return _Template(
        structure.atoms.cell.array / scale,
        structure.atoms.get_scaled_positions(),
        structure.atoms.numbers - 1,
        contacts(name),
        Symmetry(symmetry.space_group, symmetry.edges / scale, symmetry.equivalent_atoms, symmetry.wyckoffs),
    )


class _Element(TypedDict):
    """Electronegativity (Pauling) and common oxidation states of an element."""

    chi: float
    states: list[int]


@cache
def _element_data() -> dict[str, _Element]:
    """Elements by symbol."""
    text = package_files("screen_cli.sources").joinpath("elements.toml").read_text(encoding="utf-8")
    return cast("dict[str, _Element]", tomllib.loads(text))


def electronegativity(symbol: str) -> float | None:
    """Pauling electronegativity of an element; None where none is tabulated."""
    entry = _element_data().get(symbol)
    return None if entry is None else float(entry["chi"])


@cache
def _element_arrays() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Electronegativity (n_numbers,) and oxidation states (n_numbers, n_states), NaN where there is none."""
    data = _element_data()
    n_states = max(len(entry["states"]) for entry in data.values())
    chi = np.full(len(chemical_symbols), np.nan)
    states = np.full((len(chemical_symbols), n_states), np.nan)
    for symbol, entry in data.items():
        chi[atomic_numbers[symbol]] = entry["chi"]
        states[atomic_numbers[symbol], : len(entry["states"])] = entry["states"]
    return chi, states
