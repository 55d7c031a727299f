"""Crystals from any OPTIMADE provider (https://www.optimade.org): OQMD, Materials Project, Alexandria, your own."""

from __future__ import annotations

import contextlib
import os
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TypedDict, cast
from urllib.parse import urlsplit

from screen_cli.config import ReadSettings
from screen_cli.crystal.structure import RejectedStructure, Structure
from screen_cli.errors import ConfigError, StructureError, unknown_name
from screen_cli.sources.optimade.entry import STRUCTURE_FIELDS, atoms_of
from screen_cli.sources.optimade.fields import Factor, FieldEntry, factors_of, metadata_of
from screen_cli.sources.optimade.pages import PageReader
from screen_cli.sources.optimade.query import Manners, Query
from screen_cli.sources.readers.text import printable

__all__ = ["STRUCTURE_FIELDS", "iterate_optimade", "known_providers"]


def iterate_optimade(
    provider: str = "",
    url: str = "",
    filter: str = "",
    fields: Mapping[str, object] | None = None,
    *,
    limit: int = 0,
    page_limit: int = 100,
    requests_per_second: float = 2.0,
    tries: int = 6,
    timeout: float = 120.0,
    first_wait: float = 1.0,
    cache: str = "",
    offline: bool = False,
    max_pages: int = 100_000,
    max_page_megabytes: float = 64.0,
    max_hours: float = 48.0,
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
    page_limit, requests_per_second, tries, timeout, first_wait, max_pages, max_page_megabytes, max_hours : float
        See :class:`screen_cli.sources.optimade.pages.Manners`.
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
    manners = Manners(requests_per_second, tries, timeout, first_wait, max_pages, max_page_megabytes, max_hours)
    folder = Path(cache).expanduser() if cache else _default_cache()
    with contextlib.closing(PageReader(query, folder, manners, offline=offline)) as reader:
        factors = factors_of(name, mapping, reader.info())
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
    entry: object,
    where: str,
    mapping: Mapping[str, FieldEntry],
    factors: Mapping[str, Factor],
    settings: ReadSettings,
) -> Structure | RejectedStructure:
    """Make a crystal of one entry, or say why not."""
    fields = entry if isinstance(entry, dict) else {}
    attributes = fields.get("attributes")
    if not isinstance(attributes, dict) or not fields.get("id"):
        return RejectedStructure(f"optimade:{name}", where, "is no OPTIMADE entry: it has no id or no attributes.")
    identity = printable(str(fields["id"]), 200)
    try:
        atoms = atoms_of(attributes, factors["length"].factor, settings.max_atoms_given)
        return Structure.from_atoms(
            atoms,
            provider=f"optimade:{name}",
            provider_id=identity,
            metadata=metadata_of(attributes, mapping, factors),
            settings=settings,
        )
    except StructureError as error:
        return RejectedStructure(f"optimade:{name}", identity, str(error))


def _provider(provider: str, url: str, fields: Mapping[str, object]) -> tuple[str, str, dict[str, FieldEntry]]:
    """Short name, base URL and field mapping."""
    table = known_providers()
    if not url and provider not in table:
        if not provider:
            raise ConfigError(
                'source \'optimade\': give provider = "oqmd" (or mp, alexandria, jarvis) or url = "https://...".'
            )
        raise unknown_name("OPTIMADE provider", provider, table)
    known = table.get(provider)
    mapping: dict[str, FieldEntry] = {} if known is None else dict(known["fields"])
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
    return name, url or table[provider]["url"], mapping


class Provider(TypedDict):
    """One line of the table of providers."""

    name: str
    url: str
    citation: str
    fields: dict[str, FieldEntry]


@cache
def known_providers() -> dict[str, Provider]:
    """Return the table of providers by short name."""
    text = files("screen_cli.sources.optimade").joinpath("providers.toml").read_text(encoding="utf-8")
    return cast("dict[str, Provider]", tomllib.loads(text))


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
