"""The supercell of one crystal in which force constants at a temperature are sought."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

from screen_cli.config import RenormaliseSettings
from screen_cli.physics.anharmonic.double_well import DISPLACED_IS_LOWER
from screen_cli.settings_file import settings_to_dict
from screen_cli.solvers.self_consistent.linear_fit import OrderBasis
from screen_cli.solvers.self_consistent.samples import SampledForces
from screen_cli.solvers.self_consistent.search import Search, SearchOptions
from screen_cli.stages.displace import SupercellSet
from screen_cli.stages.forces import compute_force_set
from screen_cli.stages.stage import Inputs
from screen_cli.store.record import Json

if TYPE_CHECKING:
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

_LEAST_PAIRS = 10
_EQUATIONS_PER_PARAMETER = 4
_REACH = 6.0  # Å, for the shortest bond


@dataclass(frozen=True)
class WarmSupercell:
    """A supercell, what symmetry leaves of its force constants, and the force field on it.

    Parameters
    ----------
    supercell : PhonopyAtoms
        Undisplaced.
    translations : ndarray
        int64 (n_translations, n_atoms): where each lattice translation takes the atoms.
    basis : OrderBasis
        Of second order.
    inputs : Inputs
        Settings and force field.
    """

    supercell: PhonopyAtoms
    translations: NDArray[np.int64]
    basis: OrderBasis
    inputs: Inputs

    @classmethod
    def of(cls, phonopy: Phonopy, inputs: Inputs) -> WarmSupercell:
        """Take the supercell of a Phonopy object."""
        translations = np.asarray(phonopy.primitive.atomic_permutations)
        basis = OrderBasis.of(phonopy.supercell, translations, 2, symprec=phonopy.symmetry.tolerance)
        return cls(phonopy.supercell, translations, basis, inputs)

    def strained(self, strain: NDArray[np.float64]) -> WarmSupercell:
        """Strain it by ε, float64 (3, 3), that breaks no symmetry; atoms are carried along."""
        from phonopy.structure.atoms import PhonopyAtoms

        old = self.supercell
        cell = old.cell @ (np.eye(3) + strain)
        new = PhonopyAtoms(cell=cell, scaled_positions=old.scaled_positions, numbers=old.numbers, masses=old.masses)
        return replace(self, supercell=new)

    @property
    def masses(self) -> NDArray[np.float64]:
        """float64 (n_atoms,), u."""
        return np.asarray(self.supercell.masses, dtype=np.float64)

    @cached_property
    def perfect(self) -> Atoms:
        """The undisplaced supercell."""
        return SupercellSet.of(self.supercell, np.zeros((0, len(self.supercell), 3))).perfect

    @cached_property
    def bond(self) -> float:
        """Shortest bond, Å."""
        return shortest_bond(self.perfect)

    def search(self, temperature: float, rng: np.random.Generator, *, coarser: float = 1.0) -> Search:
        """Prepare a search.

        Parameters
        ----------
        temperature : float
            K.
        rng : numpy.random.Generator
        coarser : float
            Factor of the error of a frequency that is small enough.
        """
        settings: RenormaliseSettings = self.inputs.settings.renormalise
        options = SearchOptions(
            temperature=temperature,
            classical=settings.classical,
            n_pairs=settings.n_pairs or self._pairs_for(self.basis.n_parameters),
            max_iterations=settings.max_iterations,
            max_supercells=settings.max_supercells,
            damping=settings.damping,
            error_thz=coarser * settings.error_thz,
            largest_displacement=settings.melting_share * self.bond,
            largest_disagreement=settings.max_disagreement,
            highest_barrier=DISPLACED_IS_LOWER,
        )
        return Search(self.basis, self.masses, self.evaluate, options, rng)

    def evaluate(self, displacements: NDArray[np.float64]) -> SampledForces:
        """Compute forces with the run's force field on displacements (n_supercells, n_atoms, 3), Å."""
        supercells = SupercellSet.of(self.supercell, displacements)
        found, _ = compute_force_set(supercells, self.inputs.force_field.calculator, self.inputs.settings.forces)
        if found.forces_committee is None:
            return SampledForces(found.forces)
        spread = float(np.sqrt(found.forces_committee.var(axis=0).mean()))
        return SampledForces(found.forces, spread / max(found.force_rms, np.finfo(float).tiny))

    def _pairs_for(self, n_parameters: int) -> int:
        """Pairs of a population: equations for every parameter with a margin, also without a group of the jackknife."""
        return max(_LEAST_PAIRS, math.ceil(_EQUATIONS_PER_PARAMETER * n_parameters / (3 * len(self.supercell))))


def identity_of_samples(inputs: Inputs) -> list[Json]:
    """Give settings and force field that thermal samples depend on, for the key of a stage."""
    settings = settings_to_dict(inputs.settings.renormalise)
    for name in ("enabled", "temperatures", "select", "dim", "compare", "cell"):  # they say which stages there are
        settings.pop(name)
    forces = settings_to_dict(inputs.settings.forces)
    forces.pop("batch_size")
    return [settings, forces, inputs.force_field.identity()]


def shortest_bond(atoms: Atoms) -> float:
    """Shortest distance between two atoms of a crystal, Å."""
    reach = _REACH
    while not len(distances := neighbor_list("d", atoms, reach)):
        reach *= 1.5
    return float(distances.min())
