"""The committee as an ASE calculator: mean of the members, and their disagreement on every atom.

Members are ASE calculators of any kind, batched committees (anything with ``predict_committee``, see
:class:`~al_committee.committee.protocols.BatchedCommittee`) or a mixture. Equal calculators that offer
``batched_committee`` are fused into one pass.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from ase import Atoms
from ase.calculators.abc import GetPropertiesMixin
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from numpy.typing import NDArray

from al_committee.committee.disagreement import committee_mean, force_deviation, scalar_spread, tensor_spread
from al_committee.committee.member import Block, FusedMembers, SingleMember, check_declarations, check_scales
from al_committee.committee.protocols import BatchedCommittee, CommitteeResults, OffersBatchedCommittee
from al_committee.errors import CommitteeMemberError, StructureError

__all__ = ["CommitteeCalculator", "CommitteePrediction"]

logger = logging.getLogger(__name__)
FloatArray = NDArray[np.float64]
Member: TypeAlias = "GetPropertiesMixin | BatchedCommittee"
"""An ASE calculator, or several models evaluated in one pass."""
Results: TypeAlias = "dict[str, FloatArray | float]"
"""What ASE's ``results`` hold."""


@dataclass(frozen=True)
class CommitteePrediction:
    """What all members say about one structure.

    Parameters
    ----------
    forces : NDArray[np.float64], float64, shape (n_models, n_atoms, 3), eV/Å
    energies : NDArray[np.float64], float64, shape (n_models,), eV, optional
        None when a member has no energy.
    stresses : NDArray[np.float64], float64, shape (n_models, 6), eV/Å³, optional
        ASE's Voigt order; None when not asked for or absent.
    """

    forces: FloatArray
    energies: FloatArray | None = None
    stresses: FloatArray | None = None

    @cached_property
    def mean_forces(self) -> FloatArray:
        """Mean force on every atom, shape ``(n_atoms, 3)``, eV/Å."""
        return committee_mean(self.forces)

    @cached_property
    def force_deviation(self) -> FloatArray:
        """Eq. 3's ε on every atom, shape ``(n_atoms,)``, eV/Å."""
        return force_deviation(self.forces)

    @property
    def n_models(self) -> int:
        """Number of members."""
        return int(self.forces.shape[0])


