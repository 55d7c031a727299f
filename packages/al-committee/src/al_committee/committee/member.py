"""One voice in a committee: a single calculator or a batched group, with every answer checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms
from ase.calculators.abc import GetPropertiesMixin
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray

from al_committee.committee.protocols import BatchedCommittee
from al_committee.errors import CommitteeMemberError

__all__ = ["Block", "FusedMembers", "SingleMember", "check_declarations", "check_scales"]

FloatArray = NDArray[np.float64]
Block = tuple[FloatArray, FloatArray | None, FloatArray | None]

# Forces in Ry/bohr, Ha/bohr, kcal/mol/Å, kJ/mol/Å or meV/Å differ from eV/Å by 23 times or more; two
# honest force fields whose forces are nearly parallel do not differ by ten.
UNIT_RATIO = 10.0
UNIT_COSINE = 0.9
UNIT_FLOOR = 0.02  # eV/Å, rms: below it the ratio of two noises says nothing


def _checked(values: ArrayLike, shape: tuple[int, ...], what: str, label: str) -> FloatArray:
    """Convert to float64, refuse another shape and anything not finite."""
    array = np.array(values, dtype=np.float64)
    if array.shape != shape:
        raise CommitteeMemberError(
            f"{what} of {label} have shape {array.shape}, expected {shape}. "
            "Give every member the same structure and return one row per atom."
        )
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise CommitteeMemberError(
            f"{what} of {label} hold {count} values that are not finite (of {array.size}). "
            "Drop that member or the structure; a mean with NaN is never returned."
        )
    return array


class SingleMember:
    """An ASE calculator as one member.

    Parameters
    ----------
    calculator : ase.calculators.calculator.Calculator
        Any ASE calculator with forces.
    label : str
        Its name in messages.
    """

    def __init__(self, calculator: GetPropertiesMixin, label: str) -> None:
        if not hasattr(calculator, "get_property"):
            raise CommitteeMemberError(
                f"{label} is no ASE calculator (no get_property) and no batched committee (no "
                "predict_committee). Pass calculator objects, not names or paths."
            )
        properties = getattr(calculator, "implemented_properties", ())
        if "forces" not in properties:
            raise CommitteeMemberError(
                f"{label} implements {', '.join(properties) or 'nothing'}, but a committee needs forces."
            )
        self.calculator = calculator
        self.label = label
        self.has_energy = "energy" in properties
        self.has_stress = "stress" in properties

    def predict(self, structures: Sequence[Atoms], *, energy: bool, stress: bool) -> list[Block]:
        """Give the forces (1, n_atoms, 3), energies (1,) and stresses (1, 6) of every structure."""
        blocks: list[Block] = []
        for structure in structures:
            atoms = structure.copy()
            n_atoms = len(atoms)
            forces = _checked(self.calculator.get_property("forces", atoms), (n_atoms, 3), "forces", self.label)
            energies = stresses = None
            if energy:
                value = self.calculator.get_property("energy", atoms)
                energies = _checked([value], (1,), "energies", self.label)
            if stress:
                voigt = _voigt(self.calculator.get_property("stress", atoms))
                stresses = _checked(voigt[None], (1, 6), "stresses", self.label)
            blocks.append((forces[None], energies, stresses))
        return blocks


class FusedMembers:
    """Several members behind one batched pass.

    Parameters
    ----------
    committee : BatchedCommittee
        The evaluator.
    label : str
        Its name in messages.
    n_expected : int, optional
        Number of models it must return, when known.
    """

    def __init__(self, committee: BatchedCommittee, label: str, n_expected: int | None = None) -> None:
        self.committee = committee
        self.label = label
        self.n_expected = n_expected
        self.has_energy = bool(getattr(committee, "has_energy", True))
        self.has_stress = bool(getattr(committee, "has_stress", False))

    def predict(self, structures: Sequence[Atoms], *, energy: bool, stress: bool) -> list[Block]:
        """Give the forces (n_models, n_atoms, 3), energies (n_models,) and stresses (n_models, 6) per structure."""
        if not structures:
            return []
        raw = self.committee.predict_committee([structure.copy() for structure in structures])
        forces_list = list(raw["forces"])
        if len(forces_list) != len(structures):
            raise CommitteeMemberError(
                f"{self.label} returned forces of {len(forces_list)} structures, expected {len(structures)}."
            )
        n_models = self.n_expected or len(forces_list[0])
        n_structures = len(structures)
        energies = stresses = None
        given_energies, given_stresses = raw.get("energies"), raw.get("stresses")
        if energy and given_energies is not None:
            energies = _checked(given_energies, (n_models, n_structures), "energies", self.label)
        if stress:
            if given_stresses is None:
                raise CommitteeMemberError(f"{self.label} declares has_stress but returned no stresses.")
            stresses = _checked(given_stresses, (n_models, n_structures, 6), "stresses", self.label)
        blocks: list[Block] = []
        for index, structure in enumerate(structures):
            shape = (n_models, len(structure), 3)
            blocks.append(
                (
                    _checked(forces_list[index], shape, "forces", self.label),
                    None if energies is None else energies[:, index],
                    None if stresses is None else stresses[:, index],
                )
            )
        return blocks


def check_declarations(members: Sequence[object], labels: Sequence[str]) -> frozenset[str] | None:
    """Compare what the members declare about themselves.

    Members may carry ``elements`` (chemical symbols or atomic numbers) and ``units`` (a mapping such as
    ``{"energy": "eV", "length": "Ang"}``); a member without them is taken at ASE's word.

    Returns
    -------
    frozenset of str or None
        Elements that every member knows; None when no member declares any.

    Raises
    ------
    CommitteeMemberError
        Different units, or no element in common.
    """
    declared_units: dict[str, str] = {}
    first_label = ""
    common: frozenset[str] | None = None
    for member, label in zip(members, labels, strict=True):
        units = getattr(member, "units", None)
        if isinstance(units, Mapping):
            for quantity, unit in units.items():
                known = declared_units.setdefault(str(quantity), str(unit))
                first_label = first_label or label
                if known != str(unit):
                    raise CommitteeMemberError(
                        f"{label} gives {quantity} in {unit}, {first_label} in {known}. "
                        "Convert one of them: ASE's units are eV and Å."
                    )
        elements = getattr(member, "elements", None)
        if elements is not None and not callable(elements):
            own = frozenset(_symbol(element) for element in elements)
            if common is not None and not (common & own):
                raise CommitteeMemberError(
                    f"{label} knows {_listed(own)}, the members before it {_listed(common)}: no element "
                    "in common, so the committee can evaluate nothing. Use members with the same elements."
                )
            common = own if common is None else common & own
    return common


def check_scales(forces: FloatArray, labels: Sequence[str]) -> None:
    """Refuse a member whose forces look like the others' in other units.

    Each member is held against the component-wise median of the others; it is refused when the two are
    nearly parallel (cosine above 0.9) and differ in size more than tenfold.

    Parameters
    ----------
    forces : NDArray[np.float64], float64, shape (n_models, n_atoms, 3), eV/Å
    labels : sequence of str
        One name per model.

    Raises
    ------
    CommitteeMemberError
        Naming the member and the ratio.
    """
    n_models = forces.shape[0]
    if n_models < 2 or forces.shape[1] == 0:
        return
    flat = forces.reshape(n_models, -1)
    sizes = np.sqrt((flat**2).mean(axis=1))
    if sizes.max() < UNIT_RATIO * sizes.min():  # the usual case, decided without medians
        return
    for index in range(n_models):
        others = np.median(np.delete(flat, index, axis=0), axis=0)
        size, other_size = float(sizes[index]), float(np.sqrt((others**2).mean()))
        if min(size, other_size) == 0.0 or max(size, other_size) < UNIT_FLOOR:
            continue
        cosine = float((flat[index] * others).mean()) / (size * other_size)
        ratio = size / other_size
        if cosine > UNIT_COSINE and not 1.0 / UNIT_RATIO < ratio < UNIT_RATIO:
            raise CommitteeMemberError(
                f"forces of {labels[index]} are parallel to the other members' (cosine {cosine:.2f}) but "
                f"{ratio:.3g} times as large: other units? ASE expects eV/Å. Convert them, or pass "
                "check_units=False if the size is meant."
            )


def _symbol(element: str | int) -> str:
    """Chemical symbol, also from an atomic number."""
    return element if isinstance(element, str) else str(chemical_symbols[int(element)])


def _listed(symbols: frozenset[str]) -> str:
    """Give a short list of elements."""
    names = sorted(symbols)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _voigt(stress: ArrayLike) -> FloatArray:
    """Stress in Voigt order, also from a 3×3 tensor."""
    array = np.asarray(stress, dtype=np.float64)
    if array.shape == (3, 3):
        return array[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    return array
