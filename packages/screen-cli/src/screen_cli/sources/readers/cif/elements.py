"""What a CIF calls its elements: type symbols, labels and formulas, and which of them decides.

A type symbol is an element with its charge and nothing else (``Na``, ``Fe3+``, ``O2-``, ``Cval``): ``OH``, ``NH4+``,
``Vac`` and ``Fe+Mg`` name no atom that could stand there. A label begins with its element; where its letters leave a
choice (``NA1``, ``Ow1``) the formula decides, and without one the site is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import gemmi
from ase.data import chemical_symbols

from screen_cli.crystal.masses import HYDROGEN_ISOTOPES
from screen_cli.errors import StructureError
from screen_cli.sources.readers.text import printable

_ELEMENTS = {*chemical_symbols[1:104], *HYDROGEN_ISOTOPES}
_CHARGE = re.compile(
    r"(val|va|v|iso)?[\s_^]*\(?(\d*\.?\d*[+-]?|[+-]\d*\.?\d*|\d*[+-]\d*|[IVX]{1,4})\)?[\s_]*\d*", re.IGNORECASE
)
"""What may follow the element in a type symbol: charge, oxidation state, a number."""
_ISOTOPES = {"1H": "H", "2H": "D", "3H": "T"}
_FORMULA_TAGS = (
    "_chemical_formula_sum",
    "_chemical_formula_structural",
    "_chemical_formula_moiety",
    "_chemical_formula_iupac",
)


def formula_of(block: gemmi.cif.Block) -> dict[str, float]:
    """Composition that a block claims: symbol and amount; empty when it claims none or writes it with words."""
    for tag in _FORMULA_TAGS:
        text = block.find_value(tag)
        amounts = _amounts(gemmi.cif.as_string(text)) if text is not None else {}
        if amounts:
            return amounts
    return {}


def element_of(type_symbol: str, label: str, formula: Mapping[str, float]) -> str:
    """Tell the element of a site: its type symbol, else its label.

    Parameters
    ----------
    type_symbol, label : str
        Empty where the file does not give them.
    formula : mapping
        Symbol and amount; empty where the file claims none.

    Raises
    ------
    StructureError
        No element, or more than one that is possible.
    """
    if type_symbol:
        symbol = _of_type_symbol(type_symbol)
        if symbol == "H" and re.fullmatch(r"[DT]\d*", label):
            raise StructureError(
                f"the site '{printable(label, 20)}' has the type symbol H: deuterium and tritium are D and T in "
                "_atom_site_type_symbol. Correct the type symbol or the label."
            )
        return symbol
    if label:
        return _of_label(label, formula)
    raise StructureError("a site has neither a type symbol nor a label.")


def _of_type_symbol(text: str) -> str:
    """Element of a type symbol."""
    isotope = re.match(r"\d{1,3}[A-Za-z]{1,2}(?![A-Za-z])", text)
    if isotope and isotope[0].upper() in _ISOTOPES:
        return _ISOTOPES[isotope[0].upper()]
    for length in (2, 1):
        symbol = text[:length].capitalize()
        if len(text) >= length and symbol in _ELEMENTS and _CHARGE.fullmatch(text[length:]):
            return symbol
    raise StructureError(
        f"the type symbol '{printable(text, 20)}' is no element. Write one atom with its charge, like Na or Na1+, in "
        "_atom_site_type_symbol (D and T are the isotopes of hydrogen); sites shared by several elements, groups of "
        "atoms and vacancies are not read."
    )


def _of_label(text: str, formula: Mapping[str, float]) -> str:
    """Element at the front of a label."""
    letters = re.match(r"\d{0,3}([A-Za-z]+)", text)
    if not letters:
        raise StructureError(
            f"the label '{printable(text, 20)}' is no element. Write it like Na or Na1+ in _atom_site_type_symbol."
        )
    candidates = _candidates(letters[1])
    if not candidates:
        raise StructureError(f"the label '{printable(text, 20)}' names no element. Give _atom_site_type_symbol.")
    if candidates == ["T"] and "T" not in formula:
        raise StructureError(
            f"the label '{printable(text, 20)}' may be tritium or a tetrahedral site, and no formula names T. Give "
            "_atom_site_type_symbol."
        )
    if formula:
        candidates = [symbol for symbol in candidates if symbol in formula] or candidates
    elif candidates[0] != letters[1] and (len(candidates) > 1 or len(candidates[0]) < len(letters[1])):
        raise StructureError(
            f"the label '{printable(text, 20)}' may be {' or '.join(candidates)}"
            f"{'' if len(candidates) > 1 else ' or something else'}, and no formula decides. Give "
            "_atom_site_type_symbol."
        )
    if len(candidates) > 1 and candidates[0] not in text:
        raise StructureError(
            f"the label '{printable(text, 20)}' may be {' or '.join(candidates)}, and the formula has both. Give "
            "_atom_site_type_symbol."
        )
    return candidates[0]


def _candidates(letters: str) -> list[str]:
    """Elements that the front of some letters may be, the longer first."""
    fronts = [letters[:2].capitalize()] if len(letters) > 1 else []
    return [symbol for symbol in (*fronts, letters[0].upper()) if symbol in _ELEMENTS]


def _amounts(text: str) -> dict[str, float]:
    """Symbols and amounts of a formula; empty where it is more than symbols and numbers."""
    parts = re.findall(r"([A-Z][a-z]?)\s*(\d*\.?\d*)", text)
    rest = re.sub(r"[A-Z][a-z]?\s*\d*\.?\d*|[\s,'()]", "", text)
    if not parts or rest or any(symbol not in _ELEMENTS for symbol, _ in parts):
        return {}
    amounts: dict[str, float] = {}
    for symbol, count in parts:
        amounts[symbol] = amounts.get(symbol, 0.0) + (float(count) if count not in ("", ".") else 1.0)
    return amounts if all(amount > 0 for amount in amounts.values()) else {}
