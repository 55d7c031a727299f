r"""Recipe of the bundled weights: cubic prototypes, labelled by SevenNet-l3i5, trained with ``sdnnff train``.

    python cubic_prototypes.py label  --out data --minutes 60          # killed, resumed, run twice at once at will
    python cubic_prototypes.py label  --out data --containing O        # more of what errs most, as often as one likes
    python cubic_prototypes.py split  --out data                       # whole crystals held out
    sdnnff train cubic_prototypes_train.toml                           # forces first
    sdnnff finetune cubic_prototypes_finetune.toml                     # then energies and stresses weigh more

    python cubic_prototypes.py elements --out data-2                   # the elements themselves: fcc, bcc, diamond
    python cubic_prototypes.py label  --out data-2 --committee run-2/model.pt --committee-relaxes --deviation 0
    python cubic_prototypes.py label  --out data-2 --only-unseen       # held-out ones, drawn at random
    python cubic_prototypes.py split  --out data-2
    sdnnff finetune cubic_prototypes_second_round.toml                 # crystals at rest where the first round believes

    python cubic_prototypes.py card   --out data-2 --model run-3/model.pt  # errors on unseen crystals, and CHGNet's
    python cubic_prototypes.py unseen --out data-2                     # crystals for the next two
    screen-cli run cubic_prototypes_kappa.toml --run-dir teacher && screen-cli run cubic_prototypes_kappa.toml \
        --run-dir student --set calculator.name=sdnnff --set 'calculator.options={path="run-3/model.pt"}'
    screen-cli compare teacher student                                 # κ and stability, teacher against student

    python cubic_prototypes.py fc2    --out data-2 --minutes 15        # force constants of training crystals
    sdnnff finetune cubic_prototypes_force_constants.toml              # tried, not in the wheel

With several models ``--committee a.pt b.pt`` asks the teacher only where they disagree by ``--deviation``.
More labels of one kind (``label --containing O --committee run-3/model.pt …``) went into cubic_prototypes_oxides.toml,
which trains from the beginning, and into cubic_prototypes_grid.toml, the grid model on the same file.
cubic_prototypes_errors.py says how sure the force errors are and what they are made of.

Each crystal is a prototype filled with random elements: at most one of them forms anions (no oxyhalides, no sulphur
as a cation), and with a halogen or chalcogen the oxidation states sum to zero. It is relaxed with its symmetry kept,
and kept when its formation energy against the teacher's own elements is below 0.5 eV/atom (crystals held out: 0.1) and
its space group survives. Labels, in supercells of about 24 atoms: all atoms displaced by 0.03 Å; the same in a cell
strained by up to ±4 %; and by 0.12 Å in a cell sheared by up to 2 %. Where a committee relaxes, the teacher labels
the first and the last in cells of about 12 atoms: if the committee is wrong about where atoms rest, the forces say so.
The elements themselves, but for those that form dimers, are labelled as fcc, bcc and diamond: all three kinds four
times, in cells of about 12 atoms; none of them is held out.

Needs ``pip install screen-cli sevenn`` (SevenNet: MIT, weights in its wheel), and chgnet for the card.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import sys
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import spglib
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixSymmetry
from ase.data import atomic_numbers, covalent_radii
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from phonopy import Phonopy
from vesin import ase_neighbor_list

from al_committee import CommitteeCalculator
from al_committee.file_access.atomic_write import whole_file, write_atomically
from al_committee.selection.supercells import displace_randomly
from screen_cli.crystal.phonopy_cells import ase_cell, phonopy_cell
from screen_cli.crystal.prototypes import build, guess_lattice_constant, prototypes
from screen_cli.sources.decoration import is_charge_balanced
from sdnnff_calc import SDNNFF, load_model, save_model
from sdnnff_calc.data.structures import iterate_structures
from sdnnff_calc.training.evaluation import OneByOne, evaluate_forces

_log = logging.getLogger("recipe")

ELEMENTS = [
    "Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba", "Y", "La", "Cu", "Ag", "Zn", "Cd", "Al", "Ga", "In",
    "Si", "Ge", "Sn", "Pb", "P", "As", "Sb", "Bi", "O", "S", "Se", "Te", "F", "Cl", "Br", "I",
]  # fmt: skip
"""Those of the bundled weights; any others the teacher knows can be added, with labels for them."""
ANIONS = ["O", "F", "S", "Cl", "Se", "Br", "Te", "I", "P", "As", "Sb"]
IONIC = {"O", "F", "S", "Cl", "Se", "Br", "Te", "I"}
"""At most one of these and P in a crystal, and then it is charge neutral."""
SMALL = {"rocksalt", "zincblende", "cscl", "fluorite", "perovskite", "bif3"}
"""Prototypes whose κ is checked against the teacher's."""
DIMERS = {"O", "F", "Cl", "Br", "I"}
"""Their dense forms are not what the teacher knows (fcc oxygen falls into a hole of it)."""
ANION_LAST = {"zincblende", "rocksalt", "perovskite", "elpasolite", "spinel", "ca3ascl3", "ab3c12", "abc2-227"}
LATTICES = {"fcc": 2.83, "bcc": 2.31, "diamond": 4.62}
"""Of the elements; the lattice constant of touching spheres over their radius."""
DRAWS_OF_ELEMENTS = 4
"""How often an element's supercells are drawn: elements are few, and no compound stands in for them."""
TRAIN_MARGIN, COMMITTEE_MARGIN, TEST_MARGIN = 0.5, 0.35, 0.1
"""Highest formation energy, eV/atom: training also learns from what is only just bound; a committee errs."""
COLLAPSED = 3.0
"""eV/Å; 0.03 Å of displacement never gives so much, except where the teacher let atoms fall into each other."""
ISOLATED = 5.0
"""Å; the teacher's cutoff: an atom with no neighbour within it feels exactly nothing."""
SWOLLEN = 3.0
"""Volume over that of the starting guess; some nineteen crystals in twenty stay below 2."""
STRAIN_AND_DISPLACEMENT = [("none", 0.03), ("volume", 0.03), ("shear", 0.12)]
FMAX_FOR_FORCE_CONSTANTS = 2e-3
LEAST_FC2, LARGEST_FC2 = 1e-3, 100.0
"""eV/Å²; a bond's are of the order of 1."""
N_ATOMS, N_ATOMS_AT_REST = 24, 12
"""Of the supercells to label, about: after the teacher relaxed, and where the committee did."""


