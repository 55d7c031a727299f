"""Which crystals are made, which are held out, where their atoms rest, and the supercells that are labelled."""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixSymmetry
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from ase.formula import Formula
from numpy.typing import NDArray

from al_committee.selection.supercells import displace_randomly
from screen_cli.crystal.prototypes import prototypes
from screen_cli.sources.decoration import Decoration, decorate, decorated_structure

OF_PAPER = (
    "H Li Be B C N O F Na Mg Al Si P S Cl K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Rb Sr Y Zr Nb Mo Ru Rh Pd "
    "Ag Cd In Sn Sb Te I Cs Ba La Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi"
)
OF_EARLIER_WEIGHTS = "Li Na K Rb Cs Mg Ca Sr Ba Y La Cu Ag Zn Cd Al Ga In Si Ge Sn Pb P As Sb Bi O S Se Te F Cl Br I"
ELEMENTS = tuple(OF_PAPER.split())
"""The 63 of doi:10.1038/s43246-023-00390-3."""
EARLIER = tuple(OF_EARLIER_WEIGHTS.split())
"""Those of the weights before (``cubic_prototypes.py``)."""
FREE = ("elpasolite", "spinel", "ab3c12")
"""Prototypes with a free coordinate; proposed more often than their share."""
LATTICES = {"fcc": 2.83, "bcc": 2.31, "diamond": 4.62, "sc": 2.0}
"""Of the elements: lattice constant of touching spheres over their radius."""
LEAST_VOLUME = {"H": 3.5, "N": 8.0, "O": 8.0, "F": 9.0, "Cl": 18.0, "Br": 22.0, "I": 28.0, "S": 14.0, "P": 14.0}
"""Å³ per atom at which elements that form molecules start; other elements at 5 or more."""
DISPLACEMENT = {"none 0.03": 0.03, "volume 0.03": 0.03, "shear 0.12": 0.12}
"""Å, by kind of supercell: at rest; with the volume changed by up to 15 %; sheared by up to 2 %."""
STRAINED = {"strain 0.02": 0.02}
"""The same of primitive cells, strained by 3 % at random, which are no supercells."""
SPRING = 8.0
"""eV/Å², for a step of the free coordinate."""


def composition(symbols: Sequence[str]) -> str:
    """Give the reduced formula, elements in alphabetical order: one string for all arrangements of a compound."""
    reduced = Formula.from_list(sorted(symbols)).reduce()[0]
    return "".join(f"{symbol}{n if n > 1 else ''}" for symbol, n in sorted(reduced.count().items()))


def is_held_out(formula: str, also: set[str]) -> bool:
    """Tell by its composition whether a compound is held out: one in ten, and those given."""
    return formula in also or zlib.crc32(formula.encode()) % 10 == 0


def was_unseen(name: str, elements: Sequence[str]) -> bool:
    """Tell whether the recipe of the weights before held a crystal out; it went by prototype and order of elements."""
    orders = [elements, elements[::-1]] if len(elements) == 2 else [elements]
    return all(zlib.crc32(f"{name}-{'-'.join(order)}".encode()) % 10 == 0 for order in orders)


