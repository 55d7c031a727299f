"""Where in frequency and mean free path the heat is carried.

Everything here is arithmetic on a mode-resolved :class:`phon_wigner.conductivity.result.WignerResult`; :class:`Spectra`
holds one temperature of it, binned and accumulated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from phonopy.physical_units import get_physical_units

from phon_wigner.conductivity.result import WignerResult
from phon_wigner.errors import GridMismatchError, ShapeError

LEAST_SHARE = 1e-4
"""Share of κ_P below which modes of short mean free path do not stretch the axis; they count at its first level."""

LEAST_PATH = 1e-5
"""First level of the mean free path, at least, over the longest path: degenerate modes may be at rest and carry "
"heat."""

Kind = Literal["populations", "coherences", "total"]


def mode_scalars(result: WignerResult, index: int, kind: Kind = "total") -> NDArray[np.float64]:
    """Return each mode's share of (κ_xx + κ_yy + κ_zz)/3, shape (n_qpoints, n_bands), W/(m K).

    The sum over all modes is κ itself: divided by the number of mesh points, star weights inside.

    Raises
    ------
    GridMismatchError
        The result carries no modes.
    ShapeError
        Unknown kind.
    """
    if not result.has_modes:
        raise GridMismatchError(
            "this result holds no mode-resolved arrays. Analyze with keep_modes=True (command line: --hdf5)."
        )
    parts = {
        "populations": lambda: result.mode_kappa_p[index],
        "coherences": lambda: result.mode_kappa_c[index],
        "total": lambda: result.mode_kappa_p[index] + result.mode_kappa_c[index],
    }
    if kind not in parts:
        raise ShapeError(f"unknown kind {kind!r}; expected one of {', '.join(parts)}.")
    return np.asarray(parts[kind]()[:, :, :3].mean(axis=2) / result.weights.sum())


def lifetimes(result: WignerResult, index: int) -> NDArray[np.float64]:
    """Return τ = 1/(4πγ) in ps, shape (n_qpoints, n_bands); NaN where γ is zero."""
    gamma = result.gamma[index]
    times = np.full(gamma.shape, np.nan)
    np.divide(1.0, 4 * np.pi * gamma, out=times, where=gamma > 0)
    return times


def mean_free_paths(result: WignerResult, index: int) -> NDArray[np.float64]:
    """Return |v| τ in nm, shape (n_qpoints, n_bands); NaN where γ is zero.

    |v| is the diagonal of the velocity operator in the eigenvector basis of the result.
    """
    units = get_physical_units()
    speed = np.linalg.norm(result.group_velocity, axis=2)
    return np.asarray(speed * lifetimes(result, index) * units.Angstrom / 1e-9)


