"""A run directory: its manifest, its lock, its store and its index."""

from __future__ import annotations

import contextlib
import functools
import getpass
import hashlib
import json
import os
import platform
import time
from collections.abc import Collection, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypedDict, cast

from screen_cli.config import RunSettings, settings_from_dict
from screen_cli.errors import ConfigError, NoRunError, RunLockedError, StoreError
from screen_cli.settings_file import Plain, settings_to_dict
from screen_cli.store.atomic_write import sweep, write_bytes, write_text
from screen_cli.store.index import Index
from screen_cli.store.reading import parse_json, read_regular
from screen_cli.store.record import Record
from screen_cli.store.records import RecordStore
from screen_cli.store.row import Row, stage_keys, text
from screen_cli.store.sealed import seal, unseal

FORMAT = 2
_NOTE_LENGTH = 200
_REPORTED = [
    "screen-cli",
    "phon-wigner",
    "sdnnff-calc",
    "al-committee",
    "ase",
    "phonopy",
    "phono3py",
    "symfc",
    "hiphive",
    "spglib",
    "numpy",
    "torch",
    "sevenn",
    "chgnet",
]
_FREE_TO_CHANGE = ("engine", "title")


class Note(TypedDict):
    """What a worker does: id of the crystal, stage, and since when, s since 1970."""

    id: str
    stage: str
    since: float


class Manifest(TypedDict):
    """What stands in ``manifest.json``: the settings of a run, and with what, when and where it was made."""

    format: int
    created: str
    settings: dict[str, Plain]
    shard: tuple[int, int] | None
    versions: dict[str, str]
    python: str
    host: str


class StoredRows(Collection[Row]):
    """Rows of a run that are read from the index anew each time they are walked through.

    Parameters
    ----------
    run : RunDirectory
    where : str
        Expression over columns.
    """

    def __init__(self, run: RunDirectory, where: str = "") -> None:
        self._run = run
        self._where = where

    def __iter__(self) -> Iterator[Row]:
        with contextlib.closing(self._run.index(read_only=True)) as index:
            yield from index.rows(self._where)

    def __len__(self) -> int:
        with contextlib.closing(self._run.index(read_only=True)) as index:
            return index.count(self._where)

    def __contains__(self, row: object) -> bool:
        return any(row == other for other in self)

    @property
    def columns(self) -> list[str]:
        """Columns of every row."""
        with contextlib.closing(self._run.index(read_only=True)) as index:
            return list(index.columns)


