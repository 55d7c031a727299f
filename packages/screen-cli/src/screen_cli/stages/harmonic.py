"""Harmonic properties: stability, heat capacity, sound velocities, displacements, bands and DOS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
from ase import units
from ase.data import chemical_symbols
from numpy.typing import NDArray

from screen_cli.config import HarmonicSettings
from screen_cli.crystal.structure import given_axes
from screen_cli.crystal.supercell import mesh_along_primitive_axes
from screen_cli.errors import ConfigError
from screen_cli.physics.harmonic.bands import BandStructure, Solver, follow_bands
from screen_cli.physics.harmonic.density_of_states import DensityOfStates
from screen_cli.physics.harmonic.heat_capacity import heat_capacity
from screen_cli.physics.harmonic.mean_square_displacement import mean_square_displacements, shares_of_atoms
from screen_cli.physics.harmonic.phase_space import phase_space_mesh
from screen_cli.physics.harmonic.sound_velocity import (
    SoundVelocities,
    acoustic_slopes,
    average_sound_velocities,
    even_directions,
)
from screen_cli.physics.harmonic.stability import count_imaginary, find_translations, is_stable
from screen_cli.settings_file import settings_to_dict
from screen_cli.stages.displace import Displaced
from screen_cli.stages.force_constants import ForceConstants
from screen_cli.stages.phonon_objects import load_phonopy
from screen_cli.stages.stage import Inputs, Stage
from screen_cli.store.record import Json, TypedRecord, array, column, column_named

if TYPE_CHECKING:
    from phonopy import Phonopy
    from phonopy.phonon.mesh import Mesh

    from screen_cli.crystal.born import BornTensors

_N_DIRECTIONS = 200
_SMALL_Q = 0.002  # 1/Å without 2π: small against any zone boundary, large against rounding
_MSD_CUTOFF_THZ = 1e-2  # modes below are imaginary, or so soft that the harmonic displacement means nothing


@dataclass(frozen=True, kw_only=True, eq=False)
class Harmonic(TypedRecord):
    """Harmonic properties of one crystal; columns that depend on temperature are those of the first one.

    Parameters
    ----------
    qpoints : ndarray
        float64 (n_irr, 3), fractional, irreducible points of the mesh.
    weights : ndarray
        int64 (n_irr,).
    frequencies : ndarray
        float64 (n_irr, n_bands), THz, imaginary ones negative.
    temperatures : ndarray
        float64 (n_temps,), K.
    cv : ndarray
        float64 (n_temps,), J/K per mole of primitive cells, without the translations at Γ.
    msd : ndarray
        float64 (n_temps, n_atoms), Å², mean square displacement summed over x, y, z.
    numbers : ndarray
        int64 (n_atoms,), atomic numbers of the primitive cell.
    band_distances : ndarray
        float64 (n_points,), 1/Å without 2π.
    band_frequencies : ndarray
        float64 (n_points, n_bands), THz; each column follows one branch through its crossings.
    band_qpoints : ndarray
        float64 (n_points, 3), fractional.
    band_starts : ndarray
        int64 (n_starts,), first point of each segment, and the end.
    band_connected : ndarray
        int8 (n_segments,), 1 where the next segment continues.
    band_labels : tuple of str
        Names of the ends of the segments, in TeX.
    dos_frequencies : ndarray
        float64 (n_dos,), THz.
    dos : ndarray
        float64 (n_dos,), states/THz per primitive cell.
    dos_by_element : ndarray
        float64 (n_elements, n_dos), states/THz.
    dos_elements : ndarray
        int64 (n_elements,), atomic numbers.
    mesh : tuple of int
    stable : bool
        Translations at Γ ≥ −gamma_tolerance, all others ≥ −tolerance.
    n_imaginary_modes : int
        On the full mesh.
    vs_m_s, vs_transverse_m_s, vs_longitudinal_m_s : float, optional
        Sound velocities, m/s: Debye average, transverse, longitudinal; absent with an imaginary acoustic branch.
    debye_temperature_k : float, optional
        K.
    p3 : float, optional
        Three-phonon phase space, ps/rad (:mod:`screen_cli.physics.harmonic.phase_space`).
    p3_mesh : tuple of int, optional
    mesh_axes : {"standard", "file"}
        Axes that ``harmonic.mesh`` counted: of the standardised primitive cell, or of the file. ``mesh`` itself always
        counts the former.
    """

    qpoints: NDArray[np.float64] = array(np.float64, "n_irr", 3)
    weights: NDArray[np.int64] = array(np.int64, "n_irr")
    frequencies: NDArray[np.float64] = array(np.float64, "n_irr", "n_bands")
    temperatures: NDArray[np.float64] = array(np.float64, "n_temps")
    cv: NDArray[np.float64] = array(np.float64, "n_temps")
    msd: NDArray[np.float64] = array(np.float64, "n_temps", "n_atoms")
    numbers: NDArray[np.int64] = array(np.int64, "n_atoms")
    band_distances: NDArray[np.float64] = array(np.float64, "n_points")
    band_frequencies: NDArray[np.float64] = array(np.float64, "n_points", "n_bands")
    band_qpoints: NDArray[np.float64] = array(np.float64, "n_points", 3)
    band_starts: NDArray[np.int64] = array(np.int64, "n_starts")
    band_connected: NDArray[np.int8] = array(np.int8, "n_segments")
    band_labels: tuple[str, ...]
    dos_frequencies: NDArray[np.float64] = array(np.float64, "n_dos")
    dos: NDArray[np.float64] = array(np.float64, "n_dos")
    dos_by_element: NDArray[np.float64] = array(np.float64, "n_elements", "n_dos")
    dos_elements: NDArray[np.int64] = array(np.int64, "n_elements")
    mesh: tuple[int, int, int]
    stable: bool
    n_imaginary_modes: int
    vs_m_s: float | None = None
    vs_transverse_m_s: float | None = None
    vs_longitudinal_m_s: float | None = None
    debye_temperature_k: float | None = None
    p3: float | None = None
    p3_mesh: tuple[int, int, int] | None = None
    mesh_axes: Literal["standard", "file"] = "standard"

    @property
    def bands(self) -> BandStructure:
        """The dispersion."""
        return BandStructure(
            qpoints=self.band_qpoints,
            distances=self.band_distances,
            frequencies=self.band_frequencies,
            starts=self.band_starts,
            connected=self.band_connected.astype(bool),
            labels=self.band_labels,
        )

    @property
    def density_of_states(self) -> DensityOfStates:
        """The density of states."""
        return DensityOfStates(self.dos_frequencies, self.dos_by_element, self.dos_elements)

    @column
    def min_frequency_thz(self) -> float:
        """Lowest frequency on the mesh, THz; imaginary ones count negative."""
        return float(self.frequencies.min())

    @column
    def max_frequency_thz(self) -> float:
        """Highest frequency on the mesh, THz."""
        return float(self.frequencies.max())

    @column
    def cv_j_mol_k(self) -> float:
        """Heat capacity, J/K per mole of primitive cells."""
        return float(self.cv[0])

    @column
    def cv_j_mol_k_atom(self) -> float:
        """Heat capacity, J/K per mole of atoms."""
        return float(self.cv[0]) / len(self.numbers)

    @column
    def max_msd(self) -> float:
        """Largest mean square displacement of an atom, Å²."""
        return float(self.msd[0].max())

    @column_named("msd")
    def first_msd(self) -> list[float]:
        """Mean square displacement of each atom, Å²."""
        return [float(value) for value in self.msd[0]]

    @column
    def msd_by_element(self) -> dict[str, float]:
        """Mean over the atoms of each element, Å²."""
        elements = np.unique(self.numbers)
        return {chemical_symbols[number]: float(self.msd[0, self.numbers == number].mean()) for number in elements}


@dataclass(frozen=True)
class ComputeHarmonic(Stage[Harmonic]):
    """The stage: force constants in, harmonic properties out.

    Parameters
    ----------
    displaced, force_constants : str
        Stages that displaced the supercells and fitted fc2.
    """

    name: str = "harmonic"
    displaced: str = "displace"
    force_constants: str = "force_constants"
    version: int = 2  # the heat capacity is without the translations at Γ
    prefixes_columns: bool = False
    record_class: ClassVar[type[Harmonic]] = Harmonic

    @property
    def needs(self) -> tuple[str, ...]:
        """Supercells and force constants."""
        return (self.displaced, self.force_constants)

    def depends(self, inputs: Inputs) -> Json:
        """Give the settings and Born charges."""
        settings = inputs.settings.harmonic
        counted = given_axes(inputs.structure) if settings.mesh or settings.phase_space_mesh else []
        return [settings_to_dict(settings), inputs.born_dependence(), *counted]

    def run(self, inputs: Inputs) -> Harmonic:
        """Compute."""
        return compute_harmonic(
            inputs.record(self.displaced, Displaced),
            inputs.record(self.force_constants, ForceConstants),
            inputs.settings.harmonic,
            born=inputs.born,
            nac_method=inputs.settings.nac.method,
            given_cell=None if inputs.structure.given is None else inputs.structure.given.cell,
        )


def compute_harmonic(
    displaced: Displaced,
    force_constants: ForceConstants,
    settings: HarmonicSettings,
    *,
    born: BornTensors | None = None,
    nac_method: str = "gonze",
    given_cell: NDArray[np.float64] | None = None,
) -> Harmonic:
    """Compute every harmonic property of one crystal.

    Parameters
    ----------
    displaced : Displaced
    force_constants : ForceConstants
    settings : HarmonicSettings
    born : BornTensors, optional
        In the frame and order of the relaxed crystal.
    nac_method : {"gonze", "wang"}
    given_cell : ndarray, optional
        float64 (3, 3), Å: cell of the file (``Given.cell``), where its axes,
        which given meshes count, are in another order.

    Raises
    ------
    ConfigError
        ``mesh`` is not three positive whole numbers.
    """
    from screen_cli.solvers.phase_space import compute_phase_space

    phonopy = load_phonopy(displaced, force_constants, born=born, nac_method=nac_method)
    temperatures = np.array(settings.temperatures, dtype=np.float64)
    primitive = np.asarray(phonopy.primitive.cell)
    own, axes = mesh_along_primitive_axes(settings.mesh, given_cell, displaced.unitcell_rotation, primitive)
    mesh = harmonic_mesh(own, settings.mesh_length, primitive)
    fields: dict[str, Any] = {
        "mesh": tuple(mesh),
        "mesh_axes": axes if settings.mesh else "standard",
        "temperatures": temperatures,
        "numbers": np.array(phonopy.primitive.numbers, dtype=np.int64),
    }
    fields |= _sample_mesh(phonopy, mesh, settings, temperatures)
    fields |= _sound_fields(phonopy)
    fields |= _trace_bands(phonopy, settings.band_points)
    if settings.phase_space:
        p3_mesh, _ = mesh_along_primitive_axes(
            settings.phase_space_mesh, given_cell, displaced.unitcell_rotation, primitive
        )
        p3_mesh = p3_mesh or phase_space_mesh(primitive, len(phonopy.primitive))
        fields["p3"] = compute_phase_space(phonopy, _checked_mesh(p3_mesh)).total
        fields["p3_mesh"] = tuple(p3_mesh)
    return Harmonic(**fields)


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
    near = phonopy.run_qpoints(_SMALL_Q * directions @ np.asarray(phonopy.primitive.cell).T)
    return acoustic_slopes(np.asarray(near.frequencies), _SMALL_Q)


def _sound_fields(phonopy: Phonopy) -> dict[str, float]:
    """Sound velocities by field of the record; none where an acoustic branch is imaginary near Γ."""
    sound = sound_velocities(phonopy)
    if sound is None:
        return {}
    return {
        "vs_m_s": sound.debye,
        "vs_transverse_m_s": sound.transverse,
        "vs_longitudinal_m_s": sound.longitudinal,
        "debye_temperature_k": sound.debye_temperature,
    }


def _sample_mesh(
    phonopy: Phonopy, mesh: list[int], settings: HarmonicSettings, temperatures: NDArray[np.float64]
) -> dict[str, Any]:
    """Frequencies, stability, heat capacity, mean square displacements and DOS, by field of the record."""
    sampled = phonopy.run_mesh(mesh, with_eigenvectors=True, is_gamma_center=True)
    frequencies, qpoints = np.array(sampled.frequencies), np.array(sampled.qpoints)
    weights, vectors = np.array(sampled.weights), np.asarray(sampled.eigenvectors)
    masses = np.asarray(phonopy.primitive.masses)
    translations = find_translations(qpoints, vectors, masses)
    gamma_tolerance = settings.gamma_tolerance_thz
    vibrating = ~translations & (frequencies > -gamma_tolerance)
    shares = shares_of_atoms(vectors, np.asarray(phonopy.primitive_symmetry.get_map_atoms()))
    return {
        "qpoints": qpoints,
        "weights": weights,
        "frequencies": frequencies,
        "stable": is_stable(
            frequencies, translations, gamma_tolerance_thz=gamma_tolerance, tolerance_thz=settings.tolerance_thz
        ),
        "n_imaginary_modes": count_imaginary(frequencies, weights, tolerance_thz=gamma_tolerance),
        "cv": heat_capacity(frequencies, weights, vibrating, temperatures) * units.mol / units.J,
        "msd": mean_square_displacements(
            frequencies,
            weights,
            shares,
            ~translations & (frequencies > _MSD_CUTOFF_THZ),
            masses=masses,
            temperatures=temperatures,
        ),
        **_count_states(phonopy, frequencies, weights, shares, settings.dos_points),
    }


def _count_states(
    phonopy: Phonopy,
    frequencies: NDArray[np.float64],
    weights: NDArray[np.int64],
    shares: NDArray[np.float64],
    n_points: int,
) -> dict[str, Any]:
    """Density of states of the irreducible mesh by tetrahedra, element by element, by field of the record."""
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
    by_element = np.ascontiguousarray(spectrum.density[0].T)
    return {
        "dos_frequencies": np.array(spectrum.sampling_points),
        "dos_elements": elements,
        "dos_by_element": by_element,
        "dos": by_element.sum(axis=0),
    }


def _trace_bands(phonopy: Phonopy, n_points: int) -> dict[str, Any]:
    """Band structure along the path of seekpath, each column one branch through its crossings."""
    from phonopy.phonon.band_structure import get_band_qpoints_by_seekpath

    paths, labels, connections = get_band_qpoints_by_seekpath(phonopy.primitive, n_points)
    bands = phonopy.run_band_structure(paths, with_eigenvectors=True, path_connections=connections, labels=labels)
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
    return {
        "band_qpoints": np.concatenate([np.asarray(path) for path in bands.qpoints]),
        "band_distances": np.concatenate(bands.distances),
        "band_frequencies": np.concatenate(segments),
        "band_starts": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "band_connected": np.array(connections, dtype=np.int8),
        "band_labels": tuple(str(label) for label in labels),
    }


def _between(phonopy: Phonopy, qpoints: NDArray[np.float64]) -> Solver:
    """Modes between the points of a straight path, by their position in units of the step."""

    def solve(position: float) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
        first = int(position)
        qpoint = qpoints[first] + (position - first) * (qpoints[first + 1] - qpoints[first])
        here = phonopy.run_qpoints([qpoint], with_eigenvectors=True)
        return np.asarray(here.frequencies)[0], np.asarray(here.eigenvectors)[0]

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
