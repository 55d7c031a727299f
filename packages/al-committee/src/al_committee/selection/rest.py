"""Where a committee says that a crystal rests: cell and positions relaxed by its mean, symmetry kept, steps bounded."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import cast

import numpy as np
from ase import Atoms
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from al_committee.committee.calculator import CommitteeCalculator
from al_committee.config import RestSettings
from al_committee.labels.identity import bare_structure

__all__ = ["Rest", "find_rest"]

CLOSEST = 0.5
"""Å; atoms nearer than this are lost."""


@dataclass(frozen=True)
class Rest:
    """Where a crystal rests, or why that is not known.

    Parameters
    ----------
    atoms : Atoms or None
        The relaxed cell, Å; None where the committee is not believed.
    reason : str
        Why not.
    """

    atoms: Atoms | None
    reason: str = ""


def find_rest(cell: Atoms, committee: CommitteeCalculator, settings: RestSettings) -> Rest:
    """Relax a crystal by the committee's mean.

    Parameters
    ----------
    cell : Atoms
        Where it starts, Å.
    committee : CommitteeCalculator
        With stresses, else only positions move.
    settings : RestSettings
        Bounds.

    Returns
    -------
    Rest
        Lost are crystals that take too many steps, change their volume too much, bring atoms too close, or about whose
        forces at rest the members disagree.
    """
    atoms = bare_structure(cell)
    atoms.calc = committee
    start = atoms.get_volume() if atoms.pbc.all() else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            atoms.set_constraint(FixSymmetry(atoms, symprec=settings.symprec))
        whole = committee.has_stress and start is not None
        target = FrechetCellFilter(atoms) if whole else atoms
        optimiser = BFGS(cast("Atoms", target), logfile=None, maxstep=settings.max_step)  # a filter serves as well
        for _ in optimiser.irun(fmax=settings.fmax, steps=settings.max_steps):
            reason = _lost(atoms, start, settings)
            if reason:
                return Rest(None, reason)
        if not optimiser.converged(target.get_forces().ravel()):
            return Rest(None, f"not at rest after {settings.max_steps} steps")
        disagreement = float(committee.evaluate([atoms], energy=False)[0].force_deviation.max())
    except Exception as error:  # whatever a force field does far from what it knows
        return Rest(None, f"{type(error).__name__}: {error}")
    if settings.max_deviation and disagreement > settings.max_deviation:
        return Rest(None, f"the members disagree by {disagreement:.3g} eV/Å at rest")
    return Rest(bare_structure(atoms))


def _lost(atoms: Atoms, start: float | None, settings: RestSettings) -> str:
    """Why a relaxation leads nowhere; empty while it does not."""
    if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        return "positions or cell are not finite"
    if start is not None and abs(atoms.get_volume() / start - 1) > settings.max_volume_change:
        return f"the volume changed by {100 * (atoms.get_volume() / start - 1):+.0f} %"
    if len(atoms) > 1:
        distances = atoms.get_all_distances(mic=bool(atoms.pbc.any()))
        closest = distances[np.triu_indices(len(atoms), 1)].min()
        if closest < CLOSEST:
            return f"two atoms came within {closest:.2f} Å"
    return ""
