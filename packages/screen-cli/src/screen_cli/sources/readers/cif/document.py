"""Crystals of a CIF, by gemmi's parser: every data block that has a cell and atoms.

Symmetry comes from the listed operations, else from the named setting. Where more than one setting is possible, the
file's claims decide; where they do not, the block is refused with the sentence that names the settings.
"""

from __future__ import annotations

from collections.abc import Iterator

import gemmi
import numpy as np
from ase.geometry import cellpar_to_cell
from numpy.typing import NDArray

from screen_cli.crystal.checks import check_atoms
from screen_cli.crystal.identity import crystal_id
from screen_cli.crystal.metadata import Json
from screen_cli.errors import StructureError
from screen_cli.sources.readers.cif.claims import check_claims, claims_of
from screen_cli.sources.readers.cif.expand import Expansion, expand
from screen_cli.sources.readers.cif.sites import Site, number, sites_of
from screen_cli.sources.readers.cif.symmetry import Setting, settings_of
from screen_cli.sources.readers.frame import Frame, Limits, Refused
from screen_cli.sources.readers.text import printable

_CELL = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
_MAX_SITES = 2000


def read_cif(text: str, limits: Limits) -> Iterator[Frame | Refused]:
    """Read the crystals of a CIF.

    Parameters
    ----------
    text : str
        Content of the file.
    limits : Limits

    Yields
    ------
    Frame or Refused
        One for each data block with a cell or atoms.

    Raises
    ------
    StructureError
        The text is no CIF; the message names the line.
    """
    try:
        document = gemmi.cif.read_string(text)
    except (ValueError, RuntimeError) as error:
        raise StructureError(f"is no CIF: line {printable(str(error).removeprefix('string:'), 150)}.") from error
    for block in map(_without_dots, document):
        if _has(block, "_cell_length_a") or _has(block, "_atom_site_fract_x") or _has(block, "_atom_site_Cartn_x"):
            try:
                yield _frame(block, limits)
            except StructureError as error:
                yield Refused(str(error))


def _frame(block: gemmi.cif.Block, limits: Limits) -> Frame:
    """Build the crystal of one block."""
    if _has(block, "_cell_modulation_dimension") and _value(block, "_cell_modulation_dimension") not in ("0", ""):
        raise StructureError("is a modulated crystal, which has no cell of three dimensions. Give an approximant.")
    claims = claims_of(block)
    cell = _cell(block)
    sites, notes = sites_of(block, claims.formula, _MAX_SITES)
    settings = settings_of(block, cell)
    if not settings:
        settings = [Setting("P 1 (nothing is said of symmetry)", np.eye(3, dtype=np.int64)[None], np.zeros((1, 3)), 1)]
        if not claims.decide:
            raise StructureError(
                "names neither symmetry operations nor a space group, and no Z or density to tell whether the sites "
                "are all atoms of the cell. Add _space_group_name_H-M_alt 'P 1' if they are."
            )
    chosen = _choose([_try(setting, cell, sites, limits, block) for setting in settings], settings)
    if any(tag.startswith("_atom_site_moment") for tag in _tags(block)):
        notes.append("magnetic moments are not used")
    name = _value(block, "_chemical_name_common") or _value(block, "_chemical_name_mineral")
    metadata: dict[str, Json] = {"name": printable(name, 80)} if name else {}
    return Frame(chosen.atoms, metadata, (*notes, *chosen.notes))


def _try(
    setting: Setting, cell: NDArray[np.float64], sites: list[Site], limits: Limits, block: gemmi.cif.Block
) -> Expansion | StructureError:
    """Build the cell in one setting; what speaks against it is returned."""
    try:
        expansion = expand(setting, cell, sites, limits.max_atoms)
        check_claims(claims_of(block), expansion, sites)
        check_atoms(expansion.atoms)
        return expansion
    except StructureError as error:
        return error


