"""Numbers made small: rounding, differences, deflate, base64. The page unpacks them in ``unpack.js``."""

from __future__ import annotations

import base64
import json
import math
import zlib

import numpy as np
from numpy.typing import NDArray

from screen_cli.store.record import Json, Scalar


def pack(value: object) -> str:
    """Turn JSON-ready data into base64 of raw deflate (browsers read it with ``DecompressionStream``)."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    return base64.b64encode(squeeze.compress(text.encode()) + squeeze.flush()).decode()


def unpack(text: str) -> Json:
    """Undo :func:`pack`."""
    value: Json = json.loads(zlib.decompress(base64.b64decode(text), -15))
    return value


def round_to_digits(value: float, digits: int = 5) -> float:
    """Round a finite number to significant digits; whole ones become int, which JSON writes shorter."""
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def significant(value: Scalar | np.floating | None, digits: int = 5) -> Scalar | None:
    """Round a number to significant digits; NaN and infinity become None, other values pass."""
    if isinstance(value, bool) or not isinstance(value, (float, np.floating)):
        return value
    return round_to_digits(float(value), digits) if math.isfinite(value) else None


def differences(values: NDArray[np.float64], step: float) -> list[int]:
    """Express a smooth curve as first value and differences, in whole steps (one or two characters each)."""
    steps = np.rint(np.asarray(values, dtype=np.float64) / step).astype(np.int64)
    return [int(number) for number in np.diff(steps, prepend=0)]
