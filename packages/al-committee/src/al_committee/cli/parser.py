"""The command line's arguments and exit codes."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["EXIT_ERROR", "EXIT_INPUT", "EXIT_INTERRUPTED", "EXIT_MORE_TO_DO", "EXIT_OK", "STEP_NAMES", "build_parser"]

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_INPUT = 2
EXIT_MORE_TO_DO = 75
"""The loop stopped cleanly with work left (walltime, signal, outstanding labels): run resume later."""
EXIT_INTERRUPTED = 130

STEP_NAMES = {"select": "selection", "label": "labels", "train": "models", "evaluate": "evaluation"}


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="al-committee",
        description="Active learning with a committee of force fields, any source of labels, any crash.",
        epilog="Exit status: 0 done, 1 stopped by a failure, 2 bad input, 75 stopped with work left, 130 interrupted.",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="more on stderr")
    parser.add_argument("--debug", action="store_true", help="show the trace of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    commands.add_parser("template", help="print a commented config file with every key")

    init = commands.add_parser("init", help="make a run directory from a config file and read its pool")
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

    adopt = commands.add_parser(
        "adopt", help="take over labels from before constraints were kept out, if no structure was constrained"
    )
    adopt.add_argument("run", type=Path)
    return parser
