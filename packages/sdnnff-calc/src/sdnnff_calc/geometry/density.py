r"""The spatial density around an atom, in two discretisations.

On a cubic grid in the local frame Q_i (``sdnnff``):

.. math:: ρ_i^c(g) = Σ_j w_c(Z_j) exp(−|g − Q_i r_{ij}|²/2σ²) f_c(r_{ij}),  |g| ≤ R_c

In radial and spherical harmonics, per neighbour element s (``e-sdnnff``):

.. math:: A_{i,s,n,lm} = Σ_{j: Z_j = s} R_n(r_{ij}) f_c(r_{ij}) Y_{lm}(r̂_{ij})

with R_n(r) = √(2R_c)·sin(nπr/R_c)/r, spherical Bessel functions of order zero, without a unit. The
grid, its width, the cutoff and radial functions are our reconstruction: none of them is published.

The Gaussian on a cubic grid is a product of three one-dimensional Gaussians, so it costs 3·n exponentials
per neighbour instead of n³.

References
----------
Rodriguez, Liu, Hu, Phys. Rev. B 102, 035203 (2020), doi:10.1103/PhysRevB.102.035203 (spatial density);
Gasteiger et al., ICLR 2020, arXiv:2003.03123, Eq. 7 and 8 (Bessel functions, polynomial cutoff).
"""

from __future__ import annotations

import math

import torch
from e3nn import o3
from torch import Tensor

__all__ = [
    "bessel_functions",
    "bessel_slopes",
    "bond_scaled_functions",
    "bond_scaled_slopes",
    "cubic_grid",
    "harmonics",
    "one_dimensional_gaussians",
    "pad_to_rows",
    "polynomial_cutoff",
    "sphere_quadrature",
]


def polynomial_cutoff(distance: Tensor, cutoff: float) -> Tensor:
    """Switch smoothly from 1 to 0 at the cutoff: f_c(x) = 1 − 10x³ + 15x⁴ − 6x⁵, x = r/R_c.

    Two continuous derivatives vanish at both ends, so forces and force constants are continuous.

    Parameters
    ----------
    distance : Tensor
        r, any shape, Å.
    cutoff : float
        R_c, Å.

    Returns
    -------
    Tensor
        Same shape, dimensionless; exactly 0 beyond the cutoff.
    """
    x = (distance / cutoff).clamp(max=1.0)
    return 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2)


def bessel_functions(distance: Tensor, cutoff: float, n_radial: int) -> Tensor:
    """Evaluate R_n(r)·f_c(r) for n = 1 … n_radial.

    Parameters
    ----------
    distance : Tensor
        r > 0, shape (n_edges,), Å.
    cutoff : float
        R_c, Å.
    n_radial : int
        Number of functions.

    Returns
    -------
    Tensor
        Shape (n_edges, n_radial), of order 1.
    """
    order = torch.arange(1, n_radial + 1, dtype=distance.dtype, device=distance.device)
    r = distance.unsqueeze(-1)
    envelope = (math.sqrt(2.0 * cutoff) * polynomial_cutoff(distance, cutoff) / distance).unsqueeze(-1)
    return torch.sin(r * (order * (math.pi / cutoff))) * envelope


def bond_scaled_functions(distance: Tensor, bond_length: Tensor, cutoff: float, n_radial: int) -> Tensor:
    """Evaluate R_n(r/d)·f_c(r) with d the sum of the two atoms' covalent radii.

    Bonds of all element pairs lie near r/d = 1, so what is learned on one pair serves the others. R_n are
    Gaussians in ln(r/d), evenly spaced from ln 0.6 to ln 4, times d/r (our choice; MACE scales by radii likewise,
    arXiv:2401.00096).

    Parameters
    ----------
    distance : Tensor
        r > 0, shape (n_edges,), Å.
    bond_length : Tensor
        d, shape (n_edges,), Å.
    cutoff : float
        R_c, Å.
    n_radial : int
        Number of functions, at least 2.

    Returns
    -------
    Tensor
        Shape (n_edges, n_radial), of order 1.
    """
    centres = torch.linspace(math.log(0.6), math.log(4.0), n_radial, dtype=distance.dtype, device=distance.device)
    width = (math.log(4.0) - math.log(0.6)) / (n_radial - 1)
    scaled = distance / bond_length
    gaussians = torch.exp(-((scaled.log().unsqueeze(-1) - centres) / width).square())
    return gaussians * (3.0 * polynomial_cutoff(distance, cutoff) / scaled).unsqueeze(-1)


def _cutoff_slope(distance: Tensor, cutoff: float) -> Tensor:
    """Give the derivative of :func:`polynomial_cutoff`, 1/Å."""
    x = (distance / cutoff).clamp(max=1.0)
    return (x * (1.0 - x)).square() * (-30.0 / cutoff)


