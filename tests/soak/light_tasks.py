"""Tasks that keep a ledger: every task begun, finished and reported stands as a line in it."""

from __future__ import annotations

import contextlib
import os
import time


def note(folder: str, *words: object) -> None:
    """Append one line to the ledger, whole."""
    line = " ".join(map(str, words)).replace("\n", " ") + "\n"
    descriptor = os.open(os.path.join(folder, "ledger"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def work(folder: str, seconds: float, task: str) -> str:
    """Take some time once; the mark, which a later driver finds as records are found, is written in one step."""
    mark = os.path.join(folder, f"done-{task}")
    if not os.path.exists(mark):
        note(folder, "begin", task, os.getpid())
        time.sleep(seconds)
        with contextlib.suppress(FileExistsError):  # by a worker that a killed driver left for a moment
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
            note(folder, "end", task, os.getpid())
    return task