def _choose(tried: list[Expansion | StructureError], settings: list[Setting]) -> Expansion:
    """Take the one crystal that the settings leave possible.

    Raises
    ------
    StructureError
        None, or more than one.
    """
    possible = [item for item in tried if isinstance(item, Expansion)]
    if not possible:
        reasons = [item for item in tried if isinstance(item, StructureError)]
        hint = (
            f" No setting that the file may mean ({', '.join(setting.name for setting in settings)}) gives what it "
            "declares."
            if len(settings) > 1
            else ""
        )
        raise StructureError(f"{reasons[0]}{hint}{_advice(str(reasons[0]))}")
    if len(possible) > 1 and len({crystal_id(item.atoms) for item in possible}) > 1:
        raise StructureError(
            f"the space group may be meant as {' or as '.join(item.setting.name for item in possible)}, which give "
            "different crystals. Say which (setting, origin) in _space_group_name_H-M_alt, or list the symmetry "
            "operations."
        )
    return possible[0]


def _advice(reason: str) -> str:
    """Where atoms overlap, the setting is the likely cause."""
    return " Check the setting or origin of the space group." if "overlap" in reason and "setting" not in reason else ""


def _cell(block: gemmi.cif.Block) -> NDArray[np.float64]:
    """Cell vectors, float64 (3, 3), rows, Å.

    Raises
    ------
    StructureError
        Edges or angles that are missing, no numbers, or span no volume.
    """
    values = []
    for name in _CELL:
        text = _value(block, f"_cell_{name}")
        if not text and name.startswith("angle"):
            raise StructureError(f"_cell_{name} is missing.")
        values.append(number(text, f"_cell_{name}"))
    if min(values[:3]) <= 0.1 or max(values[:3]) > 1e4:
        raise StructureError(f"the cell edges are {values[:3]}, expected lengths in Å.")
    alpha, beta, gamma = values[3:]
    inside = min(values[3:]) > 0 and max(values[3:]) < 180
    if not inside or alpha + beta + gamma >= 360 or max(values[3:]) * 2 >= alpha + beta + gamma:
        raise StructureError(f"the cell angles are {values[3:]}, which span no cell; expected degrees.")
    cell: NDArray[np.float64] = cellpar_to_cell(values)
    if not np.isfinite(cell).all() or abs(np.linalg.det(cell)) < 1e-3 * float(np.prod(values[:3])):
        raise StructureError(f"edges {values[:3]} and angles {values[3:]} span no volume.")
    return cell


def _without_dots(block: gemmi.cif.Block) -> gemmi.cif.Block:
    """Write the tags of newer dictionaries (``_cell.length_a``) as in the core dictionary (``_cell_length_a``)."""
    if not any("." in tag for tag in _tags(block)):
        return block
    plain = gemmi.cif.Block(block.name)
    for item in block:
        if item.loop is not None:
            width = len(item.loop.tags)
            loop = plain.init_loop("", [tag.replace(".", "_", 1) for tag in item.loop.tags])
            loop.set_all_values([list(item.loop.values[column::width]) for column in range(width)])
        elif item.pair is not None:
            plain.set_pair(item.pair[0].replace(".", "_", 1), item.pair[1])
    return plain


def _has(block: gemmi.cif.Block, tag: str) -> bool:
    """Whether a tag stands in a block, alone or in a loop."""
    return len(block.find_values(tag)) > 0


def _value(block: gemmi.cif.Block, tag: str) -> str:
    """Word behind a tag (its first, in a loop); empty when unknown."""
    for value in block.find_values(tag):
        word = gemmi.cif.as_string(value).strip()
        return "" if word in (".", "?") else word
    return ""


def _tags(block: gemmi.cif.Block) -> list[str]:
    """All tags of a block, lower case."""
    tags: list[str] = []
    for item in block:
        tags += item.loop.tags if item.loop is not None else [item.pair[0]] if item.pair is not None else []
    return [tag.lower() for tag in tags]
