"""A crystal: its primitive cell, where it came from, and an identity that does not depend on how it was written.

The same crystal from a CIF and from a POSCAR, rotated, with another origin, another order of atoms or as a
supercell, has the same :attr:`Structure.id`.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

from screen_cli.config import ReadSettings
from screen_cli.crystal.wyckoff import prototype_of
from screen_cli.errors import StructureError

ID_LENGTH = 12
SOURCE_COLUMNS = ("formation_energy_ev_atom", "energy_above_hull_ev_atom", "band_gap_ev")
"""Metadata with a fixed meaning, whoever the provider is: eV/atom, eV/atom, eV."""
_DEFAULTS = ReadSettings()
_LENGTH_STEP = 1e-3  # Å, rounding of lattice parameters in the id
_RELATIVE_STEP = 1e-3  # rounding of the pair sums in the id
_OFFSET = math.sqrt(2) / 10  # keeps values that authors round themselves away from the rounding edges
_PAIR_WIDTHS = (1.5, 3.0)  # Å, Gaussian widths of the pair sums in the id


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


@dataclass(frozen=True, eq=False)
class Structure:
    """A crystal in its standardised primitive cell.

    Parameters
    ----------
    atoms : ase.Atoms
        Primitive cell as spglib standardises it; positions in Å, periodic in all directions.
    provider : str
        Who gave it: ``"file"``, ``"prototype"``, ``"oqmd"``, ...
    provider_id : str
        The provider's own name for it.
    metadata : dict
        JSON-ready; kept from source to report.
    known_symmetry : Symmetry, optional
        Of ``atoms``, where the source knows it; else spglib is asked when it is needed.
    """

    atoms: Atoms
    provider: str
    provider_id: str
    metadata: dict[str, Any] = field(default_factory=dict)
    known_symmetry: Symmetry | None = None

    @classmethod
    def from_atoms(
        cls,
        atoms: Atoms,
        *,
        provider: str,
        provider_id: str,
        metadata: Mapping[str, Any] | None = None,
        settings: ReadSettings = _DEFAULTS,
    ) -> Structure:
        """Validate ``atoms`` and standardise them to the primitive cell.

        Parameters
        ----------
        atoms : ase.Atoms
            Any periodic cell; positions in Å.
        provider, provider_id : str
        metadata : mapping, optional
        settings : ReadSettings
            Symmetry tolerance (Å), smallest distance (Å), largest primitive cell (atoms).

        Raises
        ------
        StructureError
            No atoms, no finite periodic cell, NaN positions, unknown species, partial occupancy, atoms that
            overlap under periodic boundary conditions, no symmetry found, or too many atoms.
        """
        check_atoms(atoms, settings.min_distance)
        primitive = standardise(atoms, settings.symprec)
        if len(primitive) > settings.max_atoms:
            raise StructureError(
                f"{primitive.get_chemical_formula()} has {len(primitive)} atoms in the primitive cell, at most "
                f"{settings.max_atoms} are accepted. Raise read.max_atoms to take it."
            )
        return cls(primitive, provider, provider_id, dict(metadata or {}))

    @cached_property
    def symmetry(self) -> Symmetry:
        """Space group and equivalent atoms."""
        return self.known_symmetry or _symmetry(self.atoms)

    @cached_property
    def id(self) -> str:
        """Short hash that identifies the crystal (12 hexadecimal digits)."""
        return _hash(self.atoms, self.symmetry)

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

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready fields; floats keep every digit, so the id survives the round trip."""
        return {
            "id": self.id,
            "provider": self.provider,
            "provider_id": self.provider_id,
            "formula": self.formula,
            "space_group": self.space_group,
            "prototype": self.prototype,
            "numbers": self.atoms.numbers.tolist(),
            "cell": self.atoms.cell.array.tolist(),
            "positions": self.atoms.positions.tolist(),
            "metadata": _json_ready(self.metadata),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Structure:
        """Rebuild what :meth:`to_dict` wrote.

        Raises
        ------
        StructureError
            A field is missing.
        """
        try:
            atoms = Atoms(numbers=fields["numbers"], positions=fields["positions"], cell=fields["cell"], pbc=True)
            structure = cls(atoms, fields["provider"], fields["provider_id"], dict(fields.get("metadata", {})))
            structure.__dict__["id"] = fields["id"]  # the cached property; else spglib is asked in every process
            return structure
        except KeyError as error:
            raise StructureError(
                f"stored structure has no field {error}. It was not written by Structure.to_dict; read the "
                "source again."
            ) from error


def source_columns(description: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of the results table that a source knows, from the fields of :meth:`Structure.to_dict`.

    Returns
    -------
    dict
        Those of ``prototype`` and :data:`SOURCE_COLUMNS` that have a value.
    """
    metadata = description.get("metadata", {})
    columns = {name: metadata[name] for name in SOURCE_COLUMNS if isinstance(metadata.get(name), (int, float))}
    return columns | ({"prototype": description["prototype"]} if description.get("prototype") else {})


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


VOLUME_PER_ATOM = (2.0, 500.0)
"""Å³: what lies outside was not written in Å."""


def check_atoms(atoms: Atoms, min_distance: float = _DEFAULTS.min_distance) -> None:
    """Refuse what is no ordered three-dimensional crystal.

    Parameters
    ----------
    atoms : ase.Atoms
    min_distance : float
        Atoms closer than this overlap, Å; periodic images count.

    Raises
    ------
    StructureError
        See :meth:`Structure.from_atoms`.
    """
    if len(atoms) == 0:
        raise StructureError("the structure has no atoms; check that the file was written completely.")
    cell = atoms.cell.array
    if not np.isfinite(cell).all() or not np.isfinite(atoms.positions).all():
        raise StructureError("cell or positions hold NaN or infinity; expected finite lengths in Å.")
    if not atoms.pbc.all():
        raise StructureError(
            f"periodic directions are {atoms.pbc.tolist()}, expected all three. Give a crystal with its cell."
        )
    if atoms.cell.volume < 1e-3 * max(1.0, float(np.abs(cell).max())) ** 2:
        raise StructureError(
            f"the cell volume is {atoms.cell.volume:.3g} Å³; the three cell vectors must span a volume."
        )
    if (atoms.numbers < 1).any() or (atoms.numbers >= len(chemical_symbols)).any():
        raise StructureError("the structure has atoms of no element (dummy 'X'); name an element on every site.")
    _check_occupancy(atoms)
    first, second, distances = neighbor_list("ijd", atoms, float(min_distance))
    if len(distances):
        nearest = int(np.argmin(distances))
        i, j = int(first[nearest]), int(second[nearest])
        raise StructureError(
            f"atoms {i} ({atoms.symbols[i]}) and {j} ({atoms.symbols[j]}) overlap: {distances[nearest]:.3f} Å "
            f"apart with periodic images, at least {min_distance} Å expected. Remove duplicate sites or lower "
            "read.min_distance."
        )


def check_units(atoms: Atoms) -> None:
    """Refuse a crystal whose lengths cannot be in Å.

    Raises
    ------
    StructureError
        Less or more volume per atom than any solid has.
    """
    volume = atoms.cell.volume / max(len(atoms), 1)
    if volume > 0 and not VOLUME_PER_ATOM[0] < volume < VOLUME_PER_ATOM[1]:
        raise StructureError(
            f"{volume:.3g} Å³ per atom is no solid, expected {VOLUME_PER_ATOM[0]:g} to {VOLUME_PER_ATOM[1]:g}. Give "
            "lengths in Å."
        )


def _check_occupancy(atoms: Atoms) -> None:
    """Refuse partial or mixed site occupancy, which ASE keeps in ``atoms.info['occupancy']``."""
    occupancy = atoms.info.get("occupancy") or {}
    for site, species in occupancy.items():
        if len(species) > 1 or any(abs(float(value) - 1.0) > 1e-3 for value in species.values()):
            mix = ", ".join(f"{symbol} {float(value):g}" for symbol, value in species.items())
            raise StructureError(
                f"site {site} has partial occupancy ({mix}); phonons need an ordered crystal. Give an ordered "
                "approximant or supercell."
            )


def standardise(atoms: Atoms, symprec: float = _DEFAULTS.symprec, *, to_primitive: bool = True) -> Atoms:
    """Bring a crystal into spglib's standardised, idealised cell.

    Parameters
    ----------
    atoms : ase.Atoms
    symprec : float
        Distance tolerance, Å.
    to_primitive : bool
        Primitive cell; else the conventional one.

    Returns
    -------
    ase.Atoms
        Periodic; cell rows and positions in Å.

    Raises
    ------
    StructureError
        spglib finds no symmetry at this tolerance.
    """
    cell, scaled, numbers = _ask_spglib("standardize_cell", atoms, symprec, to_primitive=to_primitive)
    return Atoms(numbers=numbers, cell=cell, scaled_positions=scaled % 1.0, pbc=True)


def space_group_number(atoms: Atoms, symprec: float = _DEFAULTS.symprec) -> int:
    """Return the international space-group number (spglib, tolerance ``symprec`` in Å).

    Raises
    ------
    StructureError
        spglib finds no symmetry at this tolerance.
    """
    return int(_dataset(atoms, symprec).number)


def crystal_id(atoms: Atoms) -> str:
    r"""Hash what all descriptions of one crystal share.

    Hashed are the space group, the composition of the primitive cell, its volume, the sorted edges of the
    conventional cell and, for each pair of species :math:`(A, B)` and each width :math:`\sigma`, the sum

    .. math:: S_{AB} = \frac{1}{n_A} \sum_{i \in A} \sum_{j \in B} \exp(-r_{ij}^2 / 2\sigma^2)

    over all periodic images, rounded to 1e-3 (Å or relative). None of these depends on the origin, the
    orientation, the order of the atoms or the choice of axes; mirror images share one id, as they share κ.

    Returns
    -------
    str
        12 hexadecimal digits.
    """
    primitive = standardise(atoms)
    return _hash(primitive, _symmetry(primitive))


def _symmetry(primitive: Atoms) -> Symmetry:
    """Ask spglib for what the identity needs."""
    dataset = _dataset(primitive, _DEFAULTS.symprec)
    edges = np.linalg.norm(dataset.std_lattice, axis=1)
    return Symmetry(int(dataset.number), edges, dataset.equivalent_atoms, "".join(dataset.wyckoffs))


def _hash(primitive: Atoms, symmetry: Symmetry) -> str:
    """Hash of :func:`crystal_id` for a primitive cell of known symmetry."""
    edges = np.sort(symmetry.edges)
    species = sorted(set(primitive.numbers.tolist()))
    counts = [(number, int(np.count_nonzero(primitive.numbers == number))) for number in species]
    volume_length = primitive.cell.volume ** (1 / 3)
    sums = _pair_sums(primitive, species, symmetry.equivalent_atoms)
    parts = [
        str(symmetry.space_group),
        repr(counts),
        repr([_rounded(length, _LENGTH_STEP) for length in (*edges.tolist(), volume_length)]),
        repr([_rounded(math.log(value + 1e-6), _RELATIVE_STEP) for value in sums]),
    ]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:ID_LENGTH]


def _rounded(value: float, step: float) -> int:
    """Round to a whole number of steps, off the edges where round input values sit."""
    return math.floor(value / step + 0.5 + _OFFSET)


def _pair_sums(atoms: Atoms, species: list[int], equivalent_atoms: NDArray[np.int64]) -> list[float]:
    """Gaussian sums over pairs of each two species and each width, one centre for each set of equivalent atoms."""
    cutoff = 5.0 * max(_PAIR_WIDTHS)
    cell = atoms.cell.array
    heights = atoms.cell.volume / np.linalg.norm(np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]]), axis=1)
    reach = [np.arange(-n, n + 1) for n in np.ceil(cutoff / heights).astype(int) + 1]
    translations = np.stack(np.meshgrid(*reach, indexing="ij"), axis=-1).reshape(-1, 3) @ cell
    centres, multiplicity = np.unique(equivalent_atoms, return_counts=True)
    sums = np.zeros((len(centres), len(species), len(_PAIR_WIDTHS)))
    for row, centre in enumerate(centres):
        difference = (atoms.positions - atoms.positions[centre])[:, None, :] + translations
        squared = np.einsum("jtx,jtx->jt", difference, difference)
        neighbours = (squared < cutoff**2) & (squared > 1e-12)
        for column, number in enumerate(species):
            of_species = atoms.numbers == number
            near = squared[of_species][neighbours[of_species]]
            for k, width in enumerate(_PAIR_WIDTHS):
                sums[row, column, k] = np.exp(-near / (2 * width**2)).sum()
    result = []
    for position, a in enumerate(species):
        of_a = atoms.numbers[centres] == a
        mean = np.average(sums[of_a], axis=0, weights=multiplicity[of_a])
        result += mean[position:].ravel().tolist()
    return result


def _dataset(atoms: Atoms, symprec: float) -> Any:
    """Return spglib's symmetry dataset."""
    return _ask_spglib("get_symmetry_dataset", atoms, symprec)


def _ask_spglib(function: str, atoms: Atoms, symprec: float, **options: Any) -> Any:
    """Call a function of spglib; no answer is an error, by its old (None) or new (exception) convention."""
    import spglib

    with warnings.catch_warnings():  # spglib 2.7+ warns of its own change of convention
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            result = getattr(spglib, function)(_spglib_cell(atoms), symprec=symprec, **options)
        except getattr(spglib, "SpglibError", ValueError) as error:
            raise _no_symmetry(atoms, symprec, str(error)) from error
    if result is None:
        raise _no_symmetry(atoms, symprec)
    return result


def _no_symmetry(atoms: Atoms, symprec: float, detail: str = "") -> StructureError:
    """Build the error for a failed symmetry search."""
    return StructureError(
        f"spglib finds no space group for {atoms.get_chemical_formula()} at tolerance {symprec} Å"
        f"{f' ({detail})' if detail else ''}. Change read.symprec or check for nearly coinciding atoms."
    )


def _spglib_cell(atoms: Atoms) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return (cell, scaled positions, numbers) as spglib takes them."""
    return atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers


def _json_ready(value: Any) -> Any:
    """Turn numpy values inside nested containers into plain ones."""
    if isinstance(value, Mapping):
        return {str(key): _json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_json_ready(item) for item in value]
    if isinstance(value, np.ndarray):
        return _json_ready(value.tolist())
    if isinstance(value, np.generic):
        return _json_ready(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)