def teacher() -> Any:
    """Load SevenNet-l3i5, whose weights come in its wheel."""
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator("7net-l3i5", device="auto")


def is_plausible(name: str, conventional: Atoms) -> bool:
    """Tell whether one element at most forms anions and, if the crystal is ionic, its oxidation states sum to zero."""
    numbers, counts = np.unique(conventional.numbers, return_counts=True)
    symbols = set(conventional.get_chemical_symbols())
    if len(symbols & (IONIC | {"P"})) > 1:
        return False
    ionic = name in ANION_LAST or symbols & IONIC
    return not ionic or bool(is_charge_balanced(numbers[None], counts.tolist())[0])


def propose(rng: np.random.Generator, names: list[str], containing: set[str]) -> tuple[str, Atoms]:
    """Fill one of the prototypes with random elements, some of them given; anions where the prototype has them."""
    table = prototypes()
    while True:
        name = str(rng.choice(names))
        symbols = [str(s) for s in rng.choice(ELEMENTS, size=table[name]["elements"], replace=False)]
        if name in ANION_LAST:
            symbols[-1] = str(rng.choice(sorted(set(ANIONS) - set(symbols[:-1]))))
        if containing & set(symbols) and is_plausible(name, build(name, symbols, 1.0)):
            break
    return name, primitive(build(name, symbols, guess_lattice_constant(name, symbols)))


def primitive(conventional: Atoms) -> Atoms:
    """Give spglib's primitive cell."""
    cell, positions, numbers = spglib.find_primitive(
        (conventional.cell.array, conventional.get_scaled_positions(), conventional.numbers)
    )
    return Atoms(numbers=numbers, scaled_positions=positions, cell=cell, pbc=True)


def relax(atoms: Atoms, calculator: Any, fmax: float) -> bool:
    """Relax cell and positions, symmetry kept; tell whether it converged to something dense."""
    atoms.calc = calculator
    atoms.set_constraint(FixSymmetry(atoms))
    converged = bool(BFGS(FrechetCellFilter(atoms), logfile=None, maxstep=0.1).run(fmax=fmax, steps=60))
    atoms.set_constraint()
    radii = covalent_radii[atoms.numbers]
    return converged and atoms.get_volume() < 12 * np.sum(4 / 3 * np.pi * radii**3)


