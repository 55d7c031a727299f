"""What every soak shares: a program that is killed at random and started again, and an account of what that costs."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

MARK = "SCREEN_CLI_SOAK"
"""Environment variable of everything that a soak starts, directly or not."""
PATIENCE = 300.0
ORPHANS_MAY_LIVE = 60.0
_MOST_STOPS = 10
_NAMES = {
    "guard.py": "guard",
    "resource_tracker": "tracker",
    "spawn_main": "worker",
    "process_worker_pool": "manager",
    "parsl.interchange": "interchange",
    "teacher_program": "teacher",
}


@dataclass
class Count:
    """What a soak found.

    Parameters
    ----------
    kills : int
        Signals that ended, or were to end, a process.
    by_victim : Counter
        The same by the kind of process.
    tasks : int
        That had to be done.
    lost, repeated, wrong, wrongly_blamed : int
        Tasks without a result, finished twice, with another result, given up without two kills while they ran.
    hung, stopped : int
        Drivers that made no progress, and that ended by themselves before all was done.
    orphans : int
        Processes that outlived their driver by a minute.
    seconds : float
    notes : list of str
        Of the faults.
    """

    kills: int = 0
    by_victim: Counter[str] = field(default_factory=Counter)
    tasks: int = 0
    lost: int = 0
    repeated: int = 0
    wrong: int = 0
    wrongly_blamed: int = 0
    hung: int = 0
    stopped: int = 0
    orphans: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """What must be zero."""
        return self.lost + self.repeated + self.wrong + self.wrongly_blamed + self.hung + self.stopped + self.orphans


class Driver(Protocol):
    """A program that was started."""

    pid: int

    def poll(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        ...


class Forked:
    """A function that runs in a fork of this process, whose imports are done.

    Parameters
    ----------
    function : callable
        Gives an exit code.
    log : Path
        Gets what it prints.
    """

    def __init__(self, function: Callable[[], int], log: Path) -> None:
        def run() -> None:
            with log.open("ab") as stream:
                os.dup2(stream.fileno(), 1)
                os.dup2(stream.fileno(), 2)
            sys.exit(function())

        self._process = multiprocessing.get_context("fork").Process(target=run)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Exit code, if there is one."""
        return self._process.exitcode

    def wait(self) -> None:
        """Wait for its end."""
        self._process.join()


