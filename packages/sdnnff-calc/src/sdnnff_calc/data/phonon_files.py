"""Displaced supercells and forces from phonopy and phono3py YAML files, whatever calculator's units they are in.

The YAML is parsed by a safe loader, which runs no code; phonopy's and phono3py's own readers then take the data, and
their own table gives the units.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray

from sdnnff_calc.data.compressed import DAMAGED, open_text
from sdnnff_calc.errors import DataError, MissingExtraError, nearest_hint

if TYPE_CHECKING:
    from phonopy.structure.atoms import PhonopyAtoms

__all__ = ["Units", "load_yaml", "read_phonon_yaml", "units_of"]

_log = logging.getLogger(__name__)

_FC3, _FC2 = ("displacement_pairs", "dataset", "displacements"), ("phonon_dataset", "phonon_displacements")
"""Keys of the sets of displacements."""
_KNOWN = (*_FC3, *_FC2, "displacement_pair_info")
_ANCHOR = re.compile(r"(?:^|[\s\[{,:-])[&*][A-Za-z0-9_]", re.MULTILINE)
_NO_PHONOPY = "phonopy and phono3py files are read by these packages: pip install 'sdnnff-calc[phonopy]'."


class Units(Protocol):
    """What the numbers of a file are multiplied by to be in Å, eV/Å and eV, as phonopy tabulates it."""

    @property
    def distance_to_A(self) -> float:
        """Å per unit of length."""

    @property
    def force_to_eVperA(self) -> float:
        """eV/Å per unit of force."""

    @property
    def energy_to_eV(self) -> float:
        """Unit of energy, eV."""


def units_of(calculator: str | None, where: Path) -> Units:
    """Look up the units of a calculator in phonopy's table; None: those of VASP, Å and eV.

    Raises
    ------
    DataError
        For a calculator that phonopy does not know.
    MissingExtraError
        Without phonopy.
    """
    try:
        from phonopy.interface.calculator import calculator_info
        from phonopy.physical_units import get_calculator_physical_units
    except ImportError as error:
        raise MissingExtraError(_NO_PHONOPY) from error
    name = None if calculator is None else str(calculator).lower()
    if name is not None and name not in calculator_info:
        raise DataError(f"{where}: phonopy knows no calculator '{calculator}'. {nearest_hint(name, calculator_info)}")
    units: Units = get_calculator_physical_units(name)
    return units


@dataclass(frozen=True)
class _Displaced:
    """A displaced supercell in the units of the file; ``forces`` is None where it was not calculated."""

    displacements: NDArray[np.float64]
    forces: NDArray[np.float64] | None
    energy: float | None


@dataclass(frozen=True)
class _Set:
    """Displaced supercells of one cell; None stands for pairs beyond phono3py's cutoff, never calculated."""

    key: str
    cell: PhonopyAtoms | None
    supercells: Sequence[_Displaced | None]


