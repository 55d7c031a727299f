"""Harmonic properties: stability, heat capacity, sound velocities, displacements, bands and DOS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from screen_cli.config import HarmonicSettings
from screen_cli.crystal.structure import given_axes
from screen_cli.crystal.supercell import checked_mesh, mesh_along_primitive_axes
from screen_cli.physics.harmonic.bands import BandStructure
from screen_cli.physics.harmonic.density_of_states import DensityOfStates
from screen_cli.physics.harmonic.phase_space import phase_space_mesh
from screen_cli.settings_file import settings_to_dict
from screen_cli.solvers.harmonic_modes import sample_mesh, sound_velocities, trace_bands
from screen_cli.stages.displace import Displaced
from screen_cli.stages.force_constants import ForceConstants
from screen_cli.stages.phonon_objects import load_phonopy
from screen_cli.stages.stage import Inputs, Stage
from screen_cli.store.record import Json, TypedRecord, array, column, column_named

if TYPE_CHECKING:
    from screen_cli.crystal.born import BornTensors


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
    version: int = 3  # no phase space of unstable crystals
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
    modes = sample_mesh(phonopy, mesh, settings, temperatures)
    bands, states, sound = (
        trace_bands(phonopy, settings.band_points),
        modes.density_of_states,
        sound_velocities(phonopy),
    )
    p3, p3_mesh = None, None
    if settings.phase_space and modes.stable:  # which phonons an imaginary mode decays into has no meaning
        given, _ = mesh_along_primitive_axes(
            settings.phase_space_mesh, given_cell, displaced.unitcell_rotation, primitive
        )
        p3_mesh = checked_mesh(given or phase_space_mesh(primitive, len(phonopy.primitive)))
        p3 = compute_phase_space(phonopy, list(p3_mesh)).total
    return Harmonic(
        qpoints=modes.qpoints,
        weights=modes.weights,
        frequencies=modes.frequencies,
        temperatures=temperatures,
        cv=modes.heat_capacity,
        msd=modes.displacements,
        numbers=np.array(phonopy.primitive.numbers, dtype=np.int64),
        band_distances=bands.distances,
        band_frequencies=bands.frequencies,
        band_qpoints=bands.qpoints,
        band_starts=bands.starts,
        band_connected=bands.connected.astype(np.int8),
        band_labels=bands.labels,
        dos_frequencies=states.frequencies,
        dos=states.total,
        dos_by_element=states.by_element,
        dos_elements=states.elements,
        mesh=mesh,
        stable=modes.stable,
        n_imaginary_modes=modes.n_imaginary,
        vs_m_s=None if sound is None else sound.debye,
        vs_transverse_m_s=None if sound is None else sound.transverse,
        vs_longitudinal_m_s=None if sound is None else sound.longitudinal,
        debye_temperature_k=None if sound is None else sound.debye_temperature,
        p3=p3,
        p3_mesh=p3_mesh,
        mesh_axes=axes if settings.mesh else "standard",
    )


def harmonic_mesh(mesh: Sequence[int], length: float, cell: NDArray[np.float64]) -> tuple[int, int, int]:
    """Mesh as given, or n_i = length · |b_i| (b without 2π), at least 1.

    Parameters
    ----------
    mesh : sequence of int
        Empty: from the length.
    length : float
        Å.
    cell : ndarray
        float64 (3, 3), Å, primitive lattice vectors in rows.

    Raises
    ------
    ConfigError
        Not three positive whole numbers.
    """
    if mesh:
        return checked_mesh(mesh)
    numbers = [max(1, round(length * float(np.linalg.norm(vector)))) for vector in np.linalg.inv(cell).T]
    return checked_mesh(numbers, "the mesh of harmonic.mesh_length")
