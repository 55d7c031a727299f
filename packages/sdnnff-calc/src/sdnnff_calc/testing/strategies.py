"""Hypothesis strategies that draw what the force field meets: cells, crystals, rotations, settings and their TOML."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from ase import Atoms
from ase.geometry import cellpar_to_cell
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

__all__ = ["LATTICE_SYSTEMS", "cell_changes", "cells", "crystals", "model_tables", "rotations", "toml_text"]

LATTICE_SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "rhombohedral", "hexagonal", "cubic")

_LENGTHS = st.floats(3.0, 8.0)
_ANGLES = st.floats(65.0, 115.0)


@st.composite
def cells(draw: st.DrawFn, system: str | None = None) -> NDArray[np.float64]:
    """Draw a cell of one of the seven lattice systems, or of the one given.

    Returns
    -------
    ndarray, float64, shape (3, 3)
        Rows are cell vectors, Å, in a right-handed order.
    """
    chosen = draw(st.sampled_from(LATTICE_SYSTEMS)) if system is None else system
    a, b, c = (draw(_LENGTHS) for _ in range(3))
    alpha, beta, gamma = (draw(_ANGLES) for _ in range(3))
    parameters = {
        "triclinic": (a, b, c, alpha, beta, gamma),
        "monoclinic": (a, b, c, 90, beta, 90),
        "orthorhombic": (a, b, c, 90, 90, 90),
        "tetragonal": (a, a, c, 90, 90, 90),
        "rhombohedral": (a, a, a, alpha, alpha, alpha),
        "hexagonal": (a, a, c, 90, 90, 120),
        "cubic": (a, a, a, 90, 90, 90),
    }
    return np.asarray(cellpar_to_cell(parameters[chosen]), dtype=np.float64)


@st.composite
def crystals(
    draw: st.DrawFn,
    symbols: tuple[str, ...] = ("Na", "Al", "Cl", "Cu"),
    max_atoms: int = 4,
    shortest: float = 1.8,
    pbc: st.SearchStrategy[tuple[bool, bool, bool]] | None = None,
) -> Atoms:
    """Draw a crystal in a general position: any lattice system, atoms anywhere, none too close.

    Parameters
    ----------
    symbols : tuple of str
        Elements drawn from.
    max_atoms : int
        In the cell.
    shortest : float
        Least distance between atoms, images included, Å: the cell is blown up until it holds.
    pbc : st.SearchStrategy[tuple[bool, bool, bool]], optional
        Periodic directions; fully periodic when left out.

    Returns
    -------
    Atoms
    """
    n = draw(st.integers(1, max_atoms))
    scaled = np.array([[draw(st.floats(0.0, 0.99)) for _ in range(3)] for _ in range(n)])
    scaled += 0.17 * np.arange(n)[:, None]  # what shrinks to zero stays apart
    atoms = Atoms(
        [draw(st.sampled_from(symbols)) for _ in range(n)],
        scaled_positions=scaled % 1.0,
        cell=draw(cells()),
        pbc=True,
    )
    distances = atoms.get_all_distances(mic=True) + 1e9 * np.eye(n)
    closest = max(float(distances.min()), 0.2)
    if closest < shortest:
        atoms.set_cell(atoms.cell.array * (shortest / closest), scale_atoms=True)
    if pbc is not None:
        atoms.pbc = draw(pbc)
    return atoms


@st.composite
def rotations(draw: st.DrawFn) -> NDArray[np.float64]:
    """Draw a proper rotation, shape (3, 3)."""
    quaternion = np.array([draw(st.floats(-1.0, 1.0)) for _ in range(4)])
    if np.linalg.norm(quaternion) < 1e-3:
        quaternion = np.array([0.0, 0.0, 0.0, 1.0])
    return np.asarray(Rotation.from_quat(quaternion).as_matrix())


@st.composite
def cell_changes(draw: st.DrawFn) -> NDArray[np.int64]:
    """Draw another setting of the same lattice: an integer matrix of determinant ±1, shape (3, 3)."""
    change = np.eye(3, dtype=np.int64)[list(draw(st.permutations(range(3))))]
    for _ in range(draw(st.integers(0, 3))):
        i, j = draw(st.sampled_from([(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]))
        change[i] += draw(st.sampled_from([-1, 1])) * change[j]
    return change


@st.composite
def model_tables(draw: st.DrawFn) -> dict[str, object]:
    """Draw the table ``[model]`` of a small model of any kind, with some keys left to their defaults."""
    sizes = st.integers(1, 6)
    if draw(st.booleans()):
        table: dict[str, object] = {
            "kind": "e-sdnnff",
            "head": draw(st.sampled_from(["direct", "conservative"])),
            "cutoff": draw(st.floats(3.0, 5.0)),
            "n_radial": draw(st.integers(2, 4)),
            "radial_basis": draw(st.sampled_from(["bessel", "bond-scaled"])),
            "l_max": draw(st.integers(1, 3)),
            "n_element_channels": draw(sizes),
            "n_channels": draw(sizes),
            "n_factors": draw(st.integers(1, 3)),
            "n_layers": draw(st.integers(1, 2)),
            "n_hidden": draw(sizes),
        }
        free = ["head", "n_factors", "n_layers", "l_max", "radial_basis"]
    else:
        table = {
            "kind": "sdnnff",
            "cutoff": draw(st.floats(3.0, 5.0)),
            "n_grid": draw(st.integers(5, 7)),
            "sigma": draw(st.floats(1.3, 2.0)),
            "n_element_channels": draw(sizes),
            "n_hidden": draw(sizes),
            "n_hidden_layers": draw(st.integers(1, 3)),
            "n_frames": draw(st.integers(1, 3)),
        }
        free = ["n_frames", "n_hidden_layers"]
    for key in draw(st.lists(st.sampled_from(free), unique=True)):
        del table[key]
    return table


def toml_text(tables: Mapping[str, Mapping[str, object]]) -> str:
    """Write tables as TOML."""
    lines = []
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {_value(value)}" for key, value in table.items()), ""]
    return "\n".join(lines)


def _value(value: object) -> str:
    """Spell one value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, (int, float)):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML takes no bare DEL
