"""Where tasks run: what every engine takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

Task = str
"""A structure id: workers find everything else in the run directory."""

Value = TypeVar("Value")
Kind = Literal["ok", "error", "crash", "timeout", "memory"]


@dataclass(frozen=True)
class TaskResult(Generic[Value]):
    """How one task ended.

    Parameters
    ----------
    task : str
        Structure id.
    value : object or None
        What the function returned.
    error : str
        Empty, or why there is no value.
    kind : {"ok", "error", "crash", "timeout", "memory"}
        Whether the function raised, its worker died, its time ran out, or it took too much memory.
    exception : Exception or None
        What it raised, where that can be sent from one process to another.
    stage : str
        Last stage the function said it was in (:func:`screen_cli.engines.messages.stage_begins`).
    traceback : str
        Of what it raised.
    """

    task: Task
    value: Value | None = None
    error: str = ""
    kind: Kind = "ok"
    exception: Exception | None = None
    stage: str = ""
    traceback: str = ""


class Engine(Protocol):
    """Runs tasks somewhere; the truth stays in the run directory, so an engine may die at any time."""

    def run(self, function: Callable[[Task], Value], tasks: Iterable[Task]) -> Generator[TaskResult[Value], None, None]:
        """Yield results as they come, in any order; ``function`` is picklable.

        Closing the iterator early cancels what has not started.
        """
        ...

    def stop(self) -> None:
        """Start no further task; those in flight may finish."""
        ...
