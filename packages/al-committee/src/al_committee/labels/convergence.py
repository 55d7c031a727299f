"""Whether a DFT output is finished and converged, by the code's own statement, whatever surrounds it in the file."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from al_committee.errors import LabelFailedError

__all__ = ["VaspStatement", "check_espresso", "check_vasp", "find_output", "open_output"]

_OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def find_output(folder: Path, name: str) -> Path | None:
    """Find an output, also compressed; the newest when there are several.

    Parameters
    ----------
    folder : Path
        Of one label.
    name : str
        Without the suffix of compression.
    """
    found = [path for suffix in ("", *_OPENERS) if (path := folder / f"{name}{suffix}").exists()]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def open_output(path: Path) -> IO[bytes]:
    """Open an output for reading, compressed or not."""
    opener = _OPENERS.get(path.suffix)
    return open(path, "rb") if opener is None else opener(path, "rb")


@dataclass(frozen=True)
class VaspStatement:
    """What vasprun.xml says about its last ionic step.

    Parameters
    ----------
    electronic_steps : int
        Of the last ionic step.
    limit : int
        NELM of the electronic minimisation; 60 when not stated, VASP's default.
    machine_learned : bool
        Whether ML_LMLFF was on: such forces may be a force field's.
    fixed_atoms : bool
        Whether the run had selective dynamics with something fixed.
    """

    electronic_steps: int
    limit: int
    machine_learned: bool
    fixed_atoms: bool


def check_vasp(path: Path) -> VaspStatement:
    """Judge a complete vasprun.xml, and OUTCAR beside it where there is one.

    NELM stands in the file more than once (among the response functions it may be 1); the one of the electronic
    minimisation counts. OUTCAR's own statement, where it is there, decides about a run that ended in its last step.

    Raises
    ------
    LabelFailedError
        Electrons not converged, forces of a machine-learned force field, atoms fixed.
    """
    stated = _read_vasprun(path)
    outcar = _outcar_converged(path.parent)
    if outcar is False or (outcar is None and stated.electronic_steps >= stated.limit):
        raise LabelFailedError(
            f"{path}: electrons not converged in NELM = {stated.limit} steps. Raise NELM or change ALGO, delete "
            "the output and run again."
        )
    if stated.machine_learned:
        raise LabelFailedError(f"{path}: ML_LMLFF is on: forces may be a force field's. Switch it off and run again.")
    if stated.fixed_atoms:
        raise LabelFailedError(
            f"{path}: the run had selective dynamics, and a label needs the forces on all atoms. Delete the folder and "
            "resume: its input is written anew."
        )
    return stated


def _read_vasprun(path: Path) -> VaspStatement:
    """Read the statements; separators name the section in which NELM counts."""
    steps, machine_learned, fixed = 0, False, False
    limits: dict[str, int] = {}
    sections: list[str] = []
    with open_output(path) as handle:
        for event, element in ElementTree.iterparse(handle, events=("start", "end")):
            if event == "start":
                if element.tag in ("separator", "incar", "parameters"):
                    sections.append(str(element.get("name", element.tag)))
                continue
            if element.tag in ("separator", "incar", "parameters") and sections:
                sections.pop()
            text = (element.text or "").strip()
            if element.tag == "calculation":
                steps = len(element.findall("scstep"))
            elif element.tag == "i" and element.get("name") == "NELM" and text:
                limits[sections[-1] if sections else ""] = int(text)
            elif element.tag == "i" and element.get("name") == "ML_LMLFF":
                machine_learned |= text.upper().strip(".").startswith("T")
            elif element.tag == "varray" and element.get("name") == "selective":
                fixed |= any("F" in (row.text or "").upper() for row in element)
    limit = next(
        (limits[name] for name in ("electronic convergence", "electronic", "parameters", "incar") if name in limits),
        next((value for name, value in limits.items() if "response" not in name), 60),
    )
    return VaspStatement(steps, limit, machine_learned, fixed)


def _outcar_converged(folder: Path) -> bool | None:
    """OUTCAR's own statement about the last electronic loop; None without one."""
    path = find_output(folder, "OUTCAR")
    if path is None:
        return None
    statement = None
    with open_output(path) as handle:
        for line in handle:
            if b"aborting loop" in line:
                statement = b"not reached" not in line and b"unconverged" not in line
    return statement


def check_espresso(text: str, source: str) -> bool:
    """Judge the last run of pw.x in a text that may hold several, and anything before, between and after them.

    Parameters
    ----------
    text : str
        The output.
    source : str
        For messages.

    Returns
    -------
    bool
        Whether it is finished.

    Raises
    ------
    LabelFailedError
        Electrons not converged, or pw.x stopped with an error.
    """
    last = text[max(text.rfind("Program PWSCF"), 0) :]
    if re.search(r"convergence\s+NOT\s+achieved", last, re.IGNORECASE):
        raise LabelFailedError(
            f"{source}: electrons not converged. Raise electron_maxstep or lower mixing_beta, delete the output and "
            "run again."
        )
    if "Error in routine" in last:
        line = last.split("Error in routine", 1)[1].splitlines()[0].strip()
        raise LabelFailedError(f"{source}: pw.x stopped with an error in routine {line}")
    if "JOB DONE" not in last:
        return False
    if "convergence has been achieved" not in last:
        raise LabelFailedError(
            f"{source}: pw.x ended without saying that convergence has been achieved. Delete it and run again."
        )
    return True
