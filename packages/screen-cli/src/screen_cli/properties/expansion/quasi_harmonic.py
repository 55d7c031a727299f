r"""Quasi-harmonic volume scan: the thermal expansion once more, without Grüneisen parameters or elastic constants.

At each volume the cell's shape and its ions are relaxed, force constants are found by finite differences, and
:math:`F(V, T) = E(V) + F_\mathrm{ph}(V, T)` is minimised over V with an equation of state (phonopy's ``run_qha``).
It holds where the Grüneisen formula, a linear response at the static volume, does not: at high temperature the
crystal softens as it expands, so the two part company there.

References
----------
A. Togo and I. Tanaka, Scr. Mater. 108, 1 (2015), doi:10.1016/j.scriptamat.2015.07.021.
P. Vinet et al., J. Phys.: Condens. Matter 1, 1941 (1989), doi:10.1088/0953-8984/1/11/002.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from ase.calculators.calculator import BaseCalculator
from numpy.typing import NDArray

from screen_cli.calculators.model_errors import translate_calculator_errors
from screen_cli.config import RelaxSettings
from screen_cli.crystal.phonopy_cells import ase_cell
from screen_cli.errors import ConfigError, PhysicsError, PluginError
from screen_cli.physics.harmonic.stability import find_translations, is_stable
from screen_cli.properties.expansion.deformation import SYMPREC, strained
from screen_cli.properties.expansion.gruneisen import DISTANCE, deformed_phonopy
from screen_cli.solvers.harmonic_modes import solve_mesh
from screen_cli.stages.relax import optimise

if TYPE_CHECKING:
    from ase import Atoms
    from phonopy import Phonopy
    from phonopy.qha.qha import QHAResult
    from spglib import SpglibDataset

logger = logging.getLogger(__name__)

VOLUMES = (0.97, 0.98, 0.99, 1.0, 1.01, 1.02, 1.035, 1.05, 1.065)
_FEWEST = 5  # of phonopy's fit
_CUBIC = 195
_SMALL_THZ = 0.01
_JUMP = 1.0  # in γ between neighbouring intervals; a judgement: NaCl at a model's cutoff jumps by 3.6


@dataclass(frozen=True)
class QuasiHarmonic:
    """Result of a volume scan, as far in temperature as the crystal stays within the volumes scanned.

    Parameters
    ----------
    temperatures : ndarray
        float64 (n_temps,), K.
    beta : ndarray
        float64 (n_temps,), volumetric expansion, 1/K.
    alpha_axes : ndarray or None
        float64 (n_temps, 3), 1/K, along the conventional axes; None for monoclinic and triclinic crystals.
    volume : ndarray
        float64 (n_temps,), Å³ per primitive cell.
    bulk_modulus : ndarray
        float64 (n_temps,), isothermal, eV/Å³.
    gamma : ndarray
        float64 (n_temps,), thermodynamic Grüneisen parameter β B V / C_V.
    volumes, energies : ndarray
        float64 (n_volumes,), Å³ and eV per primitive cell: the scan.
    scan_gamma : ndarray
        float64 (n_volumes − 1,), −Δ⟨ln ω⟩/Δ ln V between neighbouring volumes.
    n_unstable : int
        Volumes left out because of imaginary modes.
    warning : str
        Why the scan should not be trusted; empty when there is no reason.
    """

    temperatures: NDArray[np.float64]
    beta: NDArray[np.float64]
    alpha_axes: NDArray[np.float64] | None
    volume: NDArray[np.float64]
    bulk_modulus: NDArray[np.float64]
    gamma: NDArray[np.float64]
    volumes: NDArray[np.float64]
    energies: NDArray[np.float64]
    scan_gamma: NDArray[np.float64]
    n_unstable: int
    warning: str


def scan_volumes(
    phonopy: Phonopy,
    calculator: BaseCalculator,
    mesh: Sequence[int],
    temperatures: Sequence[float],
    *,
    volumes: Sequence[float] = VOLUMES,
    distance: float = DISTANCE,
    fmax: float = 1e-4,
    eos: str = "vinet",
) -> QuasiHarmonic:
    """Scan the volume and minimise the free energy.

    Parameters
    ----------
    phonopy : Phonopy
        Of the relaxed crystal; gives cell, supercell and primitive cell.
    calculator : ase.calculators.calculator.BaseCalculator
        With energy, and with stress unless the crystal is cubic.
    mesh : sequence of int
        The same at every volume.
    temperatures : sequence of float
        K, ascending, above zero; the last one only serves differences.
    volumes : sequence of float
        Relative to the relaxed cell.
    distance : float
        Displacement, Å.
    fmax : float
        Convergence of the relaxations, eV/Å.
    eos : {"vinet", "birch_murnaghan", "murnaghan"}

    Raises
    ------
    ConfigError
        Fewer than five volumes, or bad ones.
    PhysicsError
        Fewer than five volumes are stable, or the free energy has no minimum among them.
    CalculatorError
        The calculator failed.
    """
    _require_qha()
    ratios = np.sort(np.array(volumes, dtype=np.float64))
    if len(ratios) < _FEWEST or ratios.min() < 0.5 or ratios.max() > 2:
        raise ConfigError(f"volumes are {list(volumes)}, expected at least {_FEWEST} ratios near 1, e.g. 0.97 to 1.06.")
    scanned = [_phonons_at(ratio, phonopy, calculator, mesh, distance=distance, fmax=fmax) for ratio in ratios.tolist()]
    stable = [volume for volume in scanned if volume is not None]
    n_unstable = len(scanned) - len(stable)
    if len(stable) < _FEWEST:
        raise PhysicsError(
            f"{n_unstable} of {len(ratios)} volumes have imaginary modes, {len(stable)} are left and {_FEWEST} "
            "needed. Scan a narrower range of volumes."
        )
    phonopys, energies = [volume[0] for volume in stable], [volume[1] for volume in stable]
    logarithms = [volume[2] for volume in stable]
    result = _minimise(phonopys, energies, temperatures, mesh, eos)
    inside = _inside(result.equilibrium_volumes, result.volumes)
    if inside < 2:
        first = result.equilibrium_volumes[0] / phonopy.primitive.volume
        raise PhysicsError(
            f"the free energy has its minimum at V/V0 = {first:.3f}, outside the volumes scanned. Scan larger volumes."
        )
    scan_gamma = -np.diff(logarithms) / np.diff(np.log(result.volumes))
    used = slice(1, inside)  # phonopy's first value is a placeholder
    axes = None if result.lattice is None else np.array(result.lattice.axial_thermal_expansions[used])
    return QuasiHarmonic(
        np.array(result.temperatures[used]),
        np.array(result.thermal_expansion[used]),
        axes,
        np.array(result.equilibrium_volumes[used]),
        np.array(result.bulk_moduli[used]),
        np.array(result.gruneisen_parameters[used]),
        np.array(result.volumes),
        np.array(energies),
        scan_gamma,
        n_unstable,
        _warning(scan_gamma, np.array(result.volumes) / phonopy.primitive.volume),
    )


def _require_qha() -> None:
    """Refuse a phonopy without its volume scan before anything is computed."""
    try:
        from phonopy import run_qha  # noqa: F401
    except ImportError as error:
        raise PluginError("the volume scan needs phonopy 4.4 or newer: pip install -U phonopy.") from error


def _minimise(
    phonopys: list[Phonopy], energies: list[float], temperatures: Sequence[float], mesh: Sequence[int], eos: str
) -> QHAResult:
    """Minimise the free energy over the volumes at each temperature."""
    from phonopy import run_qha

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # angles of monoclinic cells; temperatures without a minimum
        try:
            return run_qha(
                phonopys,
                temperatures,
                energies,
                mesh=list(mesh),
                eos=eos,
                exclude_gamma_acoustic=True,
                lattice_fit_degree=2,
            )
        except (RuntimeError, ValueError, IndexError) as error:
            raise PhysicsError(
                f"the free energy has no minimum in the volumes scanned ({error}). Scan more."
            ) from error


def _phonons_at(
    ratio: float, phonopy: Phonopy, calculator: BaseCalculator, mesh: Sequence[int], *, distance: float, fmax: float
) -> tuple[Phonopy, float, float] | None:
    """Phonons, energy (eV per primitive cell) and mean ln ω at V/V0 = ``ratio``; None when a mode is imaginary."""
    cell = strained(ase_cell(phonopy.unitcell), (ratio ** (1 / 3) - 1) * np.eye(3))
    cubic = cast("SpglibDataset", phonopy.primitive_symmetry.dataset).number >= _CUBIC
    energy = _relax_at_volume(cell, calculator, relax_cell=not cubic, fmax=fmax)
    scaled = deformed_phonopy(cell, phonopy, calculator, distance)
    logger.info("scanned the volume V/V0 = %.3f", ratio)
    mean_logarithm = _mean_logarithm(scaled, mesh)
    if mean_logarithm is None:
        return None
    return scaled, energy * len(scaled.primitive) / len(cell), mean_logarithm


def _inside(equilibrium: NDArray[np.float64], scanned: NDArray[np.float64]) -> int:
    """Give the number of temperatures, from the first, whose volume lies between those scanned."""
    outside = np.flatnonzero((equilibrium < scanned.min()) | (equilibrium > scanned.max()))
    return int(outside[0]) if len(outside) else len(equilibrium)


def _relax_at_volume(atoms: Atoms, calculator: BaseCalculator, *, relax_cell: bool, fmax: float) -> float:
    """Relax ions, and the shape of the cell, in place; return the energy, eV."""
    atoms.calc = calculator
    try:
        settings = RelaxSettings(relax_cell=relax_cell, fmax=fmax)
        optimise(atoms, settings, SYMPREC, keep_symmetry=True, constant_volume=True)
        with translate_calculator_errors(atoms):
            return float(atoms.get_potential_energy())
    finally:
        atoms.calc = None


def _mean_logarithm(phonopy: Phonopy, mesh: Sequence[int]) -> float | None:
    """Mean ln ω of the mesh without the translations; None when a mode is imaginary."""
    sampled = solve_mesh(phonopy, mesh)
    frequencies, qpoints = np.array(sampled.frequencies), np.array(sampled.qpoints)
    translations = find_translations(qpoints, np.asarray(sampled.eigenvectors), np.asarray(phonopy.primitive.masses))
    if not is_stable(frequencies, translations, gamma_tolerance_thz=_SMALL_THZ, tolerance_thz=0.0):
        return None
    logarithms = np.log(np.maximum(frequencies, _SMALL_THZ))
    moving = frequencies > _SMALL_THZ
    weights = np.asarray(sampled.weights)[:, None] * moving
    return float((weights * logarithms).sum() / weights.sum())


def _warning(scan_gamma: NDArray[np.float64], ratios: NDArray[np.float64]) -> str:
    """Say where the phonons jump from one volume to the next."""
    jumps = np.abs(np.diff(scan_gamma))
    if not len(jumps) or jumps.max() <= _JUMP:
        return ""
    worst = int(np.argmax(jumps)) + 1
    return (
        f"the Grüneisen parameter jumps from {scan_gamma[worst - 1]:.2f} to {scan_gamma[worst]:.2f} near V/V0 = "
        f"{ratios[worst]:.3f}: a shell of neighbours may leave the range of the model there. Scan other volumes, or "
        "trust the Grüneisen formula."
    )
