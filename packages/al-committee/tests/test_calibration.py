"""Calibration on errors of known distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from al_committee.committee.calibration import (
    _rank_correlation,
    calibrate,
    miscalibration_area,
    standardised_errors,
)
from al_committee.committee.disagreement import force_deviation


def synthetic(scale, n_atoms=6000, seed=0):
    rng = np.random.default_rng(seed)
    deviation = rng.lognormal(mean=-3, sigma=1, size=n_atoms)
    return deviation, rng.normal(size=(n_atoms, 3)) * scale * deviation[:, None] / np.sqrt(3)


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5, 8.0])
def test_known_scale_is_recovered(scale):
    result = calibrate(*synthetic(scale))
    assert result.scale == pytest.approx(scale, rel=0.03)
    assert result.scale_likelihood == pytest.approx(scale, rel=0.03)
    assert result.area_scaled < 0.01


def test_perfect_error_bar_has_no_area_and_wrong_ones_have():
    right, over, under = (calibrate(*synthetic(s)).area for s in (1.0, 5.0, 0.2))
    assert right < 0.01
    assert over > 0.25
    assert under > 0.25


def test_area_of_infinitely_overconfident_spread_is_one_half():
    deviation, errors = synthetic(1.0)
    assert miscalibration_area(standardised_errors(deviation * 1e-9, errors)) == pytest.approx(0.5, abs=0.01)


def test_wild_atoms_move_the_likelihood_but_not_the_scale():
    deviation, errors = synthetic(2.0)
    errors[:60] *= 100
    result = calibrate(deviation, errors)
    assert result.scale == pytest.approx(2.0, rel=0.06)
    assert result.scale_likelihood > 10


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(0.01, 100.0))
def test_scale_is_inverse_to_the_deviation(factor):
    deviation, errors = synthetic(1.3, n_atoms=500)
    base, scaled = calibrate(deviation, errors), calibrate(factor * deviation, errors)
    assert scaled.scale == pytest.approx(base.scale / factor, rel=1e-3)
    assert scaled.rank_correlation == pytest.approx(base.rank_correlation)


def test_true_ensemble_is_calibrated():
    # many members drawn around the truth as often as the truth itself: ε is the error bar, s = 1
    rng = np.random.default_rng(3)
    spread = rng.lognormal(mean=-2, sigma=0.7, size=(1, 3000, 1))
    members = spread * rng.normal(size=(60, 3000, 3))
    truth = spread[0] * rng.normal(size=(3000, 3))
    result = calibrate(force_deviation(members), members.mean(0) - truth)
    assert result.scale == pytest.approx(1.0, rel=0.05)
    assert result.rank_correlation > 0.5


def test_symmetric_atoms_are_left_out_and_clones_refused():
    deviation, errors = synthetic(1.0, n_atoms=50)
    padded = calibrate(np.append(deviation, [0.0, 0.0]), np.vstack([errors, np.zeros((2, 3))]))
    assert padded.n_atoms == 50
    with pytest.raises(ValueError, match="clones"):
        calibrate(np.zeros(5), np.ones((5, 3)))
    with pytest.raises(ValueError, match="expected"):
        calibrate(np.ones(5), np.ones((4, 3)))


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=20), st.integers(0, 1000))
def test_rank_correlation_is_that_of_scipy(values, seed):
    spread = np.asarray(values, dtype=float)
    error = np.random.default_rng(seed).integers(0, 5, len(values)).astype(float)
    expected = 0.0 if min(np.ptp(spread), np.ptp(error)) == 0.0 else spearmanr(spread, error).statistic
    assert _rank_correlation(spread, error) == pytest.approx(expected, abs=1e-12)
