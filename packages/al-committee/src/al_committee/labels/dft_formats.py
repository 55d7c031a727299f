"""VASP and Quantum ESPRESSO: single-point input by ASE's writers, finished output by its readers."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.vasp.create_input import GenerateVaspInput
from ase.io import read
from ase.io.espresso import write_espresso_in
from ase.io.vasp import write_vasp

from al_committee.errors import ConfigError, LabelFailedError, UnknownNameError, suggest_names
from al_committee.labels.file_exchange import DftFormat
from al_committee.labels.labels import LabelOutcome, LabelRequest, attach_label

__all__ = ["EspressoFormat", "VaspFormat", "make_dft_format"]


class VaspFormat:
    """VASP single points: POSCAR, INCAR, KPOINTS, and POTCAR where ``VASP_PP_PATH`` is set.

    Parameters
    ----------
    parameters
        Keywords of ASE's Vasp calculator (``xc``, ``encut``, ``ediff``, ``kpts``, ``gamma``, ``setups``, …).
        NSW = 0 and IBRION = −1 are set here and refused otherwise.

    Notes
    -----
    Atoms are grouped by element in POSCAR, as VASP wants; forces are put back into the order asked for.
    Without ``VASP_PP_PATH`` a file ``POTCAR.symbols`` lists the potentials in order, for a one-line ``cat``.
    """

    name = "vasp"
    output = "vasprun.xml"

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        fixed = {"ibrion": -1, "nsw": 0}
        for name, value in fixed.items():
            if parameters.get(name, value) != value:
                raise ConfigError(f"{name} is {parameters[name]}, expected {value}: labels are single points.")
        self.parameters = {**parameters, **fixed}

    @property
    def settings(self) -> Mapping[str, Any]:
        """Parameters that determine the label."""
        return {"parameters": self.parameters}

    @staticmethod
    def _order(request: LabelRequest) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Order of POSCAR: by element, else as given."""
        return np.argsort(request.atoms.get_chemical_symbols(), kind="stable")

    def write_input(self, folder: Path, request: LabelRequest) -> None:
        """Write POSCAR, INCAR, KPOINTS and POTCAR or POTCAR.symbols."""
        ordered = request.atoms[self._order(request)]
        with open(folder / "POSCAR", "w") as handle:
            write_vasp(handle, ordered, direct=True)
        generator = GenerateVaspInput()
        generator.set(**self.parameters)
        generator.atoms = ordered
        generator.spinpol = bool(np.any(ordered.get_initial_magnetic_moments()))
        symbols = list(dict.fromkeys(ordered.get_chemical_symbols()))
        numbers = ordered.get_chemical_symbols()
        generator.symbol_count = [(symbol, numbers.count(symbol)) for symbol in symbols]
        generator.sort = list(range(len(ordered)))
        generator.resort = list(range(len(ordered)))
        generator.write_incar(ordered, directory=str(folder))
        generator.write_kpoints(ordered, directory=str(folder))
        if os.environ.get("VASP_PP_PATH"):
            generator.initialize(ordered)
            generator.write_potcar(directory=str(folder))
        else:
            setups = self.parameters.get("setups") or {}
            chosen = [
                symbol + str(setups.get(symbol, "")) if isinstance(setups, Mapping) else symbol for symbol in symbols
            ]
            (folder / "POTCAR.symbols").write_text("\n".join(chosen) + "\n")

    def output_paths(self, folder: Path) -> list[Path]:
        """vasprun.xml and OUTCAR."""
        return [folder / self.output, folder / "OUTCAR"]

    def read_output(self, folder: Path, request: LabelRequest) -> LabelOutcome | None:
        """Read vasprun.xml once it is complete; refuse unconverged electrons."""
        path = folder / self.output
        if not path.exists() or not _ends_with(path, b"</modeling>"):
            return None
        steps, limit = _electronic_steps(path)
        if steps >= limit:
            raise LabelFailedError(
                f"{path}: electrons not converged in NELM = {limit} steps. Raise NELM or change ALGO, delete "
                "the output and run again."
            )
        answered = read(path, index=-1, format="vasp-xml")
        results = answered.calc.results
        forces = results["forces"]
        if len(answered) == len(request.atoms):  # else attach_label refuses it
            back = np.argsort(self._order(request), kind="stable")
            answered, forces = answered[back], forces[back]
        labelled = attach_label(
            request.atoms,
            forces=forces,
            energy=results.get("free_energy", results.get("energy")),  # TOTEN, whose derivative the forces are
            stress=results.get("stress"),
            answered=answered,
            source=str(path),
        )
        return LabelOutcome(request.key, labelled, details={"file": self.output, "electronic_steps": steps})


def _ends_with(path: Path, mark: bytes) -> bool:
    """Whether the last bytes of a file hold the closing mark."""
    size = path.stat().st_size
    with open(path, "rb") as handle:
        handle.seek(max(0, size - 4096))
        return mark in handle.read()


