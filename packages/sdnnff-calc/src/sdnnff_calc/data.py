"""Labelled structures from files: extxyz, ASE databases, phonopy and phono3py YAML, folders of DFT outputs.

Every reader yields :class:`ase.Atoms` with a ``SinglePointCalculator`` that holds forces (eV/Å) and, where
the source has them, energy (eV) and stress (eV/Å³, Voigt order).
"""

from __future__ import annotations

import bz2
import gzip
import logging
import lzma
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase.db
import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray

from sdnnff_calc.errors import DataError, MissingExtraError

__all__ = ["DataReport", "check_labels", "group_of", "iterate_structures", "split_groups"]

_log = logging.getLogger(__name__)

_OUTPUT_NAMES = ("vasprun.xml*", "OUTCAR*", "*.pwo", "espresso*.out", "pw*.out")
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}


def iterate_structures(paths: Iterable[str | Path]) -> Iterator[Atoms]:
    """Read labelled structures one at a time.

    Parameters
    ----------
    paths
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
        path = Path(name)
        if path.is_dir():
            yield from _read_folder(path)
        elif not path.is_file():
            raise DataError(f"no such file or folder: {path}.")
        elif ".yaml" in path.name or ".yml" in path.name:
            yield from _read_phono_yaml(path)
        elif path.suffix == ".db":
            yield from _read_database(path)
        else:
            yield from _read_with_ase(path)


def _read_with_ase(path: Path) -> Iterator[Atoms]:
    """Read every frame of a file ASE knows."""
    index = -1
    try:
        for index, atoms in enumerate(ase.io.iread(path, index=":")):
            atoms.info["origin"] = f"{path}@{index}"
            yield atoms
    except DataError:
        raise
    except Exception as error:  # ASE's readers raise many kinds
        raise DataError(
            f"{path}, after frame {index}: ASE cannot read it ({type(error).__name__}: {error})."
        ) from error


def _read_database(path: Path) -> Iterator[Atoms]:
    """Read every row of an ASE database."""
    with ase.db.connect(path) as database:
        for row in database.select():
            atoms = row.toatoms()
            atoms.info.update(row.key_value_pairs)
            atoms.info["origin"] = f"{path}@{row.id}"
            yield atoms


def _read_folder(path: Path) -> Iterator[Atoms]:
    """Read all VASP and Quantum ESPRESSO outputs below a folder."""
    files: dict[Path, list[Path]] = {}
    for pattern in _OUTPUT_NAMES:
        for file in sorted(path.rglob(pattern)):
            files.setdefault(file.parent, []).append(file)
    if not files:
        raise DataError(f"no VASP or Quantum ESPRESSO output below {path}; looked for {', '.join(_OUTPUT_NAMES)}.")
    for folder in sorted(files):
        found = files[folder]
        runs = [f for f in found if f.name.startswith("vasprun.xml")]
        for file in runs or found:
            yield from _read_with_ase(file)


def _read_phono_yaml(path: Path) -> Iterator[Atoms]:
    """Read the displaced supercells and forces of a phonopy or phono3py YAML file."""
    content = _load_yaml(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a phonopy or phono3py YAML file.")
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
        for atoms in _supercells(dataset, cell, path):
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
    opener = _OPENERS.get(path.suffix, open)
    try:
        with opener(path, "rt", encoding="utf-8") as stream:
            return yaml.load(stream, Loader=loader)
    except (yaml.YAMLError, OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as YAML ({error}).") from error


def _supercells(dataset: Any, cell: dict[str, Any], path: Path) -> Iterator[Atoms]:
    """Displace a supercell by each set of a type-1 (one atom) or type-2 (all atoms) dataset."""
    ideal = Atoms(
        symbols=[point["symbol"] for point in cell["points"]],
        scaled_positions=[point["coordinates"] for point in cell["points"]],
        cell=cell["lattice"],
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
            yield _displaced(ideal, u, f, energies[index], f"{path}@{index}")
        return
    entries = dataset if isinstance(dataset, list) else dataset.get("first_atoms") or dataset.get("displacements") or []
    for index, entry in enumerate(entries):
        if "forces" not in entry:
            continue
        u = np.zeros((len(ideal), 3))
        u[int(entry.get("atom", entry.get("number", 1))) - 1] = entry["displacement"]
        yield _displaced(ideal, u, entry["forces"], entry.get("supercell_energy"), f"{path}@{index}")


def _displaced(ideal: Atoms, displacements: Any, forces: Any, energy: float | None, origin: str) -> Atoms:
    """Make one labelled supercell, its shapes checked."""
    u, f = np.asarray(displacements, dtype=float), np.asarray(forces, dtype=float)
    for name, array in (("displacements", u), ("forces", f)):
        if array.shape != (len(ideal), 3):
            raise DataError(
                f"{origin}: {name} have shape {array.shape}, expected {(len(ideal), 3)}. Rebuild the set "
                "from the YAML file that made these supercells."
            )
    atoms = ideal.copy()
    atoms.positions += u
    results = {"forces": f} if energy is None else {"forces": f, "energy": float(energy)}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def group_of(atoms: Atoms, split_by: str, index: int) -> str:
    """Name what must stay on one side of the split.

    ``structure``: ``info['structure_id']`` when given, else the reduced formula; ``supercell``: the index.
    """
    if split_by == "supercell":
        return str(index)
    given = atoms.info.get("structure_id")
    if given is not None:
        return str(given)
    counts = Counter(atoms.get_chemical_symbols())
    divisor = int(np.gcd.reduce(list(counts.values())))
    return "".join(f"{symbol}{n // divisor}" for symbol, n in sorted(counts.items()))


def split_groups(groups: Sequence[str], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Choose whole groups for validation.

    Parameters
    ----------
    groups
        Name of each structure's group.
    fraction
        Share of the groups to hold out; at least one group when above 0.
    seed
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
    n_structures, n_atoms
        Accepted.
    element_counts
        Atoms by symbol.
    rejected
        Reasons, each with the origin of the structure.
    largest_force
        eV/Å.
    """

    n_structures: int = 0
    n_atoms: int = 0
    element_counts: Counter[str] = field(default_factory=Counter)
    rejected: list[str] = field(default_factory=list)
    largest_force: float = 0.0

    def lines(self) -> list[str]:
        """Say it in words, one line per fact."""
        elements = ", ".join(f"{symbol} {n}" for symbol, n in self.element_counts.most_common())
        lines = [
            f"{self.n_structures} structures, {self.n_atoms} atomic environments",
            f"atoms by element: {elements}",
            f"largest force component {self.largest_force:.3f} eV/Å",
        ]
        if self.rejected:
            lines.append(f"{len(self.rejected)} structures left out:")
            lines += [f"  {reason}" for reason in self.rejected[:20]]
        return lines