def read_phonon_yaml(path: Path) -> Iterator[Atoms]:
    """Read the displaced supercells and forces of a phonopy or phono3py YAML file.

    One after another: the displacements of fc3 or phonopy (single ones before pairs), then those of fc2.

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
    content = load_yaml(path)
    for key in content:
        if ("displacement" in str(key) or str(key).endswith("dataset")) and key not in _KNOWN:
            _log.warning("%s: '%s' is not a known set of displacements and is not read", path, key)
    units, sets = _parse(content, path)
    count = 0
    for found in sets:
        if found.cell is None:
            raise DataError(f"{path} has displacements but no supercell; save it with the supercell included.")
        if found.cell.has_weighted_species:
            raise DataError(f"{path}: its supercell has sites shared by elements, which no force field here can take.")
        if not abs(np.linalg.det(found.cell.cell)) > 0:
            raise DataError(f"{path}: the three vectors of its supercell span no volume. Correct its lattice.")
        ideal = Atoms(
            numbers=found.cell.numbers,
            scaled_positions=found.cell.scaled_positions,
            cell=units.distance_to_A * found.cell.cell,
            pbc=True,
        )
        bare = sum(displaced is not None and displaced.forces is None for displaced in found.supercells)
        if bare:
            _log.warning(
                "%s, %s: left out %d of %d displaced supercells, which have no forces",
                path, found.key, bare, len(found.supercells),
            )  # fmt: skip
        for number, displaced in enumerate(found.supercells, start=1):
            if displaced is None or displaced.forces is None:
                continue
            atoms = _label(ideal, displaced, f"{path}, {found.key}, supercell {number}", units)
            atoms.info["origin"] = f"{path}@{count}"
            count += 1
            yield atoms
    if count == 0:
        raise DataError(f"{path} holds no displacement–force set. Save it with forces included.")


def load_yaml(path: Path) -> dict[str, object]:
    """Parse a YAML file, compressed or not, with the safe loader, in C where there is one.

    Raises
    ------
    DataError
        For anything but plain data in a table.
    MissingExtraError
        Without PyYAML.
    """
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError(_NO_PHONOPY) from error
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        with open_text(path) as stream:
            text = stream.read()
        if _ANCHOR.search(text) and any(
            isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None)
            for event in yaml.parse(text, Loader=loader)
        ):
            raise DataError(
                f"{path} repeats itself by anchors, which no file of phonopy or phono3py does and which can make a "
                "small file a huge one. Write it with phonopy or phono3py."
            )
        content = yaml.load(text, Loader=loader)
    except yaml.constructor.ConstructorError as error:
        raise DataError(f"{path} holds a tag that is not plain data, and is not read ({error}).") from error
    except (yaml.YAMLError, RecursionError, *DAMAGED) as error:
        raise DataError(f"{path} cannot be read as YAML ({error}).") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a phonopy or phono3py YAML file.")
    return content


def _parse(content: dict[str, object], path: Path) -> tuple[Units, list[_Set]]:
    """Let phonopy's or phono3py's reader parse a file; give its units and its sets of displacements."""
    try:
        from phonopy.interface.phonopy_yaml import PhonopyYamlLoader
    except ImportError as error:
        raise MissingExtraError(_NO_PHONOPY) from error
    of_phono3py = "phono3py" in content or any(key in content for key in ("displacement_pairs", *_FC2))
    content = _in_todays_layout(content)
    keys = "/".join(key for key in (*_FC3, *_FC2) if content.get(key))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            if of_phono3py:
                from phono3py.interface.phono3py_yaml import Phono3pyYamlLoader

                data = Phono3pyYamlLoader(content).parse().data
            else:
                data = PhonopyYamlLoader(content).parse().data
        sets = []
        if data.dataset is not None:
            n_atoms = None if data.supercell is None else len(data.supercell)
            sets.append(_Set(keys.split("/")[0], data.supercell, list(_displaced(data.dataset, n_atoms, content))))
        if of_phono3py and data.phonon_dataset is not None:
            own = "phonon_supercell_matrix" in content
            cell = data.phonon_supercell if own else data.supercell
            n_atoms = None if cell is None else len(cell)
            sets.append(_Set(keys.split("/")[-1], cell, list(_displaced(data.phonon_dataset, n_atoms, {}))))
    except ImportError as error:
        raise MissingExtraError(_NO_PHONOPY) from error
    except DataError as error:
        raise DataError(f"{path}, {error}") from error
    except Exception as error:  # the readers check little and raise many kinds
        raise DataError(
            f"{path}, {keys or 'cells'}: phonopy and phono3py do not read this layout or these units "
            f"({type(error).__name__}: {' '.join(str(error).split())}). Save it anew with the program that wrote it."
        ) from error
    return units_of(data.calculator, path), sets


def _in_todays_layout(content: dict[str, object]) -> dict[str, object]:
    """Put the single displacements of fc2 where phono3py ≥ 2.2 has them; empty sets go."""
    kept = {key: value for key, value in content.items() if value or key not in _KNOWN}
    singles = kept.get("displacements")
    if isinstance(singles, list) and isinstance(singles[0], dict) and "displacement_pairs" in kept:
        if {"phonon_displacements", "phonon_dataset"} & kept.keys():
            raise DataError(
                "two sets of single displacements of fc2: 'displacements' and that of the phonon supercell."
            )
        kept["phonon_displacements"] = kept.pop("displacements")
    return kept


def _displaced(dataset: Mapping[str, Any], n_atoms: int | None, content: dict[str, Any]) -> Iterator[_Displaced | None]:
    """Go through a set as phonopy's and phono3py's readers give it, in their order of supercells."""
    if "first_atoms" not in dataset:
        yield from _all_atoms_displaced(dataset)
        return
    firsts: list[dict[str, Any]] = dataset["first_atoms"]
    if n_atoms is None:
        yield from (_Displaced(np.zeros((0, 3)), None, None) for _ in firsts)
        return
    singles = []
    for first in firsts:
        moved = np.zeros((n_atoms, 3))
        moved[_index(first, n_atoms)] = first["displacement"]
        singles.append(moved)
        yield _Displaced(moved, first.get("forces"), first.get("supercell_energy"))
    excluded = _excluded(content)
    for first, moved in zip(firsts, singles, strict=True):
        for second in first.get("second_atoms", ()):
            if excluded(second):
                yield None
                continue
            both = moved.copy()
            both[_index(second, n_atoms)] += second["displacement"]  # it can be the first atom once more
            yield _Displaced(both, second.get("forces"), second.get("supercell_energy"))


def _all_atoms_displaced(dataset: Mapping[str, Any]) -> Iterator[_Displaced]:
    """Go through a set in which every atom is displaced."""
    displacements: NDArray[np.float64] = dataset["displacements"]
    n_sets = len(displacements)
    columns: list[Iterable[Any]] = []
    for key, name in (("forces", "force sets"), ("supercell_energies", "energies")):
        found = dataset.get(key)
        if found is not None and len(found) != n_sets:
            raise DataError(
                f"dataset: {n_sets} displaced supercells but {len(found)} {name}. Collect those of all supercells."
            )
        columns.append([None] * n_sets if found is None else found)
    for u, forces, energy in zip(displacements, *columns, strict=True):
        yield _Displaced(u, forces, energy)


def _index(entry: Mapping[str, Any], n_atoms: int) -> int:
    """Index of the displaced atom, from 0."""
    number = int(entry["number"])
    if not 0 <= number < n_atoms:
        raise DataError(f"displacements: atom {number + 1} of {n_atoms} is displaced.")
    return number


def _excluded(content: dict[str, Any]) -> Callable[[Mapping[str, Any]], bool]:
    """Tell pairs beyond phono3py's cutoff, never calculated.

    They are marked ``included: false``, in some layouts only in the file; next to forces phono3py drops its mark and
    writes zeros as forces.
    """
    pairs: list[dict[str, Any]] = content.get("displacement_pairs", [])
    marks: list[bool] = []
    for first in pairs:
        for second in first.get("paired_with") or first.get("second_atoms") or ():
            marks += [second.get("included") is False] * len(second.get("displacements", "1"))
    marked = iter(marks)
    info: dict[str, Any] = content.get("displacement_pair_info") or {}
    cutoff = info.get("cutoff_pair_distance")

    def is_excluded(pair: Mapping[str, Any]) -> bool:
        if next(marked, False) or pair.get("included") is False:
            return True
        if cutoff is None or pair.get("forces") is None or np.asarray(pair["forces"]).any():
            return False
        distance: float = pair.get("pair_distance", np.inf)
        return distance > float(cutoff) - 1e-6  # both are written with 8 digits

    return is_excluded


def _label(ideal: Atoms, displaced: _Displaced, origin: str, units: Units) -> Atoms:
    """Make one labelled supercell, its shapes checked and its units converted."""
    arrays = []
    for name, values in (("displacements", displaced.displacements), ("forces", displaced.forces)):
        array = np.asarray(values, dtype=float)
        if array.shape != (len(ideal), 3):
            raise DataError(
                f"{origin}: {name} have shape {array.shape}, expected {(len(ideal), 3)}. Rebuild the set "
                "from the YAML file that made these supercells."
            )
        arrays.append(array)
    atoms: Atoms = ideal.copy()
    atoms.positions += units.distance_to_A * arrays[0]
    results: dict[str, Any] = {"forces": units.force_to_eVperA * arrays[1]}
    if displaced.energy is not None:
        results["energy"] = units.energy_to_eV * float(displaced.energy)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
