"""Where in frequency and mean free path the heat is carried.

Everything here is arithmetic on a mode-resolved :class:`phon_wigner.result.WignerResult`, except
:func:`coherence_map`, which needs the pairs themselves.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from phonopy.physical_units import get_physical_units

from phon_wigner.degeneracy import average_over_blocks
from phon_wigner.errors import GridMismatchError, ShapeError
from phon_wigner.formula import PairBlock, clean_linewidths, pair_lineshape
from phon_wigner.heat_capacity import mode_heat_capacity
from phon_wigner.result import WignerResult

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
    return np.divide(1.0, 4 * np.pi * gamma, out=np.full(gamma.shape, np.nan), where=gamma > 0)


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


def spectral_density(
    frequencies: NDArray[np.float64], shares: NDArray[np.float64], edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return κ(ω) as a histogram, shape (n_bins,), W/(m K) per THz.

    Its integral over all bins is κ when the edges span every frequency.
    """
    histogram, _ = np.histogram(frequencies.ravel(), bins=edges, weights=shares.ravel())
    return np.asarray(histogram / np.diff(edges))


def coherence_map(
    pairs: PairBlock,
    linewidth: NDArray[np.float64],
    temperature: float,
    scale: float,
    n_mesh: float,
    edges: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return κ_C(ω₁, ω₂): how much heat tunnels between which frequencies.

    Parameters
    ----------
    pairs : PairBlock
        From :meth:`phon_wigner.harmonic.HarmonicCrystal.collect_pairs`.
    linewidth : NDArray[np.float64], shape (n_qpoints, n_bands), THz
        HWHM, all scattering.
    temperature : float, K
    scale : float
        :func:`phon_wigner.postprocess.conversion_to_w_mk` of the cell volume.
    n_mesh : float
        Number of mesh points (sum of the weights).
    edges : NDArray[np.float64], shape (n_bins + 1,), THz
        Bin edges of both axes.

    Returns
    -------
    NDArray[np.float64], shape (n_bins, n_bins), W/(m K) per THz²
        Symmetric; mean of xx, yy, zz; the integral is κ_C when the edges span every frequency.
    """
    width = clean_linewidths(pairs, linewidth[None])[0]
    capacity = average_over_blocks(mode_heat_capacity(pairs.frequencies, temperature), pairs.blocks)
    values = pair_lineshape(pairs, capacity, width) * pairs.coherence[:, :3].mean(axis=1) * scale / n_mesh
    frequency = pairs.frequencies.ravel()
    histogram, _, _ = np.histogram2d(
        frequency[pairs.first], frequency[pairs.second], bins=(edges, edges), weights=values
    )
    return np.asarray((histogram + histogram.T) / np.outer(np.diff(edges), np.diff(edges)))
