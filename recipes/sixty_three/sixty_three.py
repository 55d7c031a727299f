"""Weights that know sixty-three elements: pool, held-out crystals, and labels by Nequix.

    python sixty_three.py formulas FILES... > data/formulas.txt        # compounds of the tests, to hold out
    python sixty_three.py pool     --out data --formulas data/formulas.txt
    python sixty_three.py label    --out data --minutes 60             # killed and given again at will
    python sixty_three.py held-out --out data --formulas data/formulas.txt
    python sixty_three.py collect  --out data                          # data/train.extxyz
    sdnnff finetune start.toml && sdnnff finetune round_1.toml
    python sixty_three.py label    --out data --student round-1/model.pt --minutes 15
    python sixty_three.py collect  --out data
    sdnnff finetune round_2.toml
    python sixty_three.py label    --out data --student round-2/model.pt --second-student round-1/model.pt --minutes 24
    python sixty_three.py strain   --out data --minutes 4
    python sixty_three.py collect  --out data
    sdnnff finetune round_3.toml
    python errors.py data/test.extxyz data/test-earlier.extxyz --models default round-3/model.pt

The teacher's file of weights: ``--teacher``, or the variable SIXTY_THREE_TEACHER. README.md says the rest.
"""

from __future__ import annotations

import argparse
import json
import logging
import lzma
import os
import sys
import time
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from crystals import (
    DISPLACEMENT,
    EARLIER,
    ELEMENTS,
    LATTICES,
    Crystal,
    VolumeModel,
    batches,
    composition,
    crystal_of,
    element_rows,
    is_held_out,
    proposals,
    relax,
    relax_by_student,
    rng_of,
    supercell,
    unique,
    was_unseen,
)
from nequix_teacher import NequixCalculator, NequixTeacher

from al_committee.file_access.atomic_write import write_atomically
from al_committee.labels.cache import LabelCache
from al_committee.labels.calculator_labeller import CalculatorLabeller
from al_committee.labels.identity import structure_key
from al_committee.labels.obtain import label_through_cache
from al_committee.labels.outcome import LabelOutcome, LabelRequest, attach_label
from screen_cli.properties.formation_energy import energy_of_element, tabulated_elements
from sdnnff_calc import SDNNFF

_log = logging.getLogger("recipe")

CHUNK = 96
"""Crystals labelled together; a kill loses what one chunk has learned of its volumes, never a label."""
HOLE = 0.1
"""eV/atom below an element's own structure; no lattice of it can be there, except in a hole of the teacher."""
UNBOUND, UNBOUND_ELEMENT = 0.5, 1.5
"""eV/atom above the elements; what lies higher is not learned from. The second: lattices of the elements themselves."""
STUDENT_MARGIN = 0.1
"""eV/atom by which a student may err before the teacher is not asked."""
PRESSURE, FORCE, FORCE_SHEARED = 0.4, 4.0, 8.0
"""eV/Å³ and eV/Å, the largest that are learned from."""
TEST_BOUND, TEST_PRESSURE, TEST_FORCE = 0.1, 2e-3, 0.03
"""Held-out crystals: eV/atom above the elements; eV/Å³ and eV/Å at rest."""
TEST_ATOMS = 20


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Read crystals by name."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def formulas(arguments: argparse.Namespace) -> None:
    """Print the compositions of phonopy files (xz) and of what ASE reads."""
    found = set()
    for path in arguments.files:
        if path.suffix != ".xz":
            found |= {composition(atoms.get_chemical_symbols()) for atoms in ase.io.iread(path, ":")}
            continue
        symbols: list[str] = []
        with lzma.open(path, "rt") as stream:
            inside = False
            for line in stream:
                if line.startswith("primitive_cell:"):
                    inside = True
                elif inside and line[:1] not in (" ", "-", "\n"):
                    break
                elif inside and "symbol:" in line:
                    symbols.append(line.split("symbol:")[1].split()[0])
        found.add(composition(symbols))
    print("\n".join(sorted(found)))


def pool(arguments: argparse.Namespace) -> None:
    """Write the names of the pool: pool.jsonl; held-out compositions never enter it."""
    also = set(arguments.formulas.read_text().split()) if arguments.formulas else set()
    rows = [
        row for row in unique(proposals(arguments.seed), 2 * arguments.size) if not is_held_out(row["formula"], also)
    ]
    arguments.out.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows[: arguments.size])
    write_atomically(arguments.out / "pool.jsonl", lambda stream: stream.write(lines.encode()))
    print(f"{len(rows[: arguments.size])} crystals")