def element(symbol: str, lattice: str) -> Atoms:
    """Build the primitive cell of an element with its covalent radius."""
    return bulk(symbol, lattice, a=LATTICES[lattice] * covalent_radii[atomic_numbers[symbol]])


def ensure_element_energy(symbol: str, calculator: Any, folder: Path) -> None:
    """Keep an element's energy per atom in a file: the dimer for oxygen and halogens, else fcc, bcc or diamond."""
    file = folder / f"{symbol}.json"
    if not file.is_file():
        if symbol in DIMERS:
            r = covalent_radii[atomic_numbers[symbol]]
            dimer = Atoms([symbol] * 2, positions=[[0, 0, 0], [0, 0, 2 * r]], cell=[9, 9, 10], pbc=True)
            dimer.calc = calculator
            BFGS(dimer, logfile=None).run(fmax=0.02, steps=60)
            energies = [dimer.get_potential_energy() / 2]
        else:
            energies = []
            for lattice in LATTICES:
                atoms = element(symbol, lattice)
                relax(atoms, calculator, fmax=5e-3)
                energies.append(atoms.get_potential_energy() / len(atoms))
        text = json.dumps(float(min(energies)))
        write_atomically(file, lambda stream: stream.write(text.encode()))


def formation_energy(atoms: Atoms, elements: Path) -> float:
    """Energy per atom above the teacher's elements, eV."""
    total = sum(json.loads((elements / f"{s}.json").read_text()) for s in atoms.get_chemical_symbols())
    return float(atoms.get_potential_energy() - total) / len(atoms)


def supercell_of(atoms: Atoms, n_atoms: int) -> Atoms:
    """Copy a cell and repeat it along its shortest edge until it has about n atoms."""
    atoms = atoms.copy()
    while len(atoms) * 1.5 <= n_atoms:
        repeat = [1, 1, 1]
        repeat[int(np.argmin(atoms.cell.lengths().round(3)))] = 2
        atoms = atoms.repeat(repeat)
    return atoms


def labelled_supercells(
    atoms: Atoms,
    calculator: Any,
    rng: np.random.Generator,
    n_atoms: int = N_ATOMS,
    kinds: Sequence[tuple[str, float]] = STRAIN_AND_DISPLACEMENT,
) -> list[Atoms]:
    """Displace, strain and label; see the module's docstring."""
    result = []
    for strain, displacement in kinds:
        cell = supercell_of(atoms, n_atoms)
        deformation = np.eye(3)
        if strain == "volume":
            deformation *= 1 + rng.uniform(-0.04, 0.04)
        if strain == "shear":
            shear = rng.uniform(-0.02, 0.02, size=(3, 3))
            deformation += 0.5 * (shear + shear.T)
        cell.set_cell(cell.cell.array @ deformation, scale_atoms=True)
        cell.positions += displace_randomly(cell, displacement, rng)
        calculator.calculate(cell, ["energy", "forces", "stress"])
        values = {k: calculator.results[k] for k in ("energy", "forces", "stress")}
        cell.calc = SinglePointCalculator(cell, **values)
        cell.info["kind"] = f"{strain} {displacement}"
        result.append(cell)
    return result


