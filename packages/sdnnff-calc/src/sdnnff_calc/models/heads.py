r"""From a network's raw output to energy, forces and stress.

Conservative: E = Σ_i ε_i, F_i = −∂E/∂x_i, σ = (1/V) ∂E/∂ε. Every quantity depends on positions through the
edge vectors D_e alone, so with g_e = ∂E/∂D_e

.. math:: F_i = Σ_{e: i→·} g_e − Σ_{e: ·→i} g_e,   σ = \frac{1}{V} Σ_e g_e ⊗ D_e

Direct: the forces are the network's output; there is no energy and no stress.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sdnnff_calc.geometry.environments import Environments
from sdnnff_calc.models.network import Network
from sdnnff_calc.models.repulsive_core import CoreTerms, RepulsiveCore

__all__ = [
    "Prediction",
    "Statistics",
    "atomic_energies",
    "conservative_forces",
    "evaluate",
    "evaluate_together",
    "force_constant_product",
    "stress_tensor",
    "sum_by_structure",
]


@dataclass(frozen=True)
class Statistics:
    """What a model must know of its training data.

    Attributes
    ----------
    force_scale : float
        Root mean square force component, eV/Å; also the unit of atomic energies (eV).
    mean_neighbours : float
        Average number of neighbours within the cutoff.
    atomic_energies : dict of int to float, optional
        Least-squares energy of each element, eV, by atomic number.
    closest_pairs : dict of (tuple of int) to float, optional
        Shortest distance of each pair of elements, Å, by atomic numbers in ascending order; None in older models.
    """

    force_scale: float = 1.0
    mean_neighbours: float = 40.0
    atomic_energies: dict[int, float] | None = None
    closest_pairs: dict[tuple[int, int], float] | None = None

    def energy_table(self) -> Tensor:
        """Give the atomic energies as a float64 table, shape (119,), eV."""
        table = torch.zeros(119, dtype=torch.float64)
        known = self.atomic_energies or {}
        table[[int(number) for number in known]] = torch.tensor(list(known.values()), dtype=torch.float64)
        return table


@dataclass(frozen=True)
class Prediction:
    """Results for a batch.

    Attributes
    ----------
    forces : Tensor, shape (n_atoms, 3), eV/Å
    energies : Tensor, float64, shape (n_structures,), eV, optional
        None with a direct head.
    atomic_energies : Tensor, float64, shape (n_atoms,), eV, optional
        None with a direct head.
    stresses : Tensor, shape (n_structures, 3, 3), eV/Å³, optional
        Positive under tension (ASE's sign); None with a direct head, NaN
        without a full periodic cell.
    """

    forces: Tensor
    energies: Tensor | None = None
    atomic_energies: Tensor | None = None
    stresses: Tensor | None = None


def atomic_energies(raw: Tensor, env: Environments, statistics: Statistics) -> Tensor:
    """Give a conservative network's output its unit and its zero.

    Parameters
    ----------
    raw : Tensor
        In units of the force scale, shape (n_atoms,).
    env : Environments
        The batch.
    statistics : Statistics
        Of the training data.

    Returns
    -------
    Tensor
        float64, shape (n_atoms,), eV.
    """
    offsets = statistics.energy_table().to(env.numbers.device).index_select(0, env.numbers)
    return (raw * statistics.force_scale).double() + offsets


def sum_by_structure(atomic: Tensor, env: Environments) -> Tensor:
    """Sum a value of each atom, shape (n_atoms,), over structures, shape (n_structures,)."""
    return atomic.new_zeros(env.n_structures).index_add(0, env.structure, atomic)


def conservative_forces(gradient: Tensor, env: Environments) -> Tensor:
    """Sum edge gradients g_e into forces.

    Parameters
    ----------
    gradient : Tensor
        ∂E/∂D_e, shape (n_edges, 3), eV/Å.
    env : Environments
        The batch.

    Returns
    -------
    Tensor
        Shape (n_atoms, 3), eV/Å.
    """
    forces = gradient.new_zeros(env.n_atoms, 3).index_add(0, env.centre, gradient)
    return forces.index_add(0, env.neighbour, -gradient)


def stress_tensor(gradient: Tensor, env: Environments) -> Tensor:
    """Sum edge gradients into stresses, shape (n_structures, 3, 3), eV/Å³; NaN without a volume."""
    outer = gradient.unsqueeze(-1) * env.vector.detach().unsqueeze(-2)  # (n_edges, 3, 3)
    structure = env.structure.index_select(0, env.centre)
    virial = outer.new_zeros(env.n_structures, 3, 3).index_add(0, structure, outer)
    periodic = torch.isfinite(env.volumes)
    # divided by 1, not NaN: a NaN here would reach every weight in backward, even where the loss skips it
    volume = torch.where(periodic, env.volumes, 1.0)
    stress = 0.5 * (virial + virial.transpose(1, 2)) / volume[:, None, None]
    return stress.masked_fill(~periodic[:, None, None], torch.nan)


def evaluate_together(
    models: Sequence[Network],
    env: Environments,
    statistics: Sequence[Statistics],
    head: str,
    *,
    core: RepulsiveCore | None = None,
) -> list[Prediction]:
    """Run models of one architecture on the geometry that they share, without second derivatives.

    Less work than :func:`evaluate` with a graph already for one model, since nothing is differentiated twice.

    Parameters
    ----------
    models, statistics : sequence of Network, sequence of Statistics
        Of the members.
    env, head, core : Environments, str, RepulsiveCore, optional
        As in :func:`evaluate`.

    Returns
    -------
    list of Prediction
        One of each.
    """
    terms = None if core is None else core.terms(env)
    seen = env if terms is None else terms.env
    members = list(zip(models, statistics, strict=True))
    if head == "direct":
        with torch.no_grad():
            geometry = models[0].share(seen, differentiate=False)
            found = [model(seen, geometry) * own.force_scale for model, own in members]
        if terms is not None:
            found = [forces + conservative_forces(terms.gradient, env) for forces in found]
        return [Prediction(forces) for forces in found]
    shared = models[0].share(seen, differentiate=True)
    if shared is None:
        raise TypeError(f"{type(models[0]).__name__} shares nothing to differentiate; its head must be direct.")
    atomic: list[Tensor] = []
    leaves: list[tuple[Tensor | None, ...]] = []
    with torch.enable_grad():
        for model, own in members:
            energies = atomic_energies(model(seen, shared), seen, own)
            leaves.append(torch.autograd.grad(energies.sum(), shared.leaves, retain_graph=True, allow_unused=True))
            atomic.append(energies.detach())
    gradients = shared.edge_gradients(seen, leaves)
    return [_prediction(e, g, env, terms) for e, g in zip(atomic, gradients, strict=True)]


def _prediction(atomic: Tensor, gradient: Tensor, env: Environments, terms: CoreTerms | None) -> Prediction:
    """Assemble a conservative prediction from atomic energies and ∂E/∂D' of what the network saw, and the core."""
    if terms is not None:
        atomic, gradient = atomic + terms.atomic_energies, terms.pull_back(gradient)
    energies = sum_by_structure(atomic, env)
    return Prediction(conservative_forces(gradient, env), energies, atomic, stress_tensor(gradient, env))


def evaluate(
    model: Network,
    env: Environments,
    statistics: Statistics,
    head: str,
    *,
    training: bool = False,
    core: RepulsiveCore | None = None,
) -> Prediction:
    """Run a model on a batch.

    Parameters
    ----------
    model : Network
        Maps environments to atomic energies or forces in units of the force scale.
    env : Environments
        The batch.
    statistics : Statistics
        Of the training data.
    head : str
        ``direct`` or ``conservative``.
    training : bool
        Keep the graph so that the results can be differentiated again.
    core : RepulsiveCore, optional
        Of pairs closer than any learned from; not for training, whose structures have none.

    Returns
    -------
    Prediction
    """
    if not training and env.vector.device.type == "cpu":
        return evaluate_together([model], env, [statistics], head, core=core)[0]
    terms = None if core is None else core.terms(env)
    seen = env if terms is None else terms.env
    if head == "direct":
        with torch.set_grad_enabled(training):
            forces = model(seen) * statistics.force_scale
        return Prediction(forces if terms is None else forces + conservative_forces(terms.gradient, env))
    with torch.enable_grad():
        vector = seen.vector.detach().requires_grad_(True)
        atomic = atomic_energies(model(seen.with_vector(vector)), env, statistics)
        (gradient,) = torch.autograd.grad(atomic.sum(), vector, create_graph=training)
    return _prediction(atomic if training else atomic.detach(), gradient, env, terms)


def force_constant_product(
    model: Network, env: Environments, statistics: Statistics, head: str, direction: Tensor
) -> Tensor:
    """Evaluate Φ·v = −∂F/∂x · v, the Hessian–vector product, differentiably.

    Parameters
    ----------
    model, env, statistics, head : Network, Environments, Statistics, str
        As in :func:`evaluate`; ``env`` is the undisplaced structure.
    direction : Tensor
        v, shape (n_atoms, 3), dimensionless.

    Returns
    -------
    Tensor
        Shape (n_atoms, 3), eV/Å².
    """
    shift = direction.index_select(0, env.neighbour) - direction.index_select(0, env.centre)
    with torch.enable_grad():
        vector = env.vector.detach().requires_grad_(True)
        moved = env.with_vector(vector)
        if head == "conservative":
            energy = model(moved).sum() * statistics.force_scale
            (gradient,) = torch.autograd.grad(energy, vector, create_graph=True)
            (product,) = torch.autograd.grad((gradient * shift).sum(), vector, create_graph=True)
            return -conservative_forces(product, moved)
        forces = model(moved) * statistics.force_scale
        probe = torch.zeros_like(forces, requires_grad=True)
        (pulled,) = torch.autograd.grad(forces, vector, probe, create_graph=True)
        (product,) = torch.autograd.grad((pulled * shift).sum(), probe, create_graph=True)
        return -product
