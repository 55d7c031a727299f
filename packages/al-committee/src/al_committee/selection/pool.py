"""The pool: displaced supercells of many crystals, made when they are looked at and never stored.

A supercell is determined by its crystal (where that is relaxed: by the relaxed cell), its index and the pool's settings
alone, so any process can make it again at any time.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.io import iread
from ase.io.formats import open_with_compression

from al_committee.config import SupercellKind, SupercellSettings
from al_committee.errors import ConfigError
from al_committee.file_access.recursion import read_shallowly
from al_committee.file_access.xyz_counts import check_counts
from al_committee.labels.identity import structure_key
from al_committee.selection.crystal_index import Crystal, CrystalIndex
from al_committee.selection.supercells import deform, displace_randomly, repeat

__all__ = ["Pool", "PoolEntry", "read_crystals"]

_ASYMMETRIC = re.compile(r"\.(m?cif|pdb|res|xsd|xtd|struct)(\.(gz|bz2|xz))?$", re.IGNORECASE)


@dataclass(frozen=True)
class PoolEntry:
    """One supercell of the pool.

    Parameters
    ----------
    structure_id : str
        Its crystal.
    index : int
        Which of the crystal's supercells.
    atoms : Atoms
        The displaced supercell, Å; its kind and the crystal's group are in ``info``.
    """

    structure_id: str
    index: int
    atoms: Atoms

    @property
    def key(self) -> str:
        """Content key of the supercell."""
        return structure_key(self.atoms)


class Pool:
    """All supercells of all crystals, lazily.

    Parameters
    ----------
    crystals : CrystalIndex or iterable of Crystal
        An index, or any stream of crystals, which is read once into one.
    settings : SupercellSettings, optional
        How supercells are made.

    Raises
    ------
    ConfigError
        Two crystals with one id, or no crystal.
    """

    def __init__(self, crystals: CrystalIndex | Iterable[Crystal], settings: SupercellSettings | None = None) -> None:
        self.settings = settings or SupercellSettings()
        self.index = crystals if isinstance(crystals, CrystalIndex) else CrystalIndex.build(crystals)
        self._kinds = [kind for kind in self.settings.all_kinds for _ in range(kind.count)]
        self._drawn = [draw for kind in self.settings.all_kinds for draw in range(kind.count)]

    def __len__(self) -> int:
        return len(self.index) * self.n_per_crystal

    @property
    def n_per_crystal(self) -> int:
        """Supercells of each crystal."""
        return len(self._kinds)

    @property
    def structure_ids(self) -> list[str]:
        """Ids of the crystals in the order given."""
        return list(self.index.ids)

    def kind(self, index: int) -> SupercellKind:
        """Kind of a supercell by its index."""
        return self._kinds[index]

    def supercell(self, structure_id: str, index: int, rest: Atoms | None = None) -> PoolEntry:
        """Make one supercell; the same arguments always give the same atoms.

        Parameters
        ----------
        structure_id, index : str, int
            Which.
        rest : Atoms, optional
            The crystal's cell where it was relaxed.

        Raises
        ------
        KeyError
            Unknown crystal.
        IndexError
            `index` outside the number per crystal.
        """
        if not 0 <= index < self.n_per_crystal:
            raise IndexError(f"supercell {index} of {structure_id}: expected 0 to {self.n_per_crystal - 1}.")
        crystal, kind = self.index.crystal(structure_id), self._kinds[index]
        mirrored = self.settings.pairs and self._drawn[index] % 2 == 1
        words = f"{self.settings.seed}|{structure_id}|{kind.name}|{self._drawn[index] - int(mirrored)}"
        rng = np.random.default_rng(list(hashlib.sha256(words.encode()).digest()[:16]))
        atoms = repeat(deform(crystal.atoms if rest is None else rest, kind, rng), self.settings)
        step = displace_randomly(atoms, kind.displacement, rng)
        atoms.positions += -step if mirrored else step
        atoms.info.update({"structure_id": structure_id, "supercell_index": index, "kind": kind.name})
        if crystal.group:
            atoms.info["group"] = crystal.group
        return PoolEntry(structure_id, index, atoms)

    def supercells(self, structure_ids: Iterable[str] | None = None) -> Iterator[PoolEntry]:
        """Yield the supercells of some or all crystals."""
        for structure_id in self.structure_ids if structure_ids is None else structure_ids:
            for index in range(self.n_per_crystal):
                yield self.supercell(structure_id, index)

    def checksum(self) -> str:
        """Hash of all crystals and settings."""
        return hashlib.sha256(f"{self.settings!r}|{self.index.checksum}".encode()).hexdigest()[:16]


def read_crystals(path: Path) -> Iterator[Crystal]:
    """Read crystals from any file that lists all atoms of the cell and that ASE reads, one after the other.

    Ids come from ``info["id"]``, ``info["name"]`` or the frame, groups from ``info["group"]`` or
    ``info["prototype"]``.

    Raises
    ------
    ConfigError
        When the file is missing, lists only the sites of an asymmetric unit, or a frame cannot be read, with path and
        frame index.
    """
    if not path.exists():
        raise ConfigError(f"structures file {path} does not exist. Paths are relative to the config file.")
    if _ASYMMETRIC.search(path.name):
        raise ConfigError(
            f"{path} lists the sites of an asymmetric unit, whose space group decides which crystal it is; it is not "
            "read here. Under screen-cli the source 'files' reads it; or give a file of all atoms (extended XYZ, .db)."
        )
    check_xyz(path)
    frame = -1
    try:
        for frame, atoms in enumerate(read_shallowly(iread(path, ":"))):
            if len(odd := atoms.numbers[(atoms.numbers < 1) | (atoms.numbers >= len(chemical_symbols))]):
                raise ConfigError(f"an atom without an element (atomic number {odd[0]})")
            name = atoms.info.get("id") or atoms.info.get("name") or f"{path.stem}-{frame}"
            group = atoms.info.get("group") or atoms.info.get("prototype") or ""
            yield Crystal(str(name), atoms, str(group))
    except GeneratorExit:
        raise
    except ConfigError as error:
        raise ConfigError(f"{path}, frame {frame}: {error}.") from None
    except Exception as error:  # ASE's readers raise anything on a damaged file
        raise ConfigError(f"{path}, after frame {frame}: {type(error).__name__}: {error}") from error


def check_xyz(path: Path) -> None:
    """Refuse an (extended) XYZ file whose counts of atoms or columns cannot be true, before ASE waits for them.

    Raises
    ------
    ConfigError
        With the frame and its count.
    """
    if not re.search(r"\.(ext)?xyz(\.(gz|bz2|xz))?$", path.name, re.IGNORECASE):
        return
    try:
        with open_with_compression(str(path)) as lines:
            check_counts(lines)
    except (ValueError, EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise ConfigError(f"{path}, {error}.") from error