def check_labels(structures: Iterable[Atoms], max_force: float, report: DataReport) -> Iterator[Atoms]:
    """Pass structures with sound labels on; report the others.

    Parameters
    ----------
    structures
        With calculators that hold forces.
    max_force
        eV/Å; a larger component counts as an outlier.
    report
        Filled on the way.

    Raises
    ------
    DataError
        When a structure has no forces at all, or of a wrong shape: the whole file is then suspect.
    """
    for index, atoms in enumerate(structures):
        origin = atoms.info.get("origin", f"structure {index}")
        results = {} if atoms.calc is None else atoms.calc.results
        if "forces" not in results:
            raise DataError(f"{origin} has no forces. Label it first, or name the column 'forces' in the extxyz file.")
        forces = np.asarray(results["forces"])
        if forces.shape != (len(atoms), 3):
            raise DataError(f"{origin}: forces have shape {forces.shape}, expected {(len(atoms), 3)}.")
        values = [forces, atoms.positions, atoms.cell.array, np.atleast_1d(results.get("energy", 0.0))]
        if not all(np.isfinite(v).all() for v in values):
            report.rejected.append(f"{origin}: NaN or infinity in positions, cell, energy or forces")
            continue
        largest = float(np.abs(forces).max())
        if largest > max_force:
            report.rejected.append(f"{origin}: force of {largest:.1f} eV/Å, limit {max_force} (max_force)")
            continue
        report.n_structures += 1
        report.n_atoms += len(atoms)
        report.element_counts.update(atoms.get_chemical_symbols())
        report.largest_force = max(report.largest_force, largest)
        yield atoms
