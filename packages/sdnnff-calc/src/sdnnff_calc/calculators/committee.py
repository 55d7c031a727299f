"""Committees: several models of one architecture, evaluated in one batched pass.

The geometry (neighbours, radial functions, harmonics, element-resolved density) is the same for all
members and is computed once. What depends on weights is mapped over the members with
``torch.func.vmap`` on a GPU; on a CPU, where one member already fills a core, the members follow one another.
Members that do not share an architecture are evaluated separately.

References
----------
Rodriguez et al., Commun. Mater. (2023), doi:10.1038/s43246-023-00390-3, Eq. 3 (disagreement).
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap

from sdnnff_calc.data.structure_label import in_structure
from sdnnff_calc.errors import ConfigError, EmptyInputError, NonFiniteError
from sdnnff_calc.geometry.closest_pairs import merge_closest
from sdnnff_calc.geometry.elements import check_elements
from sdnnff_calc.geometry.environments import EdgeArrays, Environments, collate_edges
from sdnnff_calc.models.checkpoint import Model, load_model
from sdnnff_calc.models.device import choose_device
from sdnnff_calc.models.heads import (
    Prediction,
    conservative_forces,
    evaluate,
    evaluate_together,
    stress_tensor,
    sum_by_structure,
)
from sdnnff_calc.models.network import module_of
from sdnnff_calc.models.repulsive_core import CoreTerms, RepulsiveCore

__all__ = ["Committee", "CommitteeResults", "load_committee"]

Results = tuple[Tensor, Tensor | None, Tensor | None]
"""Forces (n_models, n_atoms, 3), energies (n_models, n_structures), stresses (n_models, n_structures, 3, 3)."""


class CommitteeResults(TypedDict):
    """What all members say about some structures.

    Attributes
    ----------
    forces : list of NDArray[np.float64]
        One per structure, shape (n_models, n_atoms, 3), eV/Å.
    energies : NDArray[np.float64] or None
        Shape (n_models, n_structures), eV; None with direct heads. Where a member was trained on forces alone,
        they count from an arbitrary zero.
    stresses : NDArray[np.float64] or None
        Shape (n_models, n_structures, 6), eV/Å³, Voigt order, NaN without a full periodic cell; None with
        direct heads and where a member was never trained on stresses.
    """

    forces: list[NDArray[np.float64]]
    energies: NDArray[np.float64] | None
    stresses: NDArray[np.float64] | None


class Committee:
    """Several models behind one call.

    Parameters
    ----------
    models : sequence of Model
        At least one; copied.
    device : str
        As for :class:`~sdnnff_calc.calculators.sdnnff.SDNNFF`.
    batch_atoms : int
        Atoms evaluated at a time.

    Raises
    ------
    EmptyInputError
        Without models.
    """

    def __init__(self, models: Sequence[Model], device: str = "auto", batch_atoms: int = 1024) -> None:
        if not models:
            raise EmptyInputError("a committee needs at least one model.")
        self.device = choose_device(device)
        self.models = [dataclasses.replace(model, network=copy.deepcopy(model.network)) for model in models]
        self.batch_atoms = batch_atoms
        self.elements = sorted(set.intersection(*(set(m.elements) for m in models)))
        for model in self.models:
            model.network.to(self.device).eval().requires_grad_(False)
        first = self.models[0]
        self.shares_architecture = all(m.config == first.config and m.dtype == first.dtype for m in self.models)
        self.has_energy = all(m.config.head == "conservative" for m in self.models)
        trained = [m.trained for m in self.models]
        self.has_stress = self.has_energy and all(t is None or t.stresses != 0 for t in trained)
        closest = functools.reduce(merge_closest, (m.statistics.closest_pairs for m in self.models))
        self._core = RepulsiveCore(closest) if all(m.repulsive_core for m in self.models) else None
        if self.shares_architecture:
            networks = [module_of(m.network) for m in self.models]
            self._parameters, self._buffers = stack_module_state(networks)

    @property
    def n_models(self) -> int:
        """Number of members."""
        return len(self.models)

    def predict_committee(self, structures: Sequence[Atoms]) -> CommitteeResults:
        """Evaluate all members on all structures.

        Parameters
        ----------
        structures : sequence of Atoms
            At least one.

        Raises
        ------
        EmptyInputError
            For an empty list.
        ConfigError
            For one structure instead of a list.
        UnknownElementError
            For an element that some member has not seen.
        """
        if isinstance(structures, Atoms):
            raise ConfigError("predict_committee takes a list of structures, got one structure: give [atoms].")
        if len(structures) == 0:
            raise EmptyInputError("predict_committee got no structures, expected at least one.")
        forces: list[NDArray[np.float64]] = []
        energies: list[NDArray[np.float64]] = []
        stresses: list[NDArray[np.float64]] = []
        for batch in self._batches(structures):
            f, e, s = self._evaluate(batch)
            if not np.isfinite(f).all():
                raise NonFiniteError("a member of the committee gave forces that are not finite.")
            bounds = np.cumsum([len(b.numbers) for b in batch])[:-1]
            forces += np.split(f, bounds, axis=1)
            if e is not None:
                energies.append(e)
            if s is not None and self.has_stress:
                stresses.append(s[..., [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]])
        return {
            "forces": forces,
            "energies": np.concatenate(energies, axis=1) if energies else None,
            "stresses": np.concatenate(stresses, axis=1) if stresses else None,
        }

    def _batches(self, structures: Sequence[Atoms]) -> Iterator[list[EdgeArrays]]:
        """Find neighbours once for all members (with the largest cutoff) and batch."""
        cutoff = max(m.config.cutoff for m in self.models)
        batch: list[EdgeArrays] = []
        held = 0
        for index, atoms in enumerate(structures):
            with in_structure(index, atoms):
                check_elements(atoms.numbers, self.elements)
                edges = EdgeArrays.from_atoms(atoms, cutoff)
            if batch and held + len(atoms) > self.batch_atoms:
                yield batch
                batch, held = [], 0
            batch.append(edges)
            held += len(atoms)
        yield batch

    def _evaluate(
        self, batch: list[EdgeArrays]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.float64] | None]:
        """Evaluate one batch: forces (n_models, n_atoms, 3), energies (n_models, n_structures), stresses (…, 3, 3)."""
        env = collate_edges(batch, self.models[0].dtype, self.device)
        if self.shares_architecture and self.device.type != "cpu":
            found = self._mapped(env, None if self._core is None else self._core.terms(env))
        elif self.shares_architecture:
            found = self._in_turn(env)
        else:
            found = self._one_by_one(batch)
        forces, energies, stresses = found
        return (
            _to_numpy(forces),
            None if energies is None else _to_numpy(energies),
            None if stresses is None else _to_numpy(stresses),
        )

    def _mapped(self, true: Environments, terms: CoreTerms | None = None) -> Results:
        """Map one forward (and backward) pass over the stacked weights."""
        env = true if terms is None else terms.env
        base = self.models[0].network
        scale = torch.tensor(
            [m.statistics.force_scale for m in self.models], dtype=self.models[0].dtype, device=self.device
        )[:, None, None]

        def raw(parameters: dict[str, Tensor], buffers: dict[str, Tensor], vector: Tensor) -> Tensor:
            result: Tensor = functional_call(module_of(base), (parameters, buffers), (env.with_vector(vector),))
            return result

        if not self.has_energy:
            with torch.no_grad():
                forces = vmap(raw, in_dims=(0, 0, None))(self._parameters, self._buffers, env.vector)
            return _with_core(forces * scale, true, terms), None, None

        def total(p: dict[str, Tensor], b: dict[str, Tensor], vector: Tensor) -> tuple[Tensor, Tensor]:
            atomic = raw(p, b, vector)
            return atomic.sum(), atomic

        gradient_of = grad(total, argnums=2, has_aux=True)
        gradient, atomic = vmap(gradient_of, in_dims=(0, 0, None))(self._parameters, self._buffers, env.vector)
        gradient = gradient * scale
        offsets = torch.stack([m.statistics.energy_table() for m in self.models]).to(self.device)
        atomic = (atomic * scale[:, :, 0]).double() + offsets[:, env.numbers]
        energies = atomic.new_zeros(self.n_models, env.n_structures).index_add(1, env.structure, atomic)
        return _from_edges(gradient, energies, true, terms)

    def _in_turn(self, env: Environments) -> Results:
        """Evaluate members of one architecture one after the other on the same geometry."""
        networks, statistics = [m.network for m in self.models], [m.statistics for m in self.models]
        return _stacked(evaluate_together(networks, env, statistics, self.models[0].config.head, core=self._core))

    def _one_by_one(self, batch: list[EdgeArrays]) -> Results:
        """Evaluate members that differ in architecture."""
        found = []
        for model in self.models:
            env = collate_edges([_within(b, model.config.cutoff) for b in batch], model.dtype, self.device)
            found.append(evaluate(model.network, env, model.statistics, model.config.head, core=self._core))
        return _stacked(found)


def _stacked(found: Sequence[Prediction]) -> Results:
    """Put the members' predictions side by side."""
    forces = torch.stack([p.forces.double() for p in found])
    energies = [p.energies for p in found if p.energies is not None]
    stresses = [p.stresses.double() for p in found if p.stresses is not None]
    if len(energies) < len(found) or len(stresses) < len(found):
        return forces, None, None
    return forces, torch.stack(energies), torch.stack(stresses)


