"""Exact toy models for tests: a pair-potential calculator, and a trainer that fits it by least squares.

The trainer is a complete implementation of :class:`al_committee.committee.protocols.Trainer` in a hundred lines of
numpy; it trains a committee in milliseconds, so that whole active-learning loops run in seconds, and with a
teacher inside its basis its answer is exact. Named tolerances for these tests stand here too.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.data import covalent_radii
from numpy.typing import NDArray

from al_committee.committee.protocols import CommitteeResults
from al_committee.testing.pair_list import list_pairs
from al_committee.testing.pair_model import PairModel

__all__ = [
    "BATCH_TOLERANCE",
    "IDENTITY_TOLERANCE",
    "PairPotential",
    "PairPotentialTrainer",
    "pair_teacher",
    "toy_crystals",
]

FloatArray = NDArray[np.float64]

IDENTITY_TOLERANCE = 1e-12
"""Relative; identities that hold up to the order of a few float64 sums."""

BATCH_TOLERANCE = 1e-6
"""Relative; a batched pass against one model after the other."""

POWERS = (4, 6, 8, 10, 12)
CUTOFF = 5.0  # Å


def _smooth_cutoff(distance: FloatArray, cutoff: float) -> tuple[FloatArray, FloatArray]:
    """(1 − (r/rc)²)² and its derivative by r."""
    x = distance / cutoff
    return (1 - x**2) ** 2, -4 * x * (1 - x**2) / cutoff


def pair_basis(atoms: Atoms, powers: Sequence[int], cutoff: float) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Energy and force of every basis function (2.5 Å/r)^p f_c(r), summed per pair of elements.

    Returns
    -------
    dict
        key ``"Cl-Na"``; energies shape ``(n_powers,)`` and forces shape ``(n_powers, n_atoms, 3)`` per unit
        coefficient (eV).
    """
    first, second, distance, vector = list_pairs(atoms, cutoff)
    symbols = np.asarray(atoms.get_chemical_symbols())
    result: dict[str, tuple[FloatArray, FloatArray]] = {}
    swapped = symbols[first] > symbols[second]
    lower = np.where(swapped, symbols[second], symbols[first])
    upper = np.where(swapped, symbols[first], symbols[second])
    pair = np.char.add(np.char.add(lower, "-"), upper)
    for name in np.unique(pair):
        chosen = pair == name
        i, r, d = first[chosen], distance[chosen], vector[chosen]
        cut, cut_slope = _smooth_cutoff(r, cutoff)
        energies, forces = np.zeros(len(powers)), np.zeros((len(powers), len(atoms), 3))
        for k, power in enumerate(powers):
            core = (2.5 / r) ** power
            energies[k] = 0.5 * (core * cut).sum()  # each pair is listed twice
            slope = core * (cut_slope - power / r * cut)
            np.add.at(forces[k], i, (slope / r)[:, None] * d)
        result[str(name)] = (energies, forces)
    return result


class PairPotential(Calculator):
    """A linear pair potential: E = Σ_pairs Σ_k c_k^{ab} (2.5 Å/r)^{p_k} (1 − (r/r_c)²)².

    Parameters
    ----------
    coefficients : mapping of str to sequence of float
        key ``"Cl-Na"`` (alphabetical), one coefficient per power, eV; missing pairs do not interact.
    powers : sequence of int
        The exponents.
    cutoff : float, Å
    """

    implemented_properties = ["energy", "forces"]  # noqa: RUF012  as ASE declares it
    nolabel = True

    def __init__(
        self,
        coefficients: Mapping[str, Sequence[float]],
        powers: Sequence[int] = POWERS,
        cutoff: float = CUTOFF,
    ) -> None:
        super().__init__()
        self.coefficients = {name: np.asarray(values, dtype=float) for name, values in coefficients.items()}
        self.powers = tuple(powers)
        self.cutoff = cutoff

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy", "forces"),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Sum the pairs."""
        super().calculate(atoms, properties, system_changes)
        structure = cast("Atoms", self.atoms)
        energy, forces = 0.0, np.zeros((len(structure), 3))
        for name, (energies, basis) in pair_basis(structure, self.powers, self.cutoff).items():
            if name in self.coefficients:
                energy += float(energies @ self.coefficients[name])
                forces += np.tensordot(self.coefficients[name], basis, axes=1)
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}


