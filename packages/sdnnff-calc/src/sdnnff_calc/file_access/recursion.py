"""How deep Python recurses while a file of a stranger is read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["read_shallowly", "usual_recursion"]

_USUAL = 1000  # calls within one another: what Python allows where nobody changed it
_Item = TypeVar("_Item")


@contextmanager
def usual_recursion() -> Iterator[None]:
    """Let Python recurse no deeper than it does by itself.

    symfc raises the limit to 100,000 for the whole process when it is imported; JSON nested so deeply overflows the
    stack of Python's own reader, which ends the process by a segmentation fault.

    Raises
    ------
    ValueError
        What is read is nested too deeply for that.
    """
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(min(before, _USUAL))
    try:
        yield
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    finally:
        sys.setrecursionlimit(before)


def read_shallowly(items: Iterator[_Item]) -> Iterator[_Item]:
    """Give the items of a reader, each read at the usual depth; what takes them keeps its own."""
    while True:
        with usual_recursion():
            try:
                item = next(items)
            except StopIteration:
                return
        yield item
