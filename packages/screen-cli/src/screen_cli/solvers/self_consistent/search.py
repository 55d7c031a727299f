r"""The search for force constants that reproduce themselves at a temperature.

Φ(T) solves :math:`\Phi = \langle V'' \rangle_\Phi`: force constants fitted to the forces on displacements that are
drawn from their own density matrix. Each population of ± pairs is drawn from the latest Φ; older ones are
reweighted, and as far as the effective sample size allows the fixed point is followed without new forces, by steps

.. math:: \Phi \leftarrow \Phi + \alpha\,(\langle V'' \rangle_\Phi - \Phi).

The damping α matters: for a quartic oscillator the undamped map jumps between two values for ever. It starts as
given, and follows the response of the residual r to the last step, α = −Δp·Δr/Δr·Δr. The search ends when the
samples at hand hold no further step, a population that had no part in Φ gives it back within its own statistical
error, and that error is small enough.

Φ stays positive all the way. Where the potential curves downwards on average, along a mode of a deep well, the step is
bounded instead: the distribution becomes wider by at most a factor of two in its variance, population after population,
until the walls of the well hold it (the Gaussian variational principle has such a solution for every well that rises
faster than it falls), or until the atoms move further than a crystal survives. A guess that was too wide, or few
samples of the walls, may lead there, too: before the crystal counts as unstable, the search begins again narrower.

References
----------
J. Barzilai and J. Borwein, IMA Journal of Numerical Analysis 8, 141 (1988), Eq. 6, doi:10.1093/imanum/8.1.141.
P. Souvatzis, O. Eriksson, M. I. Katsnelson and S. P. Rudin, Phys. Rev. Lett. 100, 095901 (2008),
doi:10.1103/PhysRevLett.100.095901.
I. Errea, M. Calandra and F. Mauri, Phys. Rev. B 89, 064302 (2014), doi:10.1103/PhysRevB.89.064302.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from screen_cli.physics.anharmonic.density_matrix import THZ, ThermalEnsemble, normal_modes, thermal_ensemble
from screen_cli.physics.anharmonic.positive import bounded_step, stiffened
from screen_cli.physics.anharmonic.reweighting import effective_sample_size, overlap
from screen_cli.solvers.self_consistent.linear_fit import LinearFit, OrderBasis, fit_with_replicas
from screen_cli.solvers.self_consistent.result import SelfConsistent, State, Step
from screen_cli.solvers.self_consistent.samples import Evaluate, Pool, Population, draw_population
from screen_cli.solvers.self_consistent.wells import highest_barrier

logger = logging.getLogger(__name__)

_GROUPS = 8  # of the jackknife
_INNER = 40
_LEAST_DAMPING = 0.05
_RELATIVE = 0.02  # of a frequency: an error that is small enough whatever error_thz says
_PATIENCE = 4  # populations, after which they grow
_GROWTH = 1.3
_FLOOR = 0.1  # of the highest frequency: how soft a mode is sampled at first if it is imaginary, later in any case
_STARTS = (1.0, 2.0, 4.0)  # how much stiffer, where the one before led too far
_WIDER = 2.0  # how much the variance along a mode may grow in one step
_AGREES = 2.0  # root mean square deviation of a fresh population, in its standard errors
_AT_REST = 0.1  # of the standard error, root mean square: the fixed point of a pool is found


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How a search goes about it.

    Parameters
    ----------
    temperature : float
        K.
    classical : bool
        Without zero-point motion.
    n_pairs : int
        ± pairs of the first population.
    max_iterations : int
        Populations at most.
    max_supercells : int
        Force evaluations at most.
    damping : float
        α, above 0, at most 1.
    error_thz : float
        Standard error of a frequency that is small enough, THz; 2 % of the frequency where that is more.
    least_share : float
        What the latest population is worth for other force constants, as a share, below which new forces are needed.
    largest_displacement : float
        Root mean square displacement of an atom at which the crystal counts as molten, Å.
    largest_disagreement : float
        Of a committee, as a share of the force.
    highest_barrier : float
        In the middle of the well of a mode, in its thermal energies, from which a lower symmetry wins.
    """

    temperature: float
    classical: bool = False
    n_pairs: int = 12
    max_iterations: int = 20
    max_supercells: int = 1000
    damping: float = 0.5
    error_thz: float = 0.05
    least_share: float = 0.5
    largest_displacement: float = math.inf
    largest_disagreement: float = math.inf
    highest_barrier: float = math.inf


