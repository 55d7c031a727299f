"""Light tasks on an engine: what is lost, repeated or blamed is told by the ledger that the tasks keep."""

from __future__ import annotations

import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

from storm import Count, Scene, program, rage

DRIVER = Path(__file__).with_name("light_driver.py")


def soak(n_kills: int, seed: int, *, engine: str = "local", workers: int = 2, task_seconds: float = 0.2) -> Count:
    """Kill light drivers and their processes at random, run after run, until there were so many kills.

    Parameters
    ----------
    engine : {"local", "parsl"}
    """
    count, chance = Count(), random.Random(seed)
    while count.kills < n_kills and not count.faults:
        _one(count, n_kills, chance, (engine, workers, task_seconds))
    return count


def _one(count: Count, n_kills: int, chance: random.Random, drivers: tuple[str, int, float]) -> None:
    """One run, disturbed, and what became of it."""
    engine, workers, task_seconds = drivers
    parsl = engine == "parsl"
    n_tasks = max(20, (20 if parsl else 6) * (n_kills - count.kills))
    count.tasks += n_tasks
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ledger = folder / "ledger"
        ledger.touch()
        struck: list[int] = []
        command = [sys.executable, str(DRIVER), name, engine, str(n_tasks), str(workers), str(task_seconds)]
        scene = Scene(
            start=lambda: program(command, folder / "log"),
            progress=lambda: ledger.stat().st_size,
            log=folder / "log",
            pause=(1.0, 15.0) if parsl else (0.1, 1.5),
            struck=struck.append,
            excuses=stops_parsl if parsl else lambda victims: False,
        )
        rage(scene, count, n_kills, chance)
        judge(ledger, struck, n_tasks, count)


def stops_parsl(victims: Counter[str]) -> bool:
    """Whether these deaths may stop a run on Parsl with a sentence: its interchange's, or of block after block."""
    return bool(victims["interchange"]) or victims["manager"] > 2


def judge(ledger: Path, struck: list[int], n_tasks: int, count: Count) -> None:
    """Read the ledger: what was lost, repeated, or blamed without two deaths."""
    lines = [line.split() for line in ledger.read_text().splitlines()]
    ended = Counter(words[1] for words in lines if words[0] == "end")
    results = Counter(words[1] for words in lines if words[0] == "result" and words[2] == "ok")
    blamed = {words[1]: " ".join(words[3:]) for words in lines if words[0] == "result" and words[2] != "ok"}
    last_of = {int(words[2]): words[1] for words in lines if words[0] == "begin"}  # what each worker began last
    deaths = Counter(last_of[pid] for pid in set(struck) if pid in last_of)
    count.lost += n_tasks - len(results.keys() | blamed.keys())
    count.repeated += sum(n - 1 for n in ended.values())
    for task, reason in blamed.items():
        if deaths[task] < 2:
            count.wrongly_blamed += 1
            count.notes.append(f"{task} was blamed after {deaths[task]} deaths: {reason}")
