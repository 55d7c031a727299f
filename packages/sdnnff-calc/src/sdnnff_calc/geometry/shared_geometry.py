r"""What the members of a committee share: the geometry, forwards and backwards.

Radial functions R_n, harmonics Y_lm and the density A_{i,s,n,lm} of :mod:`sdnnff_calc.geometry.density` depend on no
weight, so they are computed once. Their derivatives are computed once, too: every member gives the gradient of its
energy with respect to A (and to R and Y where a second layer reads them), and one contraction turns all of them into
gradients with respect to the edge vectors D_e,

.. math:: g_e = Σ_{lm} \frac{∂E}{∂Y_{lm}} \, ∇Y_{lm} + Σ_n \frac{∂E}{∂R_n} \, R_n'(r) \, r̂,
          ∇Y_{lm} = \frac{1}{r} \Bigl( Σ_{m'} G^{l}_{m m'} Y_{l-1,m'} - l \, Y_{lm} \, r̂ \Bigr)

with constant G: the gradient of the solid harmonic r^l Y_lm is a sum of solid harmonics of degree l − 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from sdnnff_calc.geometry.density import harmonics, pad_to_rows
from sdnnff_calc.geometry.environments import Environments

__all__ = ["SharedGeometry", "harmonic_gradients", "share_geometry"]

RadialFunctions = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class SharedGeometry:
    """Weight-independent quantities of a batch.

    Attributes
    ----------
    radial : Tensor
        R_n(r_e)·f_c(r_e), shape (n_edges, n_radial).
    angular : Tensor
        Y_lm(r̂_e), shape (n_edges, (l_max+1)²).
    rows : Tensor
        A of every centre and neighbour element, shape (n_rows, (l_max+1)², n_radial).
    by_element : Tensor
        The same laid out as ((l_max+1)², n_atoms, n_present · n_radial), zero where an atom lacks an element.
    present : Tensor
        Elements of the batch, int64, shape (n_present,).
    slope : Tensor or None
        d(R_n·f_c)/dr of every edge, shape (n_edges, n_radial), 1/Å; None where nothing is differentiated.
    """

    radial: Tensor
    angular: Tensor
    rows: Tensor
    by_element: Tensor
    present: Tensor
    slope: Tensor | None

    @property
    def leaves(self) -> tuple[Tensor, Tensor, Tensor]:
        """What members differentiate with respect to: rows, radial, angular."""
        return self.rows, self.radial, self.angular

    def edge_gradients(self, env: Environments, gradients: list[tuple[Tensor | None, ...]]) -> Tensor:
        """Turn the members' gradients into gradients with respect to the edge vectors (the module's formula).

        Parameters
        ----------
        env : Environments
            The batch.
        gradients : list of (tuple of Tensor or None)
            For each member ∂E/∂rows, ∂E/∂radial and ∂E/∂angular, the last two None where a member has one layer.

        Returns
        -------
        Tensor
            Shape (n_models, n_edges, 3), the members' energy unit per Å.
        """
        n, n_edges = len(gradients), len(env.vector)
        n_m, n_radial = self.rows.shape[1:]
        rows = torch.stack([g[0] for g in gradients if g[0] is not None])  # (n_models, n_rows, n_m, n_radial)
        radial, angular = self.radial.detach(), self.angular.detach()
        padded = pad_to_rows(radial, env.row_slot, env.n_rows, env.row_width)
        to_angular = torch.bmm(padded, rows.permute(1, 3, 0, 2).reshape(env.n_rows, n_radial, n * n_m))
        padded = pad_to_rows(angular, env.row_slot, env.n_rows, env.row_width)
        to_radial = torch.bmm(padded, rows.permute(1, 2, 0, 3).reshape(env.n_rows, n_m, n * n_radial))
        by_angular = to_angular.view(-1, n * n_m).index_select(0, env.row_slot).view(n_edges, n, n_m)
        by_radial = to_radial.view(-1, n * n_radial).index_select(0, env.row_slot).view(n_edges, n, n_radial)
        for index, (_, extra_radial, extra_angular) in enumerate(gradients):
            if extra_radial is not None and extra_angular is not None:
                by_radial[:, index] += extra_radial
                by_angular[:, index] += extra_angular
        distance = env.vector.detach().norm(dim=-1)
        direction = env.vector.detach() / distance.unsqueeze(-1)
        if self.slope is None:
            raise RuntimeError("this geometry was not made to be differentiated.")
        along = torch.bmm(by_radial, self.slope.unsqueeze(-1))  # (n_edges, n_models, 1)
        across = torch.bmm(by_angular, _angular_jacobian(angular, direction, distance))
        slopes: Tensor = across + along * direction.unsqueeze(1)
        return slopes.transpose(0, 1)


def share_geometry(
    env: Environments, functions: RadialFunctions, slopes: RadialFunctions, l_max: int, *, differentiate: bool
) -> SharedGeometry:
    """Evaluate the shared quantities of a batch.

    Parameters
    ----------
    env : Environments
        The batch.
    functions, slopes : RadialFunctions
        From every edge's distance, shape (n_edges,), to R_n·f_c and its derivative, shape (n_edges, n_radial).
    l_max : int
        Highest degree of the harmonics.
    differentiate : bool
        Whether members will ask for gradients with respect to :attr:`SharedGeometry.leaves`.
    """
    vector = env.vector.detach()
    distance = vector.norm(dim=-1)
    radial = functions(distance)
    angular = harmonics(vector / distance.unsqueeze(-1), l_max)
    padded = pad_to_rows(angular, env.row_slot, env.n_rows, env.row_width)
    rows = torch.bmm(padded.transpose(1, 2), pad_to_rows(radial, env.row_slot, env.n_rows, env.row_width))
    if differentiate:
        rows, radial, angular = (t.requires_grad_(True) for t in (rows, radial, angular))
    present, which = torch.unique(env.row_number, return_inverse=True)
    n_present, n_m, n_radial = len(present), rows.shape[1], rows.shape[2]
    centre = torch.div(env.row_place, env.n_species, rounding_mode="floor")
    flat = pad_to_rows(rows.flatten(1), centre * n_present + which, env.n_atoms * n_present, 1)
    by_element = flat.view(env.n_atoms, n_present, n_m, n_radial).permute(2, 0, 1, 3).reshape(n_m, env.n_atoms, -1)
    return SharedGeometry(radial, angular, rows, by_element, present, slopes(distance) if differentiate else None)


@lru_cache(maxsize=8)
def harmonic_gradients(l_max: int) -> Tensor:
    """Give the constants G of the module's formula.

    They follow from the harmonics themselves: gradients at random points, solved for by least squares.

    Parameters
    ----------
    l_max : int
        Highest degree.

    Returns
    -------
    Tensor, float64, shape (l_max², 3 · (l_max+1)²)
        From the harmonics below l_max to ∇(r^l Y_lm) at r = 1, component inner.
    """
    n_m = (l_max + 1) ** 2
    degree = torch.tensor([l for l in range(l_max + 1) for _ in range(2 * l + 1)])  # noqa: E741
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(8 * n_m, 3, generator=generator, dtype=torch.float64)
    points = (points / points.norm(dim=-1, keepdim=True)).requires_grad_(True)
    with torch.enable_grad():
        distance = points.norm(dim=-1, keepdim=True)
        solid = harmonics(points / distance, l_max) * distance**degree
        columns = [torch.autograd.grad(solid[:, k].sum(), points, retain_graph=True)[0] for k in range(n_m)]
    gradients = torch.stack(columns, dim=1).reshape(len(points), -1)
    constants = torch.linalg.lstsq(solid[:, : l_max**2].detach(), gradients).solution
    return torch.where(constants.abs() > 1e-9, constants, 0.0)


def _angular_jacobian(angular: Tensor, direction: Tensor, distance: Tensor) -> Tensor:
    """∂Y_lm/∂D, shape (n_edges, (l_max+1)², 3)."""
    n_edges, n_m = angular.shape
    l_max = round(n_m**0.5) - 1
    degree = torch.tensor([l for l in range(l_max + 1) for _ in range(2 * l + 1)], device=angular.device)  # noqa: E741
    solid = torch.mm(angular[:, : l_max**2], harmonic_gradients(l_max).to(angular)).view(n_edges, n_m, 3)
    solid -= (angular * degree).unsqueeze(-1) * direction.unsqueeze(1)
    return solid / distance[:, None, None]
