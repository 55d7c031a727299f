"""Which ionic steps of a DFT output have converged electrons, by the code's own statement.

One verdict per ionic step, in the order of the file: an empty string, or the reason why its forces are not to be
learned from.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

__all__ = [
    "FROM_NO_ELECTRONS",
    "judge_outcar",
    "judge_pwscf",
    "judge_vasprun",
    "without_empty_calculations",
    "without_machine_learning",
]

_NELM_LINE = re.compile(r"\bNELM\s*=\s*(\d+)\s*;\s*NELMIN")
_NELM = re.compile(r"\bNELM\s*=\s*(\d+)")
_ITERATION = re.compile(r"Iteration +\d+\( *(\d+)\)")
_DEFAULT_NELM = 60
_END_OF_STEP = "FREE ENERGIE OF THE ION-ELECTRON SYSTEM"
FROM_NO_ELECTRONS = "no electronic step: from VASP's machine-learned force field, not from DFT."
"""Verdict on a step without electrons."""
_NOT_SAID = "pw.x does not say that its electrons converged."


def _not_in(nelm: int) -> str:
    return f"electrons not converged in NELM = {nelm} steps. Raise NELM or change ALGO."


def judge_pwscf(lines: Iterable[str]) -> list[str]:
    """Judge each block of forces of pw.x: the self-consistency before it must not have ended unconverged."""
    verdicts: list[str] = []
    reason = _NOT_SAID
    for line in lines:
        if "convergence NOT achieved" in line:
            reason = "electrons not converged. Raise electron_maxstep or lower mixing_beta."
        elif "convergence has been achieved" in line:
            reason = ""
        elif "Forces acting on atoms" in line:
            verdicts.append(reason)
            reason = _NOT_SAID
    return verdicts if verdicts or reason in ("", _NOT_SAID) else [reason]


@dataclass
class _OutcarStep:
    """What OUTCAR says of one ionic step."""

    iterations: int = 0
    ended: bool = False
    reached: bool = False


def judge_outcar(lines: Iterable[str]) -> list[str]:
    """Judge each ionic step of OUTCAR that VASP's electrons made.

    VASP says «aborting loop because EDIFF is reached». In a file that never says how a loop ended, the number of
    electronic steps is compared with NELM of the block *Electronic Relaxation* (a later NELM belongs to response
    functions, an earlier one is an echo of INCAR).
    """
    steps: list[_OutcarStep] = []
    step = _OutcarStep()
    stated: int | None = None
    echoed: int | None = None
    for line in lines:
        if "Iteration" in line and (found := _ITERATION.search(line)):
            step.iterations = int(found.group(1))
        elif "aborting loop" in line:
            step.ended = True
            step.reached = "EDIFF is reached" in line
        elif _END_OF_STEP in line and " ML " not in line:
            steps.append(step)
            step = _OutcarStep()
        elif "NELM" in line:
            if stated is None and (found := _NELM_LINE.search(line)):
                stated = int(found.group(1))
            elif echoed is None and (found := _NELM.search(line)):
                echoed = int(found.group(1))
    nelm = stated or echoed or _DEFAULT_NELM
    says = any(step.ended for step in steps)
    return [_judge_outcar_step(step, nelm, says) for step in steps]


def _judge_outcar_step(step: _OutcarStep, nelm: int, says: bool) -> str:
    if step.iterations == 0 and not step.ended:
        return FROM_NO_ELECTRONS
    converged = step.reached if says else step.iterations < nelm
    if converged:
        return ""
    return _not_in(nelm) if step.iterations >= nelm else "electrons not converged: VASP was stopped before EDIFF."


def without_machine_learning(lines: Iterable[str]) -> Iterator[str]:
    """Give the lines of OUTCAR without the results of VASP's machine-learned force field, which look like DFT's."""
    skipping = 0
    table = 0  # 1: in the head of a table of forces, 2: in its body
    for line in lines:
        if "TOTAL-FORCE" in line and "(ML)" in line:
            table = 1
        elif table:
            if line.lstrip().startswith("-----"):
                table = 0 if table == 2 else 2
        elif line.lstrip().startswith("ML FORCE on cell"):
            skipping = 1  # and the line of numbers below it
        elif skipping:
            skipping -= 1
        elif line.lstrip().startswith("ML ") or "ML TOTEN" in line:
            continue
        else:
            yield line


def without_empty_calculations(lines: Iterable[str]) -> Iterator[str]:
    """Give the lines of vasprun.xml without each ``<calculation>`` that has no electronic step; ASE stumbles there."""
    held: list[str] = []
    for line in lines:
        if held or "<calculation>" in line:
            held.append(line)
            if "</calculation>" not in line:
                continue
            if any("<scstep" in text for text in held):
                yield from held
            held = []
        else:
            yield line
    yield from held  # cut short


@dataclass
class _VaspRun:
    """What vasprun.xml says on the way: settings, and the electronic steps of each ionic one."""

    separators: list[str] = field(default_factory=list)
    nelm: dict[str, int] = field(default_factory=dict)
    has_response: bool = False
    steps: list[list[int]] = field(default_factory=list)

    def take_setting(self, element: ET.Element, in_incar: bool) -> None:
        """Note NELM by the block it stands in, and whether response functions follow the ground state."""
        name, text = element.get("name"), (element.text or "").strip()
        if name == "NELM" and text.lstrip("+").isdigit():
            where = "incar" if in_incar else " / ".join(self.separators)
            self.nelm.setdefault(where, int(text))
        elif name in ("LEPSILON", "LCALCEPS"):
            self.has_response |= text.upper().startswith(("T", ".T"))

    def limit(self) -> int:
        """Give the NELM of the electronic relaxation, not that of the response functions."""
        order = sorted(self.nelm, key=lambda where: ("electronic" not in where, where == "incar"))
        known = [self.nelm[where] for where in order if "response" not in where]
        return known[0] if known else _DEFAULT_NELM

    def count(self, terms: list[int]) -> int:
        """Count the electronic steps of the ground state; each loop begins with a step of many energy terms."""
        if not self.has_response:
            return len(terms)
        later = [k for k, n in enumerate(terms) if k > 0 and n > 3]
        return later[0] if later and terms[0] > 3 else len(terms)


def judge_vasprun(stream: BinaryIO) -> list[str]:
    """Judge each ``<calculation>`` of vasprun.xml by its number of electronic steps; a file cut short ends there."""
    run = _VaspRun()
    inside: list[str] = []
    try:
        for event, element in ET.iterparse(stream, events=("start", "end")):
            if event == "start":
                inside.append(element.tag)
                if element.tag == "separator":
                    run.separators.append(str(element.get("name", "")).lower())
                elif element.tag == "calculation":
                    run.steps.append([])
                continue
            inside.pop()
            if element.tag == "separator":
                run.separators.pop()
            elif element.tag == "i" and ("incar" in inside or "parameters" in inside):
                run.take_setting(element, "incar" in inside)
            elif element.tag == "scstep" and run.steps:
                run.steps[-1].append(len(element.findall("energy/i")))
            if element.tag in ("calculation", "scstep"):
                element.clear()
    except ET.ParseError:
        pass  # cut short: the reader says so, or takes what is whole
    nelm = run.limit()
    counts = [run.count(terms) for terms in run.steps]
    return [FROM_NO_ELECTRONS if n == 0 else _not_in(nelm) if n >= nelm else "" for n in counts]