def _electronic_steps(path: Path) -> tuple[int, int]:
    """Electronic steps of the last ionic step, and NELM (60 when not stated, VASP's default)."""
    steps, limit = 0, 60
    for _, element in ElementTree.iterparse(path):
        if element.tag == "calculation":
            steps = len(element.findall("scstep"))
        elif element.tag == "i" and element.get("name") == "NELM":
            limit = int((element.text or "60").strip())
    return steps, limit


class EspressoFormat:
    """Quantum ESPRESSO single points: ``espresso.pwi`` in, ``espresso.pwo`` out (``pw.x -in … > …``).

    Parameters
    ----------
    input_data
        Namelists as ASE's writer takes them, such as ``{"system": {"ecutwfc": 60}}``; calculation = scf,
        tprnfor and tstress are set here.
    pseudopotentials
        Element to file name.
    kpts
        Monkhorst-Pack grid; None for Γ.
    kspacing
        Å⁻¹, instead of `kpts`.
    """

    name = "espresso"
    output = "espresso.pwo"

    def __init__(
        self,
        input_data: Mapping[str, Any],
        pseudopotentials: Mapping[str, str],
        kpts: Any = None,
        kspacing: float | None = None,
    ) -> None:
        data = {section: dict(values) for section, values in input_data.items()}
        control = data.setdefault("control", {})
        if control.get("calculation", "scf") != "scf":
            raise ConfigError(f"calculation is {control['calculation']!r}, expected 'scf': labels are single points.")
        control.update({"calculation": "scf", "tprnfor": True, "tstress": True})
        control.setdefault("disk_io", "none")
        self.input_data = data
        self.pseudopotentials = dict(pseudopotentials)
        self.kpts = None if kpts is None else [int(k) for k in kpts]
        self.kspacing = kspacing

    @property
    def settings(self) -> Mapping[str, Any]:
        """Parameters that determine the label; folders of pseudopotentials and scratch do not."""
        places = ("pseudo_dir", "outdir", "prefix", "disk_io", "verbosity")
        control = {k: v for k, v in self.input_data["control"].items() if k not in places}
        return {
            "input_data": {**self.input_data, "control": control},
            "pseudopotentials": self.pseudopotentials,
            "kpts": self.kpts,
            "kspacing": self.kspacing,
        }

    def write_input(self, folder: Path, request: LabelRequest) -> None:
        """Write espresso.pwi."""
        missing = sorted(set(request.atoms.get_chemical_symbols()) - set(self.pseudopotentials))
        if missing:
            raise ConfigError(
                f"no pseudopotential for {', '.join(missing)}. Add it to [labels.options.pseudopotentials]."
            )
        with open(folder / "espresso.pwi", "w") as handle:
            write_espresso_in(
                handle,
                request.atoms,
                input_data={section: dict(values) for section, values in self.input_data.items()},
                pseudopotentials=self.pseudopotentials,
                kpts=self.kpts,
                kspacing=self.kspacing,
            )

    def output_paths(self, folder: Path) -> list[Path]:
        """espresso.pwo."""
        return [folder / self.output]

    def read_output(self, folder: Path, request: LabelRequest) -> LabelOutcome | None:
        """Read espresso.pwo once it says JOB DONE; refuse unconverged electrons."""
        path = folder / self.output
        if not path.exists():
            return None
        text = path.read_text(errors="replace")
        if "convergence NOT achieved" in text:
            raise LabelFailedError(
                f"{path}: electrons not converged. Raise electron_maxstep or lower mixing_beta, delete the "
                "output and run again."
            )
        if "Error in routine" in text:
            line = text.split("Error in routine", 1)[1].splitlines()[0].strip()
            raise LabelFailedError(f"{path}: pw.x stopped with an error in routine {line}")
        if "JOB DONE" not in text:
            return None
        answered = read(path, index=-1, format="espresso-out")
        results = answered.calc.results
        if "forces" not in results:
            raise LabelFailedError(f"{path}: no forces in the output; keep tprnfor = .true. in the input.")
        labelled = attach_label(
            request.atoms,
            forces=results["forces"],
            energy=results.get("energy"),
            stress=results.get("stress"),
            answered=answered,
            source=str(path),
        )
        return LabelOutcome(request.key, labelled, details={"file": self.output})


def make_dft_format(name: str, options: Mapping[str, Any]) -> DftFormat:
    """Make a format by name.

    Parameters
    ----------
    name
        ``vasp`` or ``espresso``.
    options
        Keywords of :class:`VaspFormat` (all of them calculator parameters) or :class:`EspressoFormat`.

    Raises
    ------
    UnknownNameError
        For another name.
    """
    if name == "vasp":
        return VaspFormat(options)
    if name == "espresso":
        return EspressoFormat(**options)
    raise UnknownNameError(suggest_names("DFT format", name, ("vasp", "espresso")))
