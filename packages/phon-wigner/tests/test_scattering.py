"""Linewidths by matrix products against phono3py's own."""

from __future__ import annotations

import numpy as np
import phono3py
import pytest
from phonopy.phonon.grid import get_ir_grid_points

from phon_wigner._solver import WignerSolver
from phon_wigner.errors import ShapeError
from phon_wigner.scattering import PhaseTable, interaction_strength, three_phonon_linewidths

TEMPERATURES = [100.0, 400.0]


@pytest.fixture(scope="module")
def toy(phono3py_yaml):
    """Toy rocksalt on a mesh with points inside and on the zone boundary."""
    crystal = phono3py.load(phono3py_yaml, log_level=0)
    crystal.symmetrize_fc3()
    crystal.mesh_numbers = [4, 4, 4]
    crystal.init_phph_interaction()
    return crystal


@pytest.fixture(scope="module")
def irreducible(toy):
    points, _, _ = get_ir_grid_points(toy.phph_interaction.bz_grid)
    return toy.phph_interaction.bz_grid.grg2bzg[points]


@pytest.fixture(scope="module")
def theirs(toy):
    toy.run_thermal_conductivity(temperatures=TEMPERATURES)
    return np.array(toy.thermal_conductivity.gamma[0])


def test_three_origins_are_phono3py(toy, irreducible, theirs):
    gamma = three_phonon_linewidths(toy.phph_interaction, irreducible, TEMPERATURES, all_origins=True)
    assert theirs.max() > 1e-3
    np.testing.assert_allclose(gamma, theirs, rtol=1e-7, atol=1e-9 * theirs.max())


def test_two_origins_are_close(toy, irreducible, theirs):
    gamma = three_phonon_linewidths(toy.phph_interaction, irreducible, np.array(TEMPERATURES))
    difference = np.abs(gamma - theirs).sum() / theirs.sum()
    assert 1e-6 < difference < 0.05  # not the same numbers, or the cheap origins would not be what runs


def test_strength_is_that_of_one_triplet_after_another(toy, irreducible):
    """Strengths, mode by mode: independent of which other triplets share the matrix products."""
    interaction = toy.phph_interaction
    interaction.set_grid_point(int(irreducible[2]))
    triplets = np.asarray(interaction.get_triplets_at_q()[0])
    table = PhaseTable(interaction)
    together = interaction_strength(interaction, table, triplets)
    for row in (0, len(triplets) // 2):
        alone = interaction_strength(interaction, table, triplets[row : row + 1])
        np.testing.assert_allclose(together[row], alone[0], rtol=1e-9, atol=1e-12 * together.max())


def test_solver_with_products(toy):
    usual = WignerSolver()(toy, TEMPERATURES, boundary_mfp=1.0)
    products = WignerSolver(scattering="products")(toy, TEMPERATURES, boundary_mfp=1.0)
    assert set(usual) <= set(products)
    np.testing.assert_allclose(products["qpoints"], usual["qpoints"])
    np.testing.assert_array_equal(products["weights"], usual["weights"])
    for name in ("kappa_p", "kappa_c", "kappa_total"):
        np.testing.assert_allclose(products[name], usual[name], rtol=0.03, atol=1e-9 * usual["kappa_total"].max())
    bare = WignerSolver(scattering="products")(toy, TEMPERATURES, isotope=False)
    assert (bare["kappa_total"][:, 0] > products["kappa_total"][:, 0]).all()


def test_what_products_cannot_do(toy):
    with pytest.raises(ShapeError, match="method = 'rta'"):
        WignerSolver(scattering="products")(toy, TEMPERATURES, lbte=True)
    with pytest.raises(ShapeError, match="'phono3py' or 'products'"):
        WignerSolver(scattering="fast")
