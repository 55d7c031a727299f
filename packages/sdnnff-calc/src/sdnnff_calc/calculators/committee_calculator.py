"""Several models as one ASE calculator: their mean, their disagreement, and where they know nothing."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import all_changes
from numpy.typing import NDArray

from sdnnff_calc.calculators.results import Results, to_results
from sdnnff_calc.calculators.sdnnff import SDNNFF
from sdnnff_calc.errors import ConfigError, EmptyInputError
from sdnnff_calc.file_access.bundled_weights import bundled_committee
from sdnnff_calc.geometry.closest_pairs import merge_closest
from sdnnff_calc.geometry.environments import EdgeArrays, Environments, collate_edges
from sdnnff_calc.models.checkpoint import Model
from sdnnff_calc.models.heads import Prediction, evaluate, evaluate_together

__all__ = ["SDNNFFCommittee"]

_log = logging.getLogger(__name__)

SCALE_TOPIC = "committee_error_scale"
"""Of the first member's card: the factor that makes ε an error, measured on crystals that no member has seen."""
_DOUBTFUL_SHARE, _LEAST_FORCE = 0.5, 0.1
"""Outside: an error of more than this share of the force, or of 0.1 eV/Å where the force is less; root mean squares."""
_OF_COMMITTEES = ("force_deviation", "forces_committee", "force_error_bar", "outside")


