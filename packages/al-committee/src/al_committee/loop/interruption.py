"""Stopping cleanly: a wall-clock limit and signals, polled between pieces of work."""

from __future__ import annotations

import logging
import re
import signal
import time
from collections.abc import Callable
from types import FrameType

from al_committee.errors import CommitteeError, ConfigError

logger = logging.getLogger(__name__)

__all__ = ["LabelsOutstandingError", "PausedError", "StopWatch", "parse_walltime"]


class PausedError(CommitteeError):
    """The loop stopped on purpose with work left; everything finished is on disk."""


class LabelsOutstandingError(PausedError):
    """Labels that others make are not there yet.

    Parameters
    ----------
    waiting : str
        What is waited for, ``3 of 40 labels of round 0``; several are joined to one sentence.
    """

    def __init__(self, *waiting: str) -> None:
        self.waiting = waiting
        super().__init__(f"{' and '.join(waiting)} are outstanding; run resume when more of them are there.")


class StopWatch:
    """Tell when to stop.

    Parameters
    ----------
    walltime_s : float, optional
        Seconds from now; None for no limit.
    clock : callable
        Monotonic clock, s.
    """

    def __init__(self, walltime_s: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = None if walltime_s is None else clock() + walltime_s
        self.reason = ""

    def __call__(self, needed_s: float = 0.0) -> bool:
        """Whether to stop now, or before a piece of work that needs `needed_s` seconds."""
        if not self.reason and self._end is not None and self._clock() + needed_s >= self._end:
            self.reason = "the walltime is spent"
        return bool(self.reason)

    def pause_if_asked(self, needed_s: float = 0.0) -> None:
        """Leave cleanly when it is time, or would be before a piece of work of `needed_s` seconds ends.

        Raises
        ------
        PausedError
            With the reason.
        """
        if self(needed_s):
            raise PausedError(f"{self.reason}; everything done so far is on disk. Continue with resume.")

    def listen(self) -> None:
        """Let SIGTERM and SIGINT stop cleanly; a second SIGINT interrupts at once."""

        def handle(number: int, frame: FrameType | None) -> None:
            if self.reason and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.reason = f"signal {signal.Signals(number).name}"

        try:
            signal.signal(signal.SIGTERM, handle)
            signal.signal(signal.SIGINT, handle)
        except ValueError:  # only the main thread may; a host that runs us elsewhere keeps its own handlers
            logger.debug("signals are left to the host: this is not the main thread")


def parse_walltime(text: str) -> float:
    """Read ``90``, ``90s``, ``15m``, ``1.5h``, ``1:30:00`` or ``2-12:00:00`` (Slurm) as seconds.

    Raises
    ------
    ConfigError
        For anything else.
    """
    simple = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if simple:
        return float(simple[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[simple[2]]
    clock = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d)(?::(\d\d))?", text)
    if clock:
        days, first, second, third = (int(part) if part else 0 for part in clock.groups())
        if clock[4] is None:
            return 60.0 * first + second if not clock[1] else 86400.0 * days + 3600.0 * first + 60.0 * second
        return 86400.0 * days + 3600.0 * first + 60.0 * second + third
    raise ConfigError(f"walltime {text!r} is not understood. Write 90s, 15m, 1.5h, 1:30:00 or 2-12:00:00.")
