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

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap

from sdnnff_calc.checkpoint import Model, load_model
from sdnnff_calc.device import choose_device
from sdnnff_calc.elements import check_elements
from sdnnff_calc.environments import EdgeArrays, Environments, collate_edges
from sdnnff_calc.errors import EmptyInputError, NonFiniteError
from sdnnff_calc.grid_model import GridModel
from sdnnff_calc.heads import conservative_forces, evaluate

__all__ = ["Committee", "load_committee"]

_log = logging.getLogger(__name__)


class Committee:
    """Several models behind one call.

    Parameters
    ----------
    models
        At least one.
    device
        As for :class:`~sdnnff_calc.calculator.SDNNFF`.
    batch_atoms
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
        self.models = list(models)
        self.batch_atoms = batch_atoms
        self.elements = sorted(set.intersection(*(set(m.elements) for m in models)))
        for model in self.models:
            model.network.to(self.device).eval().requires_grad_(False)
        first = self.models[0]
        self.shares_architecture = all(m.config == first.config and m.dtype == first.dtype for m in self.models)
        self._has_energy = all(m.config.head == "conservative" for m in self.models)
        if self.shares_architecture:
            networks = [m.network for m in self.models]
            self._parameters, self._buffers = stack_module_state(networks)  # type: ignore[arg-type]

    @property
    def n_models(self) -> int:
        """Number of members."""
        return len(self.models)

    def predict_committee(self, structures: Sequence[Atoms]) -> dict[str, Any]:
        """Evaluate all members on all structures.

        Parameters
        ----------
        structures
            At least one.

        Returns
        -------
        dict
            ``forces``: one float64 array per structure, shape (n_models, n_atoms, 3), eV/Å.
            ``energies``: float64, shape (n_models, n_structures), eV; None with direct heads.

        Raises
        ------
        EmptyInputError
            For an empty list.
        UnknownElementError
            For an element that some member has not seen.
        """
        if len(structures) == 0:
            raise EmptyInputError("predict_committee got no structures, expected at least one.")
        forces: list[NDArray[np.float64]] = []
        energies: list[NDArray[np.float64]] = []
        for batch in self._batches(structures):
            f, e = self._evaluate(batch)
            if not np.isfinite(f).all():
                raise NonFiniteError("a member of the committee gave forces that are not finite.")
            bounds = np.cumsum([len(b.numbers) for b in batch])[:-1]
            forces += np.split(f, bounds, axis=1)
            energies += [] if e is None else [e]
        return {"forces": forces, "energies": np.concatenate(energies, axis=1) if energies else None}

    def _batches(self, structures: Sequence[Atoms]) -> Iterator[list[EdgeArrays]]:
        """Find neighbours once for all members (with the largest cutoff) and batch."""
        cutoff = max(m.config.cutoff for m in self.models)
        batch: list[EdgeArrays] = []
        held = 0
        for atoms in structures:
            check_elements(atoms.numbers, self.elements)
            if batch and held + len(atoms) > self.batch_atoms:
                yield batch
                batch, held = [], 0
            batch.append(EdgeArrays.from_atoms(atoms, cutoff))
            held += len(atoms)
        yield batch

    def _evaluate(self, batch: list[EdgeArrays]) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Evaluate one batch: forces (n_models, n_atoms, 3), energies (n_models, n_structures)."""
        env = collate_edges(batch, self.models[0].dtype, self.device)
        if self.shares_architecture and self.device.type != "cpu":
            forces, energies = self._mapped(env)
        elif self.shares_architecture:
            forces, energies = self._in_turn(env)
        else:
            forces, energies = self._one_by_one(batch)
        f = forces.detach().double().cpu().numpy()
        return f, None if energies is None else energies.detach().double().cpu().numpy()

    def _mapped(self, env: Environments) -> tuple[Tensor, Tensor | None]:
        """Map one forward (and backward) pass over the stacked weights."""
        base = self.models[0].network
        scale = torch.tensor(
            [m.statistics.force_scale for m in self.models], dtype=self.models[0].dtype, device=self.device
        )[:, None, None]

        def raw(parameters: dict[str, Tensor], buffers: dict[str, Tensor], vector: Tensor) -> Tensor:
            result: Tensor = functional_call(base, (parameters, buffers), (env.with_vector(vector),))
            return result

        if not self._has_energy:
            with torch.no_grad():
                forces = vmap(raw, in_dims=(0, 0, None))(self._parameters, self._buffers, env.vector)
            return forces * scale, None

        def total(p: dict[str, Tensor], b: dict[str, Tensor], vector: Tensor) -> tuple[Tensor, Tensor]:
            atomic = raw(p, b, vector)
            return atomic.sum(), atomic

        gradient_of = grad(total, argnums=2, has_aux=True)
        gradient, atomic = vmap(gradient_of, in_dims=(0, 0, None))(self._parameters, self._buffers, env.vector)
        forces = torch.stack([conservative_forces(g, env) for g in gradient * scale])
        offsets = torch.stack([m.statistics.energy_table() for m in self.models]).to(self.device)
        atomic = (atomic * scale[:, :, 0]).double() + offsets[:, env.numbers]
        energies = atomic.new_zeros(self.n_models, env.n_structures).index_add(1, env.structure, atomic)
        return forces, energies

    def _in_turn(self, env: Environments) -> tuple[Tensor, Tensor | None]:
        """Evaluate members of one architecture one after the other on the same geometry."""
        networks = [m.network for m in self.models]
        scales = [m.statistics.force_scale for m in self.models]
        first = networks[0]
        if not self._has_energy:
            with torch.no_grad():
                geometry = first.share(env) if isinstance(first, GridModel) else first.share(env, differentiate=False)
                forces = [n(env, geometry) * s for n, s in zip(networks, scales, strict=True)]
            return torch.stack(forces), None
        shared = first.share(env, differentiate=True)
        gradients, energies = [], []
        with torch.enable_grad():
            for model, scale in zip(self.models, scales, strict=True):
                atomic = model.network(env, shared) * scale
                total = atomic.sum()
                gradients.append(torch.autograd.grad(total, shared.leaves, retain_graph=True, allow_unused=True))
                offsets = model.statistics.energy_table().to(self.device)[env.numbers]
                energy = atomic.detach().double() + offsets
                energies.append(energy.new_zeros(env.n_structures).index_add(0, env.structure, energy))
        on_edges = shared.edge_gradients(env, gradients)
        return torch.stack([conservative_forces(g, env) for g in on_edges]), torch.stack(energies)

    def _one_by_one(self, batch: list[EdgeArrays]) -> tuple[Tensor, Tensor | None]:
        """Evaluate members that differ in architecture."""
        forces, energies = [], []
        for model in self.models:
            env = collate_edges([_within(b, model.config.cutoff) for b in batch], model.dtype, self.device)
            prediction = evaluate(model.network, env, model.statistics, model.config.head)
            forces.append(prediction.forces.double())
            if prediction.energies is not None:
                energies.append(prediction.energies)
        return torch.stack(forces), torch.stack(energies) if self._has_energy else None


def _within(edges: EdgeArrays, cutoff: float) -> EdgeArrays:
    """Keep the edges of a smaller cutoff."""
    keep = np.einsum("ex,ex->e", edges.vector, edges.vector) < cutoff**2
    return dataclasses.replace(
        edges, centre=edges.centre[keep], neighbour=edges.neighbour[keep], vector=edges.vector[keep]
    )


def load_committee(paths: Sequence[str | Path], device: str = "auto") -> Committee:
    """Load several checkpoints into one committee."""
    return Committee([load_model(p) for p in paths], device)
