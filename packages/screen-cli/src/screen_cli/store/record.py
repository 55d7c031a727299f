"""The record: what a stage hands on, and what the store keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import PhysicsError


@dataclass(frozen=True)
class Record:
    """Result of one stage for one structure.

    Parameters
    ----------
    data : dict
        Small JSON values (numbers, strings, booleans, short lists, nested dicts). Scalars at the top level
        become columns of the results table.
    arrays : dict of str to ndarray
        Everything larger. Written to one HDF5 file with one dataset per name, so that phono3py's names
        (``fc2``, ``fc3``, ``p2s_map``, ``kappa`` ...) open with phono3py's own tools.
    documents : dict of str to str
        Text files by suffix, for instance ``{"yaml": <phono3py_disp.yaml>}``.
    """

    data: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    documents: dict[str, str] = field(default_factory=dict)

    def check_finite(self, stage: str) -> None:
        """Refuse NaN and infinity anywhere in the record.

        Raises
        ------
        PhysicsError
            Names the value and how many of its elements are not finite.
        """
        for name, array in self.arrays.items():
            if np.issubdtype(array.dtype, np.inexact) and not np.isfinite(array).all():
                n_bad = int(np.count_nonzero(~np.isfinite(array)))
                raise PhysicsError(
                    f"{stage}: {n_bad} of {array.size} values of '{name}' are not finite; nothing was written."
                )
        _check_json(self.data, stage)


def _check_json(value: Any, path: str) -> None:
    """Walk JSON data and refuse non-finite floats."""
    if isinstance(value, float) and not math.isfinite(value):
        raise PhysicsError(f"{path} is {value}; nothing was written.")
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_json(item, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_json(item, f"{path}[{index}]")
