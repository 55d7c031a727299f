"""Crystals whose Gaussian averages can be done by hand, as ASE calculators on a few atoms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from phonopy.structure.atoms import PhonopyAtoms
from scipy.optimize import brentq

from screen_cli.physics.anharmonic.density_matrix import mode_variances

NODES, HERMITE = np.polynomial.hermite_e.hermegauss(60)
HERMITE = HERMITE / HERMITE.sum()


class Displaced(Calculator):
    """A potential of the displacements from given positions."""

    implemented_properties = ("energy", "forces")

    def __init__(self, perfect, potential):
        super().__init__()
        self.perfect, self.potential = perfect, potential

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        moved = (self.atoms.positions - self.perfect.positions) @ np.linalg.inv(self.perfect.cell.array)
        energy, forces = self.potential((moved - np.rint(moved)) @ self.perfect.cell.array)
        self.results = {"energy": energy, "forces": forces}


@dataclass(frozen=True)
class Pair:
    """Two atoms whose relative displacement d feels Σ_i (a d_i²/2 + b d_i⁴/4) + c d_x d_y d_z + e d_x d_y d_z |d|²."""

    a: float
    b: float
    c: float = 0.0
    e: float = 0.0

    def __call__(self, displacements):
        d = displacements[0] - displacements[1]
        product, square = d.prod(), d @ d
        others = np.array([d[1] * d[2], d[0] * d[2], d[0] * d[1]])
        energy = (self.a * d**2 / 2 + self.b * d**4 / 4).sum() + product * (self.c + self.e * square)
        slope = self.a * d + self.b * d**3 + others * (self.c + self.e * square) + 2 * self.e * product * d
        return energy, np.array([-slope, slope])

    def stiffness(self, temperature, reduced_mass, *, classical=False):
        """Φ of ⟨V''⟩ = Φ for one component, by quadrature."""

        def excess(stiffness):
            omega = np.sqrt(np.array([stiffness / reduced_mass]))
            width = np.sqrt(mode_variances(omega, temperature, classical=classical)[0] / reduced_mass)
            return HERMITE @ (self.a + 3 * self.b * (width * NODES) ** 2) - stiffness, width

        root = brentq(lambda stiffness: excess(stiffness)[0], 1e-4, 1e4)
        return root, excess(root)[1]


@dataclass(frozen=True)
class Bonds:
    """A simple cubic crystal: k δ²/2 + c δ³/6 + g δ⁴/24 along each bond, and harmonic across it."""

    shape: tuple[int, int, int]
    k: float
    c: float = 0.0
    g: float = 0.0
    across: float = 1.0

    def __call__(self, displacements):
        u = displacements.reshape(*self.shape, 3)
        energy, forces = 0.0, np.zeros_like(u)
        for axis in range(3):
            stretch = np.roll(u, -1, axis=axis) - u
            along = stretch[..., axis]
            energy += (self.k * along**2 / 2 + self.c * along**3 / 6 + self.g * along**4 / 24).sum()
            energy += self.across / 2 * ((stretch**2).sum() - (along**2).sum())
            pull = self.across * stretch
            pull[..., axis] = self.k * along + self.c * along**2 / 2 + self.g * along**3 / 6
            forces += pull - np.roll(pull, 1, axis=axis)
        return energy, forces.reshape(-1, 3)

    def stretches(self, stiffness, temperature, mass):
        """⟨δ²⟩ along a bond of each axis, (3,), where the bonds along axis i have stiffness[i]."""
        angles = np.meshgrid(*[2 * np.pi * np.arange(n) / n for n in self.shape], indexing="ij")
        turns = np.array([2 * (1 - np.cos(angle)) for angle in angles]).reshape(3, -1)[:, 1:]
        result = []
        for axis in range(3):
            springs = np.full(3, self.across)
            springs[axis] = stiffness[axis]
            variances = mode_variances(np.sqrt(springs @ turns / mass), temperature) / mass
            result.append((turns[axis] * variances).sum() / np.prod(self.shape))
        return np.array(result)

    def stiffness(self, temperature, mass):
        """Self-consistent stiffness along the bonds of each axis, (3,)."""
        found = np.full(3, self.k)
        for _ in range(200):
            found = 0.5 * (found + self.k + self.g / 2 * self.stretches(found, temperature, mass))
        return found


def cscl_pair(potential):
    """A cell of two atoms that three orthogonal oscillators hold (two more constants break the inversion)."""
    atoms = Atoms("KBr", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=[4.0] * 3, pbc=True)
    if potential.c or potential.e:
        atoms = Atoms(
            "ZnS",
            scaled_positions=[(0, 0, 0), (0.25, 0.25, 0.25)],
            pbc=True,
            cell=[[0, 2.7, 2.7], [2.7, 0, 2.7], [2.7, 2.7, 0]],
        )
    return atoms, Displaced(atoms, potential)


def simple_cubic(bonds):
    """The supercell of a simple cubic crystal."""
    x, y, z = bonds.shape
    grid = np.stack(np.meshgrid(np.arange(x), np.arange(y), np.arange(z), indexing="ij"), axis=-1).reshape(-1, 3)
    atoms = Atoms("Cu" * len(grid), positions=3.3 * grid, cell=np.diag(bonds.shape) * 3.3, pbc=True)
    return atoms, Displaced(atoms, bonds)


def phonopy_atoms(atoms):
    """Phonopy's view."""
    return PhonopyAtoms(numbers=atoms.numbers, cell=atoms.cell.array, positions=atoms.positions)


