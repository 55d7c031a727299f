r"""Mode Grüneisen tensors, from third-order force constants and from strained crystals.

.. math:: \gamma^{kl}_{qs} = -\frac{1}{\omega_{qs}} \frac{\partial \omega_{qs}}{\partial \varepsilon_{kl}}
          = -\frac{1}{2 \omega_{qs}^2} \langle e_{qs} | \frac{\partial D(q)}{\partial \varepsilon_{kl}} | e_{qs} \rangle

at fixed fractional q, with the ions relaxed at each strain; γ^kl is taken symmetric. D is linear in the force
constants, so a finite difference of these, [Φ(ε) − Φ(−ε)]/2, put on the unstrained lattice gives the derivative of D
itself: no bands have to be followed, and nothing depends on the basis of a degenerate set but its own split.

References
----------
T. H. K. Barron, J. G. Collins and G. K. White, Adv. Phys. 29, 609 (1980), doi:10.1080/00018738000101426.
The formula of fc3 is phono3py's (A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), doi:10.7566/JPSJ.92.012001).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from ase.calculators.calculator import BaseCalculator
from numpy.typing import NDArray

from screen_cli.config import ForcesSettings
from screen_cli.crystal.phonopy_cells import ase_cell, phonopy_cell
from screen_cli.errors import ConfigError, PhysicsError
from screen_cli.physics.elasticity.gruneisen import ModeGruneisen, relative_shifts
from screen_cli.physics.harmonic.stability import find_translations, is_stable
from screen_cli.properties.expansion.deformation import SYMPREC, InternalStrain, strained
from screen_cli.solvers.harmonic_modes import solve_mesh
from screen_cli.stages.displace import SupercellSet
from screen_cli.stages.forces import compute_force_set

if TYPE_CHECKING:
    from ase import Atoms
    from phono3py import Phono3py
    from phonopy import Phonopy
    from phonopy.harmonic.displacement import Type1DisplacementDataset
    from phonopy.harmonic.dynamical_matrix import DynamicalMatrix

logger = logging.getLogger(__name__)

STRAIN = 0.003
DISTANCE = 0.03  # Å; silicon's softest modes still move with it: docs/theory/thermal-expansion.md
_ACOUSTIC_THZ = 0.01


def gruneisen_from_fc3(phono3py: Phono3py, mesh: Sequence[int], *, ion_clamped: bool = False) -> ModeGruneisen:
    """Mode Grüneisen tensors from fc2 and fc3, by phono3py; no further force is needed.

    Parameters
    ----------
    phono3py : Phono3py
        With fc2 and fc3. A larger fc2 supercell is folded onto that of fc3.
    mesh : sequence of int
        Γ-centred mesh.
    ion_clamped : bool
        Leave out the internal strain.

    Raises
    ------
    ConfigError
        There is no fc3.
    PhysicsError
        A mode is imaginary.
    """
    from phono3py.phonon3.gruneisen import Gruneisen
    from phonopy import Phonopy

    if phono3py.fc3 is None or phono3py.fc2 is None:
        raise ConfigError("Grüneisen tensors from fc3 need fc2 and fc3. Set force_constants.third_order = true.")
    fc2 = fold_fc2(phono3py)
    phonopy = Phonopy(
        phono3py.unitcell,
        supercell_matrix=phono3py.supercell_matrix,
        primitive_matrix=phono3py.primitive_matrix,
        log_level=0,
    )
    phonopy.force_constants = fc2
    points = _irreducible_points(phonopy, mesh)
    worker = Gruneisen(fc2, phono3py.fc3, phono3py.supercell, phono3py.primitive, ion_clamped=ion_clamped)
    worker.set_qpoints(points.qpoints)
    with np.errstate(divide="ignore", invalid="ignore"):  # it divides by ω² = 0 where it then sets nothing
        worker.run()
    tensors = np.array(worker.gruneisen_parameters)
    return points.with_tensors(0.5 * (tensors + np.swapaxes(tensors, 2, 3)))


def gruneisen_from_strains(
    phonopy: Phonopy,
    calculator: BaseCalculator,
    mesh: Sequence[int],
    strains: NDArray[np.float64],
    *,
    amplitude: float = STRAIN,
    distance: float = DISTANCE,
) -> ModeGruneisen:
    """Mode Grüneisen tensors from force constants of strained crystals, ions relaxed.

    Parameters
    ----------
    phonopy : Phonopy
        Of the unstrained crystal, with force constants.
    calculator : ase.calculators.calculator.BaseCalculator
    mesh : sequence of int
        Γ-centred mesh.
    strains : ndarray
        float64 (n_strains, 3, 3), orthonormal: :func:`~screen_cli.physics.elasticity.strain.invariant_strains`, or
        :func:`~screen_cli.physics.elasticity.strain.unit_strains` for the whole tensor.
    amplitude : float
        Largest element of each strain; both signs are taken.
    distance : float
        Displacement in the strained supercells, Å.

    Raises
    ------
    ConfigError
        The amplitude is not positive.
    PhysicsError
        A mode of the unstrained crystal is imaginary.
    """
    from screen_cli.stages.phonon_objects import primitive_atom_of_unitcell

    if not 0 < amplitude < 0.1:
        raise ConfigError(f"the strain is {amplitude}, expected a small positive number such as {STRAIN}.")
    _irreducible_points(phonopy, mesh)  # imaginary modes are told before forces are spent
    unitcell, primitive = ase_cell(phonopy.unitcell), ase_cell(phonopy.primitive)
    ions = InternalStrain.of(primitive, calculator)
    images = primitive_atom_of_unitcell(phonopy)
    derivatives = []
    for number, strain in enumerate(strains):
        pair = []
        size = amplitude / float(np.abs(strain).max())
        for step in (size, -size):
            deformed = strained(unitcell, step * strain)
            deformed.positions += ions.relax(strained(primitive, step * strain), calculator)[images]
            pair.append(force_constants_of(deformed, phonopy, calculator, distance))
        derivatives.append((pair[0] - pair[1]) / (2 * size))
        logger.info("strained crystals: strain %d of %d", number + 1, len(strains))
    return gruneisen_from_derivatives(phonopy, mesh, strains, np.array(derivatives))


def gruneisen_from_derivatives(
    phonopy: Phonopy, mesh: Sequence[int], strains: NDArray[np.float64], derivatives: NDArray[np.float64]
) -> ModeGruneisen:
    """Mode Grüneisen tensors from derivatives of the force constants, wherever they come from.

    Parameters
    ----------
    phonopy : Phonopy
        Of the unstrained crystal, with force constants.
    mesh : sequence of int
        Γ-centred mesh.
    strains : ndarray
        float64 (n_strains, 3, 3), orthonormal.
    derivatives : ndarray
        float64 (n_strains, n_primitive, n_atoms, 3, 3), eV/Å²: ∂Φ by the size of each strain, ions relaxed.

    Raises
    ------
    PhysicsError
        A mode of the unstrained crystal is imaginary.
    """
    points = _irreducible_points(phonopy, mesh)
    along = _relative_shifts(phonopy, points, derivatives)  # (n_irr, n_bands, n_strains)
    return points.with_tensors(np.einsum("qsn,nkl->qskl", along, strains))


def force_constants_of(
    deformed: Atoms, phonopy: Phonopy, calculator: BaseCalculator, distance: float
) -> NDArray[np.float64]:
    """Compact fc2 of a deformed unit cell by finite differences, on the atoms of ``phonopy``.

    Parameters
    ----------
    deformed : ase.Atoms
        Unit cell with the atoms of ``phonopy.unitcell``, in that order.
    phonopy : Phonopy
        Gives the multiples and the primitive cell.
    distance : float
        Displacement, Å.

    Returns
    -------
    ndarray
        float64 (n_primitive, n_atoms, 3, 3), eV/Å².
    """
    made = deformed_phonopy(deformed, phonopy, calculator, distance)
    return np.asarray(made.force_constants, dtype=np.float64)


def deformed_phonopy(deformed: Atoms, phonopy: Phonopy, calculator: BaseCalculator, distance: float) -> Phonopy:
    """Phonopy object of a deformed unit cell with compact force constants (see :func:`force_constants_of`)."""
    from phonopy import Phonopy as PhonopyObject

    result = PhonopyObject(
        phonopy_cell(deformed),
        supercell_matrix=phonopy.supercell_matrix,
        primitive_matrix=phonopy.primitive_matrix,
        symprec=SYMPREC,
        log_level=0,
    )
    result.generate_displacements(distance=distance)
    moves = cast("Type1DisplacementDataset", result.dataset)["first_atoms"]
    vectors = np.zeros((len(moves), len(result.supercell), 3))
    for row, move in zip(vectors, moves, strict=True):
        row[move["number"]] = move["displacement"]
    forces, _ = compute_force_set(SupercellSet.of(result.supercell, vectors), calculator, ForcesSettings())
    result.forces = forces.forces
    result.produce_force_constants(calculate_full_force_constants=False, show_drift=False)
    result.symmetrize_force_constants(show_drift=False)
    return result


def fold_fc2(phono3py: Phono3py) -> NDArray[np.float64]:
    """Compact fc2 on the supercell of fc3: Φ(0, l) = Σ_L Φ(0, l + L) over the smaller supercell's lattice.

    The pairs of the fc2 supercell stand at their shortest vectors, divided where there are several, as in its
    dynamical matrix. So it need not be a multiple of the other (5×5×3 and 3×3×2 of wurtzite).
    """
    fc2 = np.asarray(phono3py.fc2)
    if fc2.shape[0] == fc2.shape[1] != len(phono3py.primitive):
        fc2 = fc2[np.asarray(phono3py.phonon_primitive.p2s_map)]
    if phono3py.phonon_supercell_matrix is None:
        return fc2
    small = phono3py.supercell
    vectors, places = phono3py.phonon_primitive.get_smallest_vectors()
    cartesian, inverse = np.asarray(vectors) @ phono3py.phonon_primitive.cell, np.linalg.inv(small.cell)
    folded = np.zeros((len(fc2), len(small), 3, 3))
    for row, origin in enumerate(np.asarray(small.positions)[np.asarray(phono3py.primitive.p2s_map)]):
        counts, begins = np.asarray(places)[:, row].T
        atoms = np.repeat(np.arange(len(counts)), counts)
        ends = origin + np.concatenate([cartesian[begin : begin + n] for begin, n in zip(begins, counts, strict=True)])
        differences = (ends[:, None] - np.asarray(small.positions)[None]) @ inverse
        images = np.argmin(np.abs(differences - np.rint(differences)).sum(axis=2), axis=1)
        np.add.at(folded[row], images, fc2[row, atoms] / counts[atoms, None, None])
    return folded


def _irreducible_points(phonopy: Phonopy, mesh: Sequence[int]) -> ModeGruneisen:
    """Points, weights and frequencies of a mesh; tensors still zero."""
    sampled = solve_mesh(phonopy, mesh)
    frequencies, qpoints = np.array(sampled.frequencies), np.array(sampled.qpoints)
    translations = find_translations(qpoints, np.asarray(sampled.eigenvectors), np.asarray(phonopy.primitive.masses))
    if not is_stable(frequencies, translations, gamma_tolerance_thz=_ACOUSTIC_THZ, tolerance_thz=0.0):
        raise PhysicsError(
            f"the lowest frequency of the mesh is {frequencies.min():.3f} THz: the crystal has imaginary modes, which "
            "have no Grüneisen parameter. Relax it further, or treat it as unstable."
        )
    return ModeGruneisen(
        qpoints, np.array(sampled.weights), frequencies, np.zeros((*frequencies.shape, 3, 3)), translations
    )


def _relative_shifts(phonopy: Phonopy, points: ModeGruneisen, derivatives: NDArray[np.float64]) -> NDArray[np.float64]:
    """−⟨e|∂D|e⟩/2ω² for each derivative of the force constants, (n_irr, n_bands, n_derivatives)."""
    from phonopy.harmonic.dynamical_matrix import DynamicalMatrix

    supercell, primitive = phonopy.supercell, phonopy.primitive
    changes = [DynamicalMatrix(supercell, primitive, np.array(fc, order="C")) for fc in derivatives]
    matrix = cast("DynamicalMatrix", phonopy.dynamical_matrix)
    values = np.zeros((*points.frequencies.shape, len(changes)))
    for row, qpoint in enumerate(points.qpoints):
        for each in (matrix, *changes):
            each.run(qpoint)
        squares, vectors = np.linalg.eigh(np.asarray(matrix.dynamical_matrix))
        changed = np.array([each.dynamical_matrix for each in changes])
        values[row] = relative_shifts(squares, vectors, changed, ~points.translations[row])
    return values
