"""The source ``prototypes``: crystals decorated from the table of prototypes, and the demonstration set."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from screen_cli.config import ReadSettings
from screen_cli.crystal.prototypes import build, guess_lattice_constant, prototypes
from screen_cli.crystal.structure import RejectedStructure, Structure
from screen_cli.errors import ConfigError, StructureError
from screen_cli.sources.decoration import decorate, decorated_structure, decoration_from_options


def iterate_prototypes(
    entries: Sequence[Mapping[str, Any]] = (),
    settings: ReadSettings | None = None,
    **decoration: Any,
) -> Iterator[Structure | RejectedStructure]:
    """Iterate over decorated prototypes: those written out in ``entries``, then those made from lists of elements.

    Parameters
    ----------
    entries : sequence of mappings
        ``{prototype = "rocksalt", elements = ["Na", "Cl"], a = 5.64}``, with free parameters and any metadata;
        without ``a`` the lattice constant is guessed from radii.
    settings : ReadSettings, optional
    **decoration
        ``elements``, ``prototypes``, ``rule``, ``limit``, ``shares``, ``seed`` and ``min_difference`` of
        :class:`screen_cli.sources.decoration.Decoration`.

    Raises
    ------
    ConfigError, UnknownNameError
        An option that does not fit.
    """
    wanted = decoration_from_options(decoration) if decoration else None
    yield from _from_entries(entries, settings or ReadSettings())
    if wanted is not None:
        for name, elements in decorate(wanted):
            yield decorated_structure(name, elements)


def _from_entries(
    entries: Sequence[Mapping[str, Any]], settings: ReadSettings
) -> Iterator[Structure | RejectedStructure]:
    """Build the crystals that are written out one by one."""
    for number, entry in enumerate(entries):
        missing = {"prototype", "elements"} - entry.keys()
        if missing:
            raise ConfigError(f"source 'prototypes': entry {number} lacks {sorted(missing)}.")
        name = f"{entry['prototype']}-{''.join(entry['elements'])}"
        free = prototypes().get(entry["prototype"], {}).get("parameters", {})
        parameters = {key: float(entry[key]) for key in free if key in entry}
        metadata = dict(entry)
        try:
            a = entry.get("a") or guess_lattice_constant(entry["prototype"], entry["elements"], **parameters)
            atoms = build(entry["prototype"], entry["elements"], float(a), **parameters)
            structure = Structure.from_atoms(
                atoms, provider="prototypes", provider_id=name, metadata=metadata, settings=settings
            )
        except StructureError as error:
            yield RejectedStructure("prototypes", name, str(error))
            continue
        yield structure


def iterate_demo(settings: ReadSettings | None = None) -> Iterator[Structure | RejectedStructure]:
    """Iterate over the demonstration set: twelve real cubic crystals, lattice constants as published."""
    table = tomllib.loads(files("screen_cli.sources").joinpath("demo.toml").read_text(encoding="utf-8"))
    yield from iterate_prototypes(table["crystals"], settings)
