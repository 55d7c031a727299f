"""What phonopy samples of a crystal: modes of a mesh, density of states, bands, slopes near Γ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from ase import units
from numpy.typing import NDArray

from screen_cli.config import HarmonicSettings
from screen_cli.physics.harmonic.bands import BandStructure, Solver, follow_bands
from screen_cli.physics.harmonic.density_of_states import DensityOfStates
from screen_cli.physics.harmonic.heat_capacity import heat_capacity
from screen_cli.physics.harmonic.mean_square_displacement import mean_square_displacements, shares_of_atoms
from screen_cli.physics.harmonic.sound_velocity import (
    SoundVelocities,
    acoustic_slopes,
    average_sound_velocities,
    even_directions,
)
from screen_cli.physics.harmonic.stability import count_imaginary, find_translations, is_stable

if TYPE_CHECKING:
    from phonopy import Phonopy
    from phonopy.phonon.band_structure import BandStructure as PhonopyBands
    from phonopy.phonon.mesh import Mesh
    from phonopy.phonon.qpoints import QpointsPhonon

_N_DIRECTIONS = 200
_SMALL_Q = 0.002  # 1/Å without 2π: small against any zone boundary, large against rounding
_MSD_CUTOFF_THZ = 1e-2  # modes below are imaginary, or so soft that the harmonic displacement means nothing


def solve_mesh(phonopy: Phonopy, mesh: Sequence[int]) -> Mesh:
    """Solve the modes of a Γ-centred mesh, with eigenvectors."""
    phonopy.run_mesh(list(mesh), with_eigenvectors=True, is_gamma_center=True)
    return cast("Mesh", phonopy.mesh)  # what phonopy 4.0 runs it does not return


@dataclass(frozen=True, eq=False)
class SampledModes:
    """Modes of a Γ-centred mesh, and what follows from them.

    Parameters
    ----------
    qpoints : ndarray
        float64 (n_irr, 3), fractional.
    weights : ndarray
        int64 (n_irr,).
    frequencies : ndarray
        float64 (n_irr, n_bands), THz, imaginary ones negative.
    stable : bool
        No mode but the translations at Γ is imaginary.
    n_imaginary : int
        On the full mesh.
    heat_capacity : ndarray
        float64 (n_temps,), J/K per mole of primitive cells, without the translations at Γ.
    displacements : ndarray
        float64 (n_temps, n_atoms), Å², mean squares summed over x, y, z.
    density_of_states : DensityOfStates
    """

    qpoints: NDArray[np.float64]
    weights: NDArray[np.int64]
    frequencies: NDArray[np.float64]
    stable: bool
    n_imaginary: int
    heat_capacity: NDArray[np.float64]
    displacements: NDArray[np.float64]
    density_of_states: DensityOfStates


def sample_mesh(
    phonopy: Phonopy, mesh: Sequence[int], settings: HarmonicSettings, temperatures: NDArray[np.float64]
) -> SampledModes:
    """Compute the modes of a mesh, stability, heat capacity, mean square displacements and density of states.

    Parameters
    ----------
    phonopy : Phonopy
        With force constants, and NAC when wanted.
    mesh : sequence of int
    settings : HarmonicSettings
        ``gamma_tolerance_thz``, ``tolerance_thz`` and ``dos_points``.
    temperatures : ndarray
        float64 (n_temps,), K.
    """
    sampled = solve_mesh(phonopy, mesh)
    frequencies, qpoints = np.array(sampled.frequencies), np.array(sampled.qpoints)
    weights = np.array(sampled.weights)
    translations, shares = _translations_and_shares(phonopy, sampled)
    gamma_tolerance = settings.gamma_tolerance_thz
    vibrating = ~translations & (frequencies > -gamma_tolerance)
    squares = _displacements(phonopy, sampled, shares, translations, temperatures)
    return SampledModes(
        qpoints=qpoints,
        weights=weights,
        frequencies=frequencies,
        stable=is_stable(
            frequencies, translations, gamma_tolerance_thz=gamma_tolerance, tolerance_thz=settings.tolerance_thz
        ),
        n_imaginary=count_imaginary(frequencies, weights, tolerance_thz=gamma_tolerance),
        heat_capacity=heat_capacity(frequencies, weights, vibrating, temperatures) * units.mol / units.J,
        displacements=squares,
        density_of_states=_count_states(phonopy, frequencies, weights, shares, settings.dos_points),
    )


def sample_displacements(
    phonopy: Phonopy, mesh: Sequence[int], temperatures: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute mean square displacements alone, summed over x, y, z: float64 (n_temps, n_atoms), Å².

    Parameters
    ----------
    phonopy : Phonopy
        With force constants, and NAC when wanted.
    mesh : sequence of int
    temperatures : ndarray
        float64 (n_temps,), K.
    """
    sampled = solve_mesh(phonopy, mesh)
    translations, shares = _translations_and_shares(phonopy, sampled)
    return _displacements(phonopy, sampled, shares, translations, temperatures)