# -- labels --------------------------------------------------------------------------------------------


class Labels:
    """Labels through al-committee's cache, one kind of supercell of many crystals at a time."""

    def __init__(self, teacher: NequixTeacher, folder: Path) -> None:
        self.labeller = CalculatorLabeller(teacher, teacher.settings, batch=CHUNK)
        self.cache = LabelCache(folder, teacher.settings)
        self.count = 0

    def take(self, crystals: list[Crystal], kind: str, draw: int, seed: int, called: str = "") -> None:
        """Label a supercell of each crystal, and let the crystal learn from it where it rests."""
        asked: dict[str, Crystal] = {}
        requests = []
        for crystal in crystals:
            atoms = supercell(crystal, kind, rng_of(seed, crystal.id, kind, draw))
            atoms.info = {"structure_id": crystal.id, "prototype": crystal.prototype, "kind": called or kind}
            key = structure_key(atoms)
            asked[key] = crystal
            requests.append(LabelRequest(key, atoms, f"{crystal.id} {kind} {draw}"))

        def say(outcome: LabelOutcome) -> None:
            _log.warning("a label failed: %s", outcome.reason)

        for outcome in label_through_cache(requests, self.labeller, self.cache, on_failure=say):
            if outcome.atoms is None:
                continue
            self.count += 1
            crystal, results = asked[outcome.key], outcome.atoms.calc.results
            crystal.records.append({"key": outcome.key, "kind": called or kind})
            crystal.energies.append(results["energy"] / len(outcome.atoms))
            crystal.pull(outcome.atoms, results)


def label(arguments: argparse.Namespace) -> None:
    """Label the elements, then the pool, chunk after chunk, until time is up."""
    student = SDNNFF(arguments.student)
    second = SDNNFF(arguments.second_student) if arguments.second_student else None
    known = {chemical_symbols[z] for z in student.model.elements}
    labels = Labels(NequixTeacher(arguments.teacher), arguments.out / "labels")
    folder = arguments.out / "chunks"
    folder.mkdir(parents=True, exist_ok=True)
    work = [(f"elements-{k:04d}", part) for k, part in enumerate(batches(element_rows(), CHUNK))]
    work += work_of_pool(read_rows(arguments.out / "pool.jsonl"), arguments.first, arguments.only)
    volumes = VolumeModel()
    begin = time.monotonic()
    for name, rows in work:
        if time.monotonic() > begin + 60 * arguments.minutes:
            break
        file = folder / f"{name}.json"
        crystals = [crystal_of(row) for row in rows]
        if file.exists():
            done = {record["id"]: record for record in json.loads(file.read_text())["crystals"]}
            for crystal in crystals:
                crystal.log_volume = done[crystal.id]["log_volume"]
        else:
            for crystal in crystals:
                if crystal.prototype != "own":
                    crystal.log_volume = volumes.guess(crystal)
            believed = [crystal for crystal in crystals if set(crystal.elements) <= known]
            if believed:
                relax_by_student(believed, student.predict)
            if name.startswith("elements"):
                label_elements(crystals, labels, arguments.seed)
            elif second is None:
                label_compounds(crystals, labels, element_energies(arguments), arguments.seed)
            else:
                chosen, others = by_dispute(crystals, student, second, element_energies(arguments), arguments.seed)
                label_by_dispute(chosen, others, labels, arguments.seed)
            write_chunk(file, crystals)
            rate = 3600 * labels.count / (time.monotonic() - begin)
            _log.info(
                "%s: %d labels, %.0f per hour, volumes scatter by %.3f", name, labels.count, rate, volumes.scatter
            )
        for crystal in crystals:
            volumes.add(crystal)
        volumes.fit()


def work_of_pool(
    rows: list[dict[str, Any]], first: int, prototypes: list[str] | None
) -> list[tuple[str, list[dict[str, Any]]]]:
    """Cut the pool, or what of it has one of some prototypes, into chunks with a name each."""
    if prototypes:
        rows = [row for row in rows if row["prototype"] in prototypes]
    prefix = "-".join(["pool", *sorted(prototypes or [])])
    return [(f"{prefix}-{k:05d}", part) for k, part in enumerate(batches(rows, CHUNK)) if k >= first]


def label_elements(crystals: list[Crystal], labels: Labels, seed: int) -> None:
    """Label ten supercells of each, the first four of which find the volume."""
    for draw in range(4):
        labels.take(crystals, "volume 0.03" if draw else "none 0.03", draw, seed, "volume 0.03")
    for draw in range(3):
        labels.take(crystals, "none 0.03", 10 + draw, seed)
        labels.take(crystals, "shear 0.12", draw, seed)


