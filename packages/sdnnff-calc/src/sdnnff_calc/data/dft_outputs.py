"""Labelled structures from outputs of VASP and Quantum ESPRESSO, through ASE.

A run whose electrons did not converge has forces that are not to be learned from; ASE reads some of them all the
same. In a folder such runs, and outputs without forces (nscf, bands), are left out and logged with the reason.
"""

from __future__ import annotations

import bz2
import gzip
import logging
import lzma
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ase.io
from ase import Atoms

from sdnnff_calc.errors import DataError

__all__ = ["OPENERS", "output_files", "read_folder", "read_frames"]

_log = logging.getLogger(__name__)

OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
"""How to open a compressed file, by suffix."""

_NAMES = ("vasprun.xml*", "OUTCAR*", "*.pwo", "*.out")
_NELM = re.compile(r"\bNELM\b\D*(\d+)")
_ITERATION = re.compile(r"Iteration +\d+\( *(\d+)\)")
_DEFAULT_NELM = 60


def read_frames(path: Path) -> Iterator[Atoms]:
    """Read every frame of a file ASE knows; ``info['origin']`` says file and frame.

    Raises
    ------
    DataError
        When ASE cannot read it or its electrons did not converge; the message names file and frame.
    """
    index = -1
    try:
        if reason := _why_unconverged(path):
            raise DataError(reason)
        for index, atoms in enumerate(
            ase.io.iread(path, index=":", format="espresso-out" if _is_pwscf(path) else None)
        ):
            atoms.info["origin"] = f"{path}@{index}"
            yield atoms
    except DataError:
        raise
    except Exception as error:  # ASE's readers raise many kinds, and so do those of compressed files
        raise DataError(
            f"{path}, after frame {index}: ASE cannot read it ({type(error).__name__}: {error})."
        ) from error


def output_files(path: Path) -> list[Path]:
    """List the VASP and Quantum ESPRESSO outputs below a folder that are to be read.

    Where a run left both ``vasprun.xml`` and ``OUTCAR``, the first is. Files ``*.out`` are looked into: only those of
    ``pw.x`` count.

    Raises
    ------
    DataError
        When there is none.
    """
    files: dict[Path, list[Path]] = {}
    for pattern in _NAMES:
        for file in sorted(path.rglob(pattern)):
            if file.suffix != ".out" or _is_pwscf(file):
                files.setdefault(file.parent, []).append(file)
    if not files:
        raise DataError(f"no VASP or Quantum ESPRESSO output below {path}; looked for {', '.join(_NAMES)}.")
    chosen: list[Path] = []
    for folder in sorted(files):
        chosen += [f for f in files[folder] if f.name.startswith("vasprun.xml")] or files[folder]
    return chosen


def read_folder(path: Path) -> Iterator[Atoms]:
    """Read all VASP and Quantum ESPRESSO outputs below a folder, those of :func:`output_files`.

    Raises
    ------
    DataError
        When there is none, or none of them can be used.
    """
    left_out: list[str] = []
    n_used = 0
    for file in output_files(path):
        for atoms in _usable_frames(file, left_out):
            n_used += 1
            yield atoms
    if n_used == 0:
        raise DataError(f"no output below {path} can be used: {'; '.join(left_out[:5])}")


def _usable_frames(file: Path, left_out: list[str]) -> Iterator[Atoms]:
    """Read the frames with forces of one output; log and note why others are left out."""
    reason, without = "", 0
    try:
        for atoms in read_frames(file):
            if atoms.calc is None or "forces" not in atoms.calc.results:
                without += 1
                continue
            yield atoms
        if without:
            hint = " Set tprnfor = .true." if _is_pwscf(file) else ""
            reason = f"{file}: {without} frames have no forces.{hint}"
    except DataError as error:
        reason = str(error)
    if reason:
        left_out.append(reason)
        _log.warning("left out: %s", reason)


def _is_pwscf(file: Path) -> bool:
    """Tell whether a file is an output of pw.x."""
    if file.suffix not in (".out", ".pwo"):
        return False
    with open(file, "rb") as stream:
        return b"Program PWSCF" in stream.read(4096)


def _why_unconverged(file: Path) -> str:
    """Say that the electrons of pw.x or VASP did not converge, or give an empty string."""
    if not _is_pwscf(file) and not file.name.startswith(("vasprun.xml", "OUTCAR")):
        return ""
    with OPENERS.get(file.suffix, open)(file, "rt", encoding="utf-8", errors="replace") as lines:
        if _is_pwscf(file):
            if any("convergence NOT achieved" in line for line in lines):
                return f"{file}: electrons not converged. Raise electron_maxstep or lower mixing_beta."
            return ""
        steps, limit = _most_electronic_steps(lines)
    if steps >= limit:
        return f"{file}: electrons not converged in NELM = {limit} steps. Raise NELM or change ALGO."
    return ""


def _most_electronic_steps(lines: Iterator[str]) -> tuple[int, int]:
    """Count electronic steps in the longest ionic step of vasprun.xml or OUTCAR; give NELM too."""
    steps, most, limit = 0, 0, _DEFAULT_NELM
    for line in lines:
        if "<calculation>" in line:
            steps = 0
        elif "<scstep>" in line:
            steps += 1
        elif "Iteration" in line and (found := _ITERATION.search(line)):
            steps = int(found.group(1))
        elif "NELM" in line and (found := _NELM.search(line)):
            limit = int(found.group(1))
        most = max(most, steps)
    return most, limit
