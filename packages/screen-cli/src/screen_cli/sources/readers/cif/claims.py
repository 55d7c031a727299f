"""What a CIF claims of its crystal, and whether it holds: formula, Z, density, multiplicities, distances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gemmi
import numpy as np
from ase import Atoms
from ase.units import _amu

from screen_cli.crystal.masses import HYDROGEN_ISOTOPES
from screen_cli.errors import StructureError
from screen_cli.sources.readers.cif.elements import formula_of
from screen_cli.sources.readers.cif.expand import Expansion
from screen_cli.sources.readers.cif.sites import Site

_DENSITY = 0.05  # relative
_MEASURED = 0.15  # relative, of a density that was weighed
_WEIGHT = 0.02  # relative
_VOLUME = 0.02  # relative
_BOND = 0.1  # Å
_MAX_BONDS = 50


@dataclass(frozen=True)
class Claims:
    """Statements of a CIF that symmetry, cell and sites must reproduce.

    Parameters
    ----------
    formula : dict
        Symbol to amount; empty: not claimed.
    formula_units : float
        Z; 0: not claimed.
    density, measured_density : float
        Of the diffraction cell and as weighed, g/cm³; 0: not claimed.
    weight : float
        Of a formula unit, u; 0: not claimed.
    volume : float
        Å³; 0: not claimed.
    bonds : tuple of (str, str, float)
        Labels and distance, Å.
    """

    formula: Mapping[str, float]
    formula_units: float
    density: float
    measured_density: float
    weight: float
    volume: float
    bonds: tuple[tuple[str, str, float], ...]

    @property
    def decide(self) -> bool:
        """Whether anything is claimed that depends on the symmetry."""
        counted = self.formula_units and (self.formula or self.weight)
        return bool(counted or self.density or self.measured_density or self.bonds)


def claims_of(block: gemmi.cif.Block) -> Claims:
    """Read the claims of a block; what is no number claims nothing."""
    bonds: list[tuple[str, str, float]] = []
    table = block.find("_geom_bond_", ["atom_site_label_1", "atom_site_label_2", "distance"])
    for row in table:
        distance = gemmi.cif.as_number(row[2])
        if 0.3 < distance < 10 and len(bonds) < _MAX_BONDS:
            bonds.append((gemmi.cif.as_string(row[0]), gemmi.cif.as_string(row[1]), float(distance)))
    return Claims(
        formula_of(block),
        _positive(block, "_cell_formula_units_Z"),
        _positive(block, "_exptl_crystal_density_diffrn"),
        _positive(block, "_exptl_crystal_density_meas"),
        _positive(block, "_chemical_formula_weight"),
        _positive(block, "_cell_volume"),
        tuple(bonds),
    )


def check_claims(claims: Claims, expansion: Expansion, sites: Sequence[Site]) -> None:
    """Compare a cell with what its file claims.

    Raises
    ------
    StructureError
        The first claim that does not hold, with both values.
    """
    name = expansion.setting.name
    found = Counter(sites[owner].symbol for owner in expansion.owners.tolist())
    if claims.formula:
        _check_formula(claims, found, name)
    atoms = expansion.atoms
    for index, site in enumerate(sites):
        count = int(np.count_nonzero(expansion.owners == index))
        if site.multiplicity and site.multiplicity != count:
            raise StructureError(
                f"site {site.label} comes {count} times in the cell with the symmetry of {name}, the file declares a "
                f"multiplicity of {site.multiplicity}. Check the setting or origin of the space group."
            )
    if claims.volume and abs(atoms.cell.volume / claims.volume - 1) > _VOLUME:
        raise StructureError(
            f"the cell has {atoms.cell.volume:.4g} Å³, the file declares {claims.volume:.4g} (_cell_volume). Check "
            "edges and angles."
        )
    _check_mass(claims, atoms, found, name)
    _check_bonds(claims, expansion, sites)


def _check_mass(claims: Claims, atoms: Atoms, found: Counter[str], name: str) -> None:
    """Compare density, and weight and number of formula units."""
    mass = float(atoms.get_masses().sum())
    density = mass * _amu * 1e3 / (atoms.cell.volume * 1e-24)
    for declared, tolerance in ((claims.density, _DENSITY), (claims.measured_density, _MEASURED)):
        if declared and abs(density / declared - 1) > tolerance:
            raise StructureError(
                f"the density is {density:.3f} g/cm³ with the symmetry of {name}, the file declares {declared:.3f}. "
                "Check the setting or origin of the space group, and for missing atoms."
            )
    units = claims.formula_units
    if claims.weight and units and abs(mass / (claims.weight * units) - 1) > _WEIGHT:
        raise StructureError(
            f"the atoms of the cell weigh {mass:.5g} u with the symmetry of {name}, the file declares {units:g} "
            f"formula units of {claims.weight:g} u. Check the setting or origin, and for missing atoms."
        )
    uneven = [f"{symbol}{count}" for symbol, count in sorted(found.items()) if units and count % units]
    if uneven and not claims.formula:
        raise StructureError(
            f"the cell holds {' '.join(uneven)} with the symmetry of {name}, no multiple of the declared Z = "
            f"{units:g}. Check the setting or origin of the space group."
        )


def _check_formula(claims: Claims, found: Counter[str], name: str) -> None:
    """Compare composition and number of formula units."""
    wanted = dict(claims.formula)
    if not any(symbol in found for symbol in HYDROGEN_ISOTOPES):
        marked = sorted(set(wanted) & set(HYDROGEN_ISOTOPES))
        if marked and "H" in found:
            raise StructureError(
                f"the formula names the isotope {marked[0]}, but the sites hold H. Say which in _atom_site_type_symbol."
            )
    elif not any(symbol in wanted for symbol in HYDROGEN_ISOTOPES):
        heavy = sum(found.pop(symbol, 0) for symbol in HYDROGEN_ISOTOPES)  # the formula counts isotopes as H
        found["H"] += heavy
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise StructureError(
            f"the formula names {_written(wanted)}, but no site holds {', '.join(missing)}: atoms are missing "
            f"(sites: {_written(found)}). Add them, or correct _chemical_formula_sum."
        )
    extra = sorted(set(found) - set(wanted))
    if extra:
        raise StructureError(
            f"sites hold {', '.join(extra)}, which the formula {_written(wanted)} does not name. Check labels and type "
            "symbols, or correct _chemical_formula_sum."
        )
    ratios = {symbol: found[symbol] / wanted[symbol] for symbol in wanted}
    units = sum(ratios.values()) / len(ratios)
    if any(abs(ratio / units - 1) > 1e-2 for ratio in ratios.values()):
        raise StructureError(
            f"the cell holds {_written(found)} with the symmetry of {name}, not a multiple of the formula "
            f"{_written(wanted)}. Check the setting or origin of the space group, and for missing atoms."
        )
    if claims.formula_units and abs(units - claims.formula_units) > 0.01 * units:
        raise StructureError(
            f"the cell holds {units:g} formula units of {_written(wanted)} with the symmetry of {name}, the file "
            f"declares Z = {claims.formula_units:g}. Check the setting or origin of the space group."
        )


def _check_bonds(claims: Claims, expansion: Expansion, sites: Sequence[Site]) -> None:
    """Compare the claimed distances with those between all images of the two sites."""
    if not claims.bonds:
        return
    from ase.neighborlist import neighbor_list

    longest = max(distance for _, _, distance in claims.bonds)
    first, second, distances = neighbor_list("ijd", expansion.atoms, longest + _BOND)
    labels = np.array([sites[owner].label for owner in expansion.owners.tolist()])
    known = set(labels.tolist())
    for one, other, distance in claims.bonds:
        if one in known and other in known:
            pairs = distances[(labels[first] == one) & (labels[second] == other)]
            if not (np.abs(pairs - distance) < _BOND).any():
                nearest = f"{pairs.min():.3f} Å" if len(pairs) else "further"
                raise StructureError(
                    f"{one} and {other} are {nearest} apart with the symmetry of {expansion.setting.name}, the file "
                    f"declares a distance of {distance:.3f} Å. Check the setting or origin of the space group."
                )


def _positive(block: gemmi.cif.Block, tag: str) -> float:
    """Give a positive number of a block, or 0."""
    text = block.find_value(tag)
    value = gemmi.cif.as_number(gemmi.cif.as_string(text)) if text else 0.0
    return float(value) if np.isfinite(value) and value > 0 else 0.0


def _written(composition: Mapping[str, float]) -> str:
    """Composition as text, by symbol."""
    return " ".join(f"{symbol}{amount:g}" for symbol, amount in sorted(composition.items()))
