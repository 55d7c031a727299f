"""What holds for every spectrum, stiffness and point group: limits, bounds, invariances, projections."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from ase import units
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from screen_cli.errors import PhysicsError
from screen_cli.physics.bonding import integrate_bonding
from screen_cli.physics.elasticity.elastic import (
    ElasticTensor,
    fit_elastic_tensor,
    stiffness_from_list,
    symmetrise_stiffness,
)
from screen_cli.physics.elasticity.gruneisen import ModeGruneisen
from screen_cli.physics.elasticity.internal_strain import invert_hessian
from screen_cli.physics.elasticity.strain import (
    from_mandel,
    invariant_strains,
    rotate_mandel,
    stiffness_from_voigt,
    stiffness_to_voigt,
    symmetrise,
    to_mandel,
    unit_strains,
)
from screen_cli.physics.elasticity.thermal_expansion import compute_expansion
from screen_cli.physics.harmonic.heat_capacity import heat_capacity, mode_heat_capacity
from screen_cli.physics.harmonic.mean_square_displacement import mean_square_displacements
from screen_cli.physics.harmonic.phase_space import assemble_phase_space
from screen_cli.physics.harmonic.sound_velocity import acoustic_slopes, average_sound_velocities, even_directions
from screen_cli.physics.harmonic.stability import count_imaginary, find_translations, is_stable
from screen_cli.testing.physics_strategies import Spectrum, point_groups, spectra, stiffnesses
from screen_cli.testing.strategies import rotations

PLANCK_EV_THZ = 4.135667696e-3
seeds = st.integers(0, 2**32 - 1)


def tensors(seed: int, *shape: int) -> NDArray[np.float64]:
    """Symmetric tensors (*shape, 3, 3)."""
    values = np.random.default_rng(seed).normal(size=(*shape, 3, 3))
    return values + np.swapaxes(values, -1, -2)


def capacity(spectrum: Spectrum, *temperatures: float) -> NDArray[np.float64]:
    counted = np.ones(spectrum.frequencies.shape, dtype=bool)
    return heat_capacity(spectrum.frequencies, spectrum.weights, counted, np.array(temperatures))


def msd(spectrum: Spectrum, *temperatures: float, scale: float = 1.0) -> NDArray[np.float64]:
    counted = np.ones(spectrum.frequencies.shape, dtype=bool)
    return mean_square_displacements(
        scale * spectrum.frequencies,
        spectrum.weights,
        spectrum.shares,
        counted,
        masses=spectrum.masses,
        temperatures=np.array(temperatures),
    )


# -- heat capacity ---------------------------------------------------------------------------------


@given(spectrum=spectra())
def test_heat_capacity_is_classical_when_hot_and_nothing_when_cold(spectrum):
    hot, cold, zero = capacity(spectrum, 1e6, 1e-3, 0.0)
    assert hot == pytest.approx(units.kB * spectrum.frequencies.shape[1], rel=1e-4)
    assert cold < 1e-12 * hot
    assert zero == 0


@given(spectrum=spectra(), temperature=st.floats(1.0, 3000.0), factor=st.floats(1.01, 3.0))
def test_heat_capacity_rises_with_temperature_and_stays_below_its_limit(spectrum, temperature, factor):
    below, above = capacity(spectrum, temperature, factor * temperature)
    assert 0 <= below <= above <= units.kB * spectrum.frequencies.shape[1] * (1 + 1e-12)


@given(spectrum=spectra(), temperature=st.floats(20.0, 2000.0))
def test_heat_capacity_is_the_slope_of_the_energy(spectrum, temperature):
    def energy(kelvin: float) -> float:
        quantum = PLANCK_EV_THZ * spectrum.frequencies
        of_mode = quantum / np.expm1(quantum / (units.kB * kelvin))
        return float(spectrum.weights @ of_mode.sum(axis=1)) / spectrum.weights.sum()

    step = 1e-3 * temperature
    slope = (energy(temperature + step) - energy(temperature - step)) / (2 * step)
    assert capacity(spectrum, temperature)[0] == pytest.approx(slope, rel=1e-4, abs=1e-12)


@given(frequency=st.floats(0, 1e-7), temperature=st.floats(0.1, 5000.0))
def test_a_mode_of_no_frequency_is_classical_without_noise(frequency, temperature):
    of_modes = mode_heat_capacity(np.array([[frequency, -frequency]]), np.array([temperature]))
    np.testing.assert_allclose(of_modes, units.kB, rtol=1e-9)


@given(spectrum=spectra(), seed=seeds, temperature=st.floats(1.0, 2000.0))
def test_sums_do_not_depend_on_the_order_of_points_or_on_how_a_star_is_split(spectrum, seed, temperature):
    """A point of weight w is the same as two of weights 1 and w − 1, in any order."""
    order = np.random.default_rng(seed).permutation(2 * len(spectrum.weights))
    weights = np.concatenate([np.ones_like(spectrum.weights), spectrum.weights - 1])[order]
    frequencies, shares = (np.concatenate([each, each])[order] for each in (spectrum.frequencies, spectrum.shares))
    split = Spectrum(frequencies, weights, shares, spectrum.masses)
    np.testing.assert_allclose(capacity(split, temperature), capacity(spectrum, temperature), rtol=1e-12)
    np.testing.assert_allclose(msd(split, temperature), msd(spectrum, temperature), rtol=1e-12)


# -- mean square displacement ----------------------------------------------------------------------


@given(spectrum=spectra())
def test_displacements_are_classical_when_hot(spectrum):
    """⟨u²⟩ = Σ k_B T |e|²/(m ω² N); compared where k_BT is a thousand quanta."""
    temperature = 1000 * PLANCK_EV_THZ * float(spectrum.frequencies.max()) / units.kB
    omega = 2 * np.pi * spectrum.frequencies * 1e12 / units.s
    inverse = np.einsum("q,qs,qsk->k", spectrum.weights, omega**-2, spectrum.shares) / spectrum.weights.sum()
    np.testing.assert_allclose(
        msd(spectrum, temperature)[0], units.kB * temperature * inverse / spectrum.masses, rtol=1e-5
    )


@given(spectrum=spectra(), temperature=st.floats(0.1, 2000.0), factor=st.floats(1.01, 3.0))
def test_displacements_are_positive_and_rise_from_the_zero_point_motion(spectrum, temperature, factor):
    zero, below, above = msd(spectrum, 0.0, temperature, factor * temperature)
    assert (zero > 0).all()
    assert (zero <= below * (1 + 1e-12)).all()
    assert (below <= above * (1 + 1e-12)).all()


@given(spectrum=spectra(), temperature=st.floats(0.0, 2000.0), scale=st.floats(0.1, 10.0))
def test_displacements_scale_as_one_over_frequency_at_a_temperature_that_follows(spectrum, temperature, scale):
    stiff = msd(spectrum, scale * temperature, scale=scale)
    np.testing.assert_allclose(scale * stiff, msd(spectrum, temperature), rtol=1e-9)


# -- stability -------------------------------------------------------------------------------------


@given(
    masses=st.lists(st.floats(1.0, 240.0), min_size=1, max_size=4),
    seed=seeds,
    noise=st.floats(-1e-4, 1e-4),
    soft=st.booleans(),
)
def test_translations_are_found_whatever_the_sign_of_their_frequency(masses, seed, noise, soft):
    """Also where an optical mode is softer than the noise: it is told apart by its eigenvector."""
    masses = np.array(masses)
    size = 3 * len(masses)
    rigid = np.kron(np.sqrt(masses / masses.sum())[:, None], np.eye(3))
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(np.concatenate([rigid, rng.normal(size=(size, size - 3))], axis=1))[0]
    values = np.concatenate([noise * rng.normal(size=3), rng.uniform(1.0, 9.0, size - 3)])
    if soft and size > 3:
        values[3] = 3e-6
    squares, vectors = np.linalg.eigh((basis * values) @ basis.T)
    marked = find_translations(np.zeros((1, 3)), vectors[None].astype(complex), masses)[0]
    assert marked.sum() == 3
    assume(np.abs(values[:3] - values[3:].min(initial=9.0)).min() > 1e-9)  # exact degeneracy mixes what it likes
    np.testing.assert_allclose(np.sort(squares[marked]), np.sort(values[:3]), atol=1e-12)


@given(qpoint=st.tuples(*[st.integers(-2, 2)] * 3), shift=st.floats(0.01, 0.49))
def test_translations_live_at_gamma_and_its_images_alone(qpoint, shift):
    vectors = np.eye(6, dtype=complex)[None]
    masses = np.array([1.0, 3.0])
    assert find_translations(np.array([qpoint], dtype=float), vectors, masses).sum() == 3
    assert not find_translations(np.add([qpoint], [[shift, 0.0, 0.0]]), vectors, masses).any()


@given(spectrum=spectra(), imaginary=st.floats(1e-3, 5.0), tolerance=st.floats(0.0, 5.0), seed=seeds)
def test_a_crystal_is_stable_as_far_as_it_is_tolerated(spectrum, imaginary, tolerance, seed):
    frequencies = spectrum.frequencies.copy()
    place = np.unravel_index(seed % frequencies.size, frequencies.shape)
    frequencies[place] = -imaginary
    translations = np.zeros(frequencies.shape, dtype=bool)
    stable = is_stable(frequencies, translations, gamma_tolerance_thz=0.0, tolerance_thz=tolerance)
    assert stable == (imaginary <= tolerance)
    found = count_imaginary(frequencies, spectrum.weights, tolerance_thz=tolerance)
    assert found == (0 if stable else spectrum.weights[place[0]])
    translations[place] = True
    assert is_stable(frequencies, translations, gamma_tolerance_thz=imaginary, tolerance_thz=0.0)


# -- sound -----------------------------------------------------------------------------------------


@given(seed=seeds, number=st.integers(3, 60), factor=st.floats(0.1, 10.0), density=st.floats(0.01, 0.2))
def test_sound_velocities_are_ordered_scale_and_forget_the_order_of_directions(seed, number, factor, density):
    rng = np.random.default_rng(seed)
    slopes = np.sort(rng.uniform(500.0, 9000.0, size=(number, 3)), axis=1)
    sound = average_sound_velocities(slopes, density)
    assert slopes.min() <= sound.debye <= slopes.max()
    assert sound.transverse <= sound.longitudinal
    assert sound.debye <= (2 * sound.transverse + sound.longitudinal) / 3 * (1 + 1e-12)  # Jensen
    scaled = average_sound_velocities(factor * rng.permutation(slopes), density)
    for name in ("debye", "transverse", "longitudinal", "debye_temperature"):
        assert getattr(scaled, name) == pytest.approx(factor * getattr(sound, name), rel=1e-9)
    slopes[rng.integers(number), 0] *= -1
    assert average_sound_velocities(slopes, density) is None


@given(number=st.integers(50, 400), rotation=rotations())
def test_even_directions_average_as_the_sphere_does(number, rotation):
    directions = even_directions(number) @ rotation.T
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(directions.T @ directions / number, np.eye(3) / 3, atol=1.5 / number)


@given(seed=seeds, rotation=rotations(), stretch=st.floats(0.7, 1.4))
def test_acoustic_slopes_are_christoffels(seed, rotation, stretch):
    """A lattice of one atom and central springs without tension: C_ijkl = Σ k l_i l_j l_k l_l/(2 V l²)."""
    cell = (np.diag([3.0, 3.0 * stretch, 3.2]) + np.random.default_rng(seed).uniform(-0.5, 0.5, (3, 3))) @ rotation.T
    shifts = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3), axis=-1).reshape(-1, 3)
    vectors = shifts[np.any(shifts != 0, axis=1)] @ cell
    lengths = np.linalg.norm(vectors, axis=1)
    springs = np.exp(-lengths)  # eV/Å²
    volume, mass = abs(np.linalg.det(cell)), 40.0
    outer = np.einsum("ni,nj->nij", vectors, vectors)
    stiffness = np.einsum("n,nij,nkl->ijkl", springs / lengths**2, outer, outer) / (2 * volume)
    directions = even_directions(7)
    wave_number = 1e-4
    phases = 2 * np.pi * wave_number * directions @ vectors.T
    frequencies, expected = [], []
    for phase, direction in zip(phases, directions, strict=True):
        dynamical = np.einsum("n,nij->ij", 2 * np.sin(phase / 2) ** 2 * springs / lengths**2, outer) / mass
        frequencies.append(np.sqrt(np.linalg.eigvalsh(dynamical)) * units.s / (2 * np.pi * 1e12))
        christoffel = np.einsum("ijkl,j,l->ik", stiffness, direction, direction)
        expected.append(np.sqrt(np.linalg.eigvalsh(christoffel) * volume / mass) * units.s / units.m)
    np.testing.assert_allclose(acoustic_slopes(np.array(frequencies), wave_number), expected, rtol=1e-4)


# -- phase space -----------------------------------------------------------------------------------


@given(spectrum=spectra(), seed=seeds, factor=st.floats(0.1, 10.0))
def test_phase_space_is_positive_linear_and_forgets_the_order_of_points(spectrum, seed, factor):
    rng = np.random.default_rng(seed)
    absorption, emission = rng.uniform(0, 9, size=(2, *spectrum.frequencies.shape))
    found = assemble_phase_space(absorption, emission, spectrum.weights)
    assert found.total > 0
    assert found.total == pytest.approx(2 / 3 * (found.absorption + found.emission / 2), rel=1e-12)
    assert found.weights @ found.by_mode.sum(axis=1) / found.weights.sum() == pytest.approx(found.total, rel=1e-12)
    order = rng.permutation(len(spectrum.weights))
    other = assemble_phase_space(factor * absorption[order], factor * emission[order], spectrum.weights[order])
    assert other.total == pytest.approx(factor * found.total, rel=1e-9)


# -- strains and stiffness -------------------------------------------------------------------------


@given(seed=seeds)
def test_mandel_and_voigt_go_there_and_back(seed):
    symmetric = tensors(seed, 4)
    np.testing.assert_allclose(from_mandel(to_mandel(symmetric)), symmetric, atol=1e-14)
    contracted = np.einsum("nij,nij->n", symmetric, symmetric)
    np.testing.assert_allclose((to_mandel(symmetric) ** 2).sum(axis=1), contracted, rtol=1e-12)
    matrix = np.random.default_rng(seed).normal(size=(6, 6))
    np.testing.assert_allclose(stiffness_from_voigt(stiffness_to_voigt(matrix)), matrix, rtol=1e-13)


@given(first=rotations(), second=rotations(), seed=seeds)
def test_rotations_of_mandel_vectors_are_orthogonal_and_compose(first, second, seed):
    one, two, both = rotate_mandel(np.array([first, second, first @ second]))
    np.testing.assert_allclose(one @ one.T, np.eye(6), atol=1e-12)
    np.testing.assert_allclose(one @ two, both, atol=1e-12)
    tensor = tensors(seed)
    np.testing.assert_allclose(from_mandel(one @ to_mandel(tensor)), first @ tensor @ first.T, atol=1e-12)


@given(group=point_groups(), seed=seeds)
def test_symmetrising_is_a_projection_onto_what_the_group_leaves_alone(group, seed):
    tensor = symmetrise(tensors(seed), group)
    for turn in group:
        np.testing.assert_allclose(turn @ tensor @ turn.T, tensor, atol=1e-10)
    np.testing.assert_allclose(symmetrise(tensor, group), tensor, atol=1e-10)


@given(group=point_groups(), stiffness=stiffnesses())
def test_a_symmetrised_stiffness_is_invariant_positive_and_stays(group, stiffness):
    turns = rotate_mandel(group)
    mean = symmetrise_stiffness(stiffness, turns)
    for turn in turns:
        np.testing.assert_allclose(turn @ mean @ turn.T, mean, atol=1e-10)
    np.testing.assert_allclose(symmetrise_stiffness(mean, turns), mean, atol=1e-10)
    assert np.linalg.eigvalsh(mean).min() >= np.linalg.eigvalsh(stiffness).min() - 1e-12


@given(group=point_groups(), rotation=rotations())
def test_invariant_strains_are_orthonormal_invariant_and_as_many_as_the_system_allows(group, rotation):
    strains = invariant_strains(group)
    np.testing.assert_allclose(np.einsum("nij,mij->nm", strains, strains), np.eye(len(strains)), atol=1e-10)
    for turn in group:
        np.testing.assert_allclose(turn @ strains @ turn.T, strains, atol=1e-8)
    order_of_axes = max(round(float(np.trace(turn) * np.sign(np.linalg.det(turn)))) for turn in group)
    assert order_of_axes == 3  # the identity
    rank = np.linalg.matrix_rank(rotate_mandel(group).mean(axis=0), tol=1e-8)
    assert len(strains) == rank
    assert rank in (1, 2, 3, 4, 6)
    turned = np.einsum("ij,njk,lk->nil", rotation, group, rotation)
    assert len(invariant_strains(turned)) == rank


@given(stiffness=stiffnesses(), group=point_groups(), seed=seeds, n_steps=st.integers(1, 3))
def test_the_fit_returns_the_stiffness_that_made_the_stresses(stiffness, group, seed, n_steps):
    """σ = σ⁰ + C ε + a term of second order, which a parabola takes out and both signs cancel."""
    exact = symmetrise_stiffness(stiffness, rotate_mandel(group))
    residual = 0.01 * tensors(seed)
    curvature = tensors(seed + 1, 6)
    steps = np.array([sign * 0.002 * (1 + number) for number in range(n_steps) for sign in (-1, 1)])
    linear = np.array([from_mandel(exact @ to_mandel(strain)) for strain in unit_strains()])
    stresses = residual + steps[:, None, None] * linear[:, None] + (steps**2)[:, None, None] * curvature[:, None]
    found = fit_elastic_tensor(steps, 2 * stresses, stresses, residual_stress=residual, rotations=group)
    np.testing.assert_allclose(found.stiffness, exact, atol=1e-8)
    np.testing.assert_allclose(found.clamped, 2 * exact, atol=1e-8)
    assert found.asymmetry < 1e-7


@given(stiffness=stiffnesses(), rotation=rotations())
def test_moduli_are_bounded_and_do_not_turn_with_the_crystal(stiffness, rotation):
    turn = rotate_mandel(rotation[None])[0]
    zero = np.zeros((3, 3))
    moduli = ElasticTensor(stiffness, stiffness, zero).averages()
    turned = ElasticTensor(turn @ stiffness @ turn.T, stiffness, zero).averages()
    assert asdict(turned) == pytest.approx(asdict(moduli), rel=1e-8, abs=1e-9)
    assert 0 < moduli.bulk_modulus_gpa <= moduli.bulk_modulus_voigt_gpa * (1 + 1e-12)
    assert moduli.elastic_anisotropy >= -1e-9
    assert -1 < moduli.poisson_ratio < 0.5
    assert moduli.pugh_ratio > 0


@given(stiffness=stiffnesses(), shift=st.floats(0.01, 1.0))
def test_compliance_inverts_and_an_unstable_crystal_has_none(stiffness, shift):
    tensor = ElasticTensor(stiffness, stiffness, np.zeros((3, 3)))
    np.testing.assert_allclose(tensor.compliance() @ stiffness, np.eye(6), atol=1e-8)
    again = stiffness_from_list(tensor.voigt_gpa().tolist())
    np.testing.assert_allclose(again.stiffness, stiffness, rtol=1e-9, atol=1e-12)
    unstable = stiffness - (tensor.smallest_eigenvalue + shift) * np.eye(6)
    with pytest.raises(PhysicsError, match="mechanically unstable"):
        ElasticTensor(unstable, unstable, np.zeros((3, 3))).compliance()


@given(n_atoms=st.integers(2, 4), seed=seeds, saddle=st.booleans())
def test_the_inverse_of_a_hessian_leaves_out_translations_and_refuses_a_saddle(n_atoms, seed, saddle):
    rng = np.random.default_rng(seed)
    size = 3 * n_atoms
    rigid = np.kron(np.ones((n_atoms, 1)), np.eye(3)) / np.sqrt(n_atoms)
    basis = np.linalg.qr(np.concatenate([rigid, rng.normal(size=(size, size - 3))], axis=1))[0]
    values = np.concatenate([np.zeros(3), rng.uniform(1.0, 9.0, size - 3)])
    if saddle:
        values[-1] = -1.0
    hessian = (basis * values) @ basis.T
    if saddle:
        with pytest.raises(PhysicsError, match="saddle"):
            invert_hessian(hessian)
        return
    inverse = invert_hessian(hessian)
    np.testing.assert_allclose(inverse @ hessian @ inverse, inverse, atol=1e-10)
    np.testing.assert_allclose(hessian @ inverse, np.eye(size) - rigid @ rigid.T, atol=1e-10)


# -- thermal expansion -----------------------------------------------------------------------------


@given(spectrum=spectra(), stiffness=stiffnesses(), group=point_groups(), rotation=rotations(), seed=seeds)
@settings(deadline=None)
def test_expansion_has_the_symmetry_of_the_crystal_and_turns_with_it(spectrum, stiffness, group, rotation, seed):
    stiffness = symmetrise_stiffness(stiffness, rotate_mandel(group))
    gruneisen = tensors(seed, *spectrum.frequencies.shape)

    def expand(turn: NDArray[np.float64]) -> NDArray[np.float64]:
        mandel = rotate_mandel(turn[None])[0]
        modes = ModeGruneisen(
            np.zeros((len(spectrum.weights), 3)),
            spectrum.weights,
            spectrum.frequencies,
            turn @ gruneisen @ turn.T,
            np.zeros(spectrum.frequencies.shape, dtype=bool),
        )
        compliance = mandel @ np.linalg.inv(stiffness) @ mandel.T
        return compute_expansion(modes, compliance, 40.0, turn @ group @ turn.T, [300.0]).alpha[0]

    alpha = expand(np.eye(3))
    scale = np.abs(alpha).max()
    for turn in group:
        np.testing.assert_allclose(turn @ alpha @ turn.T, alpha, atol=1e-9 * scale)
    np.testing.assert_allclose(expand(rotation), rotation @ alpha @ rotation.T, atol=1e-8 * scale)


@given(spectrum=spectra(), gamma=st.floats(-3.0, 3.0), bulk=st.floats(0.05, 2.0), temperature=st.floats(50.0, 900.0))
def test_expansion_of_a_cubic_crystal_is_gruneisens(spectrum, gamma, bulk, temperature):
    """α = γ C_V/(3 B V) where every mode has γ δ_ij."""
    assume(abs(gamma) > 1e-3)
    tensor = np.broadcast_to(gamma * np.eye(3), (*spectrum.frequencies.shape, 3, 3))
    still = np.zeros(spectrum.frequencies.shape, dtype=bool)
    modes = ModeGruneisen(np.zeros((len(spectrum.weights), 3)), spectrum.weights, spectrum.frequencies, tensor, still)
    found = compute_expansion(modes, np.eye(6) / (3 * bulk), 50.0, np.eye(3)[None], [temperature])
    expected = gamma * capacity(spectrum, temperature)[0] / (3 * bulk * 50.0)
    np.testing.assert_allclose(found.alpha[0], expected * np.eye(3), atol=1e-12 * abs(expected), rtol=1e-9)
    assert found.gamma_mean[0] == pytest.approx(gamma, rel=1e-9)


# -- bonding ---------------------------------------------------------------------------------------


@given(values=st.lists(st.floats(-9, 9), min_size=3, max_size=20), cut=st.integers(1, 18), scale=st.floats(0.1, 10))
def test_bonding_and_antibonding_are_positive_change_places_and_scale(values, cut, scale):
    energies = np.linspace(-3.0, 1.0, len(values))
    curve = np.array(values)
    bonding, antibonding = integrate_bonding(energies, curve)
    assert min(bonding, antibonding) >= 0
    assert integrate_bonding(energies, -scale * curve) == pytest.approx(
        (scale * antibonding, scale * bonding), rel=1e-9, abs=1e-9
    )
