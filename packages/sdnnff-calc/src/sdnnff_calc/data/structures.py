"""Labelled structures from files: extxyz, ASE databases, phonopy and phono3py YAML, folders of DFT outputs.

Every reader yields :class:`ase.Atoms` with a ``SinglePointCalculator`` that holds forces (eV/Å) and, where
the source has them, energy (eV) and stress (eV/Å³, Voigt order).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase.db
import ase.io
import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian, FixScaled
from numpy.typing import NDArray

from sdnnff_calc.data.compressed import DAMAGED, open_text
from sdnnff_calc.data.dft_outputs import output_format, read_folder, read_output
from sdnnff_calc.data.phonon_files import read_phonon_yaml
from sdnnff_calc.errors import DataError, SdnnffError
from sdnnff_calc.file_access.recursion import read_shallowly
from sdnnff_calc.file_access.xyz_counts import check_counts
from sdnnff_calc.geometry.elements import N_ELEMENTS
from sdnnff_calc.geometry.neighbours import MIN_DISTANCE, find_edges

__all__ = ["DataReport", "check_labels", "crystal_of", "energy_label", "iterate_structures", "split_groups"]


def iterate_structures(paths: Iterable[str | Path]) -> Iterator[Atoms]:
    """Read labelled structures one at a time.

    Parameters
    ----------
    paths : iterable of (str or Path)
        Files or folders.

    Yields
    ------
    Atoms
        ``info['origin']`` says file and frame.

    Raises
    ------
    DataError
        For a missing file, an unknown format or broken content; the message names file and frame.
    """
    for name in paths:
        yield from read_shallowly(_read_path(Path(name)))


def _read_path(path: Path) -> Iterator[Atoms]:
    """Read one file or folder."""
    if path.is_dir():
        yield from read_folder(path)
    elif not path.is_file():
        raise DataError(f"no such file or folder: {path}.")
    elif ".yaml" in path.name or ".yml" in path.name:
        yield from read_phonon_yaml(path)
    elif path.suffix == ".db":
        yield from _read_database(path)
    elif output := output_format(path):
        yield from read_output(path, output)
    else:
        yield from _read_frames(path)


def _read_frames(path: Path) -> Iterator[Atoms]:
    """Read every frame of a file that ASE knows by its name, extended XYZ above all."""
    index = -1
    if any(ending in path.name.lower() for ending in (".xyz", ".extxyz")):
        _check_xyz(path)
    try:
        for index, atoms in enumerate(ase.io.iread(path, index=":")):
            atoms.info["origin"] = f"{path}@{index}"
            yield atoms
    except Exception as error:  # ASE's readers raise many kinds, and so do those of compressed files
        raise DataError(
            f"{path}, after frame {index}: ASE cannot read it ({type(error).__name__}: {error})."
        ) from error
    if index < 0:
        raise DataError(f"{path} holds no structure.")


def _check_xyz(path: Path) -> None:
    """Refuse an XYZ file whose counts of atoms or columns cannot be true, before ASE waits for them.

    Raises
    ------
    DataError
        Naming the frame.
    """
    try:
        with open_text(path) as lines:
            check_counts(lines)
    except DAMAGED as error:
        raise DataError(f"{path} cannot be read as XYZ: {error}.") from error


def _read_database(path: Path) -> Iterator[Atoms]:
    """Read every row of an ASE database; a damaged file is a DataError."""
    last = 0
    try:
        with ase.db.connect(path) as database:
            for row in database.select():
                atoms = row.toatoms()
                atoms.info.update(row.key_value_pairs)
                atoms.info["origin"] = f"{path}@{row.id}"
                yield atoms
                last = row.id
    except Exception as error:  # sqlite3 for the file, many kinds for the content of a row
        raise DataError(
            f"{path}, after row {last}: not a readable ASE database ({type(error).__name__}: {error}). "
            "Copy or write it again."
        ) from error


def crystal_of(atoms: Atoms) -> str:
    """Name the crystal that a structure shows: ``info['structure_id']`` when given, else the reduced formula."""
    given = atoms.info.get("structure_id")
    if given is not None:
        return str(given)
    counts = Counter(atoms.get_chemical_symbols())
    divisor = int(np.gcd.reduce(list(counts.values())))
    return "".join(f"{symbol}{n // divisor}" for symbol, n in sorted(counts.items()))


def energy_label(results: Mapping[str, object]) -> float:
    """Give the energy, eV, of which the forces are the derivative; NaN without one.

    ASE calls it ``free_energy``, where it tells it from ``energy``: VASP's smeared electrons have F (TOTEN) and E at
    zero smearing.
    """
    free, energy = (
        float(np.asarray(results.get(name, np.nan), dtype=np.float64).reshape(())) for name in ("free_energy", "energy")
    )
    return free if np.isfinite(free) else energy


def split_groups(groups: Sequence[str], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Choose whole groups for validation.

    Parameters
    ----------
    groups : sequence of str
        Name of each structure's group.
    fraction : float
        Share of the groups to hold out; at least one group when above 0.
    seed : int
        Same seed, same choice.

    Returns
    -------
    ndarray, bool, shape (n_structures,)
        True for validation.

    Raises
    ------
    DataError
        When there is a single group, which cannot be split.
    """
    names = sorted(set(groups))
    if fraction <= 0.0:
        return np.zeros(len(groups), dtype=bool)
    if len(names) < 2:
        raise DataError(
            f"all {len(groups)} training structures belong to one group ({', '.join(names) or 'none'}), "
            'so no validation set can be held out by structure. Set split_by = "supercell" or give '
            "[data] validation."
        )
    order = np.random.default_rng(seed).permutation(len(names))
    n_held = min(len(names) - 1, max(1, round(fraction * len(names))))
    held = {names[k] for k in order[:n_held]}
    return np.array([group in held for group in groups])


