"""``al-committee``: init, run, status, resume, redo, export, calibrate; data on stdout."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from al_committee.errors import CommitteeError
from al_committee.interruption import PausedError, StopWatch, parse_walltime
from al_committee.loop.run_directory import RunDirectory
from al_committee.progress import log_to_terminal

__all__ = ["EXIT_ERROR", "EXIT_MORE_TO_DO", "EXIT_OK", "main"]

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_MORE_TO_DO = 75
"""The loop stopped cleanly with work left (walltime, signal, outstanding labels): run resume later."""

STEP_NAMES = {"select": "selection", "label": "labels", "train": "models", "evaluate": "evaluation"}


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="al-committee",
        description="Active learning with a committee of force fields, any source of labels, any crash.",
        epilog=f"Exit status: {EXIT_OK} done, {EXIT_ERROR} error, {EXIT_MORE_TO_DO} stopped with work left.",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="more on stderr")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    init = commands.add_parser("init", help="make a run directory from a config file")
    init.add_argument("config", type=Path)
    init.add_argument("run", type=Path)

    run = commands.add_parser("run", help="run the loop (with --config: init first)")
    run.add_argument("run", type=Path)
    run.add_argument("--config", type=Path, help="config file, when the run directory is new")
    run.add_argument("--walltime", metavar="TIME", help="drain and stop after 90s, 15m, 1.5h, 1:30:00 …")

    resume = commands.add_parser("resume", help="go on where the loop stopped")
    resume.add_argument("run", type=Path)
    resume.add_argument("--walltime", metavar="TIME")
    resume.add_argument(
        "--accept-changes", action="store_true", help="take over changed limits and budgets from config.toml"
    )

    status = commands.add_parser("status", help="rounds, recommended, labelled, failed, errors, histogram")
    status.add_argument("run", type=Path)
    status.add_argument("--json", action="store_true", help="machine-readable")

    redo = commands.add_parser("redo", help="move a round's results from a step on aside, or forget failures")
    redo.add_argument("run", type=Path)
    redo.add_argument("--round", type=int, help="round to set back; later rounds go aside with it")
    redo.add_argument("--step", choices=sorted(STEP_NAMES), default="select")
    redo.add_argument("--failed", action="store_true", help="give quarantined labels another try")

    export = commands.add_parser("export", help="write labelled structures to a file ASE can write")
    export.add_argument("run", type=Path)
    export.add_argument("output", type=Path, help=".extxyz, .db, .json …")
    export.add_argument("--round", type=int, help="labels up to this round (default: all)")
    export.add_argument("--what", choices=("labels", "test", "selected"), default="labels")

    calibrate = commands.add_parser("calibrate", help="ε against true error: area and scale factor")
    calibrate.add_argument("run", type=Path)
    calibrate.add_argument("--round", type=int, help="committee of this round (default: the last trained)")
    calibrate.add_argument("--data", type=Path, help="labelled structures (default: the test set)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        Arguments without the program's name; the process's own by default.

    Returns
    -------
    int
        0 done, 1 error, 75 stopped cleanly with work left.
    """
    arguments = build_parser().parse_args(argv)
    arguments.progress = log_to_terminal(logging.DEBUG if arguments.verbose else logging.INFO)
    for chatty in ("matplotlib", "fontTools"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    commands = {
        "init": _init,
        "run": _run,
        "resume": _run,
        "status": _status,
        "redo": _redo,
        "export": _export,
        "calibrate": _calibrate,
    }
    try:
        return commands[arguments.command](arguments)
    except PausedError as pause:
        print(pause, file=sys.stderr)
        return EXIT_MORE_TO_DO
    except CommitteeError as error:
        print(f"al-committee: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("al-committee: interrupted; resume goes on from the last finished step", file=sys.stderr)
        return 130


def _init(arguments: argparse.Namespace) -> int:
    """Make a run directory and check everything its config names."""
    from al_committee.config import read_config
    from al_committee.loop.factories import build_pool, check_names

    check_names(read_config(arguments.config))
    run = RunDirectory.create(arguments.run, arguments.config)
    pool = build_pool(run)
    n_crystals = len(pool.structure_ids)
    print(f"{run.path}: {n_crystals} crystals, {len(pool)} supercells, seed {run.config.seed}")
    return EXIT_OK


def _run(arguments: argparse.Namespace) -> int:
    """Run or resume."""
    from al_committee.config import read_config
    from al_committee.loop.factories import build_loop, check_names

    stop = StopWatch(parse_walltime(arguments.walltime) if arguments.walltime else None)
    config = getattr(arguments, "config", None)
    if config:
        check_names(read_config(config))
    run = RunDirectory.create(arguments.run, config) if config else RunDirectory(arguments.run)
    with run.locked():
        run.check_config(accept_changes=getattr(arguments, "accept_changes", False))
        stop.listen()
        finished = build_loop(run, stop, arguments.progress).drive()
    print(f"finished after round {finished['last_round']}: {finished['reason']}")
    print(f"models: {run.path / finished['published']}")
    return EXIT_OK


def _status(arguments: argparse.Namespace) -> int:
    """Show where the loop stands."""
    from al_committee.loop.report import format_rows
    from al_committee.selection.scoring import HISTOGRAM_EDGES

    run = RunDirectory(arguments.run)
    rows = [run.summary(number) for number in run.rounds()]
    failed = run.failed()
    finished = run.finished()
    histogram = None
    for number in run.rounds():
        histogram = (run.record(number, "selection") or {}).get("histogram") or histogram
    if arguments.json:
        value = {
            "rounds": rows,
            "failed": {key: record["reason"] for key, record in failed.items()},
            "finished": finished,
            "histogram": histogram,
            "histogram_edges": list(HISTOGRAM_EDGES),
        }
        print(json.dumps(value, indent=1))
        return EXIT_OK
    for line in _aligned(format_rows(rows)):
        print(line)
    if histogram:
        print("\nε over the pool's atoms (meV/Å), last scored round:")
        print("\n".join(_bars(histogram, [1e3 * float(edge) for edge in HISTOGRAM_EDGES])))
    if failed:
        print(f"\n{len(failed)} failed labels:")
        for record in list(failed.values())[:10]:
            print(f"  {record['name']}: {record['reason'].splitlines()[0][:100]}")
    print(f"\n{'finished: ' + finished['reason'] if finished else 'not finished'}")
    return EXIT_OK


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width."""
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table]


def _bars(counts: Sequence[int], edges: Sequence[float]) -> list[str]:
    """A histogram in text, four bins in one line's bar, empty ends cut."""
    grouped = [sum(counts[k : k + 4]) for k in range(0, len(counts), 4)]
    filled = [k for k, count in enumerate(grouped) if count]
    largest = max(grouped)
    return [
        f"{edges[4 * k]:9.3g} – {edges[4 * k + 4]:<9.3g} {grouped[k]:8d} "
        + "#" * max(1 if grouped[k] else 0, round(40 * grouped[k] / largest))
        for k in (range(filled[0], filled[-1] + 1) if filled else ())
    ]


def _redo(arguments: argparse.Namespace) -> int:
    """Set a round back, or forget failures."""
    run = RunDirectory(arguments.run)
    if arguments.round is None and not arguments.failed:
        raise CommitteeError("nothing to redo: give --round N [--step STEP], or --failed.")
    with run.locked():
        if arguments.failed:
            forgotten = run.forget_failures()
            print(f"{forgotten} failed labels may be tried again; the rounds that asked for them are reopened")
        if arguments.round is not None:
            if arguments.round not in run.rounds():
                raise CommitteeError(f"round {arguments.round} does not exist; rounds: {run.rounds()}.")
            for path in run.set_back(arguments.round, STEP_NAMES[arguments.step]):
                print(path)
    return EXIT_OK


def _export(arguments: argparse.Namespace) -> int:
    """Write structures."""
    from ase.io import write

    from al_committee.loop.factories import build_loop

    run = RunDirectory(arguments.run)
    loop = build_loop(run)
    trained = [n for n in run.rounds() if run.record(n, "labels") is not None]
    if not trained and arguments.what != "selected":
        raise CommitteeError(f"{run.path} has no labels yet.")
    last = arguments.round if arguments.round is not None else max(run.rounds(), default=0)
    if arguments.what == "labels":
        structures = loop.labelled_atoms(last)
    elif arguments.what == "test":
        structures = loop.test_atoms()
    else:
        structures = loop.selected_atoms(last)
    if not structures:
        raise CommitteeError(f"there is nothing to export as {arguments.what!r} for round {last}.")
    write(arguments.output, structures)
    print(f"{len(structures)} structures -> {arguments.output}")
    return EXIT_OK


def _calibrate(arguments: argparse.Namespace) -> int:
    """Print and publish the calibration of a committee."""
    from ase.io import read

    from al_committee.atomic_file import write_json
    from al_committee.loop.factories import build_loop

    run = RunDirectory(arguments.run)
    loop = build_loop(run)
    trained = [n for n in run.rounds() if run.record(n, "models") is not None]
    if not trained:
        raise CommitteeError(f"{run.path} has no trained committee yet.")
    number = arguments.round if arguments.round is not None else trained[-1]
    structures = read(arguments.data, ":") if arguments.data else loop.test_atoms()
    if not structures:
        raise CommitteeError("no test set: set pool.test_structures, or give labelled structures with --data.")
    record = loop.calibrate_committee(number, structures)
    record["round"] = number
    write_json(run.round_folder(number) / "calibration.json", record)
    print(json.dumps(record, indent=1))
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