def bessel_slopes(distance: Tensor, cutoff: float, n_radial: int) -> Tensor:
    """Differentiate :func:`bessel_functions` with respect to r, shape (n_edges, n_radial), 1/Å."""
    order = torch.arange(1, n_radial + 1, dtype=distance.dtype, device=distance.device)
    wave = order * (math.pi / cutoff)
    phase = distance.unsqueeze(-1) * wave
    envelope = math.sqrt(2.0 * cutoff) * polynomial_cutoff(distance, cutoff) / distance
    slope = math.sqrt(2.0 * cutoff) * _cutoff_slope(distance, cutoff) / distance - envelope / distance
    return torch.cos(phase) * wave * envelope.unsqueeze(-1) + torch.sin(phase) * slope.unsqueeze(-1)


def bond_scaled_slopes(distance: Tensor, bond_length: Tensor, cutoff: float, n_radial: int) -> Tensor:
    """Differentiate :func:`bond_scaled_functions` with respect to r, shape (n_edges, n_radial), 1/Å."""
    centres = torch.linspace(math.log(0.6), math.log(4.0), n_radial, dtype=distance.dtype, device=distance.device)
    width = (math.log(4.0) - math.log(0.6)) / (n_radial - 1)
    inverse = distance.reciprocal()
    place = ((distance / bond_length).log().unsqueeze(-1) - centres) / width
    envelope = 3.0 * bond_length * inverse * polynomial_cutoff(distance, cutoff)
    slope = 3.0 * bond_length * inverse * _cutoff_slope(distance, cutoff) - envelope * inverse
    by_gaussian = place * (envelope * inverse * (-2.0 / width)).unsqueeze(-1)
    return torch.exp(-place.square()) * (by_gaussian + slope.unsqueeze(-1))


def harmonics(direction: Tensor, l_max: int) -> Tensor:
    """Evaluate real spherical harmonics, e3nn's order and "component" norm (Σ_m Y_lm² = 2l+1).

    Parameters
    ----------
    direction : Tensor
        Unit vectors, shape (n, 3).
    l_max : int
        Highest degree.

    Returns
    -------
    Tensor
        Shape (n, (l_max+1)²).
    """
    harmonics: Tensor = o3.spherical_harmonics(
        list(range(l_max + 1)), direction, normalize=False, normalization="component"
    )
    return harmonics


def sphere_quadrature(degree: int) -> tuple[Tensor, Tensor]:
    """Give Lebedev's quadrature on the sphere, exact for polynomials up to a degree.

    Parameters
    ----------
    degree : int
        Highest polynomial degree integrated exactly, at most 131.

    Returns
    -------
    points : Tensor, float64, shape (n_points, 3)
        Unit vectors.
    weights : Tensor, float64, shape (n_points,)
        Sum to 1 (an average over the sphere).
    """
    from scipy.integrate import lebedev_rule

    exact_to = max(3, degree + 1 - degree % 2)  # odd orders; above 31 every sixth
    if exact_to > 31:
        exact_to = 35 + 6 * math.ceil((exact_to - 35) / 6)
    points, weights = lebedev_rule(exact_to)
    return torch.from_numpy(points.T.copy()), torch.from_numpy(weights / weights.sum())


def pad_to_rows(values: Tensor, slot: Tensor, n_rows: int, width: int) -> Tensor:
    """Lay a flat list of edges out as rows of equal length, filled up with zeros.

    Parameters
    ----------
    values : Tensor, shape (n_edges, n_features)
    slot : Tensor
        Distinct places, int64, shape (n_edges,), below n_rows · width.
    n_rows, width : int
        Size of the result.

    Returns
    -------
    Tensor
        Shape (n_rows, width, n_features).
    """
    padded = values.new_zeros(n_rows * width, values.shape[-1])
    return padded.index_copy(0, slot, values).view(n_rows, width, values.shape[-1])


def cubic_grid(cutoff: float, n_points: int) -> tuple[Tensor, Tensor]:
    """Place a cubic grid over [−R_c, R_c]³ and keep the points inside the sphere.

    Parameters
    ----------
    cutoff : float
        R_c, Å.
    n_points : int
        Points along one edge; 11 gives a spacing of 1.2 Å at 6 Å.

    Returns
    -------
    axis : Tensor, float64, shape (n_points,)
        Coordinates along one edge, Å.
    inside : Tensor, int64, shape (n_inside,)
        Flat indices (x slowest) of the points with |g| ≤ R_c.
    """
    axis = torch.linspace(-cutoff, cutoff, n_points, dtype=torch.float64)
    square = axis**2
    radius = square[:, None, None] + square[None, :, None] + square[None, None, :]
    return axis, torch.nonzero(radius.reshape(-1) <= cutoff**2 * (1.0 + 1e-9)).squeeze(-1)


def one_dimensional_gaussians(coordinate: Tensor, axis: Tensor, sigma: float) -> Tensor:
    """Evaluate exp(−(g − x)²/2σ²) for every grid coordinate.

    Parameters
    ----------
    coordinate : Tensor
        x, shape (...), Å.
    axis : Tensor
        g, shape (n_points,), Å.
    sigma : float
        σ, Å.

    Returns
    -------
    Tensor
        Shape (..., n_points).
    """
    return torch.exp(-((axis - coordinate.unsqueeze(-1)) ** 2) * (0.5 / sigma**2))
