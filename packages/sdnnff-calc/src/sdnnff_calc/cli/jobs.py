"""What each command does; data go to stdout."""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from sdnnff_calc.errors import ConfigError

__all__ = ["embed", "evaluate", "info", "train"]


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


def train(
    kind: Literal["train", "finetune"],
    config_file: Path,
    *,
    workdir: Path | None,
    seed: int | None,
    device: str | None,
    n_members: int | None = None,
) -> None:
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

    config = read_config(config_file, kind)
    given: dict[str, Any] = {
        "workdir": str(workdir) if workdir else None,
        "seed": seed,
        "n_members": n_members,
        "device": device,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, **changes))
    with _progress() as progress:
        if kind == "finetune":
            paths = [finetune(config, progress=progress, tell=tell)]  # type: ignore[arg-type]
        else:
            stores = load_stores(config)
            tell(stores.report)
            paths = train_committee(config, stores, progress)  # type: ignore[arg-type]
    for path in paths:
        print(path)


def evaluate(
    model: str, data: Sequence[str], *, as_json: bool, parity: Path | None, device: str, memory_gb: float
) -> None:
    """Print force errors."""
    from sdnnff_calc.calculators.sdnnff import SDNNFF
    from sdnnff_calc.data.structures import DataReport, check_labels, iterate_structures
    from sdnnff_calc.training.evaluation import check_picture, evaluate_forces, plot_parity

    if parity:
        check_picture(parity)
    calculator = SDNNFF(model, device=device)
    report = DataReport()
    structures = list(check_labels(iterate_structures(data), float("inf"), report))
    for line in report.rejected:
        print(f"left out: {line}", file=sys.stderr)
    errors = evaluate_forces(calculator, structures, memory_gb)
    print(json.dumps(errors.as_dict(), indent=1) if as_json else "\n".join(errors.lines()))
    if parity:
        plot_parity(errors, parity)


def info(name: str, *, as_json: bool) -> None:
    """Print what a checkpoint holds."""
    import dataclasses

    from ase.data import chemical_symbols

    from sdnnff_calc.cli.card import card_lines
    from sdnnff_calc.models.checkpoint import UNITS, load_model

    model = load_model(name)
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
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    for topic, value in facts.items():
        if topic == "card":
            print("\n  ".join(["card:", *card_lines(model.card)]))
            continue
        text = ", ".join(f"{k} = {v}" for k, v in value.items()) if isinstance(value, dict) else value
        print(f"{topic}: {', '.join(text) if isinstance(text, list) else text}")


def embed(model: str, files: Sequence[str], *, output: Path | None, device: str) -> None:
    """Write one vector per structure."""
    import numpy as np

    from sdnnff_calc.calculators.sdnnff import SDNNFF
    from sdnnff_calc.data.structures import iterate_structures
    from sdnnff_calc.file_access.atomic_write import write_atomically
    from sdnnff_calc.training.evaluation import embed

    if output and (output.suffix != ".npy" or not output.parent.is_dir()):
        raise ConfigError(f"{output} cannot be written: expected a name that ends in .npy, in a folder that exists.")
    structures = list(iterate_structures(files))
    vectors = embed(SDNNFF(model, device=device), structures)
    if output:
        write_atomically(output, lambda stream: np.save(stream, vectors))
        print(output)
        return
    for atoms, vector in zip(structures, vectors, strict=True):
        name = atoms.info.get("origin", atoms.get_chemical_formula())
        print(",".join([str(name), *(f"{x:.6g}" for x in vector)]))
