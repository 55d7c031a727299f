"""From the members' forces to whatever is computed from forces, with an interval: frequencies or κ.

Each member's forces go through the same function; the spread of the results is the uncertainty. Nothing is
linearised, so a property as crooked as κ gets an honest interval, at the price of one evaluation per member.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from al_committee.committee.calculator import CommitteeCalculator
from al_committee.committee.disagreement import committee_mean
from al_committee.errors import CommitteeMemberError

__all__ = ["PropagatedValue", "member_forces", "propagate"]

logger = logging.getLogger(__name__)
FloatArray = NDArray[np.float64]
ForcesT = TypeVar("ForcesT", FloatArray, Mapping[str, FloatArray])


@dataclass(frozen=True)
class PropagatedValue:
    """One quantity from every member.

    Parameters
    ----------
    members : NDArray[np.float64], shape (n_kept, ...)
        The quantity's unit; members whose evaluation failed are left out.
    nominal : NDArray[np.float64], optional
        The quantity from the mean forces, shape ``(...)``; None when that evaluation failed.
    failures : mapping of int to str
        Member index to the reason of its failure (imaginary modes, say).
    """

    members: FloatArray
    nominal: FloatArray | None = None
    failures: Mapping[int, str] = field(default_factory=dict)

    @property
    def mean(self) -> FloatArray:
        """Mean of the members, shape ``(...)``."""
        return committee_mean(self.members)

    @property
    def std(self) -> FloatArray:
        """Standard deviation of the members with n − 1, shape ``(...)``: the σ of ``κ ± σ``."""
        departures = self.members - self.mean
        return np.asarray(np.sqrt((departures**2).sum(axis=0) / (len(self.members) - 1)))

    def logarithmic(self) -> tuple[FloatArray, FloatArray]:
        """Geometric mean and the factor of one standard deviation, for positive quantities such as κ.

        The interval is ``mean / factor`` to ``mean · factor``.

        Raises
        ------
        ValueError
            When a member's value is not positive.
        """
        if not (self.members > 0).all():
            raise ValueError("a member's value is not positive; use mean and std instead of logarithms.")
        log = PropagatedValue(np.log(self.members))
        return np.exp(log.mean), np.exp(log.std)


def member_forces(committee: CommitteeCalculator, supercells: Sequence[Atoms]) -> FloatArray:
    """Evaluate all members on supercells of one size.

    Parameters
    ----------
    committee : CommitteeCalculator
        The models.
    supercells : sequence of Atoms
        Displaced supercells with equal numbers of atoms, Å.

    Returns
    -------
    NDArray[np.float64]
        shape ``(n_models, n_supercells, n_atoms, 3)``, eV/Å: what :func:`propagate` takes.

    Raises
    ------
    ValueError
        When the supercells differ in size, or there is none.
    """
    sizes = {len(atoms) for atoms in supercells}
    if len(sizes) != 1:
        raise ValueError(f"supercells have {sorted(sizes)} atoms, expected one size and at least one supercell.")
    predictions = committee.evaluate(supercells, energy=False)
    return np.stack([prediction.forces for prediction in predictions], axis=1)


def propagate(
    forces: ForcesT,
    evaluate: Callable[[ForcesT], Mapping[str, ArrayLike]],
    *,
    least_members: int = 2,
    nominal: Mapping[str, ArrayLike] | None = None,
) -> dict[str, PropagatedValue]:
    """Send every member's forces, and their mean, through one function.

    Parameters
    ----------
    forces : NDArray[np.float64], shape (n_models, n_supercells, n_atoms, 3), eV/Å
        Or a mapping of several such arrays by name, for supercells of several sizes.
    evaluate : callable
        Takes forces of shape ``(n_supercells, n_atoms, 3)``, or those of one member by name, and returns named
        numbers or arrays: force constants, frequencies, κ. It may raise; that member is then left out with its
        reason.
    least_members : int
        Fewest members that must succeed.
    nominal : mapping of str to object, optional
        What `evaluate` gives for the mean forces, where that is known already.

    Returns
    -------
    dict
        Name to :class:`PropagatedValue`, for the names that every member kept returned.

    Raises
    ------
    ValueError
        For forces of another shape, or another number of members under another name.
    CommitteeMemberError
        When fewer than `least_members` members succeed.
    """
    own_forces, mean_forces = _split_members(forces)
    results: list[Mapping[str, ArrayLike]] = []
    failures: dict[int, str] = {}
    for index, own in enumerate(own_forces):
        try:
            results.append(evaluate(own))
        except Exception as error:
            failures[index] = f"{type(error).__name__}: {error}"
            logger.warning("member %d gives no result: %s", index, failures[index])
    if len(results) < max(2, least_members):
        raise CommitteeMemberError(
            f"{len(results)} of {len(own_forces)} members gave a result, expected {max(2, least_members)} "
            f"or more: no interval. Reasons: {'; '.join(sorted(set(failures.values())))}"
        )
    if nominal is None:
        try:
            nominal = evaluate(mean_forces)
        except Exception as error:
            logger.warning("the mean forces give no result: %s", error)
            nominal = {}
    values = {}
    for name in (name for name in results[0] if all(name in result for result in results)):
        members = np.stack([np.asarray(result[name], dtype=np.float64) for result in results])
        centre = np.asarray(nominal[name], dtype=np.float64) if name in nominal else None
        values[name] = PropagatedValue(members, centre, failures)
    return values


def _split_members(forces: ForcesT) -> tuple[list[ForcesT], ForcesT]:
    """Give the forces of each member, and their mean, in the form given: an array or arrays by name."""
    named: Mapping[str, FloatArray] = forces if isinstance(forces, Mapping) else {"": forces}
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in named.items()}
    for array in arrays.values():
        if array.ndim != 4 or array.shape[3] != 3:
            raise ValueError(f"forces have shape {array.shape}, expected (n_models, n_supercells, n_atoms, 3).")
    counts = {len(array) for array in arrays.values()}
    if len(counts) != 1:
        raise ValueError(f"forces come from {sorted(counts)} members, expected one number of them under every name.")
    each = [{name: array[k] for name, array in arrays.items()} for k in range(counts.pop())]
    mean = {name: committee_mean(array) for name, array in arrays.items()}
    split = (each, mean) if isinstance(forces, Mapping) else ([own[""] for own in each], mean[""])
    return cast("tuple[list[ForcesT], ForcesT]", split)
