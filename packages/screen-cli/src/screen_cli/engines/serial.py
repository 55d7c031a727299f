"""The serial engine: one task after another in this process, for debugging and tests."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Iterable

from screen_cli.config import EngineSettings
from screen_cli.engines import Task, TaskResult, Value
from screen_cli.errors import ScreenError


class SerialEngine:
    """Run tasks in order, in process. The time limit is not enforced, and a crash ends the run.

    Parameters
    ----------
    settings : EngineSettings
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._stopped = False

    def run(self, function: Callable[[Task], Value], tasks: Iterable[Task]) -> Generator[TaskResult[Value], None, None]:
        """Yield the result of each task in turn."""
        for task in tasks:
            if self._stopped:
                return
            yield _run(function, task)

    def stop(self) -> None:
        """Start no further task."""
        self._stopped = True


def _run(function: Callable[[Task], Value], task: Task) -> TaskResult[Value]:
    """Run one task; sys.exit ends the crystal, Ctrl-C the run."""
    try:
        return TaskResult(task, function(task))
    except ScreenError as error:
        return TaskResult(task, error=str(error), kind="error", exception=error)
    except SystemExit as error:
        text = f"the calculator, or a library that it calls, ended with {error!r}"
        return TaskResult(task, error=text, kind="error", traceback=traceback.format_exc())
