"""Commands that keep a finished run: merge, rebuild, report and export, killed at any step and started again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from stages import METALS, SCREEN, agree, physics
from storm import Count, Forked, program

from screen_cli.cli import main
from screen_cli.run.rebuild import open_index
from screen_cli.store.run_directory import RunDirectory

_COMMANDS = ("merge", "rebuild", "report", "csv", "extxyz", "db")


def soak(n_kills: int, seed: int) -> Count:
    """Kill each command at random moments, by SIGKILL or by two SIGTERM, until there were so many kills."""
    chance, count = random.Random(seed), Count()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        entries = ", ".join(
            f'{{ prototype = "cu3au", elements = {{ A = "{m}", B = "Al" }}, a = {a} }}' for m, a in METALS.items()
        )
        (folder / "screen.toml").write_text(SCREEN.format(entries=entries))
        log = folder / "log"
        for number in (1, 2):
            words = [sys.executable, "-m", "screen_cli", "run", str(folder / "screen.toml"), "--no-report", "-q"]
            shard = ["--shard", f"{number}/2", "-d", str(folder / f"part-{number}")]
            assert program([*words, *shard], log).wait() == 0, log.read_text()
        calm = {command: _undisturbed(folder, command) for command in _COMMANDS}
        while count.kills < n_kills and not count.faults:
            for command in _COMMANDS:
                _one(folder, command, calm[command], count, chance)
    return count


def _words(folder: Path, command: str, name: str) -> list[str]:
    """Words of a command that fills, or reads, the run directory of a name."""
    run, files = str(folder / name), folder / f"{name}-files"
    if command == "merge":
        return ["merge", str(folder / "part-1"), str(folder / "part-2"), "--into", run]
    if command in ("rebuild", "report"):
        return [command, run]
    files.mkdir(exist_ok=True)
    return ["export", run, str(files / f"rows.{command}")]


def _undisturbed(folder: Path, command: str) -> float:
    """Run a command on the run ``calm``; seconds it takes."""
    start = time.monotonic()
    driver = Forked(lambda: main(_words(folder, command, "calm")), folder / "log")
    driver.wait()
    assert driver.poll() == 0, (folder / "log").read_text()
    return time.monotonic() - start


def _one(folder: Path, command: str, seconds: float, count: Count, chance: random.Random) -> None:
    """Kill a command, once or twice, then let it finish, and compare what it made."""
    run = folder / "stormy"
    if command == "merge":
        shutil.rmtree(run, ignore_errors=True)
        count.tasks += 1
    for _ in range(chance.randint(1, 3)):
        driver = Forked(lambda: main(_words(folder, command, "stormy")), folder / "log")
        time.sleep(chance.uniform(0.0, 1.1 * seconds))
        for number in chance.choice([(signal.SIGKILL,), (signal.SIGTERM, signal.SIGTERM)]):
            if driver.poll() is None:
                os.kill(driver.pid, number)
                count.kills += 1
                count.by_victim[command] += 1
                time.sleep(chance.uniform(0.0, 0.02))
        driver.wait()
    driver = Forked(lambda: main(_words(folder, command, "stormy")), folder / "log")
    driver.wait()
    if driver.poll() != 0:
        count.stopped += 1
        count.notes.append(f"{command} ended with {driver.poll()}: {(folder / 'log').read_text()[-500:]}")
    _compare(folder, command, count)


def _compare(folder: Path, command: str, count: Count) -> None:
    """Hold what a disturbed command made against what it makes undisturbed."""
    calm, run = folder / "calm", folder / "stormy"
    expected, found = physics(calm), physics(run)
    for name in expected:
        count.lost += name not in found
        count.wrong += name in found and not agree(expected[name], found[name])
    if _rows(calm) != _rows(run):
        count.wrong += 1
        count.notes.append(f"after {command} the index has other rows: {_rows(run)}, expected {_rows(calm)}")
    for suffix in ("csv", "extxyz"):
        files = [folder / f"{name}-files" / f"rows.{suffix}" for name in ("calm", "stormy")]
        if command == suffix and _digests(files[:1]) != _digests(files[1:]):
            count.wrong += 1
            count.notes.append(f"rows.{suffix} differs")
    litter = [path for place in (run, folder / "stormy-files") for path in place.rglob(".tmp-*")]
    if litter and command != "report":  # a report is no driver: it tidies nothing
        count.wrong += 1
        count.notes.append(f"{command} left {litter[:3]}")


def _rows(run: Path) -> list[tuple[object, object]]:
    """Ids and states in the index of a run."""
    with contextlib.closing(open_index(RunDirectory.open(run))) as index:
        return sorted((str(row["id"]), str(row["state"])) for row in index.rows())


def _digests(files: Sequence[Path]) -> list[str]:
    """Hash of each file, with the lines in order, since rows come in the order in which crystals finished."""
    return [hashlib.sha256("".join(sorted(file.read_text().splitlines(True))).encode()).hexdigest() for file in files]
