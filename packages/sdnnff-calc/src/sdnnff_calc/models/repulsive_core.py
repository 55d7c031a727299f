r"""A repulsive core between atoms closer than any that a network has learned from.

A network says nothing true there, and an atom that falls through the repulsion it has learned finds an energy of minus
millions of eV. With a core, the pair energy of two screened nuclei takes over smoothly,

.. math:: V(r) = \frac{e^2}{4πε_0} \frac{Z_1 Z_2}{r} φ(r/a),   a = \frac{0.8854\,a_0}{Z_1^{0.23} + Z_2^{0.23}},
          φ(x) = 0.18175 e^{-3.19980x} + 0.50986 e^{-0.94229x} + 0.28022 e^{-0.40290x} + 0.02817 e^{-0.20162x},

times a switch s that rises from 0 at the outer radius r_o to 1 at the inner one, r_i = 0.75 r_o, with two continuous
derivatives. The network sees each such pair no closer than half-way: at the distance ρ(r) with ρ = r beyond r_o,
ρ' = 1 − s in between, and constant below r_i. So

.. math:: E = E_{network}(\{D_e ρ(r_e)/r_e\}) + \frac12 Σ_e s(r_e) V(r_e)

is smooth, purely repulsive where the network falls silent, and the same as without a core where no pair is closer than
r_o: nine tenths of the shortest distance learned from, for pairs learned from in contact, since a crystal with fewer
neighbours has shorter bonds. In contact are pairs seen closer than nine tenths of the sum of their covalent radii,
where strained cells of crystals with such a bond go. Other pairs may have bonds that no training structure shows, such
as the C≡N of a cyanide, so for these r_o is three quarters of that sum. Training sets hold no pair closer than r_o, so
a core changes nothing in training.

References
----------
Ziegler, Biersack, The Stopping and Range of Ions in Matter (1985), doi:10.1007/978-1-4615-8103-1_3 (universal
screening function); Ziegler, Ziegler, Biersack, Nucl. Instrum. Methods B 268, 1818 (2010),
doi:10.1016/j.nimb.2010.02.091.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from ase.units import Bohr, Hartree
from numpy.typing import NDArray
from torch import Tensor

from sdnnff_calc.geometry.closest_pairs import LEAST_SHARE, Distances
from sdnnff_calc.geometry.elements import N_ELEMENTS, radius_table
from sdnnff_calc.geometry.environments import EdgeArrays, Environments

__all__ = ["CoreTerms", "RepulsiveCore", "screened_repulsion"]

_AMPLITUDES = (0.18175, 0.50986, 0.28022, 0.02817)
_DECAYS = (3.19980, 0.94229, 0.40290, 0.20162)
_LENGTH, _POWER = 0.8854 * Bohr, 0.23
_CONTACT = 0.9
"""Of the sum of covalent radii: strains of 5 % and displacements of 0.1 Å take a bond of that length to here."""
_MARGIN = 0.9
"""Of the shortest distance learned from: four neighbours instead of six shorten a bond by 5 %."""


def screened_repulsion(distance: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Evaluate the universal pair energy V of the module's formula and its slope.

    Parameters
    ----------
    distance : Tensor, float64, shape (n,)
        r > 0, Å.
    first, second : Tensor, float64, shape (n,)
        Atomic numbers.

    Returns
    -------
    energy : Tensor, shape (n,)
        V, eV.
    slope : Tensor, shape (n,)
        dV/dr, eV/Å.
    """
    length = _LENGTH / (first.pow(_POWER) + second.pow(_POWER))
    x = (distance / length).unsqueeze(-1)
    decays = x.new_tensor(_DECAYS)
    terms = x.new_tensor(_AMPLITUDES) * torch.exp(-x * decays)
    coulomb = Hartree * Bohr * first * second / distance
    energy = coulomb * terms.sum(dim=-1)
    slope = -energy / distance - coulomb * (terms * decays).sum(dim=-1) / length
    return energy, slope


