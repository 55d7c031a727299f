"""HDF5 of strangers: no dataset that lies in another file, and none that claims more than the file can hold."""

from __future__ import annotations

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