@dataclass
class DataReport:
    """What was read, and what was left out.

    Attributes
    ----------
    n_structures, n_atoms, n_energies, n_stresses : int
        Accepted; with these labels.
    element_counts : Counter[str]
        Atoms by symbol.
    rejected : list of str
        Reasons, each with the origin of the structure.
    largest_force : float, eV/Å
    n_cached : int
        Accepted earlier and taken from the cache: their elements and forces are not in this report.
    unread : Counter[str]
        Structures by the name of a column or key that looks like a label and is not read.
    """

    n_structures: int = 0
    n_atoms: int = 0
    element_counts: Counter[str] = field(default_factory=Counter)
    rejected: list[str] = field(default_factory=list)
    largest_force: float = 0.0
    n_cached: int = 0
    n_energies: int = 0
    n_stresses: int = 0
    unread: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """Say it in words, one line per fact."""
        elements = ", ".join(f"{symbol} {n}" for symbol, n in self.element_counts.most_common())
        lines = [f"{self.n_structures} structures, {self.n_atoms} atomic environments"]
        if self.n_cached:
            lines.append(f"{self.n_cached} structures from the cache, checked when it was written")
        if elements:
            lines.append(f"atoms by element: {elements}")
            lines.append(f"largest force component {self.largest_force:.3f} eV/Å")
            lines.append(f"with an energy {self.n_energies}, with a stress {self.n_stresses}")
        if self.unread:
            names = ", ".join(f"{name} ({n})" for name, n in self.unread.most_common())
            lines.append(f"not read as labels: {names}; those read are called energy, free_energy, forces and stress")
        if self.rejected:
            lines.append(f"{len(self.rejected)} structures left out:")
            lines += [f"  {reason}" for reason in self.rejected[:20]]
        return lines


_LARGEST_STRESS = 10.0
"""eV/Å³, 1600 GPa: a larger one is in another unit."""
_HELD = 1e-7
"""eV/Å: outputs print eight digits."""
_LABEL_LIKE = re.compile(r"(energy|energies|force|forces|stress|virial|virials)s?$", re.IGNORECASE)


def check_labels(structures: Iterable[Atoms], max_force: float, report: DataReport) -> Iterator[Atoms]:
    """Pass structures with sound labels on, freed of their constraints; report the others.

    Parameters
    ----------
    structures : iterable of Atoms
        With calculators that hold forces.
    max_force : float, eV/Å
        A larger component counts as an outlier.
    report : DataReport
        Filled on the way.

    Raises
    ------
    DataError
        When a structure has no forces at all, or of a wrong shape: the whole file is then suspect.
    """
    for index, atoms in enumerate(structures):
        origin = atoms.info.get("origin", f"structure {index}")
        results = {} if atoms.calc is None else atoms.calc.results
        unread = _unread_labels(atoms)
        _require_shapes(atoms, results, origin, unread)
        if reason := _fault(atoms, results, max_force):
            report.rejected.append(f"{origin}: {reason}")
            continue
        report.n_structures += 1
        report.n_atoms += len(atoms)
        report.element_counts.update(atoms.get_chemical_symbols())
        report.unread.update(unread)
        report.largest_force = max(report.largest_force, float(np.abs(results["forces"]).max()))
        report.n_energies += "energy" in results or "free_energy" in results
        report.n_stresses += "stress" in results
        yield _without_constraints(atoms)


