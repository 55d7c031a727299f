"""What the properties of crystals at a temperature give: σ^A, the soft mode with its child, the loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from screen_cli.store.record import Json, TypedRecord, array, columns


@dataclass(frozen=True, kw_only=True, eq=False)
class Anharmonicity(TypedRecord):
    """Share of the forces at temperatures that harmonic force constants do not explain.

    Parameters
    ----------
    temperatures : ndarray
        int64 (n_temps,), K.
    sigma_a, sigma_a_error : ndarray
        float64 (n_temps,): σ^A, and its standard error.
    elements : ndarray
        int64 (n_elements,), atomic numbers.
    sigma_a_by_element : ndarray
        float64 (n_temps, n_elements): σ^A of the atoms of each element.
    """

    temperatures: NDArray[np.int64] = array(np.int64, "n_temps")
    sigma_a: NDArray[np.float64] = array(np.float64, "n_temps")
    sigma_a_error: NDArray[np.float64] = array(np.float64, "n_temps")
    elements: NDArray[np.int64] = array(np.int64, "n_elements")
    sigma_a_by_element: NDArray[np.float64] = array(np.float64, "n_temps", "n_elements")

    @columns
    def by_temperature(self) -> Mapping[str, Json]:
        """``sigma_a_<T>k``, ``sigma_a_<T>k_error`` and ``sigma_a_<T>k_by_element``."""
        found: dict[str, Json] = {}
        for row, kelvin in enumerate(self.temperatures):
            shares = zip(self.elements, self.sigma_a_by_element[row], strict=True)
            found[f"sigma_a_{kelvin}k"] = float(self.sigma_a[row])
            found[f"sigma_a_{kelvin}k_error"] = float(self.sigma_a_error[row])
            found[f"sigma_a_{kelvin}k_by_element"] = {chemical_symbols[n]: float(share) for n, share in shares}
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class SoftMode(TypedRecord):
    """The worst imaginary mode of a crystal, and what it becomes along it; a stable one has its lowest frequency alone.

    Parameters
    ----------
    soft_mode : bool
        Whether a commensurate mode is imaginary.
    soft_mode_thz : float
        Lowest commensurate frequency, THz; imaginary ones negative.
    soft_mode_qpoint : str, optional
        Wave vector of the mode that was followed (the lowest, unless more were tried), in units of the reciprocal
        primitive cell, as fractions.
    soft_mode_directions : int, optional
        Directions of the degenerate modes that symmetry singles out, and that were tried.
    soft_mode_depth_mev : float, optional
        How far the energy falls along the best of them, meV per atom.
    known_children : str, optional
        Phases of lower symmetry that literature reports for this compound, whatever was found here.
    child_id : str, optional
        Of the relaxed child.
    child_space_group : int, optional
    child_symbol : str, optional
        Hermann–Mauguin symbol of its space group.
    child_name, child_doi : str, optional
        The known phase of that space group, and the paper that reports it.
    child_n_atoms : int, optional
        Of its primitive cell.
    child_energy_gain_mev : float, optional
        How far it lies below the parent, meV per atom.
    child_reason : str, optional
        Why there is no child.
    amplitudes : ndarray, optional
        float64 (n_amplitudes,), Å: displacement of the atom that moves most.
    energies : ndarray, optional
        float64 (n_directions, n_amplitudes), eV per supercell, against the undistorted crystal.
    pattern : ndarray, optional
        float64 (n_atoms, 3): displacements of the supercell along the best direction, the largest of length 1.
    child_cell : ndarray, optional
        float64 (3, 3), Å, vectors in rows.
    child_positions : ndarray, optional
        float64 (n_child_atoms, 3), Å, Cartesian.
    child_numbers : ndarray, optional
        int64 (n_child_atoms,).
    """

    soft_mode: bool
    soft_mode_thz: float
    soft_mode_qpoint: str | None = None
    soft_mode_directions: int | None = None
    soft_mode_depth_mev: float | None = None
    known_children: str | None = None
    child_id: str | None = None
    child_space_group: int | None = None
    child_symbol: str | None = None
    child_name: str | None = None
    child_doi: str | None = None
    child_n_atoms: int | None = None
    child_energy_gain_mev: float | None = None
    child_reason: str | None = None
    amplitudes: NDArray[np.float64] | None = array(np.float64, "n_amplitudes", optional=True)
    energies: NDArray[np.float64] | None = array(np.float64, "n_directions", "n_amplitudes", optional=True)
    pattern: NDArray[np.float64] | None = array(np.float64, "n_atoms", 3, optional=True)
    child_cell: NDArray[np.float64] | None = array(np.float64, 3, 3, optional=True)
    child_positions: NDArray[np.float64] | None = array(np.float64, "n_child_atoms", 3, optional=True)
    child_numbers: NDArray[np.int64] | None = array(np.int64, "n_child_atoms", optional=True)

    @property
    def child(self) -> Atoms | None:
        """The relaxed child; None where there is none."""
        if self.child_numbers is None or self.child_positions is None or self.child_cell is None:
            return None
        return Atoms(numbers=self.child_numbers, positions=self.child_positions, cell=self.child_cell, pbc=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class Loop(TypedRecord):
    """First-order shift of the frequencies by fourth-order force constants within a cutoff.

    Parameters
    ----------
    n_params_fc4 : int
        Free parameters of fc4.
    temperatures : ndarray
        int64 (n_temps,), K.
    frequencies, bare_frequencies : ndarray
        float64 (n_temps, n_modes), THz, ascending, imaginary ones negative: of the supercell's own wave vectors, with
        the loop and without it.
    """

    n_params_fc4: int
    temperatures: NDArray[np.int64] = array(np.int64, "n_temps")
    frequencies: NDArray[np.float64] = array(np.float64, "n_temps", "n_modes")
    bare_frequencies: NDArray[np.float64] = array(np.float64, "n_temps", "n_modes")

    @columns
    def by_temperature(self) -> Mapping[str, Json]:
        """``loop_<T>k_min_thz``, lowest frequency with the loop, and ``loop_<T>k_bare_min_thz`` without it, THz."""
        found: dict[str, Json] = {}
        for row, kelvin in enumerate(self.temperatures):
            found[f"loop_{kelvin}k_min_thz"] = float(self.frequencies[row].min())
            found[f"loop_{kelvin}k_bare_min_thz"] = float(self.bare_frequencies[row].min())
        return found
