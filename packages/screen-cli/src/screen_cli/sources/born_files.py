"""The BORN file of a crystal: which one it is, in which frame, and whether it can be this crystal's at all.

``NAME.BORN`` belongs to the crystal whose source calls it NAME (a file ``NAME.vasp``, an id) and stands in the
Cartesian frame and order of atoms of what the source gave. ``FORMULA.BORN`` serves every crystal of that
formula, so it needs a frame: the cell of its calculation beside it (``FORMULA.vasp``), or tensors that are the same in
every frame. A CIF has no Cartesian frame, so the same holds for ``NAME.BORN`` of ``NAME.cif``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from screen_cli.crystal.born import BornTensors, expand_born, parse_born
from screen_cli.crystal.matching import find_match
from screen_cli.crystal.structure import Structure
from screen_cli.errors import ConfigError, StructureError
from screen_cli.sources.readers.formats import read_frames
from screen_cli.sources.readers.frame import Frame, Limits
from screen_cli.sources.readers.text import decode, read_bytes
from screen_cli.store.row import Row

logger = logging.getLogger(__name__)

_LIMITS = Limits(max_bytes=2**20 * 16)
_FORMULA = re.compile(r"([A-Z][a-z]?\d*)+")
_CELL_ENDINGS = (".vasp", ".poscar", ".POSCAR", ".xyz", ".extxyz")


def find_born(folder: str, structure: Structure) -> BornTensors | None:
    """Find, read and carry over the BORN file of a crystal.

    Parameters
    ----------
    folder : str
        With BORN files; empty: there is none.
    structure : Structure

    Returns
    -------
    BornTensors or None
        In the frame and order of ``structure.atoms``; None where the folder holds none for it.

    Raises
    ------
    StructureError
        There is one, but it belongs to another crystal, or it cannot be known in which frame it stands.
    """
    if not folder:
        return None
    found = _find(Path(folder).expanduser(), structure)
    if found is None:
        return None
    path, in_given_frame = found
    return read_born(path, structure, in_given_frame=in_given_frame)


def read_born(path: Path, structure: Structure, *, in_given_frame: bool = True) -> BornTensors:
    """Read the BORN file of a crystal and carry it over.

    Parameters
    ----------
    path : Path
    structure : Structure
    in_given_frame : bool
        Whether the tensors stand in the frame and order of atoms that the source gave, unless a cell lies beside them.

    Raises
    ------
    StructureError
        It cannot be read, belongs to another crystal, or its frame cannot be known.
    """
    try:
        listed = parse_born(decode(read_bytes(path, _LIMITS.max_bytes)))
        cell = next((path.with_name(path.stem + ending) for ending in _CELL_ENDINGS if _beside(path, ending)), None)
        if cell is not None:
            return _of_cell(listed, cell, structure)
        if in_given_frame:
            return _as_given(listed, structure)
        return _without_frame(listed, structure)
    except StructureError as error:
        raise StructureError(f"{path.name}: {error}") from error


def check_born_files(folder: str, crystals: Callable[[str], Iterable[Row]]) -> None:
    """Refuse a BORN file without a cell that would serve crystals of one formula and several space groups.

    Parameters
    ----------
    folder : str
        With BORN files; empty: there is none.
    crystals : callable
        Gives the rows of a formula, with ``provider``, ``provider_id`` and ``space_group``.

    Raises
    ------
    ConfigError
        There is no such folder, or one of its files would; the message names it and the space groups.
    """
    if folder and not Path(folder).expanduser().is_dir():
        raise ConfigError(f"nac.born names {folder}, which is no folder. Give the folder of the BORN files.")
    for path in sorted(Path(folder).expanduser().glob("*.BORN")) if folder else ():
        if not _FORMULA.fullmatch(path.stem) or any(_beside(path, ending) for ending in _CELL_ENDINGS):
            continue
        served = {
            row["space_group"]
            for row in crystals(path.stem)
            if _serves(path, str(row["provider"]), str(row["provider_id"]))
        }
        if len(served) > 1:
            groups = " and ".join(str(group) for group in sorted(served, key=str))
            raise ConfigError(
                f"{path} would serve crystals of the space groups {groups}: it cannot be known whose charges they are. "
                f"Put the cell of the calculation beside it ({path.stem}.vasp), or name it after its crystal."
            )


def _find(folder: Path, structure: Structure) -> tuple[Path, bool] | None:
    """File of a crystal, and whether it stands in the frame that the source gave."""
    own = _path_of(folder, structure.provider, structure.provider_id)
    if own is not None:
        name = Path(structure.provider_id).name
        return own, not re.search(r"\.m?cif(\.\w+)?(#\d+)?$", name, re.IGNORECASE)
    path = folder / f"{structure.formula}.BORN"
    return (path, False) if path.is_file() else None


def _serves(path: Path, provider: str, provider_id: str) -> bool:
    """Whether a file named after a formula is the one that a crystal of that formula gets."""
    try:
        return _path_of(path.parent, provider, provider_id) in (None, path)
    except StructureError:  # one frame of several, which is refused by itself
        return False


def _path_of(folder: Path, provider: str, provider_id: str) -> Path | None:
    """File that bears a crystal's name."""
    name = Path(provider_id).name
    names = [name]
    frame = re.search(r"#\d+$", name)
    if provider == "files":
        stem = re.sub(r"(\.(gz|bz2|xz))?(#\d+)?$", "", name)
        stem = stem[: -len(Path(stem).suffix)] if Path(stem).suffix else stem
        names.append(stem + (frame[0] if frame else ""))
        if frame and (folder / f"{stem}.BORN").is_file():
            raise StructureError(
                f"{stem}.BORN may belong to any frame of {name.removesuffix(frame[0])}. Name it {stem}{frame[0]}.BORN, "
                "with the number of its frame."
            )
    paths = [folder / f"{candidate}.BORN" for candidate in dict.fromkeys(names)]
    return next((path for path in paths if path.is_file()), None)