class PairTeacher(Calculator):
    """A Morse-like pair potential of all elements, outside the trainer's basis: the toy source of labels.

    Parameters
    ----------
    depth : float, eV
    width : float
        1/Å.
    cutoff : float, Å
    """

    implemented_properties = ["energy", "forces"]  # noqa: RUF012  as ASE declares it
    nolabel = True

    def __init__(self, depth: float = 0.4, width: float = 1.3, cutoff: float = CUTOFF) -> None:
        super().__init__()
        self.depth, self.width, self.cutoff = depth, width, cutoff

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy", "forces"),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Sum D[(1 − exp(−a(r − r0)))² − 1] f_c(r) over pairs; r0 is the sum of covalent radii."""
        super().calculate(atoms, properties, system_changes)
        structure = cast("Atoms", self.atoms)
        first, second, r, vector = list_pairs(structure, self.cutoff)
        numbers = structure.numbers
        bond = covalent_radii[numbers[first]] + covalent_radii[numbers[second]]
        decay = np.exp(-self.width * (r - bond))
        shape, shape_slope = (1 - decay) ** 2 - 1, 2 * self.width * decay * (1 - decay)
        cut, cut_slope = _smooth_cutoff(r, self.cutoff)
        forces = np.zeros((len(structure), 3))
        slope = self.depth * (shape_slope * cut + shape * cut_slope)
        np.add.at(forces, first, (slope / r)[:, None] * vector)
        energy = 0.5 * self.depth * float((shape * cut).sum())
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}


def pair_teacher(**options: float) -> PairTeacher:
    """Make the toy source of labels (a factory for configurations: ``al_committee.testing:pair_teacher``)."""
    return PairTeacher(**options)


class PairPotentialTrainer:
    """Train committees of :class:`PairPotential` by anchored least squares; exact, deterministic, fast.

    Each member minimises Σ|F − F_label|² + λ Σ|c − c_m|² on a bootstrap sample, c_m being a random prior of
    its own. Pairs of elements never seen keep their priors, so the committee disagrees there.

    Parameters
    ----------
    powers, cutoff : sequence of int, float
        Basis of the potential, Å.
    prior : float
        Standard deviation of the random priors, eV.
    ridge : float
        λ, dimensionless; 0 with enough data recovers a teacher in the basis exactly.
    """

    def __init__(
        self,
        powers: Sequence[int] = POWERS,
        cutoff: float = CUTOFF,
        prior: float = 0.05,
        ridge: float = 1e-4,
    ) -> None:
        self.powers, self.cutoff, self.prior, self.ridge = tuple(powers), cutoff, prior, ridge

    def train(
        self,
        train_atoms: Sequence[Atoms],
        validation_atoms: Sequence[Atoms],
        *,
        workdir: Path,
        seed: int,
        warm_start: Sequence[Path] | None,
        n_members: int,
    ) -> list[Path]:
        """Fit `n_members` potentials; the validation set is not needed, a warm start replaces the priors."""
        bases = [pair_basis(atoms, self.powers, self.cutoff) for atoms in train_atoms]
        forces = [np.asarray(atoms.get_forces()) for atoms in train_atoms]
        pairs = sorted(set(itertools.chain.from_iterable(bases)))
        paths = []
        for member in range(n_members):
            rng = np.random.default_rng([seed, member])
            anchors = self._anchors(pairs, member, rng, warm_start)
            sample = rng.integers(len(train_atoms), size=len(train_atoms))
            values = self._solve([bases[s] for s in sample], [forces[s] for s in sample], pairs, anchors)
            path = workdir / f"member-{member}.json"
            path.write_text(
                json.dumps(
                    {
                        "powers": self.powers,
                        "cutoff": self.cutoff,
                        "prior": self.prior,
                        "seed": [seed, member],
                        "pairs": values,
                    }
                )
            )
            paths.append(path)
        return paths

    def _anchors(
        self, pairs: Sequence[str], member: int, rng: np.random.Generator, warm_start: Sequence[Path] | None
    ) -> FloatArray:
        """Random prior per pair, or the previous round's coefficients."""
        anchors = rng.normal(scale=self.prior, size=(len(pairs), len(self.powers)))
        if warm_start is not None:
            known = json.loads(Path(warm_start[member]).read_text())["pairs"]
            for row, name in enumerate(pairs):
                if name in known:
                    anchors[row] = known[name]
        return anchors.ravel()

    def _solve(
        self,
        bases: Sequence[Mapping[str, tuple[FloatArray, FloatArray]]],
        forces: Sequence[FloatArray],
        pairs: Sequence[str],
        anchors: FloatArray,
    ) -> dict[str, list[float]]:
        """Give the normal equations of the anchored fit."""
        n_powers, size = len(self.powers), len(pairs) * len(self.powers)
        gram, moment = self.ridge * np.eye(size), self.ridge * anchors
        for basis, target in zip(bases, forces, strict=True):
            design = np.zeros((target.size, size))
            for row, name in enumerate(pairs):
                if name in basis:
                    columns = slice(row * n_powers, (row + 1) * n_powers)
                    design[:, columns] = basis[name][1].reshape(n_powers, -1).T
            gram += design.T @ design
            moment += design.T @ target.ravel()
        solution = np.linalg.lstsq(gram, moment, rcond=None)[0].reshape(len(pairs), n_powers)
        return {name: [float(c) for c in solution[row]] for row, name in enumerate(pairs)}

    def committee(self, model_paths: Sequence[Path]) -> PairCommittee:
        """Load the members into one evaluator that builds each structure's basis once."""
        return PairCommittee([json.loads(Path(path).read_text()) for path in model_paths])


