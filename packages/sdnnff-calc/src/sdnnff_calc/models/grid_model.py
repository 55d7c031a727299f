r"""``sdnnff``: a density on a cubic grid in the local frame, a dense network, direct forces.

.. math:: F_i = Q_i^T · N(ρ_i, w(Z_i)),   ρ_i^c(g) = Σ_j w_c(Z_j) exp(−|g − Q_i r_{ij}|²/2σ²) f_c(r_{ij})

Published: one network maps one input vector of fixed length, the density around an atom within a finite
cutoff, straight to that atom's force; environments are rotated by nearest-neighbour rules; the parameters do
not grow with the number of elements. Our reconstruction: the grid and its width, the cutoff, the element
channels, the network's layers, and the frame rules.

References
----------
Rodriguez et al., Commun. Mater. (2023), doi:10.1038/s43246-023-00390-3;
Rodriguez, Liu, Hu, Phys. Rev. B 102, 035203 (2020), doi:10.1103/PhysRevB.102.035203.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from sdnnff_calc.config import GridConfig
from sdnnff_calc.geometry.density import cubic_grid, one_dimensional_gaussians, pad_to_rows, polynomial_cutoff
from sdnnff_calc.geometry.environments import Environments
from sdnnff_calc.geometry.frames import local_frames
from sdnnff_calc.models.element_channels import ElementChannels

__all__ = ["GridGeometry", "GridModel"]


@dataclass(frozen=True)
class GridGeometry:
    """What members of a committee share: everything before the first weight.

    Attributes
    ----------
    density : Tensor
        Density of each neighbour element on the grid, in the local frame, shape (n_atoms, n_inside · n_present).
    present : Tensor
        Elements of the batch, int64, shape (n_present,).
    frames, n_found : Tensor, shapes (n_atoms, 3, 3), (n_atoms,)
        As :meth:`GridModel.density` gives them.
    """

    density: Tensor
    present: Tensor
    frames: Tensor
    n_found: Tensor

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        """None: with a direct head nothing is differentiated."""
        return ()

    def edge_gradients(self, env: Environments, gradients: list[tuple[Tensor | None, ...]]) -> Tensor:
        """Give none, shape (0, n_edges, 3)."""
        return env.vector.new_zeros(0, *env.vector.shape)


class GridModel(nn.Module):
    """The network of ``sdnnff``.

    Parameters
    ----------
    config : GridConfig
        Grid, width, cutoff, channels, layers and frames.
    """

    axis: Tensor
    inside: Tensor
    feature_mean: Tensor
    feature_deviation: Tensor
    serves_any_head: ClassVar[bool] = False

    def __init__(self, config: GridConfig) -> None:
        super().__init__()
        self.config = config
        axis, inside = cubic_grid(config.cutoff, config.n_grid)
        self.register_buffer("axis", axis.to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("inside", inside, persistent=False)
        n_features = len(inside) * config.n_element_channels
        self.elements = ElementChannels(config.n_element_channels)
        self.register_buffer("feature_mean", torch.zeros(n_features))
        self.register_buffer("feature_deviation", torch.ones(n_features))
        layers: list[nn.Module] = []
        width = n_features + config.n_element_channels
        for _ in range(config.n_hidden_layers):
            layers += [nn.Linear(width, config.n_hidden), nn.SiLU()]
            width = config.n_hidden
        layers.append(nn.Linear(width, 3))
        self.network = nn.Sequential(*layers)
        self.frame_copy = 0

    @property
    def n_features(self) -> int:
        """Length of the density vector of one atom."""
        return int(self.feature_mean.shape[0])

    def density(self, env: Environments) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate ρ_i^c(g) of every atom in its frame.

        Parameters
        ----------
        env : Environments
            A batch.

        Returns
        -------
        density : Tensor, shape (n_atoms, n_features)
            Grid point outer, channel inner; dimensionless.
        frames : Tensor, shape (n_atoms, 3, 3)
            Q_i.
        n_found : Tensor, int64, shape (n_atoms,)
            Neighbour directions that fixed the frame.
        """
        return self._density(env, self.elements(env.numbers))

    @staticmethod
    def peak_numbers(config: GridConfig) -> tuple[int, int]:
        """Estimate the numbers held at the peak of a pass with forces, for each atom and for each edge."""
        return 2 * config.n_grid**3 * config.n_element_channels, 4 * config.n_grid**2

    def before_step(self, generator: np.random.Generator) -> None:
        """Draw the local frame that this training step sees; evaluation uses the first."""
        self.frame_copy = int(generator.integers(self.config.n_frames))

    def readout(self) -> list[nn.Module]:
        """Give the layer after the descriptors."""
        return [self.network[-1]]

    def matrices(self) -> list[nn.Module]:
        """Give the modules whose ``weight`` a low-rank addition fits."""
        return [module for module in self.modules() if isinstance(module, nn.Linear)]

    def linear_readout(self) -> list[nn.Parameter]:
        """Give none: a direct head has no energy."""
        return []

    def linear_features(self, env: Environments) -> Tensor:
        """Give none, shape (n_atoms, 0)."""
        return env.vector.new_zeros(env.n_atoms, 0)

    def share(self, env: Environments, *, differentiate: bool = False) -> GridGeometry | None:
        """Evaluate what members share; None when a batch holds more elements than there are element channels."""
        present, which = torch.unique(env.numbers, return_inverse=True)
        if len(present) > self.config.n_element_channels:
            return None
        one_hot = torch.eye(len(present), dtype=env.vector.dtype, device=present.device)
        density, frames, n_found = self._density(env, one_hot.index_select(0, which))
        return GridGeometry(density, present, frames, n_found)

    def _density(self, env: Environments, channels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Density, frames and directions found, for given channels of every atom, shape (n_atoms, n_channels)."""
        distance = env.vector.norm(dim=-1, keepdim=True)
        cut = polynomial_cutoff(distance, self.config.cutoff)
        weight = channels.index_select(0, env.neighbour) * cut
        width, n = env.centre_width, env.n_atoms
        ones = torch.ones_like(distance)
        vector = pad_to_rows(torch.cat([env.vector, ones], dim=-1), env.centre_slot, n, width)
        weight = pad_to_rows(weight, env.centre_slot, n, width)
        vector, present = vector[..., :3], vector[..., 3] > 0.5
        frames, n_found = local_frames(vector, present, self.frame_copy if self.training else 0)
        turned = torch.bmm(vector, frames.transpose(1, 2))
        return self._density_on_grid(turned, weight), frames, n_found

    def _density_on_grid(self, turned: Tensor, weight: Tensor) -> Tensor:
        """Sum separable Gaussians: (n, width, 3) and (n, width, k) to (n, n_features)."""
        n, width, k = weight.shape
        g = self.config.n_grid
        gauss = one_dimensional_gaussians(turned, self.axis, self.config.sigma)  # (n, width, 3, g)
        plane = (gauss[:, :, 0, :, None] * gauss[:, :, 1, None, :]).view(n, width, g * g)
        column = (gauss[:, :, 2, :, None] * weight[:, :, None, :]).reshape(n, width, g * k)
        cube = torch.bmm(plane.transpose(1, 2), column).view(n, g**3, k)
        return cube.index_select(1, self.inside).view(n, -1)

    def calibrate(self, mean_neighbours: float, batches: Iterable[Environments]) -> None:
        """Set mean and deviation of every feature from training environments."""
        with torch.no_grad():
            total = torch.zeros_like(self.feature_mean, dtype=torch.float64)
            square = torch.zeros_like(total)
            count = 0
            for env in batches:
                density = self.density(env)[0].double()
                total += density.sum(dim=0)
                square += (density**2).sum(dim=0)
                count += len(density)
            mean = total / max(count, 1)
            variance = (square / max(count, 1) - mean**2).clamp(min=0.0)
            floor = 0.05 * variance.mean().sqrt() + 1e-6
            self.feature_mean.copy_(mean)
            self.feature_deviation.copy_(variance.sqrt() + floor)

    def forward(self, env: Environments, geometry: GridGeometry | None = None) -> Tensor:
        """Give the forces in units of the force scale, shape (n_atoms, 3).

        Isolated atoms feel none; an atom with all neighbours on one line feels a force along it.

        Parameters
        ----------
        env : Environments
            A batch.
        geometry : GridGeometry, optional
            What members of a committee share; for evaluation only.
        """
        if geometry is None:
            density, frames, n_found = self.density(env)
            features = (density - self.feature_mean) / self.feature_deviation
            in_frame = self.network(torch.cat([features, self.elements(env.numbers)], dim=-1))
        else:
            frames, n_found = geometry.frames, geometry.n_found
            in_frame = self.network[1:](self._first_layer(env, geometry))
        keep = torch.stack([n_found >= 1, n_found >= 2, n_found >= 2], dim=-1)
        in_frame = in_frame * keep
        return torch.bmm(in_frame.unsqueeze(1), frames).squeeze(1)

    def _first_layer(self, env: Environments, geometry: GridGeometry) -> Tensor:
        """Apply the first layer to the density of each element: its weights contract the element channels."""
        layer = cast("nn.Linear", self.network[0])
        weight = layer.weight[:, : self.n_features] / self.feature_deviation
        bias = layer.bias - torch.mv(weight, self.feature_mean)
        by_channel = weight.unflatten(1, (len(self.inside), self.config.n_element_channels))
        by_element = torch.matmul(by_channel, self.elements(geometry.present).T).flatten(1)
        centre = torch.mm(self.elements(env.numbers), layer.weight[:, self.n_features :].T)
        return torch.addmm(bias, geometry.density, by_element.T) + centre

    def descriptors(self, env: Environments) -> Tensor:
        """Give the last hidden layer of every atom, shape (n_atoms, n_hidden)."""
        density, _, _ = self.density(env)
        features = (density - self.feature_mean) / self.feature_deviation
        hidden = torch.cat([features, self.elements(env.numbers)], dim=-1)
        features_of: Tensor = self.network[:-1](hidden)
        return features_of
