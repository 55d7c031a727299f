"""Processes of this machine: how many fit, how much memory they may take, and how to end them with all they started."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from screen_cli.engines import guard

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def physical_cores() -> int:
    """Cores this process may use, hyper-threads not counted."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(psutil.cpu_count(logical=False) or allowed, allowed))


def machine_memory() -> int:
    """Memory this process may use, bytes: what the machine has, or its control group allows."""
    import psutil

    limits = [psutil.virtual_memory().total]
    for path in _CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(Path(path).read_text()))
    return int(min(limits))


def resident_by_session() -> dict[int, int]:
    """Resident memory of each session of processes by the id of its leader, bytes (Linux; elsewhere nothing).

    References
    ----------
    proc(5): in ``/proc/PID/stat``, counted after the name in brackets, the session is field 3 and the resident pages
    are field 21.
    """
    total: dict[int, int] = {}
    page = os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    fields = Path(f"/proc/{name}/stat").read_text(errors="replace").rpartition(")")[2].split()
                    total[int(fields[3])] = total.get(int(fields[3]), 0) + int(fields[21]) * page
    return total


def end_with_parent(parent: int) -> None:
    """End this process and its process group within a second of the death of ``parent``, even by SIGKILL."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        if os.getpgrp() == os.getpid():
            guard.kill_group(os.getpid())
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


class Household:
    """All processes that the workers of one engine start, known by a mark in their environment.

    A calculator may start programs, and these may leave their process group; the mark stays with them. A small guard
    process ends them when this process dies. A mark begins with that of the process which carries it, so whoever ends
    an engine that is itself a worker (on a node) ends its workers too.

    Parameters
    ----------
    n_threads : int
        For the libraries of every worker.
    """

    def __init__(self, n_threads: int) -> None:
        self._mark = f"{os.environ.get(guard.VARIABLE, '')}{os.getpid()}-{uuid.uuid4().hex}:"
        self._threads = dict.fromkeys(_THREAD_VARIABLES, str(n_threads))
        self._leaders: set[int] = set()
        self._guard: subprocess.Popen[str] | None = None

    @contextlib.contextmanager
    def environment(self, number: int) -> Iterator[None]:
        """Set what worker ``number``, started inside, inherits."""
        values = self._threads | {guard.VARIABLE: f"{self._mark}{number}:"}
        before = {name: os.environ.get(name) for name in values}
        os.environ.update(values)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def add(self, leader: int) -> None:
        """Let the guard watch over the process group of a new worker."""
        self._leaders.add(leader)
        if self._guard is None or self._guard.poll() is not None:
            self._dismiss_guard()
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, self._mark],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                text=True,
            )
            for known in self._leaders:
                self._tell(f"+{known}")
        else:
            self._tell(f"+{leader}")

    def end(self, leader: int, number: int) -> None:
        """Kill worker ``number`` and everything it started."""
        guard.kill_group(leader)
        guard.kill_marked(f"{self._mark}{number}:")
        self._leaders.discard(leader)
        self._tell(f"-{leader}")

    def close(self) -> None:
        """Kill whatever is left, and send the guard home."""
        for leader in self._leaders:
            guard.kill_group(leader)
        guard.kill_marked(self._mark)
        self._dismiss_guard()

    def _dismiss_guard(self) -> None:
        """End the guard, if there is one, and close the pipe to it."""
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait()
            if self._guard.stdin is not None:
                with contextlib.suppress(OSError):
                    self._guard.stdin.close()
            self._guard = None

    def _tell(self, line: str) -> None:
        """Write one line to the guard; one that was killed is replaced with the next worker."""
        if self._guard is not None and self._guard.stdin is not None:
            with contextlib.suppress(OSError):
                self._guard.stdin.write(line + "\n")
                self._guard.stdin.flush()
