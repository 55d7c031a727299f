"""Read the crystal in a YAML of phono3py or phonopy: as data, with phonopy's own parsers and units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from phon_wigner.errors import InputFileError, UnitError
from phon_wigner.file_access.reading import PathLike, reading
from phon_wigner.files.safe_yaml import load_yaml
from phon_wigner.phonons.assembly import Nac, scaled
from phon_wigner.phonons.interfaces import InterfaceUnits, force_constant_unit, units_of

if TYPE_CHECKING:
    from phonopy.structure.atoms import PhonopyAtoms

_FIX = "Give phono3py_params.yaml, phono3py_disp.yaml or phono3py.yaml of the run, or one of phonopy."

_NEEDED = frozenset(
    {
        "phono3py",
        "phonopy",
        "supercell_matrix",
        "phonon_supercell_matrix",
        "primitive_matrix",
        "unit_cell",
        "lattice",
        "points",
        "atoms",
        "force_constants",
        "nac",
        "born_effective_charge",
        "dielectric_constant",
    }
)
"""What the parsers get; displacements and forces, most of such a file, do not matter here."""


@dataclass(frozen=True)
class YamlCrystal:
    """What one YAML says about the harmonic crystal.

    Attributes
    ----------
    unitcell : phonopy.structure.atoms.PhonopyAtoms
        Å, atomic mass units.
    supercell_matrix : NDArray[np.int64], shape (3, 3), or None
        Of the force constants: ``phonon_supercell_matrix`` where there is one.
    primitive_matrix : NDArray[np.float64], shape (3, 3), or None
    nac : mapping or None
        As it stands in the file, the factor in its unit.
    force_constants : NDArray[np.float64], shape (n_atoms, n_supercell, 3, 3), eV/Å², or None
    units : InterfaceUnits
        Of the program that the file names.
    phono3py : bool
        Written by phono3py, not by phonopy.
    """

    unitcell: PhonopyAtoms
    supercell_matrix: NDArray[np.int64] | None
    primitive_matrix: NDArray[np.float64] | None
    nac: Nac | None
    force_constants: NDArray[np.float64] | None
    units: InterfaceUnits
    phono3py: bool


def read_yaml_crystal(path: PathLike, calculator: str | None = None) -> YamlCrystal:
    """Read a YAML of phono3py or phonopy.

    Parameters
    ----------
    path : path
    calculator : str, optional
        The program, for a file that does not name it.

    Returns
    -------
    YamlCrystal

    Raises
    ------
    InputFileError
        The file is missing, damaged, unsafe, or holds no crystal.
    UnitError
        Its units contradict its program, or the program its option.
    """
    from phono3py.interface.phono3py_yaml import load_phono3py_yaml
    from phonopy.interface.phonopy_yaml import load_phonopy_yaml

    document = load_yaml(path)
    phono3py = "phonopy" not in document
    units = _units(document, path, calculator, "phono3py" if phono3py else "phonopy")
    data = None
    with reading(path, "phono3py YAML" if phono3py else "phonopy YAML", _FIX):
        needed = {key: value for key, value in document.items() if key in _NEEDED}
        data = load_phono3py_yaml(needed) if phono3py else load_phonopy_yaml(needed)
        if data.unitcell is None or len(data.unitcell) == 0:
            raise ValueError("it holds no unit cell")
        if getattr(data.unitcell, "has_weighted_species", False):
            raise ValueError("it mixes several species on one site, which is not supported")
    assert data is not None
    matrix = getattr(data, "phonon_supercell_matrix", None)
    matrix = data.supercell_matrix if matrix is None else matrix
    for name, found in (("supercell_matrix", matrix), ("primitive_matrix", data.primitive_matrix)):
        if found is not None and np.shape(found) != (3, 3):
            raise InputFileError(f"{path}: {name} has shape {np.shape(found)}, expected (3, 3). {_FIX}")
    constants = data.force_constants
    return YamlCrystal(
        unitcell=scaled(data.unitcell, units.length),
        supercell_matrix=matrix,
        primitive_matrix=data.primitive_matrix,
        nac=data.nac_params,
        force_constants=None
        if constants is None
        else np.asarray(constants) * _fc_unit(document, path, units, phono3py),
        units=units,
        phono3py=phono3py,
    )


def _units(document: dict[str, object], path: PathLike, calculator: str | None, header: str) -> InterfaceUnits:
    """Return the units of the program that the file names, checked against those that it states."""
    named = _text(document.get(header), "calculator")
    if named is not None and calculator is not None and named.lower() != calculator.lower():
        raise UnitError(f"{path} was made with {named}, the option says {calculator}. Leave the option out.")
    units = units_of(named if named is not None else calculator, str(path))
    stated = _text(document.get("physical_unit"), "length")
    if stated is not None and stated.lower() not in (units.length_name, {"au": "bohr"}.get(units.length_name, "")):
        raise UnitError(
            f"{path} states lengths in {stated}, but {units.name}"
            f"{'' if named or calculator else ' (no program is named)'} has them in {units.length_name}. Name the "
            "program in "
            f"its header '{header}: calculator:', or with phono3py's option, e.g. --qe."
        )
    return units


def _fc_unit(document: dict[str, object], path: PathLike, units: InterfaceUnits, phono3py: bool) -> float:
    """Return the unit of the force constants in the file, eV/Å²: always that in phono3py, the program's in phonopy."""
    if phono3py:
        return 1.0
    stated = _text(document.get("physical_unit"), "force_constants")
    return units.force_constants if stated is None else force_constant_unit(stated, str(path))


def _text(section: object, key: str) -> str | None:
    """Return one entry of a mapping as text, None where there is neither."""
    value = section.get(key) if isinstance(section, dict) else None
    return None if value is None else str(value)