def proposals(seed: int, elements: Sequence[str] = ELEMENTS) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Decorate prototypes without end: charge neutral, any intermetallic, and those with a free coordinate, in turn."""
    table = prototypes()
    of_paper = [name for name, entry in table.items() if "pool" in entry]
    metallic = [name for name in of_paper if not table[name].get("anions")]
    streams = {
        "neutral": decorate(Decoration(tuple(elements), (*of_paper, "fluorite"), rule="charge-balance", seed=seed)),
        "any": decorate(Decoration(tuple(elements), tuple(metallic), rule="none", seed=seed + 1)),
        "free": decorate(Decoration(tuple(elements), FREE, rule="charge-balance", seed=seed + 2)),
    }
    while streams:
        for name in ("neutral", "any", "neutral", "any", "neutral", "free"):
            if name in streams:
                item = next(streams[name], None)
                if item is None:
                    del streams[name]
                else:
                    yield item


def element_rows() -> list[dict[str, Any]]:
    """List the elements themselves: four simple lattices, and their own where that is simple."""
    rows = []
    for symbol in ELEMENTS:
        rows += [{"id": f"{lattice}-{symbol}", "prototype": lattice, "elements": [symbol]} for lattice in LATTICES]
        if own_lattice(symbol) is not None:
            rows.append({"id": f"own-{symbol}", "prototype": "own", "elements": [symbol]})
    return rows


def own_lattice(symbol: str) -> Atoms | None:
    """Build an element as it is, where ASE knows how and it takes few atoms."""
    try:
        atoms = bulk(symbol)
    except (ValueError, RuntimeError, NotImplementedError, KeyError):
        return None
    return atoms if len(atoms) <= 4 else None


@cache
def symmetric_mode(name: str, n_elements: int) -> NDArray[np.float64] | None:
    """Give the displacements of a free coordinate, shape (n_atoms, 3), largest 1; None where there is none."""
    atoms = decorated_structure(name, chemical_symbols[3 : 3 + n_elements]).atoms
    moves = np.random.default_rng(0).normal(size=(len(atoms), 3))
    FixSymmetry(atoms).adjust_forces(atoms, moves)
    largest = np.linalg.norm(moves, axis=1).max()
    return None if largest < 1e-6 else moves / largest


@dataclass
class Crystal:
    """A crystal on its way to where it rests, by volume and free coordinate.

    Attributes
    ----------
    id, prototype, elements
        Its name and what it is made of.
    ideal
        Primitive cell of touching spheres.
    mode
        Displacements of the free coordinate, shape (n_atoms, 3); None without one.
    log_volume, step
        Logarithm of Å³ per atom, and Å along the mode.
    modulus
        −dP/dlnV, eV/Å³; 0 while unknown.
    history
        Pairs (logarithm of the volume, pressure in eV/Å³) of the labels so far.
    energies
        eV per atom of the labels so far.
    records
        Key and kind of each label.
    at_rest
        Whether a model relaxed it.
    """

    id: str
    prototype: str
    elements: list[str]
    ideal: Atoms
    mode: NDArray[np.float64] | None = None
    log_volume: float = 0.0
    step: float = 0.0
    modulus: float = 0.0
    history: list[tuple[float, float]] = field(default_factory=list)
    energies: list[float] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    at_rest: bool = False

    @property
    def guess(self) -> float:
        """Logarithm of the volume per atom of touching spheres."""
        return float(np.log(self.ideal.get_volume() / len(self.ideal)))

    def cell(self, log_volume: float | None = None) -> Atoms:
        """Build the primitive cell, at another volume where one is given."""
        atoms = self.ideal.copy()
        scale = np.exp(((self.log_volume if log_volume is None else log_volume) - self.guess) / 3)
        atoms.set_cell(scale * atoms.cell.array, scale_atoms=True)
        if self.mode is not None:
            atoms.positions += self.step * self.mode
        return atoms

    def pull(self, atoms: Atoms, result: dict[str, Any]) -> None:
        """Move volume and free coordinate to where the pressure and the force of a label say that they rest."""
        pressure = -float(np.mean(result["stress"][:3]))
        log_volume = float(np.log(atoms.get_volume() / len(atoms)))
        if not self.modulus:
            self.modulus = float(np.clip(7.5 / np.exp(log_volume), 0.02, 2.0))
        for old_volume, old_pressure in self.history:
            if abs(old_volume - log_volume) > 0.015:
                measured = -(pressure - old_pressure) / (log_volume - old_volume)
                self.modulus = float(np.clip(measured, 0.5 * self.modulus, 2.0 * self.modulus))
        self.history.append((log_volume, pressure))
        nearest = min(self.history, key=lambda pair: abs(pair[1]))
        moved = nearest[0] + float(np.clip(nearest[1] / self.modulus, -0.3, 0.3))
        self.log_volume = float(np.clip(moved, self.guess - 0.6, self.guess + 0.9))
        if self.mode is not None:
            repeats = len(atoms) // len(self.ideal)
            force = np.sum(np.tile(self.mode, (repeats, 1)) * result["forces"]) / (repeats * np.sum(self.mode**2))
            self.step += float(np.clip(force / SPRING, -0.1, 0.1))

    def formation_energy(self, of_elements: dict[str, float]) -> float:
        """Give the lowest energy of the labels so far above the elements, eV per atom."""
        elements = np.mean([of_elements[symbol] for symbol in self.ideal.get_chemical_symbols()])
        return min(self.energies, default=np.inf) - float(elements)

    def forget(self, log_volume: float, step: float) -> None:
        """Go back to a volume and free coordinate, as if nothing had been labelled."""
        self.log_volume, self.step, self.modulus = log_volume, step, 0.0
        self.history = []


def crystal_of(row: dict[str, Any]) -> Crystal:
    """Start from touching spheres."""
    name, elements = row["prototype"], row["elements"]
    mode = None
    if name == "own":
        ideal = bulk(elements[0])
    elif name in LATTICES:
        ideal = bulk(elements[0], name, a=LATTICES[name] * covalent_radii[atomic_numbers[elements[0]]])
    else:
        ideal = decorated_structure(name, elements).atoms
        mode = symmetric_mode(name, len(elements))
    volume = ideal.get_volume() / len(ideal)
    least = LEAST_VOLUME.get(elements[0], 5.0) if len(elements) == 1 else 0.0
    if volume < least:  # the radii of molecules are no radii of solids
        ideal.set_cell(ideal.cell.array * (least / volume) ** (1 / 3), scale_atoms=True)
    crystal = Crystal(row["id"], name, list(elements), ideal, mode)
    crystal.log_volume = crystal.guess
    return crystal


def relax(crystals: list[Crystal], predict: Callable[[list[Atoms]], list[dict[str, Any]]], n_steps: int) -> None:
    """Relax volumes and free coordinates of many crystals together."""
    for _ in range(n_steps):
        cells = [crystal.cell() for crystal in crystals]
        for crystal, atoms, result in zip(crystals, cells, predict(cells), strict=True):
            crystal.pull(atoms, result)


def relax_by_student(crystals: list[Crystal], predict: Callable[[list[Atoms]], list[dict[str, Any]]]) -> None:
    """Let a model say where crystals rest; those that it is lost on stay where they were."""
    before = [(crystal.log_volume, crystal.step) for crystal in crystals]
    relax(crystals, predict, 7)
    for crystal, (log_volume, step) in zip(crystals, before, strict=True):
        settled = abs(crystal.log_volume - crystal.history[-1][0]) < 0.01
        crystal.at_rest = settled and abs(crystal.log_volume - log_volume) < 0.5
        crystal.forget(*((crystal.log_volume, crystal.step) if crystal.at_rest else (log_volume, step)))
    believed = [crystal for crystal in crystals if crystal.at_rest]
    if believed:
        for crystal, result in zip(believed, predict([crystal.cell() for crystal in believed]), strict=True):
            crystal.energies = [result["energy"] / len(crystal.ideal)]


class VolumeModel:
    """Volumes at rest over those of touching spheres, by prototype and elements: ridge regression of logarithms."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.targets: list[float] = []
        self.weights: dict[str, float] = {}
        self.scatter = float("nan")

    @staticmethod
    def features(crystal: Crystal) -> dict[str, float]:
        """Give the prototype and the shares of the elements."""
        symbols = crystal.ideal.get_chemical_symbols()
        shares = {symbol: symbols.count(symbol) / len(symbols) for symbol in set(symbols)}
        return {f"prototype {crystal.prototype}": 1.0, **shares}

    def add(self, crystal: Crystal) -> None:
        """Take up a crystal whose rest is known."""
        if crystal.prototype != "own" and abs(crystal.log_volume - crystal.guess) < 1.0:
            self.rows.append(self.features(crystal))
            self.targets.append(crystal.log_volume - crystal.guess)

    def fit(self) -> None:
        """Solve for the weights, three times, with less and less say for what never came to rest."""
        if len(self.rows) < 30:
            return
        names = sorted({name for row in self.rows for name in row})
        index = {name: k for k, name in enumerate(names)}
        matrix = np.zeros((len(self.rows), len(names)))
        for k, row in enumerate(self.rows):
            for name, value in row.items():
                matrix[k, index[name]] = value
        target, say = np.array(self.targets), np.ones(len(self.rows))
        for _ in range(4):
            weighted = matrix * say[:, None]
            solution = np.linalg.solve(weighted.T @ matrix + 0.3 * np.eye(len(names)), weighted.T @ target)
            residual = matrix @ solution - target
            say = np.minimum(1.0, 0.06 / np.maximum(np.abs(residual), 1e-9))
        self.scatter = float(np.median(np.abs(residual)))
        self.weights = dict(zip(names, solution, strict=True))

    def guess(self, crystal: Crystal) -> float:
        """Give the logarithm of the volume per atom."""
        features = self.features(crystal)
        return crystal.guess + float(sum(self.weights.get(name, 0.0) * value for name, value in features.items()))


