"""Relaxation of cell and positions with the space group kept, and checked."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from ase import Atoms

from screen_cli.errors import CalculatorError, SymmetryLostError
from screen_cli.model_errors import translate_calculator_errors
from screen_cli.record import Record
from screen_cli.settings import RelaxSettings
from screen_cli.structure import space_group_number

logger = logging.getLogger(__name__)


def relax(atoms: Atoms, calculator: Any, settings: RelaxSettings, *, symprec: float = 1e-3) -> Record:
    """Relax a crystal with ASE: FixSymmetry and FrechetCellFilter, BFGS line search.

    Parameters
    ----------
    atoms : ase.Atoms
        Primitive cell, Å; not changed.
    calculator : ase.calculators.calculator.Calculator
    settings : RelaxSettings
    symprec : float
        Tolerance of the space-group check, Å.

    Returns
    -------
    Record
        data: ``energy_ev_per_atom`` (absent for models without energy), ``volume`` Å³, ``volume_change``,
        ``space_group``, ``n_relax_steps``, ``fmax_final`` eV/Å, ``a``, ``b``, ``c`` Å of the cell given.
        arrays: ``cell`` (3, 3) Å, rows; ``positions`` (n_atoms, 3) Å; ``numbers`` (n_atoms,).

    Raises
    ------
    UnsupportedElementError, CalculatorError
        The calculator does not know an element; forces are NaN or exploded; the cell collapsed or blew up;
        not converged.
    SymmetryLostError
        The space group changed.
    """
    start = atoms.copy()
    relaxed = atoms.copy()
    relaxed.calc = calculator
    check_forces(first_forces(relaxed), settings.max_force, "the crystal as given")
    space_group = space_group_number(start, symprec)
    n_steps = 0
    if settings.enabled:
        n_steps = _optimise(relaxed, settings, symprec)
    forces = np.asarray(relaxed.get_forces())
    check_forces(forces, settings.max_force, "the relaxed crystal")
    change = relaxed.cell.volume / start.cell.volume - 1.0
    if abs(change) > settings.max_volume_change:
        raise CalculatorError(
            f"the volume changed by {100 * change:.0f} % in relaxation, allowed are "
            f"{100 * settings.max_volume_change:.0f} %. Start from a better cell, or raise relax.max_volume_change."
        )
    found = space_group_number(relaxed, symprec)
    if found != space_group:
        raise SymmetryLostError(
            f"the space group changed from {space_group} to {found} in relaxation. Set relax.keep_symmetry = true, "
            "or start from the other structure."
        )
    data: dict[str, Any] = {
        "volume": float(relaxed.cell.volume),
        "volume_change": float(change),
        "space_group": found,
        "n_relax_steps": n_steps,
        "fmax_final": float(np.linalg.norm(forces, axis=1).max()),
        **{name: float(value) for name, value in zip("abc", relaxed.cell.lengths(), strict=True)},
    }
    if "energy" in relaxed.calc.results:
        data["energy_ev_per_atom"] = float(relaxed.calc.results["energy"]) / len(relaxed)
    arrays = {"cell": relaxed.cell.array.copy(), "positions": relaxed.positions.copy(), "numbers": relaxed.numbers}
    return Record(data, arrays)


def relaxed_atoms(record: Record) -> Atoms:
    """Return the relaxed crystal of a record of :func:`relax`."""
    return Atoms(
        numbers=record.arrays["numbers"], positions=record.arrays["positions"], cell=record.arrays["cell"], pbc=True
    )


def first_forces(atoms: Atoms) -> Any:
    """Forces of a first call, with an unknown element told as such.

    Raises
    ------
    UnsupportedElementError
        The calculator does not know an element.
    CalculatorError
        It failed in another way; the original exception is the cause.
    """
    with translate_calculator_errors(atoms):
        return np.asarray(atoms.get_forces())


def check_forces(forces: Any, max_force: float, where: str) -> None:
    """Refuse NaN and exploded forces.

    Raises
    ------
    CalculatorError
    """
    if not np.isfinite(forces).all():
        n_bad = int(np.count_nonzero(~np.isfinite(forces).all(axis=-1)))
        raise CalculatorError(f"forces on {n_bad} atoms of {where} are NaN or infinite.")
    largest = float(np.abs(forces).max(initial=0.0))
    if largest > max_force:
        raise CalculatorError(
            f"the largest force component of {where} is {largest:.3g} eV/Å, above the limit {max_force:g}: "
            "the model exploded, or atoms are too close."
        )


def _optimise(atoms: Atoms, settings: RelaxSettings, symprec: float) -> int:
    """Relax in place; return the number of steps."""
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    if settings.keep_symmetry:
        atoms.set_constraint(FixSymmetry(atoms, symprec=symprec))
    target = FrechetCellFilter(atoms) if settings.relax_cell else atoms
    optimiser = BFGS(target, logfile=None, maxstep=0.1)
    with translate_calculator_errors(atoms):
        for _ in optimiser.irun(fmax=settings.fmax, steps=settings.max_steps):
            check_forces(np.asarray(atoms.calc.results.get("forces", 0.0)), settings.max_force, "a relaxation step")
        converged = optimiser.converged(optimiser.optimizable.get_gradient())
    atoms.set_constraint()
    if not converged:
        raise CalculatorError(
            f"relaxation did not reach fmax = {settings.fmax:g} eV/Å in {settings.max_steps} steps. Raise "
            "relax.max_steps or relax.fmax; a rough potential may never get there."
        )
    return int(optimiser.get_number_of_steps())
