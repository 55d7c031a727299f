"""Recipe of the bundled weights: cubic prototypes, labelled by SevenNet-l3i5, trained with ``sdnnff train``.

    python cubic_prototypes.py label  --out data --structures 2000     # hours; killed and resumed at will
    python cubic_prototypes.py split  --out data                       # whole crystals held out
    sdnnff train cubic_prototypes_train.toml
    python cubic_prototypes.py card   --out data --model run/model.pt  # errors on unseen crystals, and CHGNet's

Each crystal is a prototype filled with random elements, relaxed with its symmetry kept; it is kept when its
formation energy against the teacher's own elements is negative and its space group survives. Labels: two supercells
with all atoms displaced by 0.03 Å, one by 0.15 Å, one strained by up to ±4 % and displaced by 0.05 Å.

Needs the teacher: ``pip install sevenn`` (MIT; weights in its wheel), spglib, and chgnet for the card.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tomllib
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixSymmetry
from ase.data import atomic_numbers, covalent_radii
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.spacegroup import crystal

_log = logging.getLogger("recipe")

ELEMENTS = [
    "H", "Li", "Be", "B", "C", "N", "O", "F", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "K", "Ca",
    "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br", "Rb",
    "Sr", "Y", "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I",
    "Cs", "Ba", "La", "Hf", "Ta", "W", "Re", "Os", "Ir", "Pt", "Au", "Hg", "Tl", "Pb", "Bi",
]  # fmt: skip
ANIONS = {"O", "F", "S", "Cl", "Se", "Br", "Te", "I", "N", "P", "As", "Sb", "H"}
ANION_LAST = {"zincblende", "rocksalt", "perovskite", "elpasolite", "spinel"}


def teacher() -> Any:
    """Load SevenNet-l3i5, whose weights come in its wheel."""
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator("7net-l3i5", device="auto")


def propose(prototypes: dict[str, Any], rng: np.random.Generator) -> tuple[str, Atoms]:
    """Fill a random prototype with random elements; ionic ones get an anion on the last site."""
    name = str(rng.choice(sorted(prototypes)))
    entry = prototypes[name]
    n_species = len(entry["sites"])
    symbols = [str(s) for s in rng.choice(ELEMENTS, size=n_species, replace=False)]
    if name in ANION_LAST:
        symbols[-1] = str(rng.choice(sorted(ANIONS - set(symbols[:-1]))))
    radius = [covalent_radii[atomic_numbers[s]] for s in symbols]
    a = max((radius[i] + radius[j]) / share for i, j, share in entry["contacts"])
    site_symbols = [s for s, sites in zip(symbols, entry["sites"], strict=True) for _ in sites]
    basis = [position for sites in entry["sites"] for position in sites]
    atoms = crystal(
        site_symbols, basis, spacegroup=entry["spacegroup"], cellpar=[a, a, a, 90, 90, 90], primitive_cell=True,
        setting=2 if entry["spacegroup"] == 227 else 1,
    )  # fmt: skip
    return name, Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)


def relax(atoms: Atoms, calculator: Any) -> bool:
    """Relax cell and positions, symmetry kept; tell whether it converged."""
    atoms.calc = calculator
    atoms.set_constraint(FixSymmetry(atoms))
    optimiser = BFGS(FrechetCellFilter(atoms), logfile=None)
    converged = bool(optimiser.run(fmax=1e-3, steps=150))
    atoms.set_constraint()
    return converged


def element_energy(symbol: str, calculator: Any, known: dict[str, float]) -> float:
    """Lowest energy per atom over fcc, bcc, hcp, diamond of an element, volume relaxed."""
    if symbol not in known:
        r = covalent_radii[atomic_numbers[symbol]]
        energies = []
        for lattice, a in (("fcc", 2.83 * r), ("bcc", 2.31 * r), ("diamond", 4.62 * r)):
            atoms = bulk(symbol, lattice, a=a)
            relax(atoms, calculator)
            energies.append(atoms.get_potential_energy() / len(atoms))
        known[symbol] = float(min(energies))
    return known[symbol]


def supercell_of(atoms: Atoms, n_atoms: int = 60) -> Atoms:
    """Repeat a cell about evenly up to roughly n atoms."""
    repeat = max(1, round((n_atoms / len(atoms)) ** (1 / 3)))
    return atoms.repeat(repeat)


def labelled_supercells(atoms: Atoms, calculator: Any, rng: np.random.Generator) -> list[Atoms]:
    """Displace, strain and label; see the module's docstring."""
    result = []
    for displacement, strain in ((0.03, 0.0), (0.03, 0.0), (0.15, 0.0), (0.05, 0.04)):
        cell = supercell_of(atoms)
        cell.calc = None
        if strain:
            deformation = np.eye(3) + rng.uniform(-strain, strain) * np.eye(3)
            shear = rng.uniform(-strain / 2, strain / 2, size=(3, 3))
            cell.set_cell(cell.cell.array @ (deformation + 0.5 * (shear + shear.T)), scale_atoms=True)
        direction = rng.normal(size=(len(cell), 3))
        cell.positions += displacement * direction / np.linalg.norm(direction, axis=1, keepdims=True)
        calculator.calculate(cell, ["energy", "forces", "stress"])
        values = {k: calculator.results[k] for k in ("energy", "forces", "stress")}
        cell.calc = SinglePointCalculator(cell, **values)
        result.append(cell)
    return result


