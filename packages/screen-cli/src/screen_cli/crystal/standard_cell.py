"""The standardised cell of a crystal, and how what was given goes over into it: axes, orientation, atoms, masses.

A left-handed cell is described by its three vectors reversed: the same lattice, so that positions and every Cartesian
tensor stay what they are. spglib then chooses the standardised cell; :class:`StandardCell` keeps the rotation of space
that this meant and which given atom each atom was.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import spglib
from ase import Atoms
from numpy.typing import NDArray

from screen_cli.crystal.masses import has_own_masses, species_of
from screen_cli.errors import StructureError

if TYPE_CHECKING:
    from spglib import SpgCell

SYMPREC = 1e-3
"""Å: default tolerance of spglib."""
_REMEMBERED = 8  # crystals and supercells of which spglib's answers are kept
_AXIS_TOLERANCE = 0.15  # relative: a given axis this close to a standard one is that axis (relaxation stretches)


@dataclass(frozen=True, eq=False)
class StandardCell:
    """A crystal in spglib's standardised, idealised cell.

    Parameters
    ----------
    atoms : ase.Atoms
        Periodic; cell rows and positions in Å; ``arrays["masses"]`` (u) where an atom's mass is its own.
    rotation : ndarray
        Proper rotation, float64 (3, 3): a Cartesian vector v of the given crystal is ``rotation @ v`` here.
    sources : ndarray
        Of each atom, the first of the given atoms that are it up to a lattice vector, int64 (n_atoms,).
    conventional : ndarray
        Vectors of the conventional standardised cell, float64 (3, 3), rows, Å.
    given : ndarray
        Vectors of the given cell, turned by ``rotation``, float64 (3, 3), rows, Å.
    """

    atoms: Atoms
    rotation: NDArray[np.float64]
    sources: NDArray[np.int64]
    conventional: NDArray[np.float64]
    given: NDArray[np.float64]

    @property
    def axes(self) -> NDArray[np.int64] | None:
        """Conventional axis along which each given axis lies, int64 (3,); None where the given cell is another one."""
        return axes_along(self.given, self.conventional)


@dataclass(frozen=True, eq=False)
class Symmetry:
    """What the identity of a crystal needs to know of its symmetry.

    Parameters
    ----------
    space_group : int
        International number.
    edges : ndarray
        Edges of the conventional cell, float64 (3,), Å.
    equivalent_atoms : ndarray
        For each atom of the primitive cell one that symmetry maps it to, int (n_atoms,).
    wyckoffs : str
        Wyckoff letter of each atom (spglib's choice of origin).
    """

    space_group: int
    edges: NDArray[np.float64]
    equivalent_atoms: NDArray[np.int64]
    wyckoffs: str


def standard_cell(atoms: Atoms, symprec: float = SYMPREC, *, to_primitive: bool = True) -> StandardCell:
    """Bring a crystal into spglib's standardised, idealised cell and keep track of what became of it.

    Parameters
    ----------
    atoms : ase.Atoms
        Any periodic cell; positions in Å. Atoms of one element with different masses are different species.
    symprec : float
        Distance tolerance, Å.
    to_primitive : bool
        Primitive cell; else the conventional one.

    Raises
    ------
    StructureError
        spglib finds no symmetry at this tolerance.
    """
    given = right_handed(atoms)
    dataset = find_symmetry(given, symprec)
    cell, scaled, species = _standardised(given, symprec, to_primitive)
    sources = _sources(dataset, cell, scaled)
    standard = Atoms(numbers=species % 1000, cell=cell, scaled_positions=scaled % 1.0, pbc=True)
    if has_own_masses(given):
        standard.set_masses(given.get_masses()[sources])
    left, _, right = np.linalg.svd(np.asarray(dataset.std_rotation_matrix))
    rotation = left @ right
    return StandardCell(standard, rotation, sources, np.array(dataset.std_lattice), atoms.cell.array @ rotation.T)


def standardise(atoms: Atoms, symprec: float = SYMPREC, *, to_primitive: bool = True) -> Atoms:
    """Bring a crystal into spglib's standardised, idealised cell; see :func:`standard_cell`."""
    return standard_cell(atoms, symprec, to_primitive=to_primitive).atoms


def right_handed(atoms: Atoms) -> Atoms:
    """Return a copy whose cell is right-handed: the three vectors reversed where it is not, all else in its place."""
    copy: Atoms = atoms.copy()
    if np.linalg.det(copy.cell.array) < 0:
        copy.set_cell(-copy.cell.array)
    return copy


def space_group_number(atoms: Atoms, symprec: float = SYMPREC) -> int:
    """Return the international space-group number (spglib, tolerance ``symprec`` in Å).

    Raises
    ------
    StructureError
        spglib finds no symmetry at this tolerance.
    """
    return int(find_symmetry(atoms, symprec).number)


@functools.cache
def space_group_symbol(number: int) -> str:
    """Return the short Hermann–Mauguin symbol of a space group in its standard setting, ``"I4/mcm"`` of 140.

    Raises
    ------
    StructureError
        There is no space group of this number.
    """
    for hall_number in range(1, 531):
        kind = spglib.get_spacegroup_type(hall_number)
        if kind is not None and kind.number == number:
            return str(kind.international_short)
    raise StructureError(f"there is no space group {number}. Take a number from 1 to 230.")


def symmetry_of(primitive: Atoms, symprec: float = SYMPREC) -> Symmetry:
    """Ask spglib for what the identity of a primitive cell needs."""
    dataset = find_symmetry(primitive, symprec)
    edges = np.linalg.norm(dataset.std_lattice, axis=1)
    equivalent = np.asarray(dataset.equivalent_atoms, dtype=np.int64)
    return Symmetry(int(dataset.number), edges, equivalent, "".join(dataset.wyckoffs))


def find_symmetry(atoms: Atoms, symprec: float = SYMPREC) -> spglib.SpglibDataset:
    """Return spglib's dataset of a crystal.

    Raises
    ------
    StructureError
        spglib finds no symmetry at this tolerance.
    """
    try:
        dataset = _dataset(*_key(atoms), symprec)
    except getattr(spglib, "SpglibError", ValueError) as error:
        raise _no_symmetry(atoms, symprec, str(error)) from None
    if dataset is None:
        raise _no_symmetry(atoms, symprec)
    return dataset


@functools.lru_cache(maxsize=_REMEMBERED)
def _dataset(cell: bytes, scaled: bytes, species: bytes, symprec: float) -> spglib.SpglibDataset | None:
    """Dataset of spglib; the stages of a crystal ask for the same one again and again."""
    with warnings.catch_warnings():  # spglib 2.7+ warns of its own change of convention
        warnings.simplefilter("ignore", DeprecationWarning)
        return spglib.get_symmetry_dataset(_spglib_cell(cell, scaled, species), symprec=symprec)


def axes_along(given: NDArray[np.float64], conventional: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """Find along which conventional axis each given axis lies.

    Parameters
    ----------
    given, conventional : ndarray
        Cell vectors in one frame, float64 (3, 3), rows, Å; a vector and its reverse are one axis.

    Returns
    -------
    ndarray or None
        int64 (3,); None where the given cell is not the conventional one with its axes in some order.
    """
    lengths = np.linalg.norm(conventional, axis=1)
    found = []
    for vector in given:
        apart = np.minimum(np.linalg.norm(conventional - vector, axis=1), np.linalg.norm(conventional + vector, axis=1))
        nearest = int(np.argmin(apart / lengths))
        if apart[nearest] > _AXIS_TOLERANCE * lengths[nearest]:
            return None
        found.append(nearest)
    return np.array(found, dtype=np.int64) if len(set(found)) == 3 else None


def along_standard_axes(multiples: Sequence[int], axes: Sequence[int] | NDArray[np.int64] | None) -> list[int]:
    """Bring multiples of the given axes, as of a supercell or a mesh, into the order of the standardised axes.

    Parameters
    ----------
    multiples : sequence of int
        One for each axis; other lengths (an empty list) come back as they are.
    axes : sequence of int, optional
        As in :class:`StandardCell`; None: the multiples are those of the standardised axes already.
    """
    ordered = list(multiples)
    if axes is not None and len(ordered) == 3:
        for given, standard in enumerate(axes):
            ordered[int(standard)] = multiples[given]
    return ordered


def _standardised(
    given: Atoms, symprec: float, to_primitive: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Cell, fractional positions and species of the standardised cell."""
    try:
        result = _standardised_by_spglib(*_key(given), symprec, to_primitive)
    except getattr(spglib, "SpglibError", ValueError) as error:
        raise _no_symmetry(given, symprec, str(error)) from None
    if result is None:
        raise _no_symmetry(given, symprec)
    cell, scaled, species = result
    return np.array(cell), np.array(scaled), np.array(species, dtype=np.int64)


@functools.lru_cache(maxsize=_REMEMBERED)
def _standardised_by_spglib(
    cell: bytes, scaled: bytes, species: bytes, symprec: float, to_primitive: bool
) -> SpgCell | None:
    """Standardised cell as spglib gives it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return spglib.standardize_cell(_spglib_cell(cell, scaled, species), to_primitive=to_primitive, symprec=symprec)


def _sources(
    dataset: spglib.SpglibDataset, cell: NDArray[np.float64], scaled: NDArray[np.float64]
) -> NDArray[np.int64]:
    """First given atom behind each atom of the standardised cell, found over spglib's internal primitive cell."""
    first: dict[int, int] = {}
    for atom, primitive in enumerate(np.asarray(dataset.mapping_to_primitive).tolist()):
        first.setdefault(int(primitive), atom)
    internal = np.asarray(dataset.std_mapping_to_primitive)
    conventional = np.asarray(dataset.std_positions) @ np.asarray(dataset.std_lattice)
    inverse = np.linalg.inv(cell)
    sources = []
    for position in scaled:
        shift = conventional @ inverse - position
        distance = np.linalg.norm((shift - np.round(shift)) @ cell, axis=1)
        # The conventional atom may differ by a centring of the primitive cell, which leaves its species alone.
        sources.append(first[int(internal[int(np.argmin(distance))])])
    return np.array(sources, dtype=np.int64)


def _no_symmetry(atoms: Atoms, symprec: float, detail: str = "") -> StructureError:
    """Build the error for a failed symmetry search."""
    return StructureError(
        f"spglib finds no space group for {atoms.get_chemical_formula()} at tolerance {symprec} Å"
        f"{f' ({detail})' if detail else ''}. Change read.symprec or check for nearly coinciding atoms."
    )


def _key(atoms: Atoms) -> tuple[bytes, bytes, bytes]:
    """Cell, fractional positions and species as bytes, which can be looked up."""
    numbers = np.asarray(species_of(atoms), dtype=np.int64)
    return np.asarray(atoms.cell.array).tobytes(), atoms.get_scaled_positions().tobytes(), numbers.tobytes()


def _spglib_cell(cell: bytes, scaled: bytes, species: bytes) -> SpgCell:
    """Return what :func:`_key` packed as spglib takes it: arrays, which its annotation calls sequences."""
    arrays = np.frombuffer(cell).reshape(3, 3), np.frombuffer(scaled).reshape(-1, 3), np.frombuffer(species, np.int64)
    return cast("SpgCell", arrays)
