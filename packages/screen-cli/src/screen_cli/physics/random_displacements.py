"""Random displacements of all atoms of a supercell, by one length, the same on every machine."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def random_displacements(
    n_supercells: int, n_atoms: int, distance: float, *, paired: bool, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Displace every atom by ``distance`` in a random direction.

    Returns
    -------
    ndarray
        float64 (n_supercells, n_atoms, 3), Å, Cartesian; when paired, row 2i+1 is the negative of row 2i.
    """
    n_drawn = n_supercells // 2 if paired else n_supercells
    vectors = rng.standard_normal((n_drawn, n_atoms, 3))
    vectors *= distance / np.linalg.norm(vectors, axis=2, keepdims=True)
    if not paired:
        return vectors
    return np.stack([vectors, -vectors], axis=1).reshape(2 * n_drawn, n_atoms, 3)


def seeded_generator(seed: int, text: str) -> np.random.Generator:
    """Random generator fixed by a number and a text, on every machine."""
    digest = hashlib.sha256(f"{seed}/{text}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
