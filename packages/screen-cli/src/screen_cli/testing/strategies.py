"""Hypothesis strategies that draw crystals: cells of every lattice system, space groups, and other descriptions.

Needs hypothesis. A crystal is drawn from a space group in one of its 530 settings: the cell is a random metric averaged
over the point group, so that any axes and origin come out alike, and the atoms are the orbits of drawn points.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import spglib
from ase import Atoms
from hypothesis import assume
from hypothesis import strategies as st
from numpy.typing import NDArray

ELEMENTS = ("Li", "O", "Na", "Mg", "Al", "Si", "S", "Cl", "K", "Ti", "Cu", "Zn", "Ga", "Sr", "Ag", "Ba", "Au", "Pb")
LATTICE_SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "rhombohedral", "hexagonal", "cubic")
HALL_NUMBERS = range(1, 531)
"""Every setting of every space group that the International Tables list."""

_SPECIAL = (0.0, 0.125, 0.25, 1 / 3, 0.5, 2 / 3, 0.75)
_MERGE = 1e-4
"""Positions closer than this, in units of the cell, are one site of an orbit."""


@dataclass(frozen=True, eq=False)
class Description:
    """Another description of one crystal.

    Parameters
    ----------
    atoms : ase.Atoms
        The crystal as described, turned by ``rotation``.
    rotation : ndarray
        Proper rotation of space, float64 (3, 3): a Cartesian vector v of the first description is ``rotation @ v``
        in this one.
    order : ndarray
        Atom ``order[i]`` of the first description is atom i of this one (repeated in a supercell), int (n_atoms,).
    """

    atoms: Atoms
    rotation: NDArray[np.float64]
    order: NDArray[np.int64]


def _floats(low: float, high: float) -> st.SearchStrategy[float]:
    """Draw a finite float of an interval."""
    return st.floats(low, high, allow_nan=False, allow_infinity=False, width=64)


@st.composite
def cells(draw: st.DrawFn, system: str | None = None) -> NDArray[np.float64]:
    """Draw right-handed cell vectors of a lattice system (float64 (3, 3), rows, Å); None: of any system."""
    system = draw(st.sampled_from(LATTICE_SYSTEMS)) if system is None else system
    a, b, c = (draw(_floats(3.0, 7.0)) for _ in range(3))
    alpha, beta, gamma = (draw(_floats(70.0, 110.0)) for _ in range(3))
    parameters = {
        "triclinic": (a, b, c, alpha, beta, gamma),
        "monoclinic": (a, b, c, 90.0, beta, 90.0),
        "orthorhombic": (a, b, c, 90.0, 90.0, 90.0),
        "tetragonal": (a, a, c, 90.0, 90.0, 90.0),
        "rhombohedral": (a, a, a, alpha, alpha, alpha),
        "hexagonal": (a, a, c, 90.0, 90.0, 120.0),
        "cubic": (a, a, a, 90.0, 90.0, 90.0),
    }
    from ase.geometry import cellpar_to_cell

    cell: NDArray[np.float64] = cellpar_to_cell(parameters[system])
    return cell


@st.composite
def rotations(draw: st.DrawFn) -> NDArray[np.float64]:
    """Draw a proper rotation (float64 (3, 3)) from a unit quaternion."""
    quaternion = np.array([draw(_floats(-1.0, 1.0)) for _ in range(4)])
    norm = float(np.linalg.norm(quaternion))
    assume(norm > 0.1)
    w, x, y, z = quaternion / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


@st.composite
def bases(draw: st.DrawFn, *, left_handed: bool = True) -> NDArray[np.int64]:
    """Draw an integer matrix of determinant 1 (or −1): another choice of axes of one lattice (rows)."""
    matrix = np.eye(3, dtype=np.int64)
    for _ in range(draw(st.integers(0, 3))):
        i, j = draw(st.sampled_from([(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]))
        matrix[i] += draw(st.sampled_from([-1, 1])) * matrix[j]
    matrix = matrix[list(draw(st.permutations(range(3))))]
    if np.linalg.det(matrix) < 0 and not (left_handed and draw(st.booleans())):
        matrix = -matrix
    return matrix


@st.composite
def supercells(draw: st.DrawFn, largest: int = 4) -> NDArray[np.int64]:
    """Draw an integer matrix in Hermite form with a determinant from 1 to ``largest``: a supercell (rows)."""
    size = draw(st.integers(1, largest))
    diagonals = [(a, b, size // (a * b)) for a in range(1, size + 1) for b in range(1, size + 1) if size % (a * b) == 0]
    a, b, c = draw(st.sampled_from(diagonals))
    x, y, z = draw(st.integers(0, b - 1)), draw(st.integers(0, c - 1)), draw(st.integers(0, c - 1))
    return np.array([[a, x, y], [0, b, z], [0, 0, c]], dtype=np.int64)


@st.composite
def crystals(
    draw: st.DrawFn,
    *,
    hall_numbers: Sequence[int] = HALL_NUMBERS,
    elements: Sequence[str] = ELEMENTS,
    max_atoms: int = 24,
) -> Atoms:
    """Draw a crystal of a space group in a setting of the International Tables.

    Its atoms are at least 2.2 Å apart, and it has one to three orbits of sites; the space group may be higher than the
    one drawn, where the points fall so. ``info["hall_number"]`` says which was drawn.

    Parameters
    ----------
    hall_numbers : sequence of int
        Settings to draw from, spglib's numbers.
    elements : sequence of str
        Chemical symbols to draw from.
    max_atoms : int
        Largest number of atoms in the cell of the setting.
    """
    number = draw(st.sampled_from(hall_numbers))
    with warnings.catch_warnings():  # spglib 2.7+ warns of its own change of convention
        warnings.simplefilter("ignore", DeprecationWarning)
        operations = spglib.get_symmetry_from_database(number) or {}
    atoms = draw(
        crystals_of(operations["rotations"], operations["translations"], elements=elements, max_atoms=max_atoms)
    )
    atoms.info["hall_number"] = number
    return atoms


@st.composite
def crystals_of(
    draw: st.DrawFn,
    turns: NDArray[np.int64],
    shifts: NDArray[np.float64],
    *,
    elements: Sequence[str] = ELEMENTS,
    max_atoms: int = 24,
) -> Atoms:
    """Draw a crystal with given operations, as :func:`crystals` does.

    ``arrays["orbit"]`` numbers the orbits; the first atom of each is a site of the asymmetric unit.

    Parameters
    ----------
    turns, shifts : ndarray
        Rotations, int64 (n_operations, 3, 3), and translations, float64 (n_operations, 3), of fractional coordinates.
    elements, max_atoms : sequence of str, int
        As :func:`crystals` takes them.
    """
    cell = draw(cells("triclinic"))
    metric = np.mean([turn.T @ (cell @ cell.T) @ turn for turn in turns], axis=0)
    axes = np.linalg.cholesky(metric)
    symbols: list[str] = []
    orbits: list[int] = []
    positions: list[NDArray[np.float64]] = []
    coordinate = st.one_of(st.sampled_from(_SPECIAL), _floats(0.05, 0.45))
    for _ in range(draw(st.integers(1, 3))):
        point = np.array([draw(coordinate) for _ in range(3)])
        orbit = _distinct((turns @ point + shifts) % 1.0)
        if positions and _overlap(np.array(positions), orbit):
            continue
        if len(positions) + len(orbit) <= max_atoms:
            orbits += [len(set(orbits))] * len(orbit)
            symbols += [draw(st.sampled_from(elements))] * len(orbit)
            positions += list(orbit)
    assume(positions)
    atoms = Atoms(symbols, scaled_positions=positions, cell=axes, pbc=True)
    assume(atoms.cell.volume > 20.0)
    shortest = _shortest_distance(atoms)
    assume(shortest > 0.5)
    atoms.set_cell(atoms.cell.array * max(2.2 / shortest, (12.0 * len(atoms) / atoms.cell.volume) ** (1 / 3)), True)
    assume(atoms.cell.volume < 250.0 * len(atoms))
    atoms.set_array("orbit", np.array(orbits))
    return atoms


@st.composite
def descriptions(draw: st.DrawFn, atoms: Atoms, *, largest: int = 2, turned: bool = True) -> Description:
    """Draw another description of a crystal.

    Other axes (left-handed ones too), a supercell of up to ``largest`` cells, another origin, another order of the
    atoms, and unless ``turned`` is False another orientation in space.
    """
    from ase.build import make_supercell

    matrix = draw(bases()) @ draw(supercells(largest))
    described = atoms.copy()
    described.info.clear()
    described.set_array("place", np.arange(len(atoms)))
    described = make_supercell(described, matrix, wrap=False, tol=1e-9)
    rotation = draw(rotations()) if turned else np.eye(3)
    described.positions += np.array([draw(_floats(-3.0, 3.0)) for _ in range(3)])
    described.set_cell(described.cell.array @ rotation.T)
    described.positions = described.positions @ rotation.T
    order = np.array(draw(st.permutations(range(len(described)))))
    described = described[order]
    places = described.get_array("place").astype(np.int64)
    del described.arrays["place"]
    return Description(described, rotation, places)


def _distinct(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points of one orbit, each once."""
    kept: list[NDArray[np.float64]] = []
    for point in points:
        if not any(_same(point, other) for other in kept):
            kept.append(point)
    return np.array(kept)


def _same(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Whether two fractional positions are one, up to lattice vectors."""
    difference = first - second
    return bool(np.abs(difference - np.round(difference)).max() < _MERGE)


def _overlap(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Whether two sets of fractional positions share a point."""
    return any(_same(a, b) for a in first for b in second)


def _shortest_distance(atoms: Atoms) -> float:
    """Shortest distance between two atoms or images, Å."""
    from ase.neighborlist import neighbor_list

    edge = float(np.linalg.norm(atoms.cell.array, axis=1).min())
    distances = neighbor_list("d", atoms, edge * 1.01)
    return float(min(distances.min(initial=edge), edge))
