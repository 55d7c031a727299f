"""Names of columns: short ones for filters and JSON, full ones with temperature and unit for tables.

A filter, a gate and a JSON object say ``max_msd``; the heading of a CSV or Parquet column says
``max_msd_300k_angstrom2``, with the temperature that this run had. Both forms are understood where a column is asked
for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from screen_cli.store.run_directory import RunDirectory

Stage = Literal["harmonic", "conductivity", ""]


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
    """

    stem: str
    unit: str = ""
    stage: Stage = ""

    def full_name(self, temperatures: Mapping[str, float]) -> str:
        """Name with temperature, where it is known, and unit."""
        kelvin = temperatures.get(self.stage)
        return "_".join(part for part in (self.stem, "" if kelvin is None else f"{kelvin:g}k", self.unit) if part)


_QUANTITIES = {
    "a": Quantity("a", "angstrom"),
    "b": Quantity("b", "angstrom"),
    "c": Quantity("c", "angstrom"),
    "volume": Quantity("volume", "angstrom3"),
    "supercell_length": Quantity("supercell_length", "angstrom"),
    "distance": Quantity("displacement", "angstrom"),
    "energy_ev_per_atom": Quantity("energy", "ev_per_atom"),
    "fmax_final": Quantity("fmax_final", "ev_angstrom"),
    "force_rms": Quantity("force_rms", "ev_angstrom"),
    "residual_force_max": Quantity("residual_force_max", "ev_angstrom"),
    "force_deviation_max": Quantity("force_deviation_max", "ev_angstrom"),
    "cv_j_mol_k": Quantity("cv", "j_mol_k", "harmonic"),
    "cv_j_mol_k_atom": Quantity("cv_per_atom", "j_mol_k", "harmonic"),
    "max_msd": Quantity("max_msd", "angstrom2", "harmonic"),
    "rattler_ratio": Quantity("rattler_ratio", "", "harmonic"),
    "rattler_element": Quantity("rattler_element", "", "harmonic"),
    "p3": Quantity("p3", "ps_rad"),
    "gamma_mean": Quantity("gamma_mean_300k"),
    "gamma_mean_strain": Quantity("gamma_mean_300k_strain"),
    "seconds": Quantity("time", "s"),
}
_KAPPA = re.compile(r"(kappa_[a-z_]+?)(_[0-9.]+k)?_w_mk")
_EXPANSION = re.compile(r"(?:qha_)?alpha_(?:linear|a|b|c)_300k(?:_strain)?")


def quantity_of(name: str) -> Quantity:
    """What a column measures; a name that is not known stands for itself."""
    if name in _QUANTITIES:
        return _QUANTITIES[name]
    kappa = _KAPPA.fullmatch(name)
    if kappa:
        return Quantity(kappa[1], "w_mk", "conductivity")
    if _EXPANSION.fullmatch(name):
        return Quantity(name, "per_k")
    return Quantity(name)


def full_names(names: Iterable[str], temperatures: Mapping[str, float]) -> dict[str, str]:
    """Full name of each column, by its short one."""
    return {name: quantity_of(name).full_name(temperatures) for name in names}


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
    kappa = _KAPPA.fullmatch(name)
    if kappa:
        return f"{kappa[1]}_w_mk"
    for short, quantity in _QUANTITIES.items():
        kelvin = r"(?:_[0-9.]+k)?" if quantity.stage else ""
        unit = f"_{quantity.unit}" if quantity.unit else ""
        if re.fullmatch(f"{re.escape(quantity.stem)}{kelvin}{unit}", name):
            return short
    bare = name.removesuffix("_per_k")
    return bare if _EXPANSION.fullmatch(bare) else name


def in_short_names(expression: str) -> str:
    """Write an expression with short names, so that one copied from the heading of a table works."""
    return re.sub(r"[A-Za-z_][A-Za-z0-9_.]*", lambda word: short_name(word[0]), expression)
