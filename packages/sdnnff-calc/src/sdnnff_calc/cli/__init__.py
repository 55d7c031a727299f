"""The command ``sdnnff``: train, finetune, evaluate, info, embed.

Data go to stdout, everything else to stderr.
"""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sdnnff_calc import __version__
from sdnnff_calc.cli.boundary import guarded
from sdnnff_calc.errors import ConfigError

__all__ = ["build_parser", "main"]


def build_parser() -> argparse.ArgumentParser:
    """Build the command line."""
    parser = argparse.ArgumentParser(
        prog="sdnnff", description="Train and use spatial-density neural-network force fields."
    )
    parser.add_argument("--version", action="version", version=f"sdnnff-calc {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log every epoch")
    parser.add_argument("--debug", action="store_true", help="show the trace of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    for name, text in (("train", "train a model or a committee"), ("finetune", "adapt a model to new data")):
        train = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        table = "[model]" if name == "train" else "[finetune]"
        train.add_argument("config", type=Path, help=f"TOML file with {table}, [data], [training]")
        train.add_argument("--workdir", type=Path, help="overrides [training] workdir")
        train.add_argument("--seed", type=int, help="overrides [training] seed")
        if name == "train":
            train.add_argument("--members", type=int, help="overrides [training] n_members")
        train.add_argument("--device", help="overrides [training] device")

    model_help = "checkpoint or training folder; 'default' is the bundled weights"
    evaluate = commands.add_parser("evaluate", help="force errors against labels")
    evaluate.add_argument("model", help=model_help)
    evaluate.add_argument("data", nargs="+", help="labelled structures")
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    evaluate.add_argument("--parity", type=Path, help="write a parity plot, .png, .svg, .pdf …")
    evaluate.add_argument("--device", default="auto")
    evaluate.add_argument("--memory-gb", type=float, default=1.0, help="limit for one batch")

    info = commands.add_parser("info", help="what a checkpoint holds")
    info.add_argument("model", nargs="?", default="default", help=f"{model_help} (also when left out)")
    info.add_argument("--json", action="store_true", help="print JSON")

    embed = commands.add_parser("embed", help="one descriptor vector per structure")
    embed.add_argument("model", help=model_help)
    embed.add_argument("structures", nargs="+", help="any files ASE reads")
    embed.add_argument("-o", "--output", type=Path, help=".npy file; CSV on stdout when left out")
    embed.add_argument("--device", default="auto")
    for command in commands.choices.values():  # after the command as well; unset there, it leaves the first alone
        command.add_argument("-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help="log every epoch")
        command.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show the trace of an error"
        )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 on success, 2 on a mistake in the input, 70 on a fault of this program, 130 on Ctrl-C."""
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(
        level=logging.INFO if arguments.verbose else logging.WARNING, stream=sys.stderr, format="%(message)s"
    )
    handlers = {
        "train": _train,
        "finetune": _train,
        "evaluate": _evaluate,
        "info": _info,
        "embed": _embed,
    }
    return guarded(handlers[arguments.command], arguments, argv)


@contextmanager
def _progress() -> Iterator[object]:
    """Show a bar with rate and remaining time where rich and a terminal are there, else plain lines."""
    begin, first, last = time.monotonic(), 0.0, 0.0

    def plain(share: float, line: str) -> None:
        nonlocal begin, first, last
        if share <= last:  # the next member of a committee, or the next stage
            begin, first, left = time.monotonic(), share, "?"
        else:
            seconds = (time.monotonic() - begin) * (1.0 - share) / (share - first)
            left = str(datetime.timedelta(seconds=round(seconds)))
        last = share
        print(f"{100 * share:5.1f} % {line}, {left} left", file=sys.stderr)

    if not sys.stderr.isatty():
        yield plain
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    except ImportError:
        yield plain
        return
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1.0)

        def draw(share: float, line: str) -> None:
            if share <= bar.tasks[0].completed:
                bar.reset(task, total=1.0)
            bar.update(task, completed=share, description=line)

        yield draw


def _train(arguments: argparse.Namespace) -> None:
    """Train or fine-tune, and print the checkpoints."""
    import dataclasses

    from sdnnff_calc.config import read_config
    from sdnnff_calc.data.stores import load_stores
    from sdnnff_calc.data.structures import DataReport
    from sdnnff_calc.training.finetuning.finetune import finetune
    from sdnnff_calc.training.runs import train_committee

    def tell(report: DataReport) -> None:
        for line in report.lines():
            print(line, file=sys.stderr)

    config = read_config(arguments.config, arguments.command)
    given = {
        "workdir": str(arguments.workdir) if arguments.workdir else None,
        "seed": arguments.seed,
        "n_members": getattr(arguments, "members", None),
        "device": arguments.device,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, **changes))
    with _progress() as progress:
        if arguments.command == "finetune":
            paths = [finetune(config, progress=progress, tell=tell)]  # type: ignore[arg-type]
        else:
            stores = load_stores(config)
            tell(stores.report)
            paths = train_committee(config, stores, progress)  # type: ignore[arg-type]
    for path in paths:
        print(path)


def _evaluate(arguments: argparse.Namespace) -> None:
    """Print force errors."""
    from sdnnff_calc.calculators.sdnnff import SDNNFF
    from sdnnff_calc.data.structures import DataReport, check_labels, iterate_structures
    from sdnnff_calc.training.evaluation import check_picture, evaluate_forces, plot_parity

    if arguments.parity:
        check_picture(arguments.parity)
    calculator = SDNNFF(arguments.model, device=arguments.device)
    report = DataReport()
    structures = list(check_labels(iterate_structures(arguments.data), float("inf"), report))
    for line in report.rejected:
        print(f"left out: {line}", file=sys.stderr)
    errors = evaluate_forces(calculator, structures, arguments.memory_gb)
    print(json.dumps(errors.as_dict(), indent=1) if arguments.json else "\n".join(errors.lines()))
    if arguments.parity:
        plot_parity(errors, arguments.parity)


def _info(arguments: argparse.Namespace) -> None:
    """Print what a checkpoint holds."""
    import dataclasses

    from ase.data import chemical_symbols

    from sdnnff_calc.cli.card import card_lines
    from sdnnff_calc.models.checkpoint import UNITS, load_model

    model = load_model(arguments.model)
    facts = {
        "config": dataclasses.asdict(model.config),
        "elements": [chemical_symbols[z] for z in model.elements],
        "n_parameters": model.n_parameters,
        "dtype": str(model.dtype).removeprefix("torch."),
        "force_scale_ev_per_angstrom": model.statistics.force_scale,
        "mean_neighbours": model.statistics.mean_neighbours,
        "atomic_energies_ev": model.statistics.atomic_energies,
        "trained_on": "unknown" if model.trained is None else model.trained.words(),
        "repulsive_core": model.repulsive_core,
        "units": UNITS,
        "provenance": model.provenance,
        "card": model.card,
        "checksum": model.checksum,
    }
    if arguments.json:
        print(json.dumps(facts, indent=1))
        return
    for name, value in facts.items():
        if name == "card":
            print("\n  ".join(["card:", *card_lines(model.card)]))
            continue
        text = ", ".join(f"{k} = {v}" for k, v in value.items()) if isinstance(value, dict) else value
        print(f"{name}: {', '.join(text) if isinstance(text, list) else text}")


def _embed(arguments: argparse.Namespace) -> None:
    """Write one vector per structure."""
    import numpy as np

    from sdnnff_calc.calculators.sdnnff import SDNNFF
    from sdnnff_calc.data.structures import iterate_structures
    from sdnnff_calc.file_access.atomic_write import write_atomically
    from sdnnff_calc.training.evaluation import embed

    output = arguments.output
    if output and (output.suffix != ".npy" or not output.parent.is_dir()):
        raise ConfigError(f"{output} cannot be written: expected a name that ends in .npy, in a folder that exists.")
    structures = list(iterate_structures(arguments.structures))
    vectors = embed(SDNNFF(arguments.model, device=arguments.device), structures)
    if output:
        write_atomically(output, lambda stream: np.save(stream, vectors))
        print(output)
        return
    for atoms, vector in zip(structures, vectors, strict=True):
        name = atoms.info.get("origin", atoms.get_chemical_formula())
        print(",".join([str(name), *(f"{x:.6g}" for x in vector)]))
