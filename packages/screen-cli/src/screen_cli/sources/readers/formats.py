"""Which reader a file goes to, and the frames it gives.

CIF, POSCAR and extended XYZ have readers of their own; an ASE database and whatever else ASE reads go through ASE. A
file that holds the steps of one calculation (a relaxation) gives its last frame, unless all are asked for.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from screen_cli.errors import StructureError
from screen_cli.sources.readers.ase_formats import Frames, read_by_ase, too_large
from screen_cli.sources.readers.cif.document import read_cif
from screen_cli.sources.readers.extxyz import moments_of, read_extxyz
from screen_cli.sources.readers.frame import Frame, Limits, Refused
from screen_cli.sources.readers.poscar import read_poscar
from screen_cli.sources.readers.text import COMPRESSED, decode, plain_name, printable, read_bytes

_POSCAR = re.compile(r"(POSCAR|CONTCAR)([._-].*)?|.*\.(vasp|poscar|contcar)", re.IGNORECASE)


def read_frames(path: Path, limits: Limits, *, all_frames: bool = False) -> Frames:
    """Read the frames of a structure file.

    Parameters
    ----------
    path : Path
        A file, also compressed (.gz, .bz2, .xz).
    limits : Limits
    all_frames : bool
        Give every step of a calculation, not the last one.

    Raises
    ------
    StructureError
        The file cannot be read; the message says why, without the name of the file.
    """
    name = plain_name(path)
    if Path(name).suffix.lower() == ".db":
        yield from _read_database(path, limits)
        return
    data = read_bytes(path, limits.max_bytes)
    if not data.strip():
        raise StructureError("is empty.")
    kind = _kind(name, data)
    if kind == "cif":
        yield from read_cif(decode(data), limits)
    elif kind == "vasp":
        yield read_poscar(decode(data), limits)
    elif kind in ("extxyz", "xyz"):
        yield from read_extxyz(decode(data), limits)
    else:
        yield from read_by_ase(path, data, kind, limits, all_frames=all_frames)


def _kind(name: str, data: bytes) -> str:
    """Format of a file, in ASE's words, by its name, else by its content."""
    suffix = Path(name).suffix.lower()
    if suffix in (".cif", ".mcif"):
        return "cif"
    if _POSCAR.fullmatch(name):
        return "vasp"
    if suffix in (".xyz", ".extxyz"):
        return "extxyz"
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    try:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / name.encode("ascii", "replace").decode().replace("?", "_").replace("/", "_")
            copy.write_bytes(data[:100_000])
            kind = str(filetype(str(copy)))
            if kind not in ioformats or not ioformats[kind].can_read:
                raise UnknownFileTypeError(kind)
            return kind
    except UnknownFileTypeError as error:
        raise StructureError(
            "is in no format that is known by its name or content. Name it .cif, .vasp, .xyz or as its program does."
        ) from error
    except Exception as error:  # ASE's guess by content fails in every possible way
        raise StructureError(f"is in no format that is known ({type(error).__name__}).") from error


def _read_database(path: Path, limits: Limits) -> Frames:
    """Rows of an ASE database."""
    from ase.db import connect

    if path.suffix.lower() in COMPRESSED:
        raise StructureError("is a compressed database, which cannot be read in place. Decompress it.")
    try:
        with connect(str(path)) as database:
            for count, row in enumerate(database.select()):
                if count >= limits.max_frames:
                    yield Refused(f"has more than {limits.max_frames} rows, which are not read. Split the database.")
                    return
                atoms = row.toatoms()
                metadata = {"ase_db_id": row.id, **dict(row.key_value_pairs)}
                yield Frame(atoms, metadata, moments_of(atoms)) if len(atoms) <= limits.max_atoms else too_large(atoms)
    except StructureError:
        raise
    except Exception as error:  # whatever SQLite and ASE say of a damaged file
        raise StructureError(f"is no ASE database: {type(error).__name__}: {printable(str(error), 150)}.") from error
