"""The crystals of a pool, read once from any stream into one file that gives each back when it is asked for.

Of forty thousand crystals only the names are in memory. The file is SQLite, written aside and renamed into place.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

from al_committee.errors import ConfigError, StructureError
from al_committee.labels.identity import bare_structure, decode_structure, encode_structure, structure_key

__all__ = ["Crystal", "CrystalIndex"]


_DAMAGED = (sqlite3.DatabaseError, UnicodeError)  # what SQLite says of a page, and Python of its text


@dataclass(frozen=True)
class Crystal:
    """A crystal of the pool.

    Parameters
    ----------
    id : str
        Unique name.
    atoms : Atoms
        Its cell at equilibrium, Å.
    group : str
        What errors are reported by: its prototype, say.
    """

    id: str
    atoms: Atoms
    group: str = ""


class CrystalIndex:
    """Crystals by name, in the order read.

    Parameters
    ----------
    database : sqlite3.Connection
        As :meth:`build` and :meth:`open` give it.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        weakref.finalize(self, database.close)
        rows = database.execute("select id, held_out from crystals order by position").fetchall()
        if not all(isinstance(row[0], str) for row in rows):
            raise sqlite3.DatabaseError("a crystal has no name")
        self.ids: list[str] = [row[0] for row in rows]
        self.held_out: frozenset[str] = frozenset(row[0] for row in rows if row[1])
        found = database.execute("select value from facts where name = 'checksum'").fetchone()
        self.checksum = str(found[0]) if found else ""

    def __len__(self) -> int:
        return len(self.ids)

    def _row(self, query: str, name: str) -> tuple[str, ...]:
        """Row of a query about one crystal; KeyError for an unknown one, StructureError where its page is damaged."""
        try:
            row: tuple[str, ...] | None = self._database.execute(query, [name]).fetchone()
        except _DAMAGED as error:
            raise StructureError(f"the index of the pool is damaged where it holds {name} ({error}).") from error
        if row is None and name in self.ids:
            raise StructureError(f"the index of the pool is damaged: it lists {name} and does not find it.")
        if row is None:
            raise KeyError(f"the pool holds no crystal {name!r}.")
        return row

    @classmethod
    def open(cls, path: Path) -> CrystalIndex:
        """Open an index that is there.

        Raises
        ------
        StructureError
            When the file is damaged.
        """
        database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            return cls(database)
        except _DAMAGED as error:
            database.close()
            raise StructureError(
                f"{path} is damaged ({error}). Move it away and resume: the pool is read again from its source."
            ) from error

    @classmethod
    def build(
        cls,
        crystals: Iterable[Crystal],
        path: Path | None = None,
        *,
        held_out: Callable[[Atoms], bool] = lambda atoms: False,
        advance: Callable[[int], None] = lambda count: None,
    ) -> CrystalIndex:
        """Read crystals one by one.

        Parameters
        ----------
        crystals : iterable of Crystal
            Any stream; never held in memory.
        path : Path, optional
            The file; in memory by default.
        held_out : callable
            Tells of a crystal whether it is held out of everything but tests.
        advance : callable
            Told about every crystal.

        Raises
        ------
        ConfigError
            Two crystals with one id, or no crystal.
        StructureError
            NaN in a crystal.
        """
        aside = None if path is None else path.with_name(f".{path.name}.{os.getpid()}.tmp")
        if aside is not None:
            aside.parent.mkdir(parents=True, exist_ok=True)
            aside.unlink(missing_ok=True)
        database = sqlite3.connect(":memory:" if aside is None else aside)
        try:
            _fill(database, crystals, held_out, advance)
            if aside is None or path is None:
                return cls(database)
            database.close()
            os.replace(aside, path)
        except BaseException:
            database.close()
            if aside is not None:
                aside.unlink(missing_ok=True)
            raise
        return cls.open(path)

    def crystal(self, name: str) -> Crystal:
        """Give one crystal.

        Raises
        ------
        KeyError
            Unknown name.
        """
        structure, group = self._row("select structure, crystal_group from crystals where id = ?", name)
        return Crystal(name, decode_structure(structure), group)

    def elements(self, name: str) -> frozenset[str]:
        """Give the elements of one crystal."""
        (elements,) = self._row("select elements from crystals where id = ?", name)
        return frozenset(str(elements).split())


def _fill(
    database: sqlite3.Connection,
    crystals: Iterable[Crystal],
    held_out: Callable[[Atoms], bool],
    advance: Callable[[int], None],
) -> None:
    """Write crystals and their checksum."""
    database.execute(
        "create table crystals (position integer primary key, id text unique, crystal_group text, elements text,"
        " held_out integer, structure text)"
    )
    database.execute("create table facts (name text primary key, value text)")
    digest, empty = hashlib.sha256(), True
    for crystal in crystals:
        empty = False
        if not len(crystal.atoms):
            raise StructureError(f"crystal {crystal.id!r} of the pool has no atoms.")
        atoms = bare_structure(crystal.atoms)
        row = (
            crystal.id,
            crystal.group,
            " ".join(sorted(set(atoms.get_chemical_symbols()))),
            int(held_out(atoms)),
            encode_structure(atoms),
        )
        try:
            database.execute(
                "insert into crystals (id, crystal_group, elements, held_out, structure) values (?,?,?,?,?)", row
            )
        except sqlite3.IntegrityError:
            raise ConfigError(f"two crystals of the pool have the id {crystal.id!r}; ids must be unique.") from None
        digest.update(f"{crystal.id}|{structure_key(atoms)}|".encode())
        advance(1)
    if empty:
        raise ConfigError("the pool holds no crystal. Check the source of structures.")
    database.execute("insert into facts values ('checksum', ?)", [digest.hexdigest()[:16]])
    database.commit()
