"""Arrays as HDF5 in memory; no dataset of strangers that lies in another file, or claims more than its file holds."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import h5py

_MOST_RATIO, _ALWAYS_READ = 2_000, 1 << 20
"""How far compression may go (deflate: 1032), and the bytes that are read whatever is stored."""


def whole_array(file: h5py.Group, name: str) -> NDArray[np.generic]:
    """Read one dataset.

    Parameters
    ----------
    file : h5py.Group
    name : str

    Returns
    -------
    NDArray
        Of any shape and dtype.

    Raises
    ------
    KeyError
        There is none of that name.
    ValueError
        It is no dataset, lies in another file (HDF5 would open whatever a link, a virtual dataset or an external
        storage names), or claims more room than the file holds.
    """
    import h5py

    if name not in file:
        raise KeyError(name)
    dataset = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    if dataset is None or (isinstance(dataset, h5py.Dataset) and (dataset.is_virtual or dataset.external)):
        raise ValueError(f"its array '{name}' lies in another file")
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"'{name}' is no array")
    if dataset.nbytes > max(_ALWAYS_READ, _MOST_RATIO * dataset.id.get_storage_size()):
        raise ValueError(f"its array '{name}' claims {dataset.nbytes} bytes, more than the file can hold")
    return np.asarray(dataset[()])


def hdf5_of_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Write one dataset per array, of any shape and dtype; large ones compressed.

    In memory, because HDF5 may hide a write that failed on a full disk until the file is closed.
    """
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in sorted(arrays.items()):
            array = np.asarray(array)
            large = array.nbytes > 1_000_000
            file.create_dataset(name, data=array, compression="lzf" if large else None, shuffle=large)
    return buffer.getvalue()


def arrays_of_hdf5(content: bytes) -> dict[str, NDArray[np.generic]]:
    """Read every dataset of an HDF5 file in memory, of any shape and dtype.

    Raises
    ------
    ValueError
        It is no HDF5 file, or holds what :func:`whole_array` refuses.
    """
    import h5py

    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            return {name: whole_array(file, name) for name in file}
    except (OSError, RuntimeError, LookupError, ArithmeticError, TypeError, AttributeError, MemoryError) as error:
        raise ValueError(f"its arrays cannot be read: {error}") from error
