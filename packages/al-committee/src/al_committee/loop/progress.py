"""What is told about long steps; nothing by default."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["Advance", "NoProgress", "Progress"]

Advance = Callable[[int], None]


class Progress(Protocol):
    """What the loop tells about a long step."""

    def step(self, what: str, total: int | None) -> AbstractContextManager[Advance]:
        """Open a context manager that gives ``advance(n)``; a total of None means that only time can be told."""


class NoProgress:
    """Tell nothing."""

    @contextmanager
    def step(self, what: str, total: int | None) -> Iterator[Advance]:
        """Open a step."""
        yield lambda count: None
