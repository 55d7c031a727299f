"""Read phono3py's files: kappa-*.hdf5 linewidths, and the crystal from cell and dims or from one YAML."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from phon_wigner.errors import GridMismatchError, InputFileError
from phon_wigner.phonons.harmonic import HarmonicCrystal
from phon_wigner.phonons.linewidths import Linewidths

PathLike = str | os.PathLike[str]


def read_kappa_file(path: PathLike) -> Linewidths:
    """Open the linewidths of a phono3py kappa-*.hdf5.

    ``gamma`` stays on disk and is read one temperature at a time. ``gamma_isotope`` (which phono3py's own
    ``--read-gamma`` drops), ``gamma_elph`` and the boundary scattering of ``boundary_mfp`` are kept.

    Parameters
    ----------
    path : path
        File of a completed ``--br`` or ``--lbte`` run.

    Returns
    -------
    Linewidths

    Raises
    ------
    InputFileError
        Missing file or dataset.
    """
    path = Path(path)
    if not path.is_file():
        raise InputFileError(f"linewidth file {path} does not exist. Run phono3py --br, or give the right path.")
    try:
        handle = h5py.File(path, "r")
    except OSError as error:
        raise InputFileError(f"{path} is not a readable HDF5 file ({error}). Re-run phono3py --br.") from error
    missing = [name for name in ("temperature", "gamma", "qpoint", "weight") if name not in handle]
    if missing:
        raise InputFileError(
            f"{path} lacks {', '.join(missing)}; it holds {', '.join(sorted(handle))}. Give the kappa-m*.hdf5 of a "
            "complete run, not one per grid point (kappa-m*-g*.hdf5)."
        )
    gamma = handle["gamma"]
    if gamma.ndim != 3:
        raise InputFileError(
            f"{path}: gamma has shape {gamma.shape}, expected (temperatures, q points, bands). Give the "
            "kappa-m*.hdf5 of all grid points and bands."
        )
    static = np.zeros(gamma.shape[1:])
    if "gamma_isotope" in handle:
        static = static + handle["gamma_isotope"][()]
    if "boundary_mfp" in handle and "group_velocity" in handle:
        from phono3py.conductivity.scattering_solvers import compute_bulk_boundary_scattering

        static = static + compute_bulk_boundary_scattering(
            handle["group_velocity"][()], float(handle["boundary_mfp"][()])
        )
    widths: Any = gamma
    if "gamma_elph" in handle:
        widths = _SummedRows(gamma, handle["gamma_elph"])
    mesh = tuple(int(n) for n in np.ravel(handle["mesh"][()])) if "mesh" in handle else None
    return Linewidths(
        temperatures=np.asarray(handle["temperature"][()], dtype=np.float64),
        qpoints=np.asarray(handle["qpoint"][()], dtype=np.float64),
        weights=np.asarray(handle["weight"][()], dtype=np.int64),
        gamma=widths,
        gamma_static=static,
        frequencies=np.asarray(handle["frequency"][()]) if "frequency" in handle else None,
        mesh=mesh,
        source=path.name,
    ).checked()


class _SummedRows:
    """Two datasets of one shape, added row by row when read, so that neither is held in memory."""

    def __init__(self, first: Any, second: Any) -> None:
        if second.size != first.size:
            raise InputFileError(
                f"gamma_elph has shape {second.shape}, expected {first.shape} as gamma. Take both from one run."
            )
        self._parts = (first, second)
        self.shape = first.shape

    def __getitem__(self, key: Any) -> NDArray[np.float64]:
        first, second = self._parts
        if second.shape != first.shape:  # a leading axis of one smearing
            return np.asarray(first[key] + second[0][key])
        return np.asarray(first[key] + second[key])


@dataclass(frozen=True)
class CrystalFiles:
    """Where the harmonic crystal comes from; names follow phono3py's options.

    Attributes
    ----------
    fc2 : path, optional
        fc2.hdf5, fc2-*.hdf5 or FORCE_CONSTANTS. Not needed when the YAML holds force constants.
    cell : path, optional
        Unit cell (POSCAR or another phonopy format).
    yaml : path, optional
        phono3py_params.yaml, phono3py_disp.yaml or phono3py.yaml instead of cell and dims.
    dim, dim_fc2 : sequence of int, optional
        Three or nine numbers; fc2 belongs to ``dim_fc2`` when given, else to ``dim``.
    primitive_axes : str or sequence of float, optional
        ``--pa``: "auto", a centring letter or nine numbers.
    born : path, optional
        BORN file; turns the non-analytical correction on.
    nac_method : str
        "gonze" or "wang".
    nonac : bool
        Ignore NAC parameters of the YAML.
    symprec : float
        Symmetry tolerance, Å.
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


