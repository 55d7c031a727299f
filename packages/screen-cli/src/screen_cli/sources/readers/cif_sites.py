"""Sites of a CIF: numbers with uncertainties, elements by type symbol or label, occupancies."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import gemmi
import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from screen_cli.crystal.masses import HYDROGEN_ISOTOPES
from screen_cli.errors import StructureError
from screen_cli.sources.readers.text import printable

_ELEMENTS = set(chemical_symbols[1:])
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


def formula_of(block: gemmi.cif.Block) -> dict[str, float]:
    """Composition that a block claims: symbol and amount; empty when it claims none or writes it with words."""
    for tag in ("_chemical_formula_sum", "_chemical_formula.sum"):
        text = block.find_value(tag)
        if text is None:
            continue
        parts = re.findall(r"([A-Z][a-z]?)\s*(\d*\.?\d*)", gemmi.cif.as_string(text))
        rest = re.sub(r"[A-Z][a-z]?\s*\d*\.?\d*|[\s,'()]", "", gemmi.cif.as_string(text))
        if not parts or rest or any(symbol not in _ELEMENTS and symbol not in HYDROGEN_ISOTOPES for symbol, _ in parts):
            continue
        amounts: dict[str, float] = {}
        for symbol, count in parts:
            amounts[symbol] = amounts.get(symbol, 0.0) + (float(count) if count not in ("", ".") else 1.0)
        if all(amount > 0 for amount in amounts.values()):
            return amounts
    return {}


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
            "?symmetry_multiplicity",
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
        position = np.array([number(row[k], f"coordinate {'xyz'[k]} of site {printable(name, 20)}") for k in range(3)])
        if np.abs(position).max() > 1000:
            raise StructureError(f"site {printable(name, 20)} lies at {position.tolist()}, expected fractions.")
        claimed = _text(row, 7) or _text(row, 8)
        multiplicity = int(claimed) if claimed.isdigit() and len(claimed) < 5 else 0
        sites.append(Site(label, element_of(_text(row, 4), label, formula), position, multiplicity))
    if not sites:
        raise StructureError("has no occupied site.")
    return sites, notes


def element_of(type_symbol: str, label: str, formula: Mapping[str, float]) -> str:
    """Tell the element of a site.

    The type symbol counts first, without its oxidation state; else the label, of which the formula decides whether
    ``NA1`` is sodium or a nitrogen.

    Raises
    ------
    StructureError
        No element, or more than one that is possible.
    """
    for source, text in (("type symbol", type_symbol), ("label", label)):
        if not text:
            continue
        letters = re.match(r"\d{0,3}([A-Za-z]+)", text)
        candidates = _candidates(letters[1]) if letters else []
        if source == "type symbol" and letters and len(letters[1]) <= 2:
            candidates = [symbol for symbol in candidates if len(symbol) == len(letters[1])] or candidates
        if formula and len(candidates) > 1:
            candidates = [symbol for symbol in candidates if symbol in formula] or candidates
        if len(candidates) > 1 and _as_written(candidates[0], text):
            candidates = candidates[:1]
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise StructureError(
                f"the {source} '{printable(text, 20)}' may be {' or '.join(candidates)}, and no formula decides. Give "
                "_atom_site_type_symbol."
            )
        if source == "type symbol" or not letters:
            raise StructureError(
                f"the {source} '{printable(text, 20)}' is no element. Write it like Na or Na1+ in "
                "_atom_site_type_symbol."
            )
    raise StructureError(
        f"the label '{printable(label, 20)}' names no element. Give _atom_site_type_symbol."
        if label
        else "a site has neither a type symbol nor a label."
    )


def _candidates(letters: str) -> list[str]:
    """Elements that the front of some letters may be, the longer first."""
    known = _ELEMENTS | set(HYDROGEN_ISOTOPES)
    fronts = [letters[:2].capitalize()] if len(letters) > 1 else []
    return [symbol for symbol in (*fronts, letters[0].upper()) if symbol in known]


def _as_written(symbol: str, text: str) -> bool:
    """Whether a symbol stands in the text with its own capitals (``Na1``, not ``NA1``)."""
    return len(symbol) == 2 and symbol in text


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