def why_not(name: str, atoms: Atoms, calculator: Any, elements: Path, fmax: float) -> str:
    """Relax a proposal in place; give the reason to leave it out, or an empty string."""
    try:
        if not relax(atoms, calculator, fmax):
            return "not relaxed"
        dataset = spglib.get_symmetry_dataset((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), 1e-3)
        if dataset is None or dataset.number != prototypes()[name]["space_group"]:
            return "space group changed"
        if formation_energy(atoms, elements) > TRAIN_MARGIN:
            return "formation energy too high"
    except (RuntimeError, ValueError, np.linalg.LinAlgError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def disagreement(atoms: Atoms, committee: CommitteeCalculator, elements: Path, rng: np.random.Generator) -> float:
    """Relax a proposal in place by the committee's mean; give the deviation of its forces at 0.03 Å, RMS, eV/Å.

    Infinite, and the proposal as it was, where the committee is lost; minus infinite where its mean finds the crystal
    unbound. One model alone never deviates: it only relaxes.
    """
    guess = atoms.copy()
    try:
        if not relax(guess, committee, fmax=0.05):
            return np.inf
        if formation_energy(guess, elements) > COMMITTEE_MARGIN:
            return -np.inf
        cell = supercell_of(guess, N_ATOMS)
        cell.positions += displace_randomly(cell, STRAIN_AND_DISPLACEMENT[0][1], rng)
        (prediction,) = committee.evaluate([cell])
    except (RuntimeError, ValueError, np.linalg.LinAlgError):
        return np.inf
    atoms.set_cell(guess.cell)
    atoms.set_scaled_positions(guess.get_scaled_positions())
    return float(np.sqrt(np.mean(prediction.force_deviation**2)))


def is_unseen(identity: str) -> bool:
    """Tell by its name whether a compound is held out: one in ten, whatever else is labelled."""
    return zlib.crc32(identity.encode()) % 10 == 0


def label(arguments: argparse.Namespace) -> None:
    """Make and label crystals until time is up; every crystal is a file, so a kill loses one.

    A committee picks what is learned from and has no say in what is held out: errors there would be those of crystals
    chosen for being hard. Where it relaxes as well, crystals to hold out are passed over.
    """
    calculator = teacher()
    committee = CommitteeCalculator([SDNNFF(path) for path in arguments.committee]) if arguments.committee else None
    crystals, elements = arguments.out / "crystals", arguments.out / "elements"
    for folder in (crystals, elements):
        folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * arguments.minutes
    attempt = 0
    while time.monotonic() < end:
        rng = np.random.default_rng([arguments.seed, attempt])
        attempt += 1
        name, atoms = propose(rng, arguments.prototypes, set(arguments.containing))
        identity = f"{name}-{'-'.join(dict.fromkeys(atoms.get_chemical_symbols()))}"
        done, skipped = crystals / f"{identity}.extxyz", crystals / f"{identity}.skipped"
        if done.exists() or skipped.exists() or (arguments.only_unseen and not is_unseen(identity)):
            continue
        if arguments.committee_relaxes and is_unseen(identity):
            continue
        for symbol in set(atoms.get_chemical_symbols()):
            ensure_element_energy(symbol, calculator, elements)
        deviation = np.inf
        if committee is not None and not is_unseen(identity):
            deviation = disagreement(atoms, committee, elements, rng)
        if deviation < arguments.deviation or (arguments.committee_relaxes and np.isinf(deviation)):
            continue
        if arguments.committee_relaxes:
            supercells = labelled_supercells(atoms, calculator, rng, N_ATOMS_AT_REST, STRAIN_AND_DISPLACEMENT[::2])
            reason = "formation energy too high" if formation_energy(supercells[0], elements) > TRAIN_MARGIN else ""
        else:
            reason = why_not(name, atoms, calculator, elements, arguments.fmax)
            supercells = [] if reason else labelled_supercells(atoms, calculator, rng)
        if reason:
            skipped.write_text(reason)
            continue
        keep(supercells, identity, name, done)
        _log.info("%s (%d)", identity, attempt)


def keep(supercells: list[Atoms], identity: str, prototype: str, file: Path) -> None:
    """Write the supercells of a crystal, whole or not at all."""
    for cell in supercells:
        cell.info["structure_id"] = identity
        cell.info["prototype"] = prototype
    temporary = file.with_suffix(f".tmp{os.getpid()}")
    ase.io.write(temporary, supercells, format="extxyz")
    temporary.replace(file)


def label_elements(arguments: argparse.Namespace) -> None:
    """Relax and label the elements themselves."""
    calculator = teacher()
    crystals = arguments.out / "crystals"
    crystals.mkdir(parents=True, exist_ok=True)
    for symbol, lattice in itertools.product(sorted(set(ELEMENTS) - DIMERS), LATTICES):
        file = crystals / f"{lattice}-{symbol}.extxyz"
        atoms = element(symbol, lattice)
        if file.exists() or not relax(atoms, calculator, arguments.fmax):
            continue
        rng = np.random.default_rng([arguments.seed, atomic_numbers[symbol], *lattice.encode()])
        kinds = STRAIN_AND_DISPLACEMENT * DRAWS_OF_ELEMENTS
        supercells = labelled_supercells(atoms, calculator, rng, N_ATOMS_AT_REST, kinds)
        keep(supercells, file.stem, lattice, file)
        _log.info(file.stem)


def starting_guess(crystal: Atoms) -> Atoms:
    """Build the ideal cell of a labelled crystal's prototype, elements and composition, from covalent radii."""
    name = crystal.info["prototype"]
    symbols = crystal.info["structure_id"].removeprefix(f"{name}-").split("-")
    if name in LATTICES:
        return element(symbols[0], name)
    composition = crystal.symbols.formula.reduce()[0].count()
    for order in itertools.permutations(symbols):
        cell = build(name, list(order), guess_lattice_constant(name, list(order)))
        if cell.symbols.formula.reduce()[0].count() == composition:
            return cell
    raise ValueError(f"{crystal.info['structure_id']}: {crystal.symbols} is no {name}.")


def fell_apart(crystal: Atoms) -> str:
    """Say whether a relaxed crystal is one no more: an atom on its own, or far too large; else an empty string."""
    (centre,) = ase_neighbor_list("i", crystal, ISOLATED)
    if len(np.unique(centre)) < len(crystal):
        return "with isolated atoms"
    guess = starting_guess(crystal)
    too_large = crystal.get_volume() / len(crystal) > SWOLLEN * guess.get_volume() / len(guess)
    return "swollen" if too_large else ""


def split(arguments: argparse.Namespace) -> None:
    """Write train.extxyz and test.extxyz: one bound crystal in ten is unseen, with all its supercells.

    The name of a crystal decides, so that it stays on its side when more are labelled. Crystals that fell apart as they
    relaxed are left out of both.
    """
    parts: dict[str, list[list[Atoms]]] = {"train": [], "test": []}
    broken: Counter[str] = Counter()
    for file in sorted((arguments.out / "crystals").glob("*.extxyz")):
        cells = ase.io.read(file, ":")
        reason = "collapsed" if np.abs(cells[0].get_forces()).max() > COLLAPSED else fell_apart(cells[0])
        if reason:
            broken[reason] += 1
            continue
        if cells[0].info["prototype"] in LATTICES or not is_unseen(file.stem):
            parts["train"].append(cells)
            continue
        bound = formation_energy(cells[0], arguments.out / "elements") < TEST_MARGIN
        if bound and is_plausible(cells[0].info["prototype"], cells[0]):
            parts["test"].append(cells)
    for part, chosen in parts.items():
        with whole_file(arguments.out / f"{part}.extxyz") as file:  # force_constants reads it whenever it starts
            ase.io.write(file, [atoms for cells in chosen for atoms in cells])
        print(f"{part}: {len(chosen)} crystals, {sum(map(len, chosen))} supercells")
    print("left out:", ", ".join(f"{count} {reason}" for reason, count in broken.items()) or "none")


def unseen(arguments: argparse.Namespace) -> None:
    """Write the unseen crystals with at most five atoms as ideal cells for screen-cli: unseen.extxyz."""
    cells = []
    for crystal in ase.io.iread(arguments.out / "test.extxyz", ":"):
        name = crystal.info["prototype"]
        if not crystal.info["kind"].startswith("none") or name not in SMALL:
            continue
        cell = starting_guess(crystal)
        cell.info = {"name": crystal.info["structure_id"]}
        cells.append(cell)
    ase.io.write(arguments.out / "unseen.extxyz", cells)
    print(f"{len(cells)} crystals in {arguments.out / 'unseen.extxyz'}")


def as_it_rests(crystal: Atoms, calculator: Any) -> Atoms | None:
    """Relax the primitive cell of a labelled crystal's prototype, from its volume on; None where that fails."""
    guess = starting_guess(crystal)
    scale = (crystal.get_volume() / len(crystal) / (guess.get_volume() / len(guess))) ** (1 / 3)
    guess.set_cell(scale * guess.cell, scale_atoms=True)
    atoms = primitive(guess)
    return atoms if relax(atoms, calculator, FMAX_FOR_FORCE_CONSTANTS) else None


def force_constants(arguments: argparse.Namespace) -> None:
    """Write fc2 of training crystals with few atoms, one phonopy file each, until time is up."""
    calculator = teacher()
    folder = arguments.out / "fc2"
    folder.mkdir(exist_ok=True)
    firsts = {a.info["structure_id"]: a for a in reversed(ase.io.read(arguments.out / "train.extxyz", ":"))}
    small = [name for name, atoms in firsts.items() if atoms.info["prototype"] in {*SMALL, *LATTICES}]
    end = time.monotonic() + 60 * arguments.minutes
    for identity in np.random.default_rng(arguments.seed).permutation(small):
        file = folder / f"{identity}.yaml"
        if time.monotonic() > end:
            break
        if file.exists() or (atoms := as_it_rests(firsts[identity], calculator)) is None:
            continue
        multiple = {1: 4, 2: 3}.get(len(atoms), 2)  # 24 to 64 atoms
        phonon = Phonopy(phonopy_cell(atoms), np.diag([multiple] * 3), primitive_matrix="P", log_level=0)
        phonon.generate_displacements(distance=0.01)
        supercells = [ase_cell(cell) for cell in phonon.supercells_with_displacements]
        phonon.forces = np.array([calculator.get_forces(supercell) for supercell in supercells])
        phonon.produce_force_constants()
        phonon.symmetrize_force_constants()
        if not LEAST_FC2 < np.abs(phonon.force_constants).max() < LARGEST_FC2:  # fell apart, or into itself
            continue
        temporary = file.with_suffix(f".tmp{os.getpid()}")
        phonon.save(temporary, settings={"force_constants": True, "force_sets": False, "displacements": False})
        temporary.replace(file)
        _log.info(identity)


def card(arguments: argparse.Namespace) -> None:
    """Measure the model and CHGNet on the unseen crystals and write the card into the checkpoint."""
    from chgnet.model.dynamics import CHGNetCalculator

    model = load_model(arguments.model)
    structures = list(iterate_structures([arguments.out / "test.extxyz"]))
    table: dict[str, dict[str, float]] = {}
    for kind in sorted({a.info["kind"] for a in structures}):
        chosen = [a for a in structures if a.info["kind"] == kind]
        own = evaluate_forces(SDNNFF(model), chosen)
        peer = evaluate_forces(OneByOne(CHGNetCalculator(use_device="cpu")), chosen)
        table[kind] = {"rmse": own.rmse, "chgnet_rmse": peer.rmse, "scale": own.scale}
        print(f"{kind:12s}", " ".join(f"{key} {1000 * value:7.2f} meV/Å" for key, value in table[kind].items()))
    report = evaluate_forces(SDNNFF(model), structures)
    print("\n".join(report.lines()))
    model.card.update(
        {
            "data": "cubic prototypes of doi:10.1038/s43246-023-00390-3, labels from SevenNet-l3i5 (MIT)",
            "licence": "BSD-3-Clause",
            "unseen_crystals": len({a.info["structure_id"] for a in structures}),
            "unseen_force_errors_ev_per_angstrom": table,
            "unseen_energy_mae_ev_per_atom": report.energy_mae,
            "limits": "near-equilibrium cubic crystals; oxides are the weakest; no surfaces, molecules, "
            "magnetism or long-range forces",
        }
    )
    save_model(model, arguments.model)


def main(argv: list[str] | None = None) -> int:
    """Run one step of the recipe."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps = {"elements": label_elements, "label": label, "split": split, "fc2": force_constants}
    steps |= {"card": card, "unseen": unseen}
    parser.add_argument("step", choices=steps)
    parser.add_argument("--out", type=Path, default=Path("data"))
    parser.add_argument("--minutes", type=float, default=60.0, help="wall time of the steps label and fc2")
    parser.add_argument("--fmax", type=float, default=0.1, help="eV/Å; rough is enough to learn from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--containing", nargs="+", choices=ELEMENTS, default=ELEMENTS, help="label crystals with one of these only"
    )
    several = [name for name, entry in sorted(prototypes().items()) if entry["elements"] > 1]
    parser.add_argument("--prototypes", nargs="+", choices=several, default=several, help="label these only")
    parser.add_argument("--only-unseen", action="store_true", help="label held-out crystals only: better statistics")
    parser.add_argument("--committee", nargs="+", default=[], metavar="MODEL", help="earlier models that pick crystals")
    parser.add_argument(
        "--deviation", type=float, default=4e-3, help="eV/Å; label only what the committee deviates more on"
    )
    parser.add_argument(
        "--committee-relaxes",
        action="store_true",
        help="the teacher labels crystals where the committee's mean rests, two small cells each",
    )
    parser.add_argument("--model", type=Path, default=Path("run-3/model.pt"))
    arguments = parser.parse_args(argv)
    if arguments.committee_relaxes and not arguments.committee:
        parser.error("--committee-relaxes needs --committee.")
    if arguments.committee_relaxes and arguments.only_unseen:
        parser.error("--committee-relaxes leaves held-out crystals alone, --only-unseen all others.")
    steps[arguments.step](arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
