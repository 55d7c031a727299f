"""The sphere product of ``e-sdnnff`` in blocks of atoms that stay in the cache, with its own backward pass.

The values on the sphere are many times larger than what goes in and out; made for all atoms at once, they go through
main memory several times. In blocks they never leave the cache. For evaluation only: it has no second derivative.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["blocked_product"]

_BLOCK_BYTES = 1 << 20


def blocked_product(factors: Tensor, evaluate: Tensor, project: Tensor, n_factors: int) -> Tensor:
    """Multiply spherical functions channel by channel and project, as ``SphereProduct`` does.

    Parameters
    ----------
    factors : Tensor, shape ((l_max+1)², n_atoms, n_factors · n_channels)
    evaluate, project : Tensor
        Shapes (n_points, (l_max+1)²) and ((l_out+1)², n_points).
    n_factors : int
        2 or 3.

    Returns
    -------
    Tensor
        Shape ((l_out+1)², n_atoms, n_factors · n_channels).
    """
    result: Tensor = _BlockedProduct.apply(factors, evaluate, project, n_factors)  # type: ignore[no-untyped-call]
    return result


def _blocks(factors: Tensor, n_points: int) -> range:
    """First atoms of the blocks."""
    size = max(1, _BLOCK_BYTES // (n_points * factors.shape[2] * factors.element_size()))
    return range(0, factors.shape[1], size)


def _on_sphere(block: Tensor, evaluate: Tensor) -> Tensor:
    """Values at the points, shape (n_points, n_atoms, width)."""
    return torch.mm(evaluate, block.reshape(block.shape[0], -1)).view(-1, *block.shape[1:])


class _BlockedProduct(torch.autograd.Function):
    """Forward and backward pass of :func:`blocked_product`."""

    @staticmethod
    def forward(ctx: Any, factors: Tensor, evaluate: Tensor, project: Tensor, n_factors: int) -> Tensor:
        ctx.save_for_backward(factors, evaluate, project)
        ctx.n_factors = n_factors
        n_out, n_points, c = len(project), len(evaluate), factors.shape[2] // n_factors
        output = factors.new_empty(n_out, factors.shape[1], factors.shape[2])
        output[..., :c] = factors[:n_out, :, :c]
        blocks = _blocks(factors, n_points)
        for start in blocks:
            block = slice(start, start + blocks.step)
            parts = _on_sphere(factors[:, block], evaluate).chunk(n_factors, dim=-1)
            product = parts[0] * parts[1]
            for k in range(1, n_factors):
                if k == 2:
                    product *= parts[2]
                output[:, block, k * c : (k + 1) * c] = torch.mm(project, product.view(n_points, -1)).view(n_out, -1, c)
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        factors, evaluate, project = ctx.saved_tensors
        n_out, n_points, c = len(project), len(evaluate), factors.shape[2] // ctx.n_factors
        result = torch.empty_like(factors)
        blocks = _blocks(factors, n_points)
        for start in blocks:
            block = slice(start, start + blocks.step)
            values = _on_sphere(factors[:, block], evaluate)
            u, v, *third = values.chunk(ctx.n_factors, dim=-1)
            pulled = torch.mm(project.T, gradient[:, block, c:].reshape(n_out, -1)).view(
                n_points, -1, values.shape[2] - c
            )
            outer = pulled[..., :c]
            on_sphere = torch.empty_like(values)
            if third:
                torch.mul(u, v, out=on_sphere[..., 2 * c :]).mul_(pulled[..., c:])
                outer = torch.addcmul(outer, pulled[..., c:], third[0])
            torch.mul(outer, v, out=on_sphere[..., :c])
            torch.mul(outer, u, out=on_sphere[..., c : 2 * c])
            result[:, block] = torch.mm(evaluate.T, on_sphere.view(n_points, -1)).view(
                factors.shape[0], -1, factors.shape[2]
            )
        result[:n_out, :, :c] += gradient[..., :c]
        return result, None, None, None
