"""The run directory: records as files, written whole, read with their checksums.

Layout::

    run/manifest.json                                  resolved configuration and versions
    run/index.sqlite                                   cache of states and scalars
    run/records/ab/<id>/structure.json                 the crystal
    run/records/ab/<id>/<stage>-<key>.json             data, and checksums of the files beside it
    run/records/ab/<id>/<stage>-<key>.hdf5             arrays, one dataset per name
    run/records/ab/<id>/<stage>-<key>.<suffix>         documents, e.g. a phono3py YAML
    run/records/ab/<id>/<stage>.interim-<key>.*        what a long stage has so far
    run/failed/<id>.json                               quarantine: stage, reason, traceback

The JSON is written last: it is what makes a record exist. It carries its own checksum and those of its parts; a record
that does not match them counts as absent, and its stage runs again. Names that come from a file are checked before they
become part of a path: whoever made a run directory cannot make a reader leave it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict, cast

from screen_cli.errors import StoreError
from screen_cli.store.atomic_write import sweep, write_bytes, write_text
from screen_cli.store.reading import read_regular
from screen_cli.store.reading.hdf5 import arrays_of_hdf5, hdf5_of_arrays
from screen_cli.store.record import Json, Record
from screen_cli.store.sealed import seal, unseal

if TYPE_CHECKING:
    from screen_cli.crystal.structure import StructureFields

logger = logging.getLogger(__name__)

FORMAT = 2
DROPPED = "arrays_dropped"
_WORTH_A_FLUSH = 0.1
"""Seconds of work; a flush takes up to 20 ms on a busy disk, and a record has three."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")


class Part(TypedDict):
    """One file beside the JSON of a record."""

    bytes: int
    sha256: str


class Meta(TypedDict):
    """How a record was made: seconds of wall time, most memory (10⁶ bytes), host, process, and time since 1970, s."""

    seconds: float
    peak_mb: NotRequired[float | None]
    host: str
    pid: int
    time: float


class Header(TypedDict):
    """The JSON part of a record."""

    format: int
    structure: str
    stage: str
    key: str
    data: dict[str, Json]
    parts: dict[str, Part]
    arrays_dropped: bool
    meta: Meta


class FailureReport(TypedDict):
    """Why a crystal is in quarantine: id, stage and reason; traceback, or the provider of what could not be read."""

    id: str
    stage: str
    reason: str
    traceback: NotRequired[str]
    provider: NotRequired[str]
    provider_id: NotRequired[str]


