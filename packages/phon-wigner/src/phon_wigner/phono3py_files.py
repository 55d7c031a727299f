"""Read phono3py's files: kappa-*.hdf5 linewidths, and the crystal from cell and dims or from one YAML."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from phon_wigner.errors import GridMismatchError, InputFileError
from phon_wigner.harmonic import HarmonicCrystal
from phon_wigner.linewidths import Linewidths

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
        raise InputFileError(
            f"linewidth file {path} does not exist. Run phono3py --br, or give the right path."
        )
    try:
        handle = h5py.File(path, "r")
    except OSError as error:
        raise InputFileError(
            f"{path} is not a readable HDF5 file ({error}). Re-run phono3py --br."
        ) from error
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
        widths = gamma[()] + handle["gamma_elph"][()].reshape(gamma.shape)
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
    phonon, force_constants = _from_yaml(files) if files.yaml is not None else _from_cell(files)
    if force_constants is None:
        if files.fc2 is None:
            raise InputFileError(
                "no second-order force constants: give --fc2 fc2.hdf5 (the YAML holds none)."
            )
        force_constants = _read_fc2(files.fc2)
    n_super, n_primitive = len(phonon.supercell), len(phonon.primitive)
    if force_constants.shape[1] != n_super or force_constants.shape[0] not in (n_super, n_primitive):
        raise GridMismatchError(
            f"force constants have shape {force_constants.shape}, expected ({n_primitive} or {n_super}, {n_super}, "
            f"3, 3) for a supercell of {n_super} atoms and a primitive cell of {n_primitive}. Check --dim-fc2, --dim "
            "and --pa."
        )
    phonon.force_constants = force_constants
    return HarmonicCrystal.from_phonopy(phonon)


def crystal_from_phono3py(phono3py: Any) -> HarmonicCrystal:
    """Take the harmonic part of a :class:`phono3py.Phono3py` object (fc2 and NAC parameters set)."""
    from phonopy import Phonopy

    supercell_matrix = phono3py.phonon_supercell_matrix
    if supercell_matrix is None:
        supercell_matrix = phono3py.supercell_matrix
    phonon = Phonopy(
        phono3py.unitcell,
        supercell_matrix=supercell_matrix,
        primitive_matrix=phono3py.primitive_matrix,
        symprec=phono3py.symmetry.tolerance,
    )
    if phono3py.nac_params is not None:
        phonon.nac_params = phono3py.nac_params
    phonon.force_constants = phono3py.fc2
    return HarmonicCrystal.from_phonopy(phonon)


def _from_cell(files: CrystalFiles) -> tuple[Any, None]:
    """Build a Phonopy object without force constants from --cell and --dim."""
    from phonopy import Phonopy
    from phonopy.interface.calculator import read_crystal_structure

    cell, _ = read_crystal_structure(str(files.cell))
    if cell is None:
        raise InputFileError(f"phonopy could not read a cell from {files.cell}. Give a POSCAR.")
    dims = files.dim_fc2 if files.dim_fc2 is not None else files.dim
    assert dims is not None  # noqa: S101  (checked by the caller)
    axes = files.primitive_axes if files.primitive_axes is not None else "auto"
    phonon = Phonopy(
        cell, supercell_matrix=_matrix(dims, "--dim-fc2"), primitive_matrix=_axes(axes), symprec=files.symprec
    )
    _set_nac(phonon, files)
    return phonon, None


def _from_yaml(files: CrystalFiles) -> tuple[Any, NDArray[np.float64] | None]:
    """Build a Phonopy object from a phono3py YAML, with its force constants when it has any."""
    from phono3py.interface.phono3py_yaml import Phono3pyYaml
    from phonopy import Phonopy

    parser = Phono3pyYaml()
    parser.read(files.yaml)
    matrix = parser.phonon_supercell_matrix
    if matrix is None:
        matrix = parser.supercell_matrix
    if files.dim_fc2 is not None or files.dim is not None:
        dims = files.dim_fc2 if files.dim_fc2 is not None else files.dim
        matrix = _matrix(dims, "--dim-fc2")  # type: ignore[arg-type]
    axes = parser.primitive_matrix if files.primitive_axes is None else _axes(files.primitive_axes)
    phonon = Phonopy(parser.unitcell, supercell_matrix=matrix, primitive_matrix=axes, symprec=files.symprec)
    if parser.nac_params is not None and not files.nonac and files.born is None:
        nac = dict(parser.nac_params)
        nac.setdefault("method", files.nac_method)
        phonon.nac_params = nac
    _set_nac(phonon, files)
    stored = parser.force_constants if files.fc2 is None else None
    return phonon, None if stored is None else np.asarray(stored)


def _set_nac(phonon: Any, files: CrystalFiles) -> None:
    """Read a BORN file and switch the non-analytical correction on."""
    if files.born is None or files.nonac:
        return
    from phonopy.file_IO import parse_BORN

    nac = dict(parse_BORN(phonon.primitive, filename=str(files.born)))
    nac["method"] = files.nac_method
    if not nac.get("factor"):
        from phonopy.interface.calculator import get_calculator_physical_units

        nac["factor"] = get_calculator_physical_units("vasp").nac_factor
    phonon.nac_params = nac


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
            f"{path} has no dataset force_constants or fc2 (it holds {', '.join(sorted(handle))}). Give phono3py's fc2.hdf5."
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
