"""Reading a whole run directory, and naming what is damaged."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from screen_cli.errors import StoreError
from screen_cli.store.atomic_write import LITTER
from screen_cli.store.run_directory import RunDirectory


@dataclass
class Verification:
    """What is wrong with a run directory, and how much was read.

    Parameters
    ----------
    n_structures, n_records : int
        That were read.
    damaged : list of str
        One sentence for each file that is not what was written; its work runs again with ``run --deep``.
    litter : list of pathlib.Path
        Half-written files of processes that were killed; no reader looks at them.
    """

    n_structures: int = 0
    n_records: int = 0
    damaged: list[str] = field(default_factory=list)
    litter: list[Path] = field(default_factory=list)


def verify(run: RunDirectory) -> Verification:
    """Read every structure, record and page of the index of a run, and compare checksums.

    Nothing is changed; a driver may work there at the same time.
    """
    found = Verification()
    found.damaged.extend(_index_damage(run))
    for structure_id in run.store.structure_ids():
        found.n_structures += 1
        with contextlib.suppress(FileNotFoundError):  # a driver may have replaced it
            found.damaged.extend(_structure_damage(run, structure_id, found))
    reports = {report["id"] for report in run.store.quarantined()}
    for path in sorted((run.root / "failed").glob("*.json")):
        if path.stem not in reports:
            found.damaged.append(f"the quarantine report {path} cannot be read")
    found.litter.extend(_litter(run.root))
    return found


def _structure_damage(run: RunDirectory, structure_id: str, found: Verification) -> Iterator[str]:
    """Yield a sentence for each damaged file of one structure."""
    try:
        run.store.read_structure(structure_id)
    except StoreError as error:
        yield str(error)
    records = run.store.records_of(structure_id)
    for stage, key in records:
        found.n_records += 1
        if reason := run.store.damage(structure_id, stage, key):
            yield reason


def _index_damage(run: RunDirectory) -> Iterator[str]:
    """Yield what is wrong with the index: its pages, and records it counts on that are not there."""
    path = run.root / "index.sqlite"
    if not path.exists():
        return
    fix = f"Make it anew: screen-cli rebuild {run.root}"
    try:
        with contextlib.closing(run.index(read_only=True)) as index:
            if damage := index.damage():
                yield f"the index {path} is damaged: {damage}. {fix}"
                return
            for structure_id, keys, n_bytes in index.finished():
                if run.store.bytes_of(structure_id, keys) != n_bytes:
                    yield f"records of {structure_id} are missing, or not of the size that the index knows"
    except (StoreError, ValueError) as error:
        yield f"{error}"


def _litter(root: Path) -> Iterator[Path]:
    """Iterate over half-written files anywhere below."""
    for folder, _, names in os.walk(root):
        for name in names:
            if name.startswith(LITTER):
                yield Path(folder) / name
