"""Physical identities of the velocity operator and of the conductivity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from phon_wigner.conductivity.postprocess import AnalysisSettings, analyze
from phon_wigner.phonons.dynamical_matrix import derivative_of
from phon_wigner.phonons.harmonic import HarmonicCrystal
from phon_wigner.phonons.linewidths import Linewidths
from phon_wigner.phonons.units import heat_capacities
from phon_wigner.physics.degeneracy import average_over_blocks, degenerate_blocks
from phon_wigner.physics.formula import (
    average_modes,
    coherence_by_mode,
    coherence_conductivity,
    pair_weights,
    population_conductivity,
)
from phon_wigner.physics.pairs import PairCollector
from phon_wigner.physics.velocity_operator import VOIGT, star_average, velocity_operator, velocity_products
from phon_wigner.testing import irreducible_mesh, make_phonopy
from phon_wigner.testing.strategies import rotations, spectra

GENERIC_Q = np.array([0.13, 0.27, -0.34])
SYMMETRIC_Q = np.array([0.25, 0.25, 0.0])


def solve(crystal, q):
    matrix, derivative = derivative_of(crystal.dynamical_matrix).run_with_matrix(q)
    values, vectors = np.linalg.eigh(matrix)
    return np.sqrt(np.abs(values)) * crystal.frequency_factor, vectors, derivative


def widths_of(frequencies):
    """A smooth linewidth, the same function of frequency in every cell."""
    return 0.02 + 0.004 * frequencies**2


def kappa(crystal, qpoints, weights, width_scale=1.0, temperature=300.0, rotate=None, seed=0):
    """κ_P, κ_C, undivided sum and the diagonal-only κ, with eigenvectors mixed inside blocks when asked."""
    rng = np.random.default_rng(seed)
    n_bands = 3 * len(crystal.dynamical_matrix.primitive)
    full = np.all(weights == 1) and len(weights) > 1
    star = star_average(np.eye(3)[None] if full else crystal.cartesian_operations)
    collector = PairCollector(len(qpoints), n_bands, star)
    every = np.zeros(6)
    for i, q in enumerate(qpoints):
        frequencies, vectors, derivative = solve(crystal, q)
        if rotate == "phases":
            vectors = vectors * np.exp(2j * np.pi * rng.random(n_bands))
        elif rotate == "blocks":
            labels = degenerate_blocks(frequencies)
            for label in np.unique(labels):
                index = np.flatnonzero(labels == label)
                z = rng.normal(size=(len(index),) * 2) + 1j * rng.normal(size=(len(index),) * 2)
                vectors[:, index] = vectors[:, index] @ np.linalg.qr(z)[0]
        products = velocity_products(velocity_operator(derivative, vectors, frequencies, crystal.frequency_factor))
        collector.add(i, weights[i], frequencies, products)
        # the undivided double sum, written as in the paper
        capacity = heat_capacities(frequencies, temperature)
        gamma = width_scale * widths_of(frequencies)
        for s in range(n_bands):
            for t in range(n_bands):
                if min(frequencies[s], frequencies[t]) <= 1e-4:
                    continue
                pair = (frequencies[s] + frequencies[t]) / 4
                pair *= capacity[s] / frequencies[s] + capacity[t] / frequencies[t]
                total = gamma[s] + gamma[t]
                pair *= total / ((frequencies[s] - frequencies[t]) ** 2 + total**2)
                every += pair * weights[i] * (star @ products[:, s, t])
    pairs = collector.finish()
    capacity = heat_capacities(pairs.frequencies, temperature)
    modes = average_modes(pairs, linewidths=width_scale * widths_of(pairs.frequencies), heat_capacities=capacity)
    weights_c, width = pair_weights(pairs, modes), modes.linewidths
    n = weights.sum()
    ratio = np.divide(capacity, 2 * width, out=np.zeros_like(width), where=width > 0)
    return {
        "p": population_conductivity(pairs, modes).sum(axis=(0, 1)) / n,
        "c": coherence_conductivity(pairs, weights_c) / n,
        "modes_c": coherence_by_mode(pairs, modes, weights_c).sum(axis=(0, 1)) / n,
        "all": every / n,
        "diagonal": (pairs.diagonal * ratio[:, :, None]).sum(axis=(0, 1)) / n,
    }


@pytest.mark.parametrize("nac", [None, "wang", "gonze"])
def test_derivative_is_the_derivative(nac):
    phonon = make_phonopy(nac=nac)
    matrix = phonon.dynamical_matrix
    engine = derivative_of(matrix)
    own, derivative = engine.run_with_matrix(GENERIC_Q)
    matrix.run(GENERIC_Q)
    np.testing.assert_allclose(own, matrix.dynamical_matrix, atol=1e-12 * np.abs(own).max())
    step = 1e-4
    for axis in range(3):
        shift = phonon.primitive.cell @ (np.eye(3)[axis] * step)
        numeric = engine.run_with_matrix(GENERIC_Q + shift)[0] - engine.run_with_matrix(GENERIC_Q - shift)[0]
        np.testing.assert_allclose(derivative[axis], numeric / (2 * step), atol=1e-6 * np.abs(derivative).max())


def test_nac_changes_the_derivative():
    plain = derivative_of(make_phonopy().dynamical_matrix).run(GENERIC_Q)
    for nac in ("wang", "gonze"):
        charged = derivative_of(make_phonopy(nac=nac).dynamical_matrix).run(GENERIC_Q)
        assert np.abs(charged - plain).max() > 0.01 * np.abs(plain).max()


def test_velocity_is_hermitian_and_its_diagonal_the_slope(crystal):
    frequencies, vectors, derivative = solve(crystal, GENERIC_Q)
    velocity = velocity_operator(derivative, vectors, frequencies, crystal.frequency_factor)
    np.testing.assert_array_equal(velocity, velocity.conj().transpose(0, 2, 1))
    step = 1e-5  # truncation error of the slope ~ step²: 1e-4 leaves 2e-5
    for axis in range(3):
        shift = crystal.dynamical_matrix.primitive.cell @ (np.eye(3)[axis] * step)
        slope = (solve(crystal, GENERIC_Q + shift)[0] - solve(crystal, GENERIC_Q - shift)[0]) / (2 * step)
        np.testing.assert_allclose(np.diagonal(velocity[axis]).real, slope, rtol=1e-5, atol=1e-5)


def test_velocity_is_the_derivative_of_the_square_root(crystal):
    """V is ∂ sqrt(D)/∂q in the eigenbasis: this fixes the off-diagonal factor 1/(ω+ω')."""

    def root(q):
        matrix, _ = derivative_of(crystal.dynamical_matrix).run_with_matrix(q)
        values, vectors = np.linalg.eigh(matrix)
        return (vectors * np.sqrt(values)) @ vectors.conj().T

    frequencies, vectors, derivative = solve(crystal, GENERIC_Q)
    velocity = velocity_operator(derivative, vectors, frequencies, crystal.frequency_factor)
    step = 1e-5
    shift = crystal.dynamical_matrix.primitive.cell @ np.array([step, 0, 0])
    numeric = (root(GENERIC_Q + shift) - root(GENERIC_Q - shift)) / (2 * step) * crystal.frequency_factor
    expected = vectors.conj().T @ numeric @ vectors
    off = ~np.eye(len(frequencies), dtype=bool)
    assert np.abs(expected[off]).max() > 0.1
    np.testing.assert_allclose(velocity[0], expected, atol=1e-6 * np.abs(expected).max())


@settings(deadline=None, max_examples=25)
@given(
    st.lists(rotations(), min_size=1, max_size=5), hnp.arrays(np.float64, 6, elements=st.floats(-9, 9)), st.booleans()
)
def test_star_average_equals_explicit_rotations(turns, components, inversion):
    group = np.array(turns) * (-1 if inversion else 1)
    symmetric = np.zeros((3, 3))
    for value, (a, b) in zip(components, VOIGT, strict=True):
        symmetric[a, b] = symmetric[b, a] = value
    expected = np.mean([r @ symmetric @ r.T for r in group], axis=0)
    np.testing.assert_allclose(star_average(group) @ components, [expected[a, b] for a, b in VOIGT], atol=1e-11)


@settings(deadline=None, max_examples=50)
@given(spectra(), st.floats(0, 1), st.data())
def test_block_average_keeps_the_trace(frequencies, tolerance, data):
    blocks = degenerate_blocks(frequencies[None], tolerance)
    values = data.draw(hnp.arrays(np.float64, (2, 1, len(frequencies)), elements=st.floats(0, 1)))
    averaged = average_over_blocks(values, blocks)
    np.testing.assert_allclose(averaged.sum(axis=-1), values.sum(axis=-1), atol=1e-12)
    for label in np.unique(blocks):
        assert np.ptp(averaged[0, 0, blocks[0] == label]) < 1e-12


def test_blocks_follow_the_tolerance():
    frequencies = np.array([[3.0, 1.0, 1.00005, 3.2]])
    np.testing.assert_array_equal(degenerate_blocks(frequencies, 1e-4), [[1, 0, 0, 2]])
    np.testing.assert_array_equal(degenerate_blocks(frequencies, 1e-5), [[2, 0, 1, 3]])


def test_sum_over_all_pairs_is_populations_plus_coherences(crystal):
    qpoints, weights = irreducible_mesh(crystal, 5)
    result = kappa(crystal, qpoints, weights)
    np.testing.assert_allclose(result["p"] + result["c"], result["all"], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(result["modes_c"], result["c"], rtol=1e-12, atol=1e-12)
    assert result["c"][0] > 1e-3 * result["p"][0]


@pytest.mark.parametrize("rotate", ["phases", "blocks"])
def test_basis_invariance(crystal, rotate):
    qpoints, weights = irreducible_mesh(crystal, 4)
    plain = kappa(crystal, qpoints, weights)
    mixed = [kappa(crystal, qpoints, weights, rotate=rotate, seed=seed) for seed in (1, 2)]
    for other in mixed:
        np.testing.assert_allclose(other["p"], plain["p"], rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(other["c"], plain["c"], rtol=1e-10, atol=1e-10)
    if rotate == "blocks":  # the diagonal alone is not invariant, so the check above has teeth
        assert abs(mixed[0]["diagonal"][0] / mixed[1]["diagonal"][0] - 1) > 1e-3


def test_irreducible_points_equal_the_full_mesh(crystal):
    qpoints, weights = irreducible_mesh(crystal, 4)
    grid = np.array(np.meshgrid(*[np.arange(4)] * 3, indexing="ij")).reshape(3, -1).T / 4
    reduced = kappa(crystal, qpoints, weights)
    full = kappa(crystal, grid, np.ones(len(grid), dtype=int))
    np.testing.assert_allclose(reduced["p"], full["p"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(reduced["c"], full["c"], rtol=1e-9, atol=1e-9)


def test_folding_into_a_larger_primitive_cell_changes_nothing():
    """The conventional cell as primitive cell: four times the bands, the same κ_P and κ_C per volume."""
    small = HarmonicCrystal.from_phonopy(make_phonopy("F", dim=2))
    large = HarmonicCrystal.from_phonopy(make_phonopy("P", dim=2))
    mesh = 3
    folded = np.array(np.meshgrid(*[np.arange(mesh)] * 3, indexing="ij")).reshape(3, -1).T / mesh
    shifts = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    cartesian = (folded[:, None, :] + shifts[None]).reshape(-1, 3) / large.dynamical_matrix.primitive.cell[0, 0]
    unfolded = cartesian @ small.dynamical_matrix.primitive.cell.T
    a = kappa(small, unfolded, np.ones(len(unfolded), dtype=int))
    b = kappa(large, folded, np.ones(len(folded), dtype=int))
    for name in ("p", "c"):
        np.testing.assert_allclose(a[name] / small.volume, b[name] / large.volume, rtol=1e-6, atol=1e-8, err_msg=name)


def test_coherences_vanish_for_separated_bands(crystal):
    """For widths far below the gaps κ_C falls like γ while κ_P grows like 1/γ."""
    qpoints = np.array([GENERIC_Q])
    weights = np.array([48])
    wide, narrow = (kappa(crystal, qpoints, weights, scale) for scale in (1e-3, 1e-5))
    assert narrow["p"][0] / wide["p"][0] == pytest.approx(100, rel=1e-9)
    assert narrow["c"][0] / wide["c"][0] == pytest.approx(0.01, rel=1e-3)


def test_kappa_is_positive_and_cubic(crystal):
    qpoints, weights = irreducible_mesh(crystal, 5)
    result = kappa(crystal, qpoints, weights)
    for name in ("p", "c"):
        assert result[name][0] > 0
        np.testing.assert_allclose(result[name][:3], result[name][0], rtol=1e-10)
        np.testing.assert_allclose(result[name][3:], 0, atol=1e-9 * result[name][0])


def test_smm19_operator_differs_by_the_analytic_factor(crystal):
    """phono3py's V is ours times (ω+ω')/(2 sqrt(ωω')), off the diagonal too."""
    from phono3py.phonon.velocity_matrix import VelocityMatrix

    theirs = VelocityMatrix(
        crystal.dynamical_matrix,
        rotations_cartesian=np.eye(3)[None],
        reciprocal_operations=np.eye(3, dtype="int64")[None],
        frequency_factor_to_THz=crystal.frequency_factor,
    )
    theirs.run([GENERIC_Q])
    frequencies, vectors, derivative = solve(crystal, GENERIC_Q)
    ours = velocity_operator(derivative, vectors, frequencies, crystal.frequency_factor)
    factor = 2 * np.sqrt(np.outer(frequencies, frequencies)) / np.add.outer(frequencies, frequencies)
    assert factor.min() < 0.98
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs.velocity_matrices[0]) * factor, rtol=1e-8, atol=1e-8)


def test_zero_and_negative_widths_are_left_out(crystal):
    qpoints, weights = irreducible_mesh(crystal, 3)
    pairs, frequencies, _ = crystal.collect_pairs(qpoints, weights)
    gamma = widths_of(frequencies)
    gamma[1, 0] = -1.0
    gamma[2, 0] = np.nan
    modes = average_modes(pairs, linewidths=gamma, heat_capacities=heat_capacities(pairs.frequencies, 300.0))
    assert (modes.linewidths >= 0).all()
    assert np.isfinite(population_conductivity(pairs, modes)).all()


def test_isotopes_enter_populations_and_coherences(crystal):
    qpoints, weights = irreducible_mesh(crystal, 3)
    _, frequencies, _ = crystal.collect_pairs(qpoints, weights)
    bare = Linewidths.from_arrays([300.0], qpoints, weights, widths_of(frequencies)[None], convention="hwhm-thz")
    dirty = replace(bare, gamma_isotope=np.full_like(frequencies, 0.05))
    clean, less = analyze(crystal, bare), analyze(crystal, dirty)
    assert less.kappa_p[0, 0] < clean.kappa_p[0, 0]
    assert less.kappa_c[0, 0] > clean.kappa_c[0, 0]
    again = analyze(crystal, dirty, settings=AnalysisSettings(isotopes=False))
    np.testing.assert_allclose(again.kappa_total, clean.kappa_total)
