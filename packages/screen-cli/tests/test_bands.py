"""Branches are followed through crossings, at any step, in any basis; avoided crossings stay avoided."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from screen_cli.physics.harmonic.bands import Solver, follow_bands

springs = st.floats(0.2, 5.0)


def chain(stiff: list[tuple[float, float]], masses: tuple[float, float], q: float, mixer: NDArray[np.float64]):
    """Diatomic chain with three polarisations of springs of their own: branches that cross, known in closed form.

    The polarisations are mixed by a rotation, so no eigenvector tells its branch by a zero.
    """
    matrix = np.zeros((6, 6), dtype=np.complex128)
    for axis, (first, second) in enumerate(stiff):
        off = -(first + second * np.exp(-2j * np.pi * q)) / np.sqrt(masses[0] * masses[1])
        block = np.array([[(first + second) / masses[0], off], [np.conj(off), (first + second) / masses[1]]])
        matrix[np.ix_([axis, axis + 3], [axis, axis + 3])] = block
    turn = np.kron(np.eye(2), mixer)
    values, vectors = np.linalg.eigh(turn @ matrix @ turn.T)
    return np.sqrt(np.abs(values)) * np.sign(values), vectors


def closed_form(stiff: list[tuple[float, float]], masses: tuple[float, float], qpoints: NDArray[np.float64]):
    """Frequencies (n_points, 6) of each branch: ω² = K/2μ ± √((K/2μ)² − 4 k₁k₂ sin²(πq)/m₁m₂)."""
    columns = []
    for first, second in stiff:
        half = 0.5 * (first + second) * (1 / masses[0] + 1 / masses[1])
        square = half**2 - 4 * first * second * np.sin(np.pi * qpoints) ** 2 / (masses[0] * masses[1])
        root = np.sqrt(np.maximum(square, 0.0))  # at the zone boundary of equal atoms it is zero, up to rounding
        columns += [np.sqrt(np.maximum(half - root, 0.0)), np.sqrt(half + root)]
    return np.array(columns).T


def followed(solve: Solver, n_points: int, *, refined: bool = True) -> NDArray[np.float64]:
    frequencies, vectors = (np.array(each) for each in zip(*(solve(float(i)) for i in range(n_points)), strict=True))
    order, _ = follow_bands(frequencies, vectors, solve if refined else None)
    return np.take_along_axis(frequencies, order, axis=1)


def same_curves(found: NDArray[np.float64], expected: NDArray[np.float64], tolerance: float) -> bool:
    """Whether the columns are the same set of curves."""
    from scipy.optimize import linear_sum_assignment

    distance = np.abs(found[:, :, None] - expected[:, None, :]).max(axis=0)
    return bool(distance[linear_sum_assignment(distance)].max() < tolerance)


@given(
    stiff=st.lists(st.tuples(springs, springs), min_size=3, max_size=3),
    masses=st.tuples(st.floats(1.0, 9.0), st.floats(1.0, 9.0)),
    n_points=st.integers(4, 40),
    degenerate=st.booleans(),
    seed=st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_crossings_cross(stiff, masses, n_points, degenerate, seed):
    if degenerate:
        stiff[1] = stiff[2]
    mixer = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    qpoints = np.linspace(0, 0.5, n_points)
    step = qpoints[1]
    found = followed(lambda position: chain(stiff, masses, position * step, mixer), n_points)
    expected = closed_form(stiff, masses, qpoints)
    # a gap below the width of a line may be taken for a crossing: equal springs make one at the zone boundary
    assert same_curves(found, expected, 2e-3 * expected.max())


def test_a_crossing_on_a_point_is_passed():
    """Two branches that meet exactly at a point of the path, where their eigenvectors are any mixture."""
    slope = np.linspace(-1, 1, 21)
    mix = np.array([[1, 1], [-1, 1]]) / np.sqrt(2)
    vectors = np.array([np.eye(2)[:, ::-1] if x > 0 else mix if x == 0 else np.eye(2) for x in slope], complex)
    frequencies = np.sort(np.stack([5 + slope, 5 - slope], axis=1), axis=1)
    order, last = follow_bands(frequencies, vectors)
    branches = np.take_along_axis(frequencies, order, axis=1)
    assert same_curves(branches, np.stack([5 + slope, 5 - slope], axis=1), 1e-12)
    np.testing.assert_allclose(np.abs(last), np.eye(2), atol=1e-12)


@pytest.mark.parametrize("gap", [0.05, 0.5])
@pytest.mark.parametrize("n_points", [6, 10, 60])
def test_a_gap_stays_a_gap(gap, n_points):
    """Two branches that repel are not drawn through one another, however coarse the path."""

    def solve(position: float):
        x = 2 * position / (n_points - 1) - 1
        values, vectors = np.linalg.eigh(np.array([[5 + x, gap / 2], [gap / 2, 5 - x]]))
        return values, vectors.astype(complex)

    branches = followed(solve, n_points)
    assert (branches[:, 1] > branches[:, 0]).all()


def test_without_refinement_a_coarse_path_would_cross_there():
    """What the refinement is for: at this step the overlap alone is blind to the gap."""

    def solve(position: float):
        x = 2 * position / 5 - 1
        values, vectors = np.linalg.eigh(np.array([[5 + x, 0.025], [0.025, 5 - x]]))
        return values, vectors.astype(complex)

    branches = followed(solve, 6, refined=False)
    assert not (branches[:, 1] > branches[:, 0]).all()


@given(angle=st.floats(0, 3.1), swap=st.booleans())
def test_a_piece_goes_on_where_the_one_before_ended(angle, swap):
    """Branches keep their column over a corner of the path, in whatever basis and order the next piece starts."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    start = (np.array([4.0, 4.0, 3.0]), np.eye(3, dtype=complex))
    vectors = np.eye(3, dtype=complex)
    vectors[:2, :2] = turn[:, ::-1] if swap else turn
    frequencies = np.array([[3.0, 4.0, 4.0], [3.0, 4.0, 5.0]])
    along = np.array([vectors[:, [2, 0, 1]], np.eye(3)[:, [2, 1, 0]]])  # the first branch of the piece before rises
    order, _ = follow_bands(frequencies, along, start=start)
    np.testing.assert_array_equal(np.take_along_axis(frequencies, order, axis=1), [[4, 4, 3], [5, 4, 3]])
