"""Sites of a CIF: numbers with uncertainties, occupancies, disorder."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import gemmi
import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import StructureError
from screen_cli.sources.readers.cif.elements import element_of
from screen_cli.sources.readers.text import printable

_FULL = 1e-3
UNKNOWN = ("", ".", "?")
"""CIF's words for what is not given."""


@dataclass(frozen=True, eq=False)
class Site:
    """One site of the asymmetric unit.

    Parameters
    ----------
    label : str
    symbol : str
        Chemical symbol; ``"D"`` and ``"T"`` are kept.
    position : ndarray
        Fractional, float64 (3,).
    multiplicity : int
        As the file claims; 0 when it does not.
    """

    label: str
    symbol: str
    position: NDArray[np.float64]
    multiplicity: int = 0


def number(text: str, what: str) -> float:
    """Read a number of a CIF, its uncertainty in parentheses left out; fractions (1/3) are read too.

    Raises
    ------
    StructureError
    """
    word = gemmi.cif.as_string(text).strip()
    value = gemmi.cif.as_number(word)
    if math.isnan(value):
        match = re.fullmatch(r"([+-]?\d{1,6})\s*/\s*(\d{1,6})", word)
        value = int(match[1]) / int(match[2]) if match and int(match[2]) else math.nan
    if not math.isfinite(value):
        raise StructureError(f"{what} is '{printable(word, 40)}', expected a number.")
    return value


def sites_of(block: gemmi.cif.Block, formula: Mapping[str, float], max_sites: int) -> tuple[list[Site], list[str]]:
    """Read the sites of a block, and sentences on those that were passed over.

    Raises
    ------
    StructureError
        No sites, a coordinate or occupancy that is no number, a label that is no element, partial occupancy.
    """
    table = block.find(
        "_atom_site_",
        [
            *("fract_x", "fract_y", "fract_z"),
            *("?label", "?type_symbol", "?occupancy", "?calc_flag", "?site_symmetry_multiplicity"),
            *("?symmetry_multiplicity", "?attached_hydrogens", "?disorder_assembly", "?disorder_group"),
        ],
    )
    if not len(table):
        if block.find_values("_atom_site_Cartn_x"):
            raise StructureError("gives Cartesian coordinates, expected fractions of the cell (_atom_site_fract_x).")
        raise StructureError("has a cell but no atoms (_atom_site_fract_x, _y, _z).")
    if len(table) > max_sites:
        raise StructureError(f"lists {len(table)} sites, at most {max_sites} are read. Give the asymmetric unit.")
    sites: list[Site] = []
    notes: list[str] = []
    alternatives: dict[str, str] = {}
    for row in table:
        label = _text(row, 3)
        name = label or f"number {len(sites) + 1}"
        if _text(row, 6).lower() == "dum":
            notes.append(f"dummy site {printable(name, 20)} is left out")
            continue
        occupancy = _occupancy(_text(row, 5), name)
        if occupancy == 0.0:
            notes.append(f"site {printable(name, 20)} of occupancy 0 is left out")
            continue
        _refuse_disorder(row, name, alternatives)
        position = np.array([number(row[k], f"coordinate {'xyz'[k]} of site {printable(name, 20)}") for k in range(3)])
        if np.abs(position).max() > 1000:
            raise StructureError(f"site {printable(name, 20)} lies at {position.tolist()}, expected fractions.")
        claimed = _text(row, 7) or _text(row, 8)
        multiplicity = int(claimed) if claimed.isdigit() and len(claimed) < 5 else 0
        sites.append(Site(label, element_of(_text(row, 4), label, formula), position, multiplicity))
    if not sites:
        raise StructureError("has no occupied site.")
    return sites, notes


def _refuse_disorder(row: gemmi.cif.Table.Row, site: str, alternatives: dict[str, str]) -> None:
    """Refuse sites that are alternatives of one another, and hydrogens that are counted but have no site.

    Raises
    ------
    StructureError
    """
    attached = _text(row, 9)
    if attached.isdigit() and int(attached):
        raise StructureError(
            f"site {printable(site, 20)} has {int(attached)} hydrogen atoms without positions "
            "(_atom_site_attached_hydrogens). Add their sites."
        )
    assembly, group = _text(row, 10), _text(row, 11)
    if not group or group == "0":
        return
    if group.startswith("-") or alternatives.setdefault(assembly, group) != group:
        raise StructureError(
            f"site {printable(site, 20)} is one of several alternatives (disorder group {printable(group, 20)}); "
            "phonons need an ordered crystal. Keep one group, or give an ordered approximant."
        )


def _text(row: gemmi.cif.Table.Row, column: int) -> str:
    """Word of a row; empty when it is unknown or the column does not exist."""
    if not row.has(column):
        return ""
    word = gemmi.cif.as_string(row[column]).strip()
    return "" if word in UNKNOWN else word


def _occupancy(text: str, site: str) -> float:
    """Occupancy, 0 or 1; not given is full.

    Raises
    ------
    StructureError
        No number, or between, or above 1.
    """
    if not text:
        return 1.0
    value = gemmi.cif.as_number(text)
    if math.isnan(value):
        raise StructureError(
            f"the occupancy of site {printable(site, 20)} is '{printable(text, 40)}', expected a number."
        )
    if abs(value - 1.0) < _FULL:
        return 1.0
    if abs(value) < _FULL:
        return 0.0
    raise StructureError(
        f"site {printable(site, 20)} has partial occupancy ({value:g}); phonons need an ordered crystal. Give an "
        "ordered approximant or supercell."
    )