@dataclass(eq=False)
class Search:
    """A search in one supercell.

    Parameters
    ----------
    basis : OrderBasis
        Of second order.
    masses : ndarray
        float64 (n_atoms,), u.
    evaluate : callable
        Forces on displaced supercells.
    options : SearchOptions
    rng : numpy.random.Generator
    """

    basis: OrderBasis
    masses: NDArray[np.float64]
    evaluate: Evaluate
    options: SearchOptions
    rng: np.random.Generator
    populations: list[Population] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    at_rest: bool = False
    barrier: float | None = None
    damping: float = field(init=False)
    before: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None  # parameters and residual of the last step
    errors: NDArray[np.float64] | float = 0.0  # of the frequencies of the latest parameters, THz
    curvature: NDArray[np.float64] = field(init=False)  # parameters of ⟨V''⟩ over the latest ensemble

    def run(self, start: NDArray[np.float64]) -> SelfConsistent:
        """Search from force constants (n_atoms, n_atoms, 3, 3), eV/Å², which may have imaginary modes."""
        options, n_pairs, starts = self.options, self.options.n_pairs, self._starts(start)
        parameters = self._begin(next(starts))
        has_fallen = False
        while True:
            population = self.draw(self._ensemble(parameters), n_pairs)
            if doubt := self.doubt(population):
                return self._end("force_field", parameters, doubt)
            deviation = self._deviation(parameters, population)
            parameters, error, worth = self._follow(parameters)
            lowest = float(normal_modes(self._expand(self.curvature), self.masses).frequencies_thz[0])
            self.steps.append(Step(len(population), lowest, deviation, error, worth))
            logger.debug("%s", self.steps[-1])
            if self._falls(population):
                has_fallen, narrower = True, next(starts, None)
                if narrower is None or self._is_spent:
                    return self._end("unstable", self.curvature, self._fallen(lowest))
                parameters = self._begin(narrower)
                continue
            if self.at_rest and deviation <= _AGREES:
                self.barrier = self._highest_barrier(parameters)
                if self.barrier > options.highest_barrier:
                    return self._end("unstable", parameters, _off_centre(self.barrier, options))
                if error <= options.error_thz:
                    return self._end("converged", parameters)
            if self._is_spent and has_fallen and lowest < 0:
                return self._end("unstable", self.curvature, self._fallen(lowest))
            if self._is_spent:
                return self._end("not_converged", parameters, self._unconverged(deviation, error))
            n_pairs = self._next_number(deviation, error)

    def _begin(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """Forget how an earlier start went; its samples stay. Return the parameters to start from."""
        self.damping, self.before, self.at_rest = self.options.damping, None, False
        self.errors, self.curvature = 0.0, parameters
        return parameters

    def _starts(self, start: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        """Yield parameters to start from, soft modes ever stiffer: from inside the well the walls are seen."""
        modes = normal_modes(start, self.masses)
        highest = float(np.abs(modes.frequencies_thz).max())
        softest = float(modes.frequencies_thz[0])
        for factor in _STARTS:
            if factor == _STARTS[0] or softest < factor * _FLOOR * highest:  # another guess than the one before
                yield self.basis.parameters_of(stiffened(modes, _FLOOR * highest, factor))

    def _highest_barrier(self, parameters: NDArray[np.float64]) -> float:
        """Barrier of the wells that the samples at hand show."""
        ensemble = self._ensemble(parameters)
        pool = Pool.near(self.populations, ensemble)
        return highest_barrier(ensemble, pool, pool.weights(ensemble))

    def _falls(self, population: Population) -> bool:
        """Whether the potential still curves downwards when the atoms move as far as a crystal survives."""
        lowest = normal_modes(self._expand(self.curvature), self.masses).frequencies_thz[0]
        errors = np.broadcast_to(self.errors, (1,) if np.ndim(self.errors) == 0 else np.shape(self.errors))
        return bool(self._is_cut(population.ensemble) and lowest < -errors[0])

    def _is_cut(self, ensemble: ThermalEnsemble) -> bool:
        """Whether an ensemble moves the atoms as far as it may."""
        return bool(ensemble.root_mean_squares().max() > 0.999 * self.options.largest_displacement)

    def _next_number(self, deviation: float, error: float) -> int:
        """Pairs of the next population: more where only the error is too large."""
        options, total = self.options, sum(len(population) for population in self.populations)
        left = (options.max_supercells - self.n_supercells) // 2
        settled = sum(step.min_frequency_thz > 0 for step in self.steps)
        wanted = math.ceil(options.n_pairs * _GROWTH ** max(settled - _PATIENCE, 0))
        if self.at_rest and deviation <= 2 * _AGREES and error > options.error_thz:
            wanted = max(wanted, min(math.ceil(total * ((error / options.error_thz) ** 2 - 1)), 2 * total))
        return max(min(wanted, left), options.n_pairs)

    def draw(self, ensemble: ThermalEnsemble, n_pairs: int) -> Population:
        """Draw one more population."""
        population = draw_population(ensemble, n_pairs, self.evaluate, self.basis, self.rng)
        self.populations.append(population)
        return population

    def doubt(self, population: Population) -> str:
        """Say how far a committee disagrees about a population; empty where that is not too far."""
        limit = self.options.largest_disagreement
        if (population.disagreement or 0.0) <= limit:
            return ""
        return (
            f"the committee's forces differ by {population.disagreement:.0%} on thermal displacements (limit "
            f"{limit:.0%}): the force field does not know them"
        )

    def _ensemble(self, parameters: NDArray[np.float64]) -> ThermalEnsemble:
        """Ensemble of positive force constants, no wider than where the crystal melts."""
        options, modes = self.options, normal_modes(self._expand(parameters), self.masses)
        ensemble = thermal_ensemble(modes, options.temperature, classical=options.classical)
        return ensemble.limited(options.largest_displacement)

    def _follow(self, parameters: NDArray[np.float64]) -> tuple[NDArray[np.float64], float, float]:
        """Follow the fixed point as far as the samples reach; parameters, error of frequencies, effective pairs."""
        latest = self.populations[-1].ensemble
        pool = Pool.near(self.populations, latest)
        odd, designs = pool.odd.reshape(len(pool.displacements), -1), pool.designs
        worth = error = 0.0
        for inner in range(_INNER):
            ensemble = self._ensemble(parameters)
            if inner and overlap(ensemble, latest) < self.options.least_share:
                self.at_rest = False
                break
            weights = pool.weights(ensemble)
            worth = effective_sample_size(weights)
            fit = fit_with_replicas(designs, odd, weights, self._n_groups(len(weights)))
            change, errors = self._compare(parameters, fit)
            self.errors, self.curvature = errors, fit.parameters
            tolerated = np.maximum(self.options.error_thz, _RELATIVE * np.abs(self.frequencies_of(fit)))
            error = self.options.error_thz * float((errors / tolerated).max())
            if inner and self._is_cut(ensemble) and self.frequencies_of(fit)[0] < 0:
                self.at_rest = False  # wider than a crystal survives, where the samples say wider still
                break
            residual = fit.parameters - parameters
            if self.before is not None:
                self.damping = _damping(parameters - self.before[0], residual - self.before[1], self.damping)
            self.before = parameters, residual
            self.at_rest = _root_mean_square(change / errors) < _AT_REST
            if self.at_rest:
                break
            wanted = self._expand(parameters + self.damping * residual)
            parameters = self.basis.parameters_of(bounded_step(ensemble.modes, wanted, _WIDER))
        return parameters, error, worth

    def _deviation(self, parameters: NDArray[np.float64], population: Population) -> float:
        """How far a population's own fit is from the force constants it was drawn from, in standard errors of both."""
        weights = np.full(len(population), 1 / len(population))
        odd = population.odd.reshape(len(population), -1)
        fit = fit_with_replicas(population.designs, odd, weights, self._n_groups(len(population)))
        change, errors = self._compare(parameters, fit)
        return _root_mean_square(change / np.hypot(errors, self.errors))

    def _compare(
        self, parameters: NDArray[np.float64], fit: LinearFit
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Change of the frequencies from parameters to a fit, and their standard errors, (n_modes,), THz."""
        modes = normal_modes(self._expand(parameters), self.masses)
        squares = modes.project(self._expand(fit.parameters))
        replicas = np.array([modes.project(self._expand(replica)) for replica in fit.replicas])
        # dω = dω²/2ω; where the mode is as soft as its error, ω itself is no scale
        scale = 2 * np.sqrt(np.maximum(np.abs(squares), fit.standard_errors(replicas))) / THZ
        tiny = 1e-6 * float(np.abs(modes.frequencies_thz).max())
        errors = np.maximum(fit.standard_errors(replicas) / scale, tiny)
        return (squares - modes.eigenvalues) / scale, errors

    def frequencies_of(self, fit: LinearFit) -> NDArray[np.float64]:
        """Frequencies of a fit, float64 (n_modes,), THz, ascending, imaginary ones negative."""
        return normal_modes(self._expand(fit.parameters), self.masses).frequencies_thz

    def _end(self, state: State, parameters: NDArray[np.float64], reason: str = "") -> SelfConsistent:
        """Collect the result, and look whether it is a crystal."""
        modes = normal_modes(self._expand(parameters), self.masses)
        settled = self.at_rest and modes.eigenvalues[0] > 0
        reached = self._ensemble(parameters) if settled else self.populations[-1].ensemble
        pool = Pool.near(self.populations, reached)
        weights = pool.weights(reached)
        errors = np.broadcast_to(self.errors, modes.eigenvalues.shape).copy()
        if state in ("converged", "not_converged") and self._is_cut(reached):
            limit = self.options.largest_displacement
            state, reason = "melts", f"atoms move by more than {limit:.2f} Å (root mean square): the crystal melts"
        return SelfConsistent(
            state,
            reason,
            self._expand(parameters),
            modes,
            errors,
            reached,
            pool,
            weights,
            tuple(self.steps),
            self.barrier,
        )

    def _fallen(self, lowest: float) -> str:
        """Say that nothing holds the crystal."""
        return (
            f"a mode stays imaginary ({lowest:.2f} THz) even where atoms move by "
            f"{self.options.largest_displacement:.2f} Å (root mean square): a lower symmetry wins"
        )

    def _unconverged(self, deviation: float, error: float) -> str:
        """Say what is missing."""
        return (
            f"not converged after {len(self.steps)} populations and {self.n_supercells} supercells: the last one "
            f"deviates by {deviation:.1f} standard errors (limit {_AGREES:g}), and frequencies are known to "
            f"{error:.3f} THz (wanted {self.options.error_thz:g})"
        )

    def _expand(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """Full force constants."""
        return self.basis.expand(parameters, np.arange(len(self.masses)))

    @property
    def _is_spent(self) -> bool:
        """Whether no further population may be drawn."""
        options = self.options
        return len(self.steps) >= options.max_iterations or self.n_supercells >= options.max_supercells

    @property
    def n_supercells(self) -> int:
        """Supercells evaluated, of all populations."""
        return 2 * sum(len(population) for population in self.populations)

    @staticmethod
    def _n_groups(n_samples: int) -> int:
        """Count the groups of the jackknife."""
        return min(_GROUPS, n_samples)


def _damping(step: NDArray[np.float64], response: NDArray[np.float64], last: float) -> float:
    """Next damping from the response of the residual to the last step."""
    square = float(response @ response)
    return float(np.clip(-(step @ response) / square, _LEAST_DAMPING, 1.0)) if square > 0 else last


def _off_centre(barrier: float, options: SearchOptions) -> str:
    """Say that the crystal would rather be in one of two minima."""
    return (
        f"the well of a mode has two minima with a barrier of {barrier:.1f} times its thermal energy between them "
        f"(limit {options.highest_barrier:.1f}): a lower symmetry wins"
    )


def _root_mean_square(values: NDArray[np.float64]) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(values**2)))
