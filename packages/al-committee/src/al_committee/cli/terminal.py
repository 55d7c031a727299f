"""Log lines and progress bars on a terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from al_committee.loop.progress import Advance, NoProgress, Progress

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.progress import ProgressColumn

__all__ = ["RichProgress", "log_to_terminal"]


class RichProgress:
    """Show a bar with rate, elapsed and remaining time on a terminal.

    Parameters
    ----------
    console : RichConsole
        A ``rich.console.Console``, the one that log lines go to.
    """

    def __init__(self, console: RichConsole) -> None:
        self.console = console

    @contextmanager
    def step(self, what: str, total: int | None) -> Iterator[Advance]:
        """Open a step."""
        from rich import progress as bars

        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            _rate_column(),
            bars.TimeElapsedColumn(),
            bars.TimeRemainingColumn(),
        )
        with bars.Progress(*columns, console=self.console, transient=True) as display:
            task = display.add_task(what, total=total)
            yield lambda count: display.advance(task, count)


def _rate_column() -> ProgressColumn:
    """Column of pieces per second."""
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.3g}/s" if task.speed else "")

    return RateColumn()


def log_to_terminal(level: int) -> Progress:
    """Send log lines to a terminal through rich and give bars that do not disturb them.

    Without a terminal, or without rich (``pip install 'al-committee[progress]'``), log lines are plain and there
    are no bars.
    """
    try:
        from rich.console import Console
        from rich.logging import RichHandler
    except ImportError:
        Console = None  # type: ignore[assignment, misc]
    if Console is None or not (console := Console(stderr=True)).is_terminal:
        logging.basicConfig(level=level, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
        return NoProgress()
    handler = RichHandler(console=console, show_level=False, show_path=False, log_time_format="%H:%M:%S")
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler])
    return RichProgress(console)
