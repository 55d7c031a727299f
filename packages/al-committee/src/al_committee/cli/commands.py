"""What each command does; data go to stdout."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from ase import Atoms

from al_committee.cli.objects import build_loop, build_pool, build_trainer, check_names, pinned_cache
from al_committee.cli.session import EXIT_OK, Session
from al_committee.config import read_config, template
from al_committee.errors import CommitteeError, ConfigError
from al_committee.file_access.atomic_write import whole_file, write_json
from al_committee.file_access.recursion import usual_recursion
from al_committee.labels.cache import LazyLabels
from al_committee.loop.evaluation import compare_with_labels
from al_committee.loop.interruption import StopWatch, parse_walltime
from al_committee.loop.learning import load_committee
from al_committee.loop.pages.round_page import format_rows
from al_committee.loop.run_directory import RunDirectory
from al_committee.selection.scoring import HISTOGRAM_EDGES

__all__ = ["adopt", "calibrate", "export", "init", "redo", "run_loop", "show_template", "status"]


def show_template(session: Session) -> int:
    """Print a commented config file."""
    print(template(), end="")
    return EXIT_OK


def init(session: Session, config: Path, folder: Path) -> int:
    """Make a run directory and check everything its config names."""
    check_names(read_config(config), config.resolve().parent, session.names)
    run = RunDirectory.create(folder, config)
    with run.locked():
        pool = build_pool(run, session.names, session.progress)
    index = pool.index
    held = f", {len(index.held_out)} held out" if index.held_out else ""
    print(f"{run.path}: {len(index)} crystals{held}, {len(pool)} supercells, seed {run.config.seed}")
    return EXIT_OK


def run_loop(
    session: Session,
    folder: Path,
    *,
    walltime: str | None,
    config: Path | None = None,
    accept_changes: bool = False,
) -> int:
    """Run or resume."""
    stop = StopWatch(parse_walltime(walltime) if walltime else None)
    if config:
        check_names(read_config(config), config.resolve().parent, session.names)
    run = RunDirectory.create(folder, config) if config else RunDirectory(folder)
    with run.locked():
        run.check_config(accept_changes=accept_changes)
        stop.listen()
        finished = build_loop(run, stop, session.progress, session.names).drive()
    print(f"finished after round {finished.last_round}: {finished.reason}")
    print(f"models: {run.path / finished.published}")
    return EXIT_OK


def status(session: Session, folder: Path, *, as_json: bool) -> int:
    """Show where the loop stands."""
    run = RunDirectory(folder)
    rows = [run.rounds.summary(number) for number in run.rounds.numbers()]
    failed, finished = run.failed(), run.finished()
    histogram = next((list(s.histogram) for s in reversed(list(run.rounds.selections())) if s.histogram), None)
    if as_json:
        value = {
            "rounds": [dataclasses.asdict(row) for row in rows],
            "failed": {key: record.reason for key, record in failed.items()},
            "finished": dataclasses.asdict(finished) if finished is not None else None,
            "histogram": histogram,
            "histogram_edges": list(HISTOGRAM_EDGES),
        }
        print(json.dumps(value, indent=1))
        return EXIT_OK
    for line in _aligned(format_rows(rows)) if rows else ["no round yet: al-committee run RUN starts the first"]:
        print(line)
    if histogram:
        print("\nε over the pool's atoms (meV/Å), last scored round:")
        print("\n".join(_bars(histogram, [1e3 * float(edge) for edge in HISTOGRAM_EDGES])))
    if failed:
        print(f"\n{len(failed)} failed labels:")
        for record in list(failed.values())[:10]:
            print(f"  {record.name}: {(record.reason.splitlines() or ['?'])[0][:100]}")
    print(f"\n{'finished: ' + finished.reason if finished is not None else 'not finished'}")
    return EXIT_OK


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width."""
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table]


def _bars(counts: Sequence[int], edges: Sequence[float]) -> list[str]:
    """Give a histogram in text, four bins in one line's bar, empty ends cut."""
    grouped = [sum(counts[k : k + 4]) for k in range(0, len(counts), 4)]
    filled = [k for k, count in enumerate(grouped) if count]
    largest = max(grouped)
    return [
        f"{edges[4 * k]:9.3g} – {edges[4 * k + 4]:<9.3g} {grouped[k]:8d} "
        + "#" * max(1 if grouped[k] else 0, round(40 * grouped[k] / largest))
        for k in (range(filled[0], filled[-1] + 1) if filled else ())
    ]


