"""The index: one SQLite file of states and scalars, a cache that the records can rebuild.

Only the driver writes it; workers and compute nodes never open it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from screen_cli.errors import StoreError
from screen_cli.store.expression import to_sql, value_to_sql
from screen_cli.store.reading import parse_json
from screen_cli.store.record import Scalar
from screen_cli.store.row import Row

STATES = ("filtered", "pending", "running", "done", "failed", "skipped")
_BASE = {
    "id": "TEXT PRIMARY KEY",
    "formula": "TEXT",
    "space_group": "INTEGER",
    "n_atoms": "INTEGER",
    "provider": "TEXT",
    "provider_id": "TEXT",
    "state": "TEXT NOT NULL DEFAULT 'pending'",
    "stage": "TEXT",
    "reason": "TEXT",
    "seconds": "REAL DEFAULT 0",
    "keys": "TEXT",
}
BASE_COLUMNS = tuple(_BASE)
_BOOKKEEPING = {"id", "state", "stage", "reason", "seconds", "keys"}


class DamagedIndexError(StoreError):
    """The index cannot be read; the records can, and it is made anew from them."""


class Index:
    """States and scalars of one run.

    Parameters
    ----------
    path : Path
        ``run/index.sqlite``; made when missing.
    read_only : bool
        For ``status`` and ``show`` beside a running driver.
    commit_every : float
        Seconds between commits. What a killed driver had not committed it finds again in the records.

    Raises
    ------
    DamagedIndexError
        The file cannot be opened or is no SQLite database.
    """

    def __init__(self, path: Path, *, read_only: bool = False, commit_every: float = 0.0) -> None:
        self._path = path
        self._commit_every = commit_every
        self._committed = 0.0
        try:
            if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):  # SQLite would wait for a pipe
                raise sqlite3.DatabaseError("it is no regular file")
            if read_only:
                self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)  # names may hold ? # %
            else:
                self._db = sqlite3.connect(path)
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")
                columns = ", ".join(f"{name} {kind}" for name, kind in _BASE.items())
                self._db.execute(f"CREATE TABLE IF NOT EXISTS structures ({columns})")
                self._db.execute("CREATE INDEX IF NOT EXISTS by_state ON structures (state)")
                self._db.execute(
                    "CREATE TABLE IF NOT EXISTS stage_times (id TEXT, stage TEXT, seconds REAL, bytes INTEGER, "
                    "PRIMARY KEY (id, stage))"
                )
                self._db.execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT)")
                self._db.commit()
            self._db.row_factory = sqlite3.Row
            self.columns = [row[1] for row in self._db.execute("PRAGMA table_info(structures)")]
            if not self.columns:
                raise sqlite3.DatabaseError("it has no table 'structures'")
        except (sqlite3.Error, UnicodeError) as error:
            raise DamagedIndexError(
                f"cannot open the index {path}: {error}. Rebuild it from the records: screen-cli rebuild {path.parent}"
            ) from error

    def close(self) -> None:
        """Commit and close."""
        try:
            self._db.commit()
        except sqlite3.Error as error:
            raise StoreError(f"cannot write the index {self._path}: {error}. The records are safe.") from error
        finally:
            self._db.close()

    def damage(self) -> str:
        """Look at every page and say what is wrong, in SQLite's words; empty when nothing is."""
        try:
            said = [str(row[0]) for row in self._db.execute("PRAGMA integrity_check(3)")]
        except (sqlite3.Error, UnicodeError) as error:
            return str(error)
        return "" if said == ["ok"] else "; ".join(said)

    # -- writing -------------------------------------------------------------------------------

    def add_structures(self, rows: Iterable[Row]) -> int:
        """Insert structures that are new; return how many were.

        Rows may have any columns; new ones are added to the table. A structure that is there already stays as it is,
        unless a filter drops it now, or did so before.
        """
        rows = list(rows)
        names = list(dict.fromkeys(name for row in rows for name in row))
        before = self._n_structures()
        with self._transaction():
            self._add_columns(names)
            names = list(dict.fromkeys(["id", "state", "stage", "reason", *names]))
            columns = ", ".join(map(_quoted, names))
            self._db.executemany(
                f"INSERT INTO structures ({columns}) VALUES ({', '.join('?' * len(names))}) ON CONFLICT (id) DO UPDATE "
                "SET state = excluded.state, stage = excluded.stage, reason = excluded.reason "
                "WHERE 'filtered' IN (excluded.state, structures.state)",
                (
                    tuple(_sql_value(row.get(name, "pending" if name == "state" else None)) for name in names)
                    for row in rows
                ),
            )
        return self._n_structures() - before

    def _n_structures(self) -> int:
        """Give the number of rows."""
        return int(next(self._select("SELECT count(*) FROM structures"))[0])

    def _add_columns(self, names: Iterable[str]) -> None:
        """Add the columns that the table does not have yet."""
        for name in names:
            if name not in self.columns:
                self._db.execute(f"ALTER TABLE structures ADD COLUMN {_quoted(name)}")
                self.columns.append(name)

    def update(
        self,
        structure_id: str,
        state: str,
        *,
        stage: str | None = None,
        reason: str | None = None,
        scalars: Row | None = None,
        keys: Mapping[str, str] | None = None,
        stage_times: Mapping[str, tuple[float, int]] | None = None,
    ) -> None:
        """Set the state of a structure, its scalars, and what its stages cost.

        Parameters
        ----------
        state : one of STATES
        stage, reason : str, optional
            Where and why it ended there.
        scalars : dict, optional
            Column values; new columns are added to the table.
        keys : dict, optional
            Content key of each finished stage.
        stage_times : dict, optional
            ``stage -> (seconds, bytes)``.
        """
        # a result that bears the name of a column of ours must not overwrite it
        scalars = {f"{name}_" if name in _BOOKKEEPING else name: item for name, item in (scalars or {}).items()}
        with self._transaction():
            self._add_columns(scalars)
            stale = [name for name in self.columns if name not in BASE_COLUMNS and name not in scalars]
            values: dict[str, Scalar | None] = {"state": state, "stage": stage, "reason": reason, **scalars}
            values |= dict.fromkeys(stale) if scalars else {}
            if keys is not None:
                values["keys"] = json.dumps(keys, sort_keys=True)
            if stage_times:
                values["seconds"] = sum(seconds for seconds, _ in stage_times.values())
                self._db.execute("DELETE FROM stage_times WHERE id = ?", (structure_id,))
                self._db.executemany(
                    "INSERT INTO stage_times VALUES (?, ?, ?, ?)",
                    [(structure_id, name, *cost) for name, cost in stage_times.items()],
                )
            assignments = ", ".join(f"{_quoted(name)} = ?" for name in values)
            self._db.execute(
                f"UPDATE structures SET {assignments} WHERE id = ?",
                (*map(_sql_value, values.values()), structure_id),
            )

    def set_states(self, old: Iterable[str], new: str) -> int:
        """Move every structure in one of the states ``old`` to ``new``; return how many."""
        old = tuple(old)
        with self._transaction():
            cursor = self._db.execute(
                f"UPDATE structures SET state = ? WHERE state IN ({', '.join('?' * len(old))})", (new, *old)
            )
        return cursor.rowcount

    def set_meta(self, key: str, value: Scalar | None) -> None:
        """Keep a small JSON value."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit on success when it is time, roll back on error, and explain a full disk."""
        try:
            yield
            if time.monotonic() - self._committed >= self._commit_every:
                self._db.commit()
                self._committed = time.monotonic()
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.rollback()
            if isinstance(error, sqlite3.Error):
                raise StoreError(
                    f"cannot write the index: {error}. The records are safe; make room and run again."
                ) from error
            raise

    # -- reading -------------------------------------------------------------------------------

    def _select(self, query: str, values: Sequence[object] = ()) -> Iterator[sqlite3.Row]:
        """Iterate over the rows of a query; a damaged page becomes a sentence."""
        try:
            yield from self._db.execute(query, values)
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            raise DamagedIndexError(
                f"cannot read the index {self._path}: {error}. Rebuild it from the records: "
                f"screen-cli rebuild {self._path.parent}"
            ) from error

    def meta(self, key: str, default: Scalar | None = None) -> Scalar | None:
        """Return a value kept with :meth:`set_meta`."""
        row = next(self._select("SELECT value FROM meta WHERE key = ?", (key,)), None)
        return default if row is None else cast("Scalar", parse_json(row[0]))

    def counts(self) -> Counter[str]:
        """Give the number of structures in each state."""
        return Counter(dict(map(tuple, self._select("SELECT state, count(*) FROM structures GROUP BY state"))))

    def reasons(self) -> list[tuple[str, str, int]]:
        """Rows (state, stage, count) for filtered, failed and skipped structures."""
        return [
            tuple(row)
            for row in self._select(
                "SELECT state, stage, count(*) FROM structures WHERE state IN ('filtered', 'failed', 'skipped') "
                "GROUP BY state, stage ORDER BY 3 DESC"
            )
        ]

    def stage_costs(self) -> list[tuple[str, int, float, int]]:
        """Rows (stage, n structures, total seconds, total bytes), most expensive first."""
        return [
            tuple(row)
            for row in self._select(
                "SELECT stage, count(*), sum(seconds), sum(bytes) FROM stage_times GROUP BY stage ORDER BY 3 DESC"
            )
        ]

    def ids(self, states: Iterable[str]) -> list[str]:
        """Ids of the structures in the given states: those of one space group and size together, else as they came."""
        states = tuple(states)
        return [
            row[0]
            for row in self._select(
                f"SELECT id FROM structures WHERE state IN ({', '.join('?' * len(states))}) "
                "ORDER BY space_group, n_atoms, rowid",
                states,
            )
        ]

    def count(self, where: str = "") -> int:
        """Give the number of structures that satisfy an expression."""
        condition, values = to_sql(where, self.columns) if where else ("1", [])
        return int(next(self._select(f"SELECT count(*) FROM structures WHERE {condition}", values))[0])

    def finished(self) -> Iterator[tuple[str, dict[str, str], int]]:
        """Iterate over (id, content key by stage, bytes of these records) of what is done or skipped."""
        query = (
            "SELECT rowid, id, keys, (SELECT sum(bytes) FROM stage_times WHERE stage_times.id = structures.id) "
            "FROM structures WHERE rowid > ? AND state IN ('done', 'skipped') ORDER BY rowid LIMIT 1000"
        )
        last = 0
        while rows := list(self._select(query, (last,))):  # in pieces: the caller writes in between
            for last, structure_id, keys, n_bytes in rows:  # noqa: B007
                yield structure_id, cast("dict[str, str]", parse_json(keys or "{}")), n_bytes or 0

    def rows(
        self,
        where: str = "",
        sort: str = "",
        descending: bool = False,
        limit: int | None = None,
    ) -> Iterator[Row]:
        """Iterate over structures as flat dicts.

        Parameters
        ----------
        where : str
            Expression over columns, e.g. ``"stable and kappa_total_w_mk < 1"``.
        sort : str
            Column; values that are missing come last.
        limit : int, optional
            At most this many rows.

        Raises
        ------
        FilterError
            Bad expression or unknown column.
        """
        condition, values = to_sql(where, self.columns) if where else ("1", [])
        order = "rowid"
        if sort:
            column, more = value_to_sql(sort, self.columns)
            order = f"{column} IS NULL, {column} {'DESC' if descending else 'ASC'}"
            values += more * 2
        query = f"SELECT * FROM structures WHERE {condition} ORDER BY {order}"
        if limit is not None:
            query += f" LIMIT {max(0, min(int(limit), 2**63 - 1))}"
        for row in self._select(query, values):
            yield dict(row)


def _sql_value(value: Scalar | None) -> Scalar | None:
    """Fit a JSON scalar into SQLite: truth values as 0 and 1, whole numbers beyond 64 bits as floats."""
    if isinstance(value, int):
        return int(value) if abs(value) < 2**63 else float(value)
    return value


def _quoted(name: str) -> str:
    """Give a column name for SQL; it may come from a record that a stranger made."""
    return '"' + name.replace('"', '""') + '"'
