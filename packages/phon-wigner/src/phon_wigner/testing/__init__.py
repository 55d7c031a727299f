"""A toy crystal for tests: rocksalt held together by Morse springs, exact, stable and quick.

Every bond sits at its own minimum, so the crystal is stable and its force constants are analytic in kind.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from phon_wigner.phonons.harmonic import HarmonicCrystal
from phon_wigner.phonons.linewidths import Linewidths

LATTICE = 5.6
BORN_CHARGE = 1.1
DIELECTRIC = 2.4


def rocksalt() -> PhonopyAtoms:
    """Return the 8-atom conventional cell."""
    fcc = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return PhonopyAtoms(
        symbols=["Na"] * 4 + ["Cl"] * 4,
        cell=np.eye(3) * LATTICE,
        scaled_positions=np.vstack([fcc, (fcc + np.array([0.5, 0.5, 0.5])) % 1]),
    )


def morse_forces(cell: PhonopyAtoms) -> NDArray[np.float64]:
    """Return forces (n_atoms, 3; eV/Å): nearest Na-Cl and Cl-Cl, Na-Na bonds, each at its own minimum."""
    positions = cell.positions
    difference: NDArray[np.float64] = positions[None, :, :] - positions[:, None, :]
    fractional = difference @ np.linalg.inv(cell.cell)
    difference = (fractional - np.rint(fractional)) @ cell.cell
    distance = np.linalg.norm(difference, axis=2)
    np.fill_diagonal(distance, np.inf)
    like = np.equal.outer(cell.numbers, cell.numbers)
    first, second = LATTICE / 2, LATTICE / np.sqrt(2)
    depth = np.where(like, 0.12, 0.5)
    rest = np.where(like, second, first)
    stretch = np.where(np.isfinite(distance), distance - rest, 0.0)
    decay = np.exp(-1.4 * stretch)
    slope = np.where(np.abs(stretch) < 0.5, 2 * depth * 1.4 * (1 - decay) * decay, 0.0)
    forces: NDArray[np.float64] = (
        slope[:, :, None] * difference / np.where(np.isfinite(distance), distance, 1)[:, :, None]
    ).sum(axis=1)
    return forces


def make_phonopy(
    primitive_matrix: Literal["P", "F", "auto"] = "F", nac: Literal["gonze", "wang"] | None = None, dim: int = 2
) -> Phonopy:
    """Return the toy crystal with force constants and, when asked, charges."""
    phonon = Phonopy(rocksalt(), supercell_matrix=np.eye(3, dtype=int) * dim, primitive_matrix=primitive_matrix)
    phonon.generate_displacements(distance=0.001)
    phonon.forces = [morse_forces(cell) for cell in phonon.supercells_with_displacements or ()]
    phonon.produce_force_constants()
    phonon.symmetrize_force_constants()
    if nac:
        signs = [1 if s == "Na" else -1 for s in phonon.primitive.symbols]
        phonon.nac_params = {
            "born": np.array([np.eye(3) * BORN_CHARGE * s for s in signs]),
            "dielectric": np.eye(3) * DIELECTRIC,
            "factor": 14.4,
            "method": nac,
        }
    return phonon


def irreducible_mesh(phonon_crystal: HarmonicCrystal, n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return one q per star of a regular mesh and the star sizes, by brute force."""
    grid = np.array(np.meshgrid(*[np.arange(n)] * 3, indexing="ij")).reshape(3, -1).T
    seen: dict[tuple[int, ...], int] = {}
    chosen, sizes = [], []
    for point in grid:
        star = np.einsum("rab,b->ra", phonon_crystal.reciprocal_operations, point)
        keys = {tuple(int(x) for x in s % n) for s in star}
        if any(key in seen for key in keys):
            continue
        seen.update(dict.fromkeys(keys, 1))
        chosen.append((point + n // 2) % n - n // 2)
        sizes.append(len(keys))
    return np.array(chosen) / n, np.array(sizes)


def fortran_e(value: float) -> str:
    """Return a number as Fortran's ``E20.10`` prints it: 0.1234567890E+02, and without the E below 1e-99."""
    if not math.isfinite(value):
        return ("NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity").rjust(20)
    exponent = 0 if value == 0 else math.floor(math.log10(abs(value))) + 1
    mantissa = f"{value / 10.0**exponent:.10f}"
    if abs(float(mantissa)) >= 1:
        exponent, mantissa = exponent + 1, f"{value / 10.0 ** (exponent + 1):.10f}"
    return f"{mantissa}{'E' if abs(exponent) < 100 else ''}{exponent:+03d}".rjust(20)


def write_shengbte(folder: str | os.PathLike[str], widths: Linewidths, fourphonon: bool = False) -> None:
    """Write linewidths as ShengBTE does, in its own formats.

    The formats are those of ShengBTE.f90: ``3(I9,1x),3(E20.10,1x)`` for BTE.qpoints (q in [0, 1)), ``E20.10`` per band
    for BTE.omega, ``2E20.10`` band after band for the rates.

    Parameters
    ----------
    folder : path
    widths : Linewidths
        With frequencies.
    fourphonon : bool
        Write FourPhonon's BTE.w_3ph (three quarters) and BTE.w_4ph (one quarter) as well.
    """
    folder = Path(folder)
    if widths.frequencies is None:
        raise ValueError("ShengBTE files need frequencies; give Linewidths with them.")
    omega = 2 * np.pi * widths.frequencies
    points = [
        f"{i + 1:9d} {i + 1:9d} {int(weight):9d} " + " ".join(fortran_e(float(x)) for x in q % 1) + " "
        for i, (q, weight) in enumerate(zip(widths.qpoints, widths.weights, strict=True))
    ]
    (folder / "BTE.qpoints").write_text("\n".join(points) + "\n", encoding="ascii")
    _write_rows(folder / "BTE.omega", omega)
    _write_rows(folder / "BTE.w_isotopic", _two_columns(omega, 4 * np.pi * widths.gamma_static))
    for temperature, gamma in zip(widths.temperatures, np.asarray(widths.gamma), strict=True):
        target = folder / f"T{round(temperature)}K"
        target.mkdir()
        _write_rows(target / "BTE.w", _two_columns(omega, 4 * np.pi * (gamma + widths.gamma_static)))
        if fourphonon:
            for name, share in (("BTE.w_3ph", 0.75), ("BTE.w_4ph", 0.25)):
                _write_rows(target / name, _two_columns(omega, share * 4 * np.pi * gamma))


def _two_columns(omega: NDArray[np.float64], rate: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return frequency and rate of every mode, band after band."""
    return np.column_stack([omega.T.ravel(), rate.T.ravel()])


def _write_rows(path: Path, rows: Iterable[Iterable[float]]) -> None:
    """Write one line of E20.10 numbers per row."""
    lines = ("".join(fortran_e(float(x)) for x in row) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
