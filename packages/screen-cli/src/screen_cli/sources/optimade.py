"""Crystals from any OPTIMADE provider (https://www.optimade.org): OQMD, Materials Project, Alexandria, your own."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ase.units
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from screen_cli.config import ReadSettings
from screen_cli.crystal.checks import VOLUME_PER_ATOM
from screen_cli.crystal.metadata import SOURCE_COLUMNS
from screen_cli.crystal.structure import RejectedStructure, Structure
from screen_cli.errors import ConfigError, StructureError, unknown_name
from screen_cli.sources.optimade_pages import Manners, PageReader, Query

STRUCTURE_FIELDS = (
    "lattice_vectors",
    "cartesian_site_positions",
    "species_at_sites",
    "species",
    "nsites",
    "nperiodic_dimensions",
    "structure_features",
)
_ENERGY = {
    "ev": 1.0,
    "mev": 1e-3,
    "kj/mol": ase.units.kJ / ase.units.mol,
    "kcal/mol": ase.units.kcal / ase.units.mol,
    "hartree": ase.units.Hartree,
    "ha": ase.units.Hartree,
    "rydberg": ase.units.Rydberg,
    "ry": ase.units.Rydberg,
}
_LENGTH = {
    "å": 1.0,
    "angstrom": 1.0,
    "ångström": 1.0,
    "nm": ase.units.nm,
    "pm": 1e-3 * ase.units.nm,
    "bohr": ase.units.Bohr,
    "a_0": ase.units.Bohr,
}


def iterate_optimade(
    provider: str = "",
    url: str = "",
    filter: str = "",
    fields: Mapping[str, Any] | None = None,
    limit: int = 0,
    page_limit: int = 100,
    requests_per_second: float = 2.0,
    tries: int = 6,
    timeout: float = 120.0,
    first_wait: float = 1.0,
    cache: str = "",
    offline: bool = False,
    settings: ReadSettings | None = None,
) -> Iterator[Structure | RejectedStructure]:
    """Iterate over the crystals that a provider gives for a filter.

    Parameters
    ----------
    provider : str
        ``oqmd``, ``mp``, ``alexandria``, ``jarvis``; or any name for the provider at ``url``.
    url : str
        Base URL, e.g. ``"https://oqmd.org/optimade"``; not needed for a known provider.
    filter : str
        In OPTIMADE's language, e.g. ``'nelements=2 AND _oqmd_stability<0.05'``.
    fields : mapping, optional
        Metadata name to the provider's field, a string or ``{ field = "_x_e", unit = "meV/atom" }``; a unit given here
        counts more than the provider's own word.
    limit : int
        At most this many entries; 0: all.
    page_limit, requests_per_second, tries, timeout, first_wait
        See :class:`screen_cli.sources.optimade_pages.Manners`.
    cache : str
        Folder of downloaded pages; default: ``screen-cli/optimade`` in the user's cache folder.
    offline : bool
        Use only what was downloaded before.
    settings : ReadSettings, optional

    Raises
    ------
    ConfigError
        No provider, a filter that is no OPTIMADE, a unit that is not known.
    SourceError
        The provider fails for good. What was fetched is kept.
    """
    name, base, mapping = _provider(provider, url, fields or {})
    _check_filter(filter)
    own = sorted({path.split(".")[0] for entry in mapping.values() for path in entry["fields"]})
    query = Query(name, base, filter, (*STRUCTURE_FIELDS, *own), page_limit)
    manners = Manners(requests_per_second, tries, timeout, first_wait)
    folder = Path(cache).expanduser() if cache else _default_cache()
    reader = PageReader(query, folder, manners, offline=offline)
    factors = _factors(name, mapping, reader.info())
    count = 0
    for page_number, page in enumerate(reader.pages(), start=1):
        for position, entry in enumerate(page["data"]):
            where = f"page {page_number}, entry {position + 1}"
            yield _read_entry(name, entry, where, mapping, factors, settings or ReadSettings())
            count += 1
            if count == limit:
                return


def _read_entry(
    name: str,
    entry: Any,
    where: str,
    mapping: Mapping[str, Any],
    factors: Mapping[str, tuple[float, bool]],
    settings: ReadSettings,
) -> Structure | RejectedStructure:
    """Make a crystal of one entry, or say why not."""
    attributes = entry.get("attributes") if isinstance(entry, dict) else None
    if not isinstance(attributes, dict) or not entry.get("id"):
        return RejectedStructure(f"optimade:{name}", where, "is no OPTIMADE entry: it has no id or no attributes.")
    identity = str(entry["id"])
    try:
        atoms = _atoms(attributes, factors["length"][0])
        return Structure.from_atoms(
            atoms,
            provider=f"optimade:{name}",
            provider_id=identity,
            metadata=_metadata(attributes, mapping, factors),
            settings=settings,
        )
    except StructureError as error:
        return RejectedStructure(f"optimade:{name}", identity, str(error))


def _atoms(attributes: Mapping[str, Any], length: float) -> Atoms:
    """ASE atoms of an entry's attributes; ``length`` is the provider's unit in Å."""
    features = set(attributes.get("structure_features") or [])
    if features & {"disorder", "implicit_atoms", "assemblies", "unknown_positions"}:
        raise StructureError(f"it is no ordered crystal: {', '.join(sorted(features))}. Give an ordered approximant.")
    dimensions = attributes.get("nperiodic_dimensions")
    if dimensions not in (None, 3):
        raise StructureError(f"it is periodic in {dimensions} directions, expected 3.")
    sites = attributes.get("species_at_sites")
    try:
        cell = np.array(attributes["lattice_vectors"], dtype=float) * length
        positions = np.array(attributes["cartesian_site_positions"], dtype=float) * length
    except (KeyError, TypeError, ValueError) as error:
        raise StructureError(
            f"lattice_vectors or cartesian_site_positions are missing or no numbers ({error})."
        ) from None
    n_sites = attributes.get("nsites") or len(sites or [])
    if not sites or cell.shape != (3, 3) or positions.shape != (len(sites), 3) or n_sites != len(sites):
        raise StructureError(
            f"it is incomplete: nsites {n_sites}, species_at_sites {len(sites or [])}, cartesian_site_positions "
            f"{positions.shape}, lattice_vectors {cell.shape}."
        )
    species = attributes.get("species") or []
    elements = {item.get("name"): _element(item) for item in species if isinstance(item, dict)}
    symbols = [elements.get(name, str(name)) for name in sites]
    strange = sorted({symbol for symbol in symbols if symbol not in chemical_symbols[1:]})
    if strange:
        raise StructureError(f"its sites hold {', '.join(strange)}, expected one element each.")
    volume = abs(float(np.linalg.det(cell))) / len(sites)
    if np.isfinite(volume) and volume > 0 and not VOLUME_PER_ATOM[0] < volume < VOLUME_PER_ATOM[1]:
        raise StructureError(f"{volume:.3g} Å³ per atom is no solid; OPTIMADE lengths are in Å, these seem not to be.")
    return Atoms(symbols, positions=positions, cell=cell, pbc=True)


def _element(species: Mapping[str, Any]) -> str:
    """Symbol of a species; a description of the mixture when it is not one element."""
    symbols = species.get("chemical_symbols") or []
    concentration = species.get("concentration") or [1.0] * len(symbols)
    if len(symbols) == 1 and not species.get("attached") and abs(float(concentration[0]) - 1.0) < 1e-3:
        return str(symbols[0])
    return "+".join(f"{symbol} {float(x):g}" for symbol, x in zip(symbols, concentration, strict=False)) or "nothing"


def _metadata(
    attributes: Mapping[str, Any], mapping: Mapping[str, Any], factors: Mapping[str, tuple[float, bool]]
) -> dict[str, Any]:
    """Provider's fields under common names, converted; what is no number is left out."""
    metadata: dict[str, Any] = {}
    for name, entry in mapping.items():
        for path in entry["fields"]:
            value = _look_up(attributes, path)
            if name in factors:
                number = _number(value)
                if number is None:
                    continue
                factor, per_cell = factors[name]
                metadata[name] = number * factor / (len(attributes["species_at_sites"]) if per_cell else 1)
            elif value is None:
                continue
            else:
                metadata[name] = value
            metadata[f"{name}_field"] = path
            break
    return metadata


