"""Harmonic properties: stability, heat capacity, sound velocities, displacements, bands and DOS."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from screen_cli.config import HarmonicSettings
from screen_cli.errors import ConfigError
from screen_cli.stages.lattice import load_phonopy
from screen_cli.store.record import Record

if TYPE_CHECKING:
    from phonopy import Phonopy

_N_DIRECTIONS = 200
_SMALL_Q = 0.002  # 1/Å without 2π: small against any zone boundary, large against rounding
_MSD_CUTOFF_THZ = 1e-2  # leaves out the translations at Γ, whose displacement diverges


def compute_harmonic(
    displace_record: Record,
    force_constants: Record,
    settings: HarmonicSettings,
    *,
    born: str | None = None,
    nac_method: str = "gonze",
) -> Record:
    """Compute every harmonic property of one crystal.

    Parameters
    ----------
    displace_record, force_constants : Record
        Of those stages.
    settings : HarmonicSettings
    born : str, optional
        Text of a BORN file.
    nac_method : {"gonze", "wang"}

    Returns
    -------
    Record
        data (temperature-dependent scalars at the first temperature of the settings): ``min_frequency_thz``
        (imaginary modes count negative), ``max_frequency_thz``, ``stable`` (acoustic modes at Γ ≥
        −gamma_tolerance, all others ≥ −tolerance), ``n_imaginary_modes`` on the full mesh, ``cv_j_mol_k`` (J/K per
        mole of primitive cells), ``cv_j_mol_k_atom`` (per mole of atoms), ``max_msd`` Å², ``msd`` list by atom,
        ``msd_by_element``, ``vs_m_s`` (Debye average), ``vs_transverse_m_s``, ``vs_longitudinal_m_s``,
        ``debye_temperature_k`` (absent when an acoustic branch is imaginary near Γ), ``p3`` in ps/rad
        (:mod:`screen_cli.physics.phase_space`), ``mesh``, ``band_labels``.

        arrays: ``qpoints`` (n_irr, 3) fractional, ``weights`` (n_irr,), ``frequencies`` (n_irr, n_bands) THz,
        ``temperatures`` (n_temps,) K, ``cv`` (n_temps,) J/K/mol, ``msd`` (n_temps, n_atoms) Å² summed over x, y, z,
        ``numbers`` (n_atoms,), ``band_distances`` (n_points,) 1/Å without 2π, ``band_frequencies`` (n_points,
        n_bands) THz, ``band_qpoints`` (n_points, 3), ``band_starts`` (n_segments + 1,) first point of each segment,
        ``band_connected`` (n_segments,) 1 where the next segment continues, ``dos_frequencies`` (n_dos,) THz,
        ``dos`` (n_dos,) states/THz per primitive cell, ``dos_by_element`` (n_elements, n_dos),
        ``dos_elements`` (n_elements,) atomic numbers.

    Raises
    ------
    ConfigError
        ``mesh`` is not three positive whole numbers.
    """
    from screen_cli.physics.phase_space import compute_phase_space, phase_space_mesh

    phonopy = load_phonopy(displace_record, force_constants, born=born, nac_method=nac_method)
    temperatures = np.array(settings.temperatures, dtype=np.float64)
    mesh = harmonic_mesh(settings.mesh, settings.mesh_length, phonopy.primitive.cell)
    data: dict[str, Any] = {"mesh": list(mesh)}
    arrays: dict[str, NDArray[Any]] = {
        "temperatures": temperatures,
        "numbers": np.array(phonopy.primitive.numbers, dtype=np.int64),
    }
    _sample_mesh(phonopy, mesh, settings, temperatures, data, arrays)
    _project_on_atoms(phonopy, settings, temperatures, data, arrays)
    data |= sound_velocities(phonopy)
    _trace_bands(phonopy, settings.band_points, data, arrays)
    if settings.phase_space:
        p3_mesh = settings.phase_space_mesh or phase_space_mesh(phonopy.primitive.cell, len(phonopy.primitive))
        data["p3"] = compute_phase_space(phonopy, _checked_mesh(p3_mesh)).total
        data["p3_mesh"] = list(p3_mesh)
    return Record(data, arrays)


def sound_velocities(phonopy: Phonopy) -> dict[str, float]:
    """Average the slopes of the acoustic branches over directions.

    v(q̂) = 2π ν / |k| at small k, over 200 evenly spread directions; the fastest branch counts as longitudinal,
    the two others as transverse. Debye average: 3 v_D⁻³ = Σ_s ⟨v_s⁻³⟩.

    Returns
    -------
    dict
        ``vs_m_s``, ``vs_transverse_m_s``, ``vs_longitudinal_m_s`` in m/s and ``debye_temperature_k`` in K; empty
        when an acoustic branch is imaginary near Γ.
    """
    from phonopy.physical_units import get_physical_units

    slopes = acoustic_slopes(phonopy, _even_directions(_N_DIRECTIONS))
    if slopes.min() <= 0:
        return {}
    units = get_physical_units()
    debye = float(np.mean(slopes**-3.0) ** (-1.0 / 3.0))
    density = len(phonopy.primitive) / (phonopy.primitive.volume * units.Angstrom**3)
    omega = debye * (6 * np.pi**2 * density) ** (1.0 / 3.0)
    return {
        "vs_m_s": debye,
        "vs_transverse_m_s": float(slopes[:, :2].mean()),
        "vs_longitudinal_m_s": float(slopes[:, 2].mean()),
        "debye_temperature_k": float(omega * units.Hbar / units.KB),  # Hbar in eV s, KB in eV/K
    }


def acoustic_slopes(phonopy: Phonopy, directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slopes of the three lowest branches near Γ along Cartesian unit vectors.

    Returns
    -------
    ndarray
        float64 (n_directions, 3), m/s, ascending; negative where imaginary.
    """
    from phonopy.physical_units import get_physical_units

    units = get_physical_units()
    qpoints = _SMALL_Q * directions @ np.asarray(phonopy.primitive.cell).T
    phonopy.run_qpoints(qpoints)
    acoustic = np.sort(np.asarray(phonopy.qpoints.frequencies)[:, :3], axis=1)
    slopes: NDArray[np.float64] = acoustic / _SMALL_Q * units.Angstrom * units.THz
    return slopes


