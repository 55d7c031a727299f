"""Build the harmonic crystal from cell, matrices, force constants and charges, all in Å and eV.

A cell whose vectors are left-handed has a negative volume: phonopy's non-analytical term and every conductivity then
have the wrong sign. It is turned into its mirror image by inversion: the lattice vectors change sign, fractional
coordinates, q points, supercell and primitive matrices stay, and so do force constants, Born charges, the dielectric
tensor and κ, which are tensors of rank two. Only velocities change sign, and are given back in the frame of the input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from phonopy.physical_units import get_physical_units

from phon_wigner.errors import GridMismatchError, InputFileError, ShapeError, UnitError
from phon_wigner.phonons.harmonic import HarmonicCrystal
from phon_wigner.phonons.interfaces import InterfaceUnits, nac_factor_ev_angstrom, units_of

if TYPE_CHECKING:
    from phono3py import Phono3py
    from phonopy import Phonopy
    from phonopy.harmonic.dynamical_matrix import NacParams
    from phonopy.structure.atoms import PhonopyAtoms
    from phonopy.structure.cells import Primitive

Nac = Mapping[str, object]
"""NAC parameters as phonopy has them: ``born`` (n_atoms, 3, 3; e), ``dielectric`` (3, 3), ``factor``, ``method``."""


@dataclass(frozen=True)
class CrystalParts:
    """What a dynamical matrix is made of.

    Attributes
    ----------
    unitcell : phonopy.structure.atoms.PhonopyAtoms
        Å, atomic mass units.
    supercell_matrix : NDArray[np.int64], shape (3, 3)
        Of the force constants.
    primitive_matrix : str or array, shape (3, 3), or None
        As phonopy takes it: "auto", a centring letter, nine numbers; None for the unit cell itself.
    nac : mapping, callable or None
        NAC parameters for eV and Å, or a function of the primitive cell that reads them.
    force_constants : NDArray[np.float64], shape (n_primitive or n_supercell, n_supercell, 3, 3), eV/Å²
    """

    unitcell: PhonopyAtoms
    supercell_matrix: NDArray[np.int64]
    primitive_matrix: str | ArrayLike | None
    nac: Nac | Callable[[Primitive], Nac] | None
    force_constants: NDArray[np.float64]


def build_crystal(parts: CrystalParts, symprec: float = 1e-5) -> HarmonicCrystal:
    """Build the dynamical matrix; symmetry is searched in the primitive cell only (the supercell is costly).

    Parameters
    ----------
    parts : CrystalParts
    symprec : float
        Symmetry tolerance, Å.

    Raises
    ------
    GridMismatchError
        The force constants belong to another supercell.
    ShapeError
        Lattice, matrices or force constants are singular or not finite.
    """
    from phonopy.harmonic.dynamical_matrix import get_dynamical_matrix
    from phonopy.structure.cells import get_primitive, get_supercell
    from phonopy.structure.symmetry import Symmetry

    matrix = np.asarray(parts.supercell_matrix, dtype=np.int64)
    unitcell = _right_handed(parts.unitcell)
    axes = _primitive_axes(parts.primitive_matrix, unitcell, symprec)
    _check_size(parts.force_constants, len(unitcell), matrix, axes)
    supercell = get_supercell(unitcell, matrix, symprec=symprec)
    to_primitive = np.linalg.inv(matrix.astype(np.float64)) @ axes
    primitive = get_primitive(supercell, to_primitive, symprec=symprec, store_dense_svecs=True)
    nac = parts.nac(primitive) if callable(parts.nac) else parts.nac
    if nac is not None:
        nac = {**nac, "factor": nac_factor_ev_angstrom() if nac.get("factor") is None else nac["factor"]}
        _check_nac(nac, len(primitive))
    charges = cast("NacParams | None", nac)
    dynamical = get_dynamical_matrix(parts.force_constants, supercell, primitive, nac_params=charges)
    operations = np.asarray(Symmetry(primitive, symprec).reciprocal_operations, dtype=np.int64)
    factor = float(get_physical_units().DefaultToTHz)
    return HarmonicCrystal(dynamical, operations, factor, symprec, inverted=unitcell is not parts.unitcell)


def crystal_from_phono3py(phono3py: Phono3py) -> HarmonicCrystal:
    """Take the harmonic part of a :class:`phono3py.Phono3py` object (Å and eV; fc2 and NAC parameters set).

    Raises
    ------
    ShapeError
        It holds no second-order force constants.
    UnitError
        Its NAC factor is not that of eV and Å.
    """
    if phono3py.fc2 is None:
        raise ShapeError("this Phono3py object holds no fc2. Produce or load it first.")
    matrix = phono3py.phonon_supercell_matrix
    if matrix is None:
        matrix = phono3py.supercell_matrix
    nac = phono3py.nac_params
    return build_crystal(
        CrystalParts(phono3py.unitcell, matrix, phono3py.primitive_matrix, nac, np.asarray(phono3py.fc2)),
        phono3py.symmetry.tolerance,
    )


def crystal_from_phonopy(phonon: Phonopy) -> HarmonicCrystal:
    """Take a :class:`phonopy.Phonopy` object with force constants (and NAC parameters) set, in its program's units.

    Raises
    ------
    ShapeError
        It holds no force constants.
    """
    if phonon.force_constants is None:
        raise ShapeError("this Phonopy object holds no force constants. Produce or load them first.")
    units = units_of(phonon.calculator, "this Phonopy object")
    if units.length == 1.0 and phonon.primitive.volume > 0:
        return HarmonicCrystal.from_phonopy(phonon)
    nac = None if phonon.nac_params is None else nac_in_ev(phonon.nac_params, units, "this Phonopy object")
    return build_crystal(
        CrystalParts(
            scaled(phonon.unitcell, units.length),
            phonon.supercell_matrix,
            phonon.primitive_matrix,
            nac,
            np.asarray(phonon.force_constants) * units.force_constants,
        ),
        phonon.symmetry.tolerance,
    )


def scaled(cell: PhonopyAtoms, length: float) -> PhonopyAtoms:
    """Return a copy of a cell with its lattice vectors times ``length``, fractional coordinates kept."""
    copy = cell.copy()
    copy.cell = np.asarray(cell.cell) * length
    return copy


def nac_in_ev(nac: Nac, units: InterfaceUnits, source: str, method: str | None = None) -> dict[str, object]:
    """Return NAC parameters whose factor is for eV and Å, by the method asked for where they name none."""
    stated = nac.get("factor")
    factor = units.nac_factor_in_ev(None if stated is None else float(str(stated)), source)
    converted = {**nac, "factor": factor}
    if method is not None:
        converted.setdefault("method", method)
    return converted


def _check_nac(nac: Nac, n_atoms: int) -> None:
    """Refuse NAC parameters that do not belong to the primitive cell, are not finite, or are in another unit."""
    for name, shape in (("born", (n_atoms, 3, 3)), ("dielectric", (3, 3))):
        values = np.asarray(nac.get(name), dtype=np.float64)
        if values.shape != shape or not np.isfinite(values).all():
            problem = "numbers that are not finite" if values.shape == shape else f"shape {values.shape}"
            raise GridMismatchError(
                f"the NAC parameters hold {name} with {problem}, expected finite numbers of shape {shape} for a "
                "primitive "
                f"cell of {n_atoms} atoms. Give the BORN file of this cell (--born), or --nonac."
            )
    if np.linalg.eigvalsh(np.asarray(nac["dielectric"], dtype=np.float64)).min() <= 0:
        raise GridMismatchError("the dielectric tensor is not positive definite. Check the BORN file, or give --nonac.")
    factor = float(str(nac["factor"]))
    if abs(factor / nac_factor_ev_angstrom() - 1) > 0.01:
        raise UnitError(
            f"the NAC factor is {factor:g}, expected {nac_factor_ev_angstrom():.5g} (eV and Å). phono3py works in "
            "eV and Å "
            "whatever the program was: leave the factor out, or set this one."
        )


def _primitive_axes(axes: str | ArrayLike | None, unitcell: PhonopyAtoms, symprec: float) -> NDArray[np.float64]:
    """Return the primitive axes relative to the unit cell, (3, 3)."""
    from phonopy.structure.cells import get_primitive_matrix, guess_primitive_matrix

    found: NDArray[np.float64] | None
    if isinstance(axes, str) and axes == "auto":
        found = guess_primitive_matrix(unitcell, symprec=symprec)
    else:
        try:
            found = get_primitive_matrix(cast("NDArray[np.float64]", axes), symprec)  # it says what it does not take
        except (RuntimeError, ValueError) as error:
            raise ShapeError(f"--pa {axes!r} is none of auto, P, F, I, A, C, R or nine numbers ({error}).") from error
    matrix = np.eye(3) if found is None else np.asarray(found, dtype=np.float64)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or np.linalg.det(matrix) < 1e-6:
        raise ShapeError(
            f"the primitive axes {matrix.tolist()} (--pa) span no cell, expected nine independent numbers."
        )
    return matrix


def _check_size(
    force_constants: NDArray[np.float64], n_unit: int, matrix: NDArray[np.int64], axes: NDArray[np.float64]
) -> None:
    """Refuse force constants of another supercell before that supercell is built."""
    if matrix.shape != (3, 3) or abs(np.linalg.det(matrix)) < 0.5:
        raise ShapeError(
            f"the supercell matrix {matrix.tolist()} (--dim) spans no cell, expected integers with a volume."
        )
    n_super = round(abs(float(np.linalg.det(matrix))) * n_unit)
    n_primitive = round(abs(float(np.linalg.det(axes))) * n_unit)
    shape = force_constants.shape
    if len(shape) != 4 or shape[1] != n_super or shape[0] not in (n_super, n_primitive) or shape[2:] != (3, 3):
        raise GridMismatchError(
            f"force constants have shape {shape}, expected ({n_primitive} or {n_super}, {n_super}, 3, 3) for a "
            "supercell "
            f"of {n_super} atoms and a primitive cell of {n_primitive}. Check --dim-fc2, --dim and --pa."
        )
    if not np.isfinite(force_constants).all():
        raise InputFileError("the force constants are not all finite (NaN or infinite). Run phono3py again.")


def _right_handed(cell: PhonopyAtoms) -> PhonopyAtoms:
    """Return the cell, or its image under inversion when its vectors are left-handed."""
    lattice = np.asarray(cell.cell, dtype=np.float64)
    volume = float(np.linalg.det(lattice)) if np.isfinite(lattice).all() else 0.0
    if abs(volume) < 1e-3:
        raise ShapeError(
            f"the lattice vectors {lattice.tolist()} span no volume, expected three independent ones in Å."
        )
    return scaled(cell, -1.0) if volume < 0 else cell
