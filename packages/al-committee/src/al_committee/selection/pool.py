"""The pool: displaced supercells of many crystals, made when they are looked at and never stored.

A supercell is determined by its crystal, its index and the pool's settings alone, so any process can make it
again at any time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import iread
from numpy.typing import NDArray

from al_committee.errors import ConfigError
from al_committee.labels.identity import bare_structure, structure_key

__all__ = ["Crystal", "Pool", "PoolEntry", "SupercellSettings", "displace_randomly", "read_crystals"]


@dataclass(frozen=True)
class Crystal:
    """A crystal of the pool.

    Parameters
    ----------
    id
        Unique name.
    atoms
        Its cell at equilibrium, Å.
    """

    id: str
    atoms: Atoms


@dataclass(frozen=True)
class SupercellSettings:
    """How supercells are made from a crystal.

    Parameters
    ----------
    n_supercells
        Displaced supercells per crystal.
    displacement
        Length by which every atom is moved, in a random direction, Å.
    min_length
        The cell is repeated until each lattice vector has at least this length, Å; 0 keeps the cell.
    max_atoms
        Crystals whose supercell would be larger are repeated less, along all axes alike.
    pairs
        Make odd supercells the mirror image (−u) of the even one before.
    seed
        Of the random directions.
    """

    n_supercells: int = 4
    displacement: float = 0.03
    min_length: float = 8.0
    max_atoms: int = 128
    pairs: bool = False
    seed: int = 0


@dataclass(frozen=True)
class PoolEntry:
    """One supercell of the pool.

    Parameters
    ----------
    structure_id
        Its crystal.
    index
        Which of the crystal's supercells.
    atoms
        The displaced supercell, Å.
    """

    structure_id: str
    index: int
    atoms: Atoms

    @property
    def key(self) -> str:
        """Content key of the supercell."""
        return structure_key(self.atoms)


def displace_randomly(atoms: Atoms, length: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw one displacement of fixed length and random direction per atom.

    Returns
    -------
    NDArray[np.float64]
        shape ``(n_atoms, 3)``, Å, every row of norm `length`.
    """
    directions = rng.normal(size=(len(atoms), 3))
    directions *= length / np.linalg.norm(directions, axis=1, keepdims=True)
    return directions


class Pool:
    """All supercells of all crystals, lazily.

    Parameters
    ----------
    crystals
        Read once; only the unit cells are kept in memory.
    settings
        How supercells are made.

    Raises
    ------
    ConfigError
        Two crystals with one id, no crystal, or a non-positive count.
    """

    def __init__(self, crystals: Iterable[Crystal], settings: SupercellSettings | None = None) -> None:
        self.settings = settings or SupercellSettings()
        if self.settings.n_supercells < 1:
            raise ConfigError(f"n_supercells is {self.settings.n_supercells}, expected at least 1.")
        self._crystals: dict[str, Crystal] = {}
        for crystal in crystals:
            if crystal.id in self._crystals:
                raise ConfigError(f"two crystals of the pool have the id {crystal.id!r}; ids must be unique.")
            self._crystals[crystal.id] = crystal
        if not self._crystals:
            raise ConfigError("the pool holds no crystal. Check the source of structures.")

    def __len__(self) -> int:
        return len(self._crystals) * self.settings.n_supercells

    @property
    def structure_ids(self) -> list[str]:
        """Ids of the crystals in the order given."""
        return list(self._crystals)

    def supercell(self, structure_id: str, index: int) -> PoolEntry:
        """Make one supercell; the same arguments always give the same atoms.

        Raises
        ------
        KeyError
            Unknown crystal.
        IndexError
            `index` outside ``n_supercells``.
        """
        settings = self.settings
        if not 0 <= index < settings.n_supercells:
            raise IndexError(f"supercell {index} of {structure_id}: expected 0 to {settings.n_supercells - 1}.")
        cell = bare_structure(self._crystals[structure_id].atoms)  # constraints, tags, … belong to no label
        atoms = cell.repeat(_repetitions(cell, settings.min_length, settings.max_atoms))
        mirrored = settings.pairs and index % 2 == 1
        drawn = index - 1 if mirrored else index
        words = hashlib.sha256(f"{settings.seed}|{structure_id}|{drawn}".encode()).digest()[:16]
        rng = np.random.default_rng(list(words))
        step = displace_randomly(atoms, settings.displacement, rng)
        atoms.positions += -step if mirrored else step
        atoms.info = {**cell.info, "structure_id": structure_id, "supercell_index": index}
        return PoolEntry(structure_id, index, atoms)

    def supercells(self, structure_ids: Iterable[str] | None = None) -> Iterator[PoolEntry]:
        """Yield the supercells of some or all crystals."""
        for structure_id in self.structure_ids if structure_ids is None else structure_ids:
            for index in range(self.settings.n_supercells):
                yield self.supercell(structure_id, index)

    def checksum(self) -> str:
        """Hash of all crystals and settings: a pool that changed under a run is noticed."""
        digest = hashlib.sha256(repr(self.settings).encode())
        for crystal in self._crystals.values():
            digest.update(f"{crystal.id}|{structure_key(crystal.atoms)}".encode())
        return digest.hexdigest()[:16]


def _repetitions(cell: Atoms, min_length: float, max_atoms: int) -> tuple[int, int, int]:
    """Repetitions per periodic axis that reach `min_length`, lowered until `max_atoms` holds."""
    lengths = cell.cell.lengths()
    counts = [
        max(1, int(np.ceil(min_length / length - 1e-9))) if periodic and length > 0 else 1
        for length, periodic in zip(lengths, cell.pbc, strict=True)
    ]
    while len(cell) * int(np.prod(counts)) > max_atoms and max(counts) > 1:
        largest = max(counts)
        counts = [largest - 1 if count == largest else count for count in counts]
    return counts[0], counts[1], counts[2]


def read_crystals(path: Path) -> Iterator[Crystal]:
    """Read crystals from any file ASE reads; ids from ``info["id"]``, ``info["name"]`` or the frame.

    Raises
    ------
    ConfigError
        When the file is missing or a frame cannot be read, with path and frame index.
    """
    if not path.exists():
        raise ConfigError(f"structures file {path} does not exist. Paths are relative to the config file.")
    frame = -1
    try:
        for frame, atoms in enumerate(iread(path, ":")):
            name = atoms.info.get("id") or atoms.info.get("name") or f"{path.stem}-{frame}"
            yield Crystal(str(name), atoms)
    except Exception as error:
        raise ConfigError(f"{path}, after frame {frame}: {type(error).__name__}: {error}") from error
