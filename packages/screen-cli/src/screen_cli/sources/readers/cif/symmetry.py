"""Symmetry of a CIF: the operations it lists, else the setting it names, with its origin and axes.

Names are looked up in gemmi's table of 564 settings. What the name leaves open (origin choice 1 or 2, hexagonal or
rhombohedral axes) stays open here: each possibility is a :class:`Setting`, and the file's claims decide between them.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import gemmi
import numpy as np
import spglib
from numpy.typing import NDArray

from screen_cli.errors import StructureError
from screen_cli.sources.readers.text import printable

_OPERATION_TAGS = (
    "_space_group_symop_operation_xyz",
    "_symmetry_equiv_pos_as_xyz",
    "_space_group_symop_magn_operation_xyz",
)
_CENTRING_TAGS = ("_space_group_symop_magn_centering_xyz",)
_NAME_TAGS = (
    "_space_group_name_H-M_alt",
    "_symmetry_space_group_name_H-M",
    "_space_group_name_H-M_full",
)
_HALL_TAGS = ("_space_group_name_Hall", "_symmetry_space_group_name_Hall")
_NUMBER_TAGS = (
    "_space_group_IT_number",
    "_symmetry_Int_Tables_number",
)
_CODE_TAGS = ("_space_group_IT_coordinate_system_code",)
_MAX_OPERATIONS = 768
_METRIC_TOLERANCE = 0.02
_CUBIC_WITH_INVERSION = {*range(200, 207), *range(221, 231)}


@dataclass(frozen=True, eq=False)
class Setting:
    """Operations of a space group in given axes, and what they are called.

    Parameters
    ----------
    name : str
        For messages: ``"F d -3 m:2"`` or ``"the listed operations"``.
    rotations : ndarray
        int64 (n_operations, 3, 3), acting on fractional coordinates.
    translations : ndarray
        float64 (n_operations, 3), fractions of the cell.
    number : int
        International number; 0 when not known.
    """

    name: str
    rotations: NDArray[np.int64]
    translations: NDArray[np.float64]
    number: int = 0


def settings_of(block: gemmi.cif.Block, cell: NDArray[np.float64]) -> list[Setting]:
    """List the settings that a block may mean, most explicit first.

    Parameters
    ----------
    block : gemmi.cif.Block
    cell : ndarray
        Cell vectors, float64 (3, 3), rows, Å: a setting must leave its metric alone.

    Returns
    -------
    list of Setting
        Empty when the block says nothing of symmetry.

    Raises
    ------
    StructureError
        Operations that cannot be read or form no group; names and numbers that are unknown or contradict each other;
        no setting that fits the cell.
    """
    listed = _listed(block)
    named = _named(block)
    found = ([listed] if listed else []) + [
        setting for setting in named if listed is None or not _same_group(setting, listed)
    ]
    if listed and any(_same_group(setting, listed) for setting in named):
        found = [listed]
    elif listed and named and listed.number and listed.number in {setting.number for setting in named}:
        found = [listed]  # the same space group in axes or an origin of the file's own
    fitting = [setting for setting in found if _fits(setting, cell)]
    if found and not fitting:
        raise StructureError(
            f"the cell does not have the symmetry of {found[0].name}: its edges or angles change under the operations. "
            "Check the cell, or say the setting (unique axis, hexagonal or rhombohedral axes) in "
            "_space_group_name_H-M_alt."
        )
    return fitting


def _values(block: gemmi.cif.Block, tags: Sequence[str]) -> list[str]:
    """Values of the first of some tags that has any, without quotes; unknown ones are left out."""
    for tag in tags:
        values = [gemmi.cif.as_string(value).strip() for value in block.find_values(tag)]
        values = [value for value in values if value not in ("", ".", "?")]
        if values:
            return values
    return []


def _listed(block: gemmi.cif.Block) -> Setting | None:
    """Operations the file lists."""
    texts = _values(block, _OPERATION_TAGS)
    if not texts:
        return None
    if len(texts) > _MAX_OPERATIONS:
        raise StructureError(f"lists {len(texts)} symmetry operations, at most {_MAX_OPERATIONS} are possible.")
    operations = [_operation(text) for text in texts]
    operations = [c * o for c in map(_operation, _values(block, _CENTRING_TAGS) or ["x,y,z"]) for o in operations]
    unique = {operation.wrap().triplet(): operation for operation in operations}
    if len(unique) > 192:
        raise StructureError(f"lists {len(unique)} different symmetry operations, a space group has at most 192.")
    for first in unique.values():
        for second in unique.values():
            if (first * second).wrap().triplet() not in unique:
                raise StructureError(
                    f"the listed symmetry operations form no group: {first.triplet()} after {second.triplet()} is not "
                    "among them. The list is incomplete."
                )
    group = gemmi.find_spacegroup_by_ops(gemmi.GroupOps(list(unique.values())))
    return _setting("the listed operations", list(unique.values()), group.number if group else 0)


def _operation(text: str) -> gemmi.Op:
    """Read one operation; a time reversal behind it is left out."""
    parts = text.strip("'\" ").split(",")
    try:
        if len(parts) not in (3, 4):
            raise ValueError("expected three parts")
        return gemmi.Op(",".join(part.strip().lower() for part in parts[:3])).wrap()
    except (RuntimeError, ValueError) as error:
        raise StructureError(f"'{printable(text, 60)}' is no symmetry operation such as 'x,y,z+1/2'.") from error


def _named(block: gemmi.cif.Block) -> list[Setting]:
    """Give the settings that names and number of the file may mean; several where they leave it open or contradict."""
    numbers = _values(block, _NUMBER_TAGS)
    number = _number(numbers[0]) if numbers else 0
    hall = _of_hall_symbol(_values(block, _HALL_TAGS), number)
    names = [name for tag in _NAME_TAGS for name in _values(block, [tag])]
    meant = [groups for groups in map(_groups_named, names) if groups]
    if names and not meant and hall is None:
        raise StructureError(
            f"the space group '{printable(names[0], 60)}' is not known. Write it as in the International Tables, e.g. "
            "'P 1 21/n 1' or 'F d -3 m :2', or list the symmetry operations."
        )
    groups = _agreed(meant)
    if groups and number and number not in {group.number for group in groups}:
        raise StructureError(
            f"the space group '{printable(names[0], 60)}' has number {groups[0].number}, the file says {number}. "
            "Correct one."
        )
    if not groups and number and hall is None:
        groups = _groups_numbered(number)
    groups = _of_code(groups, _values(block, _CODE_TAGS))
    settings = [_setting(group.xhm(), list(group.operations()), group.number) for group in groups]
    if hall is None:
        return settings
    return [hall] if not settings or any(_same_group(hall, setting) for setting in settings) else [hall, *settings]


def _agreed(meant: Sequence[list[gemmi.SpaceGroup]]) -> list[gemmi.SpaceGroup]:
    """Give the groups that all names may mean; where there is none, those of each, so that the file's claims decide."""
    if not meant:
        return []
    common = [group for group in meant[0] if all(group.hall in {one.hall for one in other} for other in meant[1:])]
    by_hall = {group.hall: group for groups in meant for group in groups}
    return common or list(by_hall.values())


