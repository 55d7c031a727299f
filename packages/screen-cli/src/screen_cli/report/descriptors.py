"""Descriptor vectors of the crystals, and their map in two dimensions by t-SNE."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import FilterError, MissingExtraError
from screen_cli.store.reading.damaged_npz import DAMAGED_NPZ
from screen_cli.store.record import Record
from screen_cli.store.row import Row, text

FEWEST = 8
"""A map of fewer crystals says nothing."""

_COMPONENTS = 50


def descriptor_of(record: Record) -> NDArray[np.float64] | None:
    """Find the descriptor vector of a crystal in one of its records.

    ``descriptor`` as a list in the data or a (n_features,) array, or ``descriptors`` (n_atoms, n_features), of
    which the mean is taken.
    """
    listed = record.data.get("descriptor")
    if listed is not None:
        return np.asarray(cast("list[float]", listed), dtype=np.float64).ravel()
    if "descriptor" in record.arrays:
        return record.floats("descriptor").ravel()
    return record.floats("descriptors").mean(axis=0).ravel() if "descriptors" in record.arrays else None


def read_descriptors(path: Path, rows: Sequence[Row]) -> list[NDArray[np.float64] | None]:
    """Read vectors from a file: one per row, None where the file has none.

    Parameters
    ----------
    path : Path
        ``.npz`` with ``ids`` (n,) and ``vectors`` (n, n_features), or CSV without header: id, provider id or formula
        first, then the numbers.
    rows : sequence of mapping

    Raises
    ------
    FilterError
        The file cannot be read, its vectors differ in length, or it names no crystal of the run.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path) as file:
                named = {
                    str(name): np.asarray(vector) for name, vector in zip(file["ids"], file["vectors"], strict=True)
                }
        else:
            with path.open(encoding="utf-8", newline="") as lines:
                named = {line[0]: np.array(line[1:], dtype=np.float64) for line in csv.reader(lines) if line}
    except DAMAGED_NPZ as error:
        raise FilterError(
            f"cannot read descriptors from {path}: {error}. Give .npz with ids and vectors, or CSV lines "
            "'id,number,number,...'."
        ) from error
    if len({vector.shape for vector in named.values()}) > 1:
        raise FilterError(f"the vectors in {path} differ in length; make them with one model.")
    found = [
        next((named[text(row, key)] for key in ("id", "provider_id", "formula") if text(row, key) in named), None)
        for row in rows
    ]
    if all(vector is None for vector in found):
        raise FilterError(f"{path} names no crystal of the run; its first name is {next(iter(named), 'missing')!r}.")
    return found


def embed_in_plane(vectors: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """Lay descriptor vectors out in a plane, neighbours near neighbours (t-SNE).

    Features are standardised, then reduced to at most 50 principal components.

    Parameters
    ----------
    vectors : ndarray
        float64 (n_crystals, n_features).

    Returns
    -------
    ndarray
        float64 (n_crystals, 2), no unit; scaled to [0, 1].

    Raises
    ------
    MissingExtraError
        scikit-learn is not installed.

    References
    ----------
    L. van der Maaten, G. Hinton, J. Mach. Learn. Res. 9, 2579 (2008).
    """
    try:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise MissingExtraError("t-SNE needs scikit-learn. Install it: pip install 'screen-cli[report]'.") from error
    spread = vectors.std(axis=0)
    scaled = (vectors[:, spread > 1e-12] - vectors.mean(axis=0)[spread > 1e-12]) / spread[spread > 1e-12]
    if scaled.shape[1] == 0:
        return np.full((len(vectors), 2), 0.5)
    n_components = min(_COMPONENTS, *scaled.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of duplicated points and of scikit-learn's own changes
        reduced = PCA(n_components, random_state=seed).fit_transform(scaled)
        perplexity = min(30.0, max(2.0, (len(vectors) - 1) / 3))
        start = "pca" if n_components >= 2 else "random"
        plane = TSNE(2, perplexity=perplexity, init=start, random_state=seed).fit_transform(reduced)
    low, high = plane.min(axis=0), plane.max(axis=0)
    placed: NDArray[np.float64] = (plane - low) / np.maximum(high - low, 1e-12)
    return placed
