"""Labelled structures from outputs of VASP and Quantum ESPRESSO, through ASE.

A file is known by what stands in it, not by its name: compressed, renamed, or behind the messages of an MPI library.
An ionic step whose electrons did not converge has forces that are not to be learned from
(:mod:`sdnnff_calc.data.convergence`); ASE reads some of them all the same. Such steps, and those without forces
(nscf, bands), are left out and logged with the reason; so is every file of a folder that is passed over.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import ase.io
from ase import Atoms

from sdnnff_calc.data.compressed import DAMAGED, open_binary, open_text, plain_copy
from sdnnff_calc.data.convergence import (
    FROM_NO_ELECTRONS,
    judge_outcar,
    judge_pwscf,
    judge_vasprun,
    without_empty_calculations,
    without_machine_learning,
)
from sdnnff_calc.errors import DataError

__all__ = ["FolderOutputs", "find_outputs", "output_format", "read_folder", "read_output"]

_log = logging.getLogger(__name__)

_MARKS = {b"Program PWSCF": "espresso-out", b"<modeling>": "vasp-xml", b"ions per type =": "vasp-out"}
_SUFFIX = {"espresso-out": ".pwo", "vasp-xml": ".xml", "vasp-out": ".OUTCAR"}
_CHANGES: dict[str, Callable[[IO[str]], Iterator[str]]] = {
    "vasp-xml": without_empty_calculations,
    "vasp-out": without_machine_learning,
}
"""What of a file must not reach ASE's reader."""
_LOOKED_AT = 16 << 20  # bytes of a file that are searched for a mark
_INPUTS = re.compile(
    r"(INCAR|POSCAR|CONTCAR|POTCAR|KPOINTS|CHG|CHGCAR|WAVECAR|EIGENVAL|DOSCAR|PROCAR|OSZICAR|XDATCAR|IBZKPT|PCDAT|REPORT"
    r"|ML_\w+|WAVEDER|LOCPOT|AECCAR\d|ELFCAR|vaspout)\b.*|.*\.(in|pwi|upf|UPF|wfc\d*|hub\d*|save|h5|sh|slurm|py|md)$"
)
"""Files that stand beside an output and hold no label."""
_PACKED = re.compile(r"\.(gz|xz|bz2)$")
_STRUCTURE_FILES = (".xyz", ".extxyz", ".db", ".yaml", ".yml", ".json")


def output_format(path: Path) -> str | None:
    """Tell the outputs of pw.x, vasprun.xml and OUTCAR by their content: ASE's name of the format, None for others.

    Raises
    ------
    DataError
        When the file cannot be read.
    """
    try:
        with open_binary(path) as stream:
            before = b""
            seen = 0
            while seen < _LOOKED_AT and (block := stream.read(1 << 16)):
                text = before + block
                if seen == 0 and b"\x00" in text[:4096]:
                    break  # binary
                for mark, name in _MARKS.items():
                    if mark in text:
                        return name
                before, seen = block[-32:], seen + len(block)
    except DAMAGED as error:
        raise DataError(f"{path} cannot be read ({type(error).__name__}: {error}). Copy it again.") from error
    if path.name.startswith("vasprun"):
        return "vasp-xml"
    return "vasp-out" if path.name.startswith("OUTCAR") else None


def read_output(path: Path, output: str) -> Iterator[Atoms]:
    """Read the usable ionic steps of one output; ``info['origin']`` says file and frame.

    Parameters
    ----------
    path : Path
    output : str
        As :func:`output_format` gives it.

    Yields
    ------
    Atoms
        With forces. Steps that are left out are logged with the reason.

    Raises
    ------
    DataError
        When ASE cannot read the file, or none of its steps can be used.
    """
    reasons: dict[str, int] = {}
    n_used = 0
    for index, (atoms, reason) in enumerate(_judged_frames(path, output)):
        if reason:
            reasons[reason] = reasons.get(reason, 0) + 1
            continue
        n_used += 1
        atoms.info["origin"] = f"{path}@{index}"
        yield atoms
    said = "; ".join(f"{n} frames: {reason}" if n > 1 else reason for reason, n in reasons.items())
    if n_used == 0:
        raise DataError(f"{path}: {said or 'no ionic step with forces.'}")
    if said:
        _log.warning("left out of %s (%d frames are used): %s", path, n_used, said)


def _judged_frames(path: Path, output: str) -> Iterator[tuple[Atoms, str]]:
    """Read all frames with the reason, if any, why each cannot be used."""
    index = -1
    try:
        verdicts = _verdicts(path, output)
        with plain_copy(path, _SUFFIX[output], _CHANGES.get(output, iter)) as copy:
            frames = list(ase.io.iread(copy, index=":", format=output))
        have_forces = [atoms.calc is not None and "forces" in atoms.calc.results for atoms in frames]
        if output == "espresso-out":  # its verdicts are of frames with forces
            of_frame = iter(verdicts if len(verdicts) == sum(have_forces) else [_worst(verdicts)] * len(frames))
            reasons = [next(of_frame) if has else _worst(verdicts) for has in have_forces]
            without = "no forces. Set tprnfor = .true."
        else:
            own = [verdict for verdict in verdicts if verdict != FROM_NO_ELECTRONS]
            reasons = [*own, *[""] * len(frames)][: len(frames)]
            without = "no forces."
        for atoms, has, reason in zip(frames, have_forces, reasons, strict=True):
            index += 1
            yield atoms, reason or ("" if has else without)
        for reason in verdicts:
            if reason == FROM_NO_ELECTRONS:
                yield Atoms(), reason
        if not frames and _worst(verdicts):
            raise DataError(f"{path}: {_worst(verdicts)}")
    except DataError:
        raise
    except Exception as error:  # ASE's readers raise many kinds, and so do those of compressed files
        raise DataError(
            f"{path}, after frame {index}: ASE cannot read it ({type(error).__name__}: {error})."
        ) from error


