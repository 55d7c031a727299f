"""Where the teacher is in doubt: DFT forces (GPAW, PBE) of cells like the loop's own, and every model against them.

    screen-cli env create gpaw
    python doubtful.py label   --out data --python GPAW_ENVIRONMENT/bin/python --minutes 60   # again at will
    python doubtful.py compare --out data --models default round-8/model.pt --others chgnet sevennet

``label`` writes the cells once (doubtful.extxyz), at rest where the student says, atoms displaced by 0.03 Å; labels go
through al-committee's cache. The teacher takes part in ``compare`` where SIXTY_THREE_TEACHER names its weights.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from crystals import batches, crystal_of, relax_by_student, rng_of, supercell
from nequix_teacher import NequixTeacher

from al_committee.labels.cache import LabelCache
from al_committee.labels.identity import structure_key
from al_committee.labels.obtain import label_through_cache
from al_committee.labels.outcome import LabelRequest
from al_committee.labels.workers.teacher import TeacherSettings
from al_committee.labels.workers.worker_labeller import WorkerLabeller
from screen_cli.calculators import foreign
from sdnnff_calc import SDNNFF

_log = logging.getLogger("recipe")

COMPOUNDS = {
    "cscl": ("AlNi", "AlSc", "TiFe", "TiNi", "AlCo", "HfRu", "ScPd", "AlFe"),
    "cu3au": ("AlNi", "TiPt", "PtTi", "NbIr", "AlZr", "TiCo", "PtFe", "GeFe"),
    "full-heusler": ("VAlFe", "TiAlNi", "TiSnCo", "MnAlCu", "ZrAlPd", "NbAlRu"),
    "half-heusler": ("TiNiSn", "ZrCoSb", "NbFeSb", "MnNiSb"),
    "rocksalt": ("TiN", "VC"),
}
"""Elements in the order of the prototype's sites: Cu₃Au's single atom first, full Heusler's double one last."""
MOMENTS = {"Fe": 2.5, "Co": 1.5, "Mn": 4.0}
"""μ_B to begin with, in compounds that hold one of these; all settle where GPAW's density does."""
SETTINGS: dict[str, Any] = {
    "mode": {"name": "pw", "ecut": 400},
    "xc": "PBE",
    "kpts": {"density": 3.0, "gamma": False},
    "occupations": {"name": "marzari-vanderbilt", "width": 0.2},
    "convergence": {"density": 1e-5},
    "symmetry": {"point_group": False},
    "txt": None,
}
DRAWS = 2
"""Cells of each compound."""
N_ATOMS = 5


def compounds() -> list[dict[str, Any]]:
    """List the compounds as crystals are listed."""
    return [
        {"id": f"{prototype}-{name}", "prototype": prototype, "elements": re.findall("[A-Z][a-z]?", name)}
        for prototype, names in COMPOUNDS.items()
        for name in names
    ]


def cells(student: SDNNFF, seed: int) -> list[Atoms]:
    """Make displaced cells of all compounds, first one of each, then another of each."""
    crystals = [crystal_of(row) for row in compounds()]
    relax_by_student(crystals, student.predict)
    for crystal in crystals:
        if not crystal.at_rest:
            _log.warning("%s does not come to rest", crystal.id)
    found = []
    for draw in range(DRAWS):
        for crystal in crystals:
            atoms = supercell(crystal, "none 0.03", rng_of(seed, crystal.id, "doubtful", draw), N_ATOMS)
            symbols = atoms.get_chemical_symbols()
            if set(symbols) & set(MOMENTS):
                atoms.set_initial_magnetic_moments([MOMENTS.get(symbol, 0.0) for symbol in symbols])
            atoms.info = {"structure_id": crystal.id, "prototype": crystal.prototype, "kind": "none 0.03"}
            found.append(atoms)
    return found


def read_cells(arguments: argparse.Namespace) -> list[Atoms]:
    """Read the cells as written once, so that another student asks for no new labels."""
    file = arguments.out / "doubtful.extxyz"
    if not file.exists():
        ase.io.write(file, cells(SDNNFF(arguments.student), arguments.seed), format="extxyz")
    return list(ase.io.iread(file, ":"))


