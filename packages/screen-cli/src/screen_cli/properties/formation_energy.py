r"""The property ``formation_energy``: the relaxed crystal against the elements in their own structures.

.. math:: \Delta E = \frac{E}{N} - \sum_X c_X \, \frac{E_X}{N_X}

with the share :math:`c_X` of each element. :math:`E_X` are of the same force field: what the calculator tells
(``element_energies``, eV/atom by symbol: the bundled weights carry those of their teacher, since a model of crystals
hardly knows molecules), else what it finds itself when it relaxes the element in ``element_structures.toml``.
No zero-point energy, no temperature.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TypedDict, cast
from weakref import WeakKeyDictionary

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import BaseCalculator, Calculator
from ase.spacegroup import crystal

from screen_cli.config import RelaxSettings
from screen_cli.crystal.structure import Structure
from screen_cli.errors import ConfigError, ScreenError, StructureError
from screen_cli.stages.relax import Relaxed, relax
from screen_cli.store.reading.recursion import usual_recursion
from screen_cli.store.record import TypedRecord, record_from

RELAXATION = RelaxSettings(fmax=0.01, max_steps=300, max_volume_change=1.0)
"""How elements are relaxed: symmetry kept, to a force (eV/Å) that leaves less than a meV per atom."""
MOLECULES_ALONE = RelaxSettings(fmax=0.01, max_steps=300, relax_cell=False)
"""How solids of molecules are: the cell stays as measured, since semilocal DFT hardly holds molecules together."""
_SAME = 1e-3  # Å, within which the atoms of an element are alike by symmetry

_energies: WeakKeyDictionary[BaseCalculator, dict[str, float | str]] = WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True, eq=False)
class FormationEnergy(TypedRecord):
    """The relaxed crystal against its elements.

    Parameters
    ----------
    formation_energy_model_ev_atom : float
        eV per atom, negative is bound; of the force field of the run, in both places.
    formation_energy_warning : str
        What speaks against the number; empty: nothing that is known.
    """

    formation_energy_model_ev_atom: float
    formation_energy_warning: str


class _Entry(TypedDict, total=False):
    """How an element that is no simple lattice is built."""

    type: str
    space_group: int
    setting: int
    cell: list[float]
    sites: list[list[float]]
    molecules: bool
    note: str


def formation_energy(
    records: Mapping[str, object], *, calculator: BaseCalculator, elements: str = ""
) -> FormationEnergy:
    """Compare the energy of a relaxed crystal with that of its elements.

    Parameters
    ----------
    records : mapping of str to typed record
        ``relax``.
    calculator : ase.calculators.calculator.BaseCalculator
        The force field of the run, which tells the energies of the elements or relaxes them, each once in a process.
    elements : str
        File of elements in structures of your own, all that ASE reads; the force field relaxes these, whatever else it
        tells or the table has. A process reads it once while it stays as it is.

    Raises
    ------
    ConfigError
        The file cannot be read or holds a compound.
    StructureError
        An element has no structure, or the force field finds no rest for it; the crystal gets no number.
    """
    relaxed = record_from(records, "relax", Relaxed)
    if relaxed.energy_ev_per_atom is None:
        raise StructureError(
            "the force field gives no energies, so there is no formation energy. Use one that does, or leave "
            "'formation_energy' out of properties.names."
        )
    own = _structures(elements, _state(elements)) if elements else {}
    counts = Counter(relaxed.atoms.get_chemical_symbols())
    reference = sum(
        n / len(relaxed.numbers) * energy_of_element(symbol, calculator, own) for symbol, n in sorted(counts.items())
    )
    relaxed_here = [symbol for symbol in sorted(counts) if symbol not in own and symbol not in _told(calculator)]
    doubts = [text for text in map(doubt_about, relaxed_here) if text]
    return FormationEnergy(
        formation_energy_model_ev_atom=float(relaxed.energy_ev_per_atom - reference),
        formation_energy_warning="; ".join(doubts),
    )


def fingerprint(structure: Structure, elements: str = "") -> str:
    """Checksum of the user's file of elements: what the property depends on besides the force field."""
    return _checksum(elements, _state(elements)) if elements else ""


def element_structure(symbol: str) -> Atoms:
    """Build an element in its own structure.

    Parameters
    ----------
    symbol : str

    Returns
    -------
    ase.Atoms
        Primitive cell, Å.

    Raises
    ------
    StructureError
        The table has no structure of it.
    """
    lattices, own = _table()
    if symbol in lattices:
        return bulk(symbol, lattices[symbol])
    if symbol not in own:
        raise StructureError(
            f"no structure of the element {symbol} is tabulated, so crystals with it have no formation energy. Give "
            f"one in a file: [properties] options = {{ formation_energy = {{ elements = 'elements.extxyz' }} }}."
        )
    entry = own[symbol]
    conventional = crystal(
        [symbol] * len(entry["sites"]),
        entry["sites"],
        spacegroup=entry["space_group"],
        setting=entry.get("setting", 1),
        cellpar=entry["cell"],
    )
    return Structure.from_atoms(conventional, provider="elements", provider_id=symbol).atoms


