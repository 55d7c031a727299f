"""Thermal expansion as properties of a run: records in, columns and arrays out.

``elastic``, then ``expansion`` (fc3) and, as cross-checks, ``expansion_strain`` (strained crystals) and
``quasi_harmonic`` (volume scan). All tensors are in the Cartesian frame of the displaced supercell's unit cell, which
is spglib's standardised one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from ase.calculators.calculator import BaseCalculator
from ase.units import GPa
from numpy.typing import NDArray

from screen_cli.crystal.phonopy_cells import ase_cell, cartesian_rotations
from screen_cli.crystal.standard_cell import standardise
from screen_cli.physics.elasticity.elastic import ElasticTensor, stiffness_from_list
from screen_cli.physics.elasticity.gruneisen import ModeGruneisen
from screen_cli.physics.elasticity.strain import invariant_strains, unit_strains
from screen_cli.physics.elasticity.thermal_expansion import Expansion, compute_expansion
from screen_cli.properties.expansion.deformation import SYMPREC
from screen_cli.properties.expansion.elastic_constants import STRAIN_STEPS, compute_elastic_tensor
from screen_cli.properties.expansion.gruneisen import DISTANCE, STRAIN, gruneisen_from_fc3, gruneisen_from_strains
from screen_cli.properties.expansion.quasi_harmonic import VOLUMES, scan_volumes
from screen_cli.properties.expansion.records import (
    ElasticConstants,
    ThermalExpansion,
    ThermalExpansionFromStrains,
    VolumeScan,
)
from screen_cli.stages.displace import Displaced
from screen_cli.stages.force_constants import ForceConstants
from screen_cli.stages.harmonic import harmonic_mesh
from screen_cli.stages.phonon_objects import load_phono3py, load_phonopy
from screen_cli.store.record import record_from

if TYPE_CHECKING:
    from phonopy import Phonopy

ExpansionT = TypeVar("ExpansionT", bound=ThermalExpansion)

logger = logging.getLogger(__name__)

MESH_LENGTH = 30.0  # Å; NaCl: 9 × 9 × 9
TEMPERATURES = tuple(float(kelvin) for kelvin in range(20, 1001, 20))
_ROOM = 300.0
_WARN_STRESS = 0.5 * GPa


def elastic(
    records: Mapping[str, object],
    *,
    calculator: BaseCalculator,
    steps: Sequence[float] = STRAIN_STEPS,
    stiffness_gpa: Sequence[Sequence[float]] = (),
) -> ElasticConstants:
    """Elastic constants of the relaxed crystal.

    Parameters
    ----------
    records : mapping of str to typed record
        ``displace``.
    calculator : ase.calculators.calculator.BaseCalculator
        With stress, unless ``stiffness_gpa`` is given.
    steps : sequence of float
        As for :func:`~screen_cli.properties.expansion.elastic_constants.compute_elastic_tensor`.
    stiffness_gpa : sequence, optional
        Elastic constants to use instead, 6 × 6, Voigt, GPa, order xx yy zz yz xz xy.
    """
    if len(stiffness_gpa):
        tensor = stiffness_from_list(stiffness_gpa)
    else:
        primitive = ase_cell(load_phono3py(record_from(records, "displace", Displaced)).primitive)
        tensor = compute_elastic_tensor(primitive, calculator, steps=steps)
    residual = float(np.abs(tensor.residual_stress).max())
    if residual > _WARN_STRESS:
        logger.warning(
            "the crystal is under a stress of %.2f GPa: its elastic constants are stress-strain coefficients",
            residual / GPa,
        )
    smallest = tensor.smallest_eigenvalue
    averages = asdict(tensor.averages()) if smallest > 0 else {}
    return ElasticConstants(
        stiffness_gpa=tensor.voigt_gpa(),
        stiffness_clamped_gpa=tensor.voigt_gpa(clamped=True),
        mechanically_stable=bool(smallest > 0),
        elastic_eigenvalue_min_gpa=smallest / GPa,
        elastic_asymmetry=tensor.asymmetry,
        residual_stress_gpa=residual / GPa,
        **averages,
    )


def expansion(
    records: Mapping[str, object],
    *,
    mesh: Sequence[int] = (),
    mesh_length: float = MESH_LENGTH,
    temperatures: Sequence[float] = TEMPERATURES,
    ion_clamped: bool = False,
) -> ThermalExpansion:
    """Thermal expansion from fc3.

    Parameters
    ----------
    records : mapping of str to typed record
        ``displace``, ``force_constants`` with fc3, ``property_elastic``.
    mesh, mesh_length : sequence of int, float
        Γ-centred q mesh, or the length (Å) that fixes it.
    temperatures : sequence of float
        K.
    ion_clamped : bool
        Leave out the internal strain in fc3 (for comparison; the compliance keeps it).
    """
    displaced = record_from(records, "displace", Displaced)
    fitted = record_from(records, "force_constants", ForceConstants)
    phono3py = load_phono3py(displaced, force_constants=fitted)
    phonopy = _phonopy_of(records)
    points = harmonic_mesh(list(mesh), mesh_length, phonopy.primitive.cell)
    modes = gruneisen_from_fc3(phono3py, points, ion_clamped=ion_clamped)
    return to_record(modes, phonopy, _elastic_tensor(records), temperatures, points, ThermalExpansion)


def expansion_strain(
    records: Mapping[str, object],
    *,
    calculator: BaseCalculator,
    mesh: Sequence[int] = (),
    mesh_length: float = MESH_LENGTH,
    temperatures: Sequence[float] = TEMPERATURES,
    strain: float = STRAIN,
    distance: float = DISTANCE,
    full_tensor: bool = False,
) -> ThermalExpansionFromStrains:
    """Thermal expansion from strained crystals.

    Parameters
    ----------
    records : mapping of str to typed record
        ``displace``, ``force_constants``, ``property_elastic``.
    calculator : ase.calculators.calculator.BaseCalculator
    mesh, mesh_length, temperatures : sequence of int, float, sequence of float
        As for :func:`expansion`.
    strain, distance : float
        As for :func:`~screen_cli.properties.expansion.gruneisen.gruneisen_from_strains`.
    full_tensor : bool
        Strain in all six ways for whole mode tensors; else only as symmetry allows the crystal to expand.
    """
    phonopy = _phonopy_of(records)
    points = harmonic_mesh(list(mesh), mesh_length, phonopy.primitive.cell)
    strains = unit_strains() if full_tensor else invariant_strains(_rotations(phonopy))
    modes = gruneisen_from_strains(phonopy, calculator, points, strains, amplitude=strain, distance=distance)
    return to_record(modes, phonopy, _elastic_tensor(records), temperatures, points, ThermalExpansionFromStrains)


def quasi_harmonic(
    records: Mapping[str, object],
    *,
    calculator: BaseCalculator,
    mesh: Sequence[int] = (),
    mesh_length: float = MESH_LENGTH,
    temperatures: Sequence[float] = TEMPERATURES,
    volumes: Sequence[float] = VOLUMES,
    distance: float = DISTANCE,
    fmax: float = 1e-4,
    eos: str = "vinet",
) -> VolumeScan:
    """Thermal expansion from a volume scan.

    Parameters
    ----------
    records : mapping of str to typed record
        ``displace``, ``force_constants``.
    calculator : ase.calculators.calculator.BaseCalculator
    mesh, mesh_length, temperatures, volumes, distance, fmax, eos : sequence of float, float or str
        As for :func:`~screen_cli.properties.expansion.quasi_harmonic.scan_volumes`.
    """
    phonopy = _phonopy_of(records)
    points = harmonic_mesh(list(mesh), mesh_length, phonopy.primitive.cell)
    found = scan_volumes(
        phonopy, calculator, points, temperatures, volumes=volumes, distance=distance, fmax=fmax, eos=eos
    )
    if found.warning:
        logger.warning("quasi-harmonic scan: %s", found.warning)
    got_there = bool(found.temperatures[0] <= _ROOM <= found.temperatures[-1])

    def at_room(values: NDArray[np.float64], unit: float = 1.0) -> float | None:
        return float(np.interp(_ROOM, found.temperatures, values)) / unit if got_there else None

    return VolumeScan(
        qha_max_temperature_k=float(found.temperatures[-1]),
        qha_unstable_volumes=found.n_unstable,
        qha_warning=found.warning,
        qha_alpha_linear_300k=at_room(found.beta, 3),
        qha_bulk_modulus_300k_gpa=at_room(found.bulk_modulus, GPa),
        qha_gamma_300k=at_room(found.gamma),
        qha_volume_ratio_300k=at_room(found.volume, float(phonopy.primitive.volume)),
        temperatures=found.temperatures,
        beta=found.beta,
        volume=found.volume,
        bulk_modulus_gpa=found.bulk_modulus / GPa,
        gamma=found.gamma,
        scan_volumes=found.volumes,
        scan_energies=found.energies,
        scan_gamma=found.scan_gamma,
        alpha_axes=found.alpha_axes,
    )


def to_record(
    modes: ModeGruneisen,
    phonopy: Phonopy,
    tensor: ElasticTensor,
    temperatures: Sequence[float],
    mesh: Sequence[int],
    record_class: type[ExpansionT],
) -> ExpansionT:
    """Sum the modes and name the columns.

    Parameters
    ----------
    modes : ModeGruneisen
    phonopy : Phonopy
        Of the unstrained crystal.
    tensor : ElasticTensor
    temperatures : sequence of float
        K.
    mesh : sequence of int
    record_class : type
        Of the route.
    """
    rotations = _rotations(phonopy)
    axes = conventional_axes(phonopy)

    def expand(kelvin: Sequence[float]) -> Expansion:
        return compute_expansion(modes, tensor.compliance(), float(phonopy.primitive.volume), rotations, kelvin)

    room, all_temperatures = expand([_ROOM]), expand(temperatures)
    volumetric = modes.volumetric[~modes.translations]
    along_a, along_b, along_c = (float(room.along(axis)[0]) for axis in axes)
    return record_class(
        gamma_mean=float(room.gamma_mean[0]),
        alpha_linear_300k=float(room.beta[0]) / 3,
        alpha_a_300k=along_a,
        alpha_b_300k=along_b,
        alpha_c_300k=along_c,
        gamma_mode_min=float(volumetric.min()),
        gamma_mode_max=float(volumetric.max()),
        gruneisen_mesh=tuple(mesh),
        temperatures=all_temperatures.temperatures,
        alpha=all_temperatures.alpha,
        beta=all_temperatures.beta,
        alpha_axes=np.stack([all_temperatures.along(axis) for axis in axes], axis=1),
        gamma=all_temperatures.gamma,
        heat_capacity=all_temperatures.heat_capacity,
        qpoints=modes.qpoints,
        weights=modes.weights,
        frequencies=modes.frequencies,
        gruneisen=modes.volumetric,
        gruneisen_tensor=modes.tensors,
    )


def conventional_axes(phonopy: Phonopy) -> NDArray[np.float64]:
    """Conventional lattice vectors (3, 3), rows, Å, in the frame of the cell; its own where spglib would turn it."""
    primitive = ase_cell(phonopy.primitive)
    axes: NDArray[np.float64] = standardise(primitive, SYMPREC, to_primitive=False).cell.array
    multiples = axes @ np.linalg.inv(primitive.cell.array)
    return axes if np.allclose(multiples, np.rint(multiples), atol=1e-4) else np.array(phonopy.unitcell.cell)


def _rotations(phonopy: Phonopy) -> NDArray[np.float64]:
    """Point group of the crystal, Cartesian."""
    return cartesian_rotations(phonopy.primitive, SYMPREC)


def _elastic_tensor(records: Mapping[str, object]) -> ElasticTensor:
    """Elastic tensor of the property ``elastic``."""
    return stiffness_from_list(record_from(records, "property_elastic", ElasticConstants).stiffness_gpa)


def _phonopy_of(records: Mapping[str, object]) -> Phonopy:
    """Phonopy object of the fc2 supercell with force constants."""
    displaced = record_from(records, "displace", Displaced)
    return load_phonopy(displaced, record_from(records, "force_constants", ForceConstants))
