"""Displaced supercells and forces from phonopy and phono3py YAML files, whatever calculator's units they are in."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import Bohr, Hartree, Rydberg

from sdnnff_calc.dft_outputs import OPENERS
from sdnnff_calc.errors import DataError, MissingExtraError, nearest_hint

__all__ = ["Units", "read_phonon_yaml", "units_of"]

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

    Yields
    ------
    Atoms
        With forces (eV/Å) and, where the file has them, energies (eV).

    Raises
    ------
    DataError
        For broken content; the message names file and supercell.
    """
    content = _load_yaml(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a phonopy or phono3py YAML file.")
    units = units_of(content, path)
    count = 0
    phonon_cell = content.get("phonon_supercell") or content.get("supercell")
    for dataset, cell in (
        (content.get("dataset"), content.get("supercell")),
        (content.get("phonon_dataset"), phonon_cell),
        (content if "displacements" in content else None, content.get("supercell")),
    ):
        if dataset is None:
            continue
        if cell is None:
            raise DataError(f"{path} has displacements but no supercell; save it with the supercell included.")
        for atoms in _supercells(dataset, cell, path, units):
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


def _supercells(dataset: Any, cell: dict[str, Any], path: Path, units: Units) -> Iterator[Atoms]:
    """Displace a supercell by each set of a type-1 (one atom) or type-2 (all atoms) dataset."""
    ideal = Atoms(
        symbols=[point["symbol"] for point in cell["points"]],
        scaled_positions=[point["coordinates"] for point in cell["points"]],
        cell=units.length * np.array(cell["lattice"], dtype=float),
        pbc=True,
    )
    if isinstance(dataset, dict) and isinstance(dataset.get("displacements"), list) and "forces" in dataset:
        energies = dataset.get("supercell_energies") or [None] * len(dataset["displacements"])
        if len(dataset["forces"]) != len(dataset["displacements"]):
            raise DataError(
                f"{path}: {len(dataset['displacements'])} displaced supercells but "
                f"{len(dataset['forces'])} force sets. Collect the forces of all supercells."
            )
        for index, (u, f) in enumerate(zip(dataset["displacements"], dataset["forces"], strict=True)):
            yield _displaced(ideal, u, f, energies[index], f"{path}@{index}", units)
        return
    entries = dataset if isinstance(dataset, list) else dataset.get("first_atoms") or dataset.get("displacements") or []
    for index, entry in enumerate(entries):
        if "forces" not in entry:
            continue
        u = np.zeros((len(ideal), 3))
        u[int(entry.get("atom", entry.get("number", 1))) - 1] = entry["displacement"]
        yield _displaced(ideal, u, entry["forces"], entry.get("supercell_energy"), f"{path}@{index}", units)


def _displaced(ideal: Atoms, displacements: Any, forces: Any, energy: float | None, origin: str, units: Units) -> Atoms:
    """Make one labelled supercell, its shapes checked and its units converted."""
    u, f = np.asarray(displacements, dtype=float), np.asarray(forces, dtype=float)
    for name, array in (("displacements", u), ("forces", f)):
        if array.shape != (len(ideal), 3):
            raise DataError(
                f"{origin}: {name} have shape {array.shape}, expected {(len(ideal), 3)}. Rebuild the set "
                "from the YAML file that made these supercells."
            )
    atoms = ideal.copy()
    atoms.positions += units.length * u
    results: dict[str, Any] = {"forces": units.force * f}
    if energy is not None:
        results["energy"] = units.energy * float(energy)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
