"""Samples of thermal ensembles as ± pairs, and the forces on them split by parity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from screen_cli.physics.anharmonic.density_matrix import ThermalEnsemble
from screen_cli.physics.anharmonic.reweighting import balance_weights, overlap
from screen_cli.solvers.self_consistent.linear_fit import OrderBasis

_SAYS_SOMETHING = 0.05  # of the samples of an earlier ensemble


class SampledForces(NamedTuple):
    """What the force field says of displaced supercells.

    Parameters
    ----------
    forces : ndarray
        float64 (n_supercells, n_atoms, 3), eV/Å.
    disagreement : float or None
        Root mean square spread of a committee's force components over their root mean square; None for one model.
    """

    forces: NDArray[np.float64]
    disagreement: float | None = None


Evaluate = Callable[[NDArray[np.float64]], SampledForces]
"""Displacements (n_supercells, n_atoms, 3), Å, to forces."""


@dataclass(frozen=True, eq=False)
class Population:
    """Pairs drawn from one ensemble, with their forces.

    Parameters
    ----------
    ensemble : ThermalEnsemble
    displacements : ndarray
        float64 (n_pairs, n_atoms, 3), Å: one of each pair.
    odd, even : ndarray
        float64 (n_pairs, n_atoms, 3), eV/Å: [F(u) ∓ F(−u)]/2.
    designs : ndarray
        float64 (n_pairs, 3 n_atoms, n_parameters), of second order.
    disagreement : float or None
        As in :class:`SampledForces`.
    """

    ensemble: ThermalEnsemble
    displacements: NDArray[np.float64]
    odd: NDArray[np.float64]
    even: NDArray[np.float64]
    designs: NDArray[np.float64]
    disagreement: float | None = None

    def __len__(self) -> int:
        return len(self.displacements)


def draw_population(
    ensemble: ThermalEnsemble, n_pairs: int, evaluate: Evaluate, basis: OrderBasis, rng: np.random.Generator
) -> Population:
    """Draw pairs and compute the forces on both partners."""
    plus = ensemble.draw(n_pairs, rng)
    pairs = np.stack([plus, -plus], axis=1).reshape(-1, *plus.shape[1:])
    forces, disagreement = evaluate(pairs)
    return Population(
        ensemble,
        plus,
        0.5 * (forces[0::2] - forces[1::2]),
        0.5 * (forces[0::2] + forces[1::2]),
        basis.design(plus),
        disagreement,
    )


@dataclass(frozen=True, eq=False)
class Pool:
    """Several populations as one weighted sample.

    Parameters
    ----------
    populations : sequence of Population
    """

    populations: Sequence[Population]

    @classmethod
    def near(cls, populations: Sequence[Population], ensemble: ThermalEnsemble) -> Pool:
        """Take the latest population, and those before it that say something about an ensemble."""
        *older, latest = populations
        return cls([*(item for item in older if overlap(ensemble, item.ensemble) > _SAYS_SOMETHING), latest])

    def weights(self, ensemble: ThermalEnsemble) -> NDArray[np.float64]:
        """Weights of all pairs for an ensemble, float64 (n_pairs,), sum 1."""
        displacements = self.displacements
        sources = np.array([population.ensemble.log_density(displacements) for population in self.populations])
        counts = [len(population) for population in self.populations]
        return balance_weights(ensemble.log_density(displacements), sources, counts)

    @property
    def displacements(self) -> NDArray[np.float64]:
        """One of each pair, float64 (n_pairs, n_atoms, 3), Å."""
        return np.concatenate([population.displacements for population in self.populations])

    @property
    def odd(self) -> NDArray[np.float64]:
        """Odd parts of the forces, float64 (n_pairs, n_atoms, 3), eV/Å."""
        return np.concatenate([population.odd for population in self.populations])

    @property
    def even(self) -> NDArray[np.float64]:
        """Even parts of the forces, float64 (n_pairs, n_atoms, 3), eV/Å."""
        return np.concatenate([population.even for population in self.populations])

    @property
    def designs(self) -> NDArray[np.float64]:
        """Design matrices of second order, float64 (n_pairs, 3 n_atoms, n_parameters)."""
        return np.concatenate([population.designs for population in self.populations])
