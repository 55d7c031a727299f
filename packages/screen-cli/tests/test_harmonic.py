"""Harmonic properties against phonopy's numbers, elastic constants and limits."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from screen_cli.config import DisplaceSettings, ForceConstantsSettings, ForcesSettings, HarmonicSettings
from screen_cli.crystal.born import BornTensors
from screen_cli.errors import ConfigError, RecordError, StructureError
from screen_cli.physics.harmonic.stability import is_stable
from screen_cli.solvers.harmonic_modes import slopes_along
from screen_cli.stages.displace import Displaced
from screen_cli.stages.force_constants import ForceConstants
from screen_cli.stages.harmonic import Harmonic, compute_harmonic

LATTICE = 3.61
SETTINGS = HarmonicSettings(mesh=[11, 11, 11], phase_space=False, temperatures=[300.0, 5000.0], band_points=11)


def copper(lattice: float = LATTICE) -> Any:
    from ase.build import bulk

    return bulk("Cu", "fcc", a=lattice)


def copper_records(lattice: float = LATTICE) -> tuple[Displaced, ForceConstants]:
    """fc2 of EMT copper by finite differences in 108 atoms."""
    return emt_records(copper(lattice), [3, 3, 3])


def emt_records(crystal: Any, dim: list[int]) -> tuple[Displaced, ForceConstants]:
    """fc2 of a crystal by EMT and finite differences."""
    from ase.calculators.emt import EMT

    from screen_cli.solvers.force_constants.finite_difference import FiniteDifferenceSolver
    from screen_cli.stages.displace import displace
    from screen_cli.stages.force_constants import fit_force_constants
    from screen_cli.stages.forces import compute_forces

    settings = DisplaceSettings(dim=dim, distance=0.005)
    displaced = displace(crystal, settings, kind="finite-difference", third_order=False)
    forces = compute_forces(displaced, EMT(), ForcesSettings(subtract_residual=False))
    fit = ForceConstantsSettings(third_order=False)
    return displaced, fit_force_constants(displaced, forces, fit, FiniteDifferenceSolver())


@pytest.fixture(scope="module")
def records() -> tuple[Displaced, ForceConstants]:
    return copper_records()


@pytest.fixture(scope="module")
def harmonic(records: tuple[Displaced, ForceConstants]) -> Harmonic:
    return compute_harmonic(*records, SETTINGS)


def test_heat_capacity_reaches_dulong_petit(harmonic: Harmonic) -> None:
    from scipy.constants import R

    assert harmonic.cv[1] == pytest.approx(3 * R, rel=2e-3)  # 1/N of the modes stand still at Γ
    assert harmonic.cv[0] < 0.98 * 3 * R
    assert harmonic.cv_j_mol_k_atom == harmonic.cv_j_mol_k


def test_heat_capacity_and_displacements_are_phonopys(
    records: tuple[Displaced, ForceConstants], harmonic: Harmonic
) -> None:
    from phonopy import Phonopy

    from screen_cli.stages.phonon_objects import load_phonopy

    ours = load_phonopy(*records)
    phonopy = Phonopy(ours.unitcell, supercell_matrix=ours.supercell_matrix, primitive_matrix="F")
    phonopy.force_constants = records[1].fc2
    phonopy.run_mesh([11, 11, 11], with_eigenvectors=True, is_mesh_symmetry=False, is_gamma_center=True)
    thermal = phonopy.run_thermal_properties(temperatures=[300.0], exclude_gamma_acoustic=True)
    from phonopy.physical_units import get_physical_units
    from scipy.constants import R

    phonopys_r = get_physical_units().KB_J * get_physical_units().Avogadro  # constants of 2006
    expected = float(thermal.heat_capacity[0]) / phonopys_r
    assert harmonic.cv_j_mol_k / R == pytest.approx(expected, rel=1e-6)
    matrices = phonopy.run_thermal_displacement_matrices(temperatures=[300.0], freq_min=1e-2)
    trace = np.trace(np.asarray(matrices.thermal_displacement_matrices)[0, 0]).real
    assert harmonic.max_msd == pytest.approx(trace, rel=1e-6)
    assert harmonic.first_msd == [harmonic.max_msd]
    assert harmonic.msd_by_element == {"Cu": harmonic.max_msd}


def test_irreducible_mesh_gives_what_the_full_mesh_does() -> None:
    """Atom by atom in Cu3Au, whose three copper atoms are equivalent but not at one q: phonopy on every q."""
    from ase import Atoms

    from screen_cli.stages.phonon_objects import load_phonopy

    places = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    alloy = Atoms("AuCu3", scaled_positions=places, cell=[3.75] * 3, pbc=True)
    records = emt_records(alloy, [2, 2, 2])
    settings = dataclasses.replace(SETTINGS, mesh=[11, 11, 11])
    harmonic = compute_harmonic(*records, settings)
    phonopy = load_phonopy(*records)
    phonopy.run_mesh([11, 11, 11], with_eigenvectors=True, is_mesh_symmetry=False, is_gamma_center=True)
    thermal = phonopy.run_thermal_displacements(temperatures=settings.temperatures, freq_min=1e-2)
    msd = np.asarray(thermal.thermal_displacements).reshape(2, 4, 3).sum(axis=2)
    np.testing.assert_allclose(harmonic.msd, msd, rtol=1e-6)
    grid = harmonic.dos_frequencies
    phonopy.run_projected_dos(freq_min=grid[0], freq_max=grid[-1], freq_pitch=grid[1] - grid[0])
    projected = np.asarray(phonopy.projected_dos.projected_dos)
    by_element = np.array([projected[1:].sum(axis=0), projected[0]])  # Cu, Au
    assert list(harmonic.dos_elements) == [29, 79]
    # integrals, which part as the square of the mesh: weights depend on how a cube is cut into tetrahedra
    ours, theirs = (np.cumsum(dos, axis=1) * (grid[1] - grid[0]) for dos in (harmonic.dos_by_element, by_element))
    np.testing.assert_allclose(theirs[:, -1], [9.0, 3.0], rtol=0.02)
    np.testing.assert_allclose(ours, theirs, atol=0.1)


def test_displacements_are_classical_when_hot(records: tuple[Displaced, ForceConstants], harmonic: Harmonic) -> None:
    """⟨u²⟩ → Σ k_B T / (m ω²) / N at high temperature."""
    from ase import units

    weights, frequencies = harmonic.weights, harmonic.frequencies
    omega = 2 * np.pi * frequencies * 1e12 / units.s
    inverse = np.where(frequencies > 1e-2, 1 / np.maximum(omega, 1e-12) ** 2, 0.0)
    mass = copper().get_masses()[0]
    expected = units.kB * 5000 / mass * (weights @ inverse.sum(axis=1)) / weights.sum()
    assert harmonic.msd[1, 0] == pytest.approx(expected, rel=2e-3)


def test_dos_counts_every_mode(harmonic: Harmonic) -> None:
    assert np.trapezoid(harmonic.dos, harmonic.dos_frequencies) == pytest.approx(3.0, rel=0.01)
    np.testing.assert_allclose(harmonic.dos_by_element.sum(axis=0), harmonic.dos, atol=1e-12)


def test_bands_end_at_gamma_with_zero(harmonic: Harmonic) -> None:
    at_gamma = np.abs(harmonic.band_qpoints).max(axis=1) < 1e-12
    assert at_gamma.any()
    assert np.abs(harmonic.band_frequencies[at_gamma]).max() < 1e-3
    assert len(harmonic.band_starts) == len(harmonic.band_connected) + 1
    assert harmonic.band_starts[-1] == len(harmonic.band_distances)
    assert harmonic.band_labels[0] == r"$\Gamma$"


def elastic_constants() -> tuple[float, float, float]:
    """C11, C12, C44 of EMT copper at LATTICE from stress-strain, eV/Å³.

    The crystal is at its own equilibrium lattice constant in the test below, so no stress correction enters.
    """
    from ase.calculators.emt import EMT

    def stress(strain: np.ndarray) -> np.ndarray:
        atoms = copper(equilibrium()).repeat(1)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        atoms.calc = EMT()
        return atoms.get_stress()

    step = 1e-4
    axial = np.zeros((3, 3))
    axial[0, 0] = step
    shear = np.zeros((3, 3))
    shear[1, 2] = shear[2, 1] = step / 2
    along = (stress(axial) - stress(-axial)) / (2 * step)
    across = (stress(shear) - stress(-shear)) / (2 * step)
    return along[0], along[1], across[3]


def equilibrium() -> float:
    from ase.calculators.emt import EMT
    from scipy.optimize import brentq

    def pressure(lattice: float) -> float:
        atoms = copper(lattice)
        atoms.calc = EMT()
        return float(atoms.get_stress()[:3].mean())

    return float(brentq(pressure, 3.5, 3.7))


def test_sound_velocities_follow_from_elastic_constants() -> None:
    from ase import units

    from screen_cli.stages.phonon_objects import load_phonopy

    lattice = equilibrium()
    c11, c12, c44 = elastic_constants()
    density = copper().get_masses()[0] / (lattice**3 / 4)
    directions = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 2, 3]]) / np.sqrt([[1], [2], [3], [14]])
    expected = []
    for n in directions:
        christoffel = (c12 + c44) * np.outer(n, n)
        christoffel[np.diag_indices(3)] = c44 + (c11 - c44) * n**2
        expected.append(np.sqrt(np.linalg.eigvalsh(christoffel) / density))
    slopes = slopes_along(load_phonopy(*copper_records(lattice)), directions)
    metres_per_second = np.array(expected) * units.s / units.m
    np.testing.assert_allclose(slopes, metres_per_second, rtol=0.02)


def test_averages_are_ordered(harmonic: Harmonic) -> None:
    assert harmonic.vs_transverse_m_s < harmonic.vs_longitudinal_m_s
    assert harmonic.vs_m_s < (2 * harmonic.vs_transverse_m_s + harmonic.vs_longitudinal_m_s) / 3
    assert 200 < harmonic.debye_temperature_k < 450


@pytest.mark.parametrize(
    ("gamma", "other", "stable"),
    [(-0.009, 0.1, True), (-0.011, 0.1, False), (0.0, -1e-4, False), (0.0, 0.0, True)],
)
def test_stability_rule(gamma: float, other: float, stable: bool) -> None:
    frequencies = np.array([[gamma, 0.0, 0.0, 3.0], [other, 1.0, 1.0, 3.0]])
    translations = np.array([[True, True, True, False], [False] * 4])
    assert is_stable(frequencies, translations, gamma_tolerance_thz=0.01, tolerance_thz=0.0) is stable


def test_unstable_crystal_is_reported(records: tuple[Displaced, ForceConstants]) -> None:
    """Turning the sign of fc2 makes every mode imaginary: reported, finite, and without sound velocity."""
    turned = dataclasses.replace(records[1], fc2=-records[1].fc2)
    record = compute_harmonic(*(records[0], turned), dataclasses.replace(SETTINGS, mesh=[5, 5, 5]))
    record.to_storage().check_finite("harmonic")
    assert record.stable is False
    assert record.p3 is None
    assert record.min_frequency_thz < -5
    assert record.n_imaginary_modes == 3 * (125 - 1)
    assert "vs_m_s" not in record.to_storage().data


def test_errors(records: tuple[Displaced, ForceConstants]) -> None:
    with pytest.raises(ConfigError, match="three positive"):
        compute_harmonic(*records, HarmonicSettings(mesh=[0, 1, 1]))
    wrong = dataclasses.replace(records[1], fc2=np.zeros((1, 32, 3, 3)))
    with pytest.raises(StructureError, match=r"has shape \(1, 32, 3, 3\), expected \(1, 108, 3, 3\)"):
        compute_harmonic(records[0], wrong, SETTINGS)
    stored = records[0].to_storage()
    with pytest.raises(RecordError, match="no document 'yaml'"):
        Displaced.from_storage(dataclasses.replace(stored, documents={}))
    too_many = BornTensors(np.eye(3) * 3, np.zeros((4, 3, 3)))
    with pytest.raises(StructureError, match="4 Born charges for 1 atoms"):
        compute_harmonic(*records, SETTINGS, born=too_many)
