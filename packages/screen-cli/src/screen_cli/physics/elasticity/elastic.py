r"""Elastic constants from stress and strain, with clamped and with relaxed ions.

.. math:: \sigma_{ij}(\varepsilon) = \sigma^0_{ij} + C_{ijkl} \varepsilon_{kl} + O(\varepsilon^2)

for six strains of both signs and several sizes; a straight line and a parabola are fitted, the slope is C. It is then
averaged over the point group. At zero stress these are the elastic constants; under a residual stress they are the
stress-strain coefficients of Wallace, which differ from them by terms of the size of that stress.

References
----------
M. Born and K. Huang, Dynamical Theory of Crystal Lattices (Oxford, 1954), sections 11 and 12 (internal strain).
R. Hill, Proc. Phys. Soc. A 65, 349 (1952), doi:10.1088/0370-1298/65/5/307 (averages).
F. Mouhat and F.-X. Coudert, Phys. Rev. B 90, 224104 (2014), doi:10.1103/PhysRevB.90.224104 (stability).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.units import GPa
from numpy.typing import NDArray

from screen_cli.errors import ConfigError, PhysicsError
from screen_cli.physics.elasticity.strain import (
    from_mandel,
    rotate_mandel,
    stiffness_from_voigt,
    stiffness_to_voigt,
    to_mandel,
)

_IDENTITY = to_mandel(np.eye(3))
_DEVIATORIC = np.eye(6) - np.outer(_IDENTITY, _IDENTITY) / 3


@dataclass(frozen=True)
class PolycrystalModuli:
    """Moduli of a polycrystal without texture.

    Parameters
    ----------
    bulk_modulus_gpa : float
        Reuss' average, the response to pressure 1/S_iijj, GPa.
    bulk_modulus_voigt_gpa : float
        Voigt's average, GPa.
    shear_modulus_gpa, young_modulus_gpa : float
        Of Hill's averages, GPa.
    poisson_ratio, pugh_ratio : float
        Of Hill's averages; Pugh's is B/G.
    elastic_anisotropy : float
        Universal index 5 G_V/G_R + B_V/B_R − 6, zero for an isotropic crystal.
    """

    bulk_modulus_gpa: float
    bulk_modulus_voigt_gpa: float
    shear_modulus_gpa: float
    young_modulus_gpa: float
    poisson_ratio: float
    pugh_ratio: float
    elastic_anisotropy: float


@dataclass(frozen=True)
class ElasticTensor:
    """Elastic constants of one crystal, in the Cartesian frame of its cell.

    Parameters
    ----------
    stiffness : ndarray
        float64 (6, 6), eV/Å³, Mandel notation, relaxed ions.
    clamped : ndarray
        The same with the ions carried along by the strain.
    residual_stress : ndarray
        float64 (3, 3), eV/Å³, of the unstrained crystal.
    asymmetry : float
        ‖C − average of C over the point group and of ij with kl‖/‖C‖: noise of the potential.
    """

    stiffness: NDArray[np.float64]
    clamped: NDArray[np.float64]
    residual_stress: NDArray[np.float64]
    asymmetry: float = 0.0

    @property
    def smallest_eigenvalue(self) -> float:
        """Smallest eigenvalue of C, eV/Å³; the crystal is mechanically stable when it is positive."""
        return float(np.linalg.eigvalsh(self.stiffness).min())

    def compliance(self) -> NDArray[np.float64]:
        """Inverse of the stiffness, (6, 6), Å³/eV, Mandel notation.

        Raises
        ------
        PhysicsError
            C is singular or not positive: the crystal is mechanically unstable.
        """
        values = np.linalg.eigvalsh(self.stiffness)
        if not np.isfinite(values).all() or values.min() <= 1e-6 * np.abs(values).max():
            raise PhysicsError(
                f"the elastic tensor has the eigenvalue {values.min() / GPa:.3g} GPa: the crystal is mechanically "
                "unstable, or the model gives no usable stress. Relax the cell first, or give elastic constants."
            )
        return np.array(np.linalg.inv(self.stiffness), dtype=np.float64)

    def averages(self) -> PolycrystalModuli:
        """Bulk and shear moduli of a polycrystal.

        Raises
        ------
        PhysicsError
            As :meth:`compliance`.
        """
        compliance = self.compliance()
        bulk_voigt = float(_IDENTITY @ self.stiffness @ _IDENTITY) / 9
        bulk_reuss = 1.0 / float(_IDENTITY @ compliance @ _IDENTITY)
        shear_voigt = float(np.trace(_DEVIATORIC @ self.stiffness)) / 10
        shear_reuss = 2.5 / float(np.trace(_DEVIATORIC @ compliance))
        bulk, shear = 0.5 * (bulk_voigt + bulk_reuss), 0.5 * (shear_voigt + shear_reuss)
        return PolycrystalModuli(
            bulk_modulus_gpa=bulk_reuss / GPa,
            bulk_modulus_voigt_gpa=bulk_voigt / GPa,
            shear_modulus_gpa=shear / GPa,
            young_modulus_gpa=9 * bulk * shear / (3 * bulk + shear) / GPa,
            poisson_ratio=(3 * bulk - 2 * shear) / (2 * (3 * bulk + shear)),
            pugh_ratio=bulk / shear,
            elastic_anisotropy=5 * shear_voigt / shear_reuss + bulk_voigt / bulk_reuss - 6,
        )

    def voigt_gpa(self, *, clamped: bool = False) -> NDArray[np.float64]:
        """Stiffness (6, 6) in Voigt's notation, order xx yy zz yz xz xy, GPa."""
        return stiffness_to_voigt(self.clamped if clamped else self.stiffness) / GPa


