"""Crystals of VASP's POSCAR and CONTCAR, versions 4 and 5, as VASP itself reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from screen_cli.crystal.masses import HYDROGEN_ISOTOPES
from screen_cli.errors import StructureError
from screen_cli.sources.readers.frame import MOMENTS, Frame, Limits
from screen_cli.sources.readers.text import printable

_ELEMENTS = {*chemical_symbols[1:], *HYDROGEN_ISOTOPES}


def read_poscar(text: str, limits: Limits) -> Frame:
    """Read the crystal of a POSCAR.

    Parameters
    ----------
    text : str
        Content of the file.
    limits : Limits

    Raises
    ------
    StructureError
        The text is no POSCAR; the message names the line.
    """
    lines = text.split("\n")
    if len(lines) < 8:
        raise StructureError(f"is no POSCAR: it has {len(lines)} lines, at least 8 expected.")
    vectors = np.array([_numbers(lines, row, 3) for row in (2, 3, 4)])
    scale = _scale(lines, vectors)
    cell = vectors * scale
    symbols, counts, row = _species(lines)
    total = sum(counts)
    limits.check_atoms(total, "the file")
    notes = []
    if row < len(lines) and lines[row].strip()[:1].lower() == "s":
        notes.append("selective dynamics is not used: every atom may move")
        row += 1
    mode = lines[row].strip()[:1].lower() if row < len(lines) else ""
    if mode not in ("d", "c", "k"):
        raise StructureError(f"line {row + 1} is '{_shown(lines, row)}', expected 'Direct' or 'Cartesian'.")
    positions = np.array([_numbers(lines, row + 1 + atom, 3) for atom in range(total)])
    names = [symbol for symbol, count in zip(symbols, counts, strict=True) for _ in range(count)]
    _check_names(lines[row + 1 : row + 1 + total], names, row + 2)
    if re.search(r"\bmagmom\b", lines[0], re.IGNORECASE):
        notes.append(MOMENTS)
    atoms = Atoms(["H" if name in HYDROGEN_ISOTOPES else name for name in names], cell=cell, pbc=True)
    if mode == "d":
        atoms.set_scaled_positions(positions)
    else:
        atoms.set_positions(positions * scale)
    if any(name in HYDROGEN_ISOTOPES for name in names):
        natural = atoms.get_masses()
        atoms.set_masses([HYDROGEN_ISOTOPES.get(name, mass) for name, mass in zip(names, natural, strict=True)])
    return Frame(atoms, notes=tuple(notes))


def _check_names(lines: Sequence[str], names: Sequence[str], first: int) -> None:
    """Refuse symbols behind the coordinates that contradict those above the counts.

    Raises
    ------
    StructureError
    """
    for number, (line, name) in enumerate(zip(lines, names, strict=True), start=first):
        words = line.split()[3:]
        if len(words) == 1 and words[0] in _ELEMENTS and words[0] not in (name, "T", "F"):
            raise StructureError(
                f"line {number} says {words[0]} where the counts say {name}. Correct the symbols or the counts."
            )


def _scale(lines: Sequence[str], vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Factors of the three Cartesian directions; a negative number is the volume, Å³."""
    words = _leading_numbers(lines[1])
    if len(words) not in (1, 3) or any(word == 0 for word in words) or (len(words) == 3 and min(words) < 0):
        raise StructureError(
            f"line 2 is '{_shown(lines, 1)}', expected a scale factor that is not zero (negative: the volume), or "
            "three positive ones."
        )
    if words[0] < 0:
        volume = abs(float(np.linalg.det(vectors)))
        if volume == 0:
            raise StructureError("lines 3 to 5 span no volume.")
        return np.full(3, (-words[0] / volume) ** (1 / 3))
    return np.array(words * 3 if len(words) == 1 else words)


def _species(lines: Sequence[str]) -> tuple[list[str], list[int], int]:
    """Symbols, counts, and the row behind them."""
    words = lines[5].split()
    if words and not words[0].isdigit():
        symbols = [_symbol(word) for word in words if not word.startswith(("!", "#"))]
        counts, row = _counts(lines, 6), 7
        symbols = symbols[: len(counts)] if len(words) > len(counts) and "!" in lines[5] else symbols
    else:
        counts, row = _counts(lines, 5), 6
        symbols = lines[0].split()[: len(counts)]
        if len(symbols) != len(counts) or not set(symbols) <= _ELEMENTS:
            raise StructureError(
                f"names no elements (VASP 4): line 6 gives {len(counts)} counts and line 1 is "
                f"'{_shown(lines, 0)}'. Add a line with the symbols above the counts."
            )
    if len(symbols) != len(counts):
        raise StructureError(f"line 6 gives {len(symbols)} elements, line 7 {len(counts)} counts.")
    return symbols, counts, row


def _symbol(word: str) -> str:
    """Element of a word such as ``Na``, ``Na_pv`` or ``Si/4a1e``."""
    symbol = re.split(r"[/_]", word)[0]
    if symbol not in _ELEMENTS:
        raise StructureError(f"line 6 names '{printable(word, 20)}', which is no chemical symbol.")
    return symbol


def _counts(lines: Sequence[str], row: int) -> list[int]:
    """Numbers of atoms on a line; what follows the numbers is a comment."""
    counts: list[int] = []
    for word in lines[row].split():
        if not re.fullmatch(r"\d{1,12}", word):
            break
        counts.append(int(word))
    if not counts or sum(counts) == 0:
        raise StructureError(f"line {row + 1} is '{_shown(lines, row)}', expected numbers of atoms.")
    return counts


def _numbers(lines: Sequence[str], row: int, count: int) -> list[float]:
    """First numbers on a line, Fortran's exponents (1.0d0) too."""
    if row >= len(lines) or not lines[row].strip():
        raise StructureError(f"ends before line {row + 1}: it was not written completely.")
    found = _leading_numbers(lines[row])[:count]
    if len(found) < count:
        raise StructureError(f"line {row + 1} is '{_shown(lines, row)}', expected {count} numbers.")
    return found


def _leading_numbers(line: str) -> list[float]:
    """Numbers at the front of a line."""
    found: list[float] = []
    for word in line.split():
        if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d{1,3})?", word):
            break
        value = float(word.lower().replace("d", "e"))
        if not math.isfinite(value):
            break
        found.append(value)
    return found


def _shown(lines: Sequence[str], row: int) -> str:
    """Give a line for a message."""
    return printable(lines[row].strip(), 60) if row < len(lines) else ""
