"""The second line of a frame of extended XYZ, before ASE reads it."""

from __future__ import annotations

import re

__all__ = ["MOST_COLUMNS", "check_columns"]

MOST_COLUMNS = 10_000
"""Columns of numbers or words that a frame may have."""

_MOST_DIGITS = 20  # of one number, zeros in front included; Python refuses to read thousands
_QUOTES = re.compile(r"[\\\"'{}\[\]]")  # ASE drops them, wherever they stand
_CLAIM = re.compile(r":[RISL]:\s*\+?(\d[\d_]*)")


def check_columns(header: str) -> None:
    """Refuse more columns than a file has: ASE makes room for all that are promised before it reads one.

    Parameters
    ----------
    header : str
        ``Properties=species:S:1:pos:R:3 ...``. What looks like a column anywhere in it is counted, since ASE takes the
        last ``Properties`` of several, in any quotes.

    Raises
    ------
    ValueError
        More than :data:`MOST_COLUMNS` are promised, or they are written as JSON, where digits can hide.
    """
    plain = _QUOTES.sub("", header)
    if re.search(r"Properties\s*=\s*_JSON", plain):
        raise ValueError("its columns are written as JSON, expected Properties=name:type:number:...")
    claims = [claim.replace("_", "") for claim in _CLAIM.findall(plain)]
    if any(len(claim) > _MOST_DIGITS for claim in claims) or sum(map(int, claims)) > MOST_COLUMNS:
        promised = ", ".join(claim[:_MOST_DIGITS] for claim in claims[:10])
        raise ValueError(f"it promises more than {MOST_COLUMNS} columns ({promised})")
