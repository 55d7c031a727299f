"""Reading a source into a run: what is taken, what a filter drops, what cannot be used. Each is counted."""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

from screen_cli.config import RunSettings
from screen_cli.crystal.metadata import source_columns
from screen_cli.crystal.structure import RejectedStructure, StructureFields
from screen_cli.errors import ConfigError, StoreError, StructureError
from screen_cli.plugins.manager import installed_plugins
from screen_cli.sources.filters import FilteredStructure, Kept, apply_filters
from screen_cli.store.atomic_write import flush_all, write_text
from screen_cli.store.index import Index
from screen_cli.store.reading import parse_json
from screen_cli.store.records import FailureReport
from screen_cli.store.row import Row
from screen_cli.store.run_directory import RunDirectory

logger = logging.getLogger(__name__)

JOURNAL = "filtered.jsonl"
"""File in the run directory with one line for each crystal that a filter dropped."""
_CHUNK = 500


def open_source(settings: RunSettings, **more_options: object) -> Iterator[Kept]:
    """Iterate over the crystals of a configuration, each with what the filters make of it.

    Parameters
    ----------
    settings : RunSettings
    **more_options : object
        Options that go before those of the configuration; one that the source does not take is left out.

    Raises
    ------
    ConfigError
        The source does not accept its options.
    """
    source = installed_plugins().get("structure_sources", settings.source.name).load()
    accepted = inspect.signature(source).parameters
    options = dict(settings.source.options) | {key: value for key, value in more_options.items() if key in accepted}
    if "settings" in accepted:
        options["settings"] = settings.read
    try:
        crystals = iter(source(**options))
    except TypeError as error:
        raise ConfigError(f"source '{settings.source.name}' does not accept its options: {error}.") from error
    return apply_filters(crystals, settings.filter)


def read_source(run: RunDirectory, index: Index, report_count: Callable[[int], None]) -> None:
    """Read the source of a run once; a reading that was cut short starts again from the front.

    Parameters
    ----------
    run : RunDirectory
    index : Index
    report_count : callable
        Told after each batch how many crystals have been read.

    Raises
    ------
    ConfigError
        The source gave nothing at all.
    """
    if index.meta("source_read"):
        return
    settings = run.settings.source
    n_read = 0
    journal = run.root / JOURNAL
    write_text(journal, "")
    for batch in _batches(open_source(run.settings)):
        rows = [_take(run, crystal) for crystal in batch if run.takes(_name(crystal))]
        _append(journal, [row for row in rows if row["state"] == "filtered"])
        index.add_structures(rows)
        n_read += len(batch)
        report_count(n_read)
    if not n_read:
        raise ConfigError(f"source '{settings.name}' gave no crystal (options: {settings.options}).")
    flush_all()  # from here on the source is not read again
    index.set_meta("source_read", True)


def filtered_rows(run: RunDirectory) -> Iterator[Row]:
    """Iterate over the index rows of the crystals that the filters dropped, as the journal has them."""
    path = run.root / JOURNAL
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    row = parse_json(line)
                    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
                        raise ValueError("it is no row")
                except ValueError:  # the last line of a killed driver
                    logger.warning("%s has a torn line, which is ignored", path)
                    continue
                yield row


def structure_row(description: StructureFields) -> Row:
    """Index row of a crystal, from the fields of ``Structure.to_dict``.

    Raises
    ------
    StructureError
        They are not what that writes.
    """
    row: dict[str, object] = {
        "id": description.get("id"),
        "formula": description.get("formula"),
        "space_group": description.get("space_group"),
        "provider": description.get("provider"),
        "provider_id": description.get("provider_id"),
    }
    numbers: object = description.get("numbers")  # whoever wrote the file may have meant something else
    if not isinstance(numbers, list) or not all(isinstance(value, (str, int, type(None))) for value in row.values()):
        raise StructureError("the stored structure is none that was written here. Read the source again.")
    return {
        **cast("Row", row),
        "n_atoms": len(numbers),
        "state": "pending",
        **source_columns(description),
    }


def rejected_row(report: FailureReport) -> Row:
    """Index row of something that could not be read, from its report in quarantine."""
    return {
        "id": report["id"],
        "provider": report.get("provider"),
        "provider_id": report.get("provider_id"),
        "state": "failed",
        "stage": "read",
        "reason": report["reason"],
    }


def _name(crystal: Kept) -> str:
    """Give what decides about the shard of a crystal."""
    if isinstance(crystal, FilteredStructure):
        return crystal.row_id
    return f"{crystal.provider}:{crystal.provider_id}" if isinstance(crystal, RejectedStructure) else crystal.id


def _take(run: RunDirectory, crystal: Kept) -> Row:
    """Put one crystal where it belongs and return its index row."""
    if isinstance(crystal, FilteredStructure):
        return crystal.row()
    if isinstance(crystal, RejectedStructure):
        where = f"{crystal.provider}:{crystal.provider_id}"
        report: FailureReport = {
            "id": "rejected-" + hashlib.sha256(where.encode()).hexdigest()[:12],
            "provider": crystal.provider,
            "provider_id": crystal.provider_id,
            "stage": "read",
            "reason": crystal.reason,
        }
        run.store.quarantine(report["id"], report)
        return rejected_row(report)
    description = crystal.to_dict()
    run.store.write_structure(crystal.id, description)
    return structure_row(description)


def _append(path: Path, rows: list[Row]) -> None:
    """Add lines to the journal."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    except OSError as error:
        raise StoreError(error.errno, f"cannot write {path}: {error.strerror}. Make room and run again") from error


def _batches(items: Iterator[Kept]) -> Iterator[list[Kept]]:
    """Cut an iterator into lists."""
    while batch := list(itertools.islice(items, _CHUNK)):
        yield batch
