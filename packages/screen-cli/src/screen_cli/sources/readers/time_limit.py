"""A time limit for code that cannot be asked to stop: a reader of a file that a stranger made."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from screen_cli.errors import StructureError


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop what runs inside after some seconds.

    Holds in the main thread of a process on Unix, which is where a source is read; elsewhere the limits of
    :class:`screen_cli.sources.readers.frame.Limits` have to do.

    Raises
    ------
    StructureError
        The time is over.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise StructureError(f"was not read within {seconds:g} s; it is too large or malformed.")

    earlier = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)
