"""Relaxation of cell and positions with the space group kept, and checked."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from screen_cli.calculators.model_errors import translate_calculator_errors
from screen_cli.config import RelaxSettings
from screen_cli.crystal.masses import has_own_masses
from screen_cli.crystal.standard_cell import find_symmetry, right_handed, space_group_number
from screen_cli.errors import CalculatorError, ConfigError, SymmetryLostError
from screen_cli.settings_file import settings_to_dict
from screen_cli.solvers.symmetric_relaxation import FIRST_CUBIC, relax_symmetrically
from screen_cli.stages.stage import Inputs, Stage
from screen_cli.store.record import Json, TypedRecord, array

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Relaxed(TypedRecord):
    """The relaxed crystal.

    Parameters
    ----------
    cell : ndarray
        float64 (3, 3), rows are lattice vectors, Å.
    positions : ndarray
        float64 (n_atoms, 3), Cartesian, Å.
    numbers : ndarray
        int64 (n_atoms,), atomic numbers.
    masses : ndarray, optional
        float64 (n_atoms,), u; only where they are not the standard ones.
    volume : float
        Å³.
    volume_change : float
        V/V₀ − 1.
    space_group : int
        International number.
    n_relax_steps : int
    relax_converged : bool
    fell_back_to_symmetric : bool
        The free stage broke the space group and was undone.
    fmax_final : float
        Norm of the largest force, eV/Å.
    a, b, c : float
        Edges of the conventional cell, Å.
    energy_ev_per_atom : float, optional
        Absent for models without energy.
    """

    cell: NDArray[np.float64] = array(np.float64, 3, 3)
    positions: NDArray[np.float64] = array(np.float64, "n_atoms", 3)
    numbers: NDArray[np.int64] = array(np.int64, "n_atoms")
    masses: NDArray[np.float64] | None = array(np.float64, "n_atoms", optional=True)
    volume: float
    volume_change: float
    space_group: int
    n_relax_steps: int
    relax_converged: bool
    fell_back_to_symmetric: bool
    fmax_final: float
    a: float
    b: float
    c: float
    energy_ev_per_atom: float | None = None

    @property
    def atoms(self) -> Atoms:
        """The crystal as ASE has it, without constraints."""
        return Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=True, masses=self.masses)


@dataclass(frozen=True)
class Relax(Stage[Relaxed]):
    """The stage: source crystal in, relaxed crystal out."""

    name: str = "relax"
    needs: tuple[str, ...] = ()
    record_class: ClassVar[type[Relaxed]] = Relaxed

    def depends(self, inputs: Inputs) -> Json:
        """Give the settings, symmetry tolerance and force field."""
        settings = inputs.settings
        return [settings_to_dict(settings.relax), settings.read.symprec, inputs.force_field.identity()]

    def run(self, inputs: Inputs) -> Relaxed:
        """Relax."""
        settings = inputs.settings
        calculator = inputs.force_field.calculator
        return relax(inputs.structure.atoms, calculator, settings.relax, symprec=settings.read.symprec)


def relax(atoms: Atoms, calculator: BaseCalculator, settings: RelaxSettings, *, symprec: float = 1e-3) -> Relaxed:
    """Relax a crystal: cubic ones in symmetric coordinates, others with ASE's FixSymmetry, FrechetCellFilter and BFGS.

    With ``two_stage`` the symmetric crystal is relaxed once more without the symmetry constraint; where that
    changes the space group, the symmetric one is kept (Póta et al., arXiv:2408.00755).

    Parameters
    ----------
    atoms : ase.Atoms
        Primitive cell, Å; not changed. Constraints on it are ignored: every atom may move, and every force counts.
    calculator : ase.calculators.calculator.BaseCalculator
    settings : RelaxSettings
    symprec : float
        Tolerance of the space-group check, Å.

    Raises
    ------
    ConfigError
        The cell is to be relaxed and the calculator offers no stress.
    UnsupportedElementError, CalculatorError
        The calculator does not know an element; forces are NaN or exploded; the cell collapsed or blew up;
        not converged.
    SymmetryLostError
        The space group changed.
    """
    if settings.enabled and settings.relax_cell:
        require_stress(calculator)
    start = _without_constraints(atoms)
    relaxed = start.copy()
    relaxed.calc = calculator
    check_forces(first_forces(relaxed), settings.max_force, "the crystal as given")
    space_group = space_group_number(start, symprec)
    n_steps, converged, fell_back = 0, True, False
    if settings.enabled:
        n_steps, converged = _relax_with_symmetry(relaxed, settings, symprec, space_group)
    if settings.enabled and settings.two_stage:
        n_free, converged_free, fell_back = _relax_freely(relaxed, settings, symprec)
        n_steps, converged = n_steps + n_free, converged and converged_free
    forces = np.asarray(relaxed.get_forces())
    check_forces(forces, settings.max_force, "the relaxed crystal")
    change = relaxed.cell.volume / start.cell.volume - 1.0
    found = _checked_space_group(relaxed, space_group, change, settings, symprec)
    energy = relaxed.calc.results.get("energy")
    conventional = find_symmetry(right_handed(relaxed), symprec).std_lattice
    a, b, c = np.linalg.norm(conventional, axis=1).tolist()
    return Relaxed(
        cell=relaxed.cell.array.copy(),
        positions=relaxed.positions.copy(),
        numbers=np.array(relaxed.numbers, dtype=np.int64),
        masses=np.array(start.get_masses()) if has_own_masses(start) else None,
        volume=float(relaxed.cell.volume),
        volume_change=float(change),
        space_group=found,
        n_relax_steps=n_steps,
        relax_converged=converged,
        fell_back_to_symmetric=fell_back,
        fmax_final=float(np.linalg.norm(forces, axis=1).max()),
        a=a,
        b=b,
        c=c,
        energy_ev_per_atom=None if energy is None else float(energy) / len(relaxed),
    )


def require_stress(calculator: BaseCalculator) -> None:
    """Refuse to relax a cell with a calculator that offers no stress, or whose stress was never trained.

    Raises
    ------
    ConfigError
    """
    offered = getattr(calculator, "implemented_properties", None)  # of any ASE calculator; absent in old ones
    if offered and "stress" not in offered:
        raise ConfigError(
            f"{type(calculator).__name__} offers no stress (only {', '.join(sorted(offered))}), so the cell cannot be "
            "relaxed. Keep the cell as given with relax.relax_cell = false, or use a force field that was trained on "
            "stress."
        )


def _without_constraints(atoms: Atoms) -> Atoms:
    """Copy without constraints: ASE would report zero force on a fixed atom."""
    free: Atoms = atoms.copy()
    free.set_constraint()
    return free


def _checked_space_group(
    relaxed: Atoms, space_group: int, change: float, settings: RelaxSettings, symprec: float
) -> int:
    """Refuse a crystal that became another; return its space group."""
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
    return found


def first_forces(atoms: Atoms) -> NDArray[np.float64]:
    """Give the forces of a first call, with an unknown element told as such.

    Raises
    ------
    UnsupportedElementError
        The calculator does not know an element.
    CalculatorError
        It failed in another way; the original exception is the cause.
    """
    with translate_calculator_errors(atoms):
        return np.asarray(atoms.get_forces())


def check_forces(forces: NDArray[np.float64], max_force: float, where: str) -> None:
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


def _relax_with_symmetry(atoms: Atoms, settings: RelaxSettings, symprec: float, space_group: int) -> tuple[int, bool]:
    """Relax in place: cubic crystals in symmetric coordinates where that succeeds, all others by the optimiser."""
    few = settings.optimiser == "auto" and settings.keep_symmetry and settings.relax_cell
    if few and space_group >= FIRST_CUBIC:
        n_steps = relax_symmetrically(
            atoms,
            fmax=settings.fmax,
            max_steps=settings.max_steps,
            max_volume_change=settings.max_volume_change,
            symprec=symprec,
            check=lambda forces: check_forces(forces, settings.max_force, "a relaxation step"),
        )
        if n_steps is not None:
            return n_steps, True
    return optimise(atoms, settings, symprec, keep_symmetry=settings.keep_symmetry)


def _relax_freely(atoms: Atoms, settings: RelaxSettings, symprec: float) -> tuple[int, bool, bool]:
    """Relax in place without symmetry; go back where the space group breaks. Steps, converged, went back.

    What is gone back from does not count as unconverged.
    """
    symmetric = atoms.copy()
    n_steps, converged = optimise(atoms, settings, symprec, keep_symmetry=False, shear=False, must_converge=False)
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
    must_converge: bool = True,
) -> tuple[int, bool]:
    """Relax in place; return the number of steps and whether they were enough.

    Without ``relax_cell`` only the atoms move; with ``constant_volume`` the cell changes its shape alone.

    Raises
    ------
    CalculatorError
        The steps were not enough, unless the settings or ``must_converge=False`` accept that.
    """
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS, FIRE

    if keep_symmetry:
        atoms.set_constraint(FixSymmetry(atoms, symprec=symprec))
    strains = [True] * 6 if shear else [True, True, True, False, False, False]
    relaxes_cell = settings.relax_cell
    filtered = FrechetCellFilter(atoms, mask=strains, constant_volume=constant_volume) if relaxes_cell else atoms
    target = cast("Atoms", filtered)  # a filter serves as well, whatever the annotations of the optimisers say
    optimiser = FIRE(target, logfile=None) if settings.optimiser == "fire" else BFGS(target, logfile=None, maxstep=0.1)
    with translate_calculator_errors(atoms):
        for _ in optimiser.irun(fmax=settings.fmax, steps=settings.max_steps):
            check_forces(np.asarray(atoms.calc.results.get("forces", 0.0)), settings.max_force, "a relaxation step")
        converged = bool(optimiser.converged(optimiser.optimizable.get_gradient()))
    atoms.set_constraint()
    if must_converge:
        _require_converged(converged, settings)
    return int(optimiser.get_number_of_steps()), converged


def _require_converged(converged: bool, settings: RelaxSettings) -> None:
    """Refuse a relaxation that ran out of steps, unless the settings accept it."""
    if not (converged or settings.accept_unconverged):
        raise CalculatorError(
            f"relaxation did not reach fmax = {settings.fmax:g} eV/Å in {settings.max_steps} steps. Raise "
            "relax.max_steps or relax.fmax; a rough potential may never get there."
        )
