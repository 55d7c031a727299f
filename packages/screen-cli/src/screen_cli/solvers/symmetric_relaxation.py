r"""Relaxation of cubic crystals in the few coordinates that symmetry leaves free.

A cubic crystal changes its size alone, :math:`e^x` times the cell as given, and its atoms move along the displacement
fields :math:`D_k` that the whole space group leaves as they are:

.. math:: r = e^x (r_0 + \sum_k t_k D_k), \qquad
          \frac{\partial E}{\partial x} = V\, \mathrm{tr}\, \sigma, \qquad
          \frac{\partial E}{\partial t_k} = -e^x \sum_a F_a \cdot D_{ka}.

Where every position is fixed (rocksalt, half-Heusler, perovskite) one unknown is left, the lattice constant: a
root of the pressure, by secants within a bracket. Otherwise a few are (spinel: one more, AB₃C₁₂: two): BFGS, with
their second derivatives from one small step along each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.utils.abc import Optimizable
from numpy.typing import NDArray

from screen_cli.calculators.model_errors import translate_calculator_errors
from screen_cli.crystal.phonopy_cells import SymmetryAction
from screen_cli.crystal.standard_cell import find_symmetry
from screen_cli.errors import CalculatorError

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_CUBIC = 195
MOST_POSITIONS = 6
"""Free coordinates of positions up to which few unknowns are few."""
_BULK_MODULUS = 0.6  # eV/Å³, about 100 GPa: the first guess of a step
_STIFFNESS = 15.0  # eV/Å², of an atom against its neighbours: likewise
_LONGEST_STRETCH = 0.03  # of the logarithm of the lattice constant: a longer step could leave the reach of the forces
_X_TOLERANCE = 3e-7  # of the logarithm of the lattice constant
_FLAT = 0.1  # share of fmax below which the pressure counts as zero
_LONGEST_STEP = 0.1  # Å
_SMALL_STEP = 0.01  # Å, of second derivatives
_EXACT = 1e-8  # Å: operations that hold this well leave nothing to refine


@dataclass
class SymmetricCoordinates(Optimizable):
    """Size and free positions of a cubic crystal, scaled to lengths of like stiffness.

    Parameters
    ----------
    atoms : ase.Atoms
        With calculator; moved in place.
    directions : ndarray
        float64 (n_free, n_atoms, 3), orthonormal: the fields that the space group leaves as they are.
    check : callable
        ``check(forces)`` refuses exploded ones.
    """

    atoms: Atoms
    directions: NDArray[np.float64]
    check: Callable[[NDArray[np.float64]], None]
    n_evaluations: int = field(default=1, init=False)
    x: NDArray[np.float64] = field(init=False)
    residual: float = field(default=np.inf, init=False)

    def __post_init__(self) -> None:
        """Remember where it began."""
        self._cell, self._positions = self.atoms.cell.array.copy(), self.atoms.positions.copy()
        size = np.sqrt(9 * _BULK_MODULUS * self.atoms.cell.volume / _STIFFNESS)  # Å per unit of x
        self.scale = np.array([size, *np.ones(len(self.directions))])
        self.x = np.zeros(1 + len(self.directions))

    def ndofs(self) -> int:
        """Count the unknowns."""
        return len(self.x)

    def get_x(self) -> NDArray[np.float64]:
        """Return them, Å."""
        return self.x.copy()

    def set_x(self, x: NDArray[np.float64]) -> None:
        """Change the crystal."""
        if np.array_equal(x, self.x):
            return
        self.n_evaluations += 1
        self.x = np.array(x, dtype=np.float64)
        size, *amplitudes = self.x / self.scale
        factor = np.exp(size)
        moved = self._positions + np.tensordot(amplitudes, self.directions, axes=1) if amplitudes else self._positions
        self.atoms.set_cell(factor * self._cell)
        self.atoms.set_positions(factor * moved)

    def get_gradient(self) -> NDArray[np.float64]:
        """Return the derivatives of the energy, eV/Å; the residual by which relaxation is judged is renewed."""
        stress = self.atoms.get_stress(voigt=False)
        forces = np.asarray(self.atoms.get_forces())
        self.check(forces)
        along = np.tensordot(self.directions, forces, axes=2)  # n_free
        virial = float(self.atoms.cell.volume * np.trace(stress))
        allowed = np.tensordot(along, self.directions, axes=1) if len(along) else np.zeros((1, 3))
        on_cell = abs(virial) / 3 / len(self.atoms)  # as ASE's FrechetCellFilter weighs it
        self.residual = max(on_cell, float(np.linalg.norm(allowed, axis=1).max()))
        gradient: NDArray[np.float64] = np.array([virial, *(-np.exp(self.x[0] / self.scale[0]) * along)]) / self.scale
        return gradient

    def hessian(self) -> NDArray[np.float64]:
        """Return the second derivatives by forward differences, eV/Å²; the crystal stays where it was."""
        here, gradient = self.get_x(), self.get_gradient()
        rows = []
        for step in _SMALL_STEP * np.eye(len(here)):
            self.set_x(here + step)
            rows.append((self.get_gradient() - gradient) / _SMALL_STEP)
        self.set_x(here)
        return 0.5 * (np.array(rows) + np.array(rows).T)

    def get_value(self) -> float:
        """Return the energy, eV; 0 of models without."""
        return float(self.atoms.calc.results.get("energy", 0.0)) if self.atoms.calc else 0.0

    def iterimages(self) -> Iterator[Atoms]:
        """Yield the crystal."""
        yield self.atoms

    def gradient_norm(self, gradient: NDArray[np.float64]) -> float:
        """Return the length of a step."""
        return float(np.abs(gradient).max())

    def converged(self, gradient: NDArray[np.float64], fmax: float) -> bool:
        """Whether no force and no part of the virial, per atom, is above ``fmax``."""
        return self.residual < fmax


def _operations(atoms: Atoms, symprec: float) -> tuple[SymmetryAction, float]:
    """Find the space group of a crystal, and how well its operations hold: the largest distance from an atom, Å."""
    dataset = find_symmetry(atoms, symprec)
    cell, scaled = atoms.cell.array, atoms.get_scaled_positions()
    moved = scaled @ np.swapaxes(dataset.rotations, 1, 2) + dataset.translations[:, None, :]
    apart = moved[:, :, None, :] - scaled
    distance = np.linalg.norm((apart - np.round(apart)) @ cell, axis=-1)  # operation, atom, atom
    rotations = cell.T @ dataset.rotations @ np.linalg.inv(cell.T)
    strain = np.abs(rotations @ np.swapaxes(rotations, 1, 2) - np.eye(3)).max()
    worst = max(float(distance.min(axis=2).max()), float(strain) * float(np.abs(cell).max()))
    return SymmetryAction(distance.argmin(axis=2), rotations), worst


def free_directions(action: SymmetryAction) -> NDArray[np.float64]:
    """Find the displacement fields that the space group of a crystal leaves as they are.

    Parameters
    ----------
    action : SymmetryAction
        Its operations, as they move the atoms of the primitive cell.

    Returns
    -------
    ndarray
        float64 (n_free, n_atoms, 3), orthonormal, Cartesian.
    """
    permutations, rotations = action
    n_atoms = permutations.shape[1]
    average = np.zeros((n_atoms, 3, n_atoms, 3))
    for permutation, rotation in zip(permutations, rotations, strict=True):
        average[permutation, :, np.arange(n_atoms)] += rotation
    values, vectors = np.linalg.eigh(average.reshape(3 * n_atoms, -1) / len(permutations))
    return vectors.T[values > 0.5].reshape(-1, n_atoms, 3)


def relax_symmetrically(
    atoms: Atoms,
    *,
    fmax: float,
    max_steps: int,
    max_volume_change: float,
    symprec: float,
    check: Callable[[NDArray[np.float64]], None],
) -> int | None:
    """Relax a cubic crystal in place.

    Parameters
    ----------
    atoms : ase.Atoms
        With calculator.
    fmax : float
        eV/Å.
    max_steps : int
        Evaluations at most.
    max_volume_change : float
        |V/V₀ − 1| within which the lattice constant is looked for.
    symprec : float
        Å.
    check : callable
        ``check(forces)`` refuses exploded ones.

    Returns
    -------
    int or None
        Evaluations; None, with the crystal as it was, where too much is free, the minimum is not found within the
        steps, or the potential is so rough that ``fmax`` is not met there.

    Raises
    ------
    CalculatorError
        The lattice constant is all that is free, and the energy falls all the way to ``max_volume_change``.
    """
    from ase.optimize import BFGS
    from ase.spacegroup.symmetrize import refine_symmetry

    before = atoms.copy()
    action, worst = _operations(atoms, symprec)
    if worst > _EXACT:  # a search takes tens of ms where the lattice is centred: those of the refinement are spared
        refine_symmetry(atoms, symprec)
        action, _ = _operations(atoms, symprec)
    directions = free_directions(action)
    if len(directions) <= MOST_POSITIONS:
        coordinates = SymmetricCoordinates(atoms, directions, check)
        with translate_calculator_errors(atoms):
            if not len(directions):
                _find_lattice_constant(coordinates, fmax, max_steps, max_volume_change)
            else:
                optimiser = BFGS(coordinates, logfile=None, maxstep=_LONGEST_STEP)  # type: ignore[arg-type]  # any Optimizable
                optimiser.H0 = coordinates.hessian()
                optimiser.run(fmax=fmax, steps=max_steps)
        if coordinates.residual < fmax:
            return coordinates.n_evaluations
    atoms.set_cell(before.cell)
    atoms.set_positions(before.positions)
    return None


def _find_lattice_constant(
    coordinates: SymmetricCoordinates, fmax: float, max_steps: int, max_volume_change: float
) -> None:
    """Follow secants to the root of the pressure; once two sizes have it between them, never leave these.

    Raises
    ------
    CalculatorError
        The energy falls all the way to one of the bounds, in steps of :data:`_LONGEST_STRETCH` at most.
    """
    scale = float(coordinates.scale[0])
    most = scale * np.log1p(max_volume_change) / 3
    seen: dict[bool, float] = {}  # the largest size at which the energy falls to the right, the smallest where it rises
    here, slope = 0.0, float(coordinates.get_gradient()[0])
    stiffness = _STIFFNESS
    while coordinates.residual > _FLAT * fmax and coordinates.n_evaluations < max_steps:
        seen[slope > 0] = here  # where it rises, the minimum lies to the left
        if len(seen) == 1 and abs(here) >= most:
            raise CalculatorError(
                f"the energy has no minimum within {100 * max_volume_change:.0f} % of the volume as given: it falls as "
                f"the crystal {'shrinks' if here < 0 else 'grows'}. Start from a better lattice constant or raise "
                "relax.max_volume_change; a force field may not bind this crystal at all."
            )
        step = float(np.clip(-slope / stiffness, -scale * _LONGEST_STRETCH, scale * _LONGEST_STRETCH))
        lower, upper = seen.get(False, -most), seen.get(True, most)
        ahead = here + step
        if len(seen) == 1:
            ahead = float(np.clip(ahead, lower, upper))
        elif not lower < ahead < upper:
            ahead = 0.5 * (lower + upper)
        if abs(ahead - here) < scale * _X_TOLERANCE:
            return
        coordinates.set_x(np.array([ahead]))
        before, slope = slope, float(coordinates.get_gradient()[0])
        change = (slope - before) / (ahead - here)
        here, stiffness = ahead, change if change > 0 else stiffness