def fit_elastic_tensor(
    steps: NDArray[np.float64],
    clamped: NDArray[np.float64],
    relaxed: NDArray[np.float64],
    *,
    residual_stress: NDArray[np.float64],
    rotations: NDArray[np.float64],
) -> ElasticTensor:
    """Fit a straight line and a parabola to stresses, and average the slope over the point group.

    Parameters
    ----------
    steps : ndarray
        float64 (n_steps,): signed sizes of the strains, along each of the
        :func:`~screen_cli.physics.elasticity.strain.unit_strains`.
    clamped, relaxed : ndarray
        float64 (6, n_steps, 3, 3), eV/Å³: stress by strain and step, with the ions carried along, and relaxed.
    residual_stress : ndarray
        float64 (3, 3), eV/Å³, of the unstrained crystal.
    rotations : ndarray
        float64 (n_operations, 3, 3), orthogonal: the point group, in the frame of the stresses.
    """
    powers = np.stack([np.ones_like(steps), steps, steps**2], axis=1)[:, : 2 if len(steps) == 2 else 3]
    turns = rotate_mandel(rotations)
    raw = []
    for stresses in (clamped, relaxed):
        columns = np.swapaxes(to_mandel(stresses), 0, 1).reshape(len(steps), -1)
        raw.append(np.linalg.lstsq(powers, columns, rcond=None)[0][1].reshape(6, 6).T)  # σ = C ε: column by strain
    mean_clamped, mean_relaxed = (symmetrise_stiffness(matrix, turns) for matrix in raw)
    asymmetry = float(np.linalg.norm(raw[1] - mean_relaxed) / np.linalg.norm(mean_relaxed))
    return ElasticTensor(mean_relaxed, mean_clamped, residual_stress, asymmetry)


def symmetrise_stiffness(stiffness: NDArray[np.float64], rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average a Mandel stiffness (6, 6) with its transpose and over Mandel rotations (n, 6, 6)."""
    mean: NDArray[np.float64] = np.einsum("nij,jk,nlk->il", rotations, stiffness, rotations) / len(rotations)
    return 0.5 * (mean + mean.T)


def stiffness_from_list(values: Sequence[Sequence[float]] | NDArray[np.float64]) -> ElasticTensor:
    """Elastic tensor given by a user: 6 × 6, Voigt, GPa, order xx yy zz yz xz xy.

    Raises
    ------
    ConfigError
        Not a symmetric 6 × 6 matrix of finite numbers.
    """
    matrix = np.array(values, dtype=np.float64)
    if matrix.shape != (6, 6) or not np.isfinite(matrix).all() or not np.allclose(matrix, matrix.T, atol=1e-3):
        raise ConfigError(
            f"stiffness_gpa has shape {matrix.shape}, expected a symmetric 6 × 6 matrix in GPa (Voigt, order xx yy zz "
            "yz xz xy)."
        )
    stiffness = stiffness_from_voigt(matrix) * GPa
    return ElasticTensor(stiffness, stiffness, from_mandel(np.zeros(6)))
