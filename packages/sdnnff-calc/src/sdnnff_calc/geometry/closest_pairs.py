"""The shortest distance of each pair of elements that a model has learned from, and the refusal of much shorter ones.

A network says nothing true about distances it has never seen, and nothing false loudly enough: an atom that falls
through the repulsion it has learned finds an energy of minus millions of eV, without an error.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from sdnnff_calc.errors import OverlappingAtomsError
from sdnnff_calc.geometry.elements import N_ELEMENTS, radius_table
from sdnnff_calc.geometry.environments import EdgeArrays

__all__ = ["LEAST_SHARE", "ClosestPairs", "check_pairs", "limits_of", "merge_closest"]

LEAST_SHARE = 0.75
"""What is still allowed of the shortest distance learned from, or of the sum of covalent radii when that is less."""

Distances = Mapping[tuple[int, int], float]


class ClosestPairs:
    """Gathers the shortest distance of each pair of elements over many structures."""

    def __init__(self) -> None:
        self._table = np.full((N_ELEMENTS, N_ELEMENTS), np.inf)

    def add(self, edges: EdgeArrays) -> None:
        """Take the pairs of one more structure into account."""
        pairs = np.sort(edges.numbers[np.stack([edges.centre, edges.neighbour])].astype(np.int64), axis=0)
        np.minimum.at(self._table, tuple(pairs), np.linalg.norm(np.asarray(edges.vector, dtype=np.float64), axis=1))

    def found(self) -> dict[tuple[int, int], float]:
        """Give the distances, Å, by atomic numbers in ascending order."""
        return {(int(a), int(b)): float(self._table[a, b]) for a, b in np.argwhere(np.isfinite(self._table))}


def merge_closest(first: Distances | None, second: Distances | None) -> dict[tuple[int, int], float] | None:
    """Give the shorter distance of each pair; None, nothing known, if either is None."""
    if first is None or second is None:
        return None
    return {pair: min(first.get(pair, np.inf), second.get(pair, np.inf)) for pair in {**first, **second}}


def limits_of(closest: Distances | None) -> NDArray[np.float64]:
    """Tabulate the distance below which a pair is refused, Å, shape (119, 119); 0 for pairs never learned from."""
    table = np.zeros((N_ELEMENTS, N_ELEMENTS))
    radii = radius_table()
    for (a, b), distance in (closest or {}).items():
        table[a, b] = table[b, a] = LEAST_SHARE * min(distance, radii[a] + radii[b])
    return table


def check_pairs(edges: EdgeArrays, limits: NDArray[np.float64]) -> None:
    """Refuse a structure with a pair of atoms far closer than any such pair learned from.

    Parameters
    ----------
    edges : EdgeArrays
        Of one structure.
    limits : NDArray[np.float64], shape (119, 119), Å
        As :func:`limits_of` gives them.

    Raises
    ------
    OverlappingAtomsError
        Naming the pair that is worst.
    """
    if len(edges.centre) == 0:
        return
    distance = np.linalg.norm(edges.vector, axis=1)
    allowed = limits[edges.numbers[edges.centre], edges.numbers[edges.neighbour]]
    worst = int(np.argmin(distance - allowed))
    if distance[worst] >= allowed[worst]:
        return
    i, j = int(edges.centre[worst]), int(edges.neighbour[worst])
    names = " and ".join(f"{k} ({chemical_symbols[edges.numbers[k]]})" for k in (i, j))
    raise OverlappingAtomsError(
        f"atoms {names} are {distance[worst]:.2f} Å apart: this model refuses them below {allowed[worst]:.2f} Å, three "
        "quarters of the shortest such distance it has learned from (or of a covalent bond), for what it says there "
        "means nothing. Start nearer to equilibrium, take shorter steps, or fine-tune it on such structures."
    )
