"""The run directory: records as files, written whole, read with their checksums.

Layout::

    run/manifest.json                                  resolved configuration and versions
    run/index.sqlite                                   cache of states and scalars
    run/records/ab/<id>/structure.json                 the crystal
    run/records/ab/<id>/<stage>-<key>.json             data, and checksums of the files beside it
    run/records/ab/<id>/<stage>-<key>.hdf5             arrays, one dataset per name
    run/records/ab/<id>/<stage>-<key>.<suffix>         documents, e.g. a phono3py YAML
    run/failed/<id>.json                               quarantine: stage, reason, traceback

The JSON is written last: it is what makes a record exist. A record whose parts do not match their
checksums counts as absent, and its stage runs again.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from screen_cli.errors import StoreError
from screen_cli.store.atomic_write import write_bytes, write_text
from screen_cli.store.record import Record

logger = logging.getLogger(__name__)

FORMAT = 1
DROPPED = "arrays_dropped"
_WORTH_A_FLUSH = 0.1
"""Seconds of work; a flush takes up to 20 ms on a busy disk, and a record has three."""


@dataclass(frozen=True)
class StoredRecord:
    """What the index needs of a record on disk, without its arrays.

    Parameters
    ----------
    structure_id, stage, key : str
    data : dict
        Scalars and small values of the stage.
    seconds : float
        Wall time of the stage.
    n_bytes : int
        Total size of the record's files.
    """

    structure_id: str
    stage: str
    key: str
    data: dict[str, Any]
    seconds: float
    n_bytes: int


class RecordStore:
    """Read and write the records of one run directory. Safe from any number of processes.

    Parameters
    ----------
    root : Path
        The run directory.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def folder(self, structure_id: str) -> Path:
        """Folder of one structure's records."""
        return self.root / "records" / structure_id[:2] / structure_id

    def path(self, structure_id: str, stage: str, key: str, suffix: str = "json") -> Path:
        """Path of one part of a record."""
        return self.folder(structure_id) / f"{stage}-{key}.{suffix}"

    # -- structures ----------------------------------------------------------------------------

    def write_structure(self, structure_id: str, description: dict[str, Any]) -> None:
        """Keep a crystal as ``structure.json``; the first description of an id stays.

        It can be read from its source again, so the disk is not waited for.
        """
        path = self.folder(structure_id) / "structure.json"
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            write_text(path, json.dumps(description, sort_keys=True), durable=False)

    def read_structure(self, structure_id: str) -> dict[str, Any]:
        """Return what :meth:`write_structure` kept.

        Raises
        ------
        StoreError
            Missing or damaged.
        """
        path = self.folder(structure_id) / "structure.json"
        try:
            description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise StoreError(f"{path} is missing or damaged ({error}). Run again to read its source anew.") from error
        return description

    def structure_ids(self) -> Iterator[str]:
        """Iterate over the ids of all structures on disk, sorted."""
        records = self.root / "records"
        if records.is_dir():
            for shard in sorted(records.iterdir()):
                for folder in sorted(shard.iterdir()):
                    if (folder / "structure.json").is_file():
                        yield folder.name

    # -- records -------------------------------------------------------------------------------

    def write(
        self,
        structure_id: str,
        stage: str,
        key: str,
        record: Record,
        *,
        seconds: float,
        drop_arrays: bool = False,
    ) -> StoredRecord:
        """Write a record: arrays, documents, then the JSON that makes them count.

        What took longer than a flush of the disk is flushed; the rest a power cut may undo, never a kill. Checksums
        tell a file that the disk did not get.

        Parameters
        ----------
        seconds : float
            Wall time of the stage; kept apart from ``data`` so that equal physics gives equal data.
        drop_arrays : bool
            Keep the data only (the record then cannot feed a later stage and is recomputed if one needs it).

        Raises
        ------
        StoreError
            No room or no rights; the record then does not exist.
        PhysicsError
            The record holds NaN or infinity.
        """
        record.check_finite(stage)
        contents = {suffix: text.encode() for suffix, text in record.documents.items()}
        if record.arrays and not drop_arrays:
            contents["hdf5"] = _hdf5_bytes(record)
        for suffix, content in contents.items():
            write_bytes(self.path(structure_id, stage, key, suffix), content, durable=seconds > _WORTH_A_FLUSH)
        parts = {
            suffix: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for suffix, content in contents.items()
        }
        header: dict[str, Any] = {
            "format": FORMAT,
            "structure": structure_id,
            "stage": stage,
            "key": key,
            "data": record.data,
            "parts": parts,
            DROPPED: bool(record.arrays) and drop_arrays,
            "meta": {
                "seconds": round(seconds, 4),
                "host": platform.node(),
                "pid": os.getpid(),
                "time": time.time(),
            },
        }
        text = json.dumps(header, default=_plain, allow_nan=False, sort_keys=True)  # an indent would slow json tenfold
        write_text(self.path(structure_id, stage, key), text, durable=seconds > _WORTH_A_FLUSH)
        n_bytes = len(text.encode()) + sum(len(content) for content in contents.values())
        data: dict[str, Any] = json.loads(text)["data"]
        return StoredRecord(structure_id, stage, key, data, header["meta"]["seconds"], n_bytes)

    def read(self, structure_id: str, stage: str, key: str) -> Record | None:
        """Return a whole, verified record, or None when it is absent, damaged or was kept without arrays."""
        header = self._header(structure_id, stage, key)
        if header is None or header[DROPPED]:
            return None
        arrays: dict[str, Any] = {}
        documents: dict[str, str] = {}
        for suffix, part in header["parts"].items():
            path = self.path(structure_id, stage, key, suffix)
            content = path.read_bytes() if path.is_file() else b""
            if hashlib.sha256(content).hexdigest() != part["sha256"]:
                logger.warning("record %s is damaged; its stage runs again", path)
                return None
            if suffix == "hdf5":
                arrays = _arrays(content)
            else:
                documents[suffix] = content.decode()
        return Record(header["data"], arrays, documents)

    def find(self, structure_id: str, stage: str, key: str) -> StoredRecord | None:
        """Return the description of a record whose files are all there in full size, else None."""
        header = self._header(structure_id, stage, key)
        if header is None:
            return None
        n_bytes = self.path(structure_id, stage, key).stat().st_size
        for suffix, part in header["parts"].items():
            path = self.path(structure_id, stage, key, suffix)
            if not path.is_file() or path.stat().st_size != part["bytes"]:
                logger.warning("record %s is damaged; its stage runs again", path)
                return None
            n_bytes += part["bytes"]
        return StoredRecord(structure_id, stage, key, header["data"], header["meta"]["seconds"], n_bytes)

    def bytes_of(self, structure_id: str, keys: Mapping[str, str]) -> int:
        """Size of the files of some records, from one look into the folder; 0 when there is none.

        Parameters
        ----------
        keys : mapping of str to str
            ``stage -> key``.
        """
        wanted = {f"{stage}-{key}" for stage, key in keys.items()}
        folder = f"{self.folder(structure_id)}{os.sep}"
        try:
            # names before stat: this runs once for every file of a campaign
            return sum(
                os.stat(folder + name).st_size for name in os.listdir(folder) if name.partition(".")[0] in wanted
            )
        except OSError:
            return 0

    def _header(self, structure_id: str, stage: str, key: str) -> dict[str, Any] | None:
        """Read the JSON part; None when absent or damaged."""
        path = self.path(structure_id, stage, key)
        try:
            header: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("record %s is damaged (%s); its stage runs again", path, error)
            return None
        if header.get("format") != FORMAT or header.get("key") != key:
            logger.warning("record %s has another format or key; its stage runs again", path)
            return None
        return header

    # -- quarantine ----------------------------------------------------------------------------

    def quarantine(self, structure_id: str, report: dict[str, Any]) -> Path:
        """Keep stage, reason and traceback of a failed structure; return the file."""
        path = self.root / "failed" / f"{structure_id}.json"
        write_text(path, json.dumps(report, default=_plain, sort_keys=True, indent=1))
        return path

    def release(self, structure_id: str) -> None:
        """Forget a quarantine (the structure is tried again or succeeded)."""
        (self.root / "failed" / f"{structure_id}.json").unlink(missing_ok=True)

    def quarantined(self) -> Iterator[dict[str, Any]]:
        """Iterate over the reports in quarantine."""
        folder = self.root / "failed"
        if folder.is_dir():
            for path in sorted(folder.glob("*.json")):
                try:
                    yield json.loads(path.read_text(encoding="utf-8"))
                except ValueError:
                    logger.warning("quarantine file %s is damaged and ignored", path)


def _hdf5_bytes(record: Record) -> bytes:
    """Write one dataset per array; large ones compressed.

    In memory, because HDF5 may hide a write that failed on a full disk until the file is closed.
    """
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in sorted(record.arrays.items()):
            array = np.asarray(array)
            large = array.nbytes > 1_000_000
            file.create_dataset(name, data=array, compression="lzf" if large else None, shuffle=large)
    return buffer.getvalue()


def _arrays(content: bytes) -> dict[str, Any]:
    """Read every dataset of an HDF5 file in memory."""
    import h5py

    with h5py.File(io.BytesIO(content), "r") as file:
        return {name: dataset[()] for name, dataset in file.items()}


def _plain(value: Any) -> Any:
    """Turn numpy scalars and arrays into JSON values."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
