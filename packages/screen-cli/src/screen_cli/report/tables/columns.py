"""Names of columns: short ones in filters, full ones with temperature and unit in everything that is written.

A filter and a gate may say ``max_msd``; the heading of a CSV or Parquet column says ``max_msd_300k_angstrom2``, with
the temperature that this run had. The key of a JSON object or of ``info`` says ``max_msd_angstrom2``, since the
temperatures stand beside it: ``harmonic_temperature_k`` and ``kappa_temperature_k``. Every form is understood where a
column is asked for.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from screen_cli.store.row import Row
    from screen_cli.store.run_directory import RunDirectory

Stage = Literal["harmonic", "conductivity", ""]

UNITS = {
    "angstrom": "Å",
    "angstrom2": "Å²",
    "angstrom3": "Å³",
    "ev_angstrom": "eV/Å",
    "ev_per_atom": "eV/atom",
    "j_mol_k": "J mol⁻¹ K⁻¹",
    "per_k": "K⁻¹",
    "ps_rad": "ps rad⁻¹",
    "s": "s",
    "thz": "THz",
    "w_mk": "W m⁻¹ K⁻¹",
}
"""Units of headings, as they are printed."""

_IN_THE_NAME = {"_thz": "THz", "_m_s": "m/s", "temperature_k": "K"}


@dataclass(frozen=True)
class Quantity:
    """What a column measures.

    Parameters
    ----------
    stem : str
        Its name without temperature and unit.
    unit : str
        As it stands in a name: ``w_mk``, ``angstrom2``; empty where the name says it or there is none.
    stage : {"harmonic", "conductivity", ""}
        Whose temperature it is at; empty where it depends on none.
    meaning : str
        In words; empty for columns that are not known.
    """

    stem: str
    unit: str = ""
    stage: Stage = ""
    meaning: str = ""

    def full_name(self, temperatures: Mapping[str, float]) -> str:
        """Name with temperature, where it is known, and unit."""
        kelvin = temperatures.get(self.stage)
        return "_".join(part for part in (self.stem, "" if kelvin is None else f"{kelvin:g}k", self.unit) if part)

    @property
    def symbol(self) -> str:
        """Unit as it is printed, ``W m⁻¹ K⁻¹``; empty where there is none."""
        if self.unit:
            return UNITS[self.unit]
        return next((text for ending, text in _IN_THE_NAME.items() if self.stem.endswith(ending)), "")

    @property
    def is_yes_or_no(self) -> bool:
        """Whether its values are true and false."""
        return self.meaning.startswith("whether ")


@functools.cache
def known_quantities() -> dict[str, Quantity]:
    """Columns of the stages and of the built-in properties, by short name (``columns.toml``)."""
    text = files("screen_cli.report.tables").joinpath("columns.toml").read_text(encoding="utf-8")
    return {
        name: Quantity(entry.get("stem", name), entry.get("unit", ""), entry.get("temperature", ""), entry["meaning"])
        for name, entry in tomllib.loads(text).items()
    }


_WARM = re.compile(
    r"(?P<front>(?:renormalise|harmonic|gate|conductivity|cell)_(?P<kelvin>[0-9]+)k_(?:fc3_0k_)?)(?P<column>.+)"
)
"""Columns of the stages at a temperature: the name of the stage, then the column's own."""
_HARMONIC_FIRST = re.compile(r"(?P<front>harmonic_(?:displace|forces|force_constants)_)(?P<column>.+)")
"""Columns of the stages of fc2 alone, before the gate."""
_KAPPA = re.compile(r"(kappa_[a-z_]+?)(_[0-9.]+k)?_w_mk")


def quantity_of(name: str) -> Quantity:
    """Give what a column measures; a name that is not known stands for itself."""
    known = known_quantities()
    if name in known:
        return known[name]
    warm = _WARM.fullmatch(name)
    if warm and warm["column"] in known:
        plain = known[warm["column"]]
        return Quantity(f"{warm['front']}{plain.stem}", plain.unit, "", f"{plain.meaning}, at {warm['kelvin']} K")
    first = _HARMONIC_FIRST.fullmatch(name)
    if first and first["column"] in known:
        plain = known[first["column"]]
        return Quantity(f"{first['front']}{plain.stem}", plain.unit, "", f"{plain.meaning}, for fc2 before the gate")
    kappa = _KAPPA.fullmatch(name)
    if kappa and not warm:
        return Quantity(kappa[1], "w_mk", "conductivity")
    return Quantity(name)


def full_names(names: Iterable[str], temperatures: Mapping[str, float]) -> dict[str, str]:
    """Full name of each column, by its short one."""
    return {name: quantity_of(name).full_name(temperatures) for name in names}


def keyed(row: Row, temperatures: Mapping[str, float]) -> Row:
    """Name the values of a row by what they are and their unit, their temperatures beside them, for JSON and ``info``.

    Parameters
    ----------
    row : mapping
        Values by short name.
    temperatures : mapping of str to float
        K, by stage, as :func:`temperatures_of` gives them.
    """
    keys = full_names(row, {})
    found = {key: row[name] for name, key in keys.items()}
    kelvin = temperatures.get("harmonic")
    return found if kelvin is None else {**found, "harmonic_temperature_k": kelvin}


def temperatures_of(run: RunDirectory) -> dict[str, float]:
    """Temperatures (K) of the columns of a run, by stage: the first of the harmonic settings, and that of κ."""
    found = {"harmonic": float(run.settings.harmonic.temperatures[0])}
    index = run.index(read_only=True)
    try:
        if "kappa_temperature_k" in index.columns:
            for row in index.rows("kappa_temperature_k > 0", limit=1):
                found["conductivity"] = float(row["kappa_temperature_k"] or 0.0)
    finally:
        index.close()
    return found


def short_name(name: str) -> str:
    """Return the short name of a full one, whatever its temperature; other names are returned as they are."""
    if warm := _WARM.fullmatch(name):
        return f"{warm['front']}{short_name(warm['column'])}"
    if first := _HARMONIC_FIRST.fullmatch(name):
        return f"{first['front']}{short_name(first['column'])}"
    kappa = _KAPPA.fullmatch(name)
    if kappa:
        return f"{kappa[1]}_w_mk"
    for short, quantity in known_quantities().items():
        kelvin = r"(?:_[0-9.]+k)?" if quantity.stage else ""
        unit = f"_{quantity.unit}" if quantity.unit else ""
        if re.fullmatch(f"{re.escape(quantity.stem)}{kelvin}{unit}", name):
            return short
    return name


def in_short_names(expression: str) -> str:
    """Write an expression with short names, so that one copied from the heading of a table works."""
    return re.sub(r"[A-Za-z_][A-Za-z0-9_.]*", lambda word: short_name(word[0]), expression)


def reference_table() -> str:
    """Markdown table of every known column: short name, full name at 300 K, meaning."""
    lines = ["| name in filters | written as, at 300 K | meaning |", "|---|---|---|"]
    at_room = {"harmonic": 300.0, "conductivity": 300.0}
    for name, quantity in known_quantities().items():
        heading = quantity.full_name(at_room)
        lines.append(f"| `{name}` | {'' if heading == name else f'`{heading}`'} | {quantity.meaning} |")
    return "\n".join(lines) + "\n"