def load_crystal(files: CrystalFiles) -> HarmonicCrystal:
    """Build the harmonic crystal from phono3py's files.

    Raises
    ------
    InputFileError
        A file is missing, or neither YAML nor cell and dims were given.
    GridMismatchError
        The force constants belong to another supercell.
    """
    for label, path in (("fc2", files.fc2), ("cell", files.cell), ("yaml", files.yaml), ("born", files.born)):
        if path is not None and not Path(path).is_file():
            raise InputFileError(f"--{label} {path} does not exist. Give the path of an existing file.")
    if files.yaml is None and (files.cell is None or (files.dim is None and files.dim_fc2 is None)):
        raise InputFileError(
            "no crystal: give --cell POSCAR and --dim (or --dim-fc2), or one phono3py_params.yaml/phono3py_disp.yaml."
        )
    parts = _from_yaml(files) if files.yaml is not None else _from_cell(files)
    force_constants = parts.force_constants
    if force_constants is None:
        if files.fc2 is None:
            raise InputFileError("no second-order force constants: give --fc2 fc2.hdf5 (the YAML holds none).")
        force_constants = _read_fc2(files.fc2)
    return _assemble(parts, force_constants, files.symprec)


def crystal_from_phono3py(phono3py: Any) -> HarmonicCrystal:
    """Take the harmonic part of a :class:`phono3py.Phono3py` object (fc2 and NAC parameters set)."""
    matrix = phono3py.phonon_supercell_matrix
    if matrix is None:
        matrix = phono3py.supercell_matrix
    parts = _Parts(phono3py.unitcell, matrix, phono3py.primitive_matrix, phono3py.nac_params, None)
    return _assemble(parts, phono3py.fc2, phono3py.symmetry.tolerance)


class _Parts(NamedTuple):
    """What a dynamical matrix is made of, in phonopy's types."""

    unitcell: Any
    supercell_matrix: Any
    primitive_matrix: Any
    nac_params: Any
    force_constants: NDArray[np.float64] | None


def _assemble(parts: _Parts, force_constants: Any, symprec: float) -> HarmonicCrystal:
    """Build the dynamical matrix; symmetry is searched in the primitive cell only (the supercell is costly)."""
    from phonopy.harmonic.dynamical_matrix import get_dynamical_matrix
    from phonopy.physical_units import get_physical_units
    from phonopy.structure.cells import get_primitive, get_primitive_matrix, get_supercell
    from phonopy.structure.symmetry import Symmetry

    supercell = get_supercell(parts.unitcell, parts.supercell_matrix, symprec=symprec)
    axes = parts.primitive_matrix
    if isinstance(axes, str) and axes == "auto":
        from phonopy.structure.cells import guess_primitive_matrix

        axes = guess_primitive_matrix(parts.unitcell, symprec=symprec)
    else:
        axes = get_primitive_matrix(axes, symprec)
    to_primitive = np.linalg.inv(np.asarray(parts.supercell_matrix, dtype=np.float64))
    if axes is not None:
        to_primitive = to_primitive @ axes
    primitive = get_primitive(supercell, to_primitive, symprec=symprec, store_dense_svecs=True)
    n_super, n_primitive = len(supercell), len(primitive)
    if force_constants.shape[1] != n_super or force_constants.shape[0] not in (n_super, n_primitive):
        raise GridMismatchError(
            f"force constants have shape {force_constants.shape}, expected ({n_primitive} or {n_super}, {n_super}, "
            f"3, 3) for a supercell of {n_super} atoms and a primitive cell of {n_primitive}. Check --dim-fc2, "
            "--dim and --pa."
        )
    nac = parts.nac_params(primitive) if callable(parts.nac_params) else parts.nac_params
    matrix = get_dynamical_matrix(force_constants, supercell, primitive, nac_params=nac)
    operations = np.asarray(Symmetry(primitive, symprec).reciprocal_operations, dtype=np.int64)
    return HarmonicCrystal(matrix, operations, float(get_physical_units().DefaultToTHz), symprec)


