"""Force constants at a temperature, against Gaussian averages done by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from phonopy import Phonopy
from phonopy.phonon.random_displacements import RandomDisplacements
from warm_crystals import Bonds, Pair, WarmSalt, cscl_pair, evaluator, phonopy_atoms, simple_cubic, warm_salt

from screen_cli.errors import CalculatorError, PhysicsError, StructureError, UnderdeterminedFitError
from screen_cli.physics.anharmonic.anharmonicity import anharmonicity, anharmonicity_error
from screen_cli.physics.anharmonic.curvature import free_energy_curvature, pair_propagator
from screen_cli.physics.anharmonic.density_matrix import (
    THZ,
    NormalModes,
    dynamical_matrix,
    mode_variances,
    normal_modes,
    thermal_ensemble,
)
from screen_cli.physics.anharmonic.double_well import DISPLACED_IS_LOWER, barrier
from screen_cli.physics.anharmonic.loop_shift import add_loop
from screen_cli.physics.anharmonic.positive import bounded_step, stiffened
from screen_cli.physics.anharmonic.reweighting import balance_weights, effective_sample_size, overlap
from screen_cli.solvers.self_consistent.linear_fit import OrderBasis, fit_even_part
from screen_cli.solvers.self_consistent.samples import Pool, SampledForces
from screen_cli.solvers.self_consistent.search import Search, SearchOptions
from screen_cli.solvers.self_consistent.third_order import fit_third_order
from screen_cli.testing.physics_strategies import spring_force_constants

seeds = st.integers(0, 2**32 - 1)


def springs(symbol="Cu", length=3.6, dim=2):
    """Supercell, and force constants of a stable crystal in it."""
    atoms = bulk(symbol, "fcc", a=length) * dim
    return atoms, spring_force_constants(atoms, 0.95 * length)


def translations_of(atoms):
    """Permutations of the atoms under all translations of a simple cubic or primitive-cell supercell."""
    scaled = atoms.get_scaled_positions()
    moved = scaled[None, :, :] + (scaled - scaled[0])[:, None, :]
    distance = moved[:, :, None, :] - scaled
    return np.abs(distance - np.rint(distance)).max(axis=-1).argmin(axis=2)


def searched(atoms, calculator, start, *, seed=0, translations=None, **options):
    translations = np.array([np.arange(len(atoms))]) if translations is None else translations
    basis = OrderBasis.of(phonopy_atoms(atoms), translations, 2)
    defaults = {"n_pairs": 50, "max_supercells": 60_000, "error_thz": 0.04}
    search = Search(
        basis,
        atoms.get_masses(),
        evaluator(calculator),
        SearchOptions(**defaults | options),
        np.random.default_rng(seed),
    )
    return search.run(start)


def start_of_pair(stiffness):
    return stiffness * np.einsum("ij,ab->ijab", np.array([[1, -1], [-1, 1]]), np.eye(3))


# -- the ensemble ----------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(temperature=st.floats(1.0, 2000.0))
def test_covariance_is_that_of_phonopy(temperature):
    atoms, fc2 = springs()
    phonopy = Phonopy(phonopy_atoms(bulk("Cu", "fcc", a=3.6)), supercell_matrix=2 * np.eye(3), log_level=0)
    order = [
        int(np.linalg.norm((atoms.get_scaled_positions() - place + 0.5) % 1 - 0.5, axis=1).argmin())
        for place in phonopy.supercell.scaled_positions
    ]
    fc2 = fc2[np.ix_(order, order)]
    theirs = RandomDisplacements(phonopy.supercell, phonopy.primitive, fc2, cutoff_frequency=0.0)
    theirs.run_correlation_matrix(temperature)
    ours = thermal_ensemble(normal_modes(fc2, phonopy.supercell.masses), temperature).covariance()
    assert ours == pytest.approx(theirs.uu.reshape(ours.shape), rel=1e-6, abs=1e-9 * np.abs(ours).max())


@settings(max_examples=30, deadline=None)
@given(frequency=st.floats(0.01, 60.0), temperature=st.floats(0.0, 5000.0))
def test_widths_lie_between_their_limits(frequency, temperature):
    omega = np.array([frequency / THZ])
    quantum = mode_variances(omega, temperature)[0]
    zero_point = mode_variances(omega, 0.0)[0]
    classical = mode_variances(omega, temperature, classical=True)[0]
    assert max(zero_point, classical) * (1 - 1e-12) <= quantum <= zero_point + classical
    if classical > 100 * zero_point:
        assert quantum == pytest.approx(classical, rel=1e-4)
    if classical < 1e-2 * zero_point:
        assert quantum == pytest.approx(zero_point, rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, temperature=st.floats(1.0, 1000.0))
def test_samples_have_the_covariance_and_the_density(seed, temperature):
    atoms, fc2 = springs(dim=(2, 1, 1))
    ensemble = thermal_ensemble(normal_modes(fc2, atoms.get_masses()), temperature)
    samples = ensemble.draw(4000, np.random.default_rng(seed))
    centre = np.einsum("sia,i->sa", samples, atoms.get_masses())
    assert np.abs(centre).max() < 1e-9
    found = (samples**2).sum(axis=2).mean(axis=0)
    assert np.sqrt(found) == pytest.approx(ensemble.root_mean_squares(), rel=0.06)
    n_modes = len(ensemble.variances)
    normalised = ensemble.log_density(samples) + 0.5 * np.log(ensemble.variances).sum()
    assert -2 * normalised.mean() == pytest.approx(n_modes, rel=0.12)


@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_a_sample_does_not_depend_on_the_vectors_within_degenerate_modes(seed):
    atoms, fc2 = springs(dim=(2, 1, 1))
    modes = normal_modes(fc2, atoms.get_masses())
    levels = np.flatnonzero(np.diff(modes.eigenvalues, prepend=-np.inf) > 1e-9 * modes.eigenvalues[-1])
    chance, vectors = np.random.default_rng(seed), modes.vectors.copy()
    for level in np.split(np.arange(len(modes.eigenvalues)), levels[1:]):
        vectors[:, level] @= np.linalg.qr(chance.standard_normal((len(level), len(level))))[0]
    assert np.abs(vectors - modes.vectors).max() > 0.1
    samples = [
        thermal_ensemble(NormalModes(basis, modes.eigenvalues, modes.masses), 300.0).draw(
            5, np.random.default_rng(seed)
        )
        for basis in (modes.vectors, vectors)
    ]
    assert samples[1] == pytest.approx(samples[0], abs=1e-9)


def test_modes_refuse_what_is_no_crystal():
    atoms, fc2 = springs(dim=(2, 1, 1))
    masses = atoms.get_masses()
    with pytest.raises(PhysicsError, match="finite"):
        normal_modes(np.full_like(fc2, np.nan), masses)
    with pytest.raises(PhysicsError, match="shape"):
        normal_modes(fc2[:1], masses)
    with pytest.raises(PhysicsError, match="no normal modes"):
        normal_modes(np.zeros((1, 1, 3, 3)), masses[:1])
    modes = normal_modes(fc2, masses)
    for temperature in (-1.0, np.nan):
        with pytest.raises(PhysicsError, match="temperature"):
            thermal_ensemble(modes, temperature)
    with pytest.raises(PhysicsError, match="floor"):
        thermal_ensemble(normal_modes(np.zeros_like(fc2), masses), 300.0)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, scale=st.floats(0.8, 1.5))
def test_weights_turn_one_ensemble_into_another(seed, scale):
    atoms, fc2 = springs(dim=(2, 1, 1))
    modes, other = (normal_modes(factor * fc2, atoms.get_masses()) for factor in (1.0, scale))
    source, target = (thermal_ensemble(item, 300.0, classical=True) for item in (modes, other))
    samples = source.draw(20_000, np.random.default_rng(seed))
    weights = balance_weights(target.log_density(samples), source.log_density(samples)[None], [len(samples)])
    assert weights.sum() == pytest.approx(1.0)
    share = effective_sample_size(weights) / len(samples)
    assert share == pytest.approx(overlap(target, source), abs=0.05)
    squares = weights @ (samples**2).sum(axis=2)
    assert np.sqrt(squares) == pytest.approx(target.root_mean_squares(), rel=0.05)


def test_overlap_is_nothing_where_the_weights_have_no_variance():
    atoms, fc2 = springs(dim=(2, 1, 1))
    narrow, wide = (
        thermal_ensemble(normal_modes(factor * fc2, atoms.get_masses()), 300.0, classical=True) for factor in (1, 0.4)
    )
    assert overlap(wide, narrow) == 0
    assert overlap(narrow, narrow) == pytest.approx(1.0)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, share=st.floats(0.05, 0.5))
def test_an_ensemble_is_cut_where_the_crystal_would_melt(seed, share):
    atoms, fc2 = springs(dim=(2, 1, 1))
    ensemble = thermal_ensemble(normal_modes(fc2, atoms.get_masses()), 900.0)
    limit = share * ensemble.root_mean_squares().max()
    cut = ensemble.limited(limit)
    assert cut.root_mean_squares().max() == pytest.approx(limit, rel=1e-6)
    assert (cut.variances <= ensemble.variances).all()
    assert ensemble.limited(np.inf) is ensemble


# -- σ^A, the loop, the curvature ------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(seed=seeds, share=st.floats(0.0, 1.0))
def test_anharmonicity_is_the_share_that_is_not_harmonic(seed, share):
    rng = np.random.default_rng(seed)
    harmonic = rng.normal(size=(40, 8, 3))
    other = share * rng.normal(size=harmonic.shape)
    found = anharmonicity(harmonic + other, harmonic)
    assert found == pytest.approx(share / np.sqrt(1 + share**2), rel=0.15, abs=1e-12)
    assert anharmonicity_error(harmonic + other, harmonic) < 0.05
    with pytest.raises(PhysicsError, match="vanish"):
        anharmonicity(np.zeros((2, 2, 3)), np.zeros((2, 2, 3)))


@pytest.mark.parametrize("temperature", [0.0, 300.0])
def test_the_loop_of_a_quartic_oscillator(temperature):
    pair = Pair(2.0, 0.5)
    atoms, _ = cscl_pair(pair)
    fc4 = np.zeros((2, 2, 2, 2, 3, 3, 3, 3))
    signs = np.array([1, -1])
    for axis in range(3):
        fc4[..., axis, axis, axis, axis] = 6 * pair.b * np.einsum("i,j,k,l->ijkl", signs, signs, signs, signs)
    start = start_of_pair(pair.a)
    masses = atoms.get_masses()
    reduced = masses.prod() / masses.sum()
    found = start
    for _ in range(60):
        covariance = thermal_ensemble(normal_modes(found, masses), temperature).covariance()
        found = add_loop(start, fc4, covariance)
    stiffness, width = pair.stiffness(temperature, reduced)
    assert found[0, 0, 0, 0] == pytest.approx(stiffness, rel=1e-9)
    assert covariance[0, 0, 0, 0] + covariance[1, 1, 0, 0] - 2 * covariance[0, 1, 0, 0] == pytest.approx(width**2)


def test_the_propagator_has_its_classical_limit_and_no_pole():
    frequencies = np.array([1.0, 1.0 + 1e-9, 3.0]) / THZ
    hot = pair_propagator(frequencies, 3000.0)
    from ase import units

    classical = units.kB * 3000.0 / (frequencies[:, None] ** 2 * frequencies**2)
    assert hot == pytest.approx(classical, rel=1e-3)
    cold = pair_propagator(frequencies, 0.0)
    assert np.isfinite(cold).all()
    assert (cold > 0).all()
    assert pair_propagator(frequencies, 1.0) == pytest.approx(cold, rel=1e-6)


def test_curvature_of_a_cubic_oscillator_is_that_of_its_free_energy():
    """V = a d²/2 + c d_x d_y d_z: ∂²F/∂⟨d_z⟩² = a − c² kT/a² to lowest order, classically."""
    from ase import units

    _atoms, _ = cscl_pair(Pair(4.0, 0.0, 1.5))
    masses = np.array([40.0, 40.0])
    ensemble = thermal_ensemble(normal_modes(start_of_pair(4.0), masses), 3000.0, classical=True)
    along = ensemble.modes.vectors[:, 0].reshape(2, 3) / np.sqrt(masses)[:, None]
    direction = along[0] - along[1]
    signs = np.array([1, -1])
    permutation = np.abs([[[(i - j) * (j - k) * (k - i) / 2 for k in range(3)] for j in range(3)] for i in range(3)])
    third = np.einsum("i,j,abc,c->iajb", signs, signs, 1.5 * permutation, direction).reshape(6, 6)
    reduced = 20.0
    bend = 1.5**2 * units.kB * 3000.0 / 4.0**2
    assert free_energy_curvature(ensemble, 0, third, 3000.0) == pytest.approx((4.0 - bend) / reduced, rel=1e-3)


def test_the_barrier_from_which_a_displaced_centre_is_lower():
    """V/E = y⁴ − 2y²: least Gaussian free energy at a centre R with variance s, E the barrier, kT = E/Δ."""
    centres, variances = np.linspace(0, 1.2, 481)[:, None], np.geomspace(1e-3, 1.0, 2000)

    def displaced_is_lower(delta):
        energy = -2 * (centres**2 + variances) + centres**4 + 6 * centres**2 * variances + 3 * variances**2
        lowest = (energy - np.log(variances) / (2 * delta)).min(axis=1)
        return bool(lowest.argmin() > 0)

    assert not displaced_is_lower(0.995 * DISPLACED_IS_LOWER)
    assert displaced_is_lower(1.005 * DISPLACED_IS_LOWER)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, linear=st.floats(-4.0, 4.0), cubic=st.floats(0.5, 5.0))
def test_the_barrier_of_a_well(seed, linear, cubic):
    rng = np.random.default_rng(seed)
    coordinates, weights = rng.normal(size=4000), np.full(4000, 1 / 4000)
    pulls = -(linear * coordinates + cubic * coordinates**3) + 0.3 * coordinates * rng.normal(size=4000)
    found = barrier(coordinates, pulls, weights, 2.0)
    assert np.sqrt(found) == pytest.approx(max(-linear, 0.0) / np.sqrt(8 * cubic), abs=0.12)
    unbounded = barrier(coordinates, coordinates + 1e-3 * coordinates**3, weights, 2.0)
    assert unbounded == pytest.approx(1 / (4 * 1.0 * 2.0), rel=0.05)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, most=st.floats(1.1, 5.0))
def test_a_step_keeps_force_constants_positive_and_symmetric(seed, most):
    atoms, fc2 = springs(dim=2)
    masses, translations = atoms.get_masses(), translations_of(atoms)
    basis = OrderBasis.of(phonopy_atoms(atoms), translations, 2)
    assert basis.expand(basis.parameters_of(fc2), np.arange(len(atoms))) == pytest.approx(fc2, abs=1e-9)
    rng = np.random.default_rng(seed)
    drawn = basis.parameters_of(fc2) * rng.normal(size=basis.n_parameters)
    wanted = basis.expand(drawn, np.arange(len(atoms)))
    modes = normal_modes(fc2, masses)
    step = bounded_step(modes, wanted, most)
    assert normal_modes(step, masses).eigenvalues[0] > 0
    assert basis.expand(basis.parameters_of(step), np.arange(len(atoms))) == pytest.approx(step, abs=1e-8)
    softened = np.einsum("im,ij,jn->mn", modes.vectors, dynamical_matrix(step, masses), modes.vectors)
    roots = np.sqrt(modes.eigenvalues)
    assert np.linalg.eigvalsh(softened / np.outer(roots, roots))[0] > 0.999 / most
    assert bounded_step(modes, 0.99 * fc2, most) == pytest.approx(0.99 * fc2, abs=1e-12)
    positive = stiffened(normal_modes(wanted, masses), 1e-3)
    assert normal_modes(positive, masses).eigenvalues[0] > 0
    assert stiffened(modes, 1e-3) == pytest.approx(fc2, abs=1e-9)
    floor = 0.3 * float(modes.frequencies_thz[-1])
    assert normal_modes(stiffened(modes, floor, 2.0), masses).frequencies_thz[0] >= 0.999 * 2 * floor


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("cutoff", [None, 3.0])
@settings(max_examples=5, deadline=None)
@given(seed=seeds)
def test_the_design_matrix_gives_the_forces_of_the_expanded_tensor(seed, order, cutoff):
    atoms = bulk("NaCl", "rocksalt", a=5.6) * 2
    sublattice = translations_of(bulk("Na", "fcc", a=5.6) * 2)  # atoms of both alternate
    translations = np.stack([2 * sublattice, 2 * sublattice + 1], axis=2).reshape(8, 16)
    basis = OrderBasis.of(phonopy_atoms(atoms), translations, order, cutoff)
    rng = np.random.default_rng(seed)
    displacements, parameters = rng.normal(size=(3, len(atoms), 3)), rng.normal(size=basis.n_parameters)
    rows = np.asarray(basis.basis.p2s_map)
    tensor = basis.expand(parameters, rows)
    if order == 2:
        expected = -np.einsum("ijab,sjb->sia", tensor, displacements)
    else:
        expected = -0.5 * np.einsum("ijkabc,sjb,skc->sia", tensor, displacements, displacements)
    design = basis.design(displacements)
    found = (design @ parameters).reshape(3, -1, 3)
    assert found[:, rows] == pytest.approx(expected, abs=1e-12 * np.abs(expected).max())
    forces = rng.normal(size=(3, 3 * len(atoms)))
    residuals, pulls = basis.linear.pulls(displacements, forces, parameters)
    assert residuals == pytest.approx(forces - design @ parameters, abs=1e-11)
    assert pulls == pytest.approx(np.einsum("scp,sc->sp", design, residuals), abs=1e-10 * np.abs(pulls).max())


# -- the search ------------------------------------------------------------------------------------


def test_a_harmonic_crystal_returns_its_own_force_constants():
    atoms, fc2 = springs(dim=2)

    def evaluate(displacements):
        return SampledForces(-np.einsum("ijab,sjb->sia", fc2, displacements))

    basis = OrderBasis.of(phonopy_atoms(atoms), translations_of(atoms), 2)
    options = SearchOptions(temperature=300.0, n_pairs=8)
    found = Search(basis, atoms.get_masses(), evaluate, options, np.random.default_rng(0)).run(fc2)
    assert found.state == "converged"
    assert len(found.steps) == 1
    assert found.fc2 == pytest.approx(fc2, abs=1e-9)
    other = Search(basis, atoms.get_masses(), evaluate, options, np.random.default_rng(1)).run(0.5 * fc2)
    assert other.state == "converged"
    assert len(other.steps) <= 3
    assert other.fc2 == pytest.approx(fc2, abs=1e-9)


def barrier_of(pair, result, square):
    """Highest barrier along one of the three modes, the other two averaged."""
    values = []
    for vector in result.modes.vectors.T:
        along = vector[:3] / np.linalg.norm(vector[:3])
        alpha = pair.a + 3 * pair.b * square * (along**2 * (1 - along**2)).sum()
        beta = pair.b * (along**4).sum()
        values.append(max(-alpha, 0.0) ** 2 / (4 * beta))
    return max(values) / float((result.modes.eigenvalues * result.ensemble.variances)[0])


@pytest.mark.parametrize(
    ("stiffness", "temperature"),
    [(-3.0, 300), (-3.0, 2000), (-0.5, 0), (-0.5, 300), (-0.5, 2000), (2.0, 0), (2.0, 300), (2.0, 2000)],
)
def test_a_quartic_oscillator_has_the_stiffness_of_the_quadrature(stiffness, temperature):
    pair = Pair(stiffness, 8.0)
    atoms, calculator = cscl_pair(pair)
    masses = atoms.get_masses()
    reduced = masses.prod() / masses.sum()
    expected, width = pair.stiffness(temperature, reduced)
    options = {"temperature": temperature, "error_thz": 0.04 if stiffness > -1 else 0.25}
    found = [searched(atoms, calculator, start_of_pair(stiffness), seed=seed, **options) for seed in (0, 1)]
    for result in found:
        assert result.state == "converged"
        frequency = np.sqrt(expected / reduced) * THZ
        assert result.modes.frequencies_thz == pytest.approx([frequency] * 3, abs=3 * result.errors_thz.max())
        covariance = result.ensemble.covariance()
        squares = covariance[0, 0] + covariance[1, 1] - covariance[0, 1] - covariance[1, 0]
        assert np.sqrt(squares[0, 0]) == pytest.approx(width, rel=0.05)
        if temperature:
            assert result.barrier == pytest.approx(barrier_of(pair, result, squares[0, 0]), rel=0.25, abs=0.02)
    difference = found[0].modes.frequencies_thz - found[1].modes.frequencies_thz
    both = np.hypot(found[0].errors_thz, found[1].errors_thz)
    assert (np.abs(difference) < 3 * both).all()
    assert (difference != 0).all()


def test_a_cubic_chain_has_the_stiffness_and_third_order_of_the_average():
    bonds = Bonds((3, 2, 2), 3.0, c=-6.0, g=200.0)
    atoms, calculator = simple_cubic(bonds)
    mass = float(atoms.get_masses()[0])
    n_atoms = len(atoms)
    harmonic = Bonds(bonds.shape, bonds.k)
    start = np.zeros((n_atoms, n_atoms, 3, 3))
    for atom in range(n_atoms):
        for axis in range(3):
            step = np.zeros((n_atoms, 3))
            step[atom, axis] = 1.0
            start[:, atom, :, axis] = -harmonic(step)[1]
    translations = translations_of(atoms)
    found = searched(atoms, calculator, start, temperature=300.0, translations=translations, n_pairs=40, error_thz=0.02)
    assert found.state == "converged"
    expected = bonds.stiffness(300.0, mass)
    assert expected[0] > 1.1 * bonds.k  # the test sees the quartic part
    shifted = start.copy()
    for axis in range(3):  # soft and stiff bonds differ in the stiffness along them alone
        one = np.zeros((n_atoms, 3))
        one[0, axis] = 1.0
        stretched = Bonds(bonds.shape, 0.0, across=0.0)
        for atom in range(n_atoms):
            step = np.zeros((n_atoms, 3))
            step[atom, axis] = 1.0
            along = Bonds(bonds.shape, expected[axis] - bonds.k, across=0.0)
            shifted[:, atom, axis, axis] -= along(step)[1][:, axis]
        assert stretched(one)[0] == 0
    reference = normal_modes(shifted, atoms.get_masses()).frequencies_thz
    assert found.modes.frequencies_thz == pytest.approx(reference, abs=4 * found.errors_thz.max())
    third = OrderBasis.of(phonopy_atoms(atoms), translations, 3)
    pool = found.pool
    even = fit_even_part(third, pool.displacements, pool.even, found.weights)
    fc3 = third.expand(even.parameters, np.arange(n_atoms))
    right = int(np.flatnonzero(np.abs(atoms.positions - [3.3, 0, 0]).max(axis=1) < 1e-6)[0])
    assert fc3[0, 0, right, 0, 0, 0] == pytest.approx(bonds.c, abs=4 * even.relative_error * np.abs(bonds.c))
    assert even.relative_error < 0.1


def test_third_order_of_an_oscillator_without_inversion():
    pair = Pair(3.0, 2.0, c=4.0, e=30.0)
    atoms, calculator = cscl_pair(pair)
    found = searched(atoms, calculator, start_of_pair(pair.a), temperature=300.0, n_pairs=200)
    third = OrderBasis.of(phonopy_atoms(atoms), np.array([[0, 1]]), 3)
    even = fit_even_part(third, found.pool.displacements, found.pool.even, found.weights)
    fc3 = third.expand(even.parameters, np.arange(2))
    covariance = found.ensemble.covariance()
    square = (covariance[0, 0] + covariance[1, 1] - covariance[0, 1] - covariance[1, 0])[0, 0]
    expected = pair.c + pair.e * 9 * square  # ⟨∂³/∂x∂y∂z (xyz |d|²)⟩ = 3 ⟨|d|²⟩
    assert expected > 1.2 * pair.c
    assert fc3[0, 0, 0, 0, 1, 2] == pytest.approx(expected, abs=4 * even.relative_error * expected)


def test_every_force_evaluation_counts_towards_the_limit():
    """A start far from the result gives samples that say nothing of it; third order takes what the limit leaves."""
    atoms, calculator = cscl_pair(Pair(3.0, 2.0, c=4.0, e=30.0))
    plain, counts = evaluator(calculator), []

    def counted(displacements):
        counts.append(len(displacements))
        return plain(displacements)

    basis = OrderBasis.of(phonopy_atoms(atoms), np.array([[0, 1]]), 2)
    options = SearchOptions(temperature=300.0, n_pairs=50, max_supercells=20_000, error_thz=0.2)
    search = Search(basis, atoms.get_masses(), counted, options, np.random.default_rng(0))
    found = search.run(start_of_pair(300.0))
    assert found.state == "converged"
    assert search.n_supercells == sum(counts) > 2 * len(found.weights)
    third, limit = OrderBasis.of(phonopy_atoms(atoms), np.array([[0, 1]]), 3), sum(counts) // 2 + 40
    fitted = fit_third_order(search, found, third, 1e-6, limit)
    assert search.n_supercells == sum(counts) == 2 * limit
    assert len(fitted.pool.odd) == len(found.weights) + 40
    with pytest.raises(UnderdeterminedFitError, match="renormalise.max_supercells allows 0"):
        fit_third_order(search, replace(found, pool=Pool([])), third, 1e-6, sum(counts) // 2)


def test_a_mode_that_nothing_holds_is_a_state_of_its_own():
    pair = Pair(-0.5, 0.0)
    atoms, calculator = cscl_pair(pair)
    found = searched(atoms, calculator, start_of_pair(pair.a), temperature=300.0, largest_displacement=1.0)
    assert found.state == "unstable"
    assert found.modes.frequencies_thz[0] < 0
    assert "imaginary" in found.reason


def searched_within_walls(pair, **options):
    """Search in a well whose walls end: the first guess reaches beyond them, the fixed point does not."""

    def walled(displacements):
        energy, forces = pair(displacements)
        d = displacements[0] - displacements[1]
        outside = np.abs(d) > 0.9
        slope = np.where(outside, -12.0 * d, -forces[0])
        return energy, np.array([-slope, slope])

    atoms, calculator = cscl_pair(pair)
    calculator.potential = walled
    options |= {"temperature": 300.0, "largest_displacement": 0.6, "highest_barrier": np.inf}
    return atoms, searched(atoms, calculator, start_of_pair(pair.a), **options)


@pytest.mark.parametrize("seed", range(6))
def test_a_start_that_is_too_wide_does_not_make_a_crystal_fall(seed):
    pair = Pair(-0.05, 6.0)
    atoms, found = searched_within_walls(pair, seed=seed)
    assert found.steps[0].min_frequency_thz < 0
    assert found.state == "converged"
    masses = atoms.get_masses()
    reduced = masses.prod() / masses.sum()
    frequency = np.sqrt(pair.stiffness(300.0, reduced)[0] / reduced) * THZ
    assert found.modes.frequencies_thz == pytest.approx([frequency] * 3, rel=0.1)


def test_a_search_that_begins_again_knows_nothing_of_its_earlier_start(monkeypatch):
    begun, deviation = [], Search._deviation

    def watched(search, parameters, population):
        if search.before is None:
            begun.append((search.damping, np.max(search.errors), search.at_rest))
        return deviation(search, parameters, population)

    monkeypatch.setattr(Search, "_deviation", watched)
    pair = Pair(-0.5, 0.0)
    atoms, calculator = cscl_pair(pair)
    found = searched(atoms, calculator, start_of_pair(pair.a), temperature=300.0, largest_displacement=1.0)
    assert found.state == "unstable"
    assert begun == 3 * [(SearchOptions(temperature=300.0).damping, 0.0, False)]  # three starts


@pytest.fixture
def falls(monkeypatch):
    """Whether the crystal fell, population after population."""
    seen, fall = [], Search._falls

    def watched(search, population):
        seen.append(fall(search, population))
        return seen[-1]

    monkeypatch.setattr(Search, "_falls", watched)
    return seen


def test_a_search_that_is_spent_after_a_fall_says_what_it_saw(falls):
    """The narrower start has not been led away yet, but the mode is imaginary there, too: no lack of samples."""
    pair = Pair(-0.5, 0.0)
    atoms, calculator = cscl_pair(pair)
    options = {"temperature": 300.0, "largest_displacement": 1.0}
    searched(atoms, calculator, start_of_pair(pair.a), **options)
    first = falls.index(True) + 1  # populations of the first start
    assert first < falls.index(True, first)  # the second takes more than one
    for n_populations, fell, state in ((first - 1, False, "not_converged"), (first + 1, True, "unstable")):
        falls.clear()
        found = searched(atoms, calculator, start_of_pair(pair.a), max_iterations=n_populations, **options)
        assert (any(falls), falls[-1], len(falls)) == (fell, False, n_populations)
        assert found.modes.frequencies_thz[0] < 0 or not fell
        assert found.state == state
        assert ("a lower symmetry wins" in found.reason) == fell


def test_a_search_that_is_spent_after_a_fall_may_hold_the_crystal_all_the_same(falls):
    pair = Pair(-0.05, 6.0)
    _, whole = searched_within_walls(pair, error_thz=1e-3, max_iterations=12)
    fell = falls.index(True)
    n_populations = next(n for n, step in enumerate(whole.steps, 1) if n > fell + 1 and step.min_frequency_thz > 0)
    falls.clear()
    _, found = searched_within_walls(pair, max_iterations=n_populations, error_thz=1e-3)
    assert (any(falls), len(falls)) == (True, n_populations)
    assert found.steps[-1].min_frequency_thz > 0
    assert found.state == "not_converged"


def test_a_well_without_walls_is_left_in_steps_that_end():
    """Samples of few modes stay worth something however wide they are: the widening ends all the same."""
    pair = Pair(-0.05, 0.0)
    atoms, calculator = cscl_pair(pair)
    for factor in (1.0, 4.0, 40.0):
        found = searched(atoms, calculator, start_of_pair(factor), temperature=300.0, largest_displacement=0.8)
        assert found.state == "unstable"
        assert np.isfinite(found.modes.frequencies_thz).all()


def test_a_crystal_melts():
    pair = Pair(0.05, 0.1)
    atoms, calculator = cscl_pair(pair)
    found = searched(atoms, calculator, start_of_pair(pair.a), temperature=2000.0, largest_displacement=0.3)
    assert found.state == "melts"
    assert "0.30 Å" in found.reason
    assert np.linalg.norm(found.pool.displacements, axis=2).max() < 2.0


def test_a_committee_that_disagrees_ends_the_search():
    pair = Pair(2.0, 1.0)
    atoms, calculator = cscl_pair(pair)
    plain = evaluator(calculator)
    basis = OrderBasis.of(phonopy_atoms(atoms), np.array([[0, 1]]), 2)
    search = Search(
        basis,
        atoms.get_masses(),
        lambda displacements: SampledForces(plain(displacements).forces, 0.8),
        SearchOptions(temperature=300.0, largest_disagreement=0.5),
        np.random.default_rng(0),
    )
    found = search.run(start_of_pair(pair.a))
    assert found.state == "force_field"
    assert "80%" in found.reason


def test_a_committee_that_disagrees_about_further_samples_ends_third_order():
    """The same rule for all samples: the search agrees, and what is drawn for fc3 alone does not."""
    pair = Pair(3.0, 2.0, c=4.0, e=30.0)
    atoms, calculator = cscl_pair(pair)
    plain, disagreement = evaluator(calculator), [0.2]
    basis, third = (OrderBasis.of(phonopy_atoms(atoms), np.array([[0, 1]]), order) for order in (2, 3))
    search = Search(
        basis,
        atoms.get_masses(),
        lambda displacements: SampledForces(plain(displacements).forces, disagreement[0]),
        SearchOptions(temperature=300.0, n_pairs=50, error_thz=0.2, largest_disagreement=0.5),
        np.random.default_rng(0),
    )
    found = search.run(start_of_pair(pair.a))
    assert found.state == "converged"
    most = search.n_supercells // 2 + 40
    assert len(fit_third_order(search, found, third, 1e-6, most).pool.odd) == most
    disagreement[0] = 0.8
    with pytest.raises(CalculatorError, match="80%"):
        fit_third_order(search, found, third, 1e-6, most + 40)


def test_too_few_iterations_are_said():
    pair = Pair(-0.5, 8.0)
    atoms, calculator = cscl_pair(pair)
    found = searched(atoms, calculator, start_of_pair(pair.a), temperature=300.0, n_pairs=10, max_iterations=2)
    assert found.state == "not_converged"
    assert "after 2 populations" in found.reason


def test_too_few_samples_are_refused():
    atoms, _calculator = simple_cubic(Bonds((3, 2, 2), 3.0))
    basis = OrderBasis.of(phonopy_atoms(atoms), translations_of(atoms), 3)
    samples = np.random.default_rng(0).normal(size=(1, len(atoms), 3))
    with pytest.raises(UnderdeterminedFitError, match="fc3"):
        fit_even_part(basis, samples, np.zeros_like(samples), np.array([1.0]))


def test_a_supercell_without_third_order_is_refused():
    atoms, _ = cscl_pair(Pair(1.0, 1.0))
    with pytest.raises(StructureError, match="order 3"):
        OrderBasis.of(phonopy_atoms(atoms), np.array([[0, 1]]), 3)


def test_phonopys_sscha_finds_the_same_frequencies():
    """MLPSSCHA on our polynomial potential; it tells no error of its frequencies, so its iterations' scatter does."""
    from phonopy.harmonic.force_constants import compact_fc_to_full_fc
    from phonopy.sscha.core import MLPSSCHA

    calculator, cell = WarmSalt(a=1.0, b=10.0), warm_salt()
    phonopy = Phonopy(phonopy_atoms(cell), supercell_matrix=2 * np.eye(3), primitive_matrix=np.eye(3), log_level=0)
    supercell = phonopy.supercell
    masses = np.asarray(supercell.masses)
    perfect = Atoms(numbers=supercell.numbers, positions=supercell.positions, cell=supercell.cell, pbc=True)

    class Polynomial:
        """As much of phonopy's interface to potentials as its SSCHA asks for."""

        def evaluate(self, cells):
            results = []
            for item in cells:
                atoms = perfect.copy()
                atoms.positions = item.positions
                calculator.calculate(atoms)
                results.append((calculator.results["energy"], calculator.results["forces"]))
            energies, forces = zip(*results, strict=True)
            return np.array(energies), np.array(forces), np.zeros((len(cells), 6))

    theirs = MLPSSCHA(
        phonopy, Polynomial(), temperature=300, number_of_snapshots=80, max_iterations=7, mesh=10.0, random_seed=1
    )
    found = []
    for iteration in theirs:
        fc2 = np.asarray(theirs.force_constants)
        if iteration > 2:
            found.append(normal_modes(fc2, masses).frequencies_thz)

    def evaluate(displacements):
        forces = []
        for vectors in displacements:
            atoms = perfect.copy()
            atoms.positions += vectors
            calculator.calculate(atoms)
            forces.append(calculator.results["forces"])
        return SampledForces(np.array(forces))

    basis = OrderBasis.of(supercell, np.asarray(phonopy.primitive.atomic_permutations), 2)
    start = np.asarray(compact_fc_to_full_fc(phonopy.primitive, theirs.force_constants[phonopy.primitive.p2s_map]))
    options = SearchOptions(temperature=300.0, n_pairs=20, error_thz=0.05)
    ours = Search(basis, masses, evaluate, options, np.random.default_rng(0)).run(0.7 * start)
    assert ours.state == "converged"
    scatter = np.std(found, axis=0) / np.sqrt(len(found) - 1)
    difference = ours.modes.frequencies_thz - np.mean(found, axis=0)
    assert np.abs(difference).max() < 4 * np.hypot(scatter, ours.errors_thz).max()
    assert np.sqrt(np.mean(difference**2)) < 2 * np.sqrt(np.mean(scatter**2 + ours.errors_thz**2))
