"""Basis functions and products against independent formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from e3nn import o3
from hypothesis import given, settings
from hypothesis import strategies as st

from sdnnff_calc.config import GridConfig
from sdnnff_calc.geometry.density import (
    bessel_functions,
    bessel_slopes,
    bond_scaled_functions,
    bond_scaled_slopes,
    cubic_grid,
    harmonics,
    polynomial_cutoff,
    sphere_quadrature,
)
from sdnnff_calc.geometry.environments import build_environments
from sdnnff_calc.models.sphere_product import SphereProduct
from sdnnff_calc.testing import toy_model


def test_cutoff_is_one_at_zero_and_flat_at_the_end() -> None:
    r = torch.tensor([0.0, 3.0, 5.999, 6.0, 7.0], dtype=torch.float64)
    f = polynomial_cutoff(r, 6.0)
    assert f[0] == 1.0
    assert f[1] == pytest.approx(0.5)
    assert f[2] < 1e-9
    assert (f[3:] == 0.0).all()


def test_bessel_functions_are_orthogonal_without_the_cutoff_function() -> None:
    r = torch.linspace(1e-6, 6.0, 20001, dtype=torch.float64)
    values = bessel_functions(r, 6.0, 5) / polynomial_cutoff(r, 6.0).clamp(min=1e-300).unsqueeze(-1)
    values = values[:-1] * r[:-1].unsqueeze(-1)  # R_n r, orthogonal over dr
    gram = (values.T @ values) * float(r[1] - r[0])
    assert torch.allclose(gram / gram[0, 0], torch.eye(5, dtype=torch.float64), atol=1e-3)


@settings(max_examples=50, deadline=None)
@given(
    cutoff=st.floats(2.0, 8.0),
    shares=st.lists(st.floats(0.05, 1.05), min_size=1, max_size=20),
    bond=st.floats(0.6, 5.0),
)
def test_slopes_are_the_derivatives_of_the_radial_functions(cutoff: float, shares: list[float], bond: float) -> None:
    """At all distances, those beyond the cutoff included, against forward derivatives by torch."""
    r = cutoff * torch.tensor(shares, dtype=torch.float64)
    bonds, one = torch.full_like(r, bond), torch.ones_like(r)
    values, slopes = torch.func.jvp(lambda d: bessel_functions(d, cutoff, 5), (r,), (one,))
    torch.testing.assert_close(
        bessel_slopes(r, cutoff, 5), slopes, rtol=1e-9, atol=1e-11 * float(values.abs().max() + 1)
    )
    values, slopes = torch.func.jvp(lambda d: bond_scaled_functions(d, bonds, cutoff, 5), (r,), (one,))
    scale = float(slopes.abs().max()) + 1.0
    torch.testing.assert_close(bond_scaled_slopes(r, bonds, cutoff, 5), slopes, rtol=1e-9, atol=1e-11 * scale)


@pytest.mark.parametrize("degree", [1, 4, 9, 10])
def test_quadrature_is_exact_up_to_its_degree(degree: int) -> None:
    points, weights = sphere_quadrature(degree)
    values = harmonics(points, degree)
    integral = weights @ values
    expected = torch.zeros_like(integral)
    expected[0] = 1.0
    assert torch.allclose(integral, expected, atol=1e-12)


def test_sphere_product_equals_the_tensor_product_of_e3nn() -> None:
    """Two factors of l ≤ 2 onto l ≤ 1, against Gaunt coefficients from e3nn's Wigner 3j symbols."""
    l_max, l_out = 2, 1
    torch.manual_seed(0)
    product = SphereProduct(l_max, l_out, 2).double()
    points, weights = sphere_quadrature(8)
    y = harmonics(points, l_max)
    product.evaluate = harmonics(*[sphere_quadrature(2 * l_max + l_out)[0]], l_max)
    product.project = (harmonics(sphere_quadrature(5)[0], l_out) * sphere_quadrature(5)[1][:, None]).T
    u, v = torch.randn(2, 9, 1, 1, dtype=torch.float64)
    got = product(torch.cat([u, v], dim=-1))[:, 0, 1]
    expected = torch.zeros(4, dtype=torch.float64)
    for l1 in range(3):
        for l2 in range(3):
            for l3 in range(2):
                if not abs(l1 - l2) <= l3 <= l1 + l2 or (l1 + l2 + l3) % 2:
                    continue
                w3j = o3.wigner_3j(l1, l2, l3, dtype=torch.float64)
                # the Gaunt coefficient is proportional to 3j: fix the factor on one non-zero component
                s1, s2, s3 = (slice(k * k, (k + 1) ** 2) for k in (l1, l2, l3))
                gaunt = torch.einsum("p,pa,pb,pc->abc", weights, y[:, s1], y[:, s2], y[:, s3])
                factor = (gaunt * w3j).sum() / (w3j**2).sum()
                assert torch.allclose(gaunt, factor * w3j, atol=1e-10)
                expected[s3] += factor * torch.einsum("a,b,abc->c", u[s1, 0, 0], v[s2, 0, 0], w3j)
    assert torch.allclose(got, expected, atol=1e-10)


def test_grid_density_equals_the_plain_sum_of_gaussians(salt: object) -> None:
    model = toy_model("grid", "float64")
    network, config = model.network, model.config
    assert isinstance(config, GridConfig)
    env = build_environments([salt], config.cutoff, torch.float64)  # type: ignore[list-item]
    with torch.no_grad():
        density, frames, _ = network.density(env)
        weights = network.elements(env.numbers)
    axis, inside = cubic_grid(config.cutoff, config.n_grid)
    grid = torch.cartesian_prod(axis, axis, axis)[inside]
    mine = env.centre == 2
    turned = env.vector[mine] @ frames[2].T
    r = env.vector[mine].norm(dim=-1)
    gauss = torch.exp(-((grid[:, None] - turned[None]) ** 2).sum(-1) / (2 * config.sigma**2))
    expected = gauss @ (weights[env.neighbour[mine]] * polynomial_cutoff(r, config.cutoff)[:, None])
    assert torch.allclose(density[2].view(len(grid), -1), expected, atol=1e-10)


def test_default_grid_has_the_stated_number_of_points() -> None:
    axis, inside = cubic_grid(6.0, 11)
    assert float(axis[1] - axis[0]) == pytest.approx(1.2)
    radius = np.linalg.norm(np.stack(np.unravel_index(inside.numpy(), (11, 11, 11))) - 5, axis=0)
    assert radius.max() <= 5.0 + 1e-9
    assert len(inside) == 515