def cumulative(
    abscissa: NDArray[np.float64], shares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accumulate mode shares in order of rising abscissa.

    Parameters
    ----------
    abscissa : NDArray[np.float64], shape (n_qpoints, n_bands)
        Frequency (THz), mean free path (nm) or lifetime (ps); NaN modes are left out.
    shares : NDArray[np.float64], shape (n_qpoints, n_bands), W/(m K)
        :func:`mode_scalars`.

    Returns
    -------
    x, accumulated : NDArray[np.float64], shape (n_modes,)
        Sorted abscissa and κ of all modes up to it; the last value is κ.
    """
    x, y = abscissa.ravel(), shares.ravel()
    keep = np.isfinite(x)
    order = np.argsort(x[keep], kind="stable")
    return x[keep][order], np.cumsum(y[keep][order])


def accumulate(
    abscissa: NDArray[np.float64], shares: NDArray[np.float64], levels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return κ of all modes whose abscissa is at most each level; arguments as in :func:`cumulative`."""
    x, total = cumulative(abscissa, shares)
    return np.asarray(np.append(0.0, total)[np.searchsorted(x, levels, side="right")])


def spectral_density(
    frequencies: NDArray[np.float64], shares: NDArray[np.float64], edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return κ(ω) as a histogram, shape (n_bins,), W/(m K) per THz.

    Its integral over all bins is κ when the edges span every frequency.
    """
    histogram, _ = np.histogram(frequencies.ravel(), bins=edges, weights=shares.ravel())
    return np.asarray(histogram / np.diff(edges))


def frequency_edges(frequencies: NDArray[np.float64], n_bins: int) -> NDArray[np.float64]:
    """Return edges of equal bins that span every frequency (n_qpoints, n_bands; THz), shape (n_bins + 1,)."""
    low, high = min(0.0, float(frequencies.min())), float(frequencies.max())
    return np.linspace(low - 1e-9, high + 1e-9, n_bins + 1)


def path_levels(paths: NDArray[np.float64], populations: NDArray[np.float64], n_paths: int) -> NDArray[np.float64]:
    """Return logarithmic levels of the mean free path that begin where heat begins to flow.

    Modes at rest have paths of 1e-16 nm by rounding; they do not stretch the axis.

    Parameters
    ----------
    paths : NDArray[np.float64], shape (n_qpoints, n_bands), nm
    populations : NDArray[np.float64], shape (n_qpoints, n_bands), W/(m K)
        :func:`mode_scalars` of κ_P.
    n_paths : int

    Returns
    -------
    NDArray[np.float64], shape (n_paths,) or (1,), nm
        The last level is at least the longest path.
    """
    x, total = cumulative(paths, populations)
    if not len(x) or not total[-1] > 0:
        return np.ones(1)
    first = max(x[np.searchsorted(total, LEAST_SHARE * total[-1])], LEAST_PATH * x[-1])
    return np.geomspace(first, x[-1] * (1 + 1e-9), n_paths)


@dataclass(frozen=True)
class Spectra:
    """Where one crystal's heat is carried at one temperature. All κ are means of xx, yy, zz.

    Attributes
    ----------
    temperature : float, K
    edges : NDArray[np.float64], shape (n_bins + 1,), THz
        Frequency bins.
    kappa_p, kappa_c : NDArray[np.float64], shape (n_bins,), W/(m K) per THz
        κ_P(ω) and κ_C(ω).
    cumulative_p, cumulative_c : NDArray[np.float64], shape (n_bins + 1,), W/(m K)
        κ of all modes below each edge.
    path : NDArray[np.float64], shape (n_paths,), nm
        Mean free paths, logarithmic steps, from where the first :data:`LEAST_SHARE` of κ_P is reached.
    path_cumulative_p, path_cumulative_c : NDArray[np.float64], shape (n_paths,), W/(m K)
        κ of all modes whose mean free path is no longer. Modes at rest count from the start.
    coherence_map : NDArray[np.float64], shape (n_map, n_map), W/(m K) per THz²
        κ_C(ω₁, ω₂); empty when the result holds none.
    map_edges : NDArray[np.float64], shape (n_map + 1,), THz
    """

    temperature: float
    edges: NDArray[np.float64]
    kappa_p: NDArray[np.float64]
    kappa_c: NDArray[np.float64]
    cumulative_p: NDArray[np.float64]
    cumulative_c: NDArray[np.float64]
    path: NDArray[np.float64]
    path_cumulative_p: NDArray[np.float64]
    path_cumulative_c: NDArray[np.float64]
    coherence_map: NDArray[np.float64]
    map_edges: NDArray[np.float64]

    @classmethod
    def from_result(cls, result: WignerResult, index: int = 0, n_bins: int = 100, n_paths: int = 200) -> Spectra:
        """Bin and accumulate one temperature of a mode-resolved result."""
        populations = mode_scalars(result, index, "populations")
        coherences = mode_scalars(result, index, "coherences")
        edges = frequency_edges(result.frequency, n_bins)
        paths = mean_free_paths(result, index)
        path = path_levels(paths, populations, n_paths)
        kept = len(result.coherence_map) > index
        return cls(
            temperature=float(result.temperatures[index]),
            edges=edges,
            kappa_p=spectral_density(result.frequency, populations, edges),
            kappa_c=spectral_density(result.frequency, coherences, edges),
            cumulative_p=accumulate(result.frequency, populations, edges),
            cumulative_c=accumulate(result.frequency, coherences, edges),
            path=path,
            path_cumulative_p=accumulate(paths, populations, path),
            path_cumulative_c=accumulate(paths, coherences, path),
            coherence_map=result.coherence_map[index] if kept else np.zeros((0, 0)),
            map_edges=result.map_edges if kept else np.zeros(0),
        )
