"""VASP and Quantum ESPRESSO: single-point input by ASE's writers, finished output by its readers."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.io import read
from ase.io.espresso import write_espresso_in
from ase.io.vasp import write_vasp
from numpy.typing import NDArray

from al_committee.errors import ConfigError, LabelFailedError, UnknownNameError, suggest_names
from al_committee.labels.convergence import check_espresso, check_vasp, find_output, open_output
from al_committee.labels.file_exchange import DftFormat
from al_committee.labels.outcome import LabelOutcome, LabelRequest, attach_label

__all__ = ["EspressoFormat", "VaspFormat", "make_dft_format"]


class VaspFormat:
    """VASP single points: POSCAR, INCAR, KPOINTS, and POTCAR where ``VASP_PP_PATH`` is set.

    Parameters
    ----------
    parameters : mapping of str to object
        Keywords of ASE's Vasp calculator (``xc``, ``encut``, ``ediff``, ``kpts``, ``gamma``, ``setups``, …).
        NSW = 0 and IBRION = −1 are set here and refused otherwise.

    Notes
    -----
    Atoms are grouped by element in POSCAR, as VASP wants; forces are put back into the order asked for.
    Without ``VASP_PP_PATH`` a file ``POTCAR.symbols`` lists the potentials in order, for a one-line ``cat``.
    """

    name = "vasp"
    output = "vasprun.xml"

    def __init__(self, parameters: Mapping[str, object]) -> None:
        if any(name.lower() == "ml_lmlff" and value for name, value in parameters.items()):
            raise ConfigError("ml_lmlff is on, but labels are DFT's own forces: leave it out.")
        fixed = {"ibrion": -1, "nsw": 0}
        for name, value in fixed.items():
            if parameters.get(name, value) != value:
                raise ConfigError(f"{name} is {parameters[name]}, expected {value}: labels are single points.")
        self.parameters = {**parameters, **fixed}

    @property
    def settings(self) -> Mapping[str, object]:
        """Parameters that determine the label."""
        return {"parameters": self.parameters}

    @staticmethod
    def _order(request: LabelRequest) -> NDArray[np.int64]:
        """Order of POSCAR: by element, else as given."""
        return np.argsort(request.atoms.get_chemical_symbols(), kind="stable")

    def write_input(self, folder: Path, request: LabelRequest) -> None:
        """Write POSCAR, INCAR, KPOINTS and POTCAR or POTCAR.symbols."""
        ordered = request.atoms[self._order(request)]
        with open(folder / "POSCAR", "w") as handle:
            write_vasp(handle, ordered, direct=True)
        from ase.calculators.vasp.create_input import GenerateVaspInput  # all of matplotlib comes with it

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
        """vasprun.xml and OUTCAR, also compressed."""
        return [path for name in (self.output, "OUTCAR") if (path := find_output(folder, name))]

    def read_output(self, folder: Path, request: LabelRequest) -> LabelOutcome | None:
        """Read vasprun.xml once it is complete; refuse unconverged electrons."""
        path = find_output(folder, self.output)
        if path is None or not _ends_with(path, b"</modeling>"):
            return None
        stated = check_vasp(path)
        with open_output(path) as handle:
            answered = cast("Atoms", read(io.BytesIO(handle.read()), index=-1, format="vasp-xml"))
        results = cast("BaseCalculator", answered.calc).results
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
        return LabelOutcome(
            request.key, labelled, details={"file": self.output, "electronic_steps": stated.electronic_steps}
        )


def _ends_with(path: Path, mark: bytes) -> bool:
    """Whether the last bytes of a file, compressed or not, hold the closing mark."""
    last = b""
    try:
        with open_output(path) as handle:
            while piece := handle.read(1 << 20):
                last = (last + piece)[-4096:]
    except EOFError:  # a compressed file that still grows
        return False
    return mark in last


class EspressoFormat:
    """Quantum ESPRESSO single points: ``espresso.pwi`` in, ``espresso.pwo`` out (``pw.x -in … > …``).

    Parameters
    ----------
    input_data : mapping of str to object
        Namelists as ASE's writer takes them, such as ``{"system": {"ecutwfc": 60}}``; calculation = scf,
        tprnfor and tstress are set here.
    pseudopotentials : mapping of str to str
        Element to file name.
    kpts : sequence of int, optional
        Monkhorst-Pack grid; None for Γ.
    kspacing : float, optional
        Å⁻¹, instead of `kpts`.
    """

    name = "espresso"
    output = "espresso.pwo"

    def __init__(
        self,
        input_data: Mapping[str, Mapping[str, object]],
        pseudopotentials: Mapping[str, str],
        kpts: Sequence[int] | None = None,
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
    def settings(self) -> Mapping[str, object]:
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
        """espresso.pwo, also compressed."""
        return [path] if (path := find_output(folder, self.output)) else []

    def read_output(self, folder: Path, request: LabelRequest) -> LabelOutcome | None:
        """Read espresso.pwo once it says JOB DONE; refuse unconverged electrons."""
        path = find_output(folder, self.output)
        if path is None:
            return None
        try:
            with open_output(path) as handle:
                text = handle.read().decode(errors="replace")
        except EOFError:  # a compressed file that still grows
            return None
        if not check_espresso(text, str(path)):
            return None
        _refuse_fixed_atoms(folder / "espresso.pwi")
        last = io.StringIO(text[max(text.rfind("Program PWSCF"), 0) :])
        answered = cast("Atoms", read(last, index=-1, format="espresso-out"))
        results = cast("BaseCalculator", answered.calc).results
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


def _refuse_fixed_atoms(path: Path) -> None:
    """Refuse an input that fixes atoms: pw.x sets their forces to zero.

    Raises
    ------
    LabelFailedError
        When an ``if_pos`` is zero.
    """
    if path.exists() and cast("Atoms", read(path, format="espresso-in")).constraints:
        raise LabelFailedError(
            f"{path} fixes atoms (if_pos), whose forces pw.x sets to zero. Delete the folder and resume: its input is "
            "written anew."
        )


def make_dft_format(name: str, options: Mapping[str, object]) -> DftFormat:
    """Make a format by name.

    Parameters
    ----------
    name : str
        ``vasp`` or ``espresso``.
    options : mapping of str to object
        Keywords of :class:`VaspFormat` (all of them calculator parameters) or :class:`EspressoFormat`.

    Raises
    ------
    UnknownNameError
        For another name.
    """
    if name == "vasp":
        return VaspFormat(options)
    if name == "espresso":
        return EspressoFormat(**cast("dict[str, Any]", options))  # it checks them
    raise UnknownNameError(suggest_names("DFT format", name, ("vasp", "espresso")))
