"""Compare two conductivities: SRD, SRE, SRME, with the checks that make the numbers mean something.

::

    SRD  = 2 (κ - κ_ref)/(κ + κ_ref)
    SRE  = |SRD|
    SRME = 2 [Σ_qs |K - K_ref| / Σ_q w_q] / (κ + κ_ref)

with κ the mean of xx, yy, zz and K(q, s) the mode-resolved conductivity, the weight of q inside,

    K(q, s) = κ_P(q, s) + 2 Σ_s' κ_C(q, s, s') C_s/(C_s + C_s').

References
----------
B. Póta et al., arXiv:2408.00755 (2024), Eq. 1-4
M. Simoncelli, N. Marzari, F. Mauri, Phys. Rev. X 12, 041011 (2022), Eq. 48, doi:10.1103/PhysRevX.12.041011
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phon_wigner.conductivity.result import WignerResult
from phon_wigner.errors import GridMismatchError, TemperatureError
from phon_wigner.file_access.reading import existing_file, read_text, reading

ReferenceRow = dict[str, object]
"""Columns of one material in a reference table."""

SRME_FAILED = 2.0
"""Score of a material whose modes are imaginary or whose symmetry broke."""


@dataclass(frozen=True)
class ModeConductivity:
    """Scalar, mode-resolved conductivity at one temperature.

    Attributes
    ----------
    kappa : float, W/(m K)
        Mean of xx, yy, zz, populations and coherences.
    modes : NDArray[np.float64], shape (n_qpoints, n_bands), W/(m K)
        K(q, s); sums to ``kappa`` times ``weights.sum()``.
    weights : NDArray[np.int64], shape (n_qpoints,)
    qpoints : NDArray[np.float64], shape (n_qpoints, 3)
    frequencies : NDArray[np.float64], shape (n_qpoints, n_bands), THz
    temperature : float, K
    name : str
    """

    kappa: float
    modes: NDArray[np.float64]
    weights: NDArray[np.int64]
    qpoints: NDArray[np.float64]
    frequencies: NDArray[np.float64]
    temperature: float
    name: str = ""

    @classmethod
    def from_result(cls, result: WignerResult, temperature: float, name: str = "result") -> ModeConductivity:
        """Take one temperature of a :class:`phon_wigner.conductivity.result.WignerResult` with modes.

        Raises
        ------
        GridMismatchError
            The result carries no modes.
        TemperatureError
            The temperature is not in the result.
        """
        if not result.has_modes:
            raise GridMismatchError(
                f"{name} holds no mode-resolved arrays. Analyze with --hdf5 (keep_modes=True) and compare that file."
            )
        i = result.row(temperature, name)
        return cls(
            kappa=float(result.kappa_total[i, :3].mean()),
            modes=(result.mode_kappa_p[i] + result.mode_kappa_c[i])[:, :, :3].mean(axis=2),
            weights=result.weights,
            qpoints=result.qpoints,
            frequencies=result.frequency,
            temperature=float(result.temperatures[i]),
            name=name,
        ).checked()

    @classmethod
    def from_reference_row(cls, row: ReferenceRow, temperature: float = 300.0) -> ModeConductivity:
        """Take one row of the public phononDB-PBE file (:func:`read_reference`)."""
        name = f"reference {row.get('mp_id', '?')} {row.get('name', '')}".strip()
        try:
            arrays = {
                key: np.asarray(row[column], dtype=np.float64)
                for key, column in (
                    ("temperatures", "temperatures"),
                    ("kappa", "kappa_TOT_ave"),
                    ("modes", "mode_kappa_TOT_ave"),
                    ("weights", "weights"),
                    ("qpoints", "qpoints"),
                    ("frequencies", "frequencies"),
                )
            }
        except (KeyError, TypeError, ValueError) as error:
            raise GridMismatchError(
                f"{name} lacks numbers or columns ({error!r}). Take the row from the original."
            ) from error
        temperatures = np.atleast_1d(arrays["temperatures"])
        hit = np.flatnonzero(np.isclose(temperatures, temperature, atol=1e-6))
        if not len(hit):
            raise TemperatureError(f"{name} has no {temperature:g} K; it holds {temperatures.tolist()} K.")
        i = int(hit[0])
        if arrays["kappa"].shape[:1] != temperatures.shape or arrays["modes"].shape[:1] != temperatures.shape:
            raise GridMismatchError(f"{name} has {len(temperatures)} temperatures but not as many conductivities.")
        return cls(
            kappa=float(np.ravel(arrays["kappa"][i])[0]),
            modes=arrays["modes"][i],
            weights=arrays["weights"].astype(np.int64),
            qpoints=arrays["qpoints"],
            frequencies=arrays["frequencies"],
            temperature=float(temperatures[i]),
            name=name,
        ).checked()

    def checked(self, tolerance: float = 1e-3) -> ModeConductivity:
        """Return self after checking shapes, finiteness, band order and that the modes sum to κ.

        Raises
        ------
        GridMismatchError
            One of these fails.
        """
        shape = self.modes.shape
        if (
            len(shape) != 2
            or 0 in shape
            or self.frequencies.shape != shape
            or self.weights.shape != shape[:1]
            or self.qpoints.shape != (shape[0], 3)
            or (self.weights < 1).any()
        ):
            raise GridMismatchError(
                f"{self.name}: modes {self.modes.shape}, frequencies {self.frequencies.shape} and weights "
                f"{self.weights.shape} do not belong together, expected (q points, bands) and (q points,). "
                "Take them from one run."
            )
        for values in (self.modes, self.frequencies, self.qpoints, np.array([self.kappa, self.temperature])):
            if not np.isfinite(values).all():
                raise GridMismatchError(f"{self.name}: not all numbers are finite. Re-run the material.")
        if not self.kappa > 0:
            raise GridMismatchError(f"{self.name}: κ is {self.kappa:g} W/(m K), expected > 0. Re-run the material.")
        if (np.diff(self.frequencies, axis=1) < -1e-3).any():
            raise GridMismatchError(
                f"{self.name}: bands are not in order of rising frequency. Sort bands at every q point, modes likewise."
            )
        total = float(self.modes.sum() / self.weights.sum())
        if abs(total - self.kappa) > tolerance * abs(self.kappa):
            raise GridMismatchError(
                f"{self.name}: the modes sum to {total:.6g} W/(m K), κ is {self.kappa:.6g}. Either the weights are "
                "missing from the modes or coherences from one of the two; give K(q, s) with the weight of q inside."
            )
        return self


@dataclass(frozen=True)
class Comparison:
    """How far one conductivity is from another; all numbers are dimensionless."""

    srd: float
    sre: float
    srme: float
    kappa: float
    kappa_reference: float


def symmetric_relative_difference(kappa: float, reference: float) -> float:
    """Return SRD = 2 (κ - κ_ref)/(κ + κ_ref), between -2 and 2."""
    return 2 * (kappa - reference) / (kappa + reference)


def compare(result: ModeConductivity, reference: ModeConductivity) -> Comparison:
    """Return SRD, SRE and SRME of a result against a reference on the same grid.

    Parameters
    ----------
    result, reference : ModeConductivity
        Same mesh, same order of q points, same temperature.

    Returns
    -------
    Comparison

    Raises
    ------
    GridMismatchError
        Grids, weights or temperatures differ.
    """
    if result.modes.shape != reference.modes.shape:
        raise GridMismatchError(
            f"{result.name} has modes {result.modes.shape}, {reference.name} {reference.modes.shape} (q "
            "points, bands). "
            "Run both with the same primitive cell and mesh."
        )
    if abs(result.temperature - reference.temperature) > 1e-6:
        raise GridMismatchError(
            f"{result.name} is at {result.temperature:g} K, {reference.name} at {reference.temperature:g} K."
        )
    away = np.abs((result.qpoints - reference.qpoints) - np.rint(result.qpoints - reference.qpoints)).max(axis=1)
    if (away > 1e-4).any() or not np.array_equal(result.weights, reference.weights):
        row = int(np.argmax(away)) if away.max() > 1e-4 else int(np.argmax(result.weights != reference.weights))
        raise GridMismatchError(
            f"q point {row} is {result.qpoints[row]} (weight {result.weights[row]}) in {result.name} but "
            f"{reference.qpoints[row]} (weight {reference.weights[row]}) in {reference.name}. Same mesh, "
            "same primitive "
            "axes, same order of q points are needed."
        )
    srd = symmetric_relative_difference(result.kappa, reference.kappa)
    difference = np.abs(result.modes - reference.modes).sum() / reference.weights.sum()
    srme = 2 * difference / (result.kappa + reference.kappa)
    return Comparison(srd, abs(srd), float(srme), result.kappa, reference.kappa)


def read_reference(path: str | os.PathLike[str]) -> dict[str, ReferenceRow]:
    """Read a public reference file (``kappas_*.json.gz``) as rows by material id.

    Parameters
    ----------
    path : path
        JSON or gzipped JSON of a pandas table: column, then row index.

    Returns
    -------
    dict[str, ReferenceRow]
        ``mp_id`` -> row.

    Raises
    ------
    InputFileError
        Missing file or unknown layout.
    """
    fix = (
        "Give the kappas_*.json.gz of phononDB-PBE, a table with mp_id, qpoints, weights, frequencies, "
        "kappa_TOT_ave and "
        "mode_kappa_TOT_ave."
    )
    text = read_text(existing_file(path, "the reference file", fix), "JSON", fix)
    rows: list[ReferenceRow] = []
    with reading(path, "a reference table", fix):
        table = json.loads(text)
        rows = [{column: values[key] for column, values in table.items()} for key in table["mp_id"]]
    return {str(row["mp_id"]): row for row in rows}
