"""Displaced supercells and forces from phonopy and phono3py YAML files, whatever calculator's units they are in."""

from __future__ import annotations

import logging
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import Bohr, Hartree, Rydberg

from sdnnff_calc.data.dft_outputs import OPENERS
from sdnnff_calc.errors import DataError, MissingExtraError, nearest_hint

__all__ = ["Units", "read_phonon_yaml", "units_of"]

_log = logging.getLogger(__name__)

_SETS = ("dataset", "displacement_pairs", "phonon_dataset", "displacements", "phonon_displacements")
"""Keys of the sets of displacements, in the order in which they are read."""
_KNOWN = (*_SETS, "displacement_pair_info")

_LENGTHS = {"angstrom": 1.0, "au": Bohr}
_ENERGIES = {"eV": 1.0, "Ry": Rydberg, "mRy": 1e-3 * Rydberg, "hartree": Hartree}
_FORCES = {"eV/angstrom": 1.0, **{f"{name}/au": value / Bohr for name, value in _ENERGIES.items()}}
_OF_CALCULATOR = {
    **dict.fromkeys(("qe", "qlm"), ("au", "Ry/au")),
    "wien2k": ("au", "mRy/au"),
    **dict.fromkeys(("abinit", "siesta", "abacus"), ("au", "eV/angstrom")),
    **dict.fromkeys(("elk", "exciting", "dftbp", "turbomole", "fleur", "octopus"), ("au", "hartree/au")),
    "cp2k": ("angstrom", "hartree/au"),
}
"""Units of length and force where they are not Å and eV/Å, as listed in phonopy.physical_units."""


@dataclass(frozen=True)
class Units:
    """What the numbers of a file are multiplied by.

    Attributes
    ----------
    length, force, energy
        Å, eV/Å and eV per unit of the file.
    """

    length: float
    force: float
    energy: float


def units_of(content: dict[str, Any], path: Path) -> Units:
    """Find the units of a file: its block ``physical_unit``, else those of the calculator it names, else Å and eV.

    Raises
    ------
    DataError
        For a unit that is not known.
    """
    header = content.get("phono3py") or content.get("phonopy") or {}
    calculator = header.get("calculator") if isinstance(header, dict) else None
    length, force = _OF_CALCULATOR.get(str(calculator).lower(), ("angstrom", "eV/angstrom"))
    stated = content.get("physical_unit") or {}
    length, force = str(stated.get("length", length)), str(stated.get("force", force))
    for name, table in ((length, _LENGTHS), (force, _FORCES)):
        if name not in table:
            raise DataError(f"{path}: unit '{name}' in physical_unit is not known. {nearest_hint(name, table)}")
    energy = "Ry" if force.startswith("mRy") else force.split("/")[0]
    return Units(_LENGTHS[length], _FORCES[force], _ENERGIES[energy])


