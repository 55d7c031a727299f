"""Read second-order force constants of phono3py and phonopy, in eV/Å² whatever program made them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from phon_wigner.errors import InputFileError, UnitError
from phon_wigner.file_access.reading import PathLike, existing_file, open_hdf5, read_array, reading
from phon_wigner.phonons.interfaces import InterfaceUnits, force_constant_unit

_FIX = "Give phono3py's fc2.hdf5, or force_constants.hdf5 or FORCE_CONSTANTS of phonopy."


def read_force_constants(path: PathLike, units: InterfaceUnits, *, phono3py: bool) -> NDArray[np.float64]:
    """Read force constants.

    An HDF5 file may state its unit; without one, phono3py's are in eV/Å² for every program and phonopy's in the unit of
    the program. FORCE_CONSTANTS, which phonopy writes, is always in that.

    Parameters
    ----------
    path : path
    units : InterfaceUnits
        Of the program that made the forces.
    phono3py : bool
        The crystal comes from a phono3py YAML, and so does an HDF5 file that does not say.

    Returns
    -------
    NDArray[np.float64], shape (n_atoms, n_supercell, 3, 3), eV/Å²

    Raises
    ------
    InputFileError
        The file is missing or damaged, or holds no force constants.
    UnitError
        The unit is unknown, or cannot be known.
    """
    found = existing_file(path, "the force constants", _FIX)
    if not h5py.is_hdf5(found):
        from phonopy.file_IO import parse_FORCE_CONSTANTS

        values = np.zeros(0)
        with reading(found, "FORCE_CONSTANTS", _FIX):
            _check_header(found)
            values = np.asarray(parse_FORCE_CONSTANTS(str(found)), dtype=np.float64)
        return values * units.force_constants
    with open_hdf5(found, "the force constants", _FIX) as handle:
        name = next((n for n in ("force_constants", "fc2") if n in handle), None)
        if name is None:
            raise InputFileError(
                f"{found} has no dataset force_constants or fc2 (it holds "
                f"{', '.join(sorted(handle)) or 'nothing'}). {_FIX}"
            )
        values = read_array(handle, name, found, (None, None, 3, 3))
        return values * _unit(handle, found, units, phono3py=phono3py)


def _unit(handle: h5py.File, path: Path, units: InterfaceUnits, *, phono3py: bool) -> float:
    """Return the unit of the force constants of an HDF5 file in eV/Å²."""
    if "physical_unit" in handle:
        stated = b""
        with reading(path, "HDF5 (physical_unit)", _FIX):
            stated = np.ravel(handle["physical_unit"][()])[0]
        return force_constant_unit(stated.decode("utf-8") if isinstance(stated, bytes) else str(stated), str(path))
    if phono3py or "version" in handle or units.force_constants == 1.0:
        return 1.0
    raise UnitError(
        f"{path} does not state its unit: phono3py's would be eV/Å², phonopy's with {units.name} "
        f"{units.force_constants:.5g} "
        "eV/Å². Add a dataset physical_unit (e.g. eV/angstrom^2), or give FORCE_CONSTANTS or the YAML of the run."
    )


def _check_header(path: Path) -> None:
    """Refuse a FORCE_CONSTANTS that announces more than it can hold, before room is made for it."""
    with open(path, encoding="utf-8") as handle:
        counts = [int(word) for word in handle.readline().split()]
    blocks = counts[0] * counts[-1]
    if not 1 <= len(counts) <= 2 or min(counts) < 1 or blocks * 40 > path.stat().st_size:
        raise ValueError(f"its first line announces {counts} atoms, more than the file can hold")
