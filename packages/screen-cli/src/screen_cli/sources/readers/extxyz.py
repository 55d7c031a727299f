"""Crystals of extended XYZ: one for each frame, with masses and metadata."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence

import numpy as np
from ase import Atoms

from screen_cli.crystal.masses import HYDROGEN_ISOTOPES
from screen_cli.crystal.metadata import Json, plain
from screen_cli.errors import StructureError
from screen_cli.sources.readers.frame import MOMENTS, Frame, Limits, Refused
from screen_cli.sources.readers.text import printable
from screen_cli.sources.readers.xyz_header import check_columns

_MAX_HEADER = 100_000  # characters
_MAX_COLUMNS = 200
_MOMENT = re.compile(r"mag(netic)?_?mom|spins?$|moments?$|magneti[sz]ation", re.IGNORECASE)
_SAME_MASS = 0.01  # relative


def read_extxyz(text: str, limits: Limits) -> Iterator[Frame | Refused]:
    """Read the frames of an extended XYZ file.

    Parameters
    ----------
    text : str
        Content of the file.
    limits : Limits

    Yields
    ------
    Frame or Refused
        One for each frame; behind a frame whose count of atoms cannot be trusted nothing more is read.
    """
    lines = text.split("\n")
    row = n_frames = 0
    while row < len(lines):
        if not lines[row].strip():
            row += 1
            continue
        n_frames += 1
        if n_frames > limits.max_frames:
            yield Refused(f"has more than {limits.max_frames} frames, which are not read. Split the file.")
            return
        try:
            count = _count(lines, row, limits)
        except StructureError as error:
            yield Refused(str(error))
            return
        try:
            yield _frame(lines[row : row + 2 + count])
        except StructureError as error:
            yield Refused(str(error))
        row += 2 + count


def scalars_of(atoms: Atoms) -> dict[str, Json]:
    """Scalars that a file says of a frame."""
    return {
        printable(str(key), 60): printable(value, 300) if isinstance(value, str) else plain(value)
        for key, value in atoms.info.items()
        if isinstance(value, (str, int, float, bool, np.generic))
    }


def moments_of(atoms: Atoms) -> tuple[str, ...]:
    """Give a note where a frame has magnetic moments, which are not used; whatever their column is called."""
    results = getattr(atoms.calc, "results", {}) if atoms.calc is not None else {}
    for name, values in (*atoms.arrays.items(), *results.items()):
        array = np.asarray(values)
        if _MOMENT.search(str(name)) and array.dtype.kind in "fiu" and np.abs(array).max(initial=0.0) > 1e-6:
            return (MOMENTS,)
    return ()


def _count(lines: list[str], row: int, limits: Limits) -> int:
    """Give the number of atoms of the frame that begins at a row.

    Raises
    ------
    StructureError
        No number, too many atoms, too long a header, more columns than a file has, or fewer lines than atoms.
    """
    word = lines[row].strip()
    if not re.fullmatch(r"\d{1,15}", word):
        raise StructureError(f"line {row + 1} is '{printable(word, 40)}', expected the number of atoms of a frame.")
    count = int(word)
    limits.check_atoms(count)
    if len(lines) - row < 2 + count:
        raise StructureError(f"line {row + 1} announces {count} atoms, but the file ends before. Was it cut off?")
    header = lines[row + 1]
    columns = re.search(r"Properties=\"?([^\s\"]+)", header)
    if len(header) > _MAX_HEADER or (columns and columns[1].count(":") > 3 * _MAX_COLUMNS):
        raise StructureError(f"line {row + 2} has {len(header)} characters or more than {_MAX_COLUMNS} columns.")
    try:
        check_columns(header)
    except ValueError as error:
        raise StructureError(f"line {row + 2} is no header of extended XYZ: {error}.") from None
    if columns and not re.search(r"(^|:)pos(itions?)?:R:3(:|$)", columns[1], re.IGNORECASE):
        raise StructureError(f"line {row + 2} names no column 'pos:R:3': Cartesian positions in Å are expected.")
    return count


def _frame(lines: list[str]) -> Frame:
    """Read one frame."""
    from ase.io.extxyz import read_xyz

    names = [line.split(maxsplit=1)[0] for line in lines[2:] if line.split()]
    species_first = "Properties=" not in lines[1] or re.search(r"Properties=\"?species:S:1:", lines[1]) is not None
    isotopes = [name if name in HYDROGEN_ISOTOPES else "" for name in names] if species_first else []
    if any(isotopes):
        lines = lines[:2] + [
            re.sub(r"^(\s*)[DT](?=\s)", r"\1H", line) if isotope else line
            for line, isotope in zip(lines[2:], isotopes, strict=True)
        ]
    try:
        (atoms,) = list(read_xyz(io.StringIO("\n".join(lines) + "\n"), index=0))
    except Exception as error:  # ASE's reader fails in every possible way
        raise StructureError(f"is no extended XYZ: {type(error).__name__}: {printable(str(error), 150)}.") from error
    for name in ("masses", "mass"):
        if name in atoms.arrays and np.asarray(atoms.arrays[name]).shape == (len(atoms),):
            try:
                atoms.set_masses(np.asarray(atoms.arrays[name], dtype=float))
            except (TypeError, ValueError) as error:
                raise StructureError(f"the column '{name}' holds no numbers.") from error
            break
    if any(isotopes):
        _set_isotopes(atoms, isotopes)
    return Frame(atoms, scalars_of(atoms), moments_of(atoms))


def _set_isotopes(atoms: Atoms, isotopes: Sequence[str]) -> None:
    """Give D and T their masses.

    Raises
    ------
    StructureError
        A column of masses says otherwise.
    """
    masses = atoms.get_masses()
    for atom, isotope in enumerate(isotopes):
        mass = HYDROGEN_ISOTOPES.get(isotope)
        if mass is not None and atoms.has("masses") and abs(masses[atom] / mass - 1) > _SAME_MASS:
            raise StructureError(f"atom {atom} is {isotope}, of {mass:.4g} u, but its mass is {masses[atom]:.4g} u.")
        masses[atom] = masses[atom] if mass is None else mass
    atoms.set_masses(masses)
