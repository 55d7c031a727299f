"""From particles to waves: which modes still propagate as phonons, which tunnel, which are overdamped.

::

    τ = 1/(4πγ)                       lifetime
    τ_W = 1/Δω_avg, Δω_avg = ω_max/(3 N_atoms)      Wigner limit in time
    τ ω = 1                           Ioffe-Regel limit in time

A mode is *particle-like* for τ > τ_W, *wave-like* for 1/ω < τ <= τ_W and *overdamped* for τ <= 1/ω, where the
quasiparticle picture fails and a spectral description is needed. Its coherence share is κ_C/(κ_P + κ_C).

References
----------
M. Simoncelli, N. Marzari, F. Mauri, Phys. Rev. X 12, 041011 (2022), Sec. V, doi:10.1103/PhysRevX.12.041011
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import h5py
import numpy as np
from numpy.typing import NDArray

from phon_wigner.conductivity.result import WignerResult
from phon_wigner.conductivity.spectra import lifetimes, mean_free_paths, mode_scalars
from phon_wigner.conductivity.tables import at, write_table

REGIMES = ("particle", "wave", "overdamped")
"""Names of the codes 0, 1, 2 in :attr:`Crossover.regime`; -1 means no lifetime or no heat."""

_UNITS = {
    "frequency": "THz",
    "lifetime": "ps",
    "mean_free_path": "nm",
    "kappa_p": "W/(m K)",
    "kappa_c": "W/(m K)",
    "coherence_share": "1",
    "regime": "code",
}


@dataclass(frozen=True)
class Crossover:
    """Crossover diagnostics at one temperature.

    Attributes
    ----------
    temperature : float, K
    frequency : NDArray[np.float64], shape (n_qpoints, n_bands), THz
    lifetime : NDArray[np.float64], shape (n_qpoints, n_bands), ps
    mean_free_path : NDArray[np.float64], shape (n_qpoints, n_bands), nm
    kappa_p, kappa_c : NDArray[np.float64], shape (n_qpoints, n_bands), W/(m K)
        Shares of the mean of xx, yy, zz; they sum to κ_P and κ_C.
    coherence_share : NDArray[np.float64], shape (n_qpoints, n_bands)
        κ_C/(κ_P + κ_C) of each mode, between 0 and 1; NaN for modes without heat.
    regime : NDArray[np.int64], shape (n_qpoints, n_bands)
        Index into :data:`REGIMES`, or -1.
    wigner_limit_ps : float
        τ_W.
    counts : dict[str, float]
        Share of modes in each regime, star weights included; sums to 1.
    kappa_of_regime : dict[str, tuple[float, float]]
        (κ_P, κ_C) carried by each regime, W/(m K).
    """

    temperature: float
    frequency: NDArray[np.float64]
    lifetime: NDArray[np.float64]
    mean_free_path: NDArray[np.float64]
    kappa_p: NDArray[np.float64]
    kappa_c: NDArray[np.float64]
    coherence_share: NDArray[np.float64]
    regime: NDArray[np.int64]
    wigner_limit_ps: float
    counts: dict[str, float]
    kappa_of_regime: dict[str, tuple[float, float]]

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one row per mode; temperature and unit stand in every column name."""
        t = self.temperature
        names = [
            at("lifetime", t, "ps"),
            at("mean_free_path", t, "nm"),
            at("kappa_p", t, "w_mk"),
            at("kappa_c", t, "w_mk"),
        ]
        header = ["qpoint", "band", "frequency_thz", *names, at("coherence_share", t, ""), at("regime", t, "")]
        columns = (self.frequency, self.lifetime, self.mean_free_path, self.kappa_p, self.kappa_c, self.coherence_share)
        rows = (
            [q, s, *(a[q, s] for a in columns), REGIMES[self.regime[q, s]] if self.regime[q, s] >= 0 else "none"]
            for q, s in np.ndindex(self.frequency.shape)
        )
        write_table(path, header, rows)

    def to_hdf5(self, group: h5py.Group) -> None:
        """Write every array under its attribute name, the regimes' names, shares and κ as attributes."""
        for name, unit in _UNITS.items():
            group.create_dataset(name, data=getattr(self, name), compression="gzip").attrs["unit"] = unit
        group.attrs["temperature"] = self.temperature
        group.attrs["wigner_limit_ps"] = self.wigner_limit_ps
        group.attrs["regimes"] = list(REGIMES)
        group.attrs["share_of_modes"] = [self.counts[name] for name in REGIMES]
        group.attrs["kappa_of_regime"] = [self.kappa_of_regime[name] for name in REGIMES]


def wigner_limit(frequencies: NDArray[np.float64]) -> float:
    """Return τ_W = 1/Δω_avg in ps from all frequencies (n_qpoints, n_bands; THz)."""
    return float(frequencies.shape[1] / (2 * np.pi * frequencies.max()))


def crossover(result: WignerResult, index: int = 0) -> Crossover:
    """Diagnose one temperature of a mode-resolved result.

    Parameters
    ----------
    result : WignerResult
        With modes.
    index : int
        Row of ``result.temperatures``.

    Returns
    -------
    Crossover
    """
    tau = lifetimes(result, index)
    populations = mode_scalars(result, index, "populations")
    coherences = mode_scalars(result, index, "coherences")
    total = populations + coherences
    share = np.divide(coherences, total, out=np.full(total.shape, np.nan), where=total > 0)
    limit = wigner_limit(result.frequency)
    known = np.isfinite(tau) & (result.frequency > 0)
    safe = np.where(known, tau, 1.0)
    inverse = 1 / (2 * np.pi * np.where(known, result.frequency, 1.0))
    regime = np.where(safe <= inverse, 2, np.where(safe > limit, 0, 1))
    regime = np.where(known, regime, -1).astype(np.int64)
    weights = np.broadcast_to(result.weights[:, None], regime.shape)
    counted = weights[known].sum()
    counts, carried = {}, {}
    for code, name in enumerate(REGIMES):
        mask = regime == code
        counts[name] = float(weights[mask].sum() / counted) if counted else 0.0
        carried[name] = (float(populations[mask].sum()), float(coherences[mask].sum()))
    return Crossover(
        temperature=float(result.temperatures[index]),
        frequency=result.frequency,
        lifetime=tau,
        mean_free_path=mean_free_paths(result, index),
        kappa_p=populations,
        kappa_c=coherences,
        coherence_share=share,
        regime=regime,
        wigner_limit_ps=limit,
        counts=counts,
        kappa_of_regime=carried,
    )