def label_compounds(crystals: list[Crystal], labels: Labels, energies: dict[str, float], seed: int) -> None:
    """Label two supercells where a student knows the rest, four where labels have to find it, less of the unbound."""
    believed = [c for c in crystals if c.at_rest and c.formation_energy(energies) < UNBOUND + STUDENT_MARGIN]
    others = [crystal for crystal in crystals if not crystal.at_rest]
    for crystal in others:
        if crystal.mode is not None:
            crystal.step = rng_of(seed, crystal.id).uniform(-0.12, 0.12)
    strained = {crystal.id for crystal in believed if rng_of(seed, crystal.id, "strained").random() < 0.5}
    labels.take(believed, "none 0.03", 0, seed)
    labels.take(others, "none 0.03", 0, seed, "volume 0.03")
    labels.take([c for c in crystals if c.id in strained or not c.at_rest], "volume 0.03", 0, seed)
    bound = [crystal for crystal in others if crystal.formation_energy(energies) < UNBOUND]
    labels.take([*(c for c in believed if c.id not in strained), *bound], "shear 0.12", 0, seed)
    labels.take(bound, "none 0.03", 1, seed)


def by_dispute(
    crystals: list[Crystal], first: SDNNFF, second: SDNNFF, energies: dict[str, float], seed: int
) -> tuple[list[Crystal], list[Crystal]]:
    """Split bound crystals at rest: first the half on an atom of whose supercell of 0.03 Å two models differ most."""
    settled = [c for c in crystals if c.at_rest and c.formation_energy(energies) < UNBOUND + STUDENT_MARGIN]
    cells = [supercell(crystal, "none 0.03", rng_of(seed, crystal.id, "none 0.03", 0)) for crystal in settled]
    if not cells:
        return [], []
    differences = [
        float(np.linalg.norm(one["forces"] - other["forces"], axis=1).max())
        for one, other in zip(first.predict(cells), second.predict(cells), strict=True)
    ]
    least = float(np.median(differences))
    pairs = list(zip(settled, differences, strict=True))
    return [crystal for crystal, differ in pairs if differ >= least], [c for c, differ in pairs if differ < least]


def label_by_dispute(chosen: list[Crystal], others: list[Crystal], labels: Labels, seed: int) -> None:
    """Label a supercell of each kind of the chosen crystals, and one, of a kind drawn, of the others."""
    drawn = {crystal.id: rng_of(seed, crystal.id, "drawn").integers(len(DISPLACEMENT)) for crystal in others}
    for k, kind in enumerate(DISPLACEMENT):
        labels.take([*chosen, *(crystal for crystal in others if drawn[crystal.id] == k)], kind, 0, seed)


def write_chunk(file: Path, crystals: list[Crystal]) -> None:
    """Record what was labelled, whole or not at all."""
    rows = [{"id": c.id, "log_volume": c.log_volume, "step": c.step, "labels": c.records} for c in crystals]
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps({"crystals": rows}))
    temporary.replace(file)


def strain(arguments: argparse.Namespace) -> None:
    """Label strained primitive cells of the small crystals learned from: cheap, and what stresses are learned from."""
    labels = Labels(NequixTeacher(arguments.teacher), arguments.out / "labels")
    begin = time.monotonic()
    chunks = arguments.out / "chunks"
    known = [json.loads(chunk.read_text())["crystals"] for chunk in chunks.glob("strain-*.json")]
    strained = {record["id"] for records in known for record in records}
    waiting = [crystal for crystal in small_crystals_learned_from(arguments.out) if crystal.id not in strained]
    for k, crystals in enumerate(batches(waiting, 5 * CHUNK), len(known)):
        if time.monotonic() > begin + 60 * arguments.minutes:
            break
        for draw in range(2 if len(crystals[0].ideal) <= 2 else 1):
            labels.take(crystals, "strain 0.02", draw, arguments.seed)
        write_chunk(chunks / f"strain-{k:05d}.json", crystals)
        _log.info("strain-%05d: %d labels", k, labels.count)