class RunDirectory:
    """One run on disk.

    Parameters
    ----------
    root : path
        The directory.
    settings : RunSettings
        Resolved configuration.
    """

    def __init__(self, root: Path | str, settings: RunSettings) -> None:
        self.root = Path(root)
        self.settings = settings
        self.store = RecordStore(self.root)

    @classmethod
    def create(
        cls,
        root: Path | str,
        settings: RunSettings,
        *,
        accept_changes: bool = False,
        shard: tuple[int, int] | None = None,
    ) -> RunDirectory:
        """Make a run directory, or open an existing one with the same settings.

        Parameters
        ----------
        accept_changes : bool
            When the directory was made with other settings: archive its manifest and go on. Content keys keep
            old and new results apart, and unchanged stages are not repeated.
        shard : (int, int), optional
            ``(k, n)``: this run takes the k-th of n parts of the crystals, k from 1.

        Raises
        ------
        ConfigError
            The settings differ from the manifest (each difference is shown).
        StoreError
            The directory cannot be written.
        RunLockedError
            It would have to be changed, and a driver works there.
        """
        root = Path(root)
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot make the run directory {root}: {error.strerror}. Choose another with --run-dir."
            ) from error
        if not cls._agree(root, settings, accept_changes, shard):
            with _lock(root):  # nothing is changed under a driver that works here
                if not cls._agree(root, settings, accept_changes, shard):
                    cls._settle(root, settings, shard)
        return cls(root, settings)

    @classmethod
    def _agree(cls, root: Path, settings: RunSettings, accept_changes: bool, shard: tuple[int, int] | None) -> bool:
        """Whether the directory has a manifest of these settings; ConfigError where other ones are not accepted."""
        if not (root / "manifest.json").exists():
            return False
        existing = cls.open(root)
        if existing.shard != shard:
            raise ConfigError(
                f"{root} holds {_shard_name(existing.shard)}, not {_shard_name(shard)}. Use another directory."
            )
        changes = setting_differences(existing.settings, settings)
        if changes and not accept_changes:
            raise ConfigError(
                f"{root} was made with other settings: {'; '.join(changes)}. Use another directory, or accept "
                "the change with --accept-changes: old results stay, and only what depends on it runs again."
            )
        return not changes

    @classmethod
    def _settle(cls, root: Path, settings: RunSettings, shard: tuple[int, int] | None) -> None:
        """Write the manifest; one of other settings is archived, and the index, which spoke of them, goes."""
        path = root / "manifest.json"
        if path.exists():
            n_old = len(list(root.glob("manifest-*.json")))
            write_bytes(root / f"manifest-{n_old + 1}.json", read_regular(path))
            cls(root, settings).remove_index()
        manifest: Manifest = {
            "format": FORMAT,
            "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "settings": settings_to_dict(settings),
            "shard": shard,
            "versions": installed_versions(),
            "python": platform.python_version(),
            "host": platform.node(),
        }
        write_text(path, seal(manifest, readable=True))

    @classmethod
    def open(cls, root: Path | str) -> RunDirectory:
        """Open an existing run directory.

        Raises
        ------
        StoreError
            No manifest there, or one this version cannot read.
        """
        path = Path(root) / "manifest.json"
        try:
            manifest = unseal(read_regular(path))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NoRunError(
                f"{root} is no run directory: it has no manifest.json. Make one with: screen-cli run CONFIG.toml"
            ) from error
        except OSError as error:
            raise NoRunError(f"cannot read {path}: {error.strerror or error}.") from error
        except ValueError as error:
            raise NoRunError(
                f"{path} is damaged, or was changed by hand: {error}. Take it back from a copy, or run into a new "
                "directory."
            ) from error
        settings = manifest.get("settings")
        if not isinstance(settings, dict) or not _is_shard(manifest.get("shard")):
            raise NoRunError(f"{path} is no manifest of a run. Take it back from a copy, or run into a new directory.")
        if manifest.get("format") != FORMAT:
            raise NoRunError(
                f"{path} has format {manifest.get('format')}, expected {FORMAT}: it was made by another version of "
                "screen-cli. Use that version, or run into a new directory."
            )
        return cls(root, settings_from_dict(settings, origin=str(path)))

    def manifest(self) -> Manifest:
        """Return the manifest as written."""
        return cast("Manifest", unseal(read_regular(self.root / "manifest.json")))

    @functools.cached_property
    def shard(self) -> tuple[int, int] | None:
        """``(k, n)`` when this run takes only the k-th of n parts of the crystals."""
        shard = self.manifest().get("shard")
        return None if shard is None else (int(shard[0]), int(shard[1]))

    def takes(self, name: str) -> bool:
        """Whether a crystal of this id or name belongs to the run's shard."""
        if self.shard is None:
            return True
        number, n_shards = self.shard
        return int(hashlib.sha256(name.encode()).hexdigest(), 16) % n_shards == number - 1

    def index(self, *, read_only: bool = False, commit_every: float = 0.0) -> Index:
        """Open the index (see :class:`screen_cli.store.index.Index`)."""
        return Index(self.root / "index.sqlite", read_only=read_only, commit_every=commit_every)

    def remove_index(self) -> None:
        """Remove the index; the next driver makes it anew from the records."""
        for suffix in ("", "-wal", "-shm"):
            (self.root / f"index.sqlite{suffix}").unlink(missing_ok=True)

    def rows(self, where: str = "", *, limit: int | None = None) -> list[Row]:
        """Rows of the index that satisfy an expression (see :meth:`screen_cli.store.index.Index.rows`)."""
        with contextlib.closing(self.index(read_only=True)) as index:
            return list(index.rows(where, limit=limit))

    def stream(self, where: str = "") -> StoredRows:
        """Rows of the index, read one at a time (for exports of any size)."""
        return StoredRows(self, where)

    def record(self, row: Row, stage: str) -> Record | None:
        """Record of a stage of the crystal of a row; None where it has not got there."""
        key = stage_keys(row).get(stage)
        return None if key is None else self.store.read(text(row, "id"), stage, key)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for one driver.

        The lock is the operating system's, so a killed driver leaves none behind.

        Raises
        ------
        RunLockedError
            Another driver holds it; names its host and process id.
        """
        with _lock(self.root):
            yield

    # -- who runs what -------------------------------------------------------------------------

    def mark_running(self, structure_id: str, stage: str) -> None:
        """Note what this worker does, for progress bars and ``status``."""
        self._note({"id": structure_id, "stage": stage, "since": time.time()})

    def clear_running(self) -> None:
        """Note that this worker does nothing."""
        self._note(None)

    def _note(self, note: Note | None) -> None:
        """Write this worker's note in place: a rename over a file makes some file systems flush the disk."""
        folder = self.root / "running"
        with contextlib.suppress(OSError):  # a progress note is not worth a failure
            folder.mkdir(exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)  # a stranger's link is not written through
            descriptor = os.open(folder / f"{platform.node()}-{os.getpid()}.json", flags, 0o666)
            with os.fdopen(descriptor, "w") as file:
                file.write(json.dumps(note or {}).ljust(_NOTE_LENGTH))

    def running(self) -> list[Note]:
        """Return the notes of the workers."""
        notes: list[Note] = []
        for path in sorted((self.root / "running").glob("*.json")):
            with contextlib.suppress(OSError, ValueError):
                notes.append(cast("Note", parse_json(read_regular(path))))
        return [note for note in notes if isinstance(note, dict) and {"id", "stage", "since"} <= note.keys()]

    def clear_all_running(self) -> None:
        """Forget the notes of every worker (none runs while a new driver starts)."""
        for path in (self.root / "running").glob("*"):
            with contextlib.suppress(OSError):
                path.unlink()

    def tidy(self) -> None:
        """Forget what drivers and workers that are gone left: their notes, and files they had half written."""
        self.clear_all_running()
        for folder in (self.root, self.root / "failed"):
            sweep(folder)