def is_stable(
    frequencies: NDArray[np.float64],
    qpoints: NDArray[np.float64],
    *,
    gamma_tolerance_thz: float,
    tolerance_thz: float,
) -> bool:
    """Apply the stability rule: acoustic modes at Γ ≥ −gamma_tolerance, all others ≥ −tolerance.

    Parameters
    ----------
    frequencies : ndarray
        float64 (n_qpoints, n_bands), THz, imaginary ones negative.
    qpoints : ndarray
        float64 (n_qpoints, 3), fractional.
    """
    at_gamma = np.linalg.norm(qpoints - np.rint(qpoints), axis=1) < 1e-8
    limits = np.full(frequencies.shape, -tolerance_thz)
    for row in np.flatnonzero(at_gamma):
        acoustic = np.argsort(np.abs(frequencies[row]))[:3]
        limits[row, acoustic] = -gamma_tolerance_thz
    return bool(np.all(frequencies >= limits))


def _sample_mesh(
    phonopy: Phonopy,
    mesh: list[int],
    settings: HarmonicSettings,
    temperatures: NDArray[np.float64],
    data: dict[str, Any],
    arrays: dict[str, NDArray[Any]],
) -> None:
    """Frequencies, stability and heat capacity."""
    sampled = phonopy.run_mesh(mesh, with_eigenvectors=True, is_gamma_center=True)
    frequencies, qpoints = np.array(sampled.frequencies), np.array(sampled.qpoints)
    arrays |= {"qpoints": qpoints, "weights": np.array(sampled.weights), "frequencies": frequencies}
    data["min_frequency_thz"] = float(frequencies.min())
    data["max_frequency_thz"] = float(frequencies.max())
    data["stable"] = is_stable(
        frequencies,
        qpoints,
        gamma_tolerance_thz=settings.gamma_tolerance_thz,
        tolerance_thz=settings.tolerance_thz,
    )
    imaginary = np.count_nonzero(frequencies < -settings.gamma_tolerance_thz, axis=1)
    data["n_imaginary_modes"] = int(np.dot(imaginary, sampled.weights))
    with warnings.catch_warnings():
        # the translations at Γ belong in c_v (k_B each); only the free energy, which is not used, suffers from them
        warnings.filterwarnings("ignore", message=".*acoustic mode.*")
        thermal = phonopy.run_thermal_properties(temperatures=temperatures)
    arrays["cv"] = np.array(thermal.heat_capacity)
    data["cv_j_mol_k"] = float(arrays["cv"][0])
    data["cv_j_mol_k_atom"] = float(arrays["cv"][0]) / len(phonopy.primitive)