@dataclass(frozen=True)
class StoredRecord:
    """What the index needs of a record on disk, without its arrays.

    Parameters
    ----------
    structure_id, stage, key : str
    data : mapping of str to value
        Scalars and small values of the stage.
    seconds : float
        Wall time of the stage.
    n_bytes : int
        Total size of the record's files.
    peak_mb : float, optional
        Most memory the stage held, in 10⁶ bytes, the server of its force field included.
    """

    structure_id: str
    stage: str
    key: str
    data: Mapping[str, Json]
    seconds: float
    n_bytes: int
    peak_mb: float | None = None


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
        """Folder of one structure's records.

        Raises
        ------
        StoreError
            The id is none: it would leave the run directory.
        """
        _check_names(structure_id)
        return self.root / "records" / structure_id[:2] / structure_id

    def path(self, structure_id: str, stage: str, key: str, suffix: str = "json") -> Path:
        """Path of one part of a record (see :meth:`folder`)."""
        _check_names(stage, key, suffix)
        return self.folder(structure_id) / f"{stage}-{key}.{suffix}"

    # -- structures ----------------------------------------------------------------------------

    def write_structure(self, structure_id: str, description: StructureFields) -> None:
        """Keep a crystal as ``structure.json``; the first description of an id stays.

        It can be read from its source again, so the disk is not waited for.
        """
        path = self.folder(structure_id) / "structure.json"
        try:
            unseal(read_regular(path))
        except (OSError, ValueError):
            write_text(path, seal(description, finite=False), durable=False)

    def read_structure(self, structure_id: str) -> StructureFields:
        """Return what :meth:`write_structure` kept.

        Raises
        ------
        StoreError
            Missing or damaged.
        """
        path = self.folder(structure_id) / "structure.json"
        try:
            return cast("StructureFields", unseal(read_regular(path)))
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{path} is missing or damaged ({error}). Read the source anew: screen-cli run CONFIG --reread"
            ) from error

    def structure_ids(self) -> Iterator[str]:
        """Iterate over the ids of all structures on disk, sorted."""
        records = self.root / "records"
        if records.is_dir():
            for shard in sorted(path for path in records.iterdir() if path.is_dir()):
                for folder in sorted(shard.iterdir()):
                    if (folder / "structure.json").is_file() and _NAME.fullmatch(folder.name):
                        yield folder.name

    def sweep(self, structure_id: str) -> None:
        """Remove what killed workers left half-written of one structure."""
        sweep(self.folder(structure_id))

    # -- records -------------------------------------------------------------------------------

    def write(
        self,
        structure_id: str,
        stage: str,
        key: str,
        record: Record,
        *,
        seconds: float,
        peak_mb: float | None = None,
        drop_arrays: bool = False,
    ) -> StoredRecord:
        """Write a record: arrays, documents, then the JSON that makes them count.

        What took longer than a flush of the disk is flushed; the rest a power cut may undo, never a kill. Checksums
        tell a file that the disk did not get.

        Parameters
        ----------
        seconds : float
            Wall time of the stage; kept apart from ``data`` so that equal physics gives equal data.
        peak_mb : float, optional
            Most memory it held, in 10⁶ bytes.
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
            contents["hdf5"] = hdf5_of_arrays(record.arrays)
        for suffix, content in contents.items():
            write_bytes(self.path(structure_id, stage, key, suffix), content, durable=seconds > _WORTH_A_FLUSH)
        parts: dict[str, Part] = {
            suffix: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for suffix, content in contents.items()
        }
        header: Header = {
            "format": FORMAT,
            "structure": structure_id,
            "stage": stage,
            "key": key,
            "data": dict(record.data),
            "parts": parts,
            "arrays_dropped": bool(record.arrays) and drop_arrays,
            "meta": {
                "seconds": round(seconds, 4),
                "peak_mb": None if peak_mb is None else round(peak_mb, 1),
                "host": platform.node(),
                "pid": os.getpid(),
                "time": time.time(),
            },
        }
        text = seal(header)
        write_text(self.path(structure_id, stage, key), text, durable=seconds > _WORTH_A_FLUSH)
        n_bytes = len(text.encode()) + sum(len(content) for content in contents.values())
        data: dict[str, Json] = json.loads(text)["data"]
        return _described(header, data, n_bytes)

    def read(self, structure_id: str, stage: str, key: str) -> Record | None:
        """Return a whole, verified record, or None when it is absent, damaged or was kept without arrays."""
        header = self._header(structure_id, stage, key)
        if header is None or header["arrays_dropped"]:
            return None
        try:
            contents = self._parts(structure_id, stage, key, header)
            arrays = arrays_of_hdf5(contents.pop("hdf5")) if "hdf5" in contents else {}
            documents = {suffix: content.decode() for suffix, content in contents.items()}
        except ValueError as error:
            logger.warning("%s; its stage runs again", error)
            return None
        return Record(header["data"], arrays, documents)

    def records_of(self, structure_id: str) -> list[tuple[str, str]]:
        """Stage and key of every record of a structure whose JSON is there, sorted."""
        stems = (path.stem.rpartition("-") for path in sorted(self.folder(structure_id).glob("*-*.json")))
        return [(stage, key) for stage, _, key in stems if _NAME.fullmatch(stage) and _NAME.fullmatch(key)]

    def read_files(self, structure_id: str, stage: str, key: str) -> tuple[Header, dict[str, bytes]]:
        """Read the files of a record, the JSON last, by suffix.

        Raises
        ------
        OSError, ValueError
            One is missing, damaged, or lies elsewhere.
        """
        header = self._checked_header(structure_id, stage, key)
        contents = self._parts(structure_id, stage, key, header)
        return header, contents | {"json": read_regular(self.path(structure_id, stage, key))}

    def write_files(self, structure_id: str, stage: str, key: str, contents: Mapping[str, bytes]) -> None:
        """Put the files of a record in place, in the order given."""
        for suffix, content in contents.items():
            write_bytes(self.path(structure_id, stage, key, suffix), content, durable=False)

    def remove(self, structure_id: str, stage: str, key: str) -> None:
        """Remove the files of a record, if there is one, the JSON first."""
        for suffix in ("json", "hdf5"):
            self.path(structure_id, stage, key, suffix).unlink(missing_ok=True)

    def damage(self, structure_id: str, stage: str, key: str) -> str:
        """Read all of a record and say in a sentence what is wrong with it; empty when it is whole."""
        try:
            header = self._checked_header(structure_id, stage, key)
            contents = self._parts(structure_id, stage, key, header)
            if "hdf5" in contents:
                arrays_of_hdf5(contents["hdf5"])
        except (OSError, ValueError) as error:
            return str(error)
        return ""

    def _parts(self, structure_id: str, stage: str, key: str, header: Header) -> dict[str, bytes]:
        """Read the files beside the JSON; ValueError when one is not what the JSON says."""
        contents = {}
        for suffix, part in header["parts"].items():
            path = self.path(structure_id, stage, key, suffix)
            try:
                contents[suffix] = read_regular(path)
            except OSError as error:
                raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
            if hashlib.sha256(contents[suffix]).hexdigest() != part["sha256"]:
                raise ValueError(f"{path} is damaged: its checksum does not fit")
        return contents

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
        return _described(header, header["data"], n_bytes)

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

    def _header(self, structure_id: str, stage: str, key: str) -> Header | None:
        """Read the JSON part; None when absent or damaged."""
        try:
            return self._checked_header(structure_id, stage, key)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("%s; its stage runs again", error)
            return None

    def _checked_header(self, structure_id: str, stage: str, key: str) -> Header:
        """Read the JSON part; ValueError when it is damaged, or the record of something else."""
        path = self.path(structure_id, stage, key)
        content = read_regular(path)
        try:
            header = unseal(content)
        except ValueError as error:
            raise ValueError(f"record {path} is damaged: {error}") from error
        if header.get("format") != FORMAT:
            raise ValueError(f"record {path} has format {header.get('format')}, expected {FORMAT}")
        told = header.get("structure"), header.get("stage"), header.get("key")
        if told != (structure_id, stage, key):
            raise ValueError(f"record {path} is another one's: it names {told}")
        if not _has_form(header):
            raise ValueError(f"record {path} does not have the form of a record")
        return cast("Header", header)

    # -- quarantine ----------------------------------------------------------------------------

    def quarantine(self, structure_id: str, report: FailureReport) -> Path:
        """Keep stage, reason and traceback of a failed structure; return the file."""
        path = self._quarantine_path(structure_id)
        write_text(path, seal(report, finite=False, readable=True))
        return path

    def release(self, structure_id: str) -> None:
        """Forget a quarantine (the structure is tried again or succeeded)."""
        self._quarantine_path(structure_id).unlink(missing_ok=True)

    def _quarantine_path(self, structure_id: str) -> Path:
        """Where the report of a structure stands."""
        _check_names(structure_id)
        return self.root / "failed" / f"{structure_id}.json"

    def quarantined(self) -> Iterator[FailureReport]:
        """Iterate over the reports in quarantine."""
        folder = self.root / "failed"
        if folder.is_dir():
            for path in sorted(folder.glob("*.json")):
                try:
                    report = unseal(read_regular(path))
                    missing = {"id", "stage", "reason"} - report.keys()
                    if missing or report["id"] != path.stem:
                        raise ValueError(f"it lacks {sorted(missing)} or names another id")
                except (OSError, ValueError) as error:
                    logger.warning("quarantine file %s is damaged and ignored (%s)", path, error)
                    continue
                yield cast("FailureReport", report)


def _check_names(*names: str) -> None:
    """Refuse what cannot be part of a file name here."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise StoreError(
                f"{name!r} is no name of a structure, stage, key or part: it could leave the run directory."
            )


def _described(header: Header, data: Mapping[str, Json], n_bytes: int) -> StoredRecord:
    """Describe a record on disk."""
    meta = header["meta"]
    names = header["structure"], header["stage"], header["key"]
    return StoredRecord(*names, data, meta["seconds"], n_bytes, meta.get("peak_mb"))


def _has_form(header: Mapping[str, Json]) -> bool:
    """Whether the JSON of a record has all that a reader takes for granted; whoever made it may not wish us well."""
    meta, parts = header.get("meta"), header.get("parts")
    return (
        isinstance(header.get("data"), dict)
        and isinstance(header.get(DROPPED), bool)
        and isinstance(meta, dict)
        and isinstance(meta.get("seconds"), (int, float))
        and isinstance(meta.get("peak_mb", None), (int, float, type(None)))
        and isinstance(parts, dict)
        and all(
            _NAME.fullmatch(suffix)
            and isinstance(part, dict)
            and isinstance(part.get("bytes"), int)
            and isinstance(part.get("sha256"), str)
            for suffix, part in parts.items()
        )
    )