def redo(session: Session, folder: Path, *, number: int | None, step: str, failed: bool) -> int:
    """Set a round back, or forget failures."""
    run = RunDirectory(folder)
    if number is None and not failed:
        raise ConfigError("nothing to redo: give --round N [--step STEP], or --failed.")
    with run.locked():
        if failed:
            forgotten = run.forget_failures()
            print(f"{forgotten} failed labels may be tried again; the rounds that asked for them are reopened")
        if number is not None:
            if number not in run.rounds.numbers():
                raise ConfigError(f"round {number} does not exist; rounds: {run.rounds.numbers()}.")
            for path in run.set_back(number, step):
                print(path)
    return EXIT_OK


def _round_of(run: RunDirectory, asked: int | None) -> int:
    """Give the round asked for, or the last."""
    numbers = run.rounds.numbers()
    if asked is not None and asked not in numbers:
        raise ConfigError(f"round {asked} does not exist; rounds: {numbers}.")
    return asked if asked is not None else max(numbers, default=0)


def export(session: Session, folder: Path, output: Path, *, number: int | None, what: str) -> int:
    """Write structures."""
    from ase.io import write
    from ase.io.formats import UnknownFileTypeError

    run = RunDirectory(folder)
    last = _round_of(run, number)
    structures: Sequence[Atoms]
    if what == "selected":
        structures = run.selected_structures(last) if run.rounds.selection(last) is not None else []
    elif what == "test":
        structures = _test_atoms(run)
    else:
        structures = LazyLabels(pinned_cache(run), run.rounds.training_keys(last))
    if not structures:
        raise CommitteeError(f"there is nothing to export as {what!r} for round {last}.")
    if not output.parent.is_dir():
        raise ConfigError(f"{output} cannot be written: there is no folder {output.parent}. Make it.")
    try:
        with whole_file(output) as aside:
            write(aside, list(structures))
    except (UnknownFileTypeError, KeyError) as error:
        raise ConfigError(f"ASE writes no such file as {output} ({error}). Name it .extxyz or .db.") from error
    print(f"{len(structures)} structures -> {output}")
    return EXIT_OK


def _test_atoms(run: RunDirectory) -> LazyLabels:
    """Labelled test structures."""
    record = run.test_set()
    return LazyLabels(pinned_cache(run), record.labels.done if record is not None else ())


def calibrate(session: Session, folder: Path, *, number: int | None, data: Path | None) -> int:
    """Print and keep the calibration of a committee."""
    run = RunDirectory(folder)
    last = run.rounds.last_trained()
    if last is None:
        raise CommitteeError(f"{run.path} has no trained committee yet.")
    number = last if number is None else _round_of(run, number)
    structures: Iterable[Atoms] = _read_labels(data) if data else _test_atoms(run)
    if not structures:
        raise ConfigError("no test set: set pool.test_structures, or give labelled structures with --data.")
    committee = load_committee(run, build_trainer(run.config, session.names), number)
    found = compare_with_labels(committee, structures)[0]
    flat = dataclasses.asdict(found.calibration) if found.calibration is not None else {}
    record = {**dataclasses.asdict(found), **flat, "round": number}
    del record["calibration"]
    write_json(run.rounds.round_folder(number) / "calibration.json", record)
    print(json.dumps(record, indent=1))
    return EXIT_OK


def _read_labels(path: Path) -> list[Atoms]:
    """Labelled structures of a file."""
    from ase.io import read

    from al_committee.selection.pool import check_xyz

    try:
        check_xyz(path)
        with usual_recursion():
            return list(read(path, ":"))
    except CommitteeError:
        raise
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist.") from None
    except Exception as error:  # ASE's readers raise anything
        raise ConfigError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def adopt(session: Session, folder: Path) -> int:
    """Take over earlier labels."""
    taken, left = pinned_cache(RunDirectory(folder)).adopt_earlier()
    print(f"{taken} labels taken over, {left} left (a force of exactly zero, as of a fixed atom, or a damaged file)")
    return EXIT_OK