def _of_hall_symbol(symbols: Sequence[str], number: int) -> Setting | None:
    """Operations of a Hall symbol, where there is one."""
    if not symbols:
        return None
    try:
        operations = gemmi.symops_from_hall(symbols[0].replace("_", " "))
    except (RuntimeError, ValueError) as error:
        raise StructureError(
            f"'{printable(symbols[0], 60)}' is no Hall symbol: {printable(str(error), 80)}."
        ) from error
    known = gemmi.find_spacegroup_by_ops(operations)
    if known is not None and number and known.number != number:
        raise StructureError(
            f"the Hall symbol '{printable(symbols[0], 60)}' is space group {known.number}, the file says {number}. "
            "Correct one."
        )
    return _setting(f"Hall symbol {symbols[0]}", list(operations), known.number if known else 0)


def _of_code(groups: list[gemmi.SpaceGroup], codes: Sequence[str]) -> list[gemmi.SpaceGroup]:
    """Give the groups with the origin or axes that a code names."""
    if not codes:
        return groups
    code = codes[0].lower()
    narrowed = [group for group in groups if code in _codes(group)]
    if not narrowed and groups and code in ("1", "2", "h", "r") and any(_codes(group) for group in groups):
        raise StructureError(
            f"the setting '{printable(code, 20)}' (_space_group_IT_coordinate_system_code) is none of "
            f"{', '.join(group.xhm() for group in groups)}. Correct one."
        )
    return narrowed or groups


def _number(text: str) -> int:
    """International number."""
    try:
        number = int(float(text))
    except (ValueError, OverflowError):
        number = 0
    if not 1 <= number <= 230:
        raise StructureError(f"the space-group number is '{printable(text, 40)}', expected 1 to 230.")
    return number


def _groups_numbered(number: int) -> list[gemmi.SpaceGroup]:
    """Conventional settings of a number: unique axis b, both origins, both kinds of axes."""
    of_number = [group for group in gemmi.spacegroup_table() if group.number == number]
    first = next(group for group in of_number if group.is_reference_setting())
    return [group for group in of_number if group.hm == first.hm]