def _translations_and_shares(phonopy: Phonopy, sampled: Mesh) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which modes of a solved mesh are translations, and the share of each atom in each mode."""
    vectors = np.asarray(sampled.eigenvectors)
    translations = find_translations(np.array(sampled.qpoints), vectors, np.asarray(phonopy.primitive.masses))
    return translations, shares_of_atoms(vectors, np.asarray(phonopy.primitive_symmetry.get_map_atoms()))


def _displacements(
    phonopy: Phonopy,
    sampled: Mesh,
    shares: NDArray[np.float64],
    translations: NDArray[np.bool_],
    temperatures: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Mean square displacements of a solved mesh, float64 (n_temps, n_atoms), Å²."""
    frequencies = np.array(sampled.frequencies)
    return mean_square_displacements(
        frequencies,
        np.array(sampled.weights),
        shares,
        ~translations & (frequencies > _MSD_CUTOFF_THZ),
        masses=np.asarray(phonopy.primitive.masses),
        temperatures=temperatures,
    )


def _count_states(
    phonopy: Phonopy,
    frequencies: NDArray[np.float64],
    weights: NDArray[np.int64],
    shares: NDArray[np.float64],
    n_points: int,
) -> DensityOfStates:
    """Density of states of the irreducible mesh by tetrahedra, element by element."""
    from phonopy.phonon.grid import BZGrid
    from phonopy.phonon.spectrum import TetrahedronDOSAccumulator

    mesh, numbers = cast("Mesh", phonopy.mesh), np.array(phonopy.primitive.numbers, dtype=np.int64)
    elements = np.unique(numbers)
    low, high = float(frequencies.min()), float(frequencies.max())
    spectrum = TetrahedronDOSAccumulator(
        frequencies,
        BZGrid(mesh.mesh_numbers, lattice=phonopy.primitive.cell, is_time_reversal=False),
        np.stack([shares[:, :, numbers == number].sum(axis=2) for number in elements], axis=-1)[None],
        ir_grid_points=mesh.ir_grid_points,
        ir_grid_weights=weights,
        ir_grid_map=mesh.grid_mapping_table,
        sampling_points=np.linspace(min(low, 0.0), high * 1.05, n_points),
    ).result
    return DensityOfStates(np.array(spectrum.sampling_points), np.ascontiguousarray(spectrum.density[0].T), elements)


def trace_bands(phonopy: Phonopy, n_points: int) -> BandStructure:
    """Trace the bands along the path of seekpath, each column one branch through its crossings.

    Parameters
    ----------
    phonopy : Phonopy
        With force constants, and NAC when wanted.
    n_points : int
        Of each segment.
    """
    from phonopy.phonon.band_structure import get_band_qpoints_by_seekpath

    paths, labels, connections = get_band_qpoints_by_seekpath(phonopy.primitive, n_points)
    phonopy.run_band_structure(paths, with_eigenvectors=True, path_connections=connections, labels=labels)
    bands = cast("PhonopyBands", phonopy.band_structure)
    eigenvectors = cast("list[NDArray[np.complex128]]", bands.eigenvectors)
    segments, start = [], None
    for number, frequencies in enumerate(bands.frequencies):
        vectors = np.asarray(eigenvectors[number])
        order, last = follow_bands(
            frequencies, vectors, _between(phonopy, np.asarray(bands.qpoints[number])), start=start
        )
        segments.append(np.take_along_axis(frequencies, order, axis=1))
        start = (segments[-1][-1], last) if connections[number] else None
    lengths = [len(distances) for distances in bands.distances]
    return BandStructure(
        qpoints=np.concatenate([np.asarray(path) for path in bands.qpoints]),
        distances=np.concatenate(bands.distances),
        frequencies=np.concatenate(segments),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        connected=np.array(connections, dtype=bool),
        labels=tuple(str(label) for label in labels),
    )


def _between(phonopy: Phonopy, qpoints: NDArray[np.float64]) -> Solver:
    """Modes between the points of a straight path, by their position in units of the step."""

    def solve(position: float) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
        first = int(position)
        qpoint = qpoints[first] + (position - first) * (qpoints[first + 1] - qpoints[first])
        phonopy.run_qpoints([qpoint], with_eigenvectors=True)
        here = cast("QpointsPhonon", phonopy.qpoints)
        return np.asarray(here.frequencies)[0], np.asarray(here.eigenvectors)[0]

    return solve


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
    near = cast("QpointsPhonon", phonopy.qpoints)
    return acoustic_slopes(np.asarray(near.frequencies), _SMALL_Q)
