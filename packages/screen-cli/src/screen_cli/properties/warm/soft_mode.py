"""The property ``soft_mode``: where a crystal goes that an imaginary mode distorts, and what it becomes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray

from screen_cli.calculators.model_errors import translate_calculator_errors
from screen_cli.config import ReadSettings, RelaxSettings
from screen_cli.crystal.metadata import CHILDREN
from screen_cli.crystal.phonopy_cells import symmetry_action
from screen_cli.crystal.standard_cell import space_group_number, space_group_symbol, standardise
from screen_cli.crystal.structure import Structure
from screen_cli.errors import ConfigError, ScreenError
from screen_cli.physics.anharmonic.density_matrix import NormalModes, normal_modes
from screen_cli.physics.anharmonic.isotropy import order_parameters, representation
from screen_cli.properties.warm.known_phases import KnownPhase, phases_below
from screen_cli.properties.warm.records import SoftMode
from screen_cli.stages.displace import Displaced, SupercellSet
from screen_cli.stages.force_constants import ForceConstants
from screen_cli.stages.phonon_objects import full_force_constants, load_phonopy
from screen_cli.stages.relax import optimise
from screen_cli.store.record import record_from

if TYPE_CHECKING:
    from phonopy import Phonopy
    from phonopy.structure.cells import Supercell

logger = logging.getLogger(__name__)

AMPLITUDES = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
"""Displacement of the atom that moves most, Å."""
_IMAGINARY_THZ = 0.05
_DEGENERATE = 0.01  # of ω², relative
_SYMPREC = 0.01
_MOST_DIRECTIONS = 4


@dataclass(frozen=True, eq=False)
class Descent:
    """Energy along one direction.

    Parameters
    ----------
    frequency_thz : float
        Of the mode; negative.
    pattern : ndarray
        float64 (n_atoms, 3): displacements of the supercell, the largest of length 1.
    energies : ndarray
        float64 (n_amplitudes,), eV per supercell, against the undistorted crystal.
    """

    frequency_thz: float
    pattern: NDArray[np.float64]
    energies: NDArray[np.float64]


def soft_mode(
    records: Mapping[str, object],
    *,
    calculator: Calculator,
    structure: Structure,
    amplitudes: Sequence[float] = AMPLITUDES,
    n_modes: int = 1,
    fmax: float = 1e-3,
    max_steps: int = 300,
) -> SoftMode:
    """Distort a crystal along its worst imaginary modes, follow the energy down, and relax what it becomes.

    The modes are the lowest of the wave vectors of the supercell at 0 K. Of degenerate modes the directions that
    symmetry singles out are tried, and of all the lowest in energy taken.

    Parameters
    ----------
    records : mapping of str to typed record
        ``displace`` and ``force_constants``.
    calculator : ase.calculators.calculator.Calculator
        With energy.
    structure : Structure
        The parent.
    amplitudes : sequence of float
        Displacements of the atom that moves most, Å, ascending from 0.
    n_modes : int
        How many imaginary modes are tried, degenerate ones as one; the softest need not lead furthest down.
    fmax : float
        Convergence of the child's relaxation, eV/Å.
    max_steps : int
        Of that relaxation.

    Raises
    ------
    ConfigError
        Amplitudes do not ascend from 0, or there is no mode to try.
    CalculatorError
        The force field failed, or gives no energy.
    """
    steps = _checked(amplitudes, n_modes)
    displaced = record_from(records, "displace", Displaced)
    force_constants = record_from(records, "force_constants", ForceConstants)
    phonopy = load_phonopy(displaced, force_constants)
    modes = normal_modes(full_force_constants(phonopy), np.asarray(phonopy.supercell.masses, dtype=np.float64))
    lowest = float(modes.frequencies_thz[0])
    if lowest > -_IMAGINARY_THZ:
        return SoftMode(soft_mode=False, soft_mode_thz=lowest)
    perfect = SupercellSet.of(phonopy.supercell, np.zeros((0, len(modes.masses), 3))).perfect
    descents = [
        _descend(pattern, perfect, calculator, steps, frequency)
        for frequency, pattern in _patterns(modes, phonopy.supercell, n_modes)
    ]
    best = min(descents, key=lambda descent: float(descent.energies.min()))
    known = phases_below(structure.atoms, structure.space_group)
    tried = SoftMode(
        soft_mode=True,
        soft_mode_thz=lowest,
        soft_mode_qpoint=_wave_vector(phonopy, best.frequency_thz),
        soft_mode_directions=len(descents),
        soft_mode_depth_mev=-1e3 * float(best.energies.min()) / len(perfect),
        known_children="; ".join(map(str, known)) or None,
        amplitudes=steps,
        energies=np.array([descent.energies for descent in descents]),
        pattern=best.pattern,
    )
    amplitude = float(steps[int(best.energies.argmin())])
    if amplitude == 0:
        return replace(tried, child_reason="the energy falls nowhere along the mode")
    distorted = perfect.copy()
    distorted.positions += amplitude * best.pattern
    try:
        child = _relaxed(standardise(distorted, _SYMPREC), calculator, fmax, max_steps)
    except ScreenError as error:
        return replace(tried, child_reason=str(error))
    before, after = (_energy(atoms, calculator) / len(atoms) for atoms in (perfect, child))
    return _named(replace(tried, child_energy_gain_mev=1e3 * (before - after)), child, structure, known)


def _named(tried: SoftMode, child: Atoms, structure: Structure, known: Sequence[KnownPhase]) -> SoftMode:
    """Add the child with its symmetry and the phase that is known by it."""
    group = space_group_number(child, _SYMPREC)
    phase = next((phase for phase in known if phase.child == group), None)
    found = Structure.from_atoms(child, provider=CHILDREN, provider_id=structure.id, settings=ReadSettings())
    return replace(
        tried,
        child_id=found.id,
        child_space_group=group,
        child_symbol=space_group_symbol(group),
        child_name=None if phase is None else phase.name,
        child_doi=None if phase is None else phase.doi,
        child_n_atoms=len(found.atoms),
        child_cell=child.cell.array.copy(),
        child_positions=child.positions.copy(),
        child_numbers=np.array(child.numbers, dtype=np.int64),
    )


def _checked(amplitudes: Sequence[float], n_modes: int) -> NDArray[np.float64]:
    """Refuse what cannot be tried; amplitudes as an array."""
    steps = np.asarray(amplitudes, dtype=np.float64)
    if len(steps) < 2 or steps[0] != 0 or (np.diff(steps) <= 0).any():
        raise ConfigError(f"soft_mode has amplitudes = {list(amplitudes)}, expected numbers that ascend from 0, in Å.")
    if n_modes < 1:
        raise ConfigError(f"soft_mode has n_modes = {n_modes}, expected at least 1.")
    return steps


def _patterns(modes: NormalModes, supercell: Supercell, n_modes: int) -> Iterator[tuple[float, NDArray[np.float64]]]:
    """Yield frequency (THz) and displacement pattern of the worst modes, one for each kind of direction."""
    values, first = modes.eigenvalues, 0
    for _ in range(n_modes):
        if modes.frequencies_thz[first] > -_IMAGINARY_THZ:
            return
        last = first + int((values[first:] < values[first] + _DEGENERATE * abs(values[first])).sum())
        vectors = modes.vectors[:, first:last]
        directions = order_parameters(representation(vectors, *symmetry_action(supercell)))
        for direction in directions[:_MOST_DIRECTIONS]:
            pattern = (vectors @ direction).reshape(-1, 3) / np.sqrt(modes.masses)[:, None]
            yield float(modes.frequencies_thz[first]), pattern / np.linalg.norm(pattern, axis=1).max()
        first = last


def _descend(
    pattern: NDArray[np.float64],
    perfect: Atoms,
    calculator: Calculator,
    amplitudes: NDArray[np.float64],
    frequency_thz: float,
) -> Descent:
    """Energies along a pattern."""
    energies = []
    for amplitude in amplitudes:
        moved = perfect.copy()
        moved.positions += amplitude * pattern
        energies.append(_energy(moved, calculator))
    return Descent(frequency_thz, pattern, np.array(energies) - energies[0])


def _energy(atoms: Atoms, calculator: Calculator) -> float:
    """Potential energy, eV."""
    copy = atoms.copy()
    copy.calc = calculator
    with translate_calculator_errors(copy):
        return float(copy.get_potential_energy())


def _relaxed(atoms: Atoms, calculator: Calculator, fmax: float, max_steps: int) -> Atoms:
    """Relax cell and ions within the space group that the distortion left."""
    child: Atoms = atoms.copy()
    child.calc = calculator
    try:
        optimise(child, RelaxSettings(fmax=fmax, max_steps=max_steps), _SYMPREC, keep_symmetry=True)
    finally:
        child.calc = None
    return child


def _wave_vector(phonopy: Phonopy, frequency_thz: float) -> str:
    """Commensurate wave vector with a mode of this frequency, in units of the reciprocal primitive cell."""
    from fractions import Fraction

    from phonopy.harmonic.dynmat_to_fc import get_commensurate_points

    matrix = np.rint(np.linalg.inv(phonopy.primitive.primitive_matrix) @ phonopy.supercell.supercell_matrix)
    qpoints = get_commensurate_points(matrix.astype(int))
    frequencies = np.asarray(phonopy.run_qpoints(qpoints).frequencies)
    nearest = qpoints[int(np.abs(frequencies - frequency_thz).min(axis=1).argmin())]
    return " ".join(str(Fraction(float(number)).limit_denominator(24)) for number in nearest)
