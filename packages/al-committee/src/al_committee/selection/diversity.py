"""Diverse subsets of vectors: farthest points, principal components, k-means start sets (pure maths)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

__all__ = ["cover_elements", "farthest_points", "principal_components", "representative_points", "standardise"]

FloatArray = NDArray[np.float64]


def standardise(vectors: FloatArray) -> FloatArray:
    """Scale each feature to zero mean and unit spread; constant features become zero.

    Parameters
    ----------
    vectors : NDArray[np.float64], shape (n_points, n_features)
    """
    centred = vectors - vectors.mean(axis=0)
    spread = centred.std(axis=0)
    scaled: FloatArray = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12)
    return scaled


def principal_components(vectors: FloatArray, share: float = 0.95, largest: int = 16) -> FloatArray:
    """Project on the fewest principal components that hold a share of the variance.

    Parameters
    ----------
    vectors : NDArray[np.float64], shape (n_points, n_features)
    share : float
        Of the variance, 0 to 1.
    largest : int
        Most components kept.

    Returns
    -------
    NDArray[np.float64]
        shape ``(n_points, n_components)``; signs fixed so that the largest loading is positive.
    """
    # the singular values are NumPy's; scikit-learn's PCA gives the same, but the start set of every loop needs these
    # lines, and a base install should not pull in scikit-learn for them
    centred = vectors - vectors.mean(axis=0)
    left, singular, right = np.linalg.svd(centred, full_matrices=False)
    variance = singular**2
    total = float(variance.sum())
    if total == 0.0:
        return np.zeros((len(vectors), 1))
    count = int(np.searchsorted(np.cumsum(variance) / total, share - 1e-12)) + 1
    count = min(count, largest, len(singular))
    signs = np.sign(right[np.arange(count), np.abs(right[:count]).argmax(axis=1)])
    return np.asarray(left[:, :count] * singular[:count] * signs)


def farthest_points(vectors: FloatArray, count: int, *, first: int = 0, known: FloatArray | None = None) -> list[int]:
    """Pick points greedily, each the farthest from all picked ones (k-centre; Gonzalez 1985).

    Parameters
    ----------
    vectors : NDArray[np.float64], shape (n_points, n_features)
    count : int
        How many; no more than there are points, and points that coincide with picked ones are left out.
    first : int
        Index to start with when nothing is known.
    known : NDArray[np.float64], shape (n_known, n_features), optional
        Points already taken, which repel but are not returned.

    Returns
    -------
    list of int
        Indices in the order picked.

    References
    ----------
    Gonzalez, Theor. Comput. Sci. 38, 293 (1985), doi:10.1016/0304-3975(85)90224-5
    """
    # none of the libraries that have it takes points that are known already; scikit-matter 0.4 also holds scikit-learn
    # below 1.9, and fpsample 1.0 must be compiled where it is installed
    if count < 1 or len(vectors) == 0:
        return []
    picked: list[int] = []
    if known is not None and len(known):
        distance = np.full(len(vectors), np.inf)
        for point in known:
            distance = np.minimum(distance, np.linalg.norm(vectors - point, axis=1))
    else:
        picked.append(first)
        distance = np.linalg.norm(vectors - vectors[first], axis=1)
    while len(picked) < count:
        best = int(distance.argmax())
        if distance[best] <= 1e-12:
            break
        picked.append(best)
        distance = np.minimum(distance, np.linalg.norm(vectors - vectors[best], axis=1))
    return picked


def representative_points(vectors: FloatArray, count: int, seed: int) -> list[int]:
    """Pick a start set: principal components, k-means from farthest points, the point nearest each centre.

    Parameters
    ----------
    vectors : NDArray[np.float64], shape (n_points, n_features)
        Raw descriptors.
    count : int
        Clusters, and points returned (filled up by farthest points when clusters are empty).
    seed : int
        Used only when there are fewer distinct points than asked for.

    Returns
    -------
    list of int
        `count` distinct indices (all of them when there are fewer points), ascending.
    """
    n_points = len(vectors)
    if count >= n_points:
        return list(range(n_points))
    reduced = principal_components(standardise(vectors))
    start = reduced[farthest_points(reduced, count)]
    if len(start) < count:  # fewer distinct points than asked for
        rng = np.random.default_rng(seed)
        return sorted(int(i) for i in rng.choice(n_points, size=count, replace=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an empty cluster keeps its centre
        centres, _ = kmeans2(reduced, start, iter=50, minit="matrix")
    picked: list[int] = []
    for centre in centres:
        order = np.argsort(np.linalg.norm(reduced - centre, axis=1), kind="stable")
        picked.append(next(int(i) for i in order if int(i) not in picked))
    return sorted(picked)


def cover_elements(compositions: Sequence[set[str]], count: int) -> list[int]:
    """Take the set with the most new elements, again and again; once all are covered, go on in the order given.

    Parameters
    ----------
    compositions : sequence of (set of str)
        Elements of every candidate.
    count : int
        How many to take.

    Returns
    -------
    list of int
        Indices, at most `count`.
    """
    taken: list[int] = []
    missing = set().union(*compositions)
    while missing and len(taken) < count:
        best = max(range(len(compositions)), key=lambda k: (len(compositions[k] & missing), -k))
        taken.append(best)
        missing -= compositions[best]
    held = set(taken)
    return [*taken, *(k for k in range(len(compositions)) if k not in held)][:count]
