"""Equivariant parts of a network: a linear map of channels, and products of functions on the sphere."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sdnnff_calc.geometry.density import harmonics, sphere_quadrature

__all__ = ["ChannelMixing", "SphereProduct"]


class ChannelMixing(nn.Module):
    """Mix channels with one matrix per degree l (an equivariant linear map).

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    l_max : int
        Highest degree.
    """

    degree: Tensor

    def __init__(self, n_in: int, n_out: int, l_max: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(l_max + 1, n_in, n_out) / math.sqrt(n_in))
        degree = [l for l in range(l_max + 1) for _ in range(2 * l + 1)]  # noqa: E741
        self.register_buffer("degree", torch.tensor(degree), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map (n_m, n_atoms, n_in) to (n_m, n_atoms, n_out), n_m = (l_max+1)²."""
        return torch.bmm(features, self.weight.index_select(0, self.degree))


class SphereProduct(nn.Module):
    """Multiply up to three spherical functions channel by channel; project on low degrees.

    Parameters
    ----------
    l_max : int
        Highest degree of the factors.
    l_out : int
        Highest degree kept of the products.
    n_factors : int
        1, 2 or 3.
    """

    evaluate: Tensor
    project: Tensor

    def __init__(self, l_max: int, l_out: int, n_factors: int) -> None:
        super().__init__()
        self.l_out = l_out
        self.n_factors = n_factors
        points, weights = sphere_quadrature(n_factors * l_max + l_out)
        values = harmonics(points, max(l_max, l_out))
        dtype = torch.get_default_dtype()
        self.register_buffer("evaluate", values[:, : (l_max + 1) ** 2].to(dtype).contiguous(), persistent=False)
        project = (values[:, : (l_out + 1) ** 2] * weights[:, None]).T
        self.register_buffer("project", project.to(dtype).contiguous(), persistent=False)

    def forward(self, factors: Tensor) -> Tensor:
        """Give B⁽¹⁾ … B⁽ⁿ⁾ side by side.

        Parameters
        ----------
        factors : Tensor
            u, v, w stacked along channels, shape ((l_max+1)², n_atoms, n_factors · n_channels).

        Returns
        -------
        Tensor
            Shape ((l_out+1)², n_atoms, n_factors · n_channels).
        """
        n_m, n_atoms, width = factors.shape
        first = factors[: (self.l_out + 1) ** 2, :, : width // self.n_factors]
        if self.n_factors == 1:
            return first
        on_sphere = torch.mm(self.evaluate, factors.reshape(n_m, -1)).view(-1, n_atoms, width)
        parts = on_sphere.chunk(self.n_factors, dim=-1)
        product = parts[0] * parts[1]
        outputs = [first, self._project(product)]
        if self.n_factors == 3:
            outputs.append(self._project(product * parts[2]))
        return torch.cat(outputs, dim=-1)

    def _project(self, on_sphere: Tensor) -> Tensor:
        """Take (n_points, n_atoms, c) to ((l_out+1)², n_atoms, c)."""
        flat = torch.mm(self.project, on_sphere.reshape(on_sphere.shape[0], -1))
        return flat.view(-1, *on_sphere.shape[1:])
