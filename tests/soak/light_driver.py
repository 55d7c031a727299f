"""A driver with light tasks, for the soak: tasks that keep a ledger, on a local engine, until all are done.

``python light_driver.py FOLDER N_TASKS WORKERS SECONDS``. Every task begun, finished and reported stands as a line in
``FOLDER/ledger``; what is finished leaves a mark that a later driver finds, as records are found.
"""

from __future__ import annotations

import functools
import os
import sys
import time

from screen_cli.config import EngineSettings
from screen_cli.engines.local import LocalEngine


def note(folder: str, *words: object) -> None:
    """Append one line to the ledger, whole."""
    line = " ".join(map(str, (*words, time.time()))) + "\n"
    descriptor = os.open(os.path.join(folder, "ledger"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def work(folder: str, seconds: float, task: str) -> str:
    """Take some time once; the mark is written in one step."""
    mark = os.path.join(folder, f"done-{task}")
    if not os.path.exists(mark):
        note(folder, "begin", task, os.getpid())
        time.sleep(seconds)
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))  # fails if it was done already
        note(folder, "end", task, os.getpid())
    return task


def main() -> None:
    """Run what is not done."""
    folder, n_tasks, workers, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    with open(os.path.join(folder, "ledger")) as ledger:
        reported = {line.split()[1] for line in ledger if line.startswith("result")}
    tasks = [f"t{number}" for number in range(n_tasks) if f"t{number}" not in reported]
    engine = LocalEngine(EngineSettings(name="local", workers=workers))
    for result in engine.run(functools.partial(work, folder, seconds), tasks):
        note(folder, "result", result.task, result.kind)


if __name__ == "__main__":
    main()
