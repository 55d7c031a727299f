"""The supercell of a crystal, which cell is repeated and how often; and meshes of q points in its axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from screen_cli.config import ConductivitySettings, DisplaceSettings
from screen_cli.crystal.standard_cell import along_standard_axes, axes_along, standard_cell, standardise
from screen_cli.errors import ConfigError, StructureError

Base = Literal["conventional", "primitive"]
Multiples = tuple[int, int, int]
Mesh = tuple[int, int, int]

_MOST_POINTS = 8_000_000  # of a q mesh, 200³


def choose_supercell(
    atoms: Atoms, settings: DisplaceSettings, *, symprec: float = 1e-3
) -> tuple[Atoms, Base, Multiples]:
    """Choose the unit cell and its diagonal multiples.

    Multiples of the conventional cell whose edges reach ``supercell_length``; when that exceeds ``max_atoms``
    the length shrinks until it fits. Where only one conventional cell fits and is too short, multiples of the
    primitive cell are tried, whose lattice translations are longer at the same number of atoms (elpasolite:
    80 atoms reach √2·a); not where ``dim_fc2`` is given, which counts conventional cells.

    Returns
    -------
    unitcell : ase.Atoms
        Conventional or primitive standardised cell.
    base : {"conventional", "primitive"}
    dim : tuple of int

    Raises
    ------
    StructureError
        Even the primitive cell exceeds ``max_atoms``, or the conventional one does and ``dim_fc2`` is given.
    """
    conventional = standardise(atoms, symprec, to_primitive=False)
    if settings.dim:
        return conventional, "conventional", given_multiples(settings.dim, "dim", atoms, symprec)
    edges = np.linalg.norm(conventional.cell.array, axis=1)
    dim = _fitting_multiples(edges, len(conventional), settings.supercell_length, settings.max_atoms)
    if dim is not None:
        length = shortest_translation(np.diag(dim) @ conventional.cell.array)
        if length >= settings.supercell_length - 1e-6 or max(dim) > 1 or settings.dim_fc2:
            return conventional, "conventional", dim
    elif settings.dim_fc2:
        raise StructureError(
            f"the conventional cell of {conventional.get_chemical_formula()} has {len(conventional)} atoms, more than "
            f"displace.max_atoms = {settings.max_atoms}, and displace.dim_fc2 counts conventional cells. Raise "
            "displace.max_atoms, or leave out displace.dim_fc2."
        )
    primitive = standardise(atoms, symprec)
    edges = np.linalg.norm(primitive.cell.array, axis=1)
    dim_primitive = _fitting_multiples(edges, len(primitive), settings.supercell_length, settings.max_atoms)
    if dim_primitive is None:
        raise StructureError(
            f"the primitive cell of {primitive.get_chemical_formula()} has {len(primitive)} atoms, more than "
            f"displace.max_atoms = {settings.max_atoms}. Raise displace.max_atoms."
        )
    if dim is not None:
        length = shortest_translation(np.diag(dim) @ conventional.cell.array)
        if shortest_translation(np.diag(dim_primitive) @ primitive.cell.array) <= length + 1e-6:
            return conventional, "conventional", dim
    return primitive, "primitive", dim_primitive


def given_multiples(dim: Sequence[int], name: str, atoms: Atoms, symprec: float = 1e-3) -> Multiples:
    """Validate multiples, and bring those of the axes of a file into the order of the conventional cell.

    Parameters
    ----------
    dim : sequence of int
        Along the axes of the file where its cell is the conventional one with its axes in another order
        (``atoms.info["given_cell"]``); else along those of the conventional cell.
    name : str
        Of the setting, for messages.
    atoms : ase.Atoms
    symprec : float
        Å.

    Raises
    ------
    ConfigError
    """
    multiples = checked_multiples(dim, name)
    x, y, z = along_standard_axes(multiples, axes_of_file(atoms, symprec))
    return x, y, z


def axes_of_file(atoms: Atoms, symprec: float = 1e-3) -> NDArray[np.int64] | None:
    """Conventional axis along which each axis of the file lies, int64 (3,); None where it has no axes of its own."""
    if "given_cell" not in atoms.info:
        return None
    standard = standard_cell(atoms, symprec, to_primitive=False)
    return axes_along(np.array(atoms.info["given_cell"]) @ standard.rotation.T, standard.conventional)


def choose_mesh(settings: ConductivitySettings, cell: NDArray[np.float64]) -> Mesh:
    """Mesh as given, or the smallest odd one whose neighbouring points lie within ``q_spacing``.

    Parameters
    ----------
    settings : ConductivitySettings
        ``q_spacing`` in 1/Å with 2π: n_i ≥ |b_i| / q_spacing.
    cell : ndarray
        float64 (3, 3), rows are the primitive lattice vectors, Å.

    Raises
    ------
    ConfigError
        Not three positive whole numbers, or a spacing that is not positive.
    """
    if settings.mesh:
        return checked_mesh(settings.mesh, "conductivity.mesh")
    if not settings.q_spacing > 0:
        raise ConfigError(f"conductivity.q_spacing is {settings.q_spacing}, expected a number above 0, in 1/Å.")
    lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(cell), axis=0)
    numbers = (max(1, math.ceil(length / settings.q_spacing - 1e-9)) for length in lengths)
    return checked_mesh([number + 1 - number % 2 for number in numbers], "the mesh of conductivity.q_spacing")


def mesh_along_primitive_axes(
    mesh: Sequence[int],
    given_cell: NDArray[np.float64] | None,
    rotation: NDArray[np.float64] | None,
    primitive: NDArray[np.float64],
) -> tuple[list[int], Literal["standard", "file"]]:
    """Bring a mesh of the axes of a file into the order of the axes of the primitive cell, and say which it counted.

    Parameters
    ----------
    mesh : sequence of int
        One number for each axis; empty: there is none.
    given_cell : ndarray or None
        Vectors of the file's cell where its axes are in another order, float64 (3, 3), rows, Å, as in ``Given.cell``.
    rotation : ndarray or None
        float64 (3, 3): a vector of the frame of ``given_cell`` is ``rotation @ v`` in that of ``primitive``.
    primitive : ndarray
        Vectors of the primitive cell that is computed with, float64 (3, 3), rows, Å.

    Returns
    -------
    mesh : list of int
    axes : {"standard", "file"}
        ``"file"`` where the file's cell is the primitive cell with its axes in another order.
    """
    if given_cell is None or len(mesh) != 3:
        return list(mesh), "standard"
    axes = axes_along(given_cell if rotation is None else given_cell @ rotation.T, primitive)
    return along_standard_axes(mesh, axes), "standard" if axes is None else "file"


def checked_mesh(mesh: Sequence[int], name: str = "mesh") -> Mesh:
    """Validate a mesh of q points, or of points of the reciprocal cell.

    Raises
    ------
    ConfigError
        Not three positive whole numbers, or more points than memory holds.
    """
    if len(mesh) != 3 or any(int(number) != number or number < 1 for number in mesh):
        raise ConfigError(f"{name} is {list(mesh)}, expected three positive whole numbers, e.g. [11, 11, 11].")
    x, y, z = (int(number) for number in mesh)
    if x * y * z > _MOST_POINTS:
        raise ConfigError(f"{name} is {[x, y, z]}, more than {_MOST_POINTS:,} points. Take a coarser one.")
    return x, y, z


def checked_multiples(dim: Sequence[int], name: str) -> Multiples:
    """Validate three positive whole numbers.

    Raises
    ------
    ConfigError
        They are not.
    """
    if len(dim) != 3 or any(int(n) != n or n < 1 for n in dim):
        raise ConfigError(f"displace.{name} is {list(dim)}, expected three positive whole numbers, e.g. [2, 2, 2].")
    x, y, z = (int(n) for n in dim)
    return x, y, z


def shortest_translation(cell: NDArray[np.float64]) -> float:
    """Length of the shortest lattice vector of a cell (3, 3), rows, Å."""
    from ase.geometry import minkowski_reduce

    reduced, _ = minkowski_reduce(np.asarray(cell))
    return float(np.linalg.norm(reduced, axis=1).min())


def _fitting_multiples(edges: NDArray[np.float64], n_atoms: int, length: float, max_atoms: int) -> Multiples | None:
    """Largest diagonal multiples with edges up to ``length`` and at most ``max_atoms``; None if none fits."""
    lengths = {length} | {n * edge for edge in edges for n in range(1, max(1, math.ceil(length / edge)))}
    for wanted in sorted(lengths, reverse=True):
        if wanted > length:
            continue
        x, y, z = (max(1, math.ceil(wanted / edge - 1e-6)) for edge in edges)
        if x * y * z * n_atoms <= max_atoms:
            return x, y, z
    return (1, 1, 1) if n_atoms <= max_atoms else None