def _worst(verdicts: list[str]) -> str:
    """Give the first reason there is."""
    return next((reason for reason in verdicts if reason), "")


def _verdicts(path: Path, output: str) -> list[str]:
    """Judge the ionic steps of an output."""
    if output == "vasp-xml":
        with open_binary(path) as stream:
            return judge_vasprun(stream)
    with open_text(path, errors="replace") as lines:
        return judge_pwscf(lines) if output == "espresso-out" else judge_outcar(lines)


@dataclass
class FolderOutputs:
    """What a folder holds.

    Attributes
    ----------
    files : dict of Path to str
        Outputs to read, with ASE's name of their format.
    passed_over : dict of Path to str
        Files that may hold labels and are not read, with the reason.
    n_beside : int
        Inputs, densities and the like, which hold none.
    """

    files: dict[Path, str] = field(default_factory=dict)
    passed_over: dict[Path, str] = field(default_factory=dict)
    n_beside: int = 0


def find_outputs(path: Path) -> FolderOutputs:
    """Find the VASP and Quantum ESPRESSO outputs below a folder.

    Where a run left both ``vasprun.xml`` and ``OUTCAR``, the first is read; of a file and its compressed copy, the
    file.

    Raises
    ------
    DataError
        When there is none.
    """
    found = FolderOutputs()

    def note(error: OSError) -> None:
        found.passed_over[Path(error.filename or path)] = f"cannot be opened ({error.strerror})"

    for folder, subfolders, names in os.walk(path, onerror=note):
        for name in sorted(subfolders):
            if (Path(folder) / name).is_symlink():
                found.passed_over[Path(folder) / name] = "a link to a folder. Give that folder by its name"
        subfolders.sort()
        _sort_out(Path(folder), sorted(names), found)
    if not found.files:
        raise DataError(
            f"no VASP or Quantum ESPRESSO output below {path}; looked for vasprun.xml, OUTCAR and what pw.x prints, in "
            f"{len(found.passed_over) + found.n_beside} files. {_list(found.passed_over)}".strip()
        )
    return found


def _sort_out(folder: Path, names: list[str], found: FolderOutputs) -> None:
    """Put the files of one folder where they belong."""
    outputs: dict[Path, str] = {}
    for name in names:
        file = folder / name
        if _INPUTS.fullmatch(_PACKED.sub("", name)) or name.startswith("."):
            found.n_beside += 1
        elif _PACKED.sub("", name).endswith(_STRUCTURE_FILES):
            found.passed_over[file] = "of a folder only DFT outputs are read. Give the file by its name"
        elif _PACKED.search(name) and _PACKED.sub("", name) in names:
            found.passed_over[file] = "the compressed copy of a file beside it"
        else:
            try:
                output = output_format(file)
            except DataError as error:
                found.passed_over[file] = str(error)
                continue
            if output is None:
                found.passed_over[file] = "not known as an output of VASP or pw.x"
            else:
                outputs[file] = output
    runs = {_PACKED.sub("", f.name).replace("vasprun.xml", "").replace("vasprun", "") for f in _of(outputs, "vasp-xml")}
    for file, output in outputs.items():
        if output == "vasp-out" and _PACKED.sub("", file.name).removeprefix("OUTCAR") in runs:
            found.n_beside += 1  # the same run
            _log.info("%s: not read, vasprun.xml of the same run is", file)
        else:
            found.files[file] = output


def _of(outputs: dict[Path, str], output: str) -> list[Path]:
    """Give the files of one format."""
    return [file for file, name in outputs.items() if name == output]


def _list(passed_over: dict[Path, str], most: int = 10) -> str:
    """Name files and reasons, the first few of them."""
    if not passed_over:
        return ""
    some = "; ".join(f"{file}: {reason}" for file, reason in list(passed_over.items())[:most])
    more = f"; and {len(passed_over) - most} more" if len(passed_over) > most else ""
    return f"Passed over: {some}{more}."


def read_folder(path: Path) -> Iterator[Atoms]:
    """Read all VASP and Quantum ESPRESSO outputs below a folder, those of :func:`find_outputs`.

    Raises
    ------
    DataError
        When there is none, or none of them can be used.
    """
    found = find_outputs(path)
    if found.passed_over:
        _log.warning("%s", _list(found.passed_over))
    left_out: list[str] = []
    n_used = 0
    for file, output in found.files.items():
        try:
            with contextlib.closing(read_output(file, output)) as frames:  # type: ignore[type-var]
                for atoms in frames:
                    n_used += 1
                    yield atoms
        except DataError as error:
            left_out.append(str(error))
            _log.warning("left out: %s", error)
    if n_used == 0:
        raise DataError(f"no output below {path} can be used: {'; '.join(left_out[:5])}")