def _look_up(attributes: Mapping[str, Any], path: str) -> Any:
    """Value of a dotted path; None when any part is missing."""
    value: Any = attributes
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _number(value: Any) -> float | None:
    """A finite float; None for everything else (numbers in quotes are read)."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _factors(name: str, mapping: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, tuple[float, bool]]:
    """Factor to eV (or Å under ``"length"``) of each energy, and whether it is for the whole cell.

    A unit of the configuration counts first, then the provider's, then the one of our table.
    """
    lengths = {_declared(info, field) or "Å" for field in ("lattice_vectors", "cartesian_site_positions")}
    if len(lengths) > 1:
        raise ConfigError(
            f"{name} gives lattice vectors and positions in different units: {', '.join(sorted(lengths))}."
        )
    factors = {"length": (_unit(name, "lattice_vectors", lengths.pop(), _LENGTH), False)}
    for column in SOURCE_COLUMNS:
        entry = mapping.get(column)
        if entry:
            field = entry["fields"][0]
            unit = entry.get("own_unit") or _declared(info, field) or entry.get("unit") or "eV/atom"
            energy, _, per = (
                unit.partition("/") if not unit.lower().startswith(("kj/mol", "kcal/mol")) else _molar(unit)
            )
            per = per.strip().lower()
            if per not in ("", "atom", "cell", "unit cell"):
                raise _unknown_unit(name, field, unit, _ENERGY)
            factors[column] = (_unit(name, field, energy, _ENERGY), per in ("cell", "unit cell"))
    return factors


def _molar(unit: str) -> tuple[str, str, str]:
    """Split ``"kJ/mol/atom"`` behind the mole."""
    head, mole, *rest = unit.split("/")
    return f"{head}/{mole}", "/", "/".join(rest)


def _unit(name: str, field: str, unit: str, table: Mapping[str, float]) -> float:
    """Factor of a unit."""
    try:
        return table[unit.strip().lower()]
    except KeyError:
        raise _unknown_unit(name, field, unit, table) from None


def _unknown_unit(name: str, field: str, unit: str, table: Mapping[str, float]) -> ConfigError:
    """Error for a unit that cannot be converted."""
    return ConfigError(
        f"{name} gives {field} in '{unit}', which is not known (known: {', '.join(table)}; energies /atom or /cell)."
        f' Say what it is: fields = {{ NAME = {{ field = "{field}", unit = "eV/atom" }} }}.'
    )


def _declared(info: Mapping[str, Any], field: str) -> str:
    """Unit the provider declares for a field, or empty."""
    description = info.get(field)
    if not isinstance(description, Mapping):
        return ""
    unit = description.get("unit") or description.get("x-optimade-unit") or ""
    return "" if unit in ("dimensionless", "inapplicable") else str(unit)


def _provider(provider: str, url: str, fields: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Short name, base URL and field mapping."""
    table = known_providers()
    if not url and provider not in table:
        if not provider:
            raise ConfigError(
                'source \'optimade\': give provider = "oqmd" (or mp, alexandria, jarvis) or url = "https://...".'
            )
        raise unknown_name("OPTIMADE provider", provider, table)
    known = table.get(provider, {})
    mapping: dict[str, Any] = dict(known.get("fields", {}))
    for column, value in fields.items():
        if isinstance(value, str):
            mapping[column] = {"fields": [value]}
        elif isinstance(value, Mapping) and isinstance(value.get("field"), str) and value.keys() <= {"field", "unit"}:
            mapping[column] = {"fields": [value["field"]], "own_unit": value.get("unit", "")}
        else:
            raise ConfigError(
                f"source 'optimade': fields.{column} is {value!r}, expected a field name or "
                '{ field = "_x_energy", unit = "eV/atom" }.'
            )
    name = provider or urlsplit(url).netloc.replace(":", "-")
    return name, url or known["url"], mapping


@cache
def known_providers() -> dict[str, dict[str, Any]]:
    """Return the table of providers by short name."""
    return tomllib.loads(files("screen_cli.sources").joinpath("providers.toml").read_text(encoding="utf-8"))


def _check_filter(text: str) -> None:
    """Refuse a filter that is no OPTIMADE before anything is sent."""
    if not text:
        return
    try:
        from optimade.exceptions import BadRequest
        from optimade.filterparser import LarkParser
    except ImportError:  # the provider will say so
        return
    try:
        LarkParser().parse(text)
    except (BadRequest, ValueError) as error:
        raise ConfigError(
            f"source 'optimade': the filter '{text}' is not in OPTIMADE's language: {error}. "
            'Write it like: elements HAS ALL "Na","Cl" AND nelements=2'
        ) from error


def _default_cache() -> Path:
    """Folder for downloads, by the XDG convention."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "screen-cli" / "optimade"
