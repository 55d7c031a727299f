"""Properties that hold for any spectrum, velocity operator and linewidths: no crystal, arrays drawn by hypothesis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from phon_wigner.phonons.units import heat_capacities
from phon_wigner.physics.degeneracy import average_over_blocks, degenerate_blocks
from phon_wigner.physics.formula import (
    average_modes,
    coherence_by_mode,
    coherence_conductivity,
    coherence_map,
    pair_matrix,
    pair_weights,
    population_conductivity,
    scattered,
)
from phon_wigner.physics.line_shape import line_shape
from phon_wigner.physics.pairs import PairCollector
from phon_wigner.physics.velocity_operator import VOIGT, star_average, velocity_products
from phon_wigner.testing.strategies import block_unitaries, linewidths, rotations, spectra, velocity_operators

some = settings(deadline=None, max_examples=40)


def tensor(voigt):
    """A symmetric 3 × 3 tensor from xx yy zz yz xz xy."""
    matrix = np.zeros((3, 3))
    for value, (a, b) in zip(voigt, VOIGT, strict=True):
        matrix[a, b] = matrix[b, a] = value
    return matrix


def kappa(frequencies, velocity, gamma, temperature=300.0, star=None):
    """κ_P, κ_C (6,), and the pairs, modes and weights they come from, of one q point."""
    collector = PairCollector(1, len(frequencies), np.eye(6) if star is None else star)
    collector.add(0, 1.0, frequencies, velocity_products(velocity))
    pairs = collector.finish()
    capacity = heat_capacities(pairs.frequencies, temperature)
    modes = average_modes(pairs, linewidths=gamma[None], heat_capacities=capacity)
    weights = pair_weights(pairs, modes)
    populations = population_conductivity(pairs, modes).sum(axis=(0, 1))
    return populations, coherence_conductivity(pairs, weights), pairs, modes, weights


@st.composite
def q_points(draw, **options):
    """Frequencies, velocity operator and linewidths of one q point."""
    frequencies = draw(spectra(**options))
    n = len(frequencies)
    return frequencies, draw(velocity_operators(n)), draw(linewidths(n))


@some
@given(q_points())
def test_both_parts_are_symmetric_and_positive(point):
    populations, coherences, *_ = kappa(*point)
    for part in (populations, coherences):
        matrix = tensor(part)
        assert np.linalg.eigvalsh(matrix).min() >= -1e-10 * max(np.abs(matrix).max(), 1e-30)


@some
@given(q_points())
def test_coherences_vanish_with_the_widths_of_separated_bands(point):
    """κ_C falls like γ, κ_P grows like 1/γ, once widths are far below the gaps."""
    frequencies, velocity, gamma = point
    wide, narrow = (kappa(frequencies, velocity, scale * gamma) for scale in (1e-4, 1e-6))
    np.testing.assert_allclose(narrow[0], 100 * wide[0], rtol=1e-9, atol=1e-20)
    np.testing.assert_allclose(narrow[1], 0.01 * wide[1], rtol=1e-5, atol=1e-12 * np.abs(wide[1]).max() + 1e-30)


@some
@given(q_points(), st.data())
def test_any_basis_inside_degenerate_blocks_is_as_good(point, data):
    frequencies, velocity, gamma = point
    mix = data.draw(block_unitaries(degenerate_blocks(frequencies)))
    plain = kappa(frequencies, velocity, gamma)
    mixed = kappa(frequencies, mix.conj().T @ velocity @ mix, gamma)
    scale = max(np.abs(plain[0]).max(), np.abs(plain[1]).max())
    for before, after in zip(plain[:2], mixed[:2], strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-11 * scale)


def test_the_diagonal_alone_depends_on_the_basis():
    """So that the test above has something to miss."""
    rng = np.random.default_rng(0)
    v = rng.normal(size=(3, 2, 2)) + 1j * rng.normal(size=(3, 2, 2))
    v = v + v.conj().transpose(0, 2, 1)
    mix = np.linalg.qr(rng.normal(size=(2, 2)) + 1j * rng.normal(size=(2, 2)))[0]
    plain, mixed = (kappa(np.full(2, 3.0), w, np.full(2, 0.1))[2].diagonal for w in (v, mix.conj().T @ v @ mix))
    assert np.abs(plain.sum(axis=1) - mixed.sum(axis=1)).max() > 0.1


@some
@given(q_points(), rotations())
def test_kappa_turns_with_the_velocities(point, rotation):
    frequencies, velocity, gamma = point
    plain = kappa(frequencies, velocity, gamma)
    turned = kappa(frequencies, np.einsum("ab,bst->ast", rotation, velocity), gamma)
    scale = max(np.abs(plain[0]).max(), np.abs(plain[1]).max())
    for before, after in zip(plain[:2], turned[:2], strict=True):
        np.testing.assert_allclose(tensor(after), rotation @ tensor(before) @ rotation.T, rtol=1e-9, atol=1e-11 * scale)


@some
@given(q_points(), st.data())
def test_the_order_of_bands_does_not_matter(point, data):
    frequencies, velocity, gamma = point
    order = np.array(data.draw(st.permutations(range(len(frequencies)))))
    plain = kappa(frequencies, velocity, gamma)
    other = kappa(frequencies[order], velocity[:, order][:, :, order], gamma[order])
    scale = max(np.abs(plain[0]).max(), np.abs(plain[1]).max())
    for before, after in zip(plain[:2], other[:2], strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-11 * scale)


@some
@given(q_points(), st.floats(20, 2000))
def test_blocks_split_the_undivided_sum(point, temperature):
    """κ_P + κ_C is the double sum over all pairs as the paper writes it, with widths equal inside a block."""
    frequencies, velocity, gamma = point
    blocks = degenerate_blocks(frequencies)
    gamma = average_over_blocks(gamma[None], blocks[None])[0]
    nu = average_over_blocks(frequencies[None], blocks[None])[0]
    capacity = heat_capacities(nu, temperature)
    expected = np.zeros(6)
    for s in range(len(nu)):
        for t in range(len(nu)):
            width = gamma[s] + gamma[t]
            pair = (nu[s] + nu[t]) / 4 * (capacity[s] / nu[s] + capacity[t] / nu[t])
            pair *= width / ((nu[s] - nu[t]) ** 2 + width**2)
            expected += pair * np.array([(velocity[a, s, t] * velocity[b, t, s]).real for a, b in VOIGT])
    populations, coherences, *_ = kappa(frequencies, velocity, gamma, temperature)
    np.testing.assert_allclose(populations + coherences, expected, rtol=1e-9, atol=1e-11 * np.abs(expected).max())


@some
@given(q_points())
def test_shares_of_modes_and_pairs_add_up(point):
    _, coherences, pairs, modes, weights = kappa(*point)
    scale = np.abs(coherences).max() + 1e-30
    by_mode = coherence_by_mode(pairs, modes, weights).sum(axis=(0, 1))
    by_pair = pair_matrix(pairs, weights).sum(axis=(0, 1, 2))
    np.testing.assert_allclose(by_mode, coherences, rtol=1e-9, atol=1e-11 * scale)
    np.testing.assert_allclose(by_pair, coherences, rtol=1e-9, atol=1e-11 * scale)


@some
@given(q_points(), st.integers(1, 40))
def test_the_map_integrates_to_the_coherences(point, n_bins):
    _, coherences, pairs, _, weights = kappa(*point)
    edges = np.linspace(0, pairs.frequencies.max() + 1e-6, n_bins + 1)
    density = coherence_map(pairs, weights, edges)
    np.testing.assert_allclose(density, density.T)
    total = (density * np.outer(np.diff(edges), np.diff(edges))).sum()
    np.testing.assert_allclose(total, coherences[:3].mean(), rtol=1e-9, atol=1e-25)


@some
@given(q_points(), st.floats(1e-6, 10))
def test_unknown_widths_are_left_out(point, bad):
    """Zero, negative and not finite widths count alike, and never make a number that is not finite."""
    frequencies, velocity, gamma = point
    results = []
    for value in (0.0, -bad, np.nan, np.inf):
        broken = gamma.copy()
        broken[0] = value
        results.append(kappa(frequencies, velocity, broken)[:2])
    for other in results:
        np.testing.assert_array_equal(other, results[0])
        assert np.isfinite(other).all()


@some
@given(q_points(), st.floats(-60.0, -14.0))
def test_a_width_that_rounding_left_is_unknown(point, exponent):
    frequencies, velocity, gamma = point
    tiny, none = gamma.copy(), gamma.copy()
    tiny[-1], none[-1] = 10.0**exponent, 0.0
    assert np.allclose(kappa(frequencies, velocity, tiny)[0], kappa(frequencies, velocity, none)[0], rtol=1e-12)
    assert np.allclose(kappa(frequencies, velocity, tiny)[1], kappa(frequencies, velocity, none)[1], rtol=1e-12)


@some
@given(st.floats(1.0, 30.0), st.floats(2.0, 50.0))
def test_in_the_cold_a_width_may_be_as_small_as_the_heat_capacity(frequency, temperature):
    """A mode that only absorption scatters has γ ∝ n ~ exp(−hν/kT), and C with it: it is known at any temperature."""
    capacity = heat_capacities(np.array([[frequency]]), temperature)
    occupation = 1 / np.expm1(47.99243 * frequency / temperature)  # h · 1 THz / k_B in K
    assume(capacity[0, 0] > 0)
    assert scattered(np.full((1, 1), 1e-3 * occupation), capacity).all()


@some
@given(st.floats(0.01, 5), st.floats(0, 2), st.floats(-20, 20))
def test_line_shapes_are_even_and_meet_their_limits(width, broadening, detuning):
    x, gamma = np.array([detuning, -detuning, 0.0]), np.full(3, width)
    shape = line_shape(x, gamma, broadening)
    assert shape[0] == pytest.approx(shape[1], rel=1e-9)
    assert 0 < shape[0] <= shape[2] * (1 + 1e-9)
    np.testing.assert_allclose(line_shape(x, gamma, 1e-6), line_shape(x, gamma), rtol=1e-6)
    narrow = line_shape(x, np.full(3, 1e-12), max(broadening, 1.0))
    gauss = np.sqrt(np.pi / 2) / max(broadening, 1.0) * np.exp(-(x**2) / (2 * max(broadening, 1.0) ** 2))
    np.testing.assert_allclose(narrow, gauss, rtol=1e-6, atol=1e-11)


@some
@given(spectra(), st.data())
def test_blocks_know_no_order(frequencies, data):
    order = np.array(data.draw(st.permutations(range(len(frequencies)))))
    np.testing.assert_array_equal(degenerate_blocks(frequencies[order]), degenerate_blocks(frequencies)[order])
    counts = np.bincount(degenerate_blocks(frequencies))
    assert counts.max() <= 3
    levels = np.sort(frequencies)
    assert len(counts) == 1 + (np.diff(levels) > 1e-4).sum()


@some
@given(st.lists(rotations(), min_size=1, max_size=4), st.data())
def test_star_average_is_a_projection_on_what_the_group_keeps(generators, data):
    """For the group of one turn by 180° about any axis: idempotent, trace kept, result invariant."""
    axis = generators[0][:, 0]
    group = np.array([np.eye(3), 2 * np.outer(axis, axis) - np.eye(3)])
    average = star_average(group)
    np.testing.assert_allclose(average @ average, average, atol=1e-12)
    values = np.array(data.draw(st.lists(st.floats(-5, 5), min_size=6, max_size=6)))
    result = tensor(average @ values)
    assert np.trace(result) == pytest.approx(values[:3].sum(), abs=1e-9)
    np.testing.assert_allclose(group[1] @ result @ group[1].T, result, atol=1e-10)


@some
@given(st.lists(st.floats(0.05, 40), min_size=1, max_size=6), st.floats(5, 3000))
def test_heat_capacities_rise_to_boltzmann(frequencies, temperature):
    from phonopy.physical_units import get_physical_units

    nu, boltzmann = np.array(frequencies), get_physical_units().KB
    cold, warm = (heat_capacities(nu, t) for t in (temperature, 1.5 * temperature))
    assert (cold >= 0).all()
    assert (cold <= boltzmann * (1 + 1e-12)).all()
    assert (warm >= cold * (1 - 1e-12)).all()
    np.testing.assert_allclose(heat_capacities(nu, 1e7), boltzmann, rtol=1e-6)


@some
@given(q_points(max_blocks=3))
def test_velocity_products_are_positive_for_every_pair(point):
    """Each pair alone carries heat along, never against, a gradient."""
    _, velocity, _ = point
    products = velocity_products(velocity)
    np.testing.assert_allclose(products, products.transpose(0, 2, 1), atol=1e-9)
    for s, t in np.ndindex(products.shape[1:]):
        assert np.linalg.eigvalsh(tensor(products[:, s, t])).min() >= -1e-9 * (1 + np.abs(products[:, s, t]).max())


@some
@given(q_points(), st.floats(0.5, 3))
def test_colder_crystals_conduct_less_with_the_same_widths(point, factor):
    """All heat capacities fall with T, and every term of both sums is positive."""
    frequencies, velocity, gamma = point
    assume(np.abs(velocity).max() > 1e-3)
    warm, cold = (kappa(frequencies, velocity, gamma, t) for t in (100 * factor, 40 * factor))
    for a, b in zip(warm[:2], cold[:2], strict=True):
        assert np.linalg.eigvalsh(tensor(a - b)).min() >= -1e-10 * max(np.abs(a).max(), 1e-30)


def test_shapes_are_checked():
    from phon_wigner.errors import ShapeError

    pairs = kappa(np.array([1.0, 2.0]), np.ones((3, 2, 2)) + 0j, np.full(2, 0.1))[2]
    with pytest.raises(ShapeError, match="heat capacities"):
        average_modes(pairs, linewidths=np.ones((1, 2)), heat_capacities=np.ones((2, 2)))
    assert replace(pairs, active=pairs.active).frequencies.shape == (1, 2)
