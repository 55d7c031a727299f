"""Linewidths by matrix products against phono3py's own."""

from __future__ import annotations

import numpy as np
import phono3py
import pytest
from phonopy.phonon.grid import get_ir_grid_points

from phon_wigner.errors import ShapeError
from phon_wigner.phonons import scattering
from phon_wigner.phonons.scattering import (
    PhaseTable,
    asymmetry,
    interaction_amplitudes,
    own_eigenvectors,
    three_phonon_linewidths,
)
from phon_wigner.screening import solver as _solver
from phon_wigner.screening.solver import WignerSolver

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


@pytest.mark.parametrize("memory", [scattering.MEMORY, 1_000_000, 0])
def test_linewidths_are_those_of_phono3py(toy, irreducible, theirs, memory, monkeypatch):
    """Mode by mode, whether all q share a group, some do or none."""
    monkeypatch.setattr(scattering, "MEMORY", memory)
    gamma = three_phonon_linewidths(toy.phph_interaction, irreducible, TEMPERATURES)
    assert theirs.max() > 1e-3
    np.testing.assert_allclose(gamma, theirs, rtol=1e-6, atol=1e-9 * theirs.max())  # single precision


def test_points_are_grouped_within_the_memory():
    """Groups of at most the limit, in order; a point above it stands alone."""
    triplets = [np.zeros((n, 3), dtype=np.int64) for n in (3, 4, 9, 2, 2, 5)]
    groups = [list(group) for group in scattering._groups(triplets, 7)]
    assert groups == [[0, 1], [2], [3, 4], [5]]


def test_force_constants_that_depend_on_the_order_of_atoms(phono3py_yaml, monkeypatch):
    """The products would be wrong for them: refused when asked for, left to phono3py otherwise."""
    crystal = phono3py.load(phono3py_yaml, log_level=0)
    crystal.symmetrize_fc3()
    assert asymmetry(crystal.fc3, crystal.primitive) < 1e-12
    noise = np.random.default_rng(0).normal(size=crystal.fc3.shape)
    crystal.fc3 = crystal.fc3 + 1e-3 * np.abs(crystal.fc3).max() * noise
    assert asymmetry(crystal.fc3, crystal.primitive) > 1e-3
    crystal.mesh_numbers = [2, 2, 2]
    with pytest.raises(ShapeError, match="symmetrize_fc3"):
        WignerSolver(scattering="products")(crystal, TEMPERATURES)
    monkeypatch.setattr(_solver, "_by_products", lambda *_, **__: pytest.fail("left to phono3py"))
    assert np.isfinite(WignerSolver()(crystal, TEMPERATURES)["kappa_total"]).all()


def test_amplitudes_are_the_strengths_of_phono3py(toy, irreducible):
    """Of every triple of modes, whichever other triplets share the matrix products."""
    interaction = toy.phph_interaction
    table = PhaseTable(interaction)
    for point in irreducible:
        interaction.set_grid_point(int(point))
        interaction.run()
        theirs = np.asarray(interaction.interaction_strength)
        triplets = np.asarray(interaction.get_triplets_at_q()[0])
        for first in np.unique(triplets[:, 0]):
            rows = np.flatnonzero(triplets[:, 0] == first)
            for some in (rows, rows[:1]):
                amplitudes = interaction_amplitudes(interaction, table, triplets[some])
                ours = np.abs(amplitudes @ own_eigenvectors(interaction, int(first))) ** 2
                np.testing.assert_allclose(
                    ours.transpose(0, 3, 1, 2), theirs[some], rtol=1e-5, atol=1e-6 * theirs.max()
                )


def test_solver_with_products(toy):
    """The same arrays; isotopes and boundaries but for the choice among degenerate modes of the toy."""
    usual, products = (
        WignerSolver(scattering=who)(toy, TEMPERATURES, isotope=False) for who in ("phono3py", "products")
    )
    assert set(usual) <= set(products)
    np.testing.assert_allclose(products["qpoints"], usual["qpoints"])
    np.testing.assert_array_equal(products["weights"], usual["weights"])
    for name in ("kappa_p", "kappa_c", "kappa_total", "gamma"):
        np.testing.assert_allclose(products[name], usual[name], rtol=1e-6, atol=1e-9 * usual[name].max())
    usual, products = (
        WignerSolver(scattering=who)(toy, TEMPERATURES, boundary_mfp=1.0)["kappa_total"]
        for who in ("phono3py", "products")
    )
    np.testing.assert_allclose(products, usual, rtol=0.01, atol=1e-9 * usual.max())


def test_auto_takes_products_where_they_can(toy, monkeypatch):
    ran = []
    monkeypatch.setattr(_solver, "_by_products", lambda *_, **__: ran.append("products"))
    WignerSolver()(toy, TEMPERATURES)
    assert ran == ["products"]
    direct = WignerSolver()(toy, [300.0], lbte=True)
    assert ran == ["products"]
    assert np.isfinite(direct["kappa_p"]).all()


def test_what_products_cannot_do(toy):
    with pytest.raises(ShapeError, match="method = 'rta'"):
        WignerSolver(scattering="products")(toy, TEMPERATURES, lbte=True)
    with pytest.raises(ShapeError, match="'auto', 'products' or 'phono3py'"):
        WignerSolver(scattering="fast")
