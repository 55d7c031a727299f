"""Third-order force constants at a temperature, from the samples of a search, and what they say of its free energy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import CalculatorError, UnderdeterminedFitError
from screen_cli.physics.anharmonic.curvature import free_energy_curvature
from screen_cli.physics.anharmonic.density_matrix import signed_frequencies
from screen_cli.solvers.self_consistent.linear_fit import EvenFit, OrderBasis, fit_even_part
from screen_cli.solvers.self_consistent.result import SelfConsistent
from screen_cli.solvers.self_consistent.samples import Pool
from screen_cli.solvers.self_consistent.search import Search

_MARGIN = 1.3
_MOST_PARAMETERS = 9000  # of a dense normal matrix of 0.65 GB
_ROUNDS = 3
_SOFTEST = 6


@dataclass(frozen=True, eq=False)
class ThirdOrder:
    """Third-order force constants of an ensemble.

    Parameters
    ----------
    basis : OrderBasis
    fit : EvenFit
    pool : Pool
        Samples of the fit.
    """

    basis: OrderBasis
    fit: EvenFit
    pool: Pool

    def fc3(self, atoms: NDArray[np.int64]) -> NDArray[np.float64]:
        """Compact force constants of the given first atoms, float64 (n_rows, n_atoms, n_atoms, 3, 3, 3), eV/Å³."""
        return self.basis.expand(self.fit.parameters, atoms)


def fit_third_order(
    search: Search, found: SelfConsistent, basis: OrderBasis, wanted_error: float, most_pairs: int
) -> ThirdOrder:
    """Fit fc3 to the samples of a search, and draw more of the final ensemble until it is known well enough.

    Parameters
    ----------
    search : Search
        Ended.
    found : SelfConsistent
        Its result.
    basis : OrderBasis
        Of third order.
    wanted_error : float
        Of fc3, as a share of its norm.
    most_pairs : int
        Of the whole search, those that say nothing of its result included; the fit goes with what there is then.

    Raises
    ------
    CalculatorError
        A committee disagrees about the further samples by more than the search allows.
    UnderdeterminedFitError
        So many pairs do not determine fc3, or it has more parameters than a dense fit can hold.
    """
    if basis.n_parameters > _MOST_PARAMETERS:
        raise UnderdeterminedFitError(
            f"fc3 has {basis.n_parameters} free parameters, more than {_MOST_PARAMETERS}. Take a smaller supercell "
            "(renormalise.dim), or a cutoff (force_constants.options.cutoff)."
        )
    populations = list(found.pool.populations)
    most_pairs -= search.n_supercells // 2 - sum(map(len, populations))  # of earlier ensembles, too far from the last
    n_atoms = len(search.masses)
    needed = math.ceil(_MARGIN * basis.n_parameters / (3 * n_atoms)) + 1
    if needed > most_pairs:
        raise UnderdeterminedFitError(
            f"fc3 has {basis.n_parameters} free parameters, for which {2 * needed} supercells about the last ensemble "
            f"are needed and renormalise.max_supercells allows {2 * most_pairs}. Raise it, or take a smaller supercell."
        )
    for _ in range(_ROUNDS):
        missing = needed - sum(len(population) for population in populations)
        if missing > 0:
            populations.append(search.draw(found.ensemble, missing))
            if doubt := search.doubt(populations[-1]):
                raise CalculatorError(doubt)
        pool = Pool(populations)
        fit = fit_even_part(basis, pool.displacements, pool.even, pool.weights(found.ensemble))
        n_pairs = sum(len(population) for population in populations)
        if fit.relative_error <= wanted_error or n_pairs >= most_pairs:
            break
        growth = min(1.1 * (fit.relative_error / wanted_error) ** 2, 3.0)
        needed = min(math.ceil(growth * n_pairs), most_pairs)
    return ThirdOrder(basis, fit, pool)


def lowest_curvature(
    found: SelfConsistent,
    third: ThirdOrder,
    temperature: float,
    translations: NDArray[np.int64],
    primitive_atoms: NDArray[np.int64],
) -> float:
    """Lowest curvature of the free energy along the softest modes, as a frequency, THz; negative where it is one.

    Parameters
    ----------
    found, third : results of the search
    temperature : float
        K.
    translations : ndarray
        int64 (n_translations, n_atoms).
    primitive_atoms : ndarray
        int64 (n_primitive,).
    """
    compact = third.fc3(primitive_atoms)
    n_atoms = translations.shape[1]
    values = []
    for mode in range(min(_SOFTEST, len(found.modes.eigenvalues))):
        vector = found.modes.vectors[:, mode].reshape(n_atoms, 3) / np.sqrt(found.modes.masses)[:, None]
        along = np.zeros((n_atoms, n_atoms, 3, 3))
        for row, atom in enumerate(primitive_atoms):
            for moved in translations:
                source = int(np.flatnonzero(moved == atom)[0])
                turned = np.einsum("a,jkabc->jkbc", vector[source], compact[row])
                along += turned[np.ix_(moved, moved)]
        matrix = along.transpose(0, 2, 1, 3).reshape(3 * n_atoms, 3 * n_atoms)
        values.append(free_energy_curvature(found.ensemble, mode, matrix, temperature))
    return float(signed_frequencies(np.array(values)).min())
