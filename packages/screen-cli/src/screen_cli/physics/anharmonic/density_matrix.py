r"""The harmonic density matrix: displacements of a crystal whose force constants are known, at a temperature.

In the mass-weighted normal coordinates :math:`q_\mu = \sum_i \sqrt{m_i}\, e_{\mu i} u_i` of a supercell the
displacements are independent and normal, with

.. math:: \sigma_\mu^2 = \frac{\hbar}{2\omega_\mu} \coth\frac{\hbar\omega_\mu}{2 k_B T}
   \quad\text{(quantum)}, \qquad \sigma_\mu^2 = \frac{k_B T}{\omega_\mu^2} \quad\text{(classical)}.

The three translations do not move. An imaginary mode has no width of its own: it is sampled with :math:`|\omega|`,
but no less than a floor, which is how a search for self-consistent force constants starts where 0 K has a saddle.

References
----------
I. Errea, M. Calandra and F. Mauri, Phys. Rev. B 89, 064302 (2014), Eq. 8, doi:10.1103/PhysRevB.89.064302.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import units
from numpy.typing import NDArray

from screen_cli.errors import PhysicsError

HBAR = units._hbar * units.J * units.second
"""ħ in eV times ASE's unit of time, Å √(u/eV)."""
THZ = units.second / (2 * np.pi * 1e12)
"""Frequency in THz of an angular frequency of one in ASE's units."""


