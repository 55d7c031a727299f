"""Read the linewidths of phono3py's kappa-*.hdf5."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from phon_wigner.errors import InputFileError
from phon_wigner.file_access.reading import PathLike, existing_file, read_array, reading, refuse_other_files
from phon_wigner.phonons.linewidths import Linewidths
from phon_wigner.phonons.units import volume_of_conversion

Part = tuple[h5py.Dataset, tuple[int, ...]]
"""A dataset, and the indices of its leading axes."""

_FIX = "Give the kappa-m*.hdf5 of a completed phono3py --br or --lbte run."


def read_kappa_file(path: PathLike) -> Linewidths:
    """Open the linewidths of a phono3py ``kappa-*.hdf5``.

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
        The file is missing or damaged, or a dataset is missing, of another shape, or not finite.
    """
    found = existing_file(path, "the linewidth file", _FIX)
    record: Linewidths | None = None
    with reading(found, "HDF5 of phono3py", _FIX):
        handle = h5py.File(found, "r")  # stays open for the rows of gamma
        refuse_other_files(handle)
        record = _linewidths(handle, found)
    assert record is not None
    return record.checked()


def _linewidths(handle: h5py.File, found: Path) -> Linewidths:
    """Return what an open kappa file holds."""
    missing = [name for name in ("temperature", "gamma", "qpoint", "weight") if name not in handle]
    if missing:
        raise InputFileError(
            f"{found} lacks {', '.join(missing)}; it holds {', '.join(sorted(handle)) or 'nothing'}. Give the "
            "kappa-m*.hdf5 of a complete run, not one per grid point (kappa-m*-g*.hdf5)."
        )
    gamma = handle["gamma"]
    if not isinstance(gamma, h5py.Dataset) or gamma.ndim != 3 or gamma.dtype.kind not in "fiu" or 0 in gamma.shape:
        raise InputFileError(
            f"{found}: gamma has shape {getattr(gamma, 'shape', None)}, expected (temperatures, q points, bands). Give "
            "the kappa-m*.hdf5 of all grid points and bands."
        )
    modes = gamma.shape[1:]
    parts: list[Part] = [(gamma, ())]
    if "gamma_elph" in handle:
        parts.append(_electrons(handle["gamma_elph"], gamma, found))
    frequencies = read_array(handle, "frequency", found, modes) if "frequency" in handle else None
    return Linewidths(
        temperatures=read_array(handle, "temperature", found, gamma.shape[:1]),
        qpoints=read_array(handle, "qpoint", found, (modes[0], 3)),
        weights=read_array(handle, "weight", found, modes[:1]).astype(np.int64),
        gamma=StoredRows(parts, found),
        gamma_isotope=read_array(handle, "gamma_isotope", found, modes) if "gamma_isotope" in handle else None,
        gamma_boundary=_boundary(handle, found, modes),
        frequencies=frequencies,
        mesh=_mesh(handle, found),
        volume=_volume(handle, found),
        source=found.name,
    )


class StoredRows:
    """Datasets of one shape, summed row by row when read, so that none is held in memory.

    Parameters
    ----------
    parts : list of (h5py.Dataset, tuple of int)
        Datasets of shape (n_temps, n_qpoints, n_bands) after these leading indices.
    path : pathlib.Path
        Their file, for messages.
    """

    def __init__(self, parts: list[Part], path: Path) -> None:
        self._parts = parts
        self._path = path
        self.shape: tuple[int, ...] = tuple(parts[0][0].shape)

    def __getitem__(self, key: int | slice) -> NDArray[np.float64]:
        """Return the sum of these rows."""
        rows = np.zeros(0)
        with reading(self._path, "HDF5 (gamma)", "The file is damaged: run phono3py again."):
            rows = np.asarray(sum(np.asarray(data[(*before, key)], dtype=np.float64) for data, before in self._parts))
        return rows


def _electrons(dataset: h5py.Dataset, gamma: h5py.Dataset, path: Path) -> Part:
    """Return gamma_elph, which phono3py writes with or without an axis of one smearing."""
    for shape, before in ((gamma.shape, ()), ((1, *gamma.shape), (0,))):
        if dataset.shape == shape:
            return dataset, before
    raise InputFileError(
        f"{path}: gamma_elph has shape {dataset.shape}, expected {gamma.shape} as gamma. Take both from one run."
    )


def _boundary(handle: h5py.File, path: Path, modes: tuple[int, ...]) -> NDArray[np.float64] | None:
    """Return the half widths of boundary scattering, THz, when the run had it."""
    if "boundary_mfp" not in handle or "group_velocity" not in handle:
        return None
    from phono3py.conductivity.scattering_solvers import compute_bulk_boundary_scattering

    length = float(read_array(handle, "boundary_mfp", path, ()))
    if length <= 0:
        raise InputFileError(f"{path}: boundary_mfp is {length:g} µm, expected a positive length. Run phono3py again.")
    velocities = read_array(handle, "group_velocity", path, (*modes, 3))
    return np.asarray(compute_bulk_boundary_scattering(velocities, length))


def _mesh(handle: h5py.File, path: Path) -> tuple[int, ...] | None:
    """Return three mesh numbers, or the nine of a generalised grid."""
    for name, shape in (("grid_matrix", (3, 3)), ("mesh", None)):
        if name in handle:
            return tuple(int(n) for n in np.ravel(read_array(handle, name, path, shape)))
    return None


def _volume(handle: h5py.File, path: Path) -> float | None:
    """Return the volume (Å³) of the primitive cell of the run, which its unit conversion holds."""
    if "kappa_unit_conversion" not in handle:
        return None
    factor = float(read_array(handle, "kappa_unit_conversion", path, ()))
    return volume_of_conversion(factor) if factor != 0 else None
