"""The serial engine: one task after another in this process, for debugging and tests."""

from __future__ import annotations

import contextlib
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from types import FrameType

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
    """Run one task; what a calculator raises ends the crystal, a person's Ctrl-C the run."""
    with _heard_interrupts() as heard:
        try:
            return TaskResult(task, function(task))
        except ScreenError as error:
            return TaskResult(task, error=str(error), kind="error", exception=error)
        except BaseException as error:
            if isinstance(error, Exception) or (heard and isinstance(error, KeyboardInterrupt)):
                raise
            text = f"the calculator, or a library that it calls, ended with {error!r}"
            return TaskResult(task, error=text, kind="error", traceback=traceback.format_exc())


@contextlib.contextmanager
def _heard_interrupts() -> Iterator[list[int]]:
    """Note the interrupts that come from outside: a KeyboardInterrupt without one is the calculator's own."""
    heard: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    on_main_thread = threading.current_thread() is threading.main_thread()
    handlers = {number: handler for number, handler in before.items() if on_main_thread and callable(handler)}

    def note(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        handlers[signal.Signals(number)](number, frame)

    for number in handlers:
        signal.signal(number, note)
    try:
        yield heard
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
