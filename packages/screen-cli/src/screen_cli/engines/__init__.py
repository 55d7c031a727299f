"""Where tasks run: the protocol of an engine, and the two built-in ones."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

Task = str
"""A structure id: workers find everything else in the run directory."""


@dataclass(frozen=True)
class TaskResult:
    """How one task ended.

    Parameters
    ----------
    task : str
        Structure id.
    value : dict or None
        What the function returned.
    error : str
        Empty, or why there is no value.
    kind : {"ok", "error", "crash", "timeout"}
        Whether the function raised, its worker died, or its time ran out.
    exception : BaseException or None
        What it raised.
    """

    task: Task
    value: dict[str, Any] | None = None
    error: str = ""
    kind: str = "ok"
    exception: BaseException | None = None


class Engine(Protocol):
    """Runs tasks somewhere; the truth stays in the run directory, so an engine may die at any time."""

    def run(
        self, function: Callable[[Task], dict[str, Any]], tasks: Iterable[Task]
    ) -> Generator[TaskResult, None, None]:
        """Yield results as they come, in any order; ``function`` is picklable.

        Closing the iterator early cancels what has not started.
        """
        ...

    def stop(self) -> None:
        """Start no further task; those in flight may finish."""
        ...