def _project_on_atoms(
    phonopy: Phonopy,
    settings: HarmonicSettings,
    temperatures: NDArray[np.float64],
    data: dict[str, Any],
    arrays: dict[str, NDArray[Any]],
) -> None:
    """Mean square displacements and density of states of the irreducible mesh, atom by atom.

    Eigenvectors of one q stand for its whole star once |e|² is averaged over equivalent atoms.
    """
    from ase.data import chemical_symbols
    from phonopy.phonon.grid import BZGrid
    from phonopy.phonon.spectrum import TetrahedronDOSAccumulator

    mesh = phonopy.mesh
    n_atoms = len(phonopy.primitive)
    vectors = np.asarray(mesh.eigenvectors)
    shares = (np.abs(vectors.reshape(len(vectors), n_atoms, 3, -1)) ** 2).sum(axis=2)  # qκs
    orbits = np.asarray(phonopy.primitive_symmetry.get_map_atoms())
    for orbit in np.unique(orbits):
        shares[:, orbits == orbit] = shares[:, orbits == orbit].mean(axis=1, keepdims=True)
    shares = shares.transpose(0, 2, 1)  # qsκ
    msd = _mean_square_displacements(
        arrays["frequencies"], arrays["weights"], shares, phonopy.primitive.masses, temperatures
    )
    arrays["msd"] = msd
    data["msd"] = [float(value) for value in msd[0]]
    data["max_msd"] = float(msd[0].max())
    numbers = arrays["numbers"]
    elements = np.unique(numbers)
    data["msd_by_element"] = {chemical_symbols[number]: float(msd[0, numbers == number].mean()) for number in elements}
    spectrum = TetrahedronDOSAccumulator(
        arrays["frequencies"],
        BZGrid(mesh.mesh_numbers, lattice=phonopy.primitive.cell, is_time_reversal=False),
        np.stack([shares[:, :, numbers == number].sum(axis=2) for number in elements], axis=-1)[None],
        ir_grid_points=mesh.ir_grid_points,
        ir_grid_weights=arrays["weights"],
        ir_grid_map=mesh.grid_mapping_table,
        sampling_points=np.linspace(
            min(data["min_frequency_thz"], 0.0), data["max_frequency_thz"] * 1.05, settings.dos_points
        ),
    ).result
    arrays["dos_frequencies"] = np.array(spectrum.sampling_points)
    arrays["dos_elements"] = elements
    arrays["dos_by_element"] = np.ascontiguousarray(spectrum.density[0].T)
    arrays["dos"] = arrays["dos_by_element"].sum(axis=0)


def _mean_square_displacements(
    frequencies: NDArray[np.float64],
    weights: NDArray[Any],
    shares: NDArray[np.float64],
    masses: NDArray[np.float64],
    temperatures: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return ⟨u²⟩ = ħ/(2 N m) Σ |e|² coth(ħω/2kT)/ω, shape (n_temps, n_atoms), Å² summed over x, y, z."""
    from phonopy.physical_units import get_physical_units

    units = get_physical_units()
    counted = frequencies > _MSD_CUTOFF_THZ
    omega = 2 * np.pi * 1e12 * np.where(counted, frequencies, 1.0)
    energy = units.Hbar * omega  # eV
    result = np.empty((len(temperatures), len(masses)))
    for row, temperature in enumerate(temperatures):
        occupied = 1.0 if temperature == 0 else 1 / np.tanh(energy / (2 * units.KB * temperature))
        of_mode = np.where(counted, occupied / omega, 0.0) * weights[:, None]
        result[row] = np.einsum("qs,qsk->k", of_mode, shares)
    scale = units.Hbar * units.EV / (2 * weights.sum() * np.asarray(masses) * units.AMU) / units.Angstrom**2
    return np.asarray(result * scale)


def _trace_bands(phonopy: Phonopy, n_points: int, data: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Band structure along the path of seekpath."""
    from phonopy.phonon.band_structure import get_band_qpoints_by_seekpath

    paths, labels, connections = get_band_qpoints_by_seekpath(phonopy.primitive, n_points)
    bands = phonopy.run_band_structure(paths, path_connections=connections, labels=labels)
    arrays["band_qpoints"] = np.concatenate([np.asarray(path) for path in bands.qpoints])
    arrays["band_distances"] = np.concatenate(bands.distances)
    arrays["band_frequencies"] = np.concatenate(bands.frequencies)
    lengths = [len(distances) for distances in bands.distances]
    arrays["band_starts"] = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    arrays["band_connected"] = np.array(connections, dtype=np.int8)
    data["band_labels"] = [str(label) for label in labels]


def harmonic_mesh(mesh: list[int], length: float, cell: NDArray[np.float64]) -> list[int]:
    """Mesh as given, or n_i = length · |b_i| (b without 2π), at least 1.

    Raises
    ------
    ConfigError
        Not three positive whole numbers.
    """
    if mesh:
        return _checked_mesh(mesh)
    reciprocal = np.linalg.inv(cell).T
    return [max(1, round(length * float(np.linalg.norm(vector)))) for vector in reciprocal]


def _checked_mesh(mesh: list[int]) -> list[int]:
    """Validate three positive whole numbers."""
    if len(mesh) != 3 or any(int(number) != number or number < 1 for number in mesh):
        raise ConfigError(f"mesh is {list(mesh)}, expected three positive whole numbers, e.g. [15, 15, 15].")
    return [int(number) for number in mesh]


def _even_directions(number: int) -> NDArray[np.float64]:
    """Unit vectors spread evenly over the sphere (Fibonacci spiral), shape (number, 3)."""
    index = np.arange(number) + 0.5
    height = 1 - 2 * index / number
    azimuth = np.pi * (1 + np.sqrt(5)) * index
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), height], axis=1)