def _beside(path: Path, ending: str) -> bool:
    """Whether the cell of a BORN file lies beside it."""
    return path.with_name(path.stem + ending).is_file()


def _of_cell(listed: BornTensors, path: Path, structure: Structure) -> BornTensors:
    """Tensors of the cell of their calculation, carried over to the crystal where it is the same."""
    frame = next(iter(read_frames(path, _LIMITS)))
    if not isinstance(frame, Frame):
        raise StructureError(f"{path.name} beside it {frame.reason}")
    own = Structure.from_atoms(frame.atoms, provider="files", provider_id=path.name)
    match = find_match(own.atoms, structure.atoms)
    if match is None:
        raise StructureError(
            f"{path.name} beside it holds another crystal ({own.formula}, space group {own.space_group}) than "
            f"{structure.provider_id} ({structure.formula}, space group {structure.space_group})."
        )
    return _as_given(listed, own).carried(*match)


def _as_given(listed: BornTensors, structure: Structure) -> BornTensors:
    """Tensors in the frame and order that the source gave."""
    orbits = np.asarray(structure.symmetry.equivalent_atoms)
    sources = np.arange(len(orbits)) if structure.given is None else structure.given.sources
    rotation = np.eye(3) if structure.given is None else structure.given.rotation
    firsts = [min(np.flatnonzero(orbits == orbit), key=lambda atom: int(sources[atom])) for orbit in np.unique(orbits)]
    firsts.sort(key=lambda atom: int(sources[atom]))
    turned = listed.carried(rotation, np.arange(len(listed.charges)))
    return expand_born(turned, structure.atoms, [int(atom) for atom in firsts])


def _without_frame(listed: BornTensors, structure: Structure) -> BornTensors:
    """Tensors that are the same in every frame, in the order of the elements in the formula."""
    orbits = np.asarray(structure.symmetry.equivalent_atoms)
    firsts = {structure.atoms.symbols[orbit]: int(orbit) for orbit in np.unique(orbits)}
    ordered = [symbol for symbol in re.findall(r"[A-Z][a-z]?", structure.formula) if symbol in firsts]
    if not listed.isotropic or len(firsts) != len(np.unique(orbits)):
        raise StructureError(
            "it cannot be known in which frame and order of atoms it stands. Put the cell of its calculation beside "
            "it, as NAME.vasp beside NAME.BORN."
        )
    expanded = expand_born(listed, structure.atoms, [firsts[symbol] for symbol in ordered])
    charges = {symbol: float(np.trace(expanded.charges[firsts[symbol]])) for symbol in ordered}
    logger.info("%s: Born charges in the order %s: %s", structure.provider_id, ", ".join(ordered), charges)
    _check_signs(charges)
    return expanded


def _check_signs(charges: dict[str, float]) -> None:
    """Refuse charges that make the most electronegative element the positive one."""
    from screen_cli.sources.decoration import electronegativity

    known = {symbol: electronegativity(symbol) for symbol in charges}
    values = {symbol: value for symbol, value in known.items() if value is not None}
    if len(values) < 2 or len(values) < len(charges):
        return
    anion, cation = max(values, key=lambda symbol: values[symbol]), min(values, key=lambda symbol: values[symbol])
    if values[anion] - values[cation] > 0.5 and charges[anion] > 0.0 > charges[cation]:
        raise StructureError(
            f"{anion} would be positive and {cation} negative: the charges are read in the order of the formula "
            f"({', '.join(charges)}). Reorder them, or put the cell of the calculation beside it."
        )
