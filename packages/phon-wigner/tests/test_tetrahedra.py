"""Sums over modes that conserve energy, against phono3py's integration weights."""

from __future__ import annotations

import numba
import numpy as np
import phono3py
import pytest
from phono3py.phonon3.triplets import get_triplets_integration_weights
from phonopy.phonon.grid import get_ir_grid_points

from phon_wigner.phonons.tetrahedra import TripletTetrahedra, compiled, conserved_sums


@pytest.fixture(scope="module", params=[False, True], ids=["", "symmetrized"])
def interaction(phono3py_yaml, request):
    crystal = phono3py.load(phono3py_yaml, log_level=0)
    crystal.mesh_numbers = [5, 5, 5]
    crystal.init_phph_interaction(symmetrize_tetrahedra=request.param)
    crystal.phph_interaction.run_phonon_solver()
    return crystal.phph_interaction


def test_sums_are_those_of_the_weights_of_phono3py(interaction):
    """Any factors, occupations and amplitudes, of every q; degenerate frequencies too."""
    grid = interaction.bz_grid
    tetrahedra = TripletTetrahedra(grid, symmetrize=interaction.symmetrize_tetrahedra)
    frequencies = interaction.phonons.frequencies
    n_bands = frequencies.shape[1]
    rng = np.random.default_rng(5)
    occupations = rng.random((2, *frequencies.shape))
    factors = rng.normal(size=(2, 3, 3))
    for point in grid.grg2bzg[get_ir_grid_points(grid)[0]]:
        interaction.set_grid_point(int(point))
        triplets, weights = (np.asarray(part) for part in interaction.get_triplets_at_q()[:2])
        g = get_triplets_integration_weights(interaction, frequencies[point], None, is_collision_matrix=True)[0]
        first = 0.5 * (g[2] - g[0] + g[1])  # δ(ω + ω' - ω''), and δ(ω - ω' + ω'')
        deltas = np.stack([g[0], first, first - g[1]])
        plain = conserved_sums(
            tetrahedra, frequencies[point], frequencies, triplets, weights, factors=np.eye(3)[:, :, None] * [1, 0, 0]
        )
        np.testing.assert_allclose(plain, np.einsum("dtjab,t->dj", deltas, weights), rtol=1e-10, atol=1e-12)
        shape = (len(triplets), n_bands, n_bands, n_bands)
        amplitudes = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
        own = (rng.normal(size=shape[1:3]) + 1j * rng.normal(size=shape[1:3])).astype(np.complex64)
        strength = np.abs(amplitudes @ own).transpose(0, 3, 1, 2) ** 2
        n1 = occupations[:, triplets[:, 1]][:, None, :, None, :, None]
        n2 = occupations[:, triplets[:, 2]][:, None, :, None, None, :]
        a, b, d = np.moveaxis(factors, 2, 0)[..., None, None, None, None]
        counted = (a + b * n1 + d * n2) * deltas[None] * strength * weights[:, None, None, None]
        found = conserved_sums(
            tetrahedra,
            frequencies[point],
            frequencies,
            triplets,
            weights,
            factors=factors,
            occupations=occupations,
            amplitudes=amplitudes,
            eigenvectors=own,
        )
        wanted = counted.sum(axis=(1, 2, 4, 5))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())


def test_modes_below_a_limit_are_left_out(interaction):
    grid, frequencies = interaction.bz_grid, interaction.phonons.frequencies
    interaction.set_grid_point(1)
    triplets, weights = (np.asarray(part) for part in interaction.get_triplets_at_q()[:2])
    factors = np.eye(3)[:, :, None] * [1, 0, 0]
    found = [
        conserved_sums(
            TripletTetrahedra(grid), frequencies[1], frequencies, triplets, weights, factors=factors, above=limit
        )
        for limit in (-np.inf, 0.0, 100.0)
    ]
    assert found[0].sum() > found[1].sum() * (1 - 1e-12) > 0
    assert found[2].sum() == 0


@pytest.mark.parametrize("error", [RuntimeError("no locator"), OSError(28, "No space left on device")])
def test_without_a_cache_functions_are_compiled_for_the_process(monkeypatch, error):
    """A read-only home, or a full disk: numba raises, at once or when it stores what it compiled."""
    real = numba.njit
    raised = []

    def njit(**options):
        def decorate(function):
            if not options["cache"]:
                return real(**options)(function)
            raised.append(error)
            if isinstance(error, RuntimeError):
                raise error

            def fails(*_):
                raise error

            return fails

        return decorate

    monkeypatch.setattr(numba, "njit", njit)
    twice = compiled(lambda x: 2 * x)
    assert twice(4) == 8
    assert twice(5) == 10
    assert raised == [error]
