"""The loop of al-committee with labels from worker processes, compared with one that nobody disturbs."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from pathlib import Path

from storm import Count, Forked, Scene, rage

from al_committee.cli import main
from al_committee.loop.run_directory import RunDirectory

CONFIG = """
seed = 1
[pool]
source = "al_committee.testing:toy_crystals"
options = {{ n_crystals = 18 }}
test_structures = 3
start_labels = 3
[supercells]
n_supercells = 2
min_length = 0.0
displacement = 0.05
[selection]
strategy = "worst-first"
budget = 3
threshold = 0.001
[labels]
kind = "workers"
factory = "logged_teacher:LoggedTeacher"
path = ["{here}"]
options = {{ folder = "{folder}" }}
n_workers = 2
cache = "labels"
[training]
trainer = "al_committee.testing:PairPotentialTrainer"
n_members = 3
[stop]
max_rounds = 3
"""


def soak(n_kills: int, seed: int) -> Count:
    """Kill ``al-committee run`` and its workers at random, loop after loop, until there were so many kills."""
    chance, count = random.Random(seed), Count()
    with tempfile.TemporaryDirectory() as name:
        calm = start(Path(name) / "calm")
        calm.wait()
        assert calm.poll() == 0, (Path(name) / "calm" / "log").read_text()
        expected = course(Path(name) / "calm")
        number = 0
        while count.kills < n_kills and not count.faults:
            number += 1
            folder = Path(name) / f"stormy-{number}"
            _one(folder, count, n_kills, chance, expected)
    return count


def start(folder: Path) -> Forked:
    """Start a loop, or let it go on."""
    folder.mkdir(exist_ok=True)
    config = folder / "loop.toml"
    config.write_text(CONFIG.format(here=Path(__file__).parent, folder=folder))
    return Forked(lambda: main(["run", str(folder / "run"), "--config", str(config)]), folder / "log")


def _one(folder: Path, count: Count, n_kills: int, chance: random.Random, expected: list[object]) -> None:
    """One loop, disturbed, and what became of it."""
    log, struck = folder / "labels.log", list[int]()

    def progress() -> tuple[int, int]:
        size = log.stat().st_size if log.exists() else 0
        return size, len(list(folder.glob("run/rounds/*/*")))

    scene = Scene(lambda: start(folder), progress, folder / "log", pause=(0.1, 2.0), struck=struck.append)
    rage(scene, count, n_kills, chance)
    lines = [line.split() for line in log.read_text().splitlines()]
    count.tasks += len({words[0] for words in lines})
    count.repeated += sum(words[2] == "stored" for words in lines)
    last_of = {int(words[1]): words[0] for words in lines}
    hits = Counter(last_of[pid] for pid in set(struck) if pid in last_of)
    failed = RunDirectory(folder / "run").failed()
    for key, record in failed.items():
        if hits[key] < 2:
            count.wrongly_blamed += 1
            count.notes.append(f"label {key} was blamed after {hits[key]} deaths: {record.reason}")
    found = course(folder)
    if not failed and found != expected:
        count.lost += len(found) < len(expected)
        count.wrong += len(found) >= len(expected)
        count.notes.append(f"another course: {found}, expected {expected}"[:1000])


def course(folder: Path) -> list[object]:
    """What a loop did: selections and models, round by round."""
    run = RunDirectory(folder / "run")
    return [
        (selection.selected if (selection := run.rounds.selection(n)) else None, models and models.sha256)
        for n in run.rounds.numbers()
        for models in [run.rounds.models(n)]
    ]
