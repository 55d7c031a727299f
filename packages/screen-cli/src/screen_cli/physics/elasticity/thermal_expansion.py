r"""Thermal expansion from mode Grüneisen tensors and elastic constants.

.. math::

    \alpha_{ij}(T) = \frac{1}{N_q V} \sum_{kl} S_{ijkl} \sum_{qs} C_{qs}(T) \gamma^{kl}_{qs}, \qquad
    \beta = \alpha_{xx} + \alpha_{yy} + \alpha_{zz}, \qquad
    \bar\gamma_{kl}(T) = \frac{\sum C_{qs} \gamma^{kl}_{qs}}{\sum C_{qs}}

with the heat capacity C of a mode at constant strain, the volume V of the primitive cell, and the compliance S of the
crystal with relaxed ions. For a cubic crystal this is α = γ̄ C_V/(3 B V).

References
----------
T. H. K. Barron, J. G. Collins and G. K. White, Adv. Phys. 29, 609 (1980), Eqs. 2.21-2.27,
doi:10.1080/00018738000101426.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import ConfigError
from screen_cli.physics.elasticity.gruneisen import ModeGruneisen
from screen_cli.physics.elasticity.strain import from_mandel, symmetrise, to_mandel
from screen_cli.physics.harmonic.heat_capacity import mode_heat_capacity


@dataclass(frozen=True)
class Expansion:
    """Thermal expansion of one crystal.

    Parameters
    ----------
    temperatures : ndarray
        float64 (n_temps,), K.
    alpha : ndarray
        float64 (n_temps, 3, 3), 1/K, Cartesian.
    gamma : ndarray
        float64 (n_temps, 3, 3), mean Grüneisen tensor weighted with the heat capacity.
    heat_capacity : ndarray
        float64 (n_temps,), eV/K per primitive cell, without the translations at Γ.
    """

    temperatures: NDArray[np.float64]
    alpha: NDArray[np.float64]
    gamma: NDArray[np.float64]
    heat_capacity: NDArray[np.float64]

    @property
    def beta(self) -> NDArray[np.float64]:
        """Volumetric expansion (n_temps,), 1/K."""
        trace: NDArray[np.float64] = np.trace(self.alpha, axis1=1, axis2=2)
        return trace

    @property
    def gamma_mean(self) -> NDArray[np.float64]:
        """Mean volumetric Grüneisen parameter (n_temps,)."""
        trace: NDArray[np.float64] = np.trace(self.gamma, axis1=1, axis2=2) / 3
        return trace

    def along(self, direction: NDArray[np.float64]) -> NDArray[np.float64]:
        """Linear expansion n·α·n along a vector (3,), (n_temps,), 1/K."""
        unit = direction / np.linalg.norm(direction)
        values: NDArray[np.float64] = np.einsum("i,tij,j->t", unit, self.alpha, unit)
        return values


def compute_expansion(
    modes: ModeGruneisen,
    compliance: NDArray[np.float64],
    volume: float,
    rotations: NDArray[np.float64],
    temperatures: Sequence[float],
) -> Expansion:
    """Sum the modes (formulas above).

    Parameters
    ----------
    modes : ModeGruneisen
    compliance : ndarray
        float64 (6, 6), Å³/eV, Mandel notation, in the frame of the tensors.
    volume : float
        Of the primitive cell, Å³.
    rotations : ndarray
        float64 (n_operations, 3, 3): point group that spreads the irreducible q points.
    temperatures : sequence of float
        K, above zero.

    Raises
    ------
    ConfigError
        A temperature that is not above zero.
    """
    kelvin = np.array(temperatures, dtype=np.float64)
    if kelvin.ndim != 1 or not len(kelvin) or not np.isfinite(kelvin).all() or kelvin.min() <= 0:
        raise ConfigError(f"temperatures are {list(temperatures)}, expected numbers above 0 K.")
    share = modes.weights / modes.weights.sum()
    capacities = np.where(modes.translations, 0.0, mode_heat_capacity(modes.frequencies, kelvin))
    total = np.einsum("q,tqs->t", share, capacities)
    driving = symmetrise(np.einsum("q,tqs,qskl->tkl", share, capacities, modes.tensors), rotations)
    alpha = from_mandel(to_mandel(driving) @ compliance.T / volume)
    with np.errstate(divide="ignore", invalid="ignore"):
        gamma = np.where(total[:, None, None] > 0, driving / total[:, None, None], 0.0)
    return Expansion(kelvin, alpha, gamma, total)