class PairCommittee:
    """Batched committee of pair potentials: one basis per structure, shared by all members.

    Parameters
    ----------
    models : sequence of (mapping of str to object)
        What the trainer wrote, one mapping per member.
    """

    def __init__(self, models: Sequence[PairModel]) -> None:
        self.models = list(models)

    def _coefficients(self, model: PairModel, name: str) -> FloatArray:
        """Fitted coefficients, or this member's random prior for a pair it never saw."""
        if name in model["pairs"]:
            return np.asarray(model["pairs"][name], dtype=float)
        seed = [*model["seed"], *name.encode()]
        return np.random.default_rng(seed).normal(scale=model["prior"], size=len(model["powers"]))

    def predict_committee(self, structures: Sequence[Atoms]) -> CommitteeResults:
        """Give the forces and energies of all members on all structures."""
        all_forces, all_energies = [], []
        for atoms in structures:
            basis = pair_basis(atoms, self.models[0]["powers"], self.models[0]["cutoff"])
            forces = np.zeros((len(self.models), len(atoms), 3))
            energies = np.zeros(len(self.models))
            for m, model in enumerate(self.models):
                for name, (basis_energies, basis_forces) in basis.items():
                    coefficients = self._coefficients(model, name)
                    forces[m] += np.tensordot(coefficients, basis_forces, axes=1)
                    energies[m] += coefficients @ basis_energies
            all_forces.append(forces)
            all_energies.append(energies)
        return {"forces": all_forces, "energies": np.asarray(all_energies).T}


def toy_crystals(n_crystals: int = 18) -> Iterator[tuple[str, Atoms]]:
    """Yield small cubic crystals (a pool source for configurations: ``al_committee.testing:toy_crystals``).

    Six pairs of four metals in three structures: a pair learned in one structure helps in the others.

    Yields
    ------
    tuple
        Identifier, unit cell.
    """
    scale = {"cesiumchloride": 2 / 3**0.5, "rocksalt": 2.0, "zincblende": 4 / 3**0.5}
    pairs = itertools.combinations(("Ag", "Au", "Cu", "Ni"), 2)
    for (first, second), structure in itertools.islice(itertools.product(pairs, scale), n_crystals):
        bond = sum(covalent_radii[Atoms(s).numbers[0]] for s in (first, second))
        cell = bulk(first + second, structure, a=float(bond * scale[structure]), cubic=True)
        yield f"{first}{second}-{structure}", cell
