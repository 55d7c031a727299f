"""The convex hull of a run: its crystals, the elements, and further phases by formula and formation energy."""

from __future__ import annotations

import csv
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers
from ase.formula import Formula

from screen_cli.errors import FilterError, SourceError
from screen_cli.physics.convex_hull import lowest_mixture
from screen_cli.store.row import Row, number, text

ENERGY = "formation_energy_model_ev_atom"
OF_OTHERS = (ENERGY, "formation_energy_ev_atom")
"""Columns of a file that give formation energies; the first that is there counts."""
_ROUNDING = 1e-9
"""eV/atom; a phase on the hull is not a rounding error above it."""


@dataclass(frozen=True)
class Phase:
    """A phase of the hull.

    Parameters
    ----------
    name : str
        Of the crystal, or the formula.
    formula : str
        Reduced formula.
    energy : float
        Formation energy, eV per atom.
    shares : mapping of str to float
        Share of the atoms of each element; sums to 1.
    """

    name: str
    formula: str
    energy: float
    shares: Mapping[str, float]


@dataclass(frozen=True)
class HullRow:
    """Where a crystal lies.

    Parameters
    ----------
    phase : Phase
    e_above_hull_ev_atom : float
        eV per atom, 0 on the hull; what phases that are missing from it would make larger, never smaller.
    decomposes_to : str
        The mixture of the hull, by shares of the atoms; empty on the hull.
    n_competing : int
        Compounds of the crystal's elements besides itself that the hull knows; 0: the hull is that of the elements.
    """

    phase: Phase
    e_above_hull_ev_atom: float
    decomposes_to: str
    n_competing: int


def phase_of(name: str, formula: str, energy: float) -> Phase:
    """Make a phase of a formula.

    Raises
    ------
    SourceError
        It is no formula, or the energy is not finite.
    """
    try:
        counts = Formula(formula).count()
    except ValueError as error:
        raise SourceError(f"'{formula}' of {name} is no chemical formula.") from error
    if not counts or any(symbol not in atomic_numbers for symbol in counts) or not math.isfinite(energy):
        raise SourceError(
            f"'{formula}' of {name} with {energy} eV/atom is no phase: a formula and a number are needed."
        )
    total = sum(counts.values())
    return Phase(name, formula, energy, {symbol: n / total for symbol, n in counts.items()})


def phases_of_rows(rows: Iterable[Row]) -> tuple[list[Phase], int]:
    """Give the crystals of a run that have a formation energy, and the number of those that have none.

    Raises
    ------
    FilterError
        None has one.
    """
    phases, without = [], 0
    for row in rows:
        energy = number(row, ENERGY)
        if energy is None:
            without += row.get("state") != "filtered"
        else:
            phases.append(phase_of(text(row, "id"), text(row, "formula"), energy))
    if not phases:
        raise FilterError(
            f"no crystal has {ENERGY}, which a hull needs. Compute it: [properties] names = ['formation_energy'], then "
            "the same run again with --accept-changes; only that is added."
        )
    return phases, without


def read_phases(path: Path) -> list[Phase]:
    """Read further phases: CSV with a column ``formula`` and one of :data:`OF_OTHERS`, as ``screen-cli export`` writes.

    Lines without an energy are passed over.

    Raises
    ------
    SourceError
        The file cannot be read, lacks a column, or holds what is no formula or number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            lines = list(csv.DictReader(stream))
            names = list(lines[0]) if lines else []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"cannot read phases from {path}: {error}.") from error
    energy = next((name for name in OF_OTHERS if name in names), "")
    if "formula" not in names or not energy:
        raise SourceError(f"{path} has the columns {names}, expected formula and {' or '.join(OF_OTHERS)}.")
    found = []
    for place, line in enumerate(lines, start=2):
        if not line[energy]:
            continue
        try:
            value = float(line[energy])
        except ValueError as error:
            raise SourceError(f"{path}, line {place}: {energy} is '{line[energy]}', expected a number.") from error
        found.append(phase_of(f"{path.name} line {place}", line["formula"] or "", value))
    return found


def hull_rows(crystals: Sequence[Phase], others: Sequence[Phase] = ()) -> list[HullRow]:
    """Place crystals against the hull of themselves, the elements, and other phases.

    Parameters
    ----------
    crystals : sequence of Phase
    others : sequence of Phase
        Formation energies against the same references, by the same force field, if numbers are to mean anything.

    Returns
    -------
    list of HullRow
        In the order of the crystals.
    """
    elements = sorted({symbol for phase in crystals for symbol in phase.shares})
    pure = [Phase(symbol, symbol, 0.0, {symbol: 1.0}) for symbol in elements]
    systems: defaultdict[frozenset[str], list[Phase]] = defaultdict(list)
    for phase in (*pure, *crystals, *others):
        systems[frozenset(phase.shares)].append(phase)
    return [_place(crystal, systems) for crystal in crystals]


def _place(crystal: Phase, systems: Mapping[frozenset[str], Sequence[Phase]]) -> HullRow:
    """Place one crystal among the phases of its elements."""
    symbols = sorted(crystal.shares)
    subsets = itertools.chain.from_iterable(itertools.combinations(symbols, n + 1) for n in range(len(symbols)))
    phases = [phase for subset in subsets for phase in systems.get(frozenset(subset), ())]
    table = np.array([[phase.shares.get(symbol, 0.0) for symbol in symbols] for phase in phases])
    energies = np.array([phase.energy for phase in phases])
    energy, mixture = lowest_mixture(np.array([crystal.shares[symbol] for symbol in symbols]), table, energies)
    distance = max(crystal.energy - energy, 0.0)
    on_hull = distance < _ROUNDING
    words = "" if on_hull else " + ".join(f"{share:.3g} {phases[i].formula}" for i, share in mixture.items())
    n_competing = sum(len(phase.shares) > 1 for phase in phases) - (len(symbols) > 1)
    return HullRow(crystal, 0.0 if on_hull else distance, words, n_competing)
