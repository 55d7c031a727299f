"""Content keys: the hash of everything a result depends on."""

from __future__ import annotations

import hashlib
import json

KEY_LENGTH = 12


def content_key(*parts: object) -> str:
    """Hash JSON-ready parts into a short hexadecimal key.

    Parameters
    ----------
    *parts : object
        Anything ``json`` can write; dict order does not matter.

    Returns
    -------
    str
        The first 12 hexadecimal digits (48 bits) of a SHA-256; keys are only ever compared within one
        structure and stage.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]
