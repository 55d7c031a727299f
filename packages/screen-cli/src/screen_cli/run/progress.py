"""Who is told how a run goes; progress on stderr: a live bar on a terminal, one line per crystal elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from dataclasses import dataclass
from typing import Protocol

from screen_cli.errors import printable
from screen_cli.store.run_directory import RunDirectory


@dataclass(frozen=True)
class FinishedCrystal:
    """One crystal that came to its end in this call.

    Parameters
    ----------
    id : str
        Structure id.
    state : {"done", "failed", "skipped", "pending"}
    stage, reason : str
        Where and why it ended, empty when done.
    seconds : float
        Cost of all its stages, s.
    computed : tuple of str
        Stages that ran now; the others were found.
    """

    id: str
    state: str
    stage: str
    reason: str
    seconds: float
    computed: tuple[str, ...] = ()


class Observer(Protocol):
    """What wants to know how a run goes: a progress bar, a log, a test."""

    def reading(self, n_read: int) -> None:
        """So many crystals have been read."""

    def started(self, n_total: int, n_finished: int) -> None:
        """Hear that the engine starts; ``n_finished`` of ``n_total`` were finished before."""

    def finished(self, crystal: FinishedCrystal) -> None:
        """One crystal ended."""


class SilentObserver:
    """Tell nobody."""

    def reading(self, n_read: int) -> None:
        """Ignore."""

    def started(self, n_total: int, n_finished: int) -> None:
        """Ignore."""

    def finished(self, crystal: FinishedCrystal) -> None:
        """Ignore."""


def progress_observer(run: RunDirectory) -> UnheardObserver:
    """Return the observer that fits stderr; once nobody reads that any more, it is silent."""
    return UnheardObserver(BarObserver(run) if sys.stderr.isatty() else LineObserver(run))


class UnheardObserver:
    """Pass on to another observer, and go on when its words reach nobody: a closed terminal or pipe ends no run.

    Parameters
    ----------
    inner : BarObserver or LineObserver
    """

    def __init__(self, inner: BarObserver | LineObserver) -> None:
        self._inner = inner
        # rich leaves the program when a pipe is broken; a stream that was closed raises ValueError
        self._unheard = contextlib.suppress(OSError, ValueError, SystemExit)

    def reading(self, n_read: int) -> None:
        """Pass on."""
        with self._unheard:
            self._inner.reading(n_read)

    def started(self, n_total: int, n_finished: int) -> None:
        """Pass on."""
        with self._unheard:
            self._inner.started(n_total, n_finished)

    def finished(self, crystal: FinishedCrystal) -> None:
        """Pass on."""
        with self._unheard:
            self._inner.finished(crystal)

    def close(self) -> None:
        """Pass on."""
        with self._unheard:
            self._inner.close()


class BarObserver:
    """A rich bar with rate, remaining time, and what each worker does now.

    Parameters
    ----------
    run : RunDirectory
    """

    def __init__(self, run: RunDirectory) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._run = run
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[now]}"),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("reading", total=None, now="")
        self._names: dict[str, str] = {}
        self._closed = threading.Event()
        self._progress.start()
        threading.Thread(target=self._watch, daemon=True, name="progress-watch").start()

    def _watch(self) -> None:
        while not self._closed.wait(0.5):
            now = " · ".join(
                f"{_name(self._run, self._names, note['id'])}: {note['stage'].replace('_', ' ')}"
                for note in self._run.running()
            )
            self._progress.update(self._task, now=now)

    def reading(self, n_read: int) -> None:
        """Show how many crystals were read."""
        self._progress.update(self._task, completed=n_read)

    def started(self, n_total: int, n_finished: int) -> None:
        """Set the bar."""
        self._progress.update(self._task, description="crystals", total=n_total, completed=n_finished)

    def finished(self, crystal: FinishedCrystal) -> None:
        """Advance the bar; say what failed."""
        if crystal.state == "failed":
            name = _name(self._run, self._names, crystal.id)
            text = printable(f"{name} failed in {crystal.stage}: {crystal.reason}")
            self._progress.console.print(text, style="red", markup=False)
        self._progress.advance(self._task)

    def close(self) -> None:
        """Stop drawing."""
        self._closed.set()
        self._progress.update(self._task, now="")
        self._progress.stop()


class LineObserver:
    """One line per finished crystal, and a heartbeat every half minute; for logs and batch jobs.

    Parameters
    ----------
    run : RunDirectory
    """

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._names: dict[str, str] = {}
        self._n_total = self._n_finished = 0
        self._start = time.monotonic()
        self._closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True, name="progress-watch").start()

    def _watch(self) -> None:
        while not self._closed.wait(30.0):
            now = ", ".join(
                f"{_name(self._run, self._names, note['id'])} in {note['stage'].replace('_', ' ')}"
                for note in self._run.running()
            )
            if now:
                self._say(f"working on {now}")

    def _say(self, text: str) -> None:
        elapsed = time.monotonic() - self._start
        print(f"[{elapsed:7.1f} s] {self._n_finished}/{self._n_total} {text}", file=sys.stderr, flush=True)

    def reading(self, n_read: int) -> None:
        """Say how many crystals were read."""
        self._say(f"read {n_read} crystals")

    def started(self, n_total: int, n_finished: int) -> None:
        """Say where the run stands."""
        self._n_total, self._n_finished = n_total, n_finished
        self._say("crystals finished before")

    def finished(self, crystal: FinishedCrystal) -> None:
        """Say how one crystal ended."""
        self._n_finished += 1
        end = f"{crystal.state} ({crystal.stage}: {crystal.reason})" if crystal.reason else crystal.state
        self._say(printable(f"{_name(self._run, self._names, crystal.id)} {end}"))

    def close(self) -> None:
        """Stop the heartbeat."""
        self._closed.set()


def _name(run: RunDirectory, names: dict[str, str], structure_id: str) -> str:
    """Give the formula and id of a crystal, remembered."""
    if structure_id not in names:
        try:
            names[structure_id] = run.store.read_structure(structure_id)["formula"]
        except (OSError, KeyError):
            names[structure_id] = structure_id[:8]
    return names[structure_id]