def _to_numpy(values: Tensor) -> NDArray[np.float64]:
    """Carry a tensor over, float64."""
    array: NDArray[np.float64] = values.detach().double().cpu().numpy()
    return array


def _with_core(forces: Tensor, env: Environments, terms: CoreTerms | None) -> Tensor:
    """Add the core's forces to those of direct heads, shape (n_models, n_atoms, 3)."""
    return forces if terms is None else forces + conservative_forces(terms.gradient, env)


def _from_edges(gradients: Tensor, energies: Tensor, env: Environments, terms: CoreTerms | None) -> Results:
    """Give forces and stresses of conservative members from ∂E/∂D'_e, shape (n_models, n_edges, 3), and the core."""
    if terms is not None:
        gradients = terms.pull_back(gradients)
        energies = energies + sum_by_structure(terms.atomic_energies, env)
    forces = torch.stack([conservative_forces(g, env) for g in gradients])
    return forces, energies, torch.stack([stress_tensor(g, env) for g in gradients])


def _within(edges: EdgeArrays, cutoff: float) -> EdgeArrays:
    """Keep the edges of a smaller cutoff."""
    keep = np.einsum("ex,ex->e", edges.vector, edges.vector) < cutoff**2
    return dataclasses.replace(
        edges, centre=edges.centre[keep], neighbour=edges.neighbour[keep], vector=edges.vector[keep]
    )


def load_committee(paths: Sequence[str | Path], device: str = "auto") -> Committee:
    """Load several checkpoints into one committee."""
    return Committee([load_model(p) for p in paths], device)
