"""Which crystals a run takes: by elements, energies, prototype, size, and once each."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ase.data import atomic_numbers

from screen_cli.crystal.metadata import SOURCE_COLUMNS, source_columns
from screen_cli.crystal.structure import RejectedStructure, Structure
from screen_cli.errors import ConfigError, FilterError, MissingExtraError, UnknownColumnError, unknown_name
from screen_cli.store.expression import evaluate, names_in
from screen_cli.store.row import Row

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure as PymatgenStructure

    from screen_cli.config import FilterSettings


@dataclass(frozen=True)
class FilteredStructure:
    """A crystal that a filter dropped.

    Parameters
    ----------
    structure : Structure
    row_id : str
        Its id; for a duplicate a name of its own, made from the provider's.
    criterion : str
        Which filter: ``"elements"``, ``"duplicate"``, ...
    reason : str
        One sentence with the value.
    """

    structure: Structure
    row_id: str
    criterion: str
    reason: str

    def row(self) -> Row:
        """Row of the index."""
        structure = self.structure
        return {
            "id": self.row_id,
            "formula": structure.formula,
            "space_group": structure.space_group,
            "n_atoms": len(structure.atoms),
            "provider": structure.provider,
            "provider_id": structure.provider_id,
            "state": "filtered",
            "stage": self.criterion,
            "reason": self.reason,
            **source_columns(
                {
                    "metadata": structure.metadata,
                    "prototype": structure.prototype,
                    "provider": structure.provider,
                }
            ),
        }


Found = Structure | RejectedStructure
Kept = Structure | RejectedStructure | FilteredStructure


def apply_filters(crystals: Iterable[Found], settings: FilterSettings) -> Iterator[Kept]:
    """Pass on what the settings take, and say of everything else why not.

    Parameters
    ----------
    crystals : iterable of Structure or RejectedStructure
        What a source gives.
    settings : FilterSettings

    Yields
    ------
    Structure, RejectedStructure or FilteredStructure
        One for each that came in, in the same order. Memory grows by some hundred bytes per crystal that is kept.

    Raises
    ------
    FilterError
        The expression cannot be parsed, or uses a name that no crystal of the source has (told when all were read).
    ConfigError, UnknownNameError
        An element or prototype that does not exist.
    MissingExtraError
        ``duplicates = "similar"`` without pymatgen.
    """
    criteria = list(_criteria(settings))
    seen = _Seen(settings.duplicates)
    unknown_names = set(names_in(settings.expression) if settings.expression else ()) - set(SOURCE_COLUMNS)
    offered: set[str] = set()
    for crystal in crystals:
        if isinstance(crystal, RejectedStructure):
            yield crystal
            continue
        if unknown_names:
            row = _row(crystal)
            offered |= row.keys()
            unknown_names -= row.keys()
        twin = seen.same(crystal)
        if twin:
            yield FilteredStructure(crystal, _name_of_duplicate(crystal), "duplicate", f"the same crystal as {twin}")
            continue
        for criterion, reason_of in criteria:
            reason = reason_of(crystal)
            if reason:
                seen.add(crystal, kept=False)
                yield FilteredStructure(crystal, crystal.id, criterion, reason)
                break
        else:
            twin = seen.similar(crystal)
            seen.add(crystal, kept=not twin)
            if twin:
                yield FilteredStructure(crystal, crystal.id, "duplicate", f"pymatgen matches it with {twin}")
            else:
                yield crystal
    if offered and unknown_names:
        error = unknown_name("column", min(unknown_names), offered)
        raise FilterError(f"filter.expression: no crystal has {', '.join(sorted(unknown_names))}; {error}")


def count_reasons(crystals: Iterable[Kept]) -> Counter[str]:
    """Count what became of crystals: ``"kept"``, ``"unreadable"``, or the criterion that dropped them."""
    return Counter(
        "kept"
        if isinstance(crystal, Structure)
        else "unreadable"
        if isinstance(crystal, RejectedStructure)
        else crystal.criterion
        for crystal in crystals
    )


def _criteria(settings: FilterSettings) -> Iterator[tuple[str, Callable[[Structure], str]]]:
    """Yield (name, function that returns a reason or an empty string), cheap ones first."""
    strange = [symbol for symbol in (*settings.elements, *settings.exclude_elements) if symbol not in atomic_numbers]
    if strange:
        raise ConfigError(f"filter: {', '.join(map(repr, strange))} are no chemical symbols; write them like 'Na'.")
    if settings.elements or settings.exclude_elements:
        yield "elements", lambda crystal: _elements(crystal, settings)
    if settings.min_atoms or settings.max_atoms:
        yield "n_atoms", lambda crystal: _size(crystal, settings)
    for name, limit in (
        ("formation_energy_ev_atom", settings.max_formation_energy),
        ("energy_above_hull_ev_atom", settings.max_energy_above_hull),
    ):
        if limit is not None:
            yield name, lambda crystal, name=name, limit=limit: _energy(crystal, name, limit, settings.unknown_energy)  # type: ignore[misc]
    if settings.space_groups:
        yield (
            "space_group",
            lambda crystal: (
                ""
                if crystal.space_group in settings.space_groups
                else f"space group {crystal.space_group} is not wanted"
            ),
        )
    if settings.prototypes:
        from screen_cli.crystal.prototypes import prototypes

        for name in settings.prototypes:
            if name not in prototypes():
                raise unknown_name("prototype", name, prototypes())
        yield (
            "prototype",
            lambda crystal: (
                ""
                if crystal.prototype in settings.prototypes
                else f"prototype {crystal.prototype or 'unknown'} not wanted"
            ),
        )
    if settings.expression:
        yield "expression", lambda crystal: _expression(crystal, settings.expression)


def _elements(crystal: Structure, settings: FilterSettings) -> str:
    """Reason to drop for its elements."""
    symbols = sorted(set(crystal.atoms.get_chemical_symbols()))
    unwanted = [
        symbol
        for symbol in symbols
        if symbol in settings.exclude_elements or (settings.elements and symbol not in settings.elements)
    ]
    return f"contains {', '.join(unwanted)}" if unwanted else ""


def _size(crystal: Structure, settings: FilterSettings) -> str:
    """Reason to drop for the atoms of the primitive cell."""
    n_atoms = len(crystal.atoms)
    if n_atoms < settings.min_atoms:
        return f"{n_atoms} atoms in the primitive cell, at least {settings.min_atoms} wanted"
    if settings.max_atoms and n_atoms > settings.max_atoms:
        return f"{n_atoms} atoms in the primitive cell, at most {settings.max_atoms} wanted"
    return ""


def _energy(crystal: Structure, name: str, limit: float, unknown: str) -> str:
    """Reason to drop for an energy of the source."""
    value = crystal.metadata.get(name)
    if not isinstance(value, (int, float)):
        return f"{name} is not given by {crystal.provider}" if unknown == "drop" else ""
    return f"{name} {value:.4g} above {limit:g}" if value > limit else ""


def _expression(crystal: Structure, expression: str) -> str:
    """Reason to drop for the user's own condition; a missing value drops, as in SQL."""
    try:
        return "" if evaluate(expression, _row(crystal)) else f"not ({expression})"
    except UnknownColumnError as error:
        return f"not ({expression}): {error}"