def label(arguments: argparse.Namespace) -> None:
    """Ask GPAW, until time is up."""
    teacher = TeacherSettings("gpaw:GPAW", SETTINGS, python=str(arguments.python))
    labeller = WorkerLabeller(
        teacher, {"calculator": "gpaw", **SETTINGS}, n_workers=arguments.workers, timeout_s=60 * arguments.longest
    )
    cache = LabelCache(arguments.out / "dft-labels", labeller.settings)
    quickest_first: list[Atoms] = []
    for draw in batches(read_cells(arguments), len(compounds())):
        quickest_first += sorted(draw, key=lambda atoms: atoms.get_initial_magnetic_moments().max())
    requests = [LabelRequest(structure_key(atoms), atoms, atoms.info["structure_id"]) for atoms in quickest_first]
    names = {request.key: request.name for request in requests}
    begin = time.monotonic()
    labelled: list[Atoms] = []

    def is_over() -> bool:
        return time.monotonic() > begin + 60 * arguments.minutes

    for outcome in label_through_cache(requests, labeller, cache, stop=is_over):
        if outcome.atoms is None:
            _log.warning("%s: %s", names[outcome.key], outcome.reason)
            continue
        labelled.append(outcome.atoms)
        _log.info("%s: %d of %d, %.0f s", names[outcome.key], len(labelled), len(requests), outcome.seconds)
    labeller.close()
    ase.io.write(arguments.out / "doubtful-dft.extxyz", labelled, format="extxyz")


def compare(arguments: argparse.Namespace) -> None:
    """Print the force errors of every model, by compound."""
    labelled = ase.io.read(arguments.out / "doubtful-dft.extxyz", ":")
    predicted: dict[str, list[np.ndarray]] = {}
    if "SIXTY_THREE_TEACHER" in os.environ:
        results = NequixTeacher(os.environ["SIXTY_THREE_TEACHER"]).predict(labelled)
        predicted["teacher"] = [result["forces"] for result in results]
    for model in arguments.models:
        predicted[model] = [result["forces"] for result in SDNNFF(model).predict(labelled)]
    for name in arguments.others:
        calculator = foreign(name)
        predicted[name] = [_forces(atoms, calculator) for atoms in labelled]
    names = list(dict.fromkeys(atoms.info["structure_id"] for atoms in labelled))
    of = {name: [k for k, atoms in enumerate(labelled) if atoms.info["structure_id"] == name] for name in names}
    true = [atoms.get_forces() for atoms in labelled]
    rows: dict[str, dict[str, float]] = {}
    for name in names:
        scale = _rms([true[k] for k in of[name]])
        rows[name] = {"force": scale}
        rows[name] |= {m: _rms([found[k] - true[k] for k in of[name]]) for m, found in predicted.items()}
        shares = ", ".join(f"{m} {1e3 * rows[name][m]:.0f} ({rows[name][m] / scale:.0%})" for m in predicted)
        print(f"{name}: {1e3 * scale:.0f} meV/Å; {shares}")
    for model, found in predicted.items():
        shares_of = [rows[name][model] / rows[name]["force"] for name in names]
        slope = sum(float(np.sum(f * t)) for f, t in zip(found, true, strict=True)) / sum(
            float(np.sum(t**2)) for t in true
        )
        total = _rms([f - t for f, t in zip(found, true, strict=True)])
        print(
            f"{model}: RMSE {1e3 * total:.1f} meV/Å, median compound {np.median(shares_of):.1%}, slope {slope:.3f}, "
            f"{len(names)} compounds, {len(labelled)} cells"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({"unit": "eV/Å", "settings": SETTINGS, "compounds": rows}, indent=1))


def _forces(atoms: Atoms, calculator: Any) -> np.ndarray:
    """Give the forces of one structure, eV/Å."""
    copy = atoms.copy()
    copy.calc = calculator
    return np.asarray(copy.get_forces())


def _rms(arrays: list[np.ndarray]) -> float:
    """Take the root mean square component."""
    return float(np.sqrt(np.mean(np.concatenate([array.ravel() for array in arrays]) ** 2)))


def main(argv: list[str] | None = None) -> None:
    """Label or compare."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    for function in (label, compare):
        step = steps.add_parser(function.__name__, help=str(function.__doc__))
        step.add_argument("--out", type=Path, default=Path("data"), help="folder of all steps")
        step.set_defaults(function=function)
        if function is label:
            step.add_argument("--python", required=True, help="of the environment that has GPAW")
            step.add_argument("--student", default="default", help="model that says where the crystals rest")
            step.add_argument("--minutes", type=float, default=60.0)
            step.add_argument("--longest", type=float, default=10.0, help="minutes for one label, then it is left out")
            step.add_argument("--workers", type=int, default=1, help="labels computed at a time")
            step.add_argument("--seed", type=int, default=63)
        else:
            step.add_argument("--models", nargs="*", default=["default"], help="SDNNFF models")
            step.add_argument("--others", nargs="*", default=[], help="calculators with an environment of their own")
            step.add_argument("--json", type=Path, help="write errors by compound here")
    arguments = parser.parse_args(argv)
    arguments.function(arguments)


if __name__ == "__main__":
    main()
