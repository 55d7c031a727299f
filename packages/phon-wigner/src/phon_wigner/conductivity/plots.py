"""Publication-ready figures; every function draws on given axes or makes new ones and returns them.

Needs matplotlib: ``pip install 'phon-wigner[plot]'``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec

import numpy as np
from numpy.typing import NDArray

from phon_wigner.conductivity.crossover import Crossover
from phon_wigner.conductivity.glass import BroadeningScan
from phon_wigner.conductivity.result import WignerResult
from phon_wigner.conductivity.spectra import Spectra
from phon_wigner.errors import MissingDependencyError
from phon_wigner.file_access.figure_file import new_figure, paper_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"
"""Populations, coherences, and lines that guide the eye."""

_LIMIT = r" $1/\Delta\omega_{avg}$"
_Arguments = ParamSpec("_Arguments")


def styled(draw: Callable[_Arguments, Axes]) -> Callable[_Arguments, Axes]:
    """Draw in the style of all figures, without touching global state."""

    @wraps(draw)
    def in_style(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> Axes:
        try:
            style = paper_style()
        except ImportError as error:
            raise MissingDependencyError(_MISSING) from error
        with style:
            return draw(*arguments, **options)

    return in_style


_MISSING = "plots need matplotlib; install it with pip install 'phon-wigner[plot]'."


def new_axes(width: float = 3.39, height: float = 2.6) -> Axes:
    """Return matplotlib axes of a single-column figure, without touching global state.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    try:
        figure = new_figure(width, height)
    except ImportError as error:
        raise MissingDependencyError(_MISSING) from error
    return figure.add_subplot()


@styled
def plot_crossover(diagnosis: Crossover, axes: Axes | None = None, largest: float = 80.0) -> Axes:
    """Draw τ against ω: marker area ∝ κ_P, colour = κ_C share (Fig. 7 of Rodriguez et al.).

    Parameters
    ----------
    diagnosis : Crossover
    axes : matplotlib.axes.Axes, optional
    largest : float
        Marker area (points²) of the mode with the largest κ_P.

    Returns
    -------
    matplotlib.axes.Axes
    """
    axes = axes or new_axes()
    known = np.isfinite(diagnosis.lifetime) & np.isfinite(diagnosis.coherence_share)
    omega = diagnosis.frequency[known]
    size = largest * diagnosis.kappa_p[known] / max(float(diagnosis.kappa_p[known].max()), 1e-300)
    points = axes.scatter(
        omega,
        diagnosis.lifetime[known],
        s=np.maximum(size, 0.3),
        c=diagnosis.coherence_share[known],
        cmap="viridis",
        vmin=0,
        vmax=1,
        linewidths=0,
        alpha=0.8,
        rasterized=True,
    )
    grid = np.linspace(max(float(omega.min()), 1e-2), float(omega.max()), 200)
    limit = diagnosis.wigner_limit_ps
    axes.plot(grid, 1 / (2 * np.pi * grid), "--", color=GREY, lw=0.8, zorder=0.5)
    axes.axhline(limit, color=GREY, lw=0.8, zorder=0.5)
    axes.set(yscale="log", xlim=(0, None), xlabel="Frequency (THz)", ylabel="Lifetime τ (ps)")
    ends = (("τω = 1", float(grid[-1]), 1 / (2 * np.pi * float(grid[-1])), "right"), (_LIMIT, 0.0, limit, "left"))
    for text, x, y, side in ends:
        axes.annotate(text, (x, y), (0, 2), textcoords="offset points", ha=side, va="bottom", fontsize=7)
    axes.figure.colorbar(points, ax=axes, label=r"$\kappa_C/\kappa$ of the mode")
    axes.set_title(f"{diagnosis.temperature:g} K", loc="right", fontsize=8)
    return axes


@styled
def plot_coherence_fractions(
    kappa_p: NDArray[np.float64],
    kappa_c: NDArray[np.float64],
    names: list[str] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw κ_C/κ_total against κ_total for many crystals, with the 50 % line (Fig. 6 of Rodriguez et al.).

    Parameters
    ----------
    kappa_p, kappa_c : NDArray[np.float64], shape (n_crystals,), W/(m K)
    names : list of str, optional
        Labels beside the points.
    axes : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    axes = axes or new_axes()
    total = np.asarray(kappa_p) + np.asarray(kappa_c)
    share = 100 * np.asarray(kappa_c) / total
    axes.scatter(total, share, s=18, color=BLUE, linewidths=0, alpha=0.8)
    for i, name in enumerate(names or []):
        axes.annotate(name, (total[i], share[i]), fontsize=6, xytext=(3, 2), textcoords="offset points")
    axes.axhline(50, color=GREY, ls="--", lw=0.8)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel=r"$\kappa_{total}$ (W m$^{-1}$ K$^{-1}$)",
        ylabel=r"$\kappa_C/\kappa_{total}$ (%)",
    )
    return axes


