"""Publication-ready figures; every function draws on given axes or makes new ones and returns them.

Needs matplotlib: ``pip install 'phon-wigner[plot]'``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from phon_wigner.conductivity.crossover import Crossover
from phon_wigner.conductivity.glass import BroadeningScan
from phon_wigner.conductivity.result import WignerResult
from phon_wigner.conductivity.spectra import Spectra
from phon_wigner.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def new_axes(width: float = 3.6, height: float = 2.9) -> Axes:
    """Return matplotlib axes of a single-column figure, without touching global state.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "plots need matplotlib; install it with pip install 'phon-wigner[plot]'."
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained", dpi=200)
    FigureCanvasAgg(figure)
    return figure.add_subplot()


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
        cmap="coolwarm",
        vmin=0,
        vmax=1,
        linewidths=0,
        alpha=0.8,
        rasterized=True,
    )
    grid = np.linspace(max(float(omega.min()), 1e-2), float(omega.max()), 200)
    axes.plot(grid, 1 / (2 * np.pi * grid), "k--", lw=0.8, label=r"Ioffe-Regel, $\tau\omega=1$")
    axes.axhline(diagnosis.wigner_limit_ps, color="k", lw=0.8, label=r"Wigner, $\tau=1/\Delta\omega_{avg}$")
    axes.set(yscale="log", xlabel="Frequency (THz)", ylabel="Relaxation time (ps)")
    axes.figure.colorbar(points, ax=axes, label=r"$\kappa_C/\kappa_{total}$ of the mode")
    axes.legend(frameon=False, fontsize=6, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0)
    axes.text(0.98, 0.98, f"{diagnosis.temperature:g} K", transform=axes.transAxes, ha="right", va="top", fontsize=6)
    return axes


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
    axes.scatter(total, share, s=18, color="tab:blue", linewidths=0, alpha=0.8)
    for i, name in enumerate(names or []):
        axes.annotate(name, (total[i], share[i]), fontsize=6, xytext=(3, 2), textcoords="offset points")
    axes.axhline(50, color="k", ls="--", lw=0.8)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel=r"$\kappa_{total}$ (W m$^{-1}$ K$^{-1}$)",
        ylabel=r"$\kappa_C/\kappa_{total}$ (%)",
    )
    return axes


def plot_spectrum(result: WignerResult, index: int = 0, n_bins: int = 80, axes: Axes | None = None) -> Axes:
    """Draw κ_P(ω) and κ_C(ω), and their cumulative sums on a second axis."""
    axes = axes or new_axes()
    right = axes.twinx()
    spectra = Spectra.from_result(result, index, n_bins)
    for density, total, colour, label in (
        (spectra.kappa_p, spectra.cumulative_p, "tab:blue", r"$\kappa_P$"),
        (spectra.kappa_c, spectra.cumulative_c, "tab:red", r"$\kappa_C$"),
    ):
        axes.stairs(density, spectra.edges, color=colour, label=label, fill=True, alpha=0.4)
        right.plot(spectra.edges, total, color=colour, lw=1)
    axes.set(xlabel="Frequency (THz)", ylabel=r"$\kappa(\omega)$ (W m$^{-1}$ K$^{-1}$ THz$^{-1}$)")
    right.set(ylabel=r"Cumulative $\kappa$ (W m$^{-1}$ K$^{-1}$)", ylim=(0, None))
    axes.legend(frameon=False, fontsize=7, title=f"{result.temperatures[index]:g} K", title_fontsize=7)
    return axes


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
    for values, label in ((parts[0], "populations"), (parts[1], "coherences"), (parts[0] + parts[1], "total")):
        axes.plot(x, values, label=label, lw=1)
    axes.set(ylabel=r"Cumulative $\kappa$ (W m$^{-1}$ K$^{-1}$)", ylim=(0, None))
    axes.legend(frameon=False, fontsize=7, title=f"{spectra.temperature:g} K", title_fontsize=7)
    return axes


def plot_broadening(scan: BroadeningScan, axes: Axes | None = None) -> Axes:
    """Draw κ against the broadening η, one line per temperature; the dot marks the flattest point."""
    axes = axes or new_axes()
    for i, temperature in enumerate(scan.temperatures):
        line = axes.plot(scan.broadenings, scan.scalar[i], lw=1, label=f"{temperature:g} K")[0]
        best = scan.plateau(i)
        axes.plot(scan.broadenings[best], scan.scalar[i, best], "o", ms=4, color=line.get_color())
    axes.set(xscale="log", xlabel=r"Broadening $\eta$ (THz)", ylabel=r"$\kappa$ (W m$^{-1}$ K$^{-1}$)", ylim=(0, None))
    axes.legend(frameon=False, fontsize=7)
    return axes


def plot_coherence_map(density: NDArray[np.float64], edges: NDArray[np.float64], axes: Axes | None = None) -> Axes:
    """Draw κ_C(ω₁, ω₂) of one temperature: ``result.coherence_map[i]``, ``result.map_edges``."""
    axes = axes or new_axes(3.6, 3.0)
    image = axes.pcolormesh(edges, edges, density.T, cmap="magma", rasterized=True)
    axes.set(xlabel=r"$\omega_1/2\pi$ (THz)", ylabel=r"$\omega_2/2\pi$ (THz)", aspect="equal")
    axes.figure.colorbar(image, ax=axes, label=r"$\kappa_C(\omega_1,\omega_2)$ (W m$^{-1}$ K$^{-1}$ THz$^{-2}$)")
    return axes
