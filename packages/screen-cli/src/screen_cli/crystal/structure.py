"""A crystal: its primitive cell, where it came from, and an identity that does not depend on how it was written.

The same crystal from a CIF and from a POSCAR, rotated, with another origin, another order of atoms or as a
supercell, has the same :attr:`Structure.id`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NotRequired, TypedDict

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from screen_cli.config import ReadSettings
from screen_cli.crystal.checks import check_atoms
from screen_cli.crystal.identity import hash_of
from screen_cli.crystal.masses import has_own_masses, without_natural_masses
from screen_cli.crystal.metadata import Json, plain, typed_metadata
from screen_cli.crystal.standard_cell import StandardCell, Symmetry, standard_cell, symmetry_of
from screen_cli.crystal.wyckoff import prototype_of
from screen_cli.errors import StructureError

_DEFAULTS = ReadSettings()


class GivenFields(TypedDict):
    """JSON form of :class:`Given`."""

    rotation: list[list[float]]
    sources: list[int]
    cell: list[list[float]] | None


class StructureFields(TypedDict):
    """JSON form of :class:`Structure`: cell and positions in Å, masses in u."""

    id: str
    provider: str
    provider_id: str
    formula: str
    space_group: int
    prototype: str
    numbers: list[int]
    cell: list[list[float]]
    positions: list[list[float]]
    metadata: dict[str, Json]
    masses: NotRequired[list[float]]
    given: NotRequired[GivenFields]
    settings: NotRequired[dict[str, Json]]
    notes: NotRequired[list[str]]


@dataclass(frozen=True, eq=False)
class Given:
    """How the cell that a source gave goes over into :attr:`Structure.atoms`.

    Parameters
    ----------
    rotation : ndarray
        Proper rotation, float64 (3, 3): a Cartesian vector v of the given crystal is ``rotation @ v`` of ours.
    sources : ndarray
        Of each of our atoms the first given atom that is it up to a lattice vector, int64 (n_atoms,).
    cell : ndarray or None
        Vectors of the given cell in our frame, float64 (3, 3), rows, Å, where it is the conventional cell with its axes
        in another order: multiples of axes (``displace.dim``) then count those of the source. None otherwise.
    """

    rotation: NDArray[np.float64]
    sources: NDArray[np.int64]
    cell: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, cell: StandardCell) -> Given:
        """Take over what a standardised cell knows."""
        reordered = cell.axes is not None and cell.axes.tolist() != [0, 1, 2]
        return cls(cell.rotation, cell.sources, cell.given if reordered else None)

    def to_dict(self) -> GivenFields:
        """Return JSON-ready fields."""
        cell = None if self.cell is None else self.cell.tolist()
        return {"rotation": self.rotation.tolist(), "sources": self.sources.tolist(), "cell": cell}

    @classmethod
    def from_dict(cls, fields: GivenFields) -> Given:
        """Rebuild what :meth:`to_dict` wrote."""
        cell = fields.get("cell")
        return cls(
            np.array(fields["rotation"], dtype=np.float64),
            np.array(fields["sources"], dtype=np.int64),
            None if cell is None else np.array(cell, dtype=np.float64),
        )


@dataclass(frozen=True, eq=False)
class Structure:
    """A crystal in its standardised primitive cell.

    Parameters
    ----------
    atoms : ase.Atoms
        Primitive cell as spglib standardises it; positions in Å, periodic in all directions. Has the array ``masses``
        (u) where an atom's mass is not that of its natural isotope mixture; ``get_masses()`` always holds.
        ``info["given_cell"]`` is there where :attr:`Given.cell` is.
    provider : str
        Who gave it: ``"files"``, ``"prototypes"``, ``"optimade:oqmd"``, ...
    provider_id : str
        The provider's own name for it.
    metadata : mapping of str to value
        JSON-ready; kept from source to report.
    known_symmetry : Symmetry, optional
        Of ``atoms``, where the source knows it; else spglib is asked when it is needed.
    given : Given, optional
        How the source's own cell goes over into ``atoms``; None where the source gave ``atoms`` themselves.
    settings : mapping
        Settings of this crystal's own (another supercell, another mesh), nested as in the configuration file. Only a
        source may give them: metadata of a file never reach them.
    notes : tuple of str
        Sentences on what a reader did: the last of several frames taken, magnetic moments dropped, ...
    """

    atoms: Atoms
    provider: str
    provider_id: str
    metadata: Mapping[str, Json] = field(default_factory=dict)
    known_symmetry: Symmetry | None = None
    given: Given | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def from_atoms(
        cls,
        atoms: Atoms,
        *,
        provider: str,
        provider_id: str,
        metadata: Mapping[str, object] | None = None,
        settings: ReadSettings = _DEFAULTS,
        notes: Sequence[str] = (),
    ) -> Structure:
        """Validate ``atoms`` and standardise them to the primitive cell.

        Parameters
        ----------
        atoms : ase.Atoms
            Any periodic cell, right- or left-handed; positions in Å, masses in u.
        provider, provider_id : str
        metadata : mapping, optional
        settings : ReadSettings
            Symmetry tolerance (Å), smallest distance (Å), largest primitive cell (atoms).
        notes : sequence of str

        Raises
        ------
        StructureError
            No atoms, no finite periodic cell, NaN positions, unknown species, partial occupancy, atoms that
            overlap under periodic boundary conditions, no symmetry found, or too many atoms.
        """
        check_atoms(atoms, settings.min_distance)
        standard = standard_cell(without_natural_masses(atoms), settings.symprec)
        primitive = standard.atoms
        if len(primitive) > settings.max_atoms:
            raise StructureError(
                f"{primitive.get_chemical_formula()} has {len(primitive)} atoms in the primitive cell, at most "
                f"{settings.max_atoms} are accepted. Raise read.max_atoms to take it."
            )
        given = Given.of(standard)
        _remember_axes(primitive, given)
        return cls(primitive, provider, provider_id, typed_metadata(metadata or {}), given=given, notes=tuple(notes))

    @cached_property
    def symmetry(self) -> Symmetry:
        """Space group and equivalent atoms; masses count."""
        return self.known_symmetry or symmetry_of(self.atoms)

    @cached_property
    def id(self) -> str:
        """Short hash that identifies the crystal (12 hexadecimal digits)."""
        return hash_of(self.atoms, self.symmetry)

    @property
    def space_group(self) -> int:
        """International space-group number."""
        return self.symmetry.space_group

    @property
    def prototype(self) -> str:
        """Name of its prototype among those of :mod:`screen_cli.crystal.prototypes`, or empty."""
        orbits = sorted(set(self.symmetry.equivalent_atoms.tolist()))
        occupied = [(int(self.atoms.numbers[atom]), self.symmetry.wyckoffs[atom]) for atom in orbits]
        return prototype_of(self.space_group, occupied)

    @property
    def formula(self) -> str:
        """Reduced formula, e.g. ``"NaCl"`` (metal first, as ASE orders it)."""
        symbols: str = self.atoms.symbols.formula.reduce()[0].format("metal")
        return symbols

    @property
    def masses(self) -> NDArray[np.float64] | None:
        """Masses of the atoms (float64 (n_atoms,), u) where they are the crystal's own; None where all are natural."""
        return self.atoms.get_masses() if has_own_masses(self.atoms) else None

    def to_dict(self) -> StructureFields:
        """Return JSON-ready fields; floats keep every digit, so the id survives the round trip."""
        fields: StructureFields = {
            "id": self.id,
            "provider": self.provider,
            "provider_id": self.provider_id,
            "formula": self.formula,
            "space_group": self.space_group,
            "prototype": self.prototype,
            "numbers": self.atoms.numbers.tolist(),
            "cell": self.atoms.cell.array.tolist(),
            "positions": self.atoms.positions.tolist(),
            "metadata": {name: plain(value) for name, value in self.metadata.items()},
        }
        if self.masses is not None:
            fields["masses"] = self.masses.tolist()
        if self.given is not None:
            fields["given"] = self.given.to_dict()
        if self.settings:
            fields["settings"] = {name: plain(value) for name, value in self.settings.items()}
        if self.notes:
            fields["notes"] = list(self.notes)
        return fields

    @classmethod
    def from_dict(cls, fields: StructureFields) -> Structure:
        """Rebuild what :meth:`to_dict` wrote.

        Raises
        ------
        StructureError
            A field is missing, or not what :meth:`to_dict` writes.
        """
        try:
            atoms = Atoms(
                numbers=fields["numbers"],
                positions=fields["positions"],
                cell=fields["cell"],
                pbc=True,
                masses=fields.get("masses"),
            )
            structure = cls(
                atoms,
                fields["provider"],
                fields["provider_id"],
                dict(fields.get("metadata", {})),
                given=Given.from_dict(fields["given"]) if fields.get("given") else None,
                settings=dict(fields.get("settings", {})),
                notes=tuple(fields.get("notes", ())),
            )
            if not all(isinstance(fields[name], str) for name in ("id", "provider", "provider_id")):
                raise TypeError("its id and provider are no text")
            _remember_axes(atoms, structure.given)
            structure.__dict__["id"] = fields["id"]  # the cached property; else spglib is asked in every process
            return structure
        except KeyError as error:
            raise StructureError(
                f"stored structure has no field {error}. It was not written by Structure.to_dict; read the "
                "source again."
            ) from error
        except (ValueError, TypeError, AttributeError, OverflowError, IndexError) as error:
            raise StructureError(f"stored structure cannot be used: {error}. Read the source again.") from error


def given_axes(structure: Structure) -> list[Json]:
    """Give what multiples and meshes of the axes of a file depend on: its cell, where its axes are in another order."""
    given = structure.given
    return [] if given is None or given.cell is None else [plain(given.cell.round(3))]


def _remember_axes(atoms: Atoms, given: Given | None) -> None:
    """Leave the vectors of the source's cell with the atoms, for :mod:`screen_cli.crystal.supercell`."""
    if given is not None and given.cell is not None:
        atoms.info["given_cell"] = given.cell.tolist()


@dataclass(frozen=True)
class RejectedStructure:
    """Something a source found and could not use.

    Parameters
    ----------
    provider, provider_id : str
        Where it came from (file and frame).
    reason : str
        One sentence.
    """

    provider: str
    provider_id: str
    reason: str