class SDNNFFCommittee(SDNNFF):
    """Mean of several models of one architecture, and their disagreement ε on every atom.

    Parameters
    ----------
    models : sequence of (str, Path or Model), optional
        Checkpoints as :class:`SDNNFF` takes them, at least two; None for the five bundled ones.
    device, dtype, skin : str, str, float, optional
        As for :class:`SDNNFF`.
    scale : float, optional
        Factor s of ε to the expected error; None: what the first model's card says.
    core : bool, optional
        As for :class:`SDNNFF`; None: yes if all checkpoints say so.

    Notes
    -----
    Results beyond those of :class:`SDNNFF`, which are means over the members:

    ===================== ======================= =====================================================================
    ``force_deviation``   (n_atoms,)              ε_i = √⟨‖F_i^m − ⟨F_i⟩‖²⟩ over the members m, eV/Å
    ``forces_committee``  (n_models, n_atoms, 3)  of every member, eV/Å
    ``force_error_bar``   (n_atoms,)              s·ε_i, eV/Å: the size of the force's error that is to be expected
    ``outside``           bool                    whether the structure is outside what the models know
    ===================== ======================= =====================================================================

    Outside is a structure with atoms closer than any learned from, or one whose expected error is more than half of
    its force, both as root mean squares over atoms, the force taken as 0.1 eV/Å at least. This is said once in the log.

    Raises
    ------
    ConfigError
        When the models differ in architecture.
    EmptyInputError
        Without at least two models.

    References
    ----------
    Rodriguez et al., Commun. Mater. 4, 61 (2023), doi:10.1038/s43246-023-00390-3, Eq. 3.
    """

    def __init__(
        self,
        models: Sequence[str | Path | Model] | None = None,
        device: str = "auto",
        dtype: str | None = None,
        skin: float = 0.5,
        *,
        scale: float | None = None,
        core: bool | None = None,
    ) -> None:
        chosen = list(bundled_committee() if models is None else models)
        if len(chosen) < 2:
            raise EmptyInputError(f"a committee needs at least two models, got {len(chosen)}.")
        members = [SDNNFF(model, device, dtype, skin, core=False) for model in chosen]
        first = members[0].model
        if any(member.model.config != first.config for member in members):
            raise ConfigError(
                "the models of a committee differ in architecture. Give models of one training, or join calculators "
                "of any kind with al_committee.CommitteeCalculator."
            )
        closest = functools.reduce(merge_closest, (member.model.statistics.closest_pairs for member in members))
        wants_core = all(member.model.repulsive_core for member in members) if core is None else core
        joined = dataclasses.replace(
            first,
            elements=tuple(sorted(set.intersection(*(set(member.model.elements) for member in members)))),
            statistics=dataclasses.replace(first.statistics, closest_pairs=closest),
        )
        super().__init__(joined, device, dtype, skin, core=wants_core)
        self.members = [member.model for member in members]
        found = first.card.get(SCALE_TOPIC) if scale is None else scale
        self.scale = None if found is None else float(str(found))
        shared = [set(member.implemented_properties) for member in members]
        given = [name for name in self.implemented_properties if all(name in s for s in shared)]
        self.implemented_properties = [*given, *_OF_COMMITTEES]
        self._says_outside = False

    @property
    def n_models(self) -> int:
        """Number of members."""
        return len(self.members)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Evaluate the members on one structure and fill ``results``; raises as :meth:`SDNNFF.calculate`."""
        super().calculate(atoms, properties, system_changes)
        self.results["outside"] = self._is_outside = self._is_outside or bool(self.results["outside"])

    def batched_committee(self, members: Sequence[object]) -> None:
        """Offer no fusion: this is a committee already."""

    def _run(self, structures: Sequence[EdgeArrays]) -> list[Results]:
        """Batch, evaluate every member, unbatch."""
        env = collate_edges(structures, self.model.dtype, self.device)
        found = self._predictions(env)
        results = to_results(_mean(found), env)
        forces = torch.stack([p.forces.detach() for p in found]).double().cpu().numpy()
        bounds = np.cumsum((0, *env.n_atoms_each))
        for result, (low, high) in zip(results, pairwise(bounds), strict=True):
            self._add_deviation(result, forces[:, low:high])
        return results

    def _predictions(self, env: Environments) -> list[Prediction]:
        """Evaluate the members, on the CPU on the geometry that they share."""
        networks = [member.network.to(self.device) for member in self.members]
        statistics, head = [member.statistics for member in self.members], self.model.config.head
        if self.device.type == "cpu":
            return evaluate_together(networks, env, statistics, head, core=self._core)
        return [evaluate(n, env, s, head, core=self._core) for n, s in zip(networks, statistics, strict=True)]

    def _add_deviation(self, result: Results, forces: NDArray[np.float64]) -> None:
        """Add what the members' forces, shape (n_models, n_atoms, 3), say of one structure."""
        spread = forces - forces.mean(axis=0)
        deviation = np.sqrt(np.einsum("max,max->a", spread, spread) / len(forces))
        result["forces_committee"], result["force_deviation"] = forces, deviation
        expected = deviation if self.scale is None else self.scale * deviation
        if self.scale is not None:
            result["force_error_bar"] = expected
        error, force = (float(np.sqrt(np.mean(v**2))) for v in (expected, np.linalg.norm(result["forces"], axis=1)))
        result["outside"] = error > _DOUBTFUL_SHARE * max(force, _LEAST_FORCE)
        if result["outside"] and not self._says_outside:
            _log.warning(
                "outside what it knows: the members' disagreement lets expect an error of %.2f eV/Å where the force is "
                "%.2f eV/Å. Do not trust what follows from these forces; label this crystal and fine-tune on it.",
                error,
                force,
            )
        self._says_outside = bool(result["outside"])


def _mean(found: Sequence[Prediction]) -> Prediction:
    """Average predictions."""
    forces = torch.stack([p.forces.detach() for p in found]).mean(dim=0)
    energies = [p.energies.detach() for p in found if p.energies is not None]
    atomic = [p.atomic_energies.detach() for p in found if p.atomic_energies is not None]
    stresses = [p.stresses.detach() for p in found if p.stresses is not None]
    if len(energies) < len(found) or len(atomic) < len(found) or len(stresses) < len(found):
        return Prediction(forces)
    return Prediction(
        forces, torch.stack(energies).mean(dim=0), torch.stack(atomic).mean(dim=0), torch.stack(stresses).mean(dim=0)
    )