def small_crystals_learned_from(folder: Path) -> list[Crystal]:
    """Give the collected crystals of up to five atoms where they rest, the smallest first."""
    rows = {row["id"]: row for row in [*element_rows(), *read_rows(folder / "pool.jsonl")]}
    found = []
    for part in sorted((folder / "train").glob("*.extxyz")):
        if part.stem.startswith("strain"):
            continue
        learned = {atoms.info["structure_id"] for atoms in ase.io.iread(part, ":")}
        for record in json.loads((folder / "chunks" / f"{part.stem}.json").read_text())["crystals"]:
            if record["id"] in learned:
                crystal = crystal_of(rows[record["id"]])
                crystal.log_volume, crystal.step = record["log_volume"], record["step"]
                found.append(crystal)
    return sorted((c for c in found if len(c.ideal) <= 5), key=lambda crystal: len(crystal.ideal))


def element_energies(arguments: argparse.Namespace) -> dict[str, float]:
    """Give the energy per atom of each element in its own structure, which the teacher relaxes."""
    file = arguments.out / "element-energies.json"
    if not file.exists():
        teacher = NequixCalculator(arguments.teacher)
        energies = {symbol: energy_of_element(symbol, teacher) for symbol in tabulated_elements()}
        text = json.dumps(energies, indent=1)
        write_atomically(file, lambda stream: stream.write(text.encode()))
    result: dict[str, float] = json.loads(file.read_text())
    return result


def collect(arguments: argparse.Namespace) -> None:
    """Write train.extxyz: all labels of crystals, without what is none."""
    energies = element_energies(arguments)
    cache = LabelCache(arguments.out / "labels", NequixTeacher(arguments.teacher).settings)
    parts = arguments.out / "train"
    parts.mkdir(exist_ok=True)
    for chunk in sorted((arguments.out / "chunks").glob("*.json")):
        target = parts / f"{chunk.stem}.extxyz"
        if not target.exists():
            cells = cells_of_chunk(json.loads(chunk.read_text())["crystals"], cache, energies)
            temporary = target.with_suffix(".tmp")
            ase.io.write(temporary, cells, format="extxyz")
            temporary.replace(target)
    left_out = {atoms.info["structure_id"] for file in arguments.without for atoms in ase.io.iread(file, ":")}
    texts = [without_crystals(part.read_text(), left_out) for part in sorted(parts.glob("*.extxyz"))]
    write_atomically(arguments.out / "train.extxyz", lambda stream: stream.write("".join(texts).encode()))
    print(f"{sum(text.count('Lattice=') for text in texts)} supercells")


def without_crystals(text: str, left_out: set[str]) -> str:
    """Give the frames of an extxyz text whose crystals are none of these."""
    lines, kept, start = text.splitlines(keepends=True), [], 0
    while start < len(lines):
        end = start + 2 + int(lines[start])
        if dict(word.partition("=")[::2] for word in lines[start + 1].split())["structure_id"] not in left_out:
            kept += lines[start:end]
        start = end
    return "".join(kept)


def cells_of_chunk(records: list[dict[str, Any]], cache: LabelCache, energies: dict[str, float]) -> list[Atoms]:
    """Give the labelled supercells of bound crystals, without extreme pressures and forces."""
    cells = []
    for record in records:
        found = [(entry["kind"], cache.get(entry["key"])) for entry in record["labels"]]
        labelled = [(kind, atoms) for kind, atoms in found if atoms is not None]
        if not labelled:
            continue
        lowest = min(
            (a.get_potential_energy() - sum(energies[s] for s in a.get_chemical_symbols())) / len(a)
            for _, a in labelled
        )
        is_element = record["id"].split("-")[0] in {*LATTICES, "own"}
        if lowest > (UNBOUND_ELEMENT if is_element else UNBOUND) or (is_element and lowest < -HOLE):
            continue
        for kind, atoms in labelled:
            pressure = abs(float(np.mean(atoms.get_stress()[:3])))
            largest = np.abs(atoms.get_forces()).max()
            if pressure < PRESSURE and largest < (FORCE_SHEARED if kind == "shear 0.12" else FORCE):
                atoms.info["kind"] = kind
                cells.append(atoms)
    return cells


# -- held out ------------------------------------------------------------------------------------------