def _from_cell(files: CrystalFiles) -> _Parts:
    """Take the crystal from --cell and --dim."""
    from phonopy.interface.calculator import read_crystal_structure

    cell, _ = read_crystal_structure(str(files.cell))
    if cell is None:
        raise InputFileError(f"phonopy could not read a cell from {files.cell}. Give a POSCAR.")
    dims = files.dim_fc2 if files.dim_fc2 is not None else files.dim
    matrix = _matrix(dims if dims is not None else (1, 1, 1), "--dim-fc2")
    axes = files.primitive_axes if files.primitive_axes is not None else "auto"
    return _Parts(cell, matrix, _axes(axes), _born_reader(files), None)


def _from_yaml(files: CrystalFiles) -> _Parts:
    """Take the crystal, and force constants when it holds any, from a phono3py YAML."""
    from phono3py.interface.phono3py_yaml import Phono3pyYaml

    parser = Phono3pyYaml()
    parser.read(files.yaml)
    matrix = parser.phonon_supercell_matrix
    if matrix is None:
        matrix = parser.supercell_matrix
    dims = files.dim_fc2 if files.dim_fc2 is not None else files.dim
    if dims is not None:
        matrix = _matrix(dims, "--dim-fc2")
    axes = parser.primitive_matrix if files.primitive_axes is None else _axes(files.primitive_axes)
    nac = _born_reader(files)
    if nac is None and parser.nac_params is not None and not files.nonac:
        nac = {**parser.nac_params, "method": parser.nac_params.get("method", files.nac_method)}
    stored = parser.force_constants if files.fc2 is None else None
    return _Parts(parser.unitcell, matrix, axes, nac, None if stored is None else np.asarray(stored))


def _born_reader(files: CrystalFiles) -> Any:
    """Return a function primitive -> NAC parameters for --born, or None."""
    if files.born is None or files.nonac:
        return None

    def read(primitive: Any) -> dict[str, Any]:
        from phonopy.file_IO import parse_BORN
        from phonopy.interface.calculator import get_calculator_physical_units

        nac = dict(parse_BORN(primitive, filename=str(files.born)))
        nac["method"] = files.nac_method
        if not nac.get("factor"):
            nac["factor"] = get_calculator_physical_units("vasp").nac_factor
        return nac

    return read


def _read_fc2(path: PathLike) -> NDArray[np.float64]:
    """Read fc2.hdf5 of phono3py (either dataset name) or FORCE_CONSTANTS of phonopy."""
    if not h5py.is_hdf5(path):
        from phonopy.file_IO import parse_FORCE_CONSTANTS

        return np.asarray(parse_FORCE_CONSTANTS(str(path)))
    with h5py.File(path, "r") as handle:
        for name in ("force_constants", "fc2"):
            if name in handle:
                return np.asarray(handle[name][()], dtype=np.float64)
        raise InputFileError(
            f"{path} has no dataset force_constants or fc2 (it holds {', '.join(sorted(handle))}). Give "
            "phono3py's fc2.hdf5."
        )


def _matrix(dims: Sequence[int], option: str) -> NDArray[np.int64]:
    """Turn three or nine integers into a supercell matrix."""
    values = np.asarray(dims, dtype=np.int64).ravel()
    if values.size == 3:
        return np.diag(values)
    if values.size == 9:
        return values.reshape(3, 3)
    raise InputFileError(f"{option} takes 3 or 9 integers, got {values.size}: {values.tolist()}.")


def _axes(axes: str | Sequence[float]) -> Any:
    """Turn --pa into what phonopy expects."""
    if isinstance(axes, str):
        return axes
    return np.asarray(axes, dtype=np.float64).reshape(3, 3)
