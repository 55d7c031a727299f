r"""``e-sdnnff``: the spatial density in harmonics, products up to three factors, one or two layers.

The density of each atom (:mod:`sdnnff_calc.geometry.density`) is contracted over elements and radial functions,

.. math:: u_{c,lm} = Σ_{k,n} U^l_{c,kn} Σ_s w_k(s) A_{i,s,n,lm}

(likewise v and w), and multiplied channel by channel,

.. math:: B^{(1)} = u,  B^{(2)} = u ⊗ v,  B^{(3)} = u ⊗ v ⊗ w,

where ⊗ couples with Gaunt coefficients. This is the tensor product of e3nn restricted to the paths of natural
parity and is done by evaluating the factors as functions on the sphere, multiplying them there and
projecting back on a quadrature that is exact for the degree in question, so that nearly all work is in a few
large matrix products. Scalars of B feed a network that gives the atomic energy (``conservative``) or gates
for the vectors of B, whose sum is the force (``direct``).

A second layer sums over neighbours again, each weighted by its own B seen along the bond.

The choice of basis, products, network and heads is ours; published is only that the authors intend a rotation
equivariant model.

References
----------
Geiger, Smidt, arXiv:2207.09453 (e3nn); Drautz, Phys. Rev. B 99, 014104 (2019) (products of densities);
Luo, Chen, Krishnapriyan, ICLR 2024, arXiv:2401.10216 (Gaunt products on the sphere).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from sdnnff_calc.config import EquivariantConfig
from sdnnff_calc.geometry.density import (
    bessel_functions,
    bessel_slopes,
    bond_scaled_functions,
    bond_scaled_slopes,
    harmonics,
    pad_to_rows,
)
from sdnnff_calc.geometry.elements import radius_table
from sdnnff_calc.geometry.environments import Environments
from sdnnff_calc.geometry.shared_geometry import SharedGeometry, share_geometry
from sdnnff_calc.models.blocked_product import blocked_product
from sdnnff_calc.models.element_channels import ElementChannels
from sdnnff_calc.models.sphere_product import ChannelMixing, SphereProduct

__all__ = ["EquivariantModel"]


class EquivariantModel(nn.Module):
    """The network of ``e-sdnnff``.

    Parameters
    ----------
    config : EquivariantConfig
        Sizes, cutoff and head.
    """

    mean_neighbours: Tensor
    radii: Tensor
    serves_any_head: ClassVar[bool] = True

    def __init__(self, config: EquivariantConfig) -> None:
        super().__init__()
        self.config = config
        c = config
        l_out = 1 if (c.head == "direct" or c.n_layers == 2) else 0
        self.l_out = l_out
        n_density = c.n_element_channels * c.n_radial
        width = c.n_factors * c.n_channels
        self.elements = ElementChannels(c.n_element_channels)
        self.mixing = ChannelMixing(n_density, width, c.l_max)
        self.product = SphereProduct(c.l_max, l_out, c.n_factors)
        self.centre_gate = nn.Linear(c.n_element_channels, width)
        n_scalars = width
        if c.n_layers == 2:
            self.message_out = ChannelMixing(width, c.n_channels, 1)
            self.message_radial = nn.Linear(c.n_radial, c.n_channels, bias=False)
            self.mixing_2 = ChannelMixing(c.n_channels + n_density, width, c.l_max)
            self.product_2 = SphereProduct(c.l_max, 1 if c.head == "direct" else 0, c.n_factors)
            self.centre_gate_2 = nn.Linear(c.n_element_channels, width)
            n_scalars = 2 * width
        n_out = n_scalars if c.head == "direct" else 1
        self.scalar_norm = nn.LayerNorm(n_scalars)
        self.network = nn.Sequential(
            nn.Linear(n_scalars + c.n_element_channels, c.n_hidden),
            nn.SiLU(),
            nn.Linear(c.n_hidden, c.n_hidden),
            nn.SiLU(),
            nn.Linear(c.n_hidden, n_out),
        )
        self.skip = nn.Linear(n_scalars, n_out if c.head == "conservative" else 1, bias=False)
        self.register_buffer("mean_neighbours", torch.tensor(40.0))
        dtype = torch.get_default_dtype()
        self.register_buffer("radii", torch.tensor(radius_table(), dtype=dtype), persistent=False)

    def density(self, env: Environments) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate radial functions, harmonics and the element-resolved density.

        Returns
        -------
        radial : Tensor, shape (n_edges, n_radial)
        angular : Tensor, shape (n_edges, (l_max+1)²)
        rows : Tensor, shape (n_rows, (l_max+1)², n_radial)
        """
        distance = env.vector.norm(dim=-1)
        radial = self._radial_functions(env, distance)
        angular = harmonics(env.vector / distance.unsqueeze(-1), self.config.l_max)
        padded_radial = pad_to_rows(radial, env.row_slot, env.n_rows, env.row_width)
        padded_angular = pad_to_rows(angular, env.row_slot, env.n_rows, env.row_width)
        return radial, angular, torch.bmm(padded_angular.transpose(1, 2), padded_radial)

    def _radial_functions(self, env: Environments, distance: Tensor) -> Tensor:
        """Evaluate the radial basis, shape (n_edges, n_radial)."""
        c = self.config
        if c.radial_basis == "bessel":
            return bessel_functions(distance, c.cutoff, c.n_radial)
        return bond_scaled_functions(distance, self._bonds(env), c.cutoff, c.n_radial)

    def _radial_slopes(self, env: Environments, distance: Tensor) -> Tensor:
        """Differentiate the radial basis by the distances, shape (n_edges, n_radial)."""
        c = self.config
        if c.radial_basis == "bessel":
            return bessel_slopes(distance, c.cutoff, c.n_radial)
        return bond_scaled_slopes(distance, self._bonds(env), c.cutoff, c.n_radial)

    def _bonds(self, env: Environments) -> Tensor:
        """Give the sum of the covalent radii of every edge, shape (n_edges,), Å."""
        radius = self.radii.index_select(0, env.numbers)
        return radius.index_select(0, env.centre) + radius.index_select(0, env.neighbour)

    @staticmethod
    def peak_numbers(config: EquivariantConfig) -> tuple[int, int]:
        """Estimate the numbers held at the peak of a pass with forces, for each atom and for each edge."""
        functions = (config.l_max + 1) ** 2 * config.n_layers
        return functions * (33 * config.n_channels + 225), 16 * functions

    def calibrate(self, mean_neighbours: float, batches: Iterable[Environments]) -> None:
        """Scale sums over neighbours by their mean number."""
        self.mean_neighbours.fill_(mean_neighbours)

    def before_step(self, generator: np.random.Generator) -> None:
        """Draw nothing: no augmentation is needed."""

    def readout(self) -> list[nn.Module]:
        """Give the layers after the descriptors."""
        return [self.network, self.skip, self.scalar_norm]

    def matrices(self) -> list[nn.Module]:
        """Give the modules whose ``weight`` a low-rank addition fits."""
        return [module for module in self.modules() if isinstance(module, (nn.Linear, ChannelMixing))]

    def linear_readout(self) -> list[nn.Parameter]:
        """Give the weights in which the energy is linear: the last layer's and the skip connection's."""
        last = cast("nn.Linear", self.network[-1])
        weights = [cast("nn.Parameter", layer.weight) for layer in (last, self.skip)]
        return weights if self.config.head == "conservative" else []

    def linear_features(self, env: Environments) -> Tensor:
        """Give what those weights multiply: the last hidden layer, then the invariants; shape (n_atoms, n_weights)."""
        scalars, _, element = self.features(env)
        hidden = self.network[:-1](torch.cat([self.scalar_norm(scalars), element], dim=-1))
        return torch.cat([hidden, scalars], dim=-1)

    def share(self, env: Environments, *, differentiate: bool) -> SharedGeometry:
        """Evaluate what members of a committee share (see :mod:`sdnnff_calc.geometry.shared_geometry`)."""
        functions = functools.partial(self._radial_functions, env)
        slopes = functools.partial(self._radial_slopes, env)
        return share_geometry(env, functions, slopes, self.config.l_max, differentiate=differentiate)

    def density_by_channel(self, env: Environments, rows: Tensor) -> Tensor:
        """Contract the elements: shape ((l_max+1)², n_atoms, n_element_channels · n_radial)."""
        c = self.config
        n_m = rows.shape[1]
        weight = self.elements(env.row_number)
        place, n_slots = env.row_place, env.n_atoms * env.n_species
        weight = pad_to_rows(weight, place, n_slots, 1).view(env.n_atoms, env.n_species, -1)
        flat = pad_to_rows(rows.reshape(env.n_rows, n_m * c.n_radial), place, n_slots, 1).view(
            env.n_atoms, env.n_species, -1
        )
        summed = torch.bmm(weight.transpose(1, 2), flat)  # (n_atoms, k, m·n)
        summed = summed.view(env.n_atoms, c.n_element_channels, n_m, c.n_radial)
        summed = summed.permute(2, 0, 1, 3).reshape(n_m, env.n_atoms, -1)
        return summed * self.mean_neighbours.rsqrt()

    def features(
        self, env: Environments, geometry: SharedGeometry | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Evaluate the invariants, the vectors and the centre's element channels of every atom.

        Returns
        -------
        scalars : Tensor, shape (n_atoms, n_scalars)
        vectors : Tensor or None, shape (3, n_atoms, n_scalars)
            Present with a direct head.
        element : Tensor, shape (n_atoms, n_element_channels)
        """
        if geometry is None:
            radial, angular, rows = self.density(env)
            density, present = self.density_by_channel(env, rows), None
        else:
            radial, angular, present = geometry.radial, geometry.angular, geometry.present
            density = geometry.by_element
            if len(present) > self.config.n_element_channels:
                density, present = self.density_by_channel(env, geometry.rows), None
        element = self.elements(env.numbers)
        mixed = self._mix(self.mixing, density, present)
        products = self._multiply(self.product, mixed, geometry) * (1.0 + self.centre_gate(element))
        scalars, vectors = products[0], products[1:4]
        if self.config.n_layers == 2:
            summed = self._sum_messages(env, radial, angular, products)
            mixed = self._mix(self.mixing_2, density, present, summed)
            second = self._multiply(self.product_2, mixed, geometry) * (1.0 + self.centre_gate_2(element))
            scalars = torch.cat([scalars, second[0]], dim=-1)
            if self.config.head == "direct":
                vectors = torch.cat([vectors, second[1:4]], dim=-1)
        return scalars, vectors if self.config.head == "direct" else None, element

    def _mix(
        self, mixing: ChannelMixing, density: Tensor, present: Tensor | None, summed: Tensor | None = None
    ) -> Tensor:
        """Mix the channels of a density by element channel or, given the elements present, of one by element.

        In the second case the element channels are contracted with the weights instead of with the density, which
        is less work for a few elements and many atoms.
        """
        if present is None:
            mixed: Tensor = mixing(density if summed is None else torch.cat([summed, density], dim=-1))
            return mixed
        n_summed = 0 if summed is None else summed.shape[-1]
        weight = mixing.weight[:, n_summed:].unflatten(1, (self.config.n_element_channels, self.config.n_radial))
        weight = torch.einsum("sk,lknc->lsnc", self.elements(present), weight).flatten(1, 2)
        mixed = torch.bmm(density, (weight * self.mean_neighbours.rsqrt()).index_select(0, mixing.degree))
        if summed is not None:
            mixed = mixed + torch.bmm(summed, mixing.weight[:, :n_summed].index_select(0, mixing.degree))
        return mixed

    def _multiply(self, product: SphereProduct, mixed: Tensor, geometry: SharedGeometry | None) -> Tensor:
        """Multiply on the sphere; members of a committee, which are never trained that way, in blocks."""
        if geometry is None or product.n_factors == 1:
            multiplied: Tensor = product(mixed)
            return multiplied
        return blocked_product(mixed, product.evaluate, product.project, product.n_factors)

    def _sum_messages(self, env: Environments, radial: Tensor, angular: Tensor, products: Tensor) -> Tensor:
        """Sum over neighbours again, each weighted by its own products seen along the bond."""
        message = self.message_out(products[:4]).transpose(0, 1)  # (n_atoms, 4, c)
        towards = pad_to_rows(angular[:, :4], env.neighbour_slot, env.n_atoms, env.neighbour_width)
        seen = torch.bmm(towards, message).flatten(0, 1).index_select(0, env.neighbour_slot)
        weight = seen * self.message_radial(radial)
        padded = pad_to_rows(weight, env.centre_slot, env.n_atoms, env.centre_width)
        padded_angular = pad_to_rows(angular, env.centre_slot, env.n_atoms, env.centre_width)
        summed = torch.bmm(padded_angular.transpose(1, 2), padded).transpose(0, 1)
        return summed * self.mean_neighbours.rsqrt()

    def forward(self, env: Environments, geometry: SharedGeometry | None = None) -> Tensor:
        """Give the head's raw output in units of the force scale.

        Parameters
        ----------
        env : Environments
            A batch.
        geometry : SharedGeometry, optional
            What members of a committee share; for evaluation only.

        Returns
        -------
        Tensor
            Conservative: atomic energies, shape (n_atoms,). Direct: forces, shape (n_atoms, 3). Both to be
            multiplied by the data's force scale (eV, eV/Å).
        """
        scalars, vectors, element = self.features(env, geometry)
        hidden: Tensor = self.network(torch.cat([self.scalar_norm(scalars), element], dim=-1))
        if vectors is None:
            skipped: Tensor = self.skip(scalars)
            return (hidden + skipped).squeeze(-1)
        by_model: Tensor = (vectors * (hidden + self.skip.weight)).sum(dim=-1)
        return by_model.transpose(0, 1)

    def descriptors(self, env: Environments) -> Tensor:
        """Give the invariants of every atom, shape (n_atoms, n_scalars)."""
        return self.features(env)[0]
