"""The cache of kinds: arrays by content key, shared by processes and runs, safe to delete.

One folder per entry, named by its key, with one ``.npy`` file per array (memory-mapped when read) and ``entry.json``,
written last, that holds the size and checksum of each. An entry is made in a folder of its own and renamed, so that it
is whole or absent. What a checksum does not confirm is deleted and made again; a disk that is full or read-only turns
the cache off with one warning, and everything goes on without it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from screen_cli.errors import ConfigError
from screen_cli.kinds.mapped_pages import let_go
from screen_cli.store.reading import parse_json

logger = logging.getLogger(__name__)

FORMAT = 1
_DESCRIPTION = "entry.json"
_BLOCK = 1 << 24  # bytes of an array that are written and hashed at a time
_MAPPED_BYTES = 1_000_000_000  # of entries that stay mapped; a crystal of another kind maps its own again


@dataclass(frozen=True)
class Entry:
    """One entry of the cache.

    Parameters
    ----------
    key : str
    about : dict
        What it is: JSON that the maker gave.
    arrays : dict of str to ndarray
        Read-only; memory-mapped when they come from disk.
    on_disk : bool
        Whether it can be read again.
    """

    key: str
    about: dict[str, object]
    arrays: dict[str, NDArray[np.generic]]
    on_disk: bool

    @property
    def n_bytes(self) -> int:
        """Bytes of its arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def floats(self, name: str) -> NDArray[np.float64]:
        """Return an array of float64, not copied."""
        return np.asarray(self.arrays[name], dtype=np.float64)


@dataclass(frozen=True)
class EntrySummary:
    """One line of ``screen-cli kinds``.

    Parameters
    ----------
    key : str
    about : dict
    n_bytes : int
    last_used : float
        Seconds since 1970.
    """

    key: str
    about: dict[str, object]
    n_bytes: int
    last_used: float


@functools.cache
def shared_cache() -> KindCache | None:
    """Give the cache of this process; None where ``SCREEN_KINDS`` is ``off``.

    ``SCREEN_KINDS`` names its folder, ``SCREEN_KINDS_GB`` its size (10).
    """
    if os.environ.get("SCREEN_KINDS") == "off":
        return None
    return KindCache(default_folder(), _max_bytes())


def _max_bytes() -> int:
    """Read ``SCREEN_KINDS_GB``.

    Raises
    ------
    ConfigError
        It is no positive number.
    """
    text = os.environ.get("SCREEN_KINDS_GB", "10")
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not 0 < size < 1e6:
        raise ConfigError(f"SCREEN_KINDS_GB is {text!r}, expected a number of GB above 0, e.g. 10.")
    return int(1e9 * size)


def default_folder() -> Path:
    """Give the folder of the cache: ``SCREEN_KINDS``, else ``screen-cli/kinds`` below the user's cache folder."""
    named = os.environ.get("SCREEN_KINDS")
    if named:
        return Path(named)
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "screen-cli" / "kinds"