class CommitteeCalculator(Calculator):
    """Average several force fields and measure their disagreement.

    Parameters
    ----------
    members : sequence of object
        ASE calculators, batched committees (objects with ``predict_committee``), or both. Members of
        different kinds may mix; energies are then means over different energy zeros, so read their spread
        with care.
    names : sequence of str, optional
        One name per entry of `members`, for messages; the class names by default.
    calibration_scale : float, optional
        Factor *s* from :mod:`al_committee.committee.calibration`; with it ``results["force_error_bar"]`` = s·ε.
    batch : bool
        Fuse members that offer ``batched_committee`` into one pass. False evaluates one after the other.
    check_units : bool
        Refuse a member whose forces are parallel to the others' but ten times larger or smaller: the mark of
        other units.

    Notes
    -----
    ``results`` after a calculation (n_models counts the members of batched committees one by one):

    ==================== ============================ ======== ===========================================
    key                  shape                        unit     meaning
    ==================== ============================ ======== ===========================================
    forces               (n_atoms, 3)                 eV/Å     mean of the members
    force_deviation      (n_atoms,)                   eV/Å     ε_i, Eq. 3 of [1]_
    forces_committee     (n_models, n_atoms, 3)       eV/Å     the members, in the order given
    force_error_bar      (n_atoms,)                   eV/Å     s·ε_i, only with `calibration_scale`
    energy, free_energy  scalar                       eV       mean, when all members have an energy
    energies_committee   (n_models,)                  eV
    energy_spread        scalar                       eV       population standard deviation
    stress               (6,)                         eV/Å³    mean, Voigt, when asked for
    stresses_committee   (n_models, 6)                eV/Å³
    stress_spread        scalar                       eV/Å³    Frobenius analogue of Eq. 3
    ==================== ============================ ======== ===========================================

    Raises
    ------
    CommitteeMemberError
        No member, no common element, different declared units, a member without forces, NaN or a wrong shape
        from a member.

    References
    ----------
    .. [1] Rodriguez et al., Commun. Mater. 4, 61 (2023), Eq. 3, doi:10.1038/s43246-023-00390-3

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Cu", cubic=True)
    >>> atoms.calc = CommitteeCalculator([EMT(), EMT()])
    >>> _ = atoms.get_forces()
    >>> float(atoms.calc.results["force_deviation"].max())
    0.0
    """

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012  as ASE declares it
    nolabel = True

    def __init__(
        self,
        members: Sequence[Member],
        *,
        names: Sequence[str] | None = None,
        calibration_scale: float | None = None,
        batch: bool = True,
        check_units: bool = True,
    ) -> None:
        super().__init__()
        members = list(members)
        if not members:
            raise CommitteeMemberError("a committee needs at least one member, got none.")
        if names is not None and len(names) != len(members):
            raise CommitteeMemberError(f"{len(names)} names for {len(members)} members; give one per member.")
        labels = (
            list(names)
            if names is not None
            else [f"member {index} ({type(member).__name__})" for index, member in enumerate(members)]
        )
        self.calibration_scale = calibration_scale
        self.check_units = check_units
        self.elements = check_declarations(members, labels)
        self.sources = _build_sources(members, labels, batch)
        self.has_energy = all(source.has_energy for source in self.sources)
        self.has_stress = all(source.has_stress for source in self.sources)
        self.implemented_properties = self._list_properties()
        for member in members:  # what a map of crystals is drawn from; members' spaces differ, so one must do
            describe = getattr(member, "descriptors", None)
            if callable(describe):
                self.descriptors = describe
                break

    def _list_properties(self) -> list[str]:
        """Properties that every member can give, and what the committee adds to them."""
        names = ["forces", "force_deviation", "forces_committee"]
        if self.calibration_scale is not None:
            names.append("force_error_bar")
        if self.has_energy:
            names += ["energy", "free_energy", "energies_committee", "energy_spread"]
        if self.has_stress:
            names += ["stress", "stresses_committee", "stress_spread"]
        return names

    @property
    def batched(self) -> bool:
        """Whether all members run in one pass."""
        return len(self.sources) == 1 and isinstance(self.sources[0], FusedMembers)

    def evaluate(
        self, structures: Sequence[Atoms], *, energy: bool = True, stress: bool = False
    ) -> list[CommitteePrediction]:
        """Predict many structures with all members.

        Parameters
        ----------
        structures : sequence of Atoms
            ASE ``Atoms``; their own calculators are left alone.
        energy, stress : bool
            Whether to ask for energies and stresses. Energies come as None when a member has none.

        Returns
        -------
        list of CommitteePrediction
            In the order of `structures`.

        Raises
        ------
        CommitteeMemberError
            An element that a member does not know, NaN, a wrong shape, other units.
        PropertyNotImplementedError
            When stresses are asked for and a member has none.
        """
        structures = list(structures)
        if stress and not self.has_stress:
            missing = [source.label for source in self.sources if not source.has_stress]
            raise PropertyNotImplementedError(f"no stress: {', '.join(missing)} cannot give it.")
        for structure in structures:
            self._check_elements(structure)
        per_source = [
            source.predict(structures, energy=energy and self.has_energy, stress=stress) for source in self.sources
        ]
        predictions = []
        for index in range(len(structures)):
            parts = [blocks[index] for blocks in per_source]
            forces = np.concatenate([part[0] for part in parts])
            energies = None if any(part[1] is None for part in parts) else np.concatenate([part[1] for part in parts])
            stresses = None if any(part[2] is None for part in parts) else np.concatenate([part[2] for part in parts])
            if self.check_units:
                check_scales(forces, self._member_labels(parts))
            predictions.append(CommitteePrediction(forces, energies, stresses))
        return predictions

    def predict_committee(self, structures: Sequence[Atoms]) -> CommitteeResults:
        """Offer the members' predictions as a :class:`~al_committee.committee.protocols.BatchedCommittee` does."""
        predictions = self.evaluate(structures)
        energies = None
        if predictions and all(prediction.energies is not None for prediction in predictions):
            energies = np.stack([np.asarray(prediction.energies) for prediction in predictions], axis=1)
        return {"forces": [prediction.forces for prediction in predictions], "energies": energies}

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("forces",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill ``results`` for one structure (ASE's entry point)."""
        super().calculate(atoms, properties, system_changes)
        if self.atoms is None:
            raise StructureError("calculate got no structure: give atoms, or attach the calculator to some.")
        stress = any(name.startswith("stress") for name in properties)
        self.results = self._to_results(self.evaluate([self.atoms], stress=stress)[0])

    def predict(self, structures: Iterable[Atoms], *, stress: bool = False) -> list[Results]:
        """Evaluate many structures at once; a host that calls this gets batched passes and the members' forces.

        Parameters
        ----------
        structures : iterable of Atoms
            ASE ``Atoms``.
        stress : bool
            Whether to ask for stresses.

        Returns
        -------
        list of dict
            What ``results`` holds after a calculation, per structure: ``forces``, ``force_deviation``,
            ``forces_committee`` and so on.
        """
        return [self._to_results(found) for found in self.evaluate(list(structures), stress=stress)]

    def _to_results(self, prediction: CommitteePrediction) -> Results:
        """ASE's results of one prediction."""
        results: Results = {
            "forces": prediction.mean_forces,
            "force_deviation": prediction.force_deviation,
            "forces_committee": prediction.forces,
        }
        if self.calibration_scale is not None:
            results["force_error_bar"] = self.calibration_scale * prediction.force_deviation
        if prediction.energies is not None:
            results["energy"] = results["free_energy"] = float(committee_mean(prediction.energies))
            results["energies_committee"] = prediction.energies
            results["energy_spread"] = scalar_spread(prediction.energies)
        if prediction.stresses is not None:
            results["stress"] = committee_mean(prediction.stresses)
            results["stresses_committee"] = prediction.stresses
            results["stress_spread"] = tensor_spread(prediction.stresses)
        return results

    def _check_elements(self, structure: Atoms) -> None:
        """Refuse a structure with an element that some member does not know."""
        if self.elements is None:
            return
        unknown = sorted(set(structure.get_chemical_symbols()) - self.elements)
        if unknown:
            raise CommitteeMemberError(
                f"{structure.get_chemical_formula()} holds {', '.join(unknown)}, which not every member "
                f"knows; the members share {len(self.elements)} elements. Drop the structure or the member."
            )

    def _member_labels(self, parts: Sequence[Block]) -> list[str]:
        """One label per model, also inside batched committees."""
        labels = []
        for source, part in zip(self.sources, parts, strict=True):
            count = part[0].shape[0]
            labels += [source.label] if count == 1 else [f"{source.label}[{k}]" for k in range(count)]
        return labels


def _build_sources(members: Sequence[Member], labels: Sequence[str], batch: bool) -> list[SingleMember | FusedMembers]:
    """Wrap the members; fuse all of them when the first offers to."""
    first = members[0]
    if batch and len(members) > 1 and isinstance(first, OffersBatchedCommittee):
        fused = first.batched_committee(members)
        if fused is not None:
            logger.debug("%d members run in one batched pass", len(members))
            return [FusedMembers(fused, f"batched {type(first).__name__}", n_expected=len(members))]
    sources: list[SingleMember | FusedMembers] = []
    for member, label in zip(members, labels, strict=True):
        if isinstance(member, CommitteeCalculator):
            sources += member.sources
        elif isinstance(member, BatchedCommittee):
            sources.append(FusedMembers(member, label))
        else:
            sources.append(SingleMember(member, label))
    return sources
