"""Read the harmonic crystal from what phono3py and phonopy leave: a YAML, or a cell and matrices, and fc2."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from phon_wigner.errors import InputFileError, OptionError
from phon_wigner.file_access.reading import PathLike, existing_file, reading
from phon_wigner.files.born_file import read_born
from phon_wigner.files.force_constants import read_force_constants
from phon_wigner.files.phonopy_yaml import YamlCrystal, read_yaml_crystal
from phon_wigner.phonons.assembly import CrystalParts, Nac, build_crystal, nac_in_ev, scaled
from phon_wigner.phonons.harmonic import HarmonicCrystal
from phon_wigner.phonons.interfaces import InterfaceUnits, units_of

if TYPE_CHECKING:
    from phonopy.structure.cells import Primitive

logger = logging.getLogger(__name__)

MAX_SUPERCELL = 100_000
"""Most atoms of a supercell; phonopy would try to build any."""


@dataclass(frozen=True)
class CrystalFiles:
    """Where the harmonic crystal comes from; names follow phono3py's options.

    Attributes
    ----------
    fc2 : path, optional
        fc2.hdf5, ``fc2-*.hdf5``, force_constants.hdf5 or FORCE_CONSTANTS. Without it, ``fc2.hdf5`` beside the YAML, as
        phono3py-load does, else the force constants in the YAML.
    cell : path, optional
        Unit cell in the format of ``calculator``.
    yaml : path, optional
        phono3py_params.yaml, phono3py_disp.yaml, phono3py.yaml or phonopy's, instead of cell and dims.
    dim, dim_fc2 : sequence of int, optional
        Three or nine numbers; fc2 belongs to ``dim_fc2`` when given, else to ``dim``.
    primitive_axes : str or sequence of float, optional
        ``--pa``: "auto", a centring letter or nine numbers.
    born : path, optional
        BORN file; turns the non-analytical correction on. Without it, the parameters in the YAML, else ``BORN`` beside
        it.
    nac_method : str
        "gonze" or "wang".
    nonac : bool
        Ignore all NAC parameters.
    symprec : float
        Symmetry tolerance, Å.
    calculator : str, optional
        phonopy's name of the program ("qe", "abinit", …): format and unit of ``cell``, unit of FORCE_CONSTANTS and of a
        factor in BORN. A YAML says it itself.
    """

    fc2: PathLike | None = None
    cell: PathLike | None = None
    yaml: PathLike | None = None
    dim: Sequence[int] | None = None
    dim_fc2: Sequence[int] | None = None
    primitive_axes: str | Sequence[float] | None = None
    born: PathLike | None = None
    nac_method: str = "gonze"
    nonac: bool = False
    symprec: float = 1e-5
    calculator: str | None = None


def load_crystal(files: CrystalFiles) -> HarmonicCrystal:
    """Build the harmonic crystal from phono3py's or phonopy's files, in Å and eV.

    Raises
    ------
    InputFileError
        A file is missing or damaged, or neither YAML nor cell and dims were given.
    UnitError
        A unit is unknown, or two statements about it contradict each other.
    GridMismatchError
        The force constants belong to another supercell.
    """
    for label, path in (("--fc2", files.fc2), ("--cell", files.cell), ("the YAML", files.yaml), ("--born", files.born)):
        if path is not None:
            existing_file(path, label, "Give the path of an existing file.")
    if not 0 < files.symprec < 1:
        raise OptionError(f"--symprec is {files.symprec:g} Å, expected more than 0 and less than 1 Å.")
    if files.yaml is not None:
        return build_crystal(_from_yaml(files, files.yaml), files.symprec)
    if files.cell is None or (files.dim is None and files.dim_fc2 is None):
        raise InputFileError(
            "no crystal: give --cell POSCAR and --dim (or --dim-fc2), or one phono3py_params.yaml/phono3py_disp.yaml."
        )
    return build_crystal(_from_cell(files, files.cell), files.symprec)


def _from_cell(files: CrystalFiles, path: PathLike) -> CrystalParts:
    """Take the crystal from --cell and --dim."""
    from phonopy.interface.calculator import read_crystal_structure

    units = units_of(files.calculator, "the option for the program")
    program = units.name
    cell = None
    with reading(
        path, f"a unit cell of {program}", "Name its program with phono3py's option, e.g. --qe, or give a POSCAR."
    ):
        cell, _ = read_crystal_structure(str(path), interface_mode=program)
        if cell is None or len(cell) == 0:
            raise ValueError("it holds no cell")
    if files.fc2 is None:
        raise InputFileError("no second-order force constants: give --fc2 fc2.hdf5.")
    matrix = _matrix(files, None, len(cell))
    force_constants = read_force_constants(files.fc2, units, phono3py=False)
    axes = files.primitive_axes if files.primitive_axes is not None else "auto"
    nac = None if files.born is None or files.nonac else _born_reader(files.born, units, files.nac_method)
    return CrystalParts(scaled(cell, units.length), matrix, _axes(axes), nac, force_constants)


def _from_yaml(files: CrystalFiles, path: PathLike) -> CrystalParts:
    """Take the crystal from a YAML, and what is missing there from the files beside it."""
    stored = read_yaml_crystal(path, files.calculator)
    files = _with_files_beside(files, stored, Path(path).parent)
    matrix = _matrix(files, stored.supercell_matrix, len(stored.unitcell))
    axes = stored.primitive_matrix if files.primitive_axes is None else _axes(files.primitive_axes)
    nac: Nac | Callable[[Primitive], Nac] | None = None
    if files.nonac:
        pass
    elif files.born is not None:
        nac = _born_reader(files.born, stored.units, files.nac_method)
    elif stored.nac is not None:
        nac = nac_in_ev(stored.nac, stored.units, str(path), files.nac_method)
    if files.fc2 is not None:
        force_constants = read_force_constants(files.fc2, stored.units, phono3py=stored.phono3py)
    elif stored.force_constants is not None:
        force_constants = stored.force_constants
    else:
        raise InputFileError(
            f"no second-order force constants: {path} holds none and fc2.hdf5 is not beside it. Give --fc2 fc2.hdf5, "
            "which phono3py writes when it runs."
        )
    return CrystalParts(stored.unitcell, matrix, axes, nac, force_constants)


def _with_files_beside(files: CrystalFiles, stored: YamlCrystal, folder: Path) -> CrystalFiles:
    """Fill in force constants and BORN from the folder of the YAML, as phono3py-load and phonopy-load do."""
    fc2, born = files.fc2, files.born
    if fc2 is None and (stored.phono3py or stored.force_constants is None):
        names = ("fc2.hdf5",) if stored.phono3py else ("force_constants.hdf5", "FORCE_CONSTANTS")
        fc2 = next((folder / name for name in names if (folder / name).is_file()), None)
        logger.info("force constants from %s", fc2 or "the YAML")
    if born is None and stored.nac is None and not files.nonac and (folder / "BORN").is_file():
        born = folder / "BORN"
        logger.info("NAC parameters from %s; --nonac leaves them out", born)
    return replace(files, fc2=fc2, born=born)


def _born_reader(path: PathLike, units: InterfaceUnits, method: str) -> Callable[[Primitive], Nac]:
    """Return a function primitive -> NAC parameters."""
    return lambda primitive: read_born(path, primitive, units, method)


def _matrix(files: CrystalFiles, stored: NDArray[np.int64] | None, n_atoms: int) -> NDArray[np.int64]:
    """Return the supercell matrix of the force constants: --dim-fc2, --dim, or what the YAML says."""
    option, dims = ("--dim-fc2", files.dim_fc2) if files.dim_fc2 is not None else ("--dim", files.dim)
    matrix = stored if stored is not None else np.eye(3, dtype=np.int64)
    if dims is not None:
        values = np.asarray(dims, dtype=np.int64).ravel()
        if values.size not in (3, 9):
            raise OptionError(f"{option} takes 3 or 9 integers, got {values.size}: {values.tolist()}.")
        matrix = np.diag(values) if values.size == 3 else values.reshape(3, 3)
    size = abs(float(np.linalg.det(matrix.astype(np.float64)))) * n_atoms
    if not 0.5 < size <= MAX_SUPERCELL:
        raise OptionError(
            f"the supercell matrix {matrix.tolist()} ({option}) makes {size:.0f} atoms out of {n_atoms}, expected 1 to "
            f"{MAX_SUPERCELL}."
        )
    return matrix


def _axes(axes: str | Sequence[float]) -> str | NDArray[np.float64]:
    """Turn --pa into what phonopy expects."""
    if isinstance(axes, str):
        return axes
    values = np.asarray(axes, dtype=np.float64)
    if values.size != 9:
        raise OptionError(f"--pa takes auto, a centring letter or nine numbers, got {values.size}: {values.tolist()}.")
    return values.reshape(3, 3)
