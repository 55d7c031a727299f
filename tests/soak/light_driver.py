"""A driver of light tasks, for the soak: ``python light_driver.py FOLDER ENGINE N_TASKS WORKERS SECONDS``."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

from light_tasks import note, work

from screen_cli.config import EngineSettings
from screen_cli.engines import Engine
from screen_cli.engines.local import LocalEngine


def make_engine(name: str, folder: str, workers: int) -> Engine:
    """Make the engine; Parsl's nodes find the tasks beside this file."""
    if name == "local":
        return LocalEngine(EngineSettings(name="local", workers=workers))
    from screen_cli.engines.parsl.engine import ParslEngine

    here = f'export PYTHONPATH="{os.path.dirname(__file__)}:$PYTHONPATH"'
    options = {"blocks": 2, "lost_after": 8, "batch_size": 4, "worker_init": here}
    return ParslEngine(EngineSettings(name="parsl", workers=workers, options=options), Path(folder) / "engine")


def main() -> None:
    """Run what is not reported yet."""
    folder, name, n_tasks, workers, seconds = *sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
    with open(os.path.join(folder, "ledger")) as ledger:
        reported = {line.split()[1] for line in ledger if line.startswith("result")}
    tasks = [f"t{number}" for number in range(n_tasks) if f"t{number}" not in reported]
    for result in make_engine(name, folder, workers).run(functools.partial(work, folder, seconds), tasks):
        note(folder, "result", result.task, result.kind, result.error)


if __name__ == "__main__":
    main()