def tabulated_elements() -> list[str]:
    """List the elements whose structure is known."""
    lattices, own = _table()
    return sorted({*lattices, *own})


def doubt_about(symbol: str) -> str:
    """Say what speaks against an element as a reference; empty where nothing does."""
    entry = _table()[1].get(symbol, {})
    words = [entry["note"]] if "note" in entry else []
    if entry.get("molecules"):
        words.insert(0, "a solid of molecules, which a force field made for crystals may not know")
    return f"{symbol}: {', '.join(words)}" if words else ""


def energy_of_element(
    symbol: str, calculator: BaseCalculator, own: Mapping[str, Sequence[Atoms]] | None = None
) -> float:
    """Return the energy of an element, eV per atom: of structures given, as the calculator tells, or of the table's.

    Parameters
    ----------
    symbol : str
    calculator : ase.calculators.calculator.BaseCalculator
        What it found is remembered as long as it lives.
    own : mapping of str to list of ase.Atoms, optional
        Structures that come before all else; the lowest counts.

    Raises
    ------
    StructureError
        There is no structure, or it does not come to rest.
    """
    given = (own or {}).get(symbol, ())
    told = _told(calculator)
    if symbol in told and not given:
        if not np.isfinite(told[symbol]):
            raise StructureError(f"no reference energy of {symbol}: the calculator tells {told[symbol]}.")
        return told[symbol]
    known = _energies.setdefault(calculator, {})
    name = f"{symbol} {[(len(atoms), atoms.cell.array.tolist(), atoms.positions.tolist()) for atoms in given]}"
    if name not in known:
        try:
            candidates = given or [element_structure(symbol)]
            fixed = not given and _table()[1].get(symbol, {}).get("molecules", False)
            settings = MOLECULES_ALONE if fixed else RELAXATION
            known[name] = min(_energy_at_rest(atoms, calculator, settings) for atoms in candidates)
        except ScreenError as error:
            known[name] = str(error)
    found = known[name]
    if isinstance(found, str):
        raise StructureError(f"no reference energy of {symbol}: {found}")
    return found


def _told(calculator: BaseCalculator) -> Mapping[str, float]:
    """Give the energies of the elements, eV per atom, that a calculator tells by itself."""
    told: Mapping[str, float] = getattr(calculator, "element_energies", {})  # of ours, and of whoever wants to
    return told


def _energy_at_rest(atoms: Atoms, calculator: BaseCalculator, settings: RelaxSettings) -> float:
    """Relax; return the energy per atom. What was computed before is forgotten, so that its order does not matter."""
    if isinstance(calculator, Calculator):
        calculator.reset()
    energy = relax(atoms, calculator, settings, symprec=_SAME).energy_ev_per_atom
    if energy is None or not np.isfinite(energy):
        raise StructureError(f"the force field gives it the energy {energy}.")
    return energy


@cache
def _table() -> tuple[dict[str, str], dict[str, _Entry]]:
    """Read the simple lattices by element, and the entries of all others."""
    text = files("screen_cli.properties").joinpath("element_structures.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    own = cast("dict[str, _Entry]", table.pop("own"))
    return {symbol: lattice for lattice, symbols in table.items() for symbol in symbols}, own


def _state(path: str) -> tuple[int, int, int]:
    """Tell the user's file by number, size and time of change: while they stay, so do its structures."""
    try:
        state = Path(path).stat()
    except OSError as error:
        raise _unreadable(path, error.strerror) from error
    return state.st_ino, state.st_size, state.st_mtime_ns


def _unreadable(path: str, reason: str | None) -> ConfigError:
    """Say that the user's file cannot be read."""
    return ConfigError(f"property 'formation_energy': elements = '{path}' cannot be read: {reason}.")


@lru_cache(maxsize=8)
def _checksum(path: str, state: tuple[int, int, int]) -> str:
    """Hash the user's file."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise _unreadable(path, error.strerror) from error


@lru_cache(maxsize=8)
def _structures(path: str, state: tuple[int, int, int]) -> Mapping[str, Sequence[Atoms]]:
    """Structures of the user's file by element."""
    try:
        with usual_recursion():
            frames = list(ase.io.iread(path, ":"))
    except Exception as error:  # ASE's readers raise anything
        raise _unreadable(path, getattr(error, "strerror", None) or f"{type(error).__name__}: {error}") from error
    found: dict[str, list[Atoms]] = {}
    for atoms in frames:
        symbols = set(atoms.get_chemical_symbols())
        if len(symbols) != 1:
            raise ConfigError(
                f"property 'formation_energy': {path} holds {atoms.get_chemical_formula()}, expected elements alone."
            )
        found.setdefault(symbols.pop(), []).append(atoms)
    return found
