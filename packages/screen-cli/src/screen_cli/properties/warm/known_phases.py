"""Phases of lower symmetry that literature reports, so that a child of a soft mode is called by its name."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from importlib.resources import files

from ase import Atoms
from ase.formula import Formula

from screen_cli.crystal.standard_cell import space_group_symbol


@dataclass(frozen=True)
class KnownPhase:
    """A phase of a compound that comes from one of higher symmetry.

    Parameters
    ----------
    formula : str
        Reduced, as chemists write it.
    parent, child : int
        Numbers of the space groups.
    name : str
        Of the phase.
    doi : str
        Of a paper that reports its space group.
    """

    formula: str
    parent: int
    child: int
    name: str
    doi: str

    def __str__(self) -> str:
        """Describe it as ``I4/mcm (140), tetragonal``."""
        return f"{space_group_symbol(self.child)} ({self.child}), {self.name}"


@functools.cache
def all_phases() -> tuple[KnownPhase, ...]:
    """Every row of ``known_phases.toml``."""
    text = files("screen_cli.properties.warm").joinpath("known_phases.toml").read_text(encoding="utf-8")
    return tuple(KnownPhase(**row) for row in tomllib.loads(text)["phase"])


def phases_below(atoms: Atoms, space_group: int) -> tuple[KnownPhase, ...]:
    """Known phases that a crystal of this composition and space group distorts to.

    Parameters
    ----------
    atoms : ase.Atoms
        Any cell of the undistorted crystal; only its composition counts.
    space_group : int
        Its number.

    Returns
    -------
    tuple of KnownPhase
        In the order of the table; empty where nothing is listed.
    """
    composition = atoms.symbols.formula.reduce()[0].count()
    return tuple(
        phase for phase in all_phases() if phase.parent == space_group and Formula(phase.formula).count() == composition
    )
