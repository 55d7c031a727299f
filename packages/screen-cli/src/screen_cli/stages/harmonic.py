"""Harmonic properties: stability, heat capacity, sound velocities, displacements, bands and DOS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ase import units
from ase.data import chemical_symbols
from numpy.typing import NDArray

from screen_cli.config import HarmonicSettings
from screen_cli.errors import ConfigError
from screen_cli.physics.bands import Solver, follow_bands
from screen_cli.physics.heat_capacity import heat_capacity
from screen_cli.physics.mean_square_displacement import mean_square_displacements, shares_of_atoms
from screen_cli.physics.phase_space import phase_space_mesh
from screen_cli.physics.sound_velocity import (
    SoundVelocities,
    acoustic_slopes,
    average_sound_velocities,
    even_directions,
)
from screen_cli.physics.stability import count_imaginary, find_translations, is_stable
from screen_cli.stages.lattice import load_phonopy
from screen_cli.store.record import Record

if TYPE_CHECKING:
    from phonopy import Phonopy

_N_DIRECTIONS = 200
_SMALL_Q = 0.002  # 1/Å without 2π: small against any zone boundary, large against rounding
_MSD_CUTOFF_THZ = 1e-2  # modes below are imaginary, or so soft that the harmonic displacement means nothing


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
        data (temperature-dependent scalars at the first temperature of the settings): ``min_frequency_thz`` (imaginary
        modes count negative), ``max_frequency_thz``, ``stable`` (translations at Γ ≥ −gamma_tolerance, all others ≥
        −tolerance), ``n_imaginary_modes`` on the full mesh, ``cv_j_mol_k`` (J/K per mole of primitive cells, without
        the translations at Γ), ``cv_j_mol_k_atom`` (per mole of atoms), ``max_msd`` Å², ``msd`` list by atom,
        ``msd_by_element``, ``vs_m_s`` (Debye average), ``vs_transverse_m_s``, ``vs_longitudinal_m_s``,
        ``debye_temperature_k`` (absent when an acoustic branch is imaginary near Γ), ``p3`` in ps/rad
        (:mod:`screen_cli.physics.phase_space`), ``mesh``, ``band_labels``.

        arrays: ``qpoints`` (n_irr, 3) fractional, ``weights`` (n_irr,), ``frequencies`` (n_irr, n_bands) THz,
        ``temperatures`` (n_temps,) K, ``cv`` (n_temps,) J/K/mol, ``msd`` (n_temps, n_atoms) Å² summed over x, y, z,
        ``numbers`` (n_atoms,), ``band_distances`` (n_points,) 1/Å without 2π, ``band_frequencies`` (n_points, n_bands)
        THz, each column one branch through its crossings, ``band_qpoints`` (n_points, 3), ``band_starts`` (n_segments +
        1,) first point of each segment, ``band_connected`` (n_segments,) 1 where the next segment continues,
        ``dos_frequencies`` (n_dos,) THz, ``dos`` (n_dos,) states/THz per primitive cell, ``dos_by_element``
        (n_elements, n_dos), ``dos_elements`` (n_elements,) atomic numbers.

    Raises
    ------
    ConfigError
        ``mesh`` is not three positive whole numbers.
    """
    from screen_cli.solvers.phase_space import compute_phase_space

    phonopy = load_phonopy(displace_record, force_constants, born=born, nac_method=nac_method)
    temperatures = np.array(settings.temperatures, dtype=np.float64)
    mesh = harmonic_mesh(settings.mesh, settings.mesh_length, phonopy.primitive.cell)
    data: dict[str, Any] = {"mesh": list(mesh)}
    arrays: dict[str, NDArray[Any]] = {
        "temperatures": temperatures,
        "numbers": np.array(phonopy.primitive.numbers, dtype=np.int64),
    }
    _sample_mesh(phonopy, mesh, settings, data, arrays)
    sound = sound_velocities(phonopy)
    if sound is not None:
        data |= {
            "vs_m_s": sound.debye,
            "vs_transverse_m_s": sound.transverse,
            "vs_longitudinal_m_s": sound.longitudinal,
            "debye_temperature_k": sound.debye_temperature,
        }
    _trace_bands(phonopy, settings.band_points, data, arrays)
    if settings.phase_space:
        p3_mesh = settings.phase_space_mesh or phase_space_mesh(phonopy.primitive.cell, len(phonopy.primitive))
        data["p3"] = compute_phase_space(phonopy, _checked_mesh(p3_mesh)).total
        data["p3_mesh"] = list(p3_mesh)
    return Record(data, arrays)


def sound_velocities(phonopy: Phonopy) -> SoundVelocities | None:
    """Average the slopes of the acoustic branches over 200 directions; None when one is imaginary near Γ."""
    slopes = slopes_along(phonopy, even_directions(_N_DIRECTIONS))
    return average_sound_velocities(slopes, len(phonopy.primitive) / float(phonopy.primitive.volume))


