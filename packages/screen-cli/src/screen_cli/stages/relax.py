"""Relaxation of cell and positions with the space group kept, and checked."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms

from screen_cli.calculators.model_errors import translate_calculator_errors
from screen_cli.config import RelaxSettings
from screen_cli.crystal.standard_cell import space_group_number
from screen_cli.errors import CalculatorError, SymmetryLostError
from screen_cli.store.record import Record

logger = logging.getLogger(__name__)


def relax(atoms: Atoms, calculator: Any, settings: RelaxSettings, *, symprec: float = 1e-3) -> Record:
    """Relax a crystal with ASE: FixSymmetry and FrechetCellFilter, BFGS or FIRE.

    With ``two_stage`` the symmetric crystal is relaxed once more without the symmetry constraint; where that
    changes the space group, the symmetric one is kept (Póta et al., arXiv:2408.00755).

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
        ``space_group``, ``n_relax_steps``, ``fmax_final`` eV/Å, ``a``, ``b``, ``c`` Å of the cell given,
        ``relax_converged``, ``fell_back_to_symmetric`` (the free stage broke the space group).
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
    n_steps, converged, fell_back = 0, True, False
    if settings.enabled:
        n_steps, converged = optimise(relaxed, settings, symprec, keep_symmetry=settings.keep_symmetry)
    if settings.enabled and settings.two_stage:
        n_free, converged_free, fell_back = _relax_freely(relaxed, settings, symprec)
        n_steps, converged = n_steps + n_free, converged and converged_free
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
        advice = "Start from the other structure"
        if not settings.keep_symmetry:
            advice += ", or set relax.keep_symmetry = true"
        raise SymmetryLostError(f"the space group changed from {space_group} to {found} in relaxation. {advice}.")
    data: dict[str, Any] = {
        "volume": float(relaxed.cell.volume),
        "volume_change": float(change),
        "space_group": found,
        "n_relax_steps": n_steps,
        "relax_converged": converged,
        "fell_back_to_symmetric": fell_back,
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


def _relax_freely(atoms: Atoms, settings: RelaxSettings, symprec: float) -> tuple[int, bool, bool]:
    """Relax in place without symmetry; go back where the space group breaks. Steps, converged, went back.

    What is gone back from does not count as unconverged.
    """
    symmetric = atoms.copy()
    lenient = replace(settings, accept_unconverged=True)
    n_steps, converged = optimise(atoms, lenient, symprec, keep_symmetry=False, shear=False)
    if space_group_number(atoms, symprec) == space_group_number(symmetric, symprec):
        _require_converged(converged, settings)
        return n_steps, converged, False
    atoms.set_cell(symmetric.cell)
    atoms.set_positions(symmetric.positions)
    return n_steps, True, True


def optimise(
    atoms: Atoms,
    settings: RelaxSettings,
    symprec: float,
    *,
    keep_symmetry: bool,
    shear: bool = True,
    constant_volume: bool = False,
) -> tuple[int, bool]:
    """Relax in place; return the number of steps and whether they were enough.

    Without ``relax_cell`` only the atoms move; with ``constant_volume`` the cell changes its shape alone.
    """
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS, FIRE

    if keep_symmetry:
        atoms.set_constraint(FixSymmetry(atoms, symprec=symprec))
    strains = [True] * 6 if shear else [True, True, True, False, False, False]
    target = FrechetCellFilter(atoms, mask=strains, constant_volume=constant_volume) if settings.relax_cell else atoms
    optimiser = FIRE(target, logfile=None) if settings.optimiser == "fire" else BFGS(target, logfile=None, maxstep=0.1)
    with translate_calculator_errors(atoms):
        for _ in optimiser.irun(fmax=settings.fmax, steps=settings.max_steps):
            check_forces(np.asarray(atoms.calc.results.get("forces", 0.0)), settings.max_force, "a relaxation step")
        converged = bool(optimiser.converged(optimiser.optimizable.get_gradient()))
    atoms.set_constraint()
    _require_converged(converged, settings)
    return int(optimiser.get_number_of_steps()), converged


def _require_converged(converged: bool, settings: RelaxSettings) -> None:
    """Refuse a relaxation that ran out of steps, unless the settings accept it."""
    if not (converged or settings.accept_unconverged):
        raise CalculatorError(
            f"relaxation did not reach fmax = {settings.fmax:g} eV/Å in {settings.max_steps} steps. Raise "
            "relax.max_steps or relax.fmax; a rough potential may never get there."
        )