def rng_of(*purpose: object) -> np.random.Generator:
    """Make the random generator of a purpose: the same on every machine and in every order of work."""
    digest = hashlib.sha256("|".join(map(str, purpose)).encode()).digest()
    return np.random.default_rng(list(digest[:16]))


def repeated(atoms: Atoms, n_atoms: int) -> Atoms:
    """Repeat a cell along its shortest edge until it has about n atoms."""
    while len(atoms) * 1.5 <= n_atoms:
        repeat = [1, 1, 1]
        repeat[int(np.argmin(atoms.cell.lengths().round(3)))] = 2
        atoms = atoms.repeat(repeat)
    return atoms


def supercell(crystal: Crystal, kind: str, rng: np.random.Generator, n_atoms: int = 10) -> Atoms:
    """Make a displaced supercell of a kind."""
    log_volume = crystal.log_volume + (rng.uniform(-0.15, 0.15) if kind == "volume 0.03" else 0.0)
    atoms = crystal.cell(log_volume) if kind in STRAINED else repeated(crystal.cell(log_volume), n_atoms)
    if kind == "shear 0.12":
        shear = rng.uniform(-0.02, 0.02, size=(3, 3))
        deformation = (1 + rng.uniform(-0.01, 0.01)) * np.eye(3) + 0.5 * (shear + shear.T)
        atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    if kind in STRAINED:
        strain = 0.03 * rng.normal(size=(3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
    atoms.positions += displace_randomly(atoms, (DISPLACEMENT | STRAINED)[kind], rng)
    return atoms


def batches(rows: Sequence[Any], size: int) -> Iterator[Any]:
    """Cut a sequence."""
    return (rows[low : low + size] for low in range(0, len(rows), size))


def unique(stream: Iterator[tuple[str, tuple[str, ...]]], limit: int) -> Iterator[dict[str, Any]]:
    """Give the first so many proposals as rows, each once, with their compositions."""
    seen: set[str] = set()
    for name, elements in itertools.islice(stream, limit):
        identity = f"{name}-{''.join(elements)}"
        if identity not in seen:
            seen.add(identity)
            formula = composition(decorated_structure(name, elements).atoms.get_chemical_symbols())
            yield {"id": identity, "prototype": name, "elements": list(elements), "formula": formula}