def slopes_along(phonopy: Phonopy, directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slopes of the three lowest branches near Γ along Cartesian unit vectors (n_directions, 3).

    Returns
    -------
    ndarray
        float64 (n_directions, 3), m/s, ascending; negative where imaginary.
    """
    phonopy.run_qpoints(_SMALL_Q * directions @ np.asarray(phonopy.primitive.cell).T)
    return acoustic_slopes(np.asarray(phonopy.qpoints.frequencies), _SMALL_Q)


def _sample_mesh(
    phonopy: Phonopy,
    mesh: list[int],
    settings: HarmonicSettings,
    data: dict[str, Any],
    arrays: dict[str, NDArray[Any]],
) -> None:
    """Frequencies, stability, heat capacity and mean square displacements."""
    sampled = phonopy.run_mesh(mesh, with_eigenvectors=True, is_gamma_center=True)
    frequencies, qpoints = np.array(sampled.frequencies), np.array(sampled.qpoints)
    weights, vectors = np.array(sampled.weights), np.asarray(sampled.eigenvectors)
    masses, temperatures = np.asarray(phonopy.primitive.masses), arrays["temperatures"]
    translations = find_translations(qpoints, vectors, masses)
    arrays |= {"qpoints": qpoints, "weights": weights, "frequencies": frequencies}
    data["min_frequency_thz"] = float(frequencies.min())
    data["max_frequency_thz"] = float(frequencies.max())
    gamma_tolerance = settings.gamma_tolerance_thz
    data["stable"] = is_stable(
        frequencies, translations, gamma_tolerance_thz=gamma_tolerance, tolerance_thz=settings.tolerance_thz
    )
    data["n_imaginary_modes"] = count_imaginary(frequencies, weights, tolerance_thz=gamma_tolerance)
    vibrating = ~translations & (frequencies > -gamma_tolerance)
    arrays["cv"] = heat_capacity(frequencies, weights, vibrating, temperatures) * units.mol / units.J
    data["cv_j_mol_k"] = float(arrays["cv"][0])
    data["cv_j_mol_k_atom"] = float(arrays["cv"][0]) / len(masses)
    shares = shares_of_atoms(vectors, np.asarray(phonopy.primitive_symmetry.get_map_atoms()))
    msd = mean_square_displacements(
        frequencies,
        weights,
        shares,
        ~translations & (frequencies > _MSD_CUTOFF_THZ),
        masses=masses,
        temperatures=temperatures,
    )
    arrays["msd"] = msd
    data["msd"] = [float(value) for value in msd[0]]
    data["max_msd"] = float(msd[0].max())
    numbers = arrays["numbers"]
    data["msd_by_element"] = {
        chemical_symbols[number]: float(msd[0, numbers == number].mean()) for number in np.unique(numbers)
    }
    _count_states(phonopy, shares, settings.dos_points, data, arrays)


def _count_states(
    phonopy: Phonopy,
    shares: NDArray[np.float64],
    n_points: int,
    data: dict[str, Any],
    arrays: dict[str, NDArray[Any]],
) -> None:
    """Density of states of the irreducible mesh by tetrahedra, element by element."""
    from phonopy.phonon.grid import BZGrid
    from phonopy.phonon.spectrum import TetrahedronDOSAccumulator

    mesh, numbers = phonopy.mesh, arrays["numbers"]
    elements = np.unique(numbers)
    spectrum = TetrahedronDOSAccumulator(
        arrays["frequencies"],
        BZGrid(mesh.mesh_numbers, lattice=phonopy.primitive.cell, is_time_reversal=False),
        np.stack([shares[:, :, numbers == number].sum(axis=2) for number in elements], axis=-1)[None],
        ir_grid_points=mesh.ir_grid_points,
        ir_grid_weights=arrays["weights"],
        ir_grid_map=mesh.grid_mapping_table,
        sampling_points=np.linspace(min(data["min_frequency_thz"], 0.0), data["max_frequency_thz"] * 1.05, n_points),
    ).result
    arrays["dos_frequencies"] = np.array(spectrum.sampling_points)
    arrays["dos_elements"] = elements
    arrays["dos_by_element"] = np.ascontiguousarray(spectrum.density[0].T)
    arrays["dos"] = arrays["dos_by_element"].sum(axis=0)


def _trace_bands(phonopy: Phonopy, n_points: int, data: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Band structure along the path of seekpath, each column one branch through its crossings."""
    from phonopy.phonon.band_structure import get_band_qpoints_by_seekpath

    paths, labels, connections = get_band_qpoints_by_seekpath(phonopy.primitive, n_points)
    bands = phonopy.run_band_structure(paths, with_eigenvectors=True, path_connections=connections, labels=labels)
    segments, start = [], None
    for number, frequencies in enumerate(bands.frequencies):
        vectors = np.asarray(bands.eigenvectors[number])
        order, last = follow_bands(
            frequencies, vectors, _between(phonopy, np.asarray(bands.qpoints[number])), start=start
        )
        segments.append(np.take_along_axis(frequencies, order, axis=1))
        start = (segments[-1][-1], last) if connections[number] else None
    arrays["band_qpoints"] = np.concatenate([np.asarray(path) for path in bands.qpoints])
    arrays["band_distances"] = np.concatenate(bands.distances)
    arrays["band_frequencies"] = np.concatenate(segments)
    lengths = [len(distances) for distances in bands.distances]
    arrays["band_starts"] = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    arrays["band_connected"] = np.array(connections, dtype=np.int8)
    data["band_labels"] = [str(label) for label in labels]


def _between(phonopy: Phonopy, qpoints: NDArray[np.float64]) -> Solver:
    """Modes between the points of a straight path, by their position in units of the step."""

    def solve(position: float) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
        first = int(position)
        qpoint = qpoints[first] + (position - first) * (qpoints[first + 1] - qpoints[first])
        phonopy.run_qpoints([qpoint], with_eigenvectors=True)
        return np.asarray(phonopy.qpoints.frequencies)[0], np.asarray(phonopy.qpoints.eigenvectors)[0]

    return solve


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