def evaluator(calculator):
    """Forces of displaced copies, as a search asks for them."""
    from screen_cli.solvers.self_consistent.samples import SampledForces

    def evaluate(displacements):
        return SampledForces(np.array([calculator.potential(vectors)[1] for vectors in displacements]))

    return evaluate


class WarmSalt(Calculator):
    """Cations and anions on two simple cubic lattices; a d²/2 + b d⁴/4 + c d_x d_y d_z (1 + e d²) between neighbours.

    d is how far a neighbour, one of eight at (±2, ±2, ±2) Å, is from where it should be; c has the sign of the bond.
    With a < 0 every mode is imaginary at 0 K, and the fourth order holds the crystal together when it is warm.
    """

    implemented_properties = ("energy", "forces")

    def __init__(self, a=-0.3, b=20.0, c=1.0, e=0.0):
        super().__init__()
        self.a, self.b, self.c, self.e = a, b, c, e

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        numbers, cell = self.atoms.numbers, self.atoms.cell.array
        cations, anions = np.flatnonzero(numbers == numbers.max()), np.flatnonzero(numbers == numbers.min())
        between = self.atoms.positions[anions][None] - self.atoms.positions[cations][:, None]
        forces, energy = np.zeros((len(numbers), 3)), 0.0
        for signs in np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T:
            d = between - 2.0 * signs
            shift = d @ np.linalg.inv(cell)
            d = (shift - np.rint(shift)) @ cell
            first, second = np.nonzero(np.linalg.norm(d, axis=2) < 1.2)
            d, sign = d[first, second], self.c * signs.prod()
            square = (d**2).sum(axis=1)
            product, more = d.prod(axis=1), 1 + self.e * square
            energy += (self.a * square / 2 + self.b * square**2 / 4 + sign * product * more).sum()
            others = np.stack([d[:, 1] * d[:, 2], d[:, 0] * d[:, 2], d[:, 0] * d[:, 1]], axis=1)
            slope = (self.a + self.b * square + 2 * self.e * sign * product)[:, None] * d
            slope += sign * others * more[:, None]
            np.add.at(forces, anions[second], -slope)
            np.add.at(forces, cations[first], slope)
        self.results = {"energy": energy, "forces": forces}


def warm_salt():
    """The crystal of :class:`WarmSalt`."""
    return Atoms("CsCl", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=[4.0] * 3, pbc=True)
