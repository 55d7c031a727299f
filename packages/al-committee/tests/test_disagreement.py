"""Eq. 3 and its identities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from al_committee.committee.disagreement import (
    committee_mean,
    force_deviation,
    scalar_spread,
    supercell_score,
    tensor_spread,
)
from al_committee.testing import IDENTITY_TOLERANCE


def random_forces(seed: int, n_models: int, n_atoms: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_models, n_atoms, 3))


def test_deviation_by_hand():
    # three models, two atoms. Atom 0: forces (0,0,0), (3,0,0), (0,3,0), mean (1,1,0);
    # squared departures 2, 5, 5: eps = sqrt(12/3) = 2. Atom 1: all equal.
    forces = np.array([[[0, 0, 0], [1, 2, 3]], [[3, 0, 0], [1, 2, 3]], [[0, 3, 0], [1, 2, 3]]], dtype=float)
    assert force_deviation(forces) == pytest.approx([2.0, 0.0], abs=1e-15)


def test_deviation_uses_the_population_mean():
    # two models at ±1 along x: <|f - <f>|^2> = 1, not the 2 of Bessel's correction
    forces = np.array([[[1.0, 0, 0]], [[-1.0, 0, 0]]])
    assert force_deviation(forces)[0] == pytest.approx(1.0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), n_models=st.integers(1, 7), n_atoms=st.integers(1, 9))
def test_clones_have_exactly_zero_spread(seed, n_models, n_atoms):
    one = random_forces(seed, 1, n_atoms) * 0.1
    clones = np.repeat(one, n_models, axis=0)
    assert (force_deviation(clones) == 0.0).all()
    assert (committee_mean(clones) == one[0]).all()
    assert scalar_spread(clones[:, 0, 0]) == 0.0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), n_models=st.integers(2, 7), n_atoms=st.integers(1, 9))
def test_permutation_of_members_is_irrelevant(seed, n_models, n_atoms):
    forces = random_forces(seed, n_models, n_atoms)
    shuffled = np.random.default_rng(seed).permutation(forces, axis=0)
    assert np.allclose(force_deviation(forces), force_deviation(shuffled), rtol=IDENTITY_TOLERANCE, atol=0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), n_models=st.integers(2, 7))
def test_rotation_leaves_the_deviation(seed, n_models):
    forces = random_forces(seed, n_models, 5)
    turned = forces @ Rotation.random(rng=np.random.default_rng(seed)).as_matrix().T
    assert np.allclose(force_deviation(forces), force_deviation(turned), rtol=1e-11, atol=0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), factor=st.floats(1e-3, 1e3))
def test_deviation_scales_and_ignores_a_common_shift(seed, factor):
    forces = random_forces(seed, 5, 4)
    expected = force_deviation(forces)
    assert np.allclose(force_deviation(factor * forces), factor * expected, rtol=1e-11)
    assert np.allclose(force_deviation(forces + 7.0), expected, rtol=1e-11)


def test_stress_spread_is_rotation_invariant():
    rng = np.random.default_rng(0)
    tensors = rng.normal(size=(4, 3, 3))
    tensors = tensors + tensors.transpose(0, 2, 1)
    turn = Rotation.random(rng=rng).as_matrix()

    def voigt(t):
        return t[:, [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]

    expected = np.sqrt(((tensors - tensors.mean(0)) ** 2).sum((1, 2)).mean())
    assert tensor_spread(voigt(tensors)) == pytest.approx(expected, rel=1e-12)
    assert tensor_spread(voigt(turn @ tensors @ turn.T)) == pytest.approx(expected, rel=1e-12)


def test_supercell_score_is_the_largest_or_a_percentile():
    deviation = np.arange(101.0)
    assert supercell_score(deviation) == 100.0
    assert supercell_score(deviation, 95) == pytest.approx(95.0)


@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 2), (0, 4, 3), (3,)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="expected"):
        force_deviation(np.zeros(shape))