def _row(crystal: Structure) -> Row:
    """Names and values that an expression may use."""
    scalars = {key: value for key, value in crystal.metadata.items() if isinstance(value, (int, float, str, bool))}
    return {
        **scalars,  # a name of ours counts more than the source's
        "formula": crystal.formula,
        "space_group": crystal.space_group,
        "n_atoms": len(crystal.atoms),
        "provider": crystal.provider,
        "provider_id": crystal.provider_id,
        "prototype": crystal.prototype,
    }


class _Seen:
    """Crystals that came before, by id and, for similar ones, by formula and space group."""

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._ids: dict[str, str] = {}
        self._alike: defaultdict[tuple[str, int, int], list[tuple[str, Any]]] = defaultdict(list)
        self._matcher = _make_matcher() if mode == "similar" else None

    def same(self, crystal: Structure) -> str:
        """Give the provider's name of an earlier crystal with the same id, or empty."""
        return self._ids.get(crystal.id, "")

    def similar(self, crystal: Structure) -> str:
        """Give the provider's name of an earlier kept crystal that pymatgen matches, or empty."""
        if self._matcher is None:
            return ""
        mine = _to_pymatgen(crystal.atoms)
        for name, atoms in self._alike[_bucket(crystal)]:
            with contextlib.suppress(ValueError):  # pymatgen's word for lattices it cannot map
                if self._matcher.fit(mine, _to_pymatgen(atoms)):
                    return name
        return ""

    def add(self, crystal: Structure, *, kept: bool) -> None:
        """Remember a crystal."""
        name = f"{crystal.provider}:{crystal.provider_id}"
        self._ids[crystal.id] = name
        if kept and self._matcher is not None:
            self._alike[_bucket(crystal)].append((name, crystal.atoms))


def _bucket(crystal: Structure) -> tuple[str, int, int]:
    """Only crystals equal in these can match."""
    return crystal.formula, crystal.space_group, len(crystal.atoms)


def _make_matcher() -> StructureMatcher:
    """Pymatgen's matcher with its default tolerances (cells scaled to one volume)."""
    try:
        from pymatgen.analysis.structure_matcher import StructureMatcher
    except ImportError as error:
        raise MissingExtraError(
            "filter.duplicates = \"similar\" needs pymatgen. Install it: pip install 'screen-cli[matching]', or use "
            '"exact".'
        ) from error
    return StructureMatcher(primitive_cell=False)


def _to_pymatgen(atoms: Atoms) -> PymatgenStructure:
    """Pymatgen's structure of an ASE cell."""
    from pymatgen.core import Structure as Crystal

    return Crystal(atoms.cell.array, atoms.get_chemical_symbols(), atoms.get_scaled_positions())


def _name_of_duplicate(crystal: Structure) -> str:
    """Id of the row of a crystal whose own id is taken."""
    where = f"{crystal.provider}:{crystal.provider_id}"
    return "duplicate-" + hashlib.sha256(where.encode()).hexdigest()[:12]
