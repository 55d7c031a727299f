"""The provider's own fields under common names and units: formation energy, distance from the hull, band gap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

import ase.units

from screen_cli.crystal.metadata import SOURCE_COLUMNS, Json, number_of, plain
from screen_cli.errors import ConfigError

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


@dataclass(frozen=True)
class Factor:
    """How a number of the provider becomes ours.

    Parameters
    ----------
    factor : float
        To eV, or to Å for lengths.
    per_cell : bool
        Whether the provider's number is for the whole cell.
    """

    factor: float
    per_cell: bool = False


class FieldEntry(TypedDict, total=False):
    """Fields of a provider that may hold one of our metadata, the unit of our table, and the user's own."""

    fields: list[str]
    unit: str
    own_unit: str


def metadata_of(
    attributes: Mapping[str, object], mapping: Mapping[str, FieldEntry], factors: Mapping[str, Factor]
) -> dict[str, Json]:
    """Give the provider's fields under common names, converted; what is no number is left out."""
    metadata: dict[str, Json] = {}
    for name, entry in mapping.items():
        for path in entry["fields"]:
            value = _look_up(attributes, path)
            if name in factors:
                number = number_of(value)
                if number is None:
                    continue
                sites = attributes["species_at_sites"]
                cells = len(sites) if factors[name].per_cell and isinstance(sites, list) else 1
                metadata[name] = number * factors[name].factor / cells
            elif value is None:
                continue
            else:
                metadata[name] = plain(value)
            metadata[f"{name}_field"] = path
            break
    return metadata


def _look_up(attributes: Mapping[str, object], path: str) -> object:
    """Value of a dotted path; None when any part is missing."""
    value: object = attributes
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def factors_of(name: str, mapping: Mapping[str, FieldEntry], info: Mapping[str, object]) -> dict[str, Factor]:
    """Factor to eV (or Å under ``"length"``) of each energy, and whether it is for the whole cell.

    A unit of the configuration counts first, then the provider's, then the one of our table.
    """
    lengths = {_declared(info, field) or "Å" for field in ("lattice_vectors", "cartesian_site_positions")}
    if len(lengths) > 1:
        raise ConfigError(
            f"{name} gives lattice vectors and positions in different units: {', '.join(sorted(lengths))}."
        )
    factors = {"length": Factor(_unit(name, "lattice_vectors", lengths.pop(), _LENGTH))}
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
            factors[column] = Factor(_unit(name, field, energy, _ENERGY), per in ("cell", "unit cell"))
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


def _declared(info: Mapping[str, object], field: str) -> str:
    """Give the unit the provider declares for a field, or empty."""
    description = info.get(field)
    if not isinstance(description, Mapping):
        return ""
    unit = description.get("unit") or description.get("x-optimade-unit") or ""
    return "" if unit in ("dimensionless", "inapplicable") else str(unit)