def _unread_labels(atoms: Atoms) -> list[str]:
    """Name the columns and keys that look like labels and are not read as such."""
    return sorted(str(key) for key in (*atoms.info, *atoms.arrays) if _LABEL_LIKE.search(str(key)))


def _require_shapes(atoms: Atoms, results: Mapping[str, Any], origin: object, unread: Sequence[str]) -> None:
    """Refuse structures without forces, or with labels that are no numbers or of wrong shapes."""
    for name in ("energy", "free_energy", "forces", "stress"):
        try:
            np.asarray(results.get(name, 0.0), dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"{origin}: {name} is {str(results[name])[:60]!r}, expected numbers.") from error
        if "energy" in name and np.size(results.get(name, 0.0)) != 1:
            raise DataError(f"{origin}: {name} has shape {np.shape(results[name])}, expected one number.")
    if "forces" not in results:
        found = f" It has {', '.join(unread)}, which is not read." if unread else ""
        raise DataError(
            f"{origin} has no forces.{found} Label it first, or name the column 'forces' in the extxyz file (and the "
            "keys 'energy' and 'stress')."
        )
    shape = np.shape(results["forces"])
    if shape != (len(atoms), 3):
        raise DataError(f"{origin}: forces have shape {shape}, expected {(len(atoms), 3)}.")
    stress = np.asarray(results.get("stress", np.zeros(6)))
    if stress.size not in (6, 9):
        raise DataError(f"{origin}: the stress has shape {stress.shape}, expected (6,) or (3, 3).")


def _fault(atoms: Atoms, results: Mapping[str, Any], max_force: float) -> str:
    """Say why labels are not to be learned from; an empty string if they are sound."""
    forces, stress = np.asarray(results["forces"]), np.asarray(results.get("stress", np.zeros(6)), dtype=float)
    has_energy = "energy" in results or "free_energy" in results
    energy = energy_label(results) if has_energy else 0.0
    values = [forces, atoms.positions, atoms.cell.array, np.atleast_1d(energy), stress]
    if not all(np.isfinite(v).all() for v in values):
        return "NaN or infinity in positions, cell, energy, forces or stress"
    if len(odd := atoms.numbers[(atoms.numbers < 1) | (atoms.numbers >= N_ELEMENTS)]):
        return f"an atom without an element (atomic number {odd[0]})"
    try:
        find_edges(atoms, 2 * MIN_DISTANCE)  # raises below MIN_DISTANCE
    except SdnnffError as error:
        return str(error)
    largest = float(np.abs(forces).max())
    if largest > max_force:
        return f"force of {largest:.1f} eV/Å, limit {max_force} (max_force)"
    if np.abs(stress).max() > _LARGEST_STRESS:
        return f"stress of {np.abs(stress).max():.3g} eV/Å³: in another unit? ASE's is eV/Å³, positive under tension"
    if stress.size == 9 and not np.allclose(stress.reshape(3, 3), stress.reshape(3, 3).T, atol=1e-3):
        return "the stress is not a symmetric matrix"
    held = _held_components(atoms, forces)
    if len(held) and largest > _HELD and np.abs(held).max() < _HELD:
        return (
            f"{len(held)} force components of constrained atoms are exactly zero: a constraint has reached the "
            "label. Label it again without"
        )
    return ""


def _held_components(atoms: Atoms, forces: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the force components, eV/Å, that constraints hold: of fixed atoms all, else along the fixed directions.

    Directions may be Cartesian (``if_pos``, a move mask) or those of the cell (selective dynamics).
    """
    held = []
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            held.append(forces[constraint.get_indices()].ravel())
        elif isinstance(constraint, FixScaled):
            of_atoms, cell = forces[constraint.get_indices()], atoms.cell.array
            mask = np.asarray(constraint.mask, dtype=bool)
            either = ((of_atoms @ matrix)[:, mask].ravel() for matrix in (np.linalg.inv(cell), cell))  # VASP's, ASE's
            held.append(min(either, key=lambda values: float(np.abs(values).max(initial=0.0))))
        elif isinstance(constraint, FixCartesian):
            held.append(forces[constraint.get_indices()][:, np.asarray(constraint.mask, dtype=bool)].ravel())
    return np.concatenate(held) if held else np.zeros(0)


def _without_constraints(atoms: Atoms) -> Atoms:
    """Give the structure free, with the same calculator."""
    if not atoms.constraints:
        return atoms
    free: Atoms = atoms.copy()
    free.set_constraint()
    free.calc = atoms.calc
    return free
