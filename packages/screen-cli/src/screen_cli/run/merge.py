"""Joining run directories: what shards found elsewhere, in one place.

Records are copied file by file, the JSON that makes a record count last, and what is there already stays. So a merge
that was cut short goes on where it stopped, and one that is done again does nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from screen_cli.errors import ConfigError, StoreError
from screen_cli.run.reading import JOURNAL, filtered_rows
from screen_cli.run.rebuild import rebuild_index, was_source_read
from screen_cli.store.atomic_write import flush_all, write_bytes
from screen_cli.store.records import Header
from screen_cli.store.run_directory import RunDirectory, setting_differences

logger = logging.getLogger(__name__)


@dataclass
class MergeReport:
    """What a merge did.

    Parameters
    ----------
    n_copied, n_known : int
        Records that were copied, and that were there with the same content.
    conflicts : list of str
        One sentence for each record that both sides have with different results; the target keeps its own.
    damaged : list of str
        Records of a source that are not whole; their stages run again.
    missing_shards : list of str
        Shards of the campaign that were not among the sources.
    counts : dict of str to int
        Structures in each state, afterwards.
    """

    n_copied: int = 0
    n_known: int = 0
    conflicts: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    missing_shards: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def merge_runs(
    sources: Sequence[Path | str], target: Path | str, *, tell: Callable[[int], None] = lambda n: None
) -> MergeReport:
    """Copy what the runs ``sources`` found into the run ``target``, which is made when missing.

    Parameters
    ----------
    sources : sequence of path
        Run directories of one configuration, or of one and its children (source ``children``, all else the same); they
        are only read.
    target : path
    tell : callable
        Told how many structures have been looked at.

    Raises
    ------
    ConfigError
        The configurations differ; each difference is named.
    StoreError
        A source is no run directory, or the target cannot be written.
    """
    runs = [RunDirectory.open(source) for source in sources]
    for run in runs[1:]:
        if differences := _differing_settings(runs[0], run):
            raise ConfigError(
                f"{runs[0].root} and {run.root} have different settings: {'; '.join(differences)}. Results of "
                "different settings are not joined; compare them with: screen-cli compare"
            )
    merged = RunDirectory.create(target, runs[0].settings)
    if any(run.root.resolve() == merged.root.resolve() for run in runs):
        raise ConfigError(f"{target} is a source and the target. Merge into another directory.")
    report = MergeReport()
    with merged.locked():
        merged.remove_index()  # whoever comes after an interruption makes it anew
        n_seen = 0
        for run in runs:
            _join_journals(run, merged)
            for structure_id in run.store.structure_ids():
                _merge_structure(run, merged, structure_id, report)
                n_seen += 1
                tell(n_seen)
            for quarantined in run.store.quarantined():
                if not (merged.root / "failed" / f"{quarantined['id']}.json").exists():
                    merged.store.quarantine(quarantined["id"], quarantined)
        flush_all()
    report.missing_shards = _missing_shards(runs)
    whole = not report.missing_shards and all(was_source_read(run) for run in runs)
    report.counts = rebuild_index(merged, source_read=whole)
    return report


def _differing_settings(first: RunDirectory, other: RunDirectory) -> list[str]:
    """Name the settings that keep two runs from being joined: children have another source than their parents."""
    differences = setting_differences(first.settings, other.settings)
    if "children" in (first.settings.source.name, other.settings.source.name):
        return [difference for difference in differences if not difference.startswith("source.")]
    return differences


def _merge_structure(run: RunDirectory, merged: RunDirectory, structure_id: str, report: MergeReport) -> None:
    """Copy one structure and its records."""
    try:
        description = run.store.read_structure(structure_id)
    except StoreError as error:
        report.damaged.append(str(error))
        return
    merged.store.sweep(structure_id)  # of a merge that was killed
    merged.store.write_structure(structure_id, description)
    for stage, key in run.store.records_of(structure_id):
        try:
            theirs, contents = run.store.read_files(structure_id, stage, key)
        except (OSError, ValueError) as error:
            report.damaged.append(f"{stage}-{key} of {structure_id} in {run.root} is not whole: {error}")
            continue
        try:
            ours, _ = merged.store.read_files(structure_id, stage, key)
        except (OSError, ValueError):
            merged.store.write_files(structure_id, stage, key, contents)
            report.n_copied += 1
            continue
        if (ours["data"], ours["parts"]) == (theirs["data"], theirs["parts"]):
            report.n_known += 1
        else:
            differences = "; ".join(_differences(ours, theirs))
            report.conflicts.append(f"{stage}-{key} of {structure_id}: {differences} (first: kept, then {run.root})")


def _differences(kept: Header, other: Header) -> Iterator[str]:
    """Yield what two records of one key disagree about."""
    for name in sorted(kept["data"].keys() | other["data"].keys()):
        if kept["data"].get(name) != other["data"].get(name):
            yield f"{name} is {kept['data'].get(name)!r} and {other['data'].get(name)!r}"
    if kept["parts"] != other["parts"]:
        yield f"the files {sorted(kept['parts'].keys() | other['parts'].keys())} differ"


def _join_journals(run: RunDirectory, merged: RunDirectory) -> None:
    """Add the filtered crystals of a run to those of the merged one, each once."""
    lines: dict[str, None] = {}
    for owner in (merged, run):
        if (owner.root / JOURNAL).is_file():
            lines |= dict.fromkeys(json.dumps(row) for row in filtered_rows(owner))
    if lines:
        write_bytes(merged.root / JOURNAL, "".join(f"{line}\n" for line in lines).encode())


def _missing_shards(runs: Sequence[RunDirectory]) -> list[str]:
    """Shards that no source was; empty when one of them was whole."""
    shards = [run.shard for run in runs]
    if None in shards:
        return []
    n_shards = {n for _, n in filter(None, shards)}
    have = {f"{k}/{n}" for k, n in filter(None, shards)}
    return [f"{k}/{n}" for n in sorted(n_shards) for k in range(1, n + 1) if f"{k}/{n}" not in have]