def _groups_named(name: str) -> list[gemmi.SpaceGroup]:
    """Give the groups of the table that a Hermann-Mauguin symbol may mean."""
    compact, extension = _split(name)
    found = _by_name().get(compact) or _by_full_name().get(compact, [])
    if not extension:
        return found
    narrowed = [group for group in found if extension in _codes(group)]
    if narrowed or not any(group.ext.strip("\0 ") for group in found):
        return narrowed or found
    raise StructureError(
        f"the space group '{printable(name, 60)}' has no setting '{extension}'; known are "
        f"{', '.join(group.xhm() for group in found)}."
    )


def _split(name: str) -> tuple[str, str]:
    """Compact symbol and the setting behind it: ``"F d -3 m :2"``, ``"Fd-3mZ"`` and ``"F d -3 m O2"`` alike."""
    text = name.strip("'\" ").replace("_", "").replace("(", "").replace(")", "")
    text = re.sub(r"<su[bp]>|</su[bp]>|sub|sup|~", "", text)
    head, colon, tail = text.partition(":")
    if colon:
        return _compact(head), tail.strip().lower()
    match = re.fullmatch(r"(.*[\w/-])\s*(HR|RR|RS|O1|O2|[SZHR])", text)
    if match and _compact(match[1]) in _by_name():
        return _compact(match[1]), {"s": "1", "o1": "1", "z": "2", "o2": "2", "hr": "h", "rr": "r", "rs": "r"}.get(
            match[2].lower(), match[2].lower()
        )
    return _compact(text), ""


def _compact(name: str) -> str:
    """Symbol without spaces, lower case."""
    return re.sub(r"\s+", "", name).lower()


def _codes(group: gemmi.SpaceGroup) -> set[str]:
    """Words for a setting that may stand behind a symbol: origin, axes, cell choice."""
    extension, qualifier = group.ext.strip("\0 ").lower(), group.qualifier.strip("\0 ").lower()
    codes = {code for code in (extension, qualifier, extension + qualifier, qualifier + extension) if code}
    return codes | ({qualifier[0]} if re.fullmatch(r"[abc]1", qualifier) else set())


@cache
def _by_name() -> dict[str, list[gemmi.SpaceGroup]]:
    """Give the settings by compact symbol: full, short, and the old cubic ones without the bar."""
    found: dict[str, list[gemmi.SpaceGroup]] = {}
    for group in gemmi.spacegroup_table():
        names = {_compact(group.hm)}
        if group.short_name()[0] != "H":  # gemmi's word for R on hexagonal axes
            names.add(_compact(group.short_name()))
        if group.number in _CUBIC_WITH_INVERSION:
            names |= {name.replace("-3", "3") for name in names}
        for name in names:
            found.setdefault(name, []).append(group)
    return found


@cache
def _by_full_name() -> dict[str, list[gemmi.SpaceGroup]]:
    """Give the settings by their full symbol in spglib's words (``F 4/m -3 2/m``)."""
    found: dict[str, list[gemmi.SpaceGroup]] = {}
    with warnings.catch_warnings():  # spglib 2.7+ warns of its own change of convention
        warnings.simplefilter("ignore", DeprecationWarning)
        kinds = [spglib.get_spacegroup_type(hall_number) for hall_number in range(1, 531)]
    for kind in kinds:
        group = None if kind is None else gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(kind.hall_symbol))
        if kind is not None and group is not None:
            found.setdefault(_compact(kind.international_full.replace("_", "")), []).append(group)
    return found


def _setting(name: str, operations: Sequence[gemmi.Op], number: int) -> Setting:
    """Operations as arrays."""
    rotations = np.array([operation.rot for operation in operations], dtype=np.int64) // gemmi.Op.DEN
    translations = np.array([operation.tran for operation in operations], dtype=np.float64) / gemmi.Op.DEN
    return Setting(name, rotations, translations % 1.0, number)


def _fits(setting: Setting, cell: NDArray[np.float64]) -> bool:
    """Whether the operations leave the metric of a cell alone, to 2 %."""
    metric = cell @ cell.T
    scale = np.sqrt(np.outer(np.diag(metric), np.diag(metric)))
    turned = np.einsum("nji,jk,nkl->nil", setting.rotations, metric, setting.rotations)
    return bool((np.abs(turned - metric) / scale).max() < _METRIC_TOLERANCE)


def _same_group(first: Setting, second: Setting) -> bool:
    """Whether two settings hold the same operations."""
    if len(first.rotations) != len(second.rotations):
        return False
    return _keys(first) == _keys(second)


def _keys(setting: Setting) -> set[tuple[int, ...]]:
    """Operations as hashable rows, translations in 24ths."""
    shifts = np.round(setting.translations * gemmi.Op.DEN).astype(int) % gemmi.Op.DEN
    return {(*turn.ravel().tolist(), *shift.tolist()) for turn, shift in zip(setting.rotations, shifts, strict=True)}
