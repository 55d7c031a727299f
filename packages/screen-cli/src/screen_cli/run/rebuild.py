"""The index and the records: made anew from them, and held against them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from screen_cli.errors import ScreenError, StoreError
from screen_cli.run.crystal import take_through
from screen_cli.run.pipeline import stages_for
from screen_cli.run.reading import filtered_rows, rejected_row, structure_row
from screen_cli.store.index import DamagedIndexError, Index
from screen_cli.store.run_directory import RunDirectory

logger = logging.getLogger(__name__)

_COMMIT_EVERY = 1.0


def rebuild_index(run: RunDirectory, *, source_read: bool | None = None) -> dict[str, int]:
    """Make the index anew from the records, and forget what killed processes left; return the number in each state.

    Parameters
    ----------
    run : RunDirectory
    source_read : bool, optional
        Whether the source need not be read again; default as the present index has it.
    """
    with run.locked():
        run.tidy()
        if source_read is None:
            source_read = was_source_read(run)
        run.remove_index()
        index = run.index(commit_every=_COMMIT_EVERY)
        try:
            whole = _index_structures_on_disk(run, index)
            index.set_meta("source_read", source_read and whole)
            return dict(index.counts())
        finally:
            index.close()


def was_source_read(run: RunDirectory) -> bool:
    """Whether the present index, if it can be read, knows that the source was read to the end."""
    try:
        with contextlib.closing(run.index(read_only=True)) as index:
            return bool(index.meta("source_read"))
    except StoreError:
        return False


def audit(run: RunDirectory, index: Index, *, deep: bool = False) -> Iterator[str]:
    """Iterate over the finished structures whose records were lost or damaged; each becomes pending again.

    Sizes are compared, one look into each folder; checksums are when a record is read, or here with ``deep``.
    """
    stages = {stage.name for stage in stages_for(run.settings)}
    lost = 0
    for structure_id, keys, n_bytes in index.finished():
        whole = bool(keys.keys() & stages) and run.store.bytes_of(structure_id, keys) == n_bytes
        if whole and deep:
            verdicts = [discard_damaged(run, structure_id, stage, key) for stage, key in keys.items()]
            whole = all(verdicts)
        if not whole:
            index.update(structure_id, "pending")
            lost += 1
            yield structure_id
    if lost:
        logger.warning("%d finished structures have damaged records and run again", lost)


def discard_damaged(run: RunDirectory, structure_id: str, stage: str, key: str) -> bool:
    """Whether a record is whole; of one that is not the JSON is removed, so that its stage runs again."""
    reason = run.store.damage(structure_id, stage, key)
    if reason:
        logger.warning("%s; its stage runs again", reason)
        run.store.path(structure_id, stage, key).unlink(missing_ok=True)
    return not reason


def open_index(run: RunDirectory) -> Index:
    """Open the index for its driver; one that is missing or damaged is made anew from the records."""
    path = run.root / "index.sqlite"
    fresh, source_read = not path.exists(), False
    try:
        index = run.index(commit_every=_COMMIT_EVERY)
        if damage := index.damage():
            source_read = was_source_read(run)
            with contextlib.suppress(StoreError):
                index.close()
            raise DamagedIndexError(f"the index {path} is damaged: {damage}")
    except DamagedIndexError as error:
        logger.warning("%s; it is made anew from the records", error)
        run.remove_index()
        index, fresh = run.index(commit_every=_COMMIT_EVERY), True
    if fresh and (run.root / "records").is_dir():
        whole = _index_structures_on_disk(run, index)
        index.set_meta("source_read", source_read and whole)
    return index


def _index_structures_on_disk(run: RunDirectory, index: Index) -> bool:
    """Fill the index from structure files, records and quarantine; False when the source must be read for some."""
    whole = True
    failed = {report["id"]: report for report in run.store.quarantined()}
    for structure_id in run.store.structure_ids():
        try:
            row = structure_row(run.store.read_structure(structure_id))
            outcome = take_through(run, structure_id, compute_missing=False)
        except ScreenError as error:
            logger.warning("%s of %s: %s", structure_id, run.root, error)
            whole = False
            continue
        index.add_structures([row])
        report = failed.pop(structure_id, None)
        if report and outcome.state != "pending":  # it came to its end later, or elsewhere
            run.store.release(structure_id)
            report = None
        index.update(
            structure_id,
            "failed" if report else outcome.state,
            stage=report["stage"] if report else outcome.stage,
            reason=report["reason"] if report else outcome.reason,
            scalars=outcome.scalars,
            keys=outcome.keys,
            stage_times=outcome.stage_times,
        )
    for report in failed.values():
        if report.get("stage") == "read":
            index.add_structures([rejected_row(report)])
    index.add_structures(filtered_rows(run))
    return whole