@styled
def plot_spectrum(result: WignerResult, index: int = 0, n_bins: int = 80, axes: Axes | None = None) -> Axes:
    """Draw κ_P(ω) and κ_C(ω), and their cumulative sums on a second axis."""
    axes = axes or new_axes()
    right = axes.twinx()
    spectra = Spectra.from_result(result, index, n_bins)
    for density, total, colour, label in (
        (spectra.kappa_p, spectra.cumulative_p, BLUE, r"$\kappa_P$"),
        (spectra.kappa_c, spectra.cumulative_c, ORANGE, r"$\kappa_C$"),
    ):
        axes.stairs(density, spectra.edges, color=colour, label=label, fill=True, alpha=0.4)
        right.plot(spectra.edges, total, color=colour, lw=1)
    axes.set(xlabel="Frequency (THz)", ylabel=r"$\kappa(\omega)$ (W m$^{-1}$ K$^{-1}$ THz$^{-1}$)")
    right.set(ylabel=r"Cumulative $\kappa$ (W m$^{-1}$ K$^{-1}$)", ylim=(0, None))
    axes.set(xlim=(0, spectra.edges[-1]), ylim=(0, None))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0)  # above, where no curve is
    axes.set_title(f"{result.temperatures[index]:g} K", loc="right", fontsize=8)
    return axes


@styled
def plot_cumulative(
    result: WignerResult, index: int = 0, against: str = "mean-free-path", axes: Axes | None = None
) -> Axes:
    """Draw κ accumulated over mean free path or frequency, for populations, coherences and both.

    Parameters
    ----------
    result : WignerResult
        With modes.
    index : int
        Row of ``result.temperatures``.
    against : str
        "mean-free-path" or "frequency".
    axes : matplotlib.axes.Axes, optional
    """
    axes = axes or new_axes()
    spectra = Spectra.from_result(result, index)
    if against == "frequency":
        x, parts = spectra.edges, (spectra.cumulative_p, spectra.cumulative_c)
        axes.set(xlabel="Frequency (THz)")
    else:
        x, parts = spectra.path, (spectra.path_cumulative_p, spectra.path_cumulative_c)
        axes.set(xscale="log", xlabel="Mean free path (nm)")
    total = parts[0] + parts[1]
    for values, label, colour in (
        (parts[0], "populations", BLUE),
        (parts[1], "coherences", ORANGE),
        (total, "total", "k"),
    ):
        axes.plot(x, values, label=label, lw=1, color=colour)
    axes.set(ylabel=r"Cumulative $\kappa$ (W m$^{-1}$ K$^{-1}$)", ylim=(0, None))
    axes.legend(title=f"{spectra.temperature:g} K", title_fontsize=8)
    return axes


@styled
def plot_broadening(scan: BroadeningScan, axes: Axes | None = None) -> Axes:
    """Draw κ against the broadening η, one line per temperature; the dot marks the flattest point."""
    axes = axes or new_axes()
    for i, temperature in enumerate(scan.temperatures):
        line = axes.plot(scan.broadenings, scan.scalar[i], lw=1, label=f"{temperature:g} K")[0]
        best = scan.plateau(i)
        axes.plot(scan.broadenings[best], scan.scalar[i, best], "o", ms=4, color=line.get_color())
    axes.set(xscale="log", xlabel=r"Broadening $\eta$ (THz)", ylabel=r"$\kappa$ (W m$^{-1}$ K$^{-1}$)", ylim=(0, None))
    axes.legend()
    return axes


@styled
def plot_coherence_map(density: NDArray[np.float64], edges: NDArray[np.float64], axes: Axes | None = None) -> Axes:
    """Draw κ_C(ω₁, ω₂) of one temperature on a logarithmic scale of four decades.

    Parameters
    ----------
    density : NDArray[np.float64], shape (n_bins, n_bins), W/(m K THz²)
        ``result.coherence_map[i]``; bins without coherences stay white.
    edges : NDArray[np.float64], shape (n_bins + 1,), THz
        ``result.map_edges``.
    axes : matplotlib.axes.Axes, optional
    """
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import MaxNLocator

    axes = axes or new_axes(3.4, 2.9)
    largest = float(density.max(initial=0.0))
    norm = LogNorm(1e-4 * largest, largest) if largest > 0.0 else None
    shown = np.ma.masked_less_equal(density.T, 0.0)
    image = axes.pcolormesh(edges, edges, shown, cmap="viridis", norm=norm, rasterized=True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    axes.set(xlabel=r"$\omega_1/2\pi$ (THz)", ylabel=r"$\omega_2/2\pi$ (THz)", aspect="equal")
    axes.figure.colorbar(
        image, ax=axes, shrink=0.85, label=r"$\kappa_C(\omega_1,\omega_2)$ (W m$^{-1}$ K$^{-1}$ THz$^{-2}$)"
    )
    return axes