def label(arguments: argparse.Namespace) -> None:
    """Make and label crystals until there are enough; every crystal is a file, so a kill loses one."""
    import spglib

    prototypes = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    calculator = teacher()
    folder = arguments.out / "crystals"
    folder.mkdir(parents=True, exist_ok=True)
    energies_file = arguments.out / "element-energies.json"
    energies = json.loads(energies_file.read_text()) if energies_file.is_file() else {}
    attempt = 0
    while len(list(folder.glob("*.extxyz"))) < arguments.structures:
        rng = np.random.default_rng([arguments.seed, attempt])
        attempt += 1
        name, atoms = propose(prototypes, rng)
        identity = f"{name}-{atoms.symbols.formula.format('hill')}"
        done = folder / f"{identity}.extxyz"
        skipped = folder / f"{identity}.skipped"
        if done.exists() or skipped.exists():
            continue
        reason = ""
        try:
            group = prototypes[name]["spacegroup"]
            if not relax(atoms, calculator):
                reason = "not relaxed"
            elif (
                spglib.get_symmetry_dataset(
                    (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=1e-3
                ).number
                != group
            ):
                reason = "space group changed"
            else:
                total = sum(element_energy(s, calculator, energies) for s in atoms.get_chemical_symbols())
                if atoms.get_potential_energy() > total:
                    reason = "formation energy above 0"
            energies_file.write_text(json.dumps(energies))
        except (RuntimeError, ValueError, np.linalg.LinAlgError) as error:
            reason = f"{type(error).__name__}: {error}"
        if reason:
            skipped.write_text(reason)
            continue
        supercells = labelled_supercells(atoms, calculator, rng)
        for cell in supercells:
            cell.info["structure_id"] = identity
            cell.info["prototype"] = name
        temporary = done.with_suffix(".tmp")
        ase.io.write(temporary, supercells, format="extxyz")
        temporary.replace(done)
        _log.info("%s (%d)", identity, attempt)


def split(arguments: argparse.Namespace) -> None:
    """Write train.extxyz and test.extxyz: one crystal in ten is unseen, with all its supercells."""
    files = sorted((arguments.out / "crystals").glob("*.extxyz"))
    order = np.random.default_rng(arguments.seed).permutation(len(files))
    n_test = max(1, len(files) // 10)
    for part, chosen in (("test", order[:n_test]), ("train", order[n_test:])):
        structures = [atoms for k in sorted(chosen) for atoms in ase.io.read(files[k], ":")]
        ase.io.write(arguments.out / f"{part}.extxyz", structures)
        print(f"{part}: {len(chosen)} crystals, {len(structures)} supercells")


def card(arguments: argparse.Namespace) -> None:
    """Measure the model and CHGNet on the unseen crystals and write the card into the checkpoint."""
    from chgnet.model.dynamics import CHGNetCalculator

    from sdnnff_calc import SDNNFF, load_model, save_model
    from sdnnff_calc.data import iterate_structures
    from sdnnff_calc.evaluation import evaluate_forces

    structures = list(iterate_structures([arguments.out / "test.extxyz"]))
    report = evaluate_forces(SDNNFF(arguments.model), structures)
    peer = CHGNetCalculator(use_device="cpu")
    errors = []
    for atoms in structures:
        copy = atoms.copy()
        copy.calc = peer
        errors.append(copy.get_forces() - atoms.calc.results["forces"])
    chgnet = float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))
    model = load_model(arguments.model)
    model.card.update(
        {
            "data": "cubic prototypes of doi:10.1038/s43246-023-00390-3, labels from SevenNet-l3i5 (MIT)",
            "licence": "BSD-3-Clause",
            "unseen_crystals": len({a.info["structure_id"] for a in structures}),
            "force_rmse_unseen_ev_per_angstrom": report.rmse,
            "chgnet_force_rmse_same_labels_ev_per_angstrom": chgnet,
            "limits": "near-equilibrium cubic crystals; no surfaces, molecules, magnetism or long-range forces",
        }
    )
    save_model(model, arguments.model)
    print("\n".join(report.lines()))
    print(f"CHGNet on the same labels: {1000 * chgnet:.1f} meV/Å; ratio {report.rmse / chgnet:.3f}")


def main(argv: list[str] | None = None) -> int:
    """Run one step of the recipe."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["label", "split", "card"])
    parser.add_argument("--out", type=Path, default=Path("data"))
    parser.add_argument("--structures", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path, default=Path("run/model.pt"))
    arguments = parser.parse_args(argv)
    {"label": label, "split": split, "card": card}[arguments.step](arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
