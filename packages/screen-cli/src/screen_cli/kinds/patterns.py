"""Displacement patterns of a kind: directions of all atoms, the same for every crystal of the kind."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from screen_cli.kinds.identity import CanonicalAction


def pattern(action: CanonicalAction, n_pairs: int, seed: int) -> NDArray[np.float64]:
    """Draw unit vectors for every atom of some supercells, from a seed that is part of the kind.

    More pairs begin with the same ones as fewer.

    Parameters
    ----------
    action : CanonicalAction
    n_pairs : int
    seed : int

    Returns
    -------
    ndarray
        float64 (n_pairs, n_atoms, 3), in the order of the supercell's own atoms: canonical atom i of every crystal of
        the kind gets the same vectors.
    """
    digest = hashlib.sha256(f"{seed}/{action.key}".encode()).digest()
    drawn = np.random.default_rng(int.from_bytes(digest[:8], "little")).standard_normal((n_pairs, len(action.order), 3))
    drawn /= np.linalg.norm(drawn, axis=2, keepdims=True)
    directions = np.empty_like(drawn)
    directions[:, action.order] = drawn
    return directions
