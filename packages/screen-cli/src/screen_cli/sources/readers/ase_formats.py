"""Files that only ASE reads, and what its readers pass over in them: symmetry, masses.

ASE takes the listed atoms of some formats for all of them although the file says a space group. Such files are refused,
unless the group is P 1. Masses that pw.x writes or takes are brought back.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from ase import Atoms

from screen_cli.errors import StructureError
from screen_cli.sources.readers.extxyz import moments_of, scalars_of
from screen_cli.sources.readers.frame import Frame, Limits, Refused
from screen_cli.sources.readers.text import COMPRESSED, plain_name, printable

Frames: TypeAlias = "Iterator[Frame | Refused]"
_COLLECTIONS = {"db", "json", "aselmdb", "mysql", "postgresql"}
_LOOKED_AT = 4_000_000  # bytes of a file that are searched for its symmetry and masses
_TRIVIAL = re.compile(r"[\"'( ]*(P ?1|1|C1|)[\"') ]*", re.IGNORECASE)
_SYMMETRY: dict[str, re.Pattern[str]] = {
    "proteindatabank": re.compile(r"^CRYST1.{49}(.{1,11})", re.MULTILINE),
    "dmol-car": re.compile(r"^PBC(?:\s+[\d.+-]+){6}\s+(\(.*\))", re.MULTILINE),
    "xsd": re.compile(r"<SpaceGroup\b[^>]*\bGroupName=(\"[^\"]*\")"),
    "xtd": re.compile(r"<SpaceGroup\b[^>]*\bGroupName=(\"[^\"]*\")"),
    "abinit-in": re.compile(r"^[ \t]*spgroup[ \t]+(\d+)", re.MULTILINE | re.IGNORECASE),
    "nwchem-in": re.compile(r"^[ \t]*(?:group|symmetry)[ \t]+(\S+)", re.MULTILINE | re.IGNORECASE),
    "espresso-in": re.compile(r"^[ \t,]*space_group[ \t]*=[ \t]*(\d+)", re.MULTILINE | re.IGNORECASE),
}
"""What names the space group in formats whose symmetry ASE passes over."""


def read_by_ase(path: Path, data: bytes, kind: str, limits: Limits, *, all_frames: bool) -> Frames:
    """Read the frames of a format that ASE reads; the steps of one calculation give the last one.

    Parameters
    ----------
    path : Path
        The file, compressed or not.
    data : bytes
        Its content, decompressed.
    kind : str
        ASE's name of the format.
    limits : Limits
    all_frames : bool
        Give every step of a calculation.

    Raises
    ------
    StructureError
        It cannot be read, or only its asymmetric unit would be.
    """
    text = data[:_LOOKED_AT].decode("utf-8", "replace")
    refuse_symmetry(text, kind)
    frames = _frames(path, data, kind, limits)
    note: tuple[str, ...] = ()
    if len(frames) > 1 and len(set(map(_system, frames))) == 1 and kind not in _COLLECTIONS and not all_frames:
        note = (
            f"the last of {len(frames)} frames was taken, which are steps of one calculation (all_frames = true takes "
            "every one)",
        )
        frames = frames[-1:]
    masses = _espresso_masses(text) if kind.startswith("espresso") else {}
    for atoms in frames:
        if len(atoms) > limits.max_atoms:
            yield too_large(atoms)
            continue
        if masses and not atoms.has("masses"):
            atoms.set_masses([masses.get(a.symbol, a.mass) for a in atoms])
        yield Frame(atoms, scalars_of(atoms), (*note, *moments_of(atoms)))


def too_large(atoms: Atoms) -> Refused:
    """Refusal of a frame with too many atoms."""
    return Refused(f"the frame has {len(atoms)} atoms, which are not read. Give the primitive or conventional cell.")


def refuse_symmetry(text: str, kind: str) -> None:
    """Refuse a file that names a space group, where ASE would take the listed atoms for all of them.

    Raises
    ------
    StructureError
    """
    group = ""
    if kind in _SYMMETRY:
        found = [word.strip() for word in _SYMMETRY[kind].findall(text)]
        group = next((word for word in found if not _TRIVIAL.fullmatch(word)), "")
    elif kind == "res":
        lattice = re.search(r"^LATT\s+(-?\d+)", text, re.MULTILINE)
        operation = re.search(r"^SYMM\s+(.*)", text, re.MULTILINE)
        group = operation[1] if operation else "" if lattice and lattice[1] == "-1" else "LATT 1, an inversion"
    elif kind == "crystal":
        words = text.split("\n")
        count = words[4].strip() if len(words) > 4 else ""
        group = f"{count} operations" if count.isdigit() and int(count) > 1 else ""
    if group:
        raise StructureError(
            f"says a symmetry ({printable(group, 40)}), which is not read from this format ({kind}): only its listed "
            "atoms would be. Give a CIF, or list all atoms of the cell without symmetry."
        )


def _frames(path: Path, data: bytes, kind: str, limits: Limits) -> list[Atoms]:
    """All frames that ASE finds."""
    from ase.io import iread

    frames: list[Atoms] = []
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        source = path
        if path.suffix.lower() in COMPRESSED:
            source = Path(folder) / plain_name(path)
            source.write_bytes(data)
        try:
            for atoms in iread(str(source), index=":", format=kind):
                frames.append(atoms)
                if len(frames) > limits.max_frames:
                    raise StructureError(f"has more than {limits.max_frames} frames, which are not read.")
        except StructureError:
            raise
        except Exception as error:  # ASE's readers fail in every possible way
            message = f"cannot be read as {kind}: {type(error).__name__}: {printable(str(error), 150)}."
            raise StructureError(message) from error
    return frames


def _system(atoms: Atoms) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Give what the steps of one calculation share: atoms, perhaps of no element, and masses of their own."""
    masses = tuple(atoms.get_masses().round(3).tolist()) if atoms.has("masses") else ()
    return tuple(atoms.numbers.tolist()), masses


def _espresso_masses(text: str) -> dict[str, float]:
    """Masses (u) by element of an input or output of pw.x; two kinds of one element must agree.

    Raises
    ------
    StructureError
        They do not: which atom is which isotope would be lost.
    """
    masses: dict[str, float] = {}
    for label, mass in _species_of_espresso(text):
        letters = re.match(r"[A-Za-z]{1,2}", label)
        symbol = letters[0].capitalize() if letters else ""
        value = float(mass.lower().replace("d", "e"))
        if value <= 0:
            continue  # pw.x itself takes the natural mass
        if abs(masses.setdefault(symbol, value) - value) > 1e-3 * value:
            raise StructureError(
                f"gives {symbol} two masses, {masses[symbol]:g} and {value:g} u, by species; which atom has which is "
                "not read. Give extended XYZ with a column 'masses'."
            )
    return masses


def _species_of_espresso(text: str) -> list[tuple[str, str]]:
    """Labels and masses of the species of pw.x: of the card of an input, of the table of an output."""
    card = re.search(r"^[ \t]*ATOMIC_SPECIES[^\n]*\n", text, re.MULTILINE)
    table = re.search(r"^[ \t]*atomic species[ \t]+valence[ \t]+mass[^\n]*\n", text, re.MULTILINE)
    start, column = (card.end(), 1) if card else (table.end(), 2) if table else (len(text), 0)
    species: list[tuple[str, str]] = []
    for line in text[start:].split("\n"):
        words = line.split("!")[0].split()
        if not words and card:
            continue
        if len(words) < 3 or not re.fullmatch(r"\d*\.?\d*([eEdD][+-]?\d+)?", words[column]):
            break
        species.append((words[0], words[column]))
    return species