def held_out(arguments: argparse.Namespace) -> None:
    """Write held-out crystals, relaxed by the teacher: test.extxyz, and test-earlier.extxyz of the earlier elements."""
    teacher, energies = NequixTeacher(arguments.teacher), element_energies(arguments)
    also = set(arguments.formulas.read_text().split()) if arguments.formulas else set()
    volumes = VolumeModel()
    rows = {row["id"]: row for row in read_rows(arguments.out / "pool.jsonl")}
    for chunk in sorted((arguments.out / "chunks").glob("pool-*.json"))[:60]:
        for record in json.loads(chunk.read_text())["crystals"]:
            crystal = crystal_of(rows[record["id"]])
            crystal.log_volume = record["log_volume"]
            volumes.add(crystal)
    volumes.fit()
    for name, elements, shift in (("test", ELEMENTS, 0), ("test-earlier", EARLIER, 7)):
        candidates: dict[str, list[dict[str, Any]]] = {}
        for row in unique(proposals(arguments.seed + shift, elements), arguments.proposals):
            seen_before = elements == EARLIER and not was_unseen(row["prototype"], row["elements"])
            if is_held_out(row["formula"], also) and not seen_before:
                candidates.setdefault(row["prototype"], []).append(row)
        kept: list[Atoms] = []
        for prototype, found in candidates.items():
            cells = relaxed_supercells(found[: 12 * arguments.each], teacher, energies, volumes, arguments)
            _log.info("%s, %s: %d crystals", name, prototype, len(cells) // len(DISPLACEMENT))
            kept += cells
        ase.io.write(arguments.out / f"{name}.extxyz", kept, format="extxyz")


def relaxed_supercells(
    rows: list[dict[str, Any]],
    teacher: NequixTeacher,
    energies: dict[str, float],
    volumes: VolumeModel,
    arguments: argparse.Namespace,
) -> list[Atoms]:
    """Give labelled supercells, three of each, of the first so many crystals that are bound and come to rest."""
    kept: list[Atoms] = []
    for part in batches(rows, 2 * arguments.each):
        crystals = [crystal_of(row) for row in part]
        for crystal in crystals:
            crystal.log_volume = volumes.guess(crystal)
        relax(crystals, teacher.predict, 8)
        results = teacher.predict([crystal.cell() for crystal in crystals])
        for crystal, result in zip(crystals, results, strict=True):
            if len(kept) == len(DISPLACEMENT) * arguments.each:
                return kept
            crystal.energies = [result["energy"] / len(crystal.ideal)]
            at_rest = abs(np.mean(result["stress"][:3])) < TEST_PRESSURE and np.abs(result["forces"]).max() < TEST_FORCE
            if not at_rest or crystal.formation_energy(energies) > TEST_BOUND:
                continue
            for kind in DISPLACEMENT:
                atoms = supercell(crystal, kind, rng_of(arguments.seed, crystal.id, kind, "test"), TEST_ATOMS)
                labelled = attach_label(atoms, **teacher.predict([atoms])[0])
                labelled.info = {"structure_id": crystal.id, "prototype": crystal.prototype, "kind": kind}
                kept.append(labelled)
    return kept


def main(argv: list[str] | None = None) -> int:
    """Run one step of the recipe."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    step = steps.add_parser("formulas", help="print compositions of structures, to hold out")
    step.add_argument("files", type=Path, nargs="+")
    step.set_defaults(function=formulas)
    for function in (pool, label, strain, held_out, collect):
        step = steps.add_parser(function.__name__.replace("_", "-"), help=str(function.__doc__).partition("\n")[0])
        step.add_argument("--out", type=Path, default=Path("data"), help="folder of all steps")
        step.add_argument("--seed", type=int, default=63)
        step.set_defaults(function=function)
        if function is not pool:
            teacher = os.environ.get("SIXTY_THREE_TEACHER")
            step.add_argument("--teacher", type=Path, default=teacher, required=teacher is None, help="its weights")
        if function in (pool, held_out):
            step.add_argument("--formulas", type=Path, help="file of further compositions to hold out")
        if function is pool:
            step.add_argument("--size", type=int, default=60000, help="crystals")
        if function is label:
            step.add_argument(
                "--student", type=Path, help="model that says where crystals rest; default: the bundled one"
            )
            step.add_argument(
                "--first", type=int, default=0, help="chunk of the pool to begin with, after the elements"
            )
            step.add_argument(
                "--only",
                nargs="+",
                metavar="PROTOTYPE",
                help="these alone; what the pool ran out of early is forgotten in later rounds that lack it",
            )
            step.add_argument("--second-student", type=Path, help="label only the half on which the two differ most")
        if function in (label, strain):
            step.add_argument("--minutes", type=float, default=60.0)
        if function is collect:
            step.add_argument(
                "--without", type=Path, nargs="+", default=[], help="files of crystals to leave out, e.g. fresh.extxyz"
            )
        if function is held_out:
            step.add_argument("--each", type=int, default=20, help="crystals of each prototype")
            step.add_argument("--proposals", type=int, default=300000, help="to choose from")
    arguments = parser.parse_args(argv)
    arguments.function(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