@dataclass(frozen=True)
class CoreTerms:
    """What a core does to one batch.

    Attributes
    ----------
    env : Environments
        The batch as the network sees it.
    atomic_energies : Tensor, float64, shape (n_atoms,)
        Half of each pair's s·V, eV.
    gradient : Tensor, shape (n_edges, 3)
        Its derivative by the edge vectors, eV/Å.
    edges : Tensor, int64, shape (n_close,)
        Edges shorter than the outer radius.
    direction, stretch, turn : Tensor, shapes (n_close, 3), (n_close, 1), (n_close, 1)
        r̂, ρ' and ρ/r of these.
    """

    env: Environments
    atomic_energies: Tensor
    gradient: Tensor
    edges: Tensor
    direction: Tensor
    stretch: Tensor
    turn: Tensor

    def pull_back(self, gradient: Tensor) -> Tensor:
        """Turn ∂E/∂D' of the vectors that the network sees into ∂E/∂D of the true ones, core included.

        Parameters
        ----------
        gradient : Tensor, shape (…, n_edges, 3), eV/Å

        Returns
        -------
        Tensor
            Same shape.
        """
        seen = gradient.index_select(-2, self.edges)
        along = (seen * self.direction).sum(dim=-1, keepdim=True) * self.direction
        result = gradient.clone()
        result[..., self.edges, :] = self.turn * (seen - along) + self.stretch * along
        return result + self.gradient


class RepulsiveCore:
    """The repulsion of one model.

    Parameters
    ----------
    closest : Distances or None
        Shortest distances learned from, Å, by atomic numbers in ascending order; None where they are not known.
    """

    def __init__(self, closest: Distances | None) -> None:
        radii = radius_table()
        bonds = radii[:, None] + radii[None, :]
        self.outer: NDArray[np.float64] = LEAST_SHARE * bonds
        for (a, b), distance in (closest or {}).items():
            if distance < _CONTACT * bonds[a, b]:
                self.outer[a, b] = self.outer[b, a] = _MARGIN * distance
        self._table = torch.from_numpy(self.outer.reshape(-1))

    def nearest(self, edges: EdgeArrays) -> int | None:
        """Give the edge deepest inside its outer radius; None where no pair is that close."""
        if len(edges.centre) == 0:
            return None
        outer = self.outer[edges.numbers[edges.centre], edges.numbers[edges.neighbour]]
        share = np.einsum("ex,ex->e", edges.vector, edges.vector) / outer**2
        worst = int(share.argmin())
        return worst if share[worst] < 1.0 else None

    def terms(self, env: Environments) -> CoreTerms | None:
        """Evaluate the core of a batch; None where no pair is inside its outer radius."""
        with torch.no_grad():
            vector = env.vector.detach()
            first, second = env.numbers.index_select(0, env.centre), env.numbers.index_select(0, env.neighbour)
            table = self._table.to(env.numbers.device)
            outer = table.index_select(0, first * N_ELEMENTS + second)
            distance = vector.double().norm(dim=-1)
            edges = torch.nonzero(distance < outer).squeeze(-1)
            if len(edges) == 0:
                return None
            r, r_o = distance[edges], outer[edges]
            width = (1.0 - LEAST_SHARE) * r_o
            x = ((r - r_o) / width + 1.0).clamp(min=0.0)
            rise = x**3 * (10.0 - 15.0 * x + 6.0 * x**2)  # 1 − s = ρ'
            rise_slope = 30.0 * x**2 * (1.0 - x) ** 2 / width
            seen = r_o - width * (0.5 - x**4 * (2.5 - 3.0 * x + x**2))
            energy, slope = screened_repulsion(r, first[edges].double(), second[edges].double())
            direction = vector[edges].double() / r.unsqueeze(-1)
            half_slope = 0.5 * ((1.0 - rise) * slope - rise_slope * energy)
            atomic = torch.zeros(env.n_atoms, dtype=torch.float64, device=vector.device)
            atomic.index_add_(0, env.centre[edges], 0.5 * (1.0 - rise) * energy)
            gradient, squeezed = torch.zeros_like(vector), vector.clone()
            gradient[edges] = (half_slope.unsqueeze(-1) * direction).to(vector)
            squeezed[edges] = (seen.unsqueeze(-1) * direction).to(vector)
            columns = (direction, rise.unsqueeze(-1), (seen / r).unsqueeze(-1))
            return CoreTerms(env.with_vector(squeezed), atomic, gradient, edges, *(c.to(vector) for c in columns))