def program(words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a program; what it says goes to ``log``."""
    with log.open("ab") as stream:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)


@dataclass(frozen=True)
class Scene:
    """A program, and how to tell what becomes of it.

    Parameters
    ----------
    start : callable
        Starts it.
    progress : callable
        Gives something that changes as the work goes on.
    log : Path
        What it said.
    done : tuple of int
        Exit codes that say: all is done.
    pause : (float, float)
        Least and most seconds between kills.
    struck : callable
        Told each process id that is about to be killed.
    excuses : callable
        Whether kills of these processes (counted by kind) may stop a driver that was not killed itself.
    has_helpers : bool
        Whether it starts other processes.
    """

    start: Callable[[], Driver]
    progress: Callable[[], Hashable]
    log: Path
    done: tuple[int, ...] = (0,)
    pause: tuple[float, float] = (0.1, 1.5)
    struck: Callable[[int], None] = lambda pid: None
    excuses: Callable[[Counter[str]], bool] = lambda victims: False
    has_helpers: bool = True


def rage(scene: Scene, count: Count, n_kills: int, chance: random.Random) -> None:
    """Start a program and kill it, its workers, or both, at random times, until it says that all is done.

    Half of the time it is started again at once, while what it left may still be dying.
    """
    life = _Life(scene, count, chance)
    life.begin()
    while True:
        code = life.driver.poll()
        if code in scene.done:
            break
        if code is not None:
            life.end(code)
            if count.stopped > _MOST_STOPS:
                break
            life.begin()
            continue
        time.sleep(chance.uniform(*scene.pause))
        life.watch()
        if count.kills < n_kills and life.driver.poll() is None:
            life.strike()
    life.close()


class _Life:
    """The drivers of a storm, one after another."""

    def __init__(self, scene: Scene, count: Count, chance: random.Random) -> None:
        self.scene, self.count, self.chance = scene, count, chance
        self.victims: Counter[str] = Counter()
        self.names: list[str] = []
        self.progress: Hashable = None
        self.struck_at: Hashable = None
        self.fruitless = 0
        self.since = time.monotonic()
        self.driver: Driver

    def begin(self) -> None:
        """Start a driver."""
        self.names.append(uuid.uuid4().hex)
        self.victims.clear()
        self.since = time.monotonic()
        os.environ[MARK] = self.names[-1]
        try:
            self.driver = self.scene.start()
        finally:
            del os.environ[MARK]

    def end(self, code: int) -> None:
        """A driver is gone before all was done: because of the kills, or a fault."""
        if not self.victims["driver"] and not self.scene.excuses(self.victims):
            self.count.stopped += 1
            lines = self.scene.log.read_text(errors="replace").splitlines()[-3:]
            self.count.notes.append(f"driver left with {code} after {dict(self.victims)}: {' | '.join(lines)[:500]}")
        if self.chance.random() < 0.5:
            self.bury(self.names.pop())

    def watch(self) -> None:
        """Notice a driver that does not go on."""
        now = self.scene.progress()
        if now != self.progress:
            self.progress, self.since = now, time.monotonic()
        elif time.monotonic() - self.since > PATIENCE:
            self.count.hung += 1
            self.count.notes.append(f"no progress for {PATIENCE:g} s after {dict(self.victims)}")
            self.victims["driver"] += 1
            kill(self.driver.pid, signal.SIGKILL)
            self.since = time.monotonic()

    def strike(self) -> None:
        """Kill one process, several, the driver, or all."""
        self.fruitless = self.fruitless + 1 if self.progress == self.struck_at else 0
        if self.chance.random() > 0.6**self.fruitless:
            return  # on a busy machine nothing would ever get beyond its start
        self.struck_at = self.progress
        helpers = [pid for pid in marked(self.names[-1]) if pid != self.driver.pid]
        choice = self.chance.choices(["one", "some", "driver", "all"], [0.6, 0.1, 0.2, 0.1])[0]
        if not helpers:
            if self.scene.has_helpers and self.chance.random() < 0.8:
                return  # they come later
            choice = "driver"
        n_chosen = {"one": 1, "some": self.chance.randint(1, max(1, len(helpers))), "driver": 0, "all": len(helpers)}
        for pid in self.chance.sample(helpers, n_chosen[choice]):
            self._hit(pid, name_of(pid), self.chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
        if choice in ("driver", "all"):
            hard = choice == "all" or self.chance.random() < 0.8
            self._hit(self.driver.pid, "driver", signal.SIGKILL if hard else signal.SIGINT)

    def _hit(self, pid: int, name: str, number: int) -> None:
        """Send one signal."""
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(pid).children(recursive=True):
                self.scene.struck(child.pid)
        self.scene.struck(pid)
        if kill(pid, number):
            self.count.kills += 1
            self.count.by_victim[name] += 1
            self.victims[name] += 1

    def bury(self, name: str) -> None:
        """Count what outlives a driver for too long, and end it."""
        deadline = time.monotonic() + ORPHANS_MAY_LIVE
        while (left := marked(name)) and time.monotonic() < deadline:
            time.sleep(0.2)
        for pid in left:
            self.count.orphans += 1
            with contextlib.suppress(psutil.Error):
                self.count.notes.append(f"outlived its driver: {' '.join(psutil.Process(pid).cmdline())}")
            kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """Look for what is left of all drivers."""
        for name in self.names:
            self.bury(name)


def marked(name: str) -> list[int]:
    """Processes of one driver, zombies apart."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/environ", "rb") as file:
                if f"{MARK}={name}".encode() in file.read().split(b"\0"):
                    found.append(int(entry))
    return found


def name_of(pid: int) -> str:
    """Kind of a process, by its command line."""
    with contextlib.suppress(psutil.Error):
        line = " ".join(psutil.Process(pid).cmdline())
        return next((name for word, name in _NAMES.items() if word in line), "other")
    return "gone"


def kill(pid: int, number: int) -> bool:
    """Send a signal; False when there is nobody."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