def read_phonon_yaml(path: Path) -> Iterator[Atoms]:
    """Read the displaced supercells and forces of a phonopy or phono3py YAML file.

    One after another: the random displacements of fc3 or phonopy, the single displacements and pairs of fc3, the
    random displacements of fc2, the single displacements of phonopy or fc2.

    Yields
    ------
    Atoms
        With forces (eV/Å) and, where the file has them, energies (eV). Left out, with a warning: displacements
        without forces. Left out without: pairs beyond phono3py's cutoff, which are never calculated.

    Raises
    ------
    DataError
        For broken content and for a set in a layout that is not known; the message names file and supercell.
    """
    content = _load_yaml(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a phonopy or phono3py YAML file.")
    units = units_of(content, path)
    for key in content:
        if ("displacement" in str(key) or str(key).endswith("dataset")) and key not in _KNOWN:
            _log.warning("%s: '%s' is not a known set of displacements and is not read", path, key)
    count = 0
    for key, block, cell in _sets(content):
        if cell is None:
            raise DataError(f"{path} has displacements but no supercell; save it with the supercell included.")
        ideal = _ideal_supercell(cell, path, units)
        supercells = _parse_set(block, len(ideal), _cutoff(content), f"{path}, {key}")
        bare = sum(displaced is not None and displaced.forces is None for displaced in supercells)
        if bare:
            _log.warning(
                "%s, %s: left out %d of %d displaced supercells, which have no forces", path, key, bare, len(supercells)
            )
        for number, displaced in enumerate(supercells, start=1):
            if displaced is None or displaced.forces is None:
                continue
            atoms = _label(ideal, displaced, f"{path}, {key}, supercell {number}", units)
            atoms.info["origin"] = f"{path}@{count}"
            count += 1
            yield atoms
    if count == 0:
        raise DataError(f"{path} holds no displacement–force set. Save it with forces included.")


def _load_yaml(path: Path) -> Any:
    """Parse YAML, compressed or not, with the C parser when there is one."""
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("reading phonopy YAML needs PyYAML: pip install 'sdnnff-calc[phonopy]'.") from error
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    opener = OPENERS.get(path.suffix, open)
    try:
        with opener(path, "rt", encoding="utf-8") as stream:
            return yaml.load(stream, Loader=loader)
    except (yaml.YAMLError, OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as YAML ({error}).") from error


@dataclass(frozen=True)
class _Displaced:
    """A displaced supercell in the units of the file; ``forces`` is None where it was not calculated."""

    displacements: Any
    forces: Any
    energy: float | None


def _sets(content: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Find the sets of displacements: key, content and the supercell that they displace, None if not in the file."""
    fc3_cell = content.get("supercell")
    fc2_cell = content.get("phonon_supercell") or (None if "phonon_supercell_matrix" in content else fc3_cell)
    for key in _SETS:
        block = content.get(key)
        if not block:
            continue
        of_fc2 = key.startswith("phonon_")
        if key.endswith("displacements") and isinstance(block, list):
            if isinstance(block[0], dict):  # phono3py before 2.2 wrote fc2 under the key of phonopy
                of_fc2 = of_fc2 or not {"phonon_displacements", "phonon_dataset"} & content.keys()
            else:  # phonopy before 2.24 wrote random displacements here
                prefix = key.removesuffix("displacements")
                rest = {name: content.get(prefix + name) for name in ("forces", "supercell_energies")}
                block = {"displacements": block, **rest}
        yield key, block, fc2_cell if of_fc2 else fc3_cell


def _cutoff(content: dict[str, Any]) -> float | None:
    """Distance from which phono3py left pairs out, in the unit of the file; None: all pairs are in."""
    cutoff = (content.get("displacement_pair_info") or {}).get("cutoff_pair_distance")
    return None if cutoff is None else float(cutoff)


def _ideal_supercell(cell: Any, path: Path, units: Units) -> Atoms:
    """Build the supercell before displacement."""
    try:
        points = cell["points"]
        if any("mixture" in point or "weight" in point for point in points):
            raise DataError(f"{path}: its supercell has sites shared by elements, which no force field here can take.")
        return Atoms(
            symbols=[point["symbol"] for point in points],
            scaled_positions=[point["coordinates"] for point in points],
            cell=units.length * np.array(cell["lattice"], dtype=float),
            pbc=True,
        )
    except DataError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: its supercell cannot be read ({type(error).__name__}: {error}).") from error


def _parse_set(block: Any, n_atoms: int, cutoff: float | None, where: str) -> list[_Displaced | None]:
    """Read a set in any of the layouts of phonopy and phono3py, in their order of supercells; None: left out."""
    try:
        if isinstance(block, dict):
            return _all_atoms_displaced(block, where)
        return _one_or_two_atoms_displaced(block, n_atoms, cutoff)
    except DataError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{where}: this layout of displacements and forces is not known ({type(error).__name__}: {error}). "
            "Load the file in phonopy or phono3py and save it anew."
        ) from error


def _all_atoms_displaced(block: dict[str, Any], where: str) -> list[_Displaced | None]:
    """Read a type-2 set: every atom is displaced."""
    displacements, forces = block["displacements"], block.get("forces")
    if isinstance(displacements[0][0], dict):  # phonopy before 2.24: atom by atom
        if "force" in displacements[0][0]:
            forces = [[atom["force"] for atom in supercell] for supercell in displacements]
        displacements = [[atom["displacement"] for atom in supercell] for supercell in displacements]
    n_sets = len(displacements)
    forces = [None] * n_sets if forces is None else forces
    energies = block.get("supercell_energies") or [None] * n_sets
    for name, found in (("force sets", forces), ("energies", energies)):
        if len(found) != n_sets:
            raise DataError(
                f"{where}: {n_sets} displaced supercells but {len(found)} {name}. Collect those of all supercells."
            )
    return [_Displaced(u, f, e) for u, f, e in zip(displacements, forces, energies, strict=True)]


def _one_or_two_atoms_displaced(entries: Any, n_atoms: int, cutoff: float | None) -> list[_Displaced | None]:
    """Read a type-1 set: all supercells with one displaced atom, then, for fc3, all with a second one."""
    singles: list[_Displaced | None] = []
    pairs: list[_Displaced | None] = []
    for entry in entries:
        first = np.zeros((n_atoms, 3))
        first[_index(entry, n_atoms)] = entry["displacement"]
        singles.append(_Displaced(first, entry.get("forces"), entry.get("supercell_energy")))
        for pair in entry.get("paired_with") or entry.get("second_atoms") or ():
            # several displacements of the second atom in one entry: phono3py writes so without forces
            several = "displacements" in pair
            for displacement in pair["displacements"] if several else [pair["displacement"]]:
                if _is_excluded(pair, cutoff):
                    pairs.append(None)
                    continue
                both = first.copy()
                both[_index(pair, n_atoms)] += displacement  # it can be the first atom once more
                pairs.append(_Displaced(both, None if several else pair.get("forces"), pair.get("supercell_energy")))
    return singles + pairs


def _index(entry: dict[str, Any], n_atoms: int) -> int:
    """Index from 0 of the displaced atom, which the file counts from 1."""
    if not 1 <= entry["atom"] <= n_atoms:
        raise ValueError(f"atom {entry['atom']} of {n_atoms} is displaced")
    return int(entry["atom"]) - 1


def _is_excluded(pair: dict[str, Any], cutoff: float | None) -> bool:
    """Tell a pair beyond the cutoff, never calculated.

    Next to forces phono3py drops its mark ``included: false`` and writes zeros as forces.
    """
    if pair.get("included") is False:
        return True
    if cutoff is None or pair.get("forces") is None or np.asarray(pair["forces"], dtype=float).any():
        return False
    return float(pair.get("pair_distance", np.inf)) > cutoff - 1e-6  # both are written with 8 digits


def _label(ideal: Atoms, displaced: _Displaced, origin: str, units: Units) -> Atoms:
    """Make one labelled supercell, its shapes checked and its units converted."""
    arrays = []
    for name, values in (("displacements", displaced.displacements), ("forces", displaced.forces)):
        try:
            array = np.asarray(values, dtype=float)
        except (TypeError, ValueError) as error:
            raise DataError(f"{origin}: {name} are not an array of numbers ({error}).") from error
        if array.shape != (len(ideal), 3):
            raise DataError(
                f"{origin}: {name} have shape {array.shape}, expected {(len(ideal), 3)}. Rebuild the set "
                "from the YAML file that made these supercells."
            )
        arrays.append(array)
    atoms = ideal.copy()
    atoms.positions += units.length * arrays[0]
    results: dict[str, Any] = {"forces": units.force * arrays[1]}
    if displaced.energy is not None:
        results["energy"] = units.energy * float(displaced.energy)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
