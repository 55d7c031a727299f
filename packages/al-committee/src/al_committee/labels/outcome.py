"""Labels: what is asked, what comes back, and the check that the two belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import ArrayLike, NDArray

from al_committee.errors import LabelMismatchError
from al_committee.labels.identity import with_notes

__all__ = ["LabelOutcome", "LabelRequest", "attach_label", "labelled_forces"]

POSITION_TOLERANCE = 1e-3
"""Å; DFT outputs print positions with limited digits, displacements are thirty times larger."""


@dataclass(frozen=True)
class LabelRequest:
    """A structure that needs a label.

    Parameters
    ----------
    key : str
        Content key of `atoms`.
    atoms : Atoms
        The structure, Å; what does not determine its label (constraints, tags, momenta, …) is left out.
    name : str
        For people: folder names, messages.
    """

    key: str
    atoms: Atoms
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "atoms", with_notes(self.atoms))


@dataclass(frozen=True)
class LabelOutcome:
    """A label, or the reason why there is none.

    Parameters
    ----------
    key : str
        Of the request.
    atoms : Atoms, optional
        The structure with a single-point calculator (forces in eV/Å; energy in eV and stress in eV/Å³ where
        the source gives them), or None.
    reason : str
        One line, for a failed label.
    traceback : str
        Details of the failure.
    seconds : float
        Time the label took, where known.
    details : mapping of str to object
        Anything worth keeping with the label, JSON-like.
    """

    key: str
    atoms: Atoms | None = None
    reason: str = ""
    traceback: str = ""
    seconds: float = 0.0
    details: Mapping[str, object] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether there is no label."""
        return self.atoms is None


def attach_label(
    asked: Atoms,
    *,
    forces: ArrayLike,
    energy: float | None = None,
    stress: ArrayLike | None = None,
    answered: Atoms | None = None,
    source: str = "label",
) -> Atoms:
    """Put results on a copy of the structure they were asked for, after checking that they fit.

    Parameters
    ----------
    asked : Atoms
        The structure of the request.
    forces : ArrayLike, shape (n_atoms, 3), eV/Å
        In the order of `asked`.
    energy : float, eV, optional
    stress : ArrayLike, shape (6,), eV/Å³, optional
        In Voigt order.
    answered : Atoms, optional
        The structure that the source says it computed, in the order of `asked`; compared by elements, cell
        and positions (up to lattice vectors and a common shift of less than the tolerance).
    source : str
        For messages: a path or a calculator's name.

    Returns
    -------
    Atoms
        What determines the label of `asked`, its notes, and a SinglePointCalculator; never a constraint, which would
        hide forces from whoever asks for them.

    Raises
    ------
    LabelMismatchError
        Wrong number of atoms, other elements, another cell, other positions, or a value that is not finite.
    """
    if answered is not None:
        _compare_structures(asked, answered, source)
    array = np.array(forces, dtype=np.float64)
    if array.shape != (len(asked), 3):
        raise LabelMismatchError(
            f"{source}: forces have shape {array.shape}, expected ({len(asked)}, 3). "
            "The output belongs to another cell; recompute it from the input written for this label."
        )
    results: dict[str, NDArray[np.float64] | float] = {"forces": array}
    if energy is not None:
        results["energy"] = float(energy)
    if stress is not None:
        results["stress"] = np.array(stress, dtype=np.float64)
    for name, value in results.items():
        if not np.isfinite(value).all():
            raise LabelMismatchError(f"{source}: {name} of the label holds NaN or infinity.")
    labelled = with_notes(asked)
    labelled.calc = SinglePointCalculator(labelled, **results)
    return labelled


def labelled_forces(atoms: Atoms) -> NDArray[np.float64]:
    """Give the forces of a label, shape ``(n_atoms, 3)``, eV/Å, whatever constraints the structure has.

    Raises
    ------
    LabelMismatchError
        When the structure has no forces.
    """
    forces = None if atoms.calc is None else atoms.calc.results.get("forces")
    if forces is None:
        raise LabelMismatchError(f"{atoms.get_chemical_formula()} has no forces: it is no label.")
    return np.asarray(forces, dtype=np.float64)


def _compare_structures(asked: Atoms, answered: Atoms, source: str) -> None:
    """Refuse an output that belongs to another structure."""
    if len(answered) != len(asked):
        raise LabelMismatchError(
            f"{source} has {len(answered)} atoms, expected {len(asked)}: a label of another cell size. "
            "Was the output put into the wrong folder?"
        )
    if not np.array_equal(answered.numbers, asked.numbers):
        raise LabelMismatchError(
            f"{source} holds {answered.get_chemical_formula(mode='reduce')}, expected "
            f"{asked.get_chemical_formula(mode='reduce')}: other elements or another order of atoms."
        )
    if np.abs(answered.cell.array - asked.cell.array).max() > POSITION_TOLERANCE:
        raise LabelMismatchError(
            f"{source} has cell lengths {_short(answered.cell.lengths())} Å, expected "
            f"{_short(asked.cell.lengths())} Å. The cell must not relax: use a single-point run."
        )
    step = answered.positions - asked.positions
    if asked.pbc.any():
        scaled = np.linalg.solve(asked.cell.complete().array.T, step.T).T
        scaled[:, asked.pbc] -= np.round(scaled[:, asked.pbc])
        step = scaled @ asked.cell.complete().array
    largest = float(np.linalg.norm(step, axis=1).max())
    if largest > POSITION_TOLERANCE:
        raise LabelMismatchError(
            f"{source}: an atom lies {largest:.3g} Å from where it was asked (tolerance {POSITION_TOLERANCE} "
            "Å). The atoms must not relax: use a single-point run."
        )


def _short(lengths: NDArray[np.float64]) -> str:
    """Three lengths in a message."""
    return " ".join(f"{length:.4f}" for length in lengths)