@contextlib.contextmanager
def _lock(root: Path) -> Iterator[None]:
    """Hold the lock of a run directory (see :meth:`RunDirectory.locked`)."""
    from filelock import FileLock, Timeout

    lock = FileLock(root / "driver.lock", timeout=0)
    owner = root / "driver.json"
    try:
        lock.acquire()
    except Timeout as error:
        try:
            held = cast("dict[str, object]", parse_json(read_regular(owner)))
            who = f"process {held['pid']} of {held['user']} on {held['host']}, since {held['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            who = "another process"
        raise RunLockedError(
            f"{root} is being worked on by {who}. Wait for it, or stop it first (it can be resumed)."
        ) from error
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StoreError(f"cannot lock {root}: {reason}. Make it writable, or choose another directory.") from error
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        write_text(owner, json.dumps({"pid": os.getpid(), "host": platform.node(), "user": _user(), "since": since}))
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def installed_versions() -> dict[str, str]:
    """Versions of the packages that shape a result."""
    found = {}
    for name in _REPORTED:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def setting_differences(before: RunSettings, after: RunSettings) -> list[str]:
    """One phrase for each setting that differs, engine and title apart."""
    return list(_differences(settings_to_dict(before), settings_to_dict(after)))


def _differences(before: Plain, after: Plain, path: str = "") -> Iterator[str]:
    """Yield one phrase for each setting that changed."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            if path == "" and key in _FREE_TO_CHANGE:
                continue
            yield from _differences(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    elif before != after:
        yield f"{path} was {before!r}, now {after!r}"


def _is_shard(value: object) -> bool:
    """Whether this is a shard, ``[k, n]``, or none."""
    if value is None:
        return True
    return (
        isinstance(value, list) and len(value) == 2 and all(isinstance(number, int) and number > 0 for number in value)
    )


def _shard_name(shard: tuple[int, int] | None) -> str:
    """Name of a shard, for messages."""
    return "the whole campaign" if shard is None else f"shard {shard[0]}/{shard[1]}"


def _user() -> str:
    """Name of the user, or a placeholder where the system has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown user"
