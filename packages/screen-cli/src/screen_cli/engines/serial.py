"""The serial engine: one task after another in this process; for debugging and tiny jobs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

from screen_cli.config import EngineSettings
from screen_cli.engines import Task, TaskResult
from screen_cli.errors import StoreError


class SerialEngine:
    """Run tasks in order, in process. The time limit is not enforced here.

    Parameters
    ----------
    settings : EngineSettings
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._stopped = False

    def run(
        self, function: Callable[[Task], dict[str, Any]], tasks: Iterable[Task]
    ) -> Generator[TaskResult, None, None]:
        """Yield the result of each task in turn."""
        for task in tasks:
            if self._stopped:
                return
            try:
                yield TaskResult(task, function(task))
            except StoreError as error:
                yield TaskResult(task, error=str(error), kind="error", exception=error)

    def stop(self) -> None:
        """Start no further task."""
        self._stopped = True