@dataclass(frozen=True, eq=False)
class NormalModes:
    """Normal modes of a supercell without its translations.

    Parameters
    ----------
    vectors : ndarray
        float64 (3 n_atoms, 3 n_atoms − 3), mass-weighted eigenvectors in columns.
    eigenvalues : ndarray
        float64 (3 n_atoms − 3,), ω² in eV/(Å² u), negative for imaginary modes, ascending.
    masses : ndarray
        float64 (n_atoms,), u.
    """

    vectors: NDArray[np.float64]
    eigenvalues: NDArray[np.float64]
    masses: NDArray[np.float64]

    @property
    def frequencies_thz(self) -> NDArray[np.float64]:
        """Frequencies, float64 (3 n_atoms − 3,), THz; imaginary ones negative."""
        return signed_frequencies(self.eigenvalues)

    def project(self, fc2: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the expectation values of other force constants in these modes.

        Parameters
        ----------
        fc2 : ndarray
            float64 (n_atoms, n_atoms, 3, 3), eV/Å².

        Returns
        -------
        ndarray
            float64 (3 n_atoms − 3,), eV/(Å² u): ω² to first order in the change.
        """
        dynamical = dynamical_matrix(fc2, self.masses)
        values: NDArray[np.float64] = np.einsum("im,im->m", self.vectors, dynamical @ self.vectors)
        return values


@dataclass(frozen=True, eq=False)
class ThermalEnsemble:
    """Normal distribution of the displacements of a supercell.

    Parameters
    ----------
    modes : NormalModes
    variances : ndarray
        float64 (n_modes,), σ² of the mass-weighted normal coordinates, u Å².
    """

    modes: NormalModes
    variances: NDArray[np.float64]

    def displace(self, coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn standard normal coordinates into displacements.

        Parameters
        ----------
        coordinates : ndarray
            float64 (n_samples, n_modes), dimensionless.

        Returns
        -------
        ndarray
            float64 (n_samples, n_atoms, 3), Å.
        """
        masses = self.modes.masses
        weighted = (coordinates * np.sqrt(self.variances)) @ self.modes.vectors.T
        return np.asarray(weighted.reshape(len(coordinates), len(masses), 3) / np.sqrt(masses)[:, None])

    def limited(self, largest: float) -> ThermalEnsemble:
        """Cut soft modes until atoms move no more than ``largest`` Å (root mean square)."""
        if self.root_mean_squares().max() <= largest:
            return self
        low, high = 0.0, float(self.variances.max())
        for _ in range(60):
            middle = 0.5 * (low + high)
            cut = ThermalEnsemble(self.modes, np.minimum(self.variances, middle))
            low, high = (middle, high) if cut.root_mean_squares().max() <= largest else (low, middle)
        return ThermalEnsemble(self.modes, np.minimum(self.variances, low))

    def draw(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw displacements, float64 (n_samples, n_atoms, 3), Å.

        Noise is drawn atom by atom and only then expressed in the modes: a state of the generator gives one sample,
        whichever basis a library chose within degenerate modes.
        """
        noise = rng.standard_normal((n_samples, len(self.modes.vectors)))
        return self.displace(noise @ self.modes.vectors)

    def log_density(self, displacements: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithm of the probability density, up to a constant that all ensembles of the supercell share.

        Parameters
        ----------
        displacements : ndarray
            float64 (n_samples, n_atoms, 3), Å.

        Returns
        -------
        ndarray
            float64 (n_samples,).
        """
        weighted = displacements * np.sqrt(self.modes.masses)[:, None]
        coordinates = weighted.reshape(len(displacements), -1) @ self.modes.vectors
        exponent: NDArray[np.float64] = -0.5 * (coordinates**2 / self.variances).sum(axis=1)
        return exponent - 0.5 * float(np.log(self.variances).sum())

    def covariance(self) -> NDArray[np.float64]:
        """⟨u u⟩, float64 (n_atoms, n_atoms, 3, 3), Å²."""
        masses = self.modes.masses
        shape = (len(masses), 3, len(masses), 3)
        matrix = ((self.modes.vectors * self.variances) @ self.modes.vectors.T).reshape(shape)
        scale = 1 / np.sqrt(masses[:, None] * masses)
        return np.asarray(matrix.transpose(0, 2, 1, 3) * scale[:, :, None, None])

    def root_mean_squares(self) -> NDArray[np.float64]:
        """√⟨|u|²⟩ of each atom, float64 (n_atoms,), Å."""
        shares: NDArray[np.float64] = (self.modes.vectors**2).reshape(len(self.modes.masses), 3, -1).sum(axis=1)
        return np.sqrt(shares @ self.variances / self.modes.masses)


def normal_modes(fc2: NDArray[np.float64], masses: NDArray[np.float64]) -> NormalModes:
    """Diagonalise the dynamical matrix of a supercell at its Γ, translations projected out.

    Parameters
    ----------
    fc2 : ndarray
        float64 (n_atoms, n_atoms, 3, 3), eV/Å².
    masses : ndarray
        float64 (n_atoms,), u.

    Raises
    ------
    PhysicsError
        Force constants are not finite, a mass is not positive, or there is one atom only, which cannot move.
    """
    n_atoms = len(masses)
    if fc2.shape != (n_atoms, n_atoms, 3, 3):
        raise PhysicsError(f"fc2 has shape {fc2.shape}, expected {(n_atoms, n_atoms, 3, 3)}: the full array.")
    if not np.isfinite(fc2).all() or not (masses > 0).all():
        raise PhysicsError("normal modes need finite force constants and positive masses.")
    if n_atoms < 2:
        raise PhysicsError("a supercell of one atom has no normal modes but translations. Take a larger one.")
    dynamical = dynamical_matrix(fc2, masses)
    translations = np.kron(np.sqrt(masses / masses.sum())[:, None], np.eye(3))  # 3n, 3
    outside = np.eye(3 * n_atoms) - translations @ translations.T
    projected = outside @ dynamical @ outside
    above = 2 * float(np.abs(projected).sum(axis=1).max()) + 1  # beyond every eigenvalue
    values, vectors = np.linalg.eigh(projected + above * translations @ translations.T)
    return NormalModes(vectors[:, :-3], values[:-3], masses)


def dynamical_matrix(fc2: NDArray[np.float64], masses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mass-weighted force constants, symmetric, float64 (3 n_atoms, 3 n_atoms), eV/(Å² u)."""
    scaled = fc2 / np.sqrt(masses[:, None] * masses)[:, :, None, None]
    matrix = scaled.transpose(0, 2, 1, 3).reshape(3 * len(masses), -1)
    return np.asarray(0.5 * (matrix + matrix.T))


def thermal_ensemble(
    modes: NormalModes, temperature: float, *, classical: bool = False, floor_thz: float = 0.0
) -> ThermalEnsemble:
    """Widths of the modes at a temperature.

    Parameters
    ----------
    modes : NormalModes
    temperature : float
        K; 0 leaves the zero-point motion.
    classical : bool
        Without zero-point motion and quantum freezing.
    floor_thz : float
        Imaginary modes are sampled with |ω|/2π, but at least this, THz.

    Raises
    ------
    PhysicsError
        The temperature is negative, or a mode has no restoring force and there is no floor.
    """
    if not temperature >= 0 or not np.isfinite(temperature):
        raise PhysicsError(f"the temperature is {temperature} K, expected a number from 0 on.")
    frequencies = np.sqrt(np.abs(modes.eigenvalues))
    frequencies = np.where(modes.eigenvalues > 0, frequencies, np.maximum(frequencies, floor_thz / THZ))
    if (frequencies == 0).any():
        raise PhysicsError("a mode has no restoring force: its width is infinite. Set a floor for its frequency.")
    return ThermalEnsemble(modes, mode_variances(frequencies, temperature, classical=classical))


def mode_variances(
    frequencies: NDArray[np.float64], temperature: float, *, classical: bool = False
) -> NDArray[np.float64]:
    """σ² of normal coordinates.

    Parameters
    ----------
    frequencies : ndarray
        float64 (n_modes,), angular, ASE's units √(eV/(Å² u)), positive.
    temperature : float
        K.
    classical : bool

    Returns
    -------
    ndarray
        float64 (n_modes,), u Å².
    """
    thermal = units.kB * temperature
    if classical:
        return np.asarray(thermal / frequencies**2)
    half = HBAR / (2 * frequencies)
    if thermal == 0:
        return np.asarray(half)
    with np.errstate(over="ignore"):
        return np.asarray(half / np.tanh(HBAR * frequencies / (2 * thermal)))


def signed_frequencies(eigenvalues: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frequencies in THz of ω² in eV/(Å² u); imaginary ones negative."""
    return np.asarray(np.sign(eigenvalues) * np.sqrt(np.abs(eigenvalues)) * THZ)
