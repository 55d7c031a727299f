"""The source ``prototypes``: crystals decorated from the table of prototypes, and the demonstration set."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from ase.data import atomic_numbers
from ase.formula import Formula

from screen_cli.config import ReadSettings
from screen_cli.crystal.prototypes import ElementSites, build, element_sites, guess_lattice_constant, prototypes
from screen_cli.crystal.structure import RejectedStructure, Structure
from screen_cli.errors import ConfigError, StructureError, unknown_name
from screen_cli.sources.decoration import decorate, decorated_structure, decoration_from_options
from screen_cli.sources.readers.text import printable

_LEAST_A, _LARGEST_A = 0.5, 100.0  # Å
_SYMBOLS = frozenset(atomic_numbers) - {"X"}


def iterate_prototypes(
    entries: Sequence[Mapping[str, object]] = (),
    settings: ReadSettings | None = None,
    *,
    table: str = "",
    **decoration: object,
) -> Iterator[Structure | RejectedStructure]:
    """Iterate over decorated prototypes: those of ``entries``, those of ``table``, those made from lists of elements.

    Parameters
    ----------
    entries : sequence of mappings
        ``{prototype = "rocksalt", elements = ["Na", "Cl"], a = 5.64}``, with free parameters and any metadata (see
        :func:`assign_elements` for the order); without ``a`` the lattice constant is guessed from radii.
    settings : ReadSettings, optional
    table : str
        CSV file with the columns ``prototype`` and ``elements``: symbols in the order of the prototype's sites, with
        spaces between; a column ``composition``, where there is one, must say what they make. Lattice constants are
        guessed from radii. Twenty times faster to read than files of crystals, whose symmetry has to be found.
    **decoration : object
        ``elements``, ``prototypes``, ``rule``, ``limit``, ``shares``, ``seed`` and ``min_difference`` of
        :class:`screen_cli.sources.decoration.Decoration`.

    Raises
    ------
    ConfigError, UnknownNameError
        An option that does not fit.
    """
    wanted = decoration_from_options(decoration) if decoration else None
    yield from _from_entries(entries, settings or ReadSettings())
    if table:
        yield from _from_table(Path(table))
    if wanted is not None:
        for name, elements in decorate(wanted):
            yield decorated_structure(name, elements)


def _from_entries(
    entries: Sequence[Mapping[str, object]], settings: ReadSettings
) -> Iterator[Structure | RejectedStructure]:
    """Build the crystals that are written out one by one."""
    for number, entry in enumerate(entries):  # all, before anything runs
        _check_numbers(number, entry)
    assigned = [assign_elements(number, entry) for number, entry in enumerate(entries)]
    for entry, elements in zip(entries, assigned, strict=True):
        prototype = str(entry["prototype"])
        name = f"{prototype}-{''.join(elements)}"
        free = prototypes()[prototype].get("parameters", {})
        parameters = {key: float(str(entry[key])) for key in free if key in entry}
        metadata = {**entry, "elements": elements, "sites": _sites_text(prototype, elements)}
        try:
            a = entry.get("a") or guess_lattice_constant(prototype, elements, **parameters)
            atoms = build(prototype, elements, float(str(a)), **parameters)
            structure = Structure.from_atoms(
                atoms, provider="prototypes", provider_id=name, metadata=metadata, settings=settings
            )
        except StructureError as error:
            yield RejectedStructure("prototypes", name, str(error))
            continue
        yield structure


def _from_table(path: Path) -> Iterator[Structure]:
    """Build the crystals of a table, all of whose lines are checked before the first one is given."""
    for name, elements in list(_lines_of(path)):
        yield decorated_structure(name, elements)


def _lines_of(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Prototype and elements of each line of a table."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            lines = csv.DictReader(stream)
            if missing := {"prototype", "elements"} - set(lines.fieldnames or ()):
                raise ConfigError(f"{path} has no column {sorted(missing)}; a table of prototypes needs both.")
            for number, line in enumerate(lines, 2):
                yield _checked_line(f"{path}, line {number}", line)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as a table of prototypes: {error}.") from error


def _checked_line(where: str, line: Mapping[str, str | None]) -> tuple[str, list[str]]:
    """Prototype and elements of a line, if it has them and they fit."""
    name, elements = line["prototype"] or "", (line["elements"] or "").split()
    if name not in prototypes():
        raise unknown_name(f"prototype in {where}", printable(name), prototypes())
    sites = element_sites(name)
    shown = _in_words(sites)
    if len(elements) != len(sites) or len(set(elements)) != len(sites) or not set(elements) <= _SYMBOLS:
        given = printable(" ".join(elements))
        raise ConfigError(f"{where}: {name} takes {len(sites)} different elements ({shown}), not '{given}'.")
    if composition := line.get("composition"):
        _check_formula(where, name, composition, _composition(elements, [site.n_atoms for site in sites]), shown)
    return name, elements


def _check_numbers(number: int, entry: Mapping[str, object]) -> None:
    """Refuse a lattice constant that no crystal has, and coordinates that are no numbers."""
    free = {key for names in prototypes().values() for key in names.get("parameters", {})}
    for key in ("a", *sorted(free)):
        value, low, high = entry.get(key), *((_LEAST_A, _LARGEST_A) if key == "a" else (-1.0, 1.0))
        if value is None or (isinstance(value, (int, float)) and low <= value <= high):
            continue
        raise ConfigError(
            f"entry {number} of source 'prototypes' has {key} = {value!r}, expected a number from {low:g} to {high:g}"
            f"{' Å' if key == 'a' else ''}."
        )


def assign_elements(number: int, entry: Mapping[str, object]) -> list[str]:
    """Tell which element takes which sites of an entry's prototype.

    Parameters
    ----------
    number : int
        Of the entry, for messages.
    entry : mapping
        ``elements`` names the sites (``{ A = "Au", B = "Cu" }``), or lists the elements in the order of the
        prototype's sites. Where that order decides the compound (Cu₃Au or Au₃Cu), a list needs ``formula`` too.

    Raises
    ------
    ConfigError
        Sites or elements that do not fit, an order that is not certain, or another formula than is built.
    """
    where = f"source 'prototypes': entry {number}"
    missing = {"prototype", "elements"} - entry.keys()
    if missing:
        raise ConfigError(f"{where} lacks {sorted(missing)}.")
    name, given = str(entry["prototype"]), entry["elements"]
    if name not in prototypes():
        raise unknown_name("prototype", name, prototypes())
    sites = element_sites(name)
    shown = _in_words(sites)
    if isinstance(given, Mapping):
        letters = [site.letter for site in sites]
        if sorted(given) != letters:
            raise ConfigError(f"{where}: elements names the sites {sorted(given)}, {name} has {shown}.")
        given = [given[letter] for letter in letters]
    if not isinstance(given, Sequence) or isinstance(given, str) or not all(isinstance(item, str) for item in given):
        raise ConfigError(f"{where}: elements is {given!r}, expected chemical symbols; {name} has {shown}.")
    elements = list(given)
    fits = len(elements) == len(sites) and all(symbol in atomic_numbers for symbol in elements)
    if not fits:
        return elements  # refused by the builder, with its own sentence
    built = _composition(elements, [site.n_atoms for site in sites])
    if "formula" in entry:
        _check_formula(where, name, str(entry["formula"]), built, shown)
    elif not isinstance(entry["elements"], Mapping) and _order_decides(elements, [site.n_atoms for site in sites]):
        named = ", ".join(f"{site.letter} = '{symbol}'" for site, symbol in zip(sites, elements, strict=True))
        raise ConfigError(
            f"{where}: {name} with elements {elements} is {built}; in another order it is another compound. Name the "
            f"sites, elements = {{ {named} }}, or add formula = '{built}' ({shown})."
        )
    return elements


def _in_words(sites: Sequence[ElementSites]) -> str:
    """Which sites the elements of a prototype take."""
    return ", ".join(f"{site.letter}: {site.wyckoff} ({site.n_atoms} atoms)" for site in sites)


def _order_decides(elements: Sequence[str], counts: Sequence[int]) -> bool:
    """Whether two different elements take different numbers of sites."""
    pairs = list(zip(elements, counts, strict=True))
    return any(a[0] != b[0] and a[1] != b[1] for a in pairs for b in pairs)


def _composition(elements: Sequence[str], counts: Sequence[int]) -> Formula:
    """Reduced formula of elements on sites."""
    return Formula("".join(f"{symbol}{count}" for symbol, count in zip(elements, counts, strict=True))).reduce()[0]


def _check_formula(where: str, name: str, text: str, built: Formula, shown: str) -> None:
    """Compare the formula of an entry with what is built."""
    try:
        wanted = Formula(text).reduce()[0]
    except ValueError as error:
        raise ConfigError(f"{where}: '{printable(text)}' is no formula.") from error
    if wanted.count() != built.count():
        raise ConfigError(
            f"{where}: {name} with these elements is {built}, formula says {wanted}. Put them in the order of the "
            f"sites ({shown})."
        )


def _sites_text(name: str, elements: Sequence[str]) -> str:
    """Which element takes which sites, for the table."""
    pairs = zip(element_sites(name), elements, strict=False)
    return ", ".join(f"{element} {site.wyckoff}" for site, element in pairs)


def iterate_demo(settings: ReadSettings | None = None) -> Iterator[Structure | RejectedStructure]:
    """Iterate over the demonstration set: twelve real cubic crystals, lattice constants as published."""
    table = tomllib.loads(files("screen_cli.sources").joinpath("demo.toml").read_text(encoding="utf-8"))
    yield from iterate_prototypes(table["crystals"], settings)