class KindCache:
    """Entries below one folder.

    Parameters
    ----------
    folder : path
    max_bytes : int
        The entries used longest ago go when all together are larger; one being made is never in the way of itself.
    """

    def __init__(self, folder: Path | str, max_bytes: int = 10_000_000_000) -> None:
        self.folder = Path(folder)
        self.max_bytes = max_bytes
        self._known: dict[str, Entry] = {}
        self._sound: dict[Path, tuple[object, ...]] = {}
        self._off = False

    def get_or_make(
        self, key: str, make: Callable[[], tuple[Mapping[str, object], Mapping[str, NDArray[np.generic]]]]
    ) -> Entry:
        """Give an entry, made by ``make() -> (about, arrays)`` where there is none; processes wait for one another."""
        entry = self._known.pop(key, None) or self._read(key) or self._make_alone(key, make)
        mapped = [known for known in self._known.values() if known.on_disk]
        n_bytes = sum(known.n_bytes for known in [*mapped, entry])
        for known in mapped:  # the one used longest ago first
            if n_bytes > _MAPPED_BYTES:
                n_bytes -= self._known.pop(known.key).n_bytes
        self._known[key] = entry
        return entry

    @property
    def scratch(self) -> Path | None:
        """Folder for files without a name while an entry is made; None where there is none."""
        return self.folder if not self._off and self.folder.is_dir() else None

    def entries(self) -> Iterator[EntrySummary]:
        """Iterate over what is there, sound or not."""
        for path in sorted(self.folder.glob(f"*/{_DESCRIPTION}")):
            try:
                description = cast("dict[str, Any]", parse_json(path.read_bytes()))
                n_bytes = sum(file["n_bytes"] for file in description["files"].values())
                yield EntrySummary(path.parent.name, description["about"], n_bytes, path.stat().st_mtime)
            except (OSError, ValueError, KeyError, TypeError):
                yield EntrySummary(path.parent.name, {"damaged": True}, 0, 0.0)

    def clear(self, keys: list[str] | None = None) -> int:
        """Delete entries (all of them by default) and what was left half made; give their number."""
        chosen = [entry.key for entry in self.entries()] if keys is None else keys
        for key in chosen:
            shutil.rmtree(self.folder / key, ignore_errors=True)
            self._known.pop(key, None)
        if keys is None:
            for left in [*self.folder.glob(".making-*"), *self.folder.glob("*.lock")]:
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
        return len(chosen)

    # -- reading ---------------------------------------------------------------------------------------

    def _read(self, key: str) -> Entry | None:
        """Read an entry and check it; None where there is none, and where it is damaged."""
        folder = self.folder / key
        try:
            description = cast("dict[str, Any]", parse_json((folder / _DESCRIPTION).read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            description = {}
        try:
            arrays = _checked_arrays(folder, description, key, self._sound)
            os.utime(folder / _DESCRIPTION)
            return Entry(key, description["about"], arrays, on_disk=True)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("the kind %s is damaged (%s) and is made again", key[:12], error)
            shutil.rmtree(folder, ignore_errors=True)
            return None

    # -- writing ---------------------------------------------------------------------------------------

    def _make_alone(
        self, key: str, make: Callable[[], tuple[Mapping[str, object], Mapping[str, NDArray[np.generic]]]]
    ) -> Entry:
        """Make an entry while others wait; without a usable folder, for this process alone."""
        if self._off:
            return _in_memory(key, *make())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / f"{key}.lock")
            lock.acquire()
        except OSError as error:
            self._switch_off(error)
            return _in_memory(key, *make())
        try:
            entry = self._read(key)  # someone else may have made it meanwhile
            if entry is not None:
                return entry
            about, arrays = make()
            try:
                self._write(key, about, arrays)
                self._make_room(key)
                return self._read(key) or _in_memory(key, about, arrays)
            except OSError as error:
                self._switch_off(error)
                return _in_memory(key, about, arrays)
        finally:
            lock.release()

    def _write(self, key: str, about: Mapping[str, object], arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Write an entry beside and rename it into place."""
        aside = Path(tempfile.mkdtemp(prefix=".making-", dir=self.folder))
        try:
            files = {}
            for name, array in arrays.items():
                with (aside / f"{name}.npy").open("wb") as handle:
                    checksum = _write_array(handle, np.ascontiguousarray(array))
                    handle.flush()
                    os.fsync(handle.fileno())
                files[name] = {"n_bytes": array.nbytes, "checksum": checksum}
            description = {"format": FORMAT, "key": key, "about": dict(about), "files": files, "made": time.time()}
            with (aside / _DESCRIPTION).open("w", encoding="utf-8") as handle:
                json.dump(description, handle, indent=1)
                handle.flush()
                os.fsync(handle.fileno())
            shutil.rmtree(self.folder / key, ignore_errors=True)
            os.rename(aside, self.folder / key)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _make_room(self, key: str) -> None:
        """Delete the entries used longest ago until the rest fits."""
        entries = sorted(self.entries(), key=lambda entry: entry.last_used)
        total = sum(entry.n_bytes for entry in entries)
        for entry in entries:
            if total <= self.max_bytes:
                break
            if entry.key != key:
                shutil.rmtree(self.folder / entry.key, ignore_errors=True)
                total -= entry.n_bytes

    def _switch_off(self, error: OSError) -> None:
        """Go on without the disk."""
        if not self._off:
            logger.warning(
                "the cache of kinds in %s cannot be used (%s); each process makes its own", self.folder, error
            )
        self._off = True


def _checked_arrays(
    folder: Path, description: object, key: str, sound: dict[Path, tuple[object, ...]]
) -> dict[str, NDArray[np.generic]]:
    """Map the arrays of an entry; any fault is an exception.

    ``sound`` remembers which files have been hashed, in the state they were in: a process that takes turns between
    kinds maps them again and again.
    """
    if not isinstance(description, dict):
        raise ValueError("its description cannot be read")
    if description["format"] != FORMAT or description["key"] != key:
        raise ValueError("it is of another version or key")
    arrays = {}
    for name, file in description["files"].items():
        path = folder / f"{name}.npy"
        if path.resolve().parent != folder.resolve():
            raise ValueError("a name leads out of it")
        arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        found = path.stat()
        state = (file["checksum"], found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if sound.get(path) != state:
            if _checksum(arrays[name]) != file["checksum"]:
                raise ValueError(f"the checksum of {name} is wrong")
            sound[path] = state
    return arrays


def _in_memory(key: str, about: Mapping[str, object], arrays: Mapping[str, NDArray[np.generic]]) -> Entry:
    """Make an entry that lives in this process."""
    return Entry(key, dict(about), dict(arrays), on_disk=False)


def _write_array(handle: BinaryIO, array: NDArray[np.generic]) -> str:
    """Write a C-contiguous array as ``.npy`` and give its checksum."""
    np.lib.format.write_array_header_1_0(handle, np.lib.format.header_data_from_array_1_0(array))
    return _checksum(array, handle.write)


def _checksum(array: NDArray[np.generic], take: Callable[[memoryview], object] = lambda block: None) -> str:
    """Hash the bytes of a C-contiguous array, and what they mean; a mapped one does not stay in memory for it."""
    digest = hashlib.blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=16)
    content = array.reshape(-1).view(np.uint8).data
    for start in range(0, len(content), _BLOCK):
        block = content[start : start + _BLOCK]
        digest.update(block)
        take(block)
        let_go(array)
    return digest.hexdigest()
