"""Read linewidths of ShengBTE and FourPhonon.

Files of one run directory: ``BTE.qpoints`` (irreducible index, grid index, number of equivalent points, three
fractional coordinates), ``BTE.omega`` (one row of angular frequencies in rad/ps per irreducible q point) and, in
``T300K/`` for each temperature, rate files of two columns: angular frequency and scattering rate 1/τ in ps⁻¹, all
q points of the first band, then of the second, and so on.

A ShengBTE rate is an angular **full** width: γ(HWHM, THz) = rate/4π. ``BTE.w`` is the total in the relaxation-time
approximation, ``BTE.w_final`` the rate after the iteration; coherences need ``BTE.w``. FourPhonon's ``BTE.w_3ph`` and
``BTE.w_4ph`` are summed when both are named.

References
----------
W. Li et al., Comput. Phys. Commun. 185, 1747 (2014), doi:10.1016/j.cpc.2014.02.015
Z. Han et al., Comput. Phys. Commun. 270, 108179 (2022), doi:10.1016/j.cpc.2021.108179
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phon_wigner.errors import GridMismatchError, InputFileError
from phon_wigner.file_access.reading import existing_file, read_text, reading
from phon_wigner.phonons.linewidths import Linewidths

logger = logging.getLogger(__name__)

OMEGA_TOLERANCE = 1e-3
"""Largest accepted difference between the frequencies in a rate file and in BTE.omega, rad/ps."""


def read_shengbte(
    folder: str | os.PathLike[str],
    rates: Sequence[str] = ("BTE.w",),
    *,
    convention: str = "rate-per-ps",
    isotope: str | None = None,
) -> Linewidths:
    """Read one ShengBTE or FourPhonon run directory.

    Parameters
    ----------
    folder : path
        Directory with BTE.qpoints, BTE.omega and T*K/ subdirectories.
    rates : sequence of str
        Rate files inside each T*K directory; they are summed.
    convention : str
        What the second column is (:data:`phon_wigner.phonons.conventions.CONVENTIONS`). ShengBTE writes 1/τ in ps⁻¹;
        other codes that imitate its files may write half of it (``hwhm-rad-ps``).
    isotope : str, optional
        Temperature-independent rate file in ``folder``, e.g. ``BTE.w_isotopic``, when ``rates`` do not contain it.

    Returns
    -------
    Linewidths
        Temperatures sorted, bands by rising frequency as ShengBTE orders them.

    Raises
    ------
    InputFileError
        A file is missing or has another layout.
    GridMismatchError
        The rates belong to other frequencies than BTE.omega.
    """
    folder = Path(folder)
    if "BTE.w_final" in rates:
        logger.warning(
            "BTE.w_final holds rates after the iteration, no linewidths: κ_P follows the direct solution roughly, κ_C "
            "is not defined with them. Use BTE.w for coherences."
        )
    qpoints, weights = _read_qpoints(folder / "BTE.qpoints")
    omega = np.atleast_2d(_load(folder / "BTE.omega"))
    if len(omega) != len(qpoints):
        raise GridMismatchError(
            f"{folder / 'BTE.omega'} has {len(omega)} rows, expected {len(qpoints)} (the q points of BTE.qpoints). "
            "Take all files from one run."
        )
    temperatures, directories = _temperature_directories(folder)
    gamma = np.array([sum(_read_rate(d / name, omega) for name in rates) for d in directories])
    isotopes = None if isotope is None else _read_rate(folder / isotope, omega)
    return Linewidths.from_arrays(
        temperatures,
        qpoints,
        weights,
        gamma,
        convention=convention,
        gamma_isotope=isotopes,
        frequencies=omega / (2 * np.pi),
        source=str(folder.name or folder),
    )


def _temperature_directories(folder: Path) -> tuple[NDArray[np.float64], list[Path]]:
    """Return temperatures and their T*K directories, sorted."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        match = re.fullmatch(r"T([0-9]+\.?[0-9]*)K", path.name)
        if match and path.is_dir():
            found.append((float(match.group(1)), path))
    if not found:
        raise InputFileError(f"{folder} holds no T*K directory (e.g. T300K). Give the directory ShengBTE ran in.")
    found.sort()
    return np.array([t for t, _ in found]), [p for _, p in found]


def _load(path: Path) -> NDArray[np.float64]:
    """Read a table of finite numbers, with a message that names the file."""
    fix = "Give the directory of a complete ShengBTE run, or run it again."
    text = read_text(existing_file(path, "the ShengBTE file", fix), "a table of numbers", fix)
    # Fortran drops the E of three-digit exponents: 0.1234567890-100
    text = re.sub(r"(\d)([+-]\d{3})\b", r"\1E\2", text)
    table = np.zeros(0)
    with reading(path, "a table of numbers", fix), warnings.catch_warnings():
        warnings.simplefilter("error")  # an empty file
        table = np.asarray(np.loadtxt(StringIO(text), dtype=np.float64))
        if not np.isfinite(table).all():
            raise ValueError(f"{int((~np.isfinite(table)).sum())} of {table.size} numbers are not finite")
    return table


def _read_qpoints(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return coordinates (n_q, 3) and star sizes (n_q,) of BTE.qpoints."""
    table = np.atleast_2d(_load(path))
    if table.shape[1] != 6:
        raise InputFileError(
            f"{path} has {table.shape[1]} columns, expected 6 (index, grid index, equivalent points, q1 q2 q3). "
            "BTE.qpoints_full lists the whole grid and is not it; ShengBTE before 1.1 wrote five, with Cartesian q: "
            "run a newer one."
        )
    coordinates = table[:, 3:]
    if (table[:, 2] < 1).any() or (table[:, 2] != np.rint(table[:, 2])).any():
        raise InputFileError(f"{path}: a number of equivalent points (third column) is not a positive integer.")
    return coordinates - np.rint(coordinates), table[:, 2].astype(np.int64)


def _read_rate(path: Path, omega: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the second column of a rate file, shape (n_q, n_bands), checked against BTE.omega."""
    table = _load(path)
    if table.ndim != 2 or table.shape != (omega.size, 2):
        raise InputFileError(
            f"{path} has shape {table.shape}, expected ({omega.size}, 2): frequency and rate of every irreducible "
            f"mode. {omega.shape[0]} q points and {omega.shape[1]} bands stand in BTE.omega."
        )
    ordered = table[:, 0].reshape(omega.shape[::-1]).T
    worst = float(np.abs(ordered - omega).max())
    if worst > OMEGA_TOLERANCE:
        raise GridMismatchError(
            f"{path}: its frequencies differ from BTE.omega by up to {worst:.3g} rad/ps, expected the same, band after "
            "band. Take both from one run."
        )
    return np.asarray(table[:, 1].reshape(omega.shape[::-1]).T)
