"""What a worker process says to its engine, and how it travels.

The functions that workers run report through :func:`stage_begins` and :func:`starting`; outside a worker these do
nothing. A message is a length and a pickle. Pickle is safe here: both ends are one program, joined by a socket pair
that nobody else can open.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from screen_cli.engines import TaskResult

_LENGTH = struct.Struct("!Q")
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Load:
    """To a worker: the function of the tasks to come, pickled."""

    function: bytes


@dataclass(frozen=True)
class Run:
    """To a worker: one task."""

    task: str


@dataclass(frozen=True)
class Ready:
    """The worker has the function and waits for tasks."""


@dataclass(frozen=True)
class Broken:
    """The worker cannot load the function; no task can run here."""

    reason: str


@dataclass(frozen=True)
class StageBegins:
    """The task goes on to a new stage; its time limit starts anew."""

    name: str


@dataclass(frozen=True)
class Starting:
    """The worker makes something that all tasks share (empty: it is made); a death here is no task's fault."""

    what: str


@dataclass(frozen=True)
class Ended:
    """A task came to its end; ``resident`` is the memory of the worker afterwards, bytes."""

    result: TaskResult[object]
    resident: int


Message = Load | Run | Ready | Broken | StageBegins | Starting | Ended

_listeners: list[Callable[[Message], None]] = []


def listen(listener: Callable[[Message], None]) -> None:
    """Send what the functions of this process report to ``listener`` (a worker does this once)."""
    _listeners.append(listener)


def stage_begins(name: str) -> None:
    """Report that the task of this worker begins a stage; the time limit holds for each stage."""
    for listener in _listeners:
        listener(StageBegins(name))


@contextlib.contextmanager
def starting(what: str) -> Iterator[None]:
    """Report that this worker makes something that every task needs, such as the calculator.

    A worker that dies inside does not put the blame on its task; after a few such deaths the run stops.
    """
    for listener in _listeners:
        listener(Starting(what))
    yield
    for listener in _listeners:
        listener(Starting(""))


def send(descriptor: int, message: Message) -> None:
    """Write one message whole; waits while the other end is full."""
    content = pickle.dumps(message)
    view = memoryview(_LENGTH.pack(len(content)) + content)
    while view:
        view = view[os.write(descriptor, view) :]


def receive(descriptor: int) -> Message | None:
    """Wait for one message; None when the other end is closed."""
    header = _read_exactly(descriptor, _LENGTH.size)
    content = None if header is None else _read_exactly(descriptor, _LENGTH.unpack(header)[0])
    if content is None:
        return None
    message: Message = pickle.loads(content)
    return message


def _read_exactly(descriptor: int, size: int) -> bytes | None:
    """Read ``size`` bytes; None at the end of the stream."""
    parts = []
    while size:
        part = os.read(descriptor, min(size, _CHUNK))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class MessageReader:
    """The whole messages that have arrived, without ever waiting: the other end may die in mid-message.

    Parameters
    ----------
    descriptor : int
        Made non-blocking.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._buffer = bytearray()

    def read(self) -> Iterator[Message]:
        """Iterate over the messages that are complete."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while part := os.read(self._descriptor, _CHUNK):
                self._buffer += part
        while len(self._buffer) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._buffer)
            end = _LENGTH.size + size
            if len(self._buffer) < end:
                return
            content = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield pickle.loads(content)
