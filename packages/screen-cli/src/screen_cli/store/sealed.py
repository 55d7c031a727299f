"""JSON that knows when it was changed: the first key is the checksum of the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np

from screen_cli.store.reading import parse_json
from screen_cli.store.record import Json

CHECKSUM = "checksum"


def seal(content: Mapping[str, object], *, finite: bool = True, readable: bool = False) -> str:
    """Write an object as JSON text with its checksum.

    Parameters
    ----------
    content : mapping
        Without a key ``checksum`` of its own.
    finite : bool
        Refuse NaN and infinity.
    readable : bool
        One entry a line, for files that people look into.

    Raises
    ------
    ValueError
        It holds NaN or infinity.
    TypeError
        It holds something that is no JSON (arrays and numbers of NumPy are turned into it).
    """
    text = _text(content, finite=finite)
    if readable:
        return json.dumps({CHECKSUM: _sum(text), **json.loads(text)}, indent=1)
    return f'{{"{CHECKSUM}": "{_sum(text)}"{", " if content else ""}{text[1:]}'


def unseal(text: str | bytes) -> dict[str, Json]:
    """Read what :func:`seal` wrote.

    Raises
    ------
    ValueError
        It is no JSON, was cut short or changed.
    """
    content = parse_json(text)
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, expected an object")
    expected = content.pop(CHECKSUM, None)
    if expected is None:
        raise ValueError("it has no checksum")
    if expected != _sum(_text(content, finite=False)):
        raise ValueError("its checksum does not fit")
    return content


def _text(content: Mapping[str, object], *, finite: bool) -> str:
    """JSON text, the same for equal content; an indent would slow it tenfold."""
    return json.dumps(content, default=plain, allow_nan=not finite, sort_keys=True)


def _sum(text: str) -> str:
    """Checksum of JSON text."""
    return hashlib.sha256(text.encode()).hexdigest()


def plain(value: object) -> object:
    """Turn numbers and arrays of NumPy into JSON values (for ``json.dumps(default=...)``)."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
